//! `spool …`: what waits for the collector, and how it gets there without a network.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use tokwatt_proto::identity::Credentials;

use super::{Exit, Format, General};
use crate::{
    clock::{Clock, SystemClock},
    runner::{asked_so_far, missing_so_far},
    settings::Given,
    spool::{Room, Spool, SpoolStatus},
    uplink::identity_folder,
};

/// To the collector, by hand.
mod export;

/// Back from it.
mod import;

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
    /// Write what waits into a file, signed by this device, for `tokwatt-collector import`; deletes nothing
    Export {
        /// The file; one that is there already is left alone
        file: PathBuf,
    },
    /// Take the receipt that `tokwatt-collector import` wrote for an acknowledgement
    Import {
        /// The receipt
        receipt: PathBuf,
    },
}

/// What there is.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    waiting: SpoolStatus,
    /// Null without a bench under way.
    bench: Option<UnderWay>,
    room: Room,
}

/// A bench under way, or interrupted.
#[derive(Serialize)]
struct UnderWay {
    /// Runs that are finished.
    finished_runs: u64,
    /// Requests that are kept of the run in hand.
    kept_requests: usize,
    /// Power samples of it that are declared missing, for there was no room.
    missing_samples: u64,
}

impl Status {
    fn of(spool: &Spool) -> anyhow::Result<Self> {
        let bench = match spool.unfinished()? {
            None => None,
            Some(unfinished) => Some(UnderWay {
                finished_runs: unfinished.next,
                // The run in hand may end while this is read.
                kept_requests: asked_so_far(spool).unwrap_or(0),
                missing_samples: missing_so_far(spool).unwrap_or(0),
            }),
        };
        Ok(Self {
            waiting: spool.status()?,
            bench,
            room: spool.room()?,
        })
    }
}

pub(super) fn spool(general: General, args: &SpoolArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let now = SystemClock::start().wall();
    let spool = Spool::open(&settings.data.value, now, settings.spool_bytes_max.value)?;
    let credentials = || Credentials::load(&identity_folder(&settings.data.value));
    match &args.action {
        Action::Status { format } => status(&spool, settings.spool_bytes_max.value, *format),
        Action::Export { file } => export::export(&spool, &credentials()?, file, now),
        Action::Import { receipt } => import::import(&spool, &credentials()?, receipt),
    }
}

fn status(spool: &Spool, bytes_max: u64, format: Format) -> anyhow::Result<Exit> {
    let status = Status::of(spool)?;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        writeln!(out, "file             {}", spool.path().display())?;
        writeln!(
            out,
            "waiting          {} records, {} bytes",
            status.waiting.waiting_records, status.waiting.waiting_bytes
        )?;
        writeln!(out, "limit            {bytes_max} bytes")?;
        writeln!(out, "room             {}", in_words(status.room))?;
        writeln!(
            out,
            "last number      {} of epoch {}",
            status.waiting.last.0, status.waiting.epoch.0
        )?;
        if let Some(UnderWay {
            finished_runs,
            kept_requests,
            missing_samples,
        }) = status.bench
        {
            writeln!(
                out,
                "bench            under way or interrupted: {finished_runs} runs finished, {kept_requests} requests of the next one kept"
            )?;
            if missing_samples > 0 {
                writeln!(
                    out,
                    "                 {missing_samples} power samples of it are given up and declared missing, for want of room"
                )?;
            }
        }
    }
    Ok(Exit::Done)
}

fn in_words(room: Room) -> String {
    let disk = match room.disk_bytes {
        Some(bytes) => format!(", {bytes} bytes left on the disk"),
        None => String::new(),
    };
    let verdict = match room.is_enough {
        true => "enough for another run",
        false => {
            "too little for another run: deliver what waits, make room, or raise `spool.bytes_max`"
        }
    };
    format!("{} bytes kept{disk}: {verdict}", room.kept_bytes)
}
