//! The main job on this machine: a collector, an agent, a real model at four precisions, a ranking. README's first command.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use tokwatt_harness::{CollectorProcess, agent};

fn main() -> ExitCode {
    match limit() {
        Some(limit) => match demo(&limit) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{error:#}")),
        },
        None => fail(USAGE),
    }
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

/// Pictures of each task; nothing if the arguments say something else.
fn limit() -> Option<String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => Some("20".to_owned()),
        [flag, number] if flag == "--limit" && number.parse::<u32>().is_ok_and(|n| n > 0) => {
            Some(number.clone())
        }
        _ => None,
    }
}

const USAGE: &str = "usage: demo [--limit N]   N pictures of each task, 20 by default; fewer than 20 are shown and not ranked";

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
