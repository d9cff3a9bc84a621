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
};

use crate::store::CellRow;

/// What makes two runs repetitions of each other.
#[derive(Serialize)]
struct Name<'a> {
    device: &'a str,
    #[serde(flatten)]
    cell: &'a Cell,
}

/// What they come to.
#[derive(Serialize)]
struct Rollup {
    /// Runs that count.
    n_runs: usize,
    /// Runs with a flag that keeps them from being ranked; they are in nothing below.
    n_blocked: usize,
    /// Metric id, with `@scope` for those over energy, to its spread over the runs.
    figures: BTreeMap<String, Figure>,
}

#[derive(Serialize)]
struct Figure {
    n: u32,
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
    let (blocked, counted): (Vec<&RunReport>, Vec<&RunReport>) = reports
        .iter()
        .partition(|report| report.flags.iter().any(|flag| flag.blocking));
    let rollup = Rollup {
        n_runs: counted.len(),
        n_blocked: blocked.len(),
        figures: definitions()
            .iter()
            .flat_map(|definition| figures(definition, &counted))
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
    })
}

fn figures(definition: &Definition, reports: &[&RunReport]) -> Vec<(String, Figure)> {
    let scopes: Vec<Option<Scope>> = if definition.needs_scope {
        Scope::ALL.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let of_scope = |scope: Option<Scope>| {
        let values = reports
            .iter()
            .filter_map(|report| definition.figure(report, scope));
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        Some((figure_id(definition, scope), Figure::from(spread(&values)?)))
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

impl From<Spread> for Figure {
    fn from(spread: Spread) -> Self {
        Self {
            n: spread.n,
            mean: spread.mean,
            geometric_mean: spread.geometric_mean,
            sd: spread.sd,
            cv: spread.cv,
            min: spread.min,
            max: spread.max,
        }
    }
}
