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
};

use crate::{
    rank::{CellIndex, CellName, RankedRun},
    store::CellRow,
};

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
pub(super) fn roll_up(runs: &[RankedRun]) -> CellRow {
    let Some(RankedRun { report: first, .. }) = runs.first() else {
        unreachable!("a cell is made when its first run is measured");
    };
    let is_blocked = |run: &&RankedRun| run.report.flags.iter().any(|flag| flag.blocking);
    let rollup = Rollup {
        n_runs: runs.len(),
        n_blocked: runs.iter().filter(is_blocked).count(),
        figures: definitions()
            .iter()
            .flat_map(|definition| figures(definition, runs))
            .collect(),
    };
    let index = CellIndex::of(runs);
    CellRow {
        key: key(first),
        device: first.device.to_string(),
        name: name(first),
        rollup: json(&rollup),
        runs: index.runs,
        figures: index.columns,
    }
}

/// All cells, by key.
pub(super) fn roll_up_all(runs: Vec<RankedRun>) -> Vec<CellRow> {
    let mut cells: BTreeMap<[u8; 32], Vec<RankedRun>> = BTreeMap::new();
    for run in runs {
        cells.entry(key(&run.report)).or_default().push(run);
    }
    cells.into_values().map(|runs| roll_up(&runs)).collect()
}

fn name(report: &RunReport) -> String {
    json(&CellName::of(report))
}

fn figures(definition: &Definition, runs: &[RankedRun]) -> Vec<(String, Figure)> {
    let scopes: Vec<Option<Scope>> = if definition.needs_scope {
        Scope::ALL.into_iter().map(Some).collect()
    } else {
        vec![None]
    };
    let is_counted = |report: &&RunReport| !report.flags.iter().any(|flag| flag.blocks(definition));
    let of_scope = |scope: Option<Scope>| {
        let values = runs
            .iter()
            .map(|run| &run.report)
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
