//! What a fleet costs the collector: CPU for each message and memory for each idle agent beside a bare tonic echo of the same
//! messages, and acknowledged runs a second beside bare group commits of SQLite. Ratios from one run, all over mutual TLS on loopback.
//!
//! `fleet [--agents N] [--seconds S] [--folder DIR]` starts the real collector, enrols N devices with it the way devices are, and
//! connects all of them. `fleet echo FOLDER` is the bare server and `fleet bare FOLDER` commits the bare groups: each is started as a process
//! of its own, as the collector is.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod fleet {
    pub(crate) mod bare;
    pub(crate) mod echo;
    pub(crate) mod load;
    pub(crate) mod process;
    pub(crate) mod records;
}

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use fleet::{
    bare::{self, Committed},
    echo,
    load::{Cost, Fleet, Target},
    process::{Collector, Echo},
};
use tokwatt_domain::ids::RunId;
use tokwatt_harness::SampleRun;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments {
        [mode, folder] if mode == "echo" => return echo::serve(folder.as_ref()),
        [mode, folder] if mode == "bare" => return bare::commit(folder.as_ref()),
        _ => {}
    }
    let asked = Asked::read(&arguments)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(&asked))
}

/// What was asked for.
struct Asked {
    agents: usize,
    time: Duration,
    folder: PathBuf,
}

impl Asked {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut asked = Self {
            agents: 1_000,
            time: Duration::from_secs(20),
            folder: std::env::temp_dir(),
        };
        for pair in arguments.chunks(2) {
            let [flag, value] = pair else {
                bail!("{USAGE}");
            };
            match flag.as_str() {
                "--agents" => asked.agents = value.parse().context("--agents")?,
                "--seconds" => {
                    asked.time = Duration::from_secs(value.parse().context("--seconds")?)
                }
                "--folder" => asked.folder = value.into(),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(asked)
    }
}

async fn measure(asked: &Asked) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let folder = tempfile::tempdir_in(&asked.folder)?;
    let sample = Arc::new(SampleRun::measure(&bare::sample_in(folder.path()), 20)?);
    let echo = Echo::start(folder.path())?;
    let bare = cost(&echo.target(asked.agents, &sample)?, echo.pid(), asked).await?;
    drop(echo);
    let collector = Collector::start(folder.path())?;
    let target = collector.enrol(asked.agents, &sample).await?;
    let ours = cost(&target, collector.pid(), asked).await?;
    writeln!(
        out,
        "{} agents, each a message a second of {} B for {} s",
        asked.agents,
        ours.message_bytes,
        asked.time.as_secs()
    )?;
    writeln!(
        out,
        "                     CPU a message    memory an idle agent    on the wire a message"
    )?;
    for (name, cost) in [("tonic echo", &bare), ("collector", &ours)] {
        writeln!(
            out,
            "{name:<20} {:>10.1} us {:>20.1} kB {:>20.0} B",
            cost.cpu_us, cost.agent_kb, cost.wire_bytes
        )?;
    }
    let cpu = ours.cpu_us / bare.cpu_us;
    let memory = ours.agent_kb / bare.agent_kb;
    writeln!(
        out,
        "ratio                {cpu:>10.2} (limit 2) {memory:>12.2} (limit 1.5)"
    )?;

    // A disk is not the same from one second to the next.
    let first = Committed::measure(folder.path())?;
    let delivered = Fleet::runs(&target, collector.pid()).await?;
    // What it has still to measure must not take the processors from the other side.
    collector.stop()?;
    let last = Committed::measure(folder.path())?;
    let run = sample.run(&target.agents[0].0, RunId([1; 16]));
    let runs = delivered.per_second / f64::midpoint(first.per_second, last.per_second);
    writeln!(
        out,
        "\na run is {} records, {} B; on the wire {:.0} B, {:.1} runs in a message",
        run.len(),
        run.iter().map(Vec::len).sum::<usize>(),
        delivered.wire_bytes,
        delivered.n_runs / delivered.n_batches as f64
    )?;
    writeln!(
        out,
        "runs acknowledged    {:>10.0} /s, CPU a run {:.0} us, and {:.0} us of those who deliver, on the same cores",
        delivered.per_second, delivered.cpu_us, delivered.clients_cpu_us
    )?;
    for (when, bare) in [("before", first), ("after", last)] {
        writeln!(
            out,
            "bare commits {when:<7} {:>10.0} /s, CPU a run {:.0} us, {:.0} runs in a commit",
            bare.per_second, bare.cpu_us, bare.runs_in_commit
        )?;
    }
    writeln!(out, "ratio                {runs:>10.2} (at least 0.7)")?;
    if cpu > 2.0 || memory > 1.5 || runs < 0.7 {
        bail!("a limit is missed");
    }
    Ok(())
}

async fn cost(target: &Target, pid: u32, asked: &Asked) -> anyhow::Result<Cost> {
    let mut fleet = Fleet::connect(target, pid).await?;
    fleet.pace(asked.time).await
}

const USAGE: &str = "usage: fleet [--agents N] [--seconds S] [--folder DIR]";
