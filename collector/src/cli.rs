//! The command line: one subcommand, one file. Text for people on stdout, logs on stderr.

mod client;
mod config;
mod devices;
mod output;
mod rank;
mod runs;
mod serve;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::output::Output;

/// Collects what the agents of a fleet measured, keeps it, and ranks it.
#[derive(Debug, Parser)]
#[command(name = "tokwatt-collector", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes deliveries and answers questions until it is stopped
    Serve(serve::Serve),
    /// Says which device, model or configuration is better, and how surely
    Rank(rank::Rank),
    /// Runs that were delivered
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Devices that delivered
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Settings
    #[command(subcommand)]
    Config(config::Config),
}

/// Reads the arguments, runs the command, and says how it went: 0 done, 1 found something wrong, 2 could not run.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging();
    let mut output = Output::new(io::stdout().lock());
    match run(arguments.command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed too, the exit code says it.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn run(command: Command, output: &mut Output<'_>) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => serve::serve(&serve, output),
        Command::Rank(rank) => rank::rank(&rank, output),
        Command::Runs(runs) => runs::runs(&runs, output),
        Command::Devices(devices) => devices::devices(&devices, output),
        Command::Config(config) => config::config(&config, output),
    }
}

/// `TOKWATT_LOG` chooses what is logged; information and worse if it is not set.
fn start_logging() {
    let filter = EnvFilter::try_from_env("TOKWATT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(!is_plain && io::stderr().is_terminal())
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

const CANNOT_RUN: u8 = 2;
