//! `config default` and `config check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::Output;
use crate::settings::{DEFAULT_FILE, Overrides, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Prints the default settings with comments, to be saved and changed
    Default,
    /// Reads a settings file and prints what would be in force, and where it comes from
    Check(Check),
}

#[derive(Args, Debug)]
pub(super) struct Check {
    /// Settings file
    #[arg(value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    file: Option<PathBuf>,
}

pub(super) fn config(arguments: &Config, output: &mut Output<'_>) -> anyhow::Result<()> {
    match arguments {
        Config::Default => output.print(DEFAULT_FILE)?,
        Config::Check(check) => {
            let resolved = Settings::resolve(check.file.as_deref(), &Overrides::default())?;
            resolved.settings.check()?;
            output.print(&resolved.to_string())?;
        }
    }
    Ok(())
}
