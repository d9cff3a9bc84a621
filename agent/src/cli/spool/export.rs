//! `spool export`: what waits, into a signed file, for a device that no network reaches.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use tokwatt_domain::{ids::DeviceId, time::WallTime};
use tokwatt_proto::{
    export::{ExportHeader, ExportWriter, Seal},
    identity::Credentials,
};

use crate::{
    cli::Exit,
    spool::{Spool, Spooled},
};

/// A file under its working name, removed unless it is finished.
struct Unfinished {
    path: PathBuf,
    is_finished: bool,
}

pub(super) fn export(
    spool: &Spool,
    credentials: &Credentials,
    file: &Path,
    now: WallTime,
) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let waiting = spool.status()?;
    if waiting.waiting_records == 0 {
        writeln!(out, "nothing waits; no file is written")?;
        return Ok(Exit::Done);
    }
    let (seal, n) = write(spool, credentials, file, now)?;
    writeln!(
        out,
        "{n} records, through number {} of epoch {}, are in {}",
        seal.through.0,
        waiting.epoch.0,
        file.display()
    )?;
    writeln!(
        out,
        "they stay here, too, until the receipt is back: on the server `tokwatt-collector import {name}`, then here `tokwatt-agent spool import {name}.receipt`",
        name = file.file_name().unwrap_or(file.as_os_str()).display()
    )?;
    Ok(Exit::Done)
}

/// Whole and on the disk, or not there.
fn write(
    spool: &Spool,
    credentials: &Credentials,
    file: &Path,
    now: WallTime,
) -> anyhow::Result<(Seal, u64)> {
    ensure!(
        !file.exists(),
        "`{}` is there already: name another file",
        file.display()
    );
    let mut unfinished = Unfinished::beside(file);
    let part = unfinished.path.clone();
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).open(&part);
    let opened = opened.with_context(|| format!("cannot write `{}`", part.display()))?;
    let device = DeviceId::parse(&credentials.facts().subject.name)?;
    let written: anyhow::Result<_> = spool.with_waiting(|after, waiting| {
        let header = ExportHeader {
            device,
            epoch: spool.epoch(),
            after,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            exported: now,
            chain: credentials.chain().to_vec(),
        };
        let mut writer = ExportWriter::begin(BufWriter::new(opened), &header)?;
        let mut n = 0;
        for spooled in waiting {
            let Spooled { seq, bytes } = spooled?;
            writer.append(seq, bytes)?;
            n += 1;
        }
        let (file, seal) = writer.finish(credentials)?;
        Ok((file.into_inner()?, seal, n))
    });
    let (opened, seal, n) =
        written.with_context(|| format!("cannot write `{}`", part.display()))?;
    let kept = opened.sync_all().and_then(|()| {
        fs::rename(&part, file)?;
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    kept.with_context(|| format!("cannot write `{}`", file.display()))?;
    unfinished.is_finished = true;
    Ok((seal, n))
}

impl Unfinished {
    fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        Self {
            path: name.into(),
            is_finished: false,
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_file(&self.path));
        }
    }
}
