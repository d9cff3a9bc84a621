//! The bundle: what a bench measured as files, so that it can be looked at, sent and checked without us.
//!
//! `bench.json` is the document, `traces/RUN.json` the raw trace of each run, `SHA256SUMS` what `sha256sum -c` reads.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{ids::Digest, run::RunTrace};

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

pub(super) fn write(
    folder: &Path,
    document: &Document<'_>,
    traces: &[RunTrace],
) -> anyhow::Result<()> {
    let mut bench = Vec::new();
    document.write(&mut bench)?;
    let mut files = vec![(PathBuf::from("bench.json"), bench)];
    for trace in traces {
        let name = Path::new("traces").join(format!("{}.json", trace.header.run));
        files.push((name, serde_json::to_vec(trace)?));
    }
    let mut sums = Vec::new();
    for (name, bytes) in &files {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        let digest = Digest(Sha256::digest(bytes).into());
        writeln!(sums, "{digest}  {}", name.display())?;
    }
    let path = folder.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| format!("cannot write `{}`", path.display()))
}
