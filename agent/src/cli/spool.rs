//! `spool status`: what waits for the collector.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Exit, Format, General};
use crate::{
    clock::{Clock, SystemClock},
    settings::Given,
    spool::Spool,
};

#[derive(Args)]
pub(super) struct SpoolArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say how much waits for the collector
    Status {
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

pub(super) fn spool(general: General, args: &SpoolArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let now = SystemClock::start().wall();
    let spool = Spool::open(&settings.data.value, now, settings.spool_bytes_max.value)?;
    let status = spool.status()?;
    let Action::Status { format } = args.action;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        writeln!(out, "file             {}", spool.path().display())?;
        writeln!(
            out,
            "waiting          {} records, {} bytes",
            status.waiting_records, status.waiting_bytes
        )?;
        writeln!(
            out,
            "limit            {} bytes",
            settings.spool_bytes_max.value
        )?;
        writeln!(
            out,
            "last number      {} of epoch {}",
            status.last.0, status.epoch.0
        )?;
    }
    Ok(Exit::Done)
}
