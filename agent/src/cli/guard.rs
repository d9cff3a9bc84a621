//! `guard`: runs a command and kills it when the agent is gone; started by the agent, not by people.

use std::ffi::OsString;

use clap::Args;

use super::Exit;

#[derive(Args)]
pub(super) struct GuardArgs {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(super) fn guard(args: &GuardArgs) -> anyhow::Result<Exit> {
    let status = crate::guard::run(&args.command)?;
    std::process::exit(status)
}
