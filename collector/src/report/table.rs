//! Documents as text tables, up to 110 columns wide.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets};
use tokwatt_domain::{
    leaderboard::Board,
    metrics::{
        Distribution, MetricValue, Percentile, PowerReport, RunReport, dictionary::definition,
    },
    power::Provenance,
};

use super::{
    beside, beside_of, cell, date, details, fixed, flags, has_flag_column, keys,
    lines::{dashed, wrapped},
    notes,
    number::{self, Scale},
    place, scale, title, value,
};
use crate::query::{Device, Devices, RunDetail, RunLine, RunSource, Runs};

/// A board.
pub fn board(board: &Board) -> String {
    let mut text = format!("{}\n", title(board));
    text += &labelled(fixed::groups(board));
    if !board.rows.is_empty() {
        text += &format!("\n{}\n", rows(board).trim_fmt());
    }
    let below = labelled(details(board));
    if !below.is_empty() {
        text += &format!("\n{below}");
    }
    text + &dashed(&notes(board))
}

fn rows(board: &Board) -> Table {
    let (keys, _) = keys(board);
    let is_measured = board.provenance == Provenance::Measured;
    let mut head = vec!["place"];
    head.extend(&keys);
    head.extend(["value", "95 % interval", "runs"]);
    let beside = beside(board);
    head.extend(&beside);
    head.extend((!is_measured).then_some("provenance"));
    head.extend(has_flag_column(board).then_some("flags"));
    let mut table = table(&head);
    let scale = scale(board);
    for row in &board.rows {
        let (words, _) = flags(row);
        let mut cells = vec![Cell::new(place(row))];
        cells.extend(keys.iter().map(|key| Cell::new(cell(row, key))));
        cells.extend(value(row, &scale).map(right));
        cells.push(right(row.n_runs));
        cells.extend(beside.iter().map(|id| right(beside_of(row, id))));
        cells.extend((!is_measured).then(|| Cell::new(board.provenance)));
        cells.extend(has_flag_column(board).then(|| Cell::new(words.join(", "))));
        table.add_row(cells);
    }
    table
}

/// One line each, longer ones broken below their beginning.
fn labelled<'a>(groups: Vec<(&'a str, String)>) -> String {
    let label = groups.iter().map(|(label, _)| label.len()).max();
    let width = label.unwrap_or(0) + 2;
    let line = |(label, words): (&'a str, String)| {
        wrapped(&format!("{label:width$}{words}"), width) + "\n"
    };
    groups.into_iter().map(line).collect()
}

/// A list of runs.
pub fn runs(runs: &Runs) -> String {
    let mut table = table(&[
        "run",
        "started (UTC)",
        "device",
        "cell",
        "no.",
        "state",
        "ok",
        "flags",
    ]);
    for line in &runs.runs {
        table.add_row(run_cells(line));
    }
    let problems = runs
        .runs
        .iter()
        .filter_map(|line| Some(format!("run {}: {}", &line.run, line.problem.as_ref()?)));
    let notes: Vec<String> = problems.chain(runs.notes.iter().cloned()).collect();
    if runs.runs.is_empty() {
        return format!("no runs\n{}", dashed(&notes));
    }
    format!("{}\n{}", table.trim_fmt(), dashed(&notes))
}

fn run_cells(line: &RunLine) -> Vec<Cell> {
    let ok = match (line.n_succeeded, line.n_requests) {
        (Some(succeeded), Some(requests)) => format!("{succeeded}/{requests}"),
        _ => "–".to_owned(),
    };
    let unless_measured = line.provenance.iter().filter(|name| *name != "measured");
    let flags: Vec<&str> = unless_measured
        .chain(&line.flags)
        .map(String::as_str)
        .collect();
    vec![
        Cell::new(run_end(&line.run)),
        Cell::new(line.started.map_or_else(|| "–".to_owned(), date::minute)),
        Cell::new(&line.device),
        Cell::new(line.cell.as_deref().unwrap_or("–")),
        right(
            line.repetition
                .map_or_else(|| "–".to_owned(), |n| n.to_string()),
        ),
        Cell::new(&line.state),
        right(ok),
        Cell::new(flags.join(", ")),
    ]
}

/// Devices.
pub fn devices(devices: &Devices) -> String {
    if devices.devices.is_empty() {
        return "no devices: `tokwatt-agent bench --collector …` makes this machine one\n"
            .to_owned();
    }
    let mut table = table(&[
        "device",
        "kind",
        "agent",
        "runs",
        "cells",
        "last run (UTC)",
        "unused records",
        "delivered",
    ]);
    for device in &devices.devices {
        table.add_row(device_cells(device));
    }
    format!("{}\n", table.trim_fmt())
}

fn device_cells(device: &Device) -> Vec<Cell> {
    let delivered = device
        .streams
        .iter()
        .map(|stream| stream.through)
        .sum::<i64>();
    let kind = device
        .profile
        .as_ref()
        .map(|profile| profile.kind.to_string());
    vec![
        Cell::new(&device.device),
        Cell::new(kind.as_deref().unwrap_or("–")),
        Cell::new(&device.agent_version),
        right(device.n_runs),
        right(device.n_cells),
        Cell::new(
            device
                .last_started
                .map_or_else(|| "–".to_owned(), date::minute),
        ),
        right(device.n_set_aside),
        right(delivered),
    ]
}

/// One run.
pub fn run(run: &RunDetail) -> String {
    let line = &run.line;
    let mut text = format!("run {} on {}: {}\n", line.run, line.device, line.state);
    if let Some(header) = &run.header {
        text += &format!(
            "{}, repetition {}, started {} UTC, {}{}\n",
            header.cell.label(),
            header.repetition,
            date::utc(header.started.0),
            header.requests_provenance,
            power_provenance(run)
        );
    }
    if let Some(problem) = &line.problem {
        text += &format!("{problem}\n");
    }
    if let Some(source) = &run.source {
        text += &of_source(source);
    }
    if !["kept", "none"].contains(&line.raw_samples.as_str()) {
        text +=
            "its raw power samples are kept no longer (retention): it cannot be measured again\n";
    }
    if line
        .flags
        .iter()
        .any(|flag| flag == "attempt_does_not_count")
    {
        text += "on no board: of its job another attempt counts, or none\n";
    }
    if !run.differs.is_empty() {
        text += &format!(
            "the agent's own report differs in: {}\n",
            run.differs.join(", ")
        );
    }
    run.report.as_ref().map_or_else(
        || text.clone(),
        |report| format!("{text}{}", figures(report)),
    )
}

/// Where it is from, so that nobody takes it for a measurement of ours, and what of it has no definition here.
fn of_source(source: &RunSource) -> String {
    let version = source
        .version
        .as_deref()
        .unwrap_or("of a version not stated");
    let mut text = format!(
        "not measured by us: {} of `{}`, written by {} {version}, imported {} by {}\nsha256 {}\n",
        source.place,
        source.file,
        source.tool,
        date::utc(source.imported),
        source.imported_by,
        source.sha256
    );
    let values = source.values.as_array().into_iter().flatten();
    for value in values {
        let of = |key: &str| value[key].as_str().unwrap_or_default();
        if of("id").starts_with("foreign.") {
            let number = number::short(value["value"].as_f64().unwrap_or_default());
            text += &format!("never ranked: {} {number} {}\n", of("id"), of("unit"));
        }
    }
    text
}

/// `, power replayed`: said where it differs from the requests', so that nobody takes a recording for a measurement.
fn power_provenance(run: &RunDetail) -> String {
    let Some(provenance) = run.report.as_ref().map(|report| report.provenance) else {
        return String::new();
    };
    match provenance.power {
        Some(power) if power != provenance.requests => format!(", power {power}"),
        _ => String::new(),
    }
}

/// What is stated of it.
fn succeeded(report: &RunReport) -> String {
    let window_s = report.stated_window_s().map(number::short);
    let within = window_s.map_or_else(String::new, |window_s| format!(" in {window_s} s"));
    match report.stated_requests() {
        Some(counts) => format!(
            "{} of {} requests succeeded{within}\n",
            counts.succeeded, counts.issued
        ),
        None => String::new(),
    }
}

fn figures(report: &RunReport) -> String {
    let mut text = succeeded(report);
    let mut table = table(&["figure", "unit", "value or median", "p90", "p99"]);
    for (id, value) in present(&report.metrics) {
        match value {
            MetricValue::Number(value) => table.add_row(figure(id, *value)),
            MetricValue::Distribution(spread) => table.add_row(distribution(id, spread)),
        };
    }
    for (id, value) in present(&report.quality) {
        table.add_row(figure(id, *value));
    }
    for (id, value) in report.power.iter().flat_map(energies) {
        table.add_row(figure(&id, value));
    }
    text += &format!("\n{}\n", table.trim_fmt());
    let flags = report
        .flags
        .iter()
        .map(|flag| format!("flag {}: {}", flag.id, flag.detail));
    let reasons =
        report
            .reasons
            .iter()
            .map(|(key, reason)| match INSTEAD.contains(&key.as_str()) {
                true => format!("{key}: {reason}"),
                false => format!("no {key}: {reason}"),
            });
    text + &dashed(&flags.chain(reasons).collect::<Vec<_>>())
}

fn present<T>(figures: &BTreeMap<String, Option<T>>) -> impl Iterator<Item = (&str, &T)> {
    let figures = figures.iter();
    figures.filter_map(|(id, value)| Some((id.as_str(), value.as_ref()?)))
}

fn figure(id: &str, value: f64) -> Vec<Cell> {
    let scale = Scale::of(unit(id), [value].into_iter());
    vec![
        Cell::new(id),
        Cell::new(scale.unit),
        right(scale.show(value)),
    ]
}

/// All its percentiles in one unit.
fn distribution(id: &str, spread: &Distribution) -> Vec<Cell> {
    let percentiles = [spread.p50, spread.p90, spread.p99];
    let values = percentiles
        .iter()
        .filter_map(|percentile| match percentile {
            Some(Percentile::Value(value)) => Some(*value),
            _ => None,
        });
    let scale = Scale::of(unit(id), values);
    let mut shown = percentiles.map(|percentile| {
        percentile.map_or_else(
            || "–".to_owned(),
            |percentile| number::percentile(percentile, &scale),
        )
    });
    // Some tools tell the mean alone.
    if let (None, Some(mean)) = (spread.p50, spread.mean) {
        shown[0] = format!("mean {}", scale.show(mean));
    }
    let mut cells = vec![Cell::new(id), Cell::new(scale.unit)];
    cells.extend(shown.map(right));
    cells
}

/// Of a metric, behind whose id its scope and instrument may stand; baselines are measured as what they are baselines of.
pub(crate) fn unit(id: &str) -> &'static str {
    let id = id.split('@').next().unwrap_or(id);
    let baseline = id
        .strip_suffix(".constant")
        .or_else(|| id.strip_suffix(".grammar"));
    definition(baseline.unwrap_or(id)).map_or("", |definition| definition.unit)
}

fn energies(power: &PowerReport) -> Vec<(String, f64)> {
    let figures = [
        ("energy", power.energy_j),
        ("avg_power", power.avg_power_w),
        ("tok_per_s_per_w", power.tok_per_s_per_w),
        ("j_per_output_token", power.j_per_output_token),
        ("j_per_request", power.j_per_request),
        ("j_per_image", power.j_per_image),
    ];
    let named = |(id, value): (&str, Option<f64>)| {
        Some((format!("{id}@{} ({})", power.scope, power.source), value?))
    };
    figures.into_iter().filter_map(named).collect()
}

pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')))
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.to_vec());
    table
}

pub(super) fn right(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// A run by how its id ends, which is chance: how it begins is the time, which runs of a minute share.
pub(crate) fn run_end(run: &str) -> &str {
    let begin = run.len().saturating_sub(RUN_DIGITS);
    run.get(begin..).unwrap_or(run)
}

/// Two of ten thousand runs share so many with a chance of 1 %; accepted by `runs show`, which says if they do.
const RUN_DIGITS: usize = 8;

/// Keys of reasons that say what stands where something is not known, or what came of waiting.
const INSTEAD: [&str; 7] = [
    "cache_policy",
    "load",
    "max_tokens",
    "sampling",
    "settle",
    "source",
    "started",
];
