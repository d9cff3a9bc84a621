//! `config default|check`: every key with its default, or what is in force and where it came from.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Exit, General};
use crate::settings::{DEFAULT_FILE, Given, Origin};

#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the complete, commented configuration file
    Default,
    /// Print what is in force with `--config FILE`, and where each value came from
    Check,
}

pub(super) fn config(general: General, args: &ConfigArgs) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match args.action {
        Action::Default => out.write_all(DEFAULT_FILE.as_bytes())?,
        Action::Check => {
            for (key, value, origin) in general.settings(Given::default())?.table() {
                writeln!(out, "{key:<20} {value:<44} {}", origin_word(origin))?;
            }
        }
    }
    Ok(Exit::Done)
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Default => "default",
        Origin::File => "file",
        Origin::Given => "flag or environment",
    }
}
