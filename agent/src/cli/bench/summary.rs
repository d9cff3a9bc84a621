//! What a bench came to, for people: one line for each configuration and task, then where everything is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
};

use comfy_table::{CellAlignment, LineStyle, Table, presets};
use tokwatt_domain::{
    device::DeviceProfile,
    metrics::{
        Flag, MetricValue, Percentile, PowerReport, RunReport, projection::project,
        resized::resized, spread,
    },
    power::Scope,
    run::LoadKind,
};

use super::{
    document::AgentCost,
    kept::{Kept, Pace},
    progress::in_words,
    truth::Energies,
};
use crate::{power::sampler::Health, runner::Outcome};

/// The repetitions of one cell.
struct Repetitions<'a>(Vec<&'a RunReport>);

/// What waits for the collector.
pub(super) struct Waiting<'a> {
    pub(super) records: u64,
    pub(super) spool: &'a Path,
    /// The command that delivers it.
    pub(super) how: &'a str,
}

pub(super) fn write(
    out: &mut impl Write,
    device: &DeviceProfile,
    outcome: &Outcome,
    agent: AgentCost,
    kept: &Kept<'_>,
) -> anyhow::Result<()> {
    write_device(out, device)?;
    let Some(first) = outcome.reports.first() else {
        writeln!(out, "nothing was measured")?;
        return Ok(());
    };
    write_engine(out, first)?;
    write_loads(out, &outcome.reports)?;
    writeln!(out, "{}", table(&outcome.reports).trim_fmt())?;
    write_legend(out, &outcome.reports)?;
    write_goodput(out, &outcome.reports)?;
    for (title, reports) in by_mode(&outcome.reports) {
        write_energy(out, &title, &reports)?;
    }
    let mut instruments = outcome.instruments.iter();
    instruments.try_for_each(|health| write_health(out, health))?;
    write_truth(out, &outcome.reports, &kept.truth)?;
    write_projections(out, &kept.paces)?;
    write_doubts(out, outcome)?;
    let window: f64 = outcome.reports.iter().map(|report| report.window_s).sum();
    writeln!(
        out,
        "the agent itself used {:.1} CPU s ({:.1} s were measured) and at most {:.1} MB; the engine is a process of its own",
        agent.cpu_s,
        window,
        agent.peak_rss_bytes as f64 / 1e6
    )?;
    Ok(())
}

/// Where the results are, and what to do if they are not delivered.
pub(super) fn write_whereabouts(
    out: &mut impl Write,
    delivered: Option<&str>,
    waiting: &Waiting<'_>,
    bundle: Option<&Path>,
) -> anyhow::Result<()> {
    write_taken(out, delivered, bundle)?;
    if waiting.records > 0 {
        writeln!(
            out,
            "{} records wait safely in {}; deliver them with: {}",
            waiting.records,
            waiting.spool.display(),
            waiting.how
        )?;
    }
    Ok(())
}

fn write_taken(
    out: &mut impl Write,
    delivered: Option<&str>,
    bundle: Option<&Path>,
) -> anyhow::Result<()> {
    if let Some(bundle) = bundle {
        writeln!(out, "bundle: {}", bundle.display())?;
    }
    if let Some(delivered) = delivered {
        writeln!(out, "{delivered}")?;
    }
    Ok(())
}

/// What became of results that a seed brings back.
pub(super) fn write_simulated_whereabouts(
    out: &mut impl Write,
    delivered: Option<&str>,
    waiting: u64,
    bundle: Option<&Path>,
) -> anyhow::Result<()> {
    write_taken(out, delivered, bundle)?;
    if waiting > 0 && bundle.is_none() {
        writeln!(
            out,
            "simulated results are not kept, the same seed brings them back; --out DIR keeps a bundle, --collector URL delivers them"
        )?;
    }
    Ok(())
}

fn write_device(out: &mut impl Write, device: &DeviceProfile) -> anyhow::Result<()> {
    let facts = [
        "board_model",
        "cpu_model",
        "memory_total_bytes",
        "kernel",
        "power_mode",
    ];
    let known: Vec<String> = facts
        .iter()
        .filter_map(|fact| Some(format!("{fact} {}", device.facts.get(*fact)?)))
        .collect();
    writeln!(
        out,
        "device {} ({}): {}",
        device.id,
        device.kind,
        known.join(", ")
    )?;
    Ok(())
}

fn write_engine(out: &mut impl Write, report: &RunReport) -> anyhow::Result<()> {
    let identity = &report.cell.identity;
    let configuration = &report.cell.configuration;
    writeln!(
        out,
        "suite  {} ({}), model {}, engine {}",
        identity.suite,
        &identity.suite_digest.to_string()[..12],
        identity.model,
        configuration.engine
    )?;
    if let Some(note) = configuration.model_facts.get("note") {
        writeln!(out, "note   {note}")?;
    }
    Ok(())
}

/// One line for each model that was loaded: how long, and from where.
fn write_loads(out: &mut impl Write, reports: &[RunReport]) -> anyhow::Result<()> {
    let mut told = Vec::new();
    for report in reports.iter().filter(|report| !report.loads.is_empty()) {
        let precision = &report.cell.identity.precision;
        if told.contains(&(precision, mode_of(report))) {
            continue;
        }
        told.push((precision, mode_of(report)));
        let kinds = [LoadKind::Cold, LoadKind::Warm, LoadKind::Swap];
        let loads = kinds.into_iter().filter_map(|kind| loads_of(report, kind));
        let loads = loads.collect::<Vec<_>>().join("; ");
        let why = report.reasons.get("load_time.cold");
        let why = why.and_then(|why| why.strip_prefix("the load was `warm`: "));
        let why = why.map_or_else(String::new, |why| format!("; not cold: {why}"));
        writeln!(out, "load   {precision}: {loads}{why}")?;
    }
    Ok(())
}

/// `cold 1.203 s (median of 5, 0 % of the weights cached)`.
fn loads_of(report: &RunReport, kind: LoadKind) -> Option<String> {
    let metric = report
        .metrics
        .get(&format!("load_time.{}", kind.as_str()))?;
    let Some(MetricValue::Number(seconds)) = metric else {
        return None;
    };
    let of_kind = report.loads.iter().filter(|load| load.kind == kind);
    let resident = of_kind.clone().filter_map(|load| load.resident);
    let least = resident.clone().reduce(f64::min);
    let most = resident.reduce(f64::max);
    let cached = match (least, most) {
        (Some(least), Some(most)) if most - least < 0.005 => {
            format!("{:.0} % of the weights cached", 100.0 * most)
        }
        (Some(least), Some(most)) => format!(
            "{:.0} to {:.0} % of the weights cached",
            100.0 * least,
            100.0 * most
        ),
        _ => "nobody can tell how much was cached".to_owned(),
    };
    let n = match of_kind.count() {
        1 => String::new(),
        n => format!("median of {n}, "),
    };
    Some(format!("{} {seconds:.3} s ({n}{cached})", kind.as_str()))
}

fn table(reports: &[RunReport]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::new('─', '─', '─', '─');
    let has_modes = modes(reports).len() > 1;
    let with_mode = |mode: &str, row: Vec<String>| {
        let mode = has_modes.then(|| mode.to_owned());
        mode.into_iter().chain(row)
    };
    table
        .load_style(presets::NOTHING.header_separator(rule))
        .set_header(with_mode("mode", HEADER.map(str::to_owned).into()));
    for repetitions in cells(reports).values() {
        table.add_row(with_mode(mode_of(repetitions.0[0]), repetitions.row()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index >= FIRST_FIGURE + usize::from(has_modes) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The power modes of the runs; devices without such have one, called `–`.
fn modes(reports: &[RunReport]) -> Vec<&str> {
    let mut modes = Vec::new();
    for mode in reports.iter().map(mode_of) {
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    modes
}

/// What the energy of each mode is called, and its runs; a mode in which nothing was asked has none.
fn by_mode(reports: &[RunReport]) -> Vec<(String, Vec<&RunReport>)> {
    let modes = modes(reports);
    if modes.len() < 2 {
        return vec![("energy".to_owned(), reports.iter().collect())];
    }
    let in_mode = modes.into_iter().map(|mode| {
        let is_in = |report: &&RunReport| mode_of(report) == mode && report.requests.issued > 0;
        let reports: Vec<&RunReport> = reports.iter().filter(is_in).collect();
        (format!("energy in {mode}"), reports)
    });
    in_mode.filter(|(_, reports)| !reports.is_empty()).collect()
}

fn mode_of(report: &RunReport) -> &str {
    let mode = report.cell.configuration.power_mode.as_deref();
    mode.unwrap_or("–")
}

/// Reports by cell, in the order in which the cells were first run.
fn cells(reports: &[RunReport]) -> BTreeMap<usize, Repetitions<'_>> {
    let mut order: Vec<&tokwatt_domain::run::Cell> = Vec::new();
    let mut cells: BTreeMap<usize, Repetitions<'_>> = BTreeMap::new();
    for report in reports {
        let place = order.iter().position(|cell| **cell == report.cell);
        let place = place.unwrap_or_else(|| {
            order.push(&report.cell);
            order.len() - 1
        });
        cells
            .entry(place)
            .or_insert_with(|| Repetitions(Vec::new()))
            .0
            .push(report);
    }
    cells
}

impl Repetitions<'_> {
    fn row(&self) -> Vec<String> {
        let identity = &self.0[0].cell.identity;
        let (score, constant) = self.quality();
        vec![
            identity.precision.clone(),
            identity.task.clone(),
            identity.load.to_string(),
            self.side(),
            format!(
                "{}/{}",
                self.0
                    .iter()
                    .map(|report| report.requests.succeeded)
                    .sum::<u32>(),
                self.0
                    .iter()
                    .map(|report| report.requests.issued)
                    .sum::<u32>()
            ),
            self.milliseconds("ttft"),
            self.milliseconds("request_latency"),
            self.number("decode_tps"),
            self.number("output_tps"),
            score,
            constant,
        ]
    }

    /// Of the pictures, if there are any.
    fn side(&self) -> String {
        let report = self.0[0];
        match report.cell.identity.image_px {
            Some(px) => px.to_string(),
            None if report.totals.contains_key("images") => "own".to_owned(),
            None => "–".to_owned(),
        }
    }

    /// Median over a run's requests, geometric mean over the repetitions.
    fn milliseconds(&self, id: &str) -> String {
        let values = self.0.iter().map(|report| match report.metrics.get(id) {
            Some(Some(MetricValue::Distribution(distribution))) => match distribution.p50 {
                Some(Percentile::Value(seconds)) => Some(seconds * 1e3),
                _ => None,
            },
            _ => None,
        });
        show(values.collect(), 2)
    }

    fn number(&self, id: &str) -> String {
        let values = self.0.iter().map(|report| match report.metrics.get(id) {
            Some(Some(MetricValue::Number(value))) => Some(*value),
            _ => None,
        });
        show(values.collect(), 1)
    }

    /// Arithmetic, for it may be 0.
    fn mean(&self, id: &str) -> String {
        let values = self.0.iter().map(|report| match report.metrics.get(id) {
            Some(Some(MetricValue::Number(value))) => Some(*value),
            _ => None,
        });
        let values: Option<Vec<f64>> = values.collect();
        let mean = values.and_then(|values| spread::arithmetic_mean(&values));
        mean.map_or_else(|| "–".to_owned(), |mean| format!("{mean:.3}"))
    }

    /// The score that stands for the task.
    fn leading(&self) -> Option<&'static str> {
        let quality = &self.0[0].quality;
        let ids = LEADING.iter().copied();
        ids.into_iter().find(|id| quality.contains_key(*id))
    }

    /// The task's leading score beside the best constant answer's.
    fn quality(&self) -> (String, String) {
        let Some(id) = self.leading() else {
            return ("–".into(), "–".into());
        };
        let mean = |id: &str| {
            let scores: Option<Vec<f64>> = self
                .0
                .iter()
                .map(|report| report.quality.get(id).copied().flatten())
                .collect();
            scores.map_or_else(
                || "–".to_owned(),
                |scores| format!("{:.2}", scores.iter().sum::<f64>() / scores.len() as f64),
            )
        };
        (mean(id), mean(&format!("{id}.constant")))
    }
}

/// How many requests a second kept to the limits that were stated, for each cell.
fn write_goodput(out: &mut impl Write, reports: &[RunReport]) -> anyhow::Result<()> {
    for repetitions in cells(reports).values() {
        let first = repetitions.0[0];
        let Some(limits) = first.limits else { continue };
        let what = match first.metrics.get("goodput") {
            Some(Some(_)) => format!(
                "{} of {} requests/s",
                repetitions.mean("goodput"),
                repetitions.mean("requests_per_s")
            ),
            _ => {
                let reason = first.reasons.get("goodput");
                format!(
                    "none: {}",
                    reason.map_or("no request has it", String::as_str)
                )
            }
        };
        writeln!(
            out,
            "goodput within {limits}: {}: {what}",
            first.cell.label()
        )?;
    }
    Ok(())
}

/// What was not measured, and is not a result.
fn write_projections(out: &mut impl Write, paces: &[Pace]) -> anyhow::Result<()> {
    for pace in paces {
        let Some(projection) = project(&pace.stretches, PROJECTED_REQUESTS) else {
            continue;
        };
        writeln!(
            out,
            "projected, not measured: {PROJECTED_REQUESTS} requests of {} would take {} (from {} segments, 95 %)",
            pace.label,
            in_words(&projection),
            pace.stretches.len()
        )?;
    }
    Ok(())
}

/// What the score of each task is.
fn write_legend(out: &mut impl Write, reports: &[RunReport]) -> anyhow::Result<()> {
    let mut scores = Vec::new();
    for repetitions in cells(reports).values() {
        let task = &repetitions.0[0].cell.identity.task;
        let entry = repetitions.leading().map(|id| format!("{task} {id}"));
        scores.extend(entry.filter(|entry| !scores.contains(entry)));
    }
    if !scores.is_empty() {
        writeln!(
            out,
            "score: {}\nconst.: the score of the best single answer to everything",
            scores.join(", ")
        )?;
    }
    Ok(())
}

fn show(values: Option<Vec<f64>>, digits: usize) -> String {
    values
        .and_then(|values| spread::geometric_mean(&values))
        .map_or_else(|| "–".to_owned(), |mean| format!("{mean:.digits$}"))
}

/// One line for each scope, or why there is none.
fn write_energy(out: &mut impl Write, title: &str, reports: &[&RunReport]) -> anyhow::Result<()> {
    let Some(with_power) = reports.iter().find(|report| !report.power.is_empty()) else {
        let reason = reports
            .iter()
            .find_map(|report| report.reasons.get("power"));
        let reason = reason.map_or("no power sensor", String::as_str);
        writeln!(out, "{title}: none measured: {reason}")?;
        return Ok(());
    };
    for sensor in &with_power.power {
        let same =
            |power: &&PowerReport| power.scope == sensor.scope && power.source == sensor.source;
        let all: Vec<&PowerReport> = reports
            .iter()
            .flat_map(|report| &report.power)
            .filter(same)
            .collect();
        let energy: f64 = all.iter().filter_map(|power| power.energy_j).sum();
        let bound: f64 = all.iter().filter_map(|power| power.error_bound_j).sum();
        let tokens: f64 = reports
            .iter()
            .filter_map(|report| report.totals.get("completion_tokens"))
            .sum();
        let per_token = if tokens > 0.0 {
            format!("{:.4}", energy / tokens)
        } else {
            "–".to_owned()
        };
        let provenance = with_power
            .provenance
            .power
            .map_or("", |power| power.as_str());
        writeln!(
            out,
            "{title} ({provenance}): {} by {} [{}]: {energy:.2} J ± {bound:.2} J (sampling), {per_token} J/token",
            sensor.scope,
            sensor.source,
            sensor.rails.join(" + "),
        )?;
    }
    Ok(())
}

/// What a made-up machine truly drew, beside what was measured of it.
fn write_truth(
    out: &mut impl Write,
    reports: &[RunReport],
    truth: &[Energies],
) -> anyhow::Result<()> {
    let scopes: BTreeSet<Scope> = truth.iter().flat_map(BTreeMap::keys).copied().collect();
    for scope in scopes {
        let drawn: f64 = truth.iter().filter_map(|run| run.get(&scope)).sum();
        let powers = reports.iter().filter_map(|report| report.power_of(scope));
        let measured: f64 = powers.filter_map(|power| power.energy_j).sum();
        let off = 100.0 * (measured - drawn) / drawn;
        writeln!(
            out,
            "truth of the simulation: {scope}: {drawn:.2} J, measured {off:+.2} %"
        )?;
    }
    Ok(())
}

/// What an instrument came to, the idle baselines included.
fn write_health(out: &mut impl Write, health: &Health) -> anyhow::Result<()> {
    let Health {
        source,
        taken,
        failed,
        missed,
        ..
    } = health;
    let lost = if health.is_lost {
        ", and it was lost"
    } else {
        ""
    };
    write!(
        out,
        "instrument {source}: {taken} samples, {failed} readings failed, {missed} missed{lost}"
    )?;
    match &health.last_error {
        Some(error) => writeln!(out, "; the last failure: {error}")?,
        None => writeln!(out)?,
    }
    Ok(())
}

/// Everything that makes a figure doubtful, once each.
fn write_doubts(out: &mut impl Write, outcome: &Outcome) -> anyhow::Result<()> {
    let mut counts: BTreeMap<(bool, &str), (usize, &str)> = BTreeMap::new();
    for report in &outcome.reports {
        // One flag may stand for several sensors of a run.
        let flags = report.flags.iter().map(|flag| {
            let key = (!flag.blocking, flag.id.as_str());
            (key, flag.detail.as_str())
        });
        for (key, detail) in BTreeMap::from_iter(flags) {
            counts.entry(key).or_insert((0, detail)).0 += 1;
        }
    }
    let total = outcome.reports.len();
    for ((is_note, id), (runs, detail)) in counts {
        let kind = if is_note { "note" } else { "not ranked" };
        writeln!(out, "{kind}: {id} in {runs} of {total} runs, e.g. {detail}")?;
    }
    for Flag { id, detail, .. } in resized(&outcome.reports) {
        writeln!(out, "note: {id}: {detail}")?;
    }
    write_energy_doubts(out, &outcome.reports)?;
    write_failures(out, outcome)
}

/// Why energy is shown and not ranked, for each sensor.
fn write_energy_doubts(out: &mut impl Write, reports: &[RunReport]) -> anyhow::Result<()> {
    let mut counts: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    for report in reports {
        for power in &report.power {
            for Flag { id, detail, .. } in power.doubts(report.window_s) {
                let sensor = format!("{} by {}", power.scope, power.source);
                counts.entry((sensor, id)).or_insert((0, detail)).0 += 1;
            }
        }
    }
    for ((sensor, id), (runs, detail)) in counts {
        let total = reports.len();
        writeln!(
            out,
            "energy not ranked: {sensor}: {id} in {runs} of {total} runs, e.g. {detail}"
        )?;
    }
    Ok(())
}

/// Requests that failed by their class, and runs that ended early, each reason once.
fn write_failures(out: &mut impl Write, outcome: &Outcome) -> anyhow::Result<()> {
    let mut classes = BTreeMap::new();
    for (class, count) in outcome.reports.iter().flat_map(|r| &r.requests.failed) {
        *classes.entry(class.to_string()).or_insert(0_u32) += count;
    }
    for (class, count) in classes {
        writeln!(out, "failed: {count} requests: {class}")?;
    }
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let is_aborted = |report: &&RunReport| report.flags.iter().any(|flag| flag.id == "aborted");
    for report in outcome.reports.iter().filter(is_aborted) {
        let why = report
            .reasons
            .get("run")
            .map_or("the engine died and did not come back", String::as_str);
        reasons.entry(why).or_default().push(report.cell.label());
    }
    for (why, cells) in reasons {
        let more = match cells.len() {
            1 => String::new(),
            n => format!(" and {} more runs", n - 1),
        };
        writeln!(out, "failed: {}{more}: {why}", cells[0])?;
    }
    Ok(())
}

/// What a long batch is planned by.
const PROJECTED_REQUESTS: u64 = 100_000;

const HEADER: [&str; 11] = [
    "precision",
    "task",
    "load",
    "px",
    "answered",
    "TTFT\nms",
    "latency\nms",
    "decode\ntok/s",
    "output\ntok/s",
    "score",
    "const.",
];

/// Columns from here on are figures.
const FIRST_FIGURE: usize = 3;

/// The score that stands for a task in a table, by what the report has.
const LEADING: &[&str] = &[
    "caption_true_facts",
    "counts_exact",
    "attributes_f1",
    "spatial_true",
    "scene_true_facts",
    "direct_exact",
    "number_right",
    "facts_named",
    "code_facts_named",
    "json_values",
];
