//! Entry point of the collector: arguments, logging, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    tokwatt_collector::cli::main()
}
