//! Entry point of the agent: arguments, logging, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    tokwatt_agent::cli::main()
}
