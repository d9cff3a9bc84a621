//! The command line: one subcommand, one file. Text for people on stdout, logs on stderr.

mod backup;
mod campaign;
mod check;
mod client;
mod compare;
mod config;
mod dashboard;
mod devices;
mod enrol;
mod estimate;
mod export;
mod folder;
mod import;
mod init;
mod output;
mod page;
mod rank;
mod recommend;
mod report;
mod runs;
mod serve;
mod token;
mod verify;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tokwatt_service::{LogFormat, Logs};

use self::output::Output;
use crate::server::ServeError;

/// Collects what the agents of a fleet measured, keeps it, and ranks it.
#[derive(Debug, Parser)]
#[command(name = "tokwatt-collector", version)]
struct Arguments {
    /// How logs are written to stderr; TOKWATT_LOG=debug says more
    #[arg(
        long,
        global = true,
        env = "TOKWATT_LOG_FORMAT",
        value_enum,
        default_value_t,
        help_heading = EVERYWHERE
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gives the collector an identity, so that devices and people on other machines can be enrolled
    Init(init::Init),
    /// Takes deliveries and answers questions until it is stopped
    Serve(serve::Serve),
    /// Tokens, with which devices and people enrol
    #[command(subcommand)]
    Token(token::Token),
    /// Gets this person a certificate from a collector on another machine
    Enrol(enrol::Enrol),
    /// Says which device, model or configuration is better, and how surely
    Rank(rank::Rank),
    Compare(compare::Compare),
    Recommend(recommend::Recommend),
    /// Plans: whether a model fits, how long a batch takes, what energy costs, when a swap pays
    #[command(subcommand)]
    Estimate(estimate::EstimateCommand),
    /// Writes what was measured as a folder: a page, its pictures, every figure as CSV, rankings as text
    Report(report::Report),
    /// Runs that were delivered
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Devices that enrolled or delivered
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Suites for a set of devices
    #[command(subcommand)]
    Campaign(campaign::Campaign),
    /// Opens the pages of a collector on this machine in a browser
    Dashboard(dashboard::Dashboard),
    /// Copies the data folder while the collector goes on, and looks through the copy
    Backup(backup::Backup),
    /// Looks whether the database is what it says: file, books, records, reports, roll-ups
    Check(check::Check),
    /// Takes what comes as a file: what a device exported that no network reaches, and results of other tools
    Import(import::Import),
    /// Writes tables of cells, runs, requests and power, or whole runs as bundles
    Export(export::Export),
    /// Looks whether a run bundle is what it says, without a collector
    Verify(verify::Verify),
    /// Settings
    #[command(subcommand)]
    Config(config::Config),
}

/// What was looked at is not as it should be. It has been said on stdout.
#[derive(Debug, thiserror::Error)]
#[error("something is not as it should be")]
struct FoundWrong;

/// Reads the arguments, runs the command, and says how it went: 0 done, 1 found something wrong, 2 could not run. `serve` ends with 1,
/// too, where another start may succeed: the service manager starts it again then, and not after 2.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    Logs {
        format: arguments.log_format,
        level: "info",
        text_has_time: true,
    }
    .start();
    let mut output = Output::new(io::stdout().lock());
    match run(arguments.command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<FoundWrong>() => ExitCode::from(FOUND_WRONG),
        Err(error) => {
            // If stderr is closed too, the exit code says it.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            let served = error.downcast_ref::<ServeError>();
            ExitCode::from(match served.is_some_and(ServeError::may_pass) {
                true => FOUND_WRONG,
                false => CANNOT_RUN,
            })
        }
    }
}

fn run(command: Command, output: &mut Output<'_>) -> anyhow::Result<()> {
    match command {
        Command::Init(init) => init::init(&init, output),
        Command::Serve(serve) => serve::serve(&serve, output),
        Command::Token(token) => token::token(&token, output),
        Command::Enrol(enrol) => enrol::enrol(&enrol, output),
        Command::Rank(rank) => rank::rank(&rank, output),
        Command::Compare(compare) => compare::compare(&compare, output),
        Command::Recommend(recommend) => recommend::recommend(&recommend, output),
        Command::Estimate(estimate) => estimate::estimate(&estimate, output),
        Command::Report(report) => report::report(&report, output),
        Command::Runs(runs) => runs::runs(&runs, output),
        Command::Devices(devices) => devices::devices(&devices, output),
        Command::Dashboard(dashboard) => dashboard::dashboard(&dashboard, output),
        Command::Backup(backup) => backup::backup(&backup, output),
        Command::Check(check) => check::check(&check, output),
        Command::Import(import) => import::import(&import, output),
        Command::Export(export) => export::export(&export, output),
        Command::Verify(verify) => verify::verify(&verify, output),
        Command::Config(config) => config::config(&config, output),
        Command::Campaign(campaign) => campaign::campaign(&campaign, output),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Heading of the flags that every subcommand has.
const EVERYWHERE: &str = "Options of every command";

const FOUND_WRONG: u8 = 1;
const CANNOT_RUN: u8 = 2;
