//! `power-mode-keeper`: puts power modes in force for a bench, and the original one back when the agent is gone; started by the
//! agent, not by people.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, runtime};
use crate::{
    device::{jetson::PowerMode, nvpmodel::Nvpmodel},
    power_mode::keep,
};

#[derive(Args)]
pub(super) struct PowerModeKeeperArgs {
    /// The program that switches
    #[arg(long)]
    nvpmodel: PathBuf,
    /// Number of the mode to put back
    #[arg(long)]
    id: u32,
    /// Its name
    #[arg(long, allow_hyphen_values = true)]
    name: String,
}

pub(super) fn power_mode_keeper(args: PowerModeKeeperArgs) -> anyhow::Result<Exit> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    // A handler that nobody listens to: these end the agent, whose end is the word to put the mode back.
    let _ignored = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];
    let original = PowerMode {
        mode: args.name,
        id: args.id,
    };
    let nvpmodel = Nvpmodel::at(args.nvpmodel);
    let was_other = keep(
        &nvpmodel,
        &original,
        io::stdin().lock(),
        io::stdout().lock(),
    );
    if was_other.map_err(anyhow::Error::msg)? {
        // Who could read it may be gone.
        writeln!(io::stderr(), "power mode {original} is in force again").ok();
    }
    Ok(Exit::Done)
}
