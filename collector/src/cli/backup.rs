//! `backup`: a copy of the data folder that can be served, made while the collector goes on.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::{output::Output, runs::Format};
use crate::{
    backup::{self, Identity},
    clock::{Clock, SystemClock},
    report,
    settings::{Overrides, Settings},
};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("place").required(true).args(["destination", "into"]))]
pub(super) struct Backup {
    /// Folder to be made; `serve --data` on it, or on a copy of it, restores it
    #[arg(value_name = "DEST")]
    destination: Option<PathBuf>,
    /// Folder of backups, in which one is made that is named by the time
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// How many to keep in --into; older ones are removed once the new one is whole
    #[arg(long, value_name = "N", conflicts_with = "destination")]
    keep: Option<NonZeroUsize>,
    /// Copy the site's authority, too, with its private key: whoever has that can enrol anybody
    #[arg(long)]
    with_identity: bool,
    /// Settings file of the collector
    #[arg(long, value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the collector's database
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What was made, for programs.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    folder: PathBuf,
    bytes: u64,
    seconds: f64,
    has_identity: bool,
    devices: i64,
    runs: i64,
    records: i64,
    streams: Vec<Stream>,
}

#[derive(Serialize)]
struct Stream {
    device: String,
    epoch: i64,
    through: i64,
}

pub(super) fn backup(arguments: &Backup, output: &mut Output<'_>) -> anyhow::Result<()> {
    let overrides = Overrides {
        data: arguments.data.clone(),
        ..Overrides::default()
    };
    let settings = Settings::resolve(arguments.config.as_deref(), &overrides)?.settings;
    let destination = match (&arguments.destination, &arguments.into) {
        (Some(destination), _) => destination.clone(),
        (None, into) => {
            let now = report::utc(SystemClock.wall().0);
            into.clone().unwrap_or_default().join(backup::name_at(&now))
        }
    };
    let made = backup::back_up(&settings.data, &destination, arguments.with_identity)?;
    let document = Document::new(&made);
    match arguments.format {
        Format::Json => output.print(&serde_json::to_string(&document)?)?,
        Format::Table => output.print(&document.text(made.identity))?,
    }
    if let (Some(into), Some(keep)) = (&arguments.into, arguments.keep) {
        for removed in backup::prune(into, keep.get())? {
            tracing::info!(folder = %removed.display(), "old backup removed");
        }
    }
    Ok(())
}

impl Document {
    fn new(made: &backup::Backup) -> Self {
        let streams = made.holdings.streams.iter().map(|stream| Stream {
            device: stream.device.clone(),
            epoch: stream.epoch,
            through: stream.through,
        });
        Self {
            schema: "tokwatt.backup/1",
            folder: made.folder.clone(),
            bytes: made.n_bytes,
            seconds: made.took.as_secs_f64(),
            has_identity: made.identity == Identity::Included,
            devices: made.holdings.n_devices,
            runs: made.holdings.n_runs,
            records: made.holdings.n_records,
            streams: streams.collect(),
        }
    }

    fn text(&self, identity: Identity) -> String {
        let mut text = format!(
            "{}: {} bytes in {:.1} s, every page looked at\n{} devices, {} runs, {} records\n",
            self.folder.display(),
            self.bytes,
            self.seconds,
            self.devices,
            self.runs,
            self.records
        );
        for stream in &self.streams {
            text += &format!(
                "{} through record {} of epoch {}\n",
                stream.device, stream.through, stream.epoch
            );
        }
        text + match identity {
            Identity::Included => "with the site's authority and its private key\n",
            Identity::LeftOut => {
                "without the site's authority: --with-identity adds it, without it every device has to enrol again\n"
            }
            Identity::None => "",
        }
    }
}
