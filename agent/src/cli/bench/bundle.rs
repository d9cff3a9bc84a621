//! The bundle: what a bench measured as files, so that it can be looked at, sent and checked without us.
//!
//! `bench.json` is the document, `traces/RUN.json` the raw trace of each run, written when it has ended, `SHA256SUMS` what
//! `sha256sum -c` reads.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{
    ids::{Digest, RunId},
    run::RunTrace,
};

use super::document::Document;

/// Makes sure before the first request that the bundle can be written after the last.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    let traces = folder.join("traces");
    fs::create_dir_all(&traces)
        .with_context(|| format!("--out: cannot make the folder `{}`", traces.display()))?;
    if folder.join("bench.json").exists() {
        bail!(
            "--out: `{}` holds a bundle already; name another folder",
            folder.display()
        );
    }
    let probe = folder.join(".writable");
    fs::write(&probe, b"")
        .and_then(|()| fs::remove_file(&probe))
        .with_context(|| format!("--out: cannot write into `{}`", folder.display()))
}

/// A run has ended: its trace.
pub(super) fn write_trace(folder: &Path, trace: &RunTrace) -> anyhow::Result<()> {
    let path = folder.join(name_of(trace.header.run));
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(&path)?);
        serde_json::to_writer(&mut file, trace)?;
        file.flush()
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

/// The rest, after the last run; returns how many runs of the document have no trace here, because they ran before the bench was
/// interrupted, without this bundle.
pub(super) fn write(
    folder: &Path,
    document: &Document<'_>,
    runs: &[RunId],
) -> anyhow::Result<usize> {
    let mut bench = Vec::new();
    document.write(&mut bench)?;
    let path = folder.join("bench.json");
    fs::write(&path, bench).with_context(|| format!("cannot write `{}`", path.display()))?;
    let traces = runs.iter().map(|run| name_of(*run));
    let (kept, missing): (Vec<PathBuf>, Vec<PathBuf>) =
        traces.partition(|name| folder.join(name).is_file());
    let mut sums = Vec::new();
    for name in std::iter::once(PathBuf::from("bench.json")).chain(kept) {
        let digest = digest(&folder.join(&name))?;
        writeln!(sums, "{digest}  {}", name.display())?;
    }
    let path = folder.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(missing.len())
}

fn name_of(run: RunId) -> PathBuf {
    Path::new("traces").join(format!("{run}.json"))
}

fn digest(path: &Path) -> anyhow::Result<Digest> {
    let read = || -> io::Result<Digest> {
        let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut hash = Sha256::new();
        loop {
            let bytes = file.fill_buf()?;
            if bytes.is_empty() {
                return Ok(Digest(hash.finalize().into()));
            }
            hash.update(bytes);
            let n = bytes.len();
            file.consume(n);
        }
    };
    read().with_context(|| format!("cannot read back `{}`", path.display()))
}
