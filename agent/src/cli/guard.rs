//! `guard`: runs a command and kills it when the agent is gone; started by the agent, not by people.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::Args;

use crate::guard::{GRACE, run};

#[derive(Args)]
pub(super) struct GuardArgs {
    /// From the request to end until force
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// The command
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Its exit code is the command's.
pub(super) fn guard(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    let grace = args.grace.unwrap_or(GRACE);
    Ok(run(&args.program, &args.arguments, grace)?.into())
}
