//! How long a board takes over a million measured runs, beside the same question asked with plain SQL over the stored reports, in one run.
//!
//! `rank [--runs N] [--folder DIR] [--times N]` fills a store with synthetic runs, starts a process that has never seen it, and asks.
//! Every report is one that the agent made on a simulated device, under another name and with figures that were multiplied: nothing was
//! measured, and the boards say nothing about any device. `rank build FOLDER N` and `rank ask FOLDER TIMES` are the two halves.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod rank {
    pub(crate) mod fill;
    pub(crate) mod plain;
    pub(crate) mod questions;
}

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rank::{
    fill, plain,
    questions::{QUESTIONS, Question},
};
use tokio::sync::watch;
use tokwatt_collector::{
    query::Query,
    store::{Store, database_in},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match *words {
        ["build", folder, n_runs] => runtime.block_on(fill::fill(folder.as_ref(), n_runs.parse()?)),
        ["ask", folder, times] => runtime.block_on(ask(folder.as_ref(), times.parse()?)),
        _ => both(&Asked::read(&arguments)?),
    }
}

/// What was asked for.
struct Asked {
    runs: String,
    times: String,
    folder: PathBuf,
}

impl Asked {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut asked = Self {
            runs: "1000000".to_owned(),
            times: "100".to_owned(),
            folder: std::env::temp_dir(),
        };
        for pair in arguments.chunks(2) {
            match pair {
                [flag, value] if flag == "--runs" => asked.runs.clone_from(value),
                [flag, value] if flag == "--times" => asked.times.clone_from(value),
                [flag, value] if flag == "--folder" => asked.folder = value.into(),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(asked)
    }
}

/// Each half in a process of its own, so that the second one's memory is the collector's.
fn both(asked: &Asked) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(&asked.folder)?;
    let halves = [("build", &asked.runs), ("ask", &asked.times)];
    for (half, number) in halves {
        let status = Command::new(std::env::current_exe()?)
            .arg(half)
            .arg(folder.path())
            .arg(number)
            .status()?;
        ensure!(status.success(), "`{half}` ended with {status}");
    }
    Ok(())
}

async fn ask(folder: &Path, times: usize) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let begun = now();
    let store = Arc::new(Store::open(folder)?);
    let opened = begun.elapsed();
    let before = resident_mb()?;
    let query = Query::new(store, watch::channel(0).1);
    let asked = now();
    answer(&query, &QUESTIONS[0]).await?;
    let first = asked.elapsed();
    let size = fs::metadata(database_in(folder))?.len();
    writeln!(
        out,
        "database {:.2} GB; opened in {:.2} s, first answer after another {:.2} s; memory {before} MB, then {} MB\n",
        giga(size),
        opened.as_secs_f64(),
        first.as_secs_f64(),
        resident_mb()?
    )?;
    let plain = plain::Plain::open(&database_in(folder))?;
    writeln!(
        out,
        "rows answer bytes   p50 ms   p95 ms   plain SQL ms    ratio  question"
    )?;
    let mut slowest = Duration::ZERO;
    for question in QUESTIONS {
        let mut taken = Vec::new();
        let mut answered = (0, 0);
        for _ in 0..times {
            let begun = now();
            answered = answer(&query, question).await?;
            taken.push(begun.elapsed());
        }
        taken.sort_unstable();
        let (middle, late) = (taken[times / 2], taken[(times * 95).div_ceil(100) - 1]);
        slowest = slowest.max(middle);
        let begun = now();
        let beside = plain.ask(question)?.map(|_| begun.elapsed());
        writeln!(
            out,
            "{:>4} {:>12} {:>8.1} {:>8.1} {:>14} {:>8}  {}",
            answered.0,
            answered.1,
            milliseconds(middle),
            milliseconds(late),
            beside.map_or("–".to_owned(), |plain| format!(
                "{:.0}",
                milliseconds(plain)
            )),
            beside.map_or("–".to_owned(), |plain| {
                format!("{:.0}", plain.as_secs_f64() / middle.as_secs_f64())
            }),
            question.says
        )?;
    }
    writeln!(out, "\nmemory after all of it {} MB", resident_mb()?)?;
    if slowest > LIMIT {
        bail!("a question took longer than {} ms", LIMIT.as_millis());
    }
    Ok(())
}

/// Rows and bytes of the document, which is written, too; of a question that is refused, no row and the words.
async fn answer(query: &Query, question: &Question) -> anyhow::Result<(usize, usize)> {
    match query.board(&question.parsed()?).await {
        Ok(board) => Ok((board.rows.len(), serde_json::to_vec(&board)?.len())),
        Err(refusal) if question.is_refused => Ok((0, refusal.to_string().len())),
        Err(error) => Err(error.into()),
    }
}

/// Of this process, by the kernel's word.
fn resident_mb() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("it has memory")?.parse::<u64>()? / 1024)
}

fn giga(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// Of the median of every question.
const LIMIT: Duration = Duration::from_millis(100);

const USAGE: &str = "usage: rank [--runs N] [--folder DIR] [--times N]";
