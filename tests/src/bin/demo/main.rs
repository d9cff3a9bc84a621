//! The main job on this machine: a collector, an agent, a real model at four precisions, a ranking. README's first command.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use tokwatt_harness::{CollectorProcess, agent, tell};

mod fleet;

/// What is asked for.
#[derive(Debug, Eq, PartialEq)]
enum Asked {
    /// This machine, with so many pictures of each task.
    ThisMachine { limit: String },
    /// Machines that do not exist, and where what the collector has is kept.
    SimulatedFleet { seed: u64, keep: Option<PathBuf> },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match asked(&arguments) {
        Some(Asked::ThisMachine { limit }) => demo(&limit),
        Some(Asked::SimulatedFleet { seed, keep }) => simulated_fleet(seed, keep.as_deref()),
        None => return fail(USAGE),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Over a new folder that goes with it, unless another one is to be kept.
fn simulated_fleet(seed: u64, keep: Option<&Path>) -> anyhow::Result<()> {
    let aside = tempfile::tempdir().context("cannot make a folder for what goes away")?;
    let Some(keep) = keep else {
        return fleet::fleet(&aside.path().join("collector"), aside.path(), seed);
    };
    let is_new = fs::read_dir(keep).map_or(true, |mut entries| entries.next().is_none());
    if !is_new {
        bail!(
            "--keep: `{}` holds something already: name a folder that is new or empty",
            keep.display()
        );
    }
    fleet::fleet(keep, aside.path(), seed)?;
    title("kept; what to type next");
    tell(&format!(
        "target/release/tokwatt-collector serve --data '{}' &",
        keep.display()
    ));
    tell("target/release/tokwatt-collector runs list");
    Ok(())
}

fn demo(limit: &str) -> anyhow::Result<()> {
    let folder = fresh_folder()?;
    let collector = CollectorProcess::start(&folder.join("collector"))?;
    title("measuring the built-in model on this machine");
    let bundle = folder.join("bundle");
    let status = agent(&folder.join("agent"))
        .args([
            "bench",
            "--suite",
            "edge-vision",
            "--quick",
            "--repeat",
            "3",
        ])
        .args(["--precision", "f32,f16,bf16,q8_0", "--limit", limit])
        .args(["--collector", collector.url()])
        .arg("--out")
        .arg(&bundle)
        .status()
        .context("cannot start the agent")?;
    if !status.success() {
        bail!(
            "the bench ended with {status}; what it measured is in {}",
            folder.display()
        );
    }
    for (metric, why) in QUESTIONS {
        title(why);
        show(
            &collector,
            &["rank", "--metric", metric, "--by", "precision"],
        )?;
    }
    title("devices");
    show(&collector, &["devices", "list"])?;
    collector.stop()?;
    say_what_next(&folder, &bundle);
    Ok(())
}

/// What a person asks first: which precision is fastest, for one answer and for the machine.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "decode_tps",
        "which precision writes fastest (tokens after the first, per second)",
    ),
    (
        "e2e_output_tps",
        "which answers fastest, picture and prompt included (tokens per second of waiting)",
    ),
    (
        "ttft",
        "which starts to answer first (time to the first token, median)",
    ),
];

/// Asks, and shows the answer as it is.
fn show(collector: &CollectorProcess, question: &[&str]) -> anyhow::Result<()> {
    let answer = collector.ask(question)?;
    std::io::stdout().write_all(&answer.stdout)?;
    std::io::stderr().write_all(&answer.stderr)?;
    if !answer.status.success() {
        bail!(
            "`tokwatt-collector {}` ended with {}",
            question.join(" "),
            answer.status
        );
    }
    Ok(())
}

/// `demo-data/1`, `demo-data/2`, …: a demo never touches what an earlier one left.
fn fresh_folder() -> anyhow::Result<PathBuf> {
    let home = Path::new("demo-data");
    fs::create_dir_all(home).context("cannot make the folder `demo-data` here")?;
    for number in 1.. {
        let folder = home.join(number.to_string());
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).context("cannot make a folder in `demo-data`"),
        }
    }
    bail!("no number is free in `demo-data`")
}

/// Nothing if the arguments say something else.
fn asked(arguments: &[String]) -> Option<Asked> {
    let (mut limit, mut seed, mut keep, mut is_fleet) = (None, None, None, false);
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--simulated-fleet" => is_fleet = true,
            "--limit" => limit = Some(arguments.next()?.parse::<u32>().ok().filter(|n| *n > 0)?),
            "--seed" => seed = Some(arguments.next()?.parse::<u64>().ok()?),
            "--keep" => keep = Some(PathBuf::from(arguments.next()?)),
            _ => return None,
        }
    }
    match (is_fleet, limit, seed, keep) {
        (true, None, seed, keep) => Some(Asked::SimulatedFleet {
            seed: seed.unwrap_or(1),
            keep,
        }),
        (false, limit, None, None) => Some(Asked::ThisMachine {
            limit: limit.unwrap_or(20).to_string(),
        }),
        _ => None,
    }
}

const USAGE: &str = "usage: demo [--limit N]                             N pictures of each task, 20 by default; fewer than 20 are shown and not ranked
       demo --simulated-fleet [--seed N] [--keep DIR]   machines that do not exist; DIR keeps what the collector has";

#[expect(clippy::print_stderr, reason = "the demo's last word")]
fn fail(why: &str) -> ExitCode {
    eprintln!("demo: {why}");
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "the demo talks to a person")]
fn title(text: &str) {
    println!("\n── {text} ──");
}

#[expect(clippy::print_stdout, reason = "the demo talks to a person")]
fn say_what_next(folder: &Path, bundle: &Path) {
    let data = folder.join("collector");
    println!("\n── where everything is ──");
    println!("database  {}", data.display());
    println!("bundle    {}", bundle.display());
    println!("pictures  target/release/tokwatt-agent suites draw some-folder --count 32");
    println!("\nWhat to type next:");
    println!(
        "  target/release/tokwatt-collector serve --data {} &",
        data.display()
    );
    println!("  target/release/tokwatt-collector runs list");
    println!(
        "  target/release/tokwatt-collector rank --metric ttft --by precision --where task=caption_brief"
    );
    println!(
        "  target/release/tokwatt-agent bench --model YOUR.gguf --mmproj YOUR-mmproj.gguf --collector http://127.0.0.1:7413"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Option<Asked>) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(asked(&arguments), want, "{line}");
    }

    #[test]
    fn what_is_asked_for_is_read_and_nothing_else() {
        let this = |limit: &str| {
            Some(Asked::ThisMachine {
                limit: limit.to_owned(),
            })
        };
        let fleet = |seed, keep: Option<&str>| {
            let keep = keep.map(PathBuf::from);
            Some(Asked::SimulatedFleet { seed, keep })
        };
        check("", this("20"));
        check("--limit 5", this("5"));
        check("--limit 0", None);
        check("--simulated-fleet", fleet(1, None));
        check("--simulated-fleet --keep d --seed 7", fleet(7, Some("d")));
        check("--simulated-fleet --limit 5", None);
        check("--keep d", None);
        check("--keep", None);
        check("fleet", None);
    }
}
