//! `tokwatt.bench/1`: the one JSON document of a bench; its schema is in proto/schema/json.

use std::io::Write;

use serde::Serialize;
use tokwatt_domain::{device::DeviceProfile, metrics::RunReport};

use super::truth::Energies;
use crate::{power::sampler::Health, runner::Outcome};

/// Everything that was measured.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    device: &'a DeviceProfile,
    instruments: &'a [Health],
    runs: Vec<Run<'a>>,
}

/// A run's report; of a simulated one also what was truly drawn.
#[derive(Serialize)]
struct Run<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    true_energy_j: Option<&'a Energies>,
}

/// What the agent itself used, from its start on, its own engine's process not included.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentCost {
    /// CPU time, user and system.
    pub(super) cpu_s: f64,
    /// Largest resident set.
    pub(super) peak_rss_bytes: u64,
}

impl<'a> Document<'a> {
    /// `truth` has an entry for each run, if it is known.
    pub(super) fn new(
        device: &'a DeviceProfile,
        outcome: &'a Outcome,
        truth: Option<&'a [Energies]>,
    ) -> Self {
        let run = |(number, report)| Run {
            report,
            true_energy_j: truth.and_then(|truth| truth.get(number)),
        };
        Self {
            schema: "tokwatt.bench/1",
            device,
            instruments: &outcome.instruments,
            runs: outcome.reports.iter().enumerate().map(run).collect(),
        }
    }

    pub(super) fn write(&self, out: &mut impl Write) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)?;
        Ok(())
    }
}

impl AgentCost {
    /// From /proc/self; zero where that cannot be read.
    pub(super) fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        Self {
            cpu_s: cpu_seconds().unwrap_or(0.0),
            peak_rss_bytes: peak.unwrap_or(0) * 1024,
        }
    }
}

/// Fields 14 and 15 of /proc/self/stat; counted from behind the program's name, which may hold spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(per_second))
}
