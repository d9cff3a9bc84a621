//! How a figure of a device went over its runs, cell by cell.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use maud::{Markup, html};
use tokwatt_domain::{
    metrics::{RunReport, dictionary::definitions},
    power::Scope,
};

use super::{
    fleet::counted,
    names::{name, plain},
    page::{date, mark_named, run_link, scrolling},
    power::drawn,
    problem::Problem,
};
use crate::{
    chart::{Axis, Chart, Datum, Drawing, Lines, Series},
    query::{QueryError, RunDetail},
    rank::Metric,
    report::Scale,
};

/// One run's figure.
struct Point<'a> {
    run: &'a RunDetail,
    value: f64,
}

/// The form that chooses a figure, and its values; `runs` with the latest first.
pub(super) fn history(runs: &[RunDetail], asked: &str, page: &str) -> Result<Markup, Problem> {
    let there_are = metrics(runs);
    let metric = match asked {
        "" => there_are.iter().find(|id| *id == "decode_tps"),
        _ => None,
    };
    let metric = metric.or(there_are.first()).map_or(asked, String::as_str);
    let metric = if asked.is_empty() { metric } else { asked };
    if metric.is_empty() {
        return Ok(html! { p { "No run of it is measured yet." } });
    }
    let metric = Metric::parse(metric).map_err(QueryError::from)?;
    let points = points(runs, &metric);
    let values = points.values().flatten().map(|point| point.value);
    let scale = Scale::of(metric.definition.unit, values);
    Ok(html! {
        form.filters method="get" action=(page) aria-label="Figure" {
            div.field {
                label for="metric" { "Figure" }
                select #metric name="metric" {
                    @for id in &there_are {
                        option value=(id) selected[*id == metric.to_string()] { (plain(id)) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
        @if points.is_empty() { p { "No run has " (metric) "." } }
        @if let Some(picture) = picture(&points, &metric) { (drawn(&picture)) }
        @for (cell, points) in &points {
            details {
                summary { (name(cell)) " – " (counted(points.len(), "run", "runs")) }
                (table(&format!("{metric} of {cell}"), points, &scale))
            }
        }
    })
}

fn table(caption: &str, points: &[Point<'_>], scale: &Scale<'_>) -> Markup {
    scrolling(
        caption,
        html! {
            table {
                caption { (plain(caption)) }
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "Started" }
                    th.number scope="col" { "Value" @if !scale.unit.is_empty() { " (" (scale.unit) ")" } }
                } }
                tbody {
                    @for point in points {
                        tr {
                            th scope="row" { (run_link(&point.run.line.run)) " " (mark_named(point.run.line.provenance.as_deref())) }
                            td { (date(point.run.line.started)) }
                            td.number { (scale.show(point.value)) }
                        }
                    }
                }
            }
        },
    )
}

/// Cells with more than one run, each a line; none where there is none.
fn picture(points: &BTreeMap<String, Vec<Point<'_>>>, metric: &Metric) -> Option<Chart> {
    let mut lines: Vec<(&String, &Vec<Point<'_>>)> = points
        .iter()
        .filter(|(_, points)| points.len() > 1)
        .collect();
    let n_lines = lines.len();
    lines.sort_by_key(|(cell, points)| (Reverse(points.len()), *cell));
    lines.truncate(LINES_MAX);
    let provenance = lines.iter().flat_map(|(_, points)| points.iter());
    let provenance = provenance.filter_map(|point| {
        let report = point.run.report.as_ref()?;
        report.provenance.of(metric.definition)
    });
    let provenance = provenance.max()?;
    let left_out = n_lines.saturating_sub(LINES_MAX);
    let note = format!("{left_out} more cells are in the tables below");
    let series = |(cell, points): (&String, &Vec<Point<'_>>)| Series {
        name: plain(cell),
        points: (1_u32..)
            .zip(points)
            .map(|(n, point)| (f64::from(n), Datum::number(point.value)))
            .collect(),
    };
    Some(Chart {
        name: format!("history-{metric}"),
        title: format!("{metric} over the runs of each cell"),
        subtitle: Vec::new(),
        provenance,
        drawing: Drawing::Lines(Lines {
            x: Axis::plain("run of the cell, from the first", ""),
            y: Axis {
                label: metric.to_string(),
                unit: metric.definition.unit.to_owned(),
                better: metric.definition.better,
            },
            is_doubling: false,
            has_markers: true,
            series: lines.into_iter().map(series).collect(),
            stretches: Vec::new(),
        }),
        notes: (left_out > 0).then_some(note).into_iter().collect(),
    })
}

/// By cell, each from the first run to the latest.
fn points<'a>(runs: &'a [RunDetail], metric: &Metric) -> BTreeMap<String, Vec<Point<'a>>> {
    let mut points: BTreeMap<String, Vec<Point<'a>>> = BTreeMap::new();
    for run in runs.iter().rev() {
        let Some(report) = &run.report else {
            continue;
        };
        let value = metric.definition.figure(report, metric.scope);
        if let Some(value) = value.filter(|value| value.is_finite()) {
            let cell = points.entry(cell(report)).or_default();
            cell.push(Point { run, value });
        }
    }
    points
}

fn cell(report: &RunReport) -> String {
    format!("{} {}", report.cell.identity.model, report.cell.label())
}

/// Figures that some run has, by id.
fn metrics(runs: &[RunDetail]) -> Vec<String> {
    let reports: Vec<&RunReport> = runs.iter().filter_map(|run| run.report.as_ref()).collect();
    let powers = reports.iter().flat_map(|report| &report.power);
    let scopes: BTreeSet<Scope> = powers.map(|power| power.scope).collect();
    let mut found = Vec::new();
    for definition in definitions().iter().filter(|own| own.is_rankable) {
        let scopes: Vec<Option<Scope>> = match definition.needs_scope {
            true => scopes.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        for scope in scopes {
            let has = |report: &&RunReport| definition.figure(report, scope).is_some();
            if reports.iter().any(has) {
                found.push(Metric { definition, scope }.to_string());
            }
        }
    }
    found
}

/// As many as can be told apart.
const LINES_MAX: usize = 6;
