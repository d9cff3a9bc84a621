//! What stands in each table: cells, runs, requests, readings of power.

use std::collections::BTreeMap;

use tokwatt_domain::{
    ids::RunId,
    metrics::{
        RunReport,
        dictionary::{Definition, definition, definitions},
        latency,
    },
    power::{PowerTrace, Provenance, Reading, Scope},
    run::{Outcome, RequestTrace, RunTrace},
    time::Stamp,
};

use super::table::{Column, Field, Kind, Row};
use crate::rank::{CellFigure, Key, RankedCell, RankedRun};

/// A table that is small enough to be held: one row for each run or cell.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

/// Cells of one or several provenances, with every figure that any of them has.
pub(super) fn cells(
    cells: &[(Provenance, Vec<RankedCell>)],
    reports: &BTreeMap<RunId, &RunReport>,
) -> Table {
    let all = || {
        cells
            .iter()
            .flat_map(|(provenance, cells)| cells.iter().map(move |cell| (provenance, cell)))
    };
    let mut metrics: BTreeMap<(usize, Option<Scope>), (String, &'static Definition)> =
        BTreeMap::new();
    for (_, cell) in all() {
        for name in cell.figures.keys() {
            if let Some((place, definition, scope)) = metric(name) {
                metrics.insert((place, scope), (name.clone(), definition));
            }
        }
    }
    let mut columns = key_columns();
    columns.extend([
        Column::new("provenance", Kind::Text),
        Column::new("n_runs", Kind::Integer),
        Column::new("n_requests", Kind::Integer),
        Column::new("n_failed", Kind::Integer),
        Column::new("flags", Kind::Text),
        Column::new("runs", Kind::Text),
    ]);
    for ((_, scope), (name, definition)) in &metrics {
        let column = |end: &str| {
            let column = Column::new(&format!("{name}{end}"), Kind::Number);
            column
                .of_unit(definition.unit)
                .of_definition(definition.id, *scope)
        };
        columns.extend([column(""), column(".ci95_low"), column(".ci95_high")]);
        columns.push(Column::new(&format!("{name}.n"), Kind::Integer));
        columns.push(Column::new(&format!("{name}.is_ranked"), Kind::Truth));
    }
    let row = |(provenance, cell): (&Provenance, &RankedCell)| {
        // Its runs have all keys in common.
        let report = cell.runs.iter().find_map(|run| reports.get(run));
        let mut row: Row = match report {
            Some(report) => report_keys(report).collect(),
            None => Key::ALL.map(|_| Field::Absent).to_vec(),
        };
        let runs: Vec<String> = cell.runs.iter().map(ToString::to_string).collect();
        row.extend([
            Field::text(provenance),
            Field::integer(Some(cell.runs.len())),
            Field::integer(cell.stated_requests(*provenance)),
            Field::integer(cell.stated_requests(*provenance).map(|_| cell.n_failed)),
            Field::text(words(cell.flags.iter())),
            Field::text(runs.join(" ")),
        ]);
        for (name, definition) in metrics.values() {
            row.extend(figure(cell.figure(name), definition));
        }
        row
    };
    Table {
        rows: all().map(row).collect(),
        columns,
    }
}

/// The figure, its interval, how many repetitions it is of, and whether it may be ranked.
fn figure(figure: Option<&CellFigure>, definition: &Definition) -> [Field; 5] {
    let Some(figure) = figure else {
        return [const { Field::Absent }; 5];
    };
    [
        Field::Number(figure.mean),
        Field::number(figure.ci95.map(|(low, _)| low)),
        Field::number(figure.ci95.map(|(_, high)| high)),
        Field::integer(Some(figure.values.len())),
        Field::Truth(definition.is_rankable && !figure.is_blocked),
    ]
}

/// Runs, with every figure that any of them has.
pub(super) fn runs(runs: &[RankedRun]) -> Table {
    let metrics: Vec<(&'static Definition, Option<Scope>)> = definitions()
        .iter()
        .flat_map(scopes)
        .filter(|(definition, scope)| {
            runs.iter()
                .any(|run| definition.figure(&run.report, *scope).is_some())
        })
        .collect();
    let powers: Vec<Scope> = Scope::ALL
        .into_iter()
        .filter(|scope| runs.iter().any(|run| run.report.power_of(*scope).is_some()))
        .collect();
    let mut columns = vec![
        Column::new("run", Kind::Text),
        Column::new("repetition", Kind::Integer),
        Column::new("started", Kind::Time),
        Column::new("provenance", Kind::Text),
        Column::new("provenance_power", Kind::Text),
        Column::new("source", Kind::Text),
    ];
    columns.extend(key_columns());
    columns.extend([
        Column::new("window", Kind::Number).of_unit("s"),
        Column::new("issued", Kind::Integer),
        Column::new("succeeded", Kind::Integer),
        Column::new("flags", Kind::Text),
        Column::new("blocking_flags", Kind::Text),
        Column::new("report_differs", Kind::Truth),
    ]);
    for (definition, scope) in &metrics {
        let column = Column::new(&named(definition, *scope), Kind::Number);
        columns.push(
            column
                .of_unit(definition.unit)
                .of_definition(definition.id, *scope),
        );
    }
    for scope in &powers {
        let column = |name: &str, unit| {
            let column = Column::new(&format!("{name}@{scope}"), Kind::Number);
            let mut column = column.of_unit(unit);
            column.scope = Some(*scope);
            column
        };
        columns.extend([
            column("energy_bound", "J"),
            column("coverage", "share"),
            column("sample_period", "s"),
        ]);
    }
    let row = |run: &RankedRun| {
        let mut row = run_fields(run);
        row.extend(
            metrics
                .iter()
                .map(|(definition, scope)| Field::number(definition.figure(&run.report, *scope))),
        );
        for scope in &powers {
            let power = run.report.power_of(*scope);
            row.extend([
                Field::number(power.and_then(|power| power.error_bound_j)),
                Field::number(power.map(|power| power.coverage)),
                Field::number(power.and_then(|power| power.sample_period_s)),
            ]);
        }
        row
    };
    Table {
        rows: runs.iter().map(row).collect(),
        columns,
    }
}

fn run_fields(run: &RankedRun) -> Row {
    let report = &run.report;
    let mut row = vec![
        Field::text(report.run),
        Field::integer(Some(report.repetition)),
        Field::Time(report.started.0),
        Field::text(report.provenance.requests),
        Field::optional(report.provenance.power),
        Field::optional(report.reasons.get("source")),
    ];
    row.extend(report_keys(report));
    let blocking = report.flags.iter().filter(|flag| flag.blocking);
    let requests = report.stated_requests();
    row.extend([
        Field::number(report.stated_window_s()),
        Field::integer(requests.map(|requests| requests.issued)),
        Field::integer(requests.map(|requests| requests.succeeded)),
        Field::text(words(report.flags.iter().map(|flag| &flag.id))),
        Field::text(words(blocking.map(|flag| &flag.id))),
        Field::Truth(run.report_differs),
    ]);
    row
}

/// Every request of a run.
pub(super) fn request_columns() -> Vec<Column> {
    let seconds = |id: &'static str| {
        Column::new(id, Kind::Number)
            .of_unit("s")
            .of_definition(id, None)
    };
    vec![
        Column::new("run", Kind::Text),
        Column::new("device", Kind::Text),
        Column::new("provenance", Kind::Text),
        Column::new("segment", Kind::Integer),
        Column::new("index", Kind::Integer),
        Column::new("item", Kind::Text),
        Column::new("outcome", Kind::Text),
        Column::new("message", Kind::Text),
        Column::new("scheduled", Kind::Integer).of_unit("ns"),
        Column::new("sent", Kind::Integer).of_unit("ns"),
        Column::new("ended", Kind::Integer).of_unit("ns"),
        seconds("request_latency"),
        seconds("ttft"),
        seconds("ttfo"),
        seconds("tpot"),
        seconds("ntpot"),
        seconds("image_encode_time"),
        Column::new("prompt_tokens", Kind::Integer).of_unit("tok"),
        Column::new("cached_tokens", Kind::Integer).of_unit("tok"),
        Column::new("completion_tokens", Kind::Integer).of_unit("tok"),
        Column::new("tokens_counted_by", Kind::Text),
        Column::new("chunks", Kind::Integer),
        Column::new("server_prefill", Kind::Number).of_unit("s"),
        Column::new("server_decode", Kind::Number).of_unit("s"),
        Column::new("answer", Kind::Text),
    ]
}

pub(super) fn requests(trace: &RunTrace) -> Vec<Row> {
    let segments = trace.segments.iter().enumerate();
    let requests = segments
        .flat_map(|(segment, of)| of.requests.iter().map(move |request| (segment, request)));
    requests
        .map(|(segment, request)| request_row(trace, segment, request))
        .collect()
}

fn request_row(trace: &RunTrace, segment: usize, request: &RequestTrace) -> Row {
    let header = &trace.header;
    let is_success = request.outcome.is_success();
    let (outcome, message) = match &request.outcome {
        Outcome::Stop => ("stop", None),
        Outcome::Length => ("length", None),
        Outcome::Failed { class, message } => (class.as_str(), Some(message)),
    };
    let seconds =
        |time: Option<std::time::Duration>| Field::number(time.map(|time| time.as_secs_f64()));
    let stamp = |stamp: Option<Stamp>| Field::integer(stamp.map(|stamp| stamp.0));
    let of_success = |value: Option<f64>| Field::number(value.filter(|_| is_success));
    let source = request
        .tokens
        .map(|tokens| format!("{:?}", tokens.source).to_lowercase());
    vec![
        Field::text(header.run),
        Field::text(&header.device),
        Field::text(header.requests_provenance),
        Field::integer(Some(segment)),
        Field::integer(Some(request.index)),
        Field::text(&request.item),
        Field::text(outcome),
        Field::optional(message),
        stamp(request.scheduled),
        stamp(Some(request.sent)),
        stamp(Some(request.ended)),
        of_success(Some(latency::request_latency(request).as_secs_f64())),
        of_success(latency::ttft(request).map(|time| time.as_secs_f64())),
        of_success(latency::ttfo(request).map(|time| time.as_secs_f64())),
        of_success(latency::tpot(request)),
        of_success(latency::ntpot(request)),
        seconds(request.image_encode),
        Field::integer(request.tokens.map(|tokens| tokens.prompt)),
        Field::integer(request.tokens.and_then(|tokens| tokens.cached)),
        Field::integer(request.tokens.map(|tokens| tokens.completion)),
        Field::optional(source),
        Field::integer(Some(request.chunks.len())),
        seconds(request.engine_times.map(|times| times.prefill)),
        seconds(request.engine_times.map(|times| times.decode)),
        Field::text(&request.answer),
    ]
}

/// Every reading of every rail of a run.
pub(super) fn power_columns() -> Vec<Column> {
    vec![
        Column::new("run", Kind::Text),
        Column::new("device", Kind::Text),
        Column::new("provenance", Kind::Text),
        Column::new("segment", Kind::Integer),
        Column::new("source", Kind::Text),
        Column::new("scope", Kind::Text),
        Column::new("rail", Kind::Text),
        Column::new("at", Kind::Integer).of_unit("ns"),
        Column::new("power", Kind::Number).of_unit("W"),
        Column::new("energy_counter", Kind::Number).of_unit("J"),
    ]
}

pub(super) fn power(trace: &RunTrace) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, segment) in trace.segments.iter().enumerate() {
        for sensor in &segment.power {
            rows.extend(readings(trace, number, sensor));
        }
    }
    rows
}

fn readings(trace: &RunTrace, segment: usize, of: &PowerTrace) -> Vec<Row> {
    let mut rows = Vec::new();
    let sensor = &of.sensor;
    for sample in &of.samples {
        for (rail, value) in sensor.rails.iter().zip(&sample.values) {
            let value = Field::Number(micro(*value));
            let (power, counter) = match sensor.reading {
                Reading::Power => (value, Field::Absent),
                Reading::Counter { .. } => (Field::Absent, value),
            };
            rows.push(vec![
                Field::text(trace.header.run),
                Field::text(&trace.header.device),
                Field::text(sensor.provenance),
                Field::integer(Some(segment)),
                Field::text(&sensor.source),
                Field::text(sensor.scope),
                Field::text(&rail.name),
                Field::integer(Some(sample.at.0)),
                power,
                counter,
            ]);
        }
    }
    rows
}

/// µW in W, µJ in J.
#[expect(
    clippy::cast_precision_loss,
    reason = "below 2^53 µW, and a counter of 9 PJ"
)]
fn micro(value: i64) -> f64 {
    value as f64 / 1e6
}

fn key_columns() -> Vec<Column> {
    Key::ALL
        .into_iter()
        .map(|key| Column::new(key.as_str(), Kind::Text))
        .collect()
}

fn report_keys(report: &RunReport) -> impl Iterator<Item = Field> {
    Key::ALL.into_iter().map(|key| Field::Text(key.of(report)))
}

fn words<'a>(words: impl Iterator<Item = &'a String>) -> String {
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn scopes(definition: &'static Definition) -> Vec<(&'static Definition, Option<Scope>)> {
    match definition.needs_scope {
        true => Scope::ALL
            .into_iter()
            .map(|scope| (definition, Some(scope)))
            .collect(),
        false => vec![(definition, None)],
    }
}

fn named(definition: &Definition, scope: Option<Scope>) -> String {
    match scope {
        Some(scope) => format!("{}@{scope}", definition.id),
        None => definition.id.to_owned(),
    }
}

/// A figure's name as its place in the dictionary, its definition and its scope.
fn metric(name: &str) -> Option<(usize, &'static Definition, Option<Scope>)> {
    let (id, scope) = match name.split_once('@') {
        Some((id, scope)) => (id, Some(scope.parse().ok()?)),
        None => (name, None),
    };
    let definition = definition(id).ok()?;
    let place = definitions()
        .iter()
        .position(|other| other.id == definition.id)?;
    Some((place, definition, scope))
}
