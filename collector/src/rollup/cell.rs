//! Cells: what the repetitions of one configuration come to, figure by figure. A pure function of their reports.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokwatt_domain::{
    metrics::{
        RunReport,
        dictionary::{Definition, definitions},
        spread::{Spread, spread},
    },
    power::Scope,
    run::Cell,
    workload::Limits,
};

use crate::store::CellRow;

/// What makes two runs repetitions of each other.
#[derive(Serialize)]
struct Name<'a> {
    device: &'a str,
    #[serde(flatten)]
    cell: &'a Cell,
    /// Goodput under other limits is another figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

/// What they come to.
#[derive(Serialize)]
struct Rollup {
    /// Its runs.
    n_runs: usize,
    /// Of these, runs with a blocking flag; what it blocks is without them.
    n_blocked: usize,
    /// Metric id, with `@scope` for those over energy, to its spread over the runs that no flag keeps off its boards.
    figures: BTreeMap<String, Figure>,
}

#[derive(Serialize)]
struct Figure {
    n: u32,
    /// Further runs in which so many requests failed that the percentile is one of them.
    n_failed: usize,
    mean: f64,
    geometric_mean: Option<f64>,
    sd: Option<f64>,
    cv: Option<f64>,
    min: f64,
    max: f64,
}

/// Key of the cell that a run belongs to.
pub(super) fn key(report: &RunReport) -> [u8; 32] {
    Sha256::digest(name(report)).into()
}

/// The cell of these runs, which are of one.
pub(super) fn roll_up(reports: &[RunReport]) -> CellRow {
    let Some(first) = reports.first() else {
        unreachable!("a cell is made when its first run is measured");
    };
    let is_blocked = |report: &&RunReport| report.flags.iter().any(|flag| flag.blocking);
    let rollup = Rollup {
        n_runs: reports.len(),
        n_blocked: reports.iter().filter(is_blocked).count(),
        figures: definitions()
            .iter()
            .flat_map(|definition| figures(definition, reports))
            .collect(),
    };
    CellRow {
        key: key(first),
        device: first.device.to_string(),
        name: name(first),
        rollup: json(&rollup),
    }
}

/// All cells, by key.
pub(super) fn roll_up_all(reports: Vec<RunReport>) -> Vec<CellRow> {
    let mut cells: BTreeMap<[u8; 32], Vec<RunReport>> = BTreeMap::new();
    for report in reports {
        cells.entry(key(&report)).or_default().push(report);
    }
    cells
        .into_values()
        .map(|reports| roll_up(&reports))
        .collect()
}

fn name(report: &RunReport) -> String {
    json(&Name {
        device: report.device.as_str(),
        cell: &report.cell,
        limits: report.limits,
    })
}

fn figures(definition: &Definition, reports: &[RunReport]) -> Vec<(String, Figure)> {
    let scopes: Vec<Option<Scope>> = if definition.needs_scope {
        Scope::ALL.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let is_counted = |report: &&RunReport| !report.flags.iter().any(|flag| flag.blocks(definition));
    let of_scope = |scope: Option<Scope>| {
        let values = reports
            .iter()
            .filter(is_counted)
            .filter_map(|report| definition.figure(report, scope));
        let (values, failed): (Vec<f64>, Vec<f64>) = values.partition(|value| value.is_finite());
        let figure = Figure::new(spread(&values)?, failed.len());
        Some((figure_id(definition, scope), figure))
    };
    scopes.into_iter().filter_map(of_scope).collect()
}

fn figure_id(definition: &Definition, scope: Option<Scope>) -> String {
    match scope {
        Some(scope) => format!("{}@{scope}", definition.id),
        None => definition.id.to_owned(),
    }
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("texts and finite numbers under textual keys")
}

impl Figure {
    fn new(spread: Spread, n_failed: usize) -> Self {
        Self {
            n: spread.n,
            n_failed,
            mean: spread.mean,
            geometric_mean: spread.geometric_mean,
            sd: spread.sd,
            cv: spread.cv,
            min: spread.min,
            max: spread.max,
        }
    }
}
