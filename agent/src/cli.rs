//! The command line, one file a subcommand. Names of commands, flags and keys are a contract.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokwatt_domain::{device::DeviceProfile, time::WallTime};
use tokwatt_service::{LogFormat, Logs};

use crate::{
    device::{self, HostRoot},
    runner::QuietGate,
    settings::{Given, Settings},
};

mod bench;
mod config;
mod decode;
mod doctor;
mod engine_worker;
mod enrol;
mod guard;
mod power_mode_keeper;
mod probe;
mod run;
mod servers;
mod simulate;
mod spool;
mod stop;
mod suites;
mod swap;

/// Measures how fast, and at what cost in joules, this device runs a vision-language model.
#[derive(Parser)]
#[command(
    name = "tokwatt-agent",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    general: General,
    #[command(subcommand)]
    command: Command,
}

/// Heading of the flags that every subcommand has.
const EVERYWHERE: &str = "Options of every command";

/// Flags of every subcommand.
#[derive(Args)]
struct General {
    /// Configuration file; every key: `tokwatt-agent config default`
    #[arg(long, global = true, env = "TOKWATT_CONFIG", value_name = "FILE", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// Folder for spool, caches and unpacked models
    #[arg(long, global = true, env = "TOKWATT_DATA", value_name = "DIR", help_heading = EVERYWHERE)]
    data: Option<PathBuf>,
    /// Where /sys, /proc and /etc are read from; of a recorded tree everything is marked replayed
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    host_root: Option<PathBuf>,
    /// How logs are written to stderr; TOKWATT_LOG=debug says more
    #[arg(long, global = true, env = "TOKWATT_LOG_FORMAT", value_enum, default_value_t, help_heading = EVERYWHERE)]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Say what this device is, and what could not be learnt
    Probe(probe::ProbeArgs),
    /// Say what stands in the way of a good measurement, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Measure a model on this device
    Bench(Box<bench::BenchArgs>),
    /// Measure two models that take turns in memory: what a switch costs, and when it pays
    Swap(Box<swap::SwapArgs>),
    /// Make this device one of a site, so that it may deliver to its collector from anywhere
    Enrol(enrol::EnrolArgs),
    /// Deliver what waits in the spool, and do what campaigns ask for, until stopped
    Run(run::RunArgs),
    /// Look into the spool, and carry it by hand
    Spool(spool::SpoolArgs),
    /// Print or check the configuration
    Config(config::ConfigArgs),
    /// List, show and draw suites
    Suites(suites::SuitesArgs),
    /// Read lines of a device's tool from stdin, print one JSON object a line
    Decode(decode::DecodeArgs),
    /// The embedded engine's process; started by the agent
    #[command(hide = true)]
    EngineWorker,
    /// Runs a command and kills it when the agent is gone; started by the agent
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Puts power modes in force, and the original one when the agent is gone; started by the agent
    #[command(hide = true)]
    PowerModeKeeper(power_mode_keeper::PowerModeKeeperArgs),
}

/// How output is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs: one document, SI units
    Json,
}

/// How a command ended: 0 done, 1 ran and found something wrong, 2 could not run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    Done,
    FoundWrong,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    Logs {
        format: cli.general.log_format,
        level: "warn",
        text_has_time: false,
    }
    .start();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let general = cli.general;
    let exit = match cli.command {
        Command::Probe(args) => probe::probe(general, &args),
        Command::Doctor(args) => doctor::doctor(general, &args),
        Command::Bench(args) => bench::bench(general, *args),
        Command::Swap(args) => swap::swap(general, &args),
        Command::Enrol(args) => enrol::enrol(general, &args),
        Command::Run(args) => run::run(general, args),
        Command::Spool(args) => spool::spool(general, &args),
        Command::Config(args) => config::config(general, &args),
        Command::Suites(args) => suites::suites(general, &args),
        Command::Decode(args) => decode::decode(&args),
        Command::EngineWorker => engine_worker::engine_worker(),
        Command::Guard(args) => return guard::guard(&args),
        Command::PowerModeKeeper(args) => power_mode_keeper::power_mode_keeper(args),
    };
    exit.map(ExitCode::from)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::FoundWrong => Self::from(1),
        }
    }
}

impl General {
    /// The settings in force, with what the subcommand's own flags add.
    fn settings(self, given: Given) -> anyhow::Result<Settings> {
        let given = Given {
            data: self.data,
            host_root: self.host_root,
            ..given
        };
        Ok(Settings::resolve(self.config.as_deref(), given)?)
    }
}

/// Describes the device and keeps its name for the next time.
fn named(root: &HostRoot, settings: &Settings) -> DeviceProfile {
    let data = &settings.data.value;
    if let Err(error) = device::keep_name(root, data) {
        tracing::warn!(%error, data = %data.display(), "the device's name is not kept: another user may see another one");
    }
    device::probe(root, data)
}

/// A wall time for people, to the minute.
fn date(time: WallTime) -> String {
    let since_1970 = Duration::from_micros(u64::try_from(time.0).unwrap_or_default());
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string();
    let (day, clock) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", clock.get(..5).unwrap_or(clock))
}

/// The gate of everything that shares the data folder.
fn gate(settings: &Settings) -> anyhow::Result<QuietGate> {
    let data = &settings.data.value;
    QuietGate::in_folder(data)
        .with_context(|| format!("cannot use the data folder `{}`", data.display()))
}

/// One thread: the engine has the other cores, and a stamp never waits for a wake-up elsewhere.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command that could not run, or not to its end"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("tokwatt-agent: {error:#}");
}

/// Whoever reads has seen enough, e.g. `… | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        let kind = cause.downcast_ref().map(std::io::Error::kind);
        kind.or_else(of_json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn names_of_the_configuration_and_other_ways_to_say_who_answers_exclude_each_other() {
        let parse = |more: &[&str]| {
            let words = ["tokwatt-agent", "bench", "--models", "tiny-vlm,gemma"];
            Cli::try_parse_from(words.iter().chain(more)).is_ok()
        };
        assert!(parse(&["--servers", "vllm", "--precision", "q8_0"]));
        for other in [
            ["--model", "m.gguf"],
            ["--backend", "embedded"],
            ["--server", "vllm"],
            ["--url", "http://127.0.0.1:1"],
            ["--servers", "/bin/sh"],
            ["--servers", "a b"],
        ] {
            assert!(!parse(&other), "{other:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_known_behind_json_too() {
        struct Closed;
        impl std::io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let of_json = serde_json::to_writer(Closed, "profile").unwrap_err();
        assert!(is_closed_pipe(&of_json.into()));
        assert!(is_closed_pipe(&Error::from(ErrorKind::BrokenPipe).into()));
        assert!(!is_closed_pipe(&Error::from(ErrorKind::NotFound).into()));
    }
}
