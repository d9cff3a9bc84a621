//! `probe`: what this device is, and what could not be learnt and why.

use std::io::Write;

use clap::Args;

use super::{Exit, Format, General};
use crate::{
    device::{HostRoot, probe as look},
    settings::Given,
};

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn probe(general: General, args: &ProbeArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let profile = look(&HostRoot::at(&settings.host_root.value));
    let mut out = std::io::stdout().lock();
    if args.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &profile)?;
        writeln!(out)?;
        return Ok(Exit::Done);
    }
    writeln!(out, "{:<24} {}", "device", profile.id)?;
    writeln!(out, "{:<24} {}", "kind", profile.kind)?;
    for (fact, value) in &profile.facts {
        writeln!(out, "{fact:<24} {value}")?;
    }
    if !profile.reasons.is_empty() {
        writeln!(out, "\nnot learnt:")?;
    }
    for (fact, reason) in &profile.reasons {
        writeln!(out, "{fact:<24} {reason}")?;
    }
    Ok(Exit::Done)
}
