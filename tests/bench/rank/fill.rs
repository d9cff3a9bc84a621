//! Fills a store with synthetic runs: rows of runs by SQL, their reports and cells by the store and the roll-up themselves.

use std::{collections::BTreeMap, io::Write, path::Path, sync::Arc};

use anyhow::{Context, ensure};
use rusqlite::{Connection, params};
use tokio::task::JoinSet;
use tokwatt_collector::{
    rollup,
    store::{Measured, MeasuredRun, ReportRow, Store, database_in},
};
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    metrics::{MetricValue, Percentile, RunReport},
    time::WallTime,
    workload::Load,
};
use tokwatt_harness::{Random, agent};

/// The cells of a fleet, in the order in which devices would run them.
const DEVICES: usize = 40;
const MODELS: usize = 20;
const PRECISIONS: [&str; 4] = ["bf16", "f16", "q4_k_m", "q8_0"];
/// Size of the pictures, and how many requests at a time.
const SHAPES: [(u32, u32); 2] = [(512, 1), (1024, 1)];

/// As many runs as were asked for, or some more: every cell has equally many, and at least three.
pub(crate) async fn fill(folder: &Path, n_runs: usize) -> anyhow::Result<()> {
    let tasks = simulated(&folder.join("agent"))?;
    let n_cells = DEVICES * MODELS * PRECISIONS.len() * SHAPES.len() * tasks.len();
    let repetitions = u32::try_from(n_runs.div_ceil(n_cells).max(3))?;
    drop(Store::open(folder)?);
    announce(&database_in(folder), n_cells, repetitions)?;
    let store = Arc::new(Store::open(folder)?);
    let mut random = Random::new(7);
    let mut writing = JoinSet::new();
    let mut number = 0;
    for device in 0..DEVICES {
        for model in 0..MODELS {
            for precision in PRECISIONS {
                for shape in SHAPES {
                    for task in &tasks {
                        let place = Place {
                            device,
                            model,
                            precision,
                            shape,
                        };
                        let reports = place.reports(task, number, repetitions, &mut random)?;
                        number += u64::from(repetitions);
                        let store = Arc::clone(&store);
                        writing.spawn(async move { keep(&store, reports).await });
                        while writing.len() > WAITING_MAX {
                            writing
                                .join_next()
                                .await
                                .context("some are waited for")???;
                        }
                    }
                }
            }
        }
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    writeln!(
        std::io::stdout(),
        "synthetic: {number} runs of {n_cells} cells, {repetitions} repetitions each: {DEVICES} devices, {MODELS} models, {} precisions, {} tasks, {} sizes",
        PRECISIONS.len(),
        tasks.len(),
        SHAPES.len()
    )?;
    Ok(())
}

/// Which cell, but for its task.
struct Place {
    device: usize,
    model: usize,
    precision: &'static str,
    shape: (u32, u32),
}

/// A report of each task, as the agent makes it on a made-up device.
fn simulated(folder: &Path) -> anyhow::Result<Vec<RunReport>> {
    let output = agent(folder)
        .args(["bench", "--simulate", "thor", "--repeat", "1"])
        .args(["--limit", "20", "--size", "96", "--precision", "q8_0"])
        .args(["--format", "json"])
        .output()?;
    ensure!(output.status.success(), "the simulated bench failed");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(serde_json::from_value(document["runs"].clone())?)
}

/// Devices, and runs that wait to be measured.
fn announce(database: &Path, n_cells: usize, repetitions: u32) -> anyhow::Result<()> {
    let mut connection = Connection::open(database)?;
    let transaction = connection.transaction()?;
    for device in 0..DEVICES {
        transaction.execute(
            "INSERT INTO device VALUES (?1, '0.1.0', NULL)",
            params![name_of(device)],
        )?;
    }
    let per_device = u64::try_from(n_cells / DEVICES)? * u64::from(repetitions);
    let mut insert = transaction.prepare(
        "INSERT INTO run (id, device, state, started_us) VALUES (?1, ?2, 'finished', ?3)",
    )?;
    for device in 0..DEVICES {
        for number in 0..per_device {
            let number = u64::try_from(device)? * per_device + number;
            insert.execute(params![id(number).0, name_of(device), started(number).0])?;
        }
    }
    drop(insert);
    transaction.commit()?;
    Ok(())
}

impl Place {
    /// One for each repetition. Each device, model and precision is faster or slower by a factor of its own, each repetition by up to 3 %.
    fn reports(
        &self,
        task: &RunReport,
        first: u64,
        repetitions: u32,
        random: &mut Random,
    ) -> anyhow::Result<Vec<RunReport>> {
        let mut reports = Vec::new();
        let factor = (1.0 + 0.045 * count(self.device)) * (1.0 + 0.11 * count(self.model))
            / count(self.precision.len());
        for (number, repetition) in (first..).zip(1..=repetitions) {
            let mut report = task.clone();
            report.run = id(number);
            report.device = DeviceId::parse(&name_of(self.device))?;
            report.repetition = repetition;
            report.started = started(number);
            let identity = &mut report.cell.identity;
            identity.model = format!("model-{:02}", self.model);
            identity.precision = self.precision.to_owned();
            identity.image_px = Some(self.shape.0);
            identity.load = Load::Closed(self.shape.1);
            let noise = 0.97 + 0.06 * f64::from(u16::try_from(random.below(1 << 16))?) / 65536.0;
            slow_down(&mut report, factor * noise);
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Multiplies times and energies.
fn slow_down(report: &mut RunReport, factor: f64) {
    report.window_s *= factor;
    for (id, total) in &mut report.totals {
        if id.ends_with("_s") || id == "window_min" || id.starts_with("energy_j") {
            *total *= factor;
        }
    }
    let times = report
        .metrics
        .iter_mut()
        .filter(|(id, _)| *id != "output_chars");
    for value in times.filter_map(|(_, value)| value.as_mut()) {
        if let MetricValue::Distribution(distribution) = value {
            let percentiles = [
                &mut distribution.p50,
                &mut distribution.p90,
                &mut distribution.p95,
                &mut distribution.p99,
            ];
            for percentile in percentiles.into_iter().flatten() {
                if let Percentile::Value(value) = percentile {
                    *value *= factor;
                }
            }
        }
    }
    for power in &mut report.power {
        for joules in [&mut power.energy_j, &mut power.error_bound_j]
            .into_iter()
            .flatten()
        {
            *joules *= factor;
        }
    }
}

/// As the roll-up keeps them.
async fn keep(store: &Store, reports: Vec<RunReport>) -> anyhow::Result<()> {
    let rows = reports.iter().map(|report| {
        Ok(ReportRow {
            report: serde_json::to_string(report)?,
            differs: false,
        })
    });
    let rows: Vec<ReportRow> = rows.collect::<serde_json::Result<_>>()?;
    let runs = reports.iter().zip(&rows).map(|(report, row)| MeasuredRun {
        run: report.run,
        report: row.report.clone(),
        differs: Vec::new(),
    });
    let runs = runs.collect();
    let made = rollup::cells_of(rows)?;
    let cells: BTreeMap<_, _> = made.into_iter().map(|cell| (cell.key, cell)).collect();
    ensure!(cells.len() == 1, "these runs are of one cell");
    let cell = cells.into_values().next().context("and of no other")?;
    let measured = Measured {
        runs,
        cell,
        at: WallTime(0),
    };
    Ok(store.put_measured(measured).await?)
}

fn name_of(device: usize) -> String {
    format!("device-{device:02}")
}

/// Spread like random ones, so that their index grows as it does in truth.
fn id(number: u64) -> RunId {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RunId(bytes)
}

/// One a minute.
fn started(number: u64) -> WallTime {
    WallTime(1_700_000_000_000_000 + 60_000_000 * i64::try_from(number).unwrap())
}

fn count(n: usize) -> f64 {
    n as f64
}

/// Enough for full groups, few enough for memory.
const WAITING_MAX: usize = 64;
