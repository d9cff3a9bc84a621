//! `guard`: runs a command and kills it when the agent is gone; started by the agent, not by people.

use std::{ffi::OsString, process::ExitCode};

use clap::Args;

#[derive(Args)]
pub(super) struct GuardArgs {
    /// The command
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Its exit code is the command's.
pub(super) fn guard(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    Ok(crate::guard::run(&args.program, &args.arguments)?.into())
}
