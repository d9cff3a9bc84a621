//! `spool import`: a receipt for an export is an acknowledgement.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, ensure};
use tokwatt_proto::{export::Receipt, identity::Credentials};

use crate::{cli::Exit, spool::Spool};

pub(super) fn import(
    spool: &Spool,
    credentials: &Credentials,
    file: &Path,
) -> anyhow::Result<Exit> {
    let name = format!("`{}`", file.display());
    let bytes = read(file).with_context(|| format!("cannot read {name}"))?;
    let receipt = Receipt::read(&bytes, &credentials.authority()?).with_context(|| name.clone())?;
    let own = &credentials.facts().subject.name;
    ensure!(
        receipt.device.as_str() == own,
        "{name} is for device `{}`, and this is `{own}`",
        receipt.device
    );
    let before = spool.status()?;
    ensure!(
        receipt.epoch == before.epoch,
        "{name} is for epoch {}, an earlier life of this spool, or that of another data folder (--data); this one is {}",
        receipt.epoch.0,
        before.epoch.0
    );
    ensure!(
        receipt.through <= before.last,
        "{name} acknowledges record {}, which the spool has not given out; was the spool restored from an older copy?",
        receipt.through.0
    );
    spool.acknowledge(receipt.through)?;
    let after = spool.status()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} records are with the collector, through number {}; {} wait",
        before.waiting_records.saturating_sub(after.waiting_records),
        receipt.through.0,
        after.waiting_records
    )?;
    Ok(Exit::Done)
}

/// A receipt is small; what is not is none.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(RECEIPT_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

const RECEIPT_BYTES_MAX: u64 = 64 * 1024;
