//! Cells with every figure that they have: what charts, comparisons and pages are made from, beside boards. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    ids::{DeviceId, RunId},
    metrics::{
        RunReport,
        dictionary::{Definition, definitions},
        spread::log_t_interval,
    },
    power::{Provenance, Scope},
    run::Cell,
    workload::Limits,
};

use super::{
    Condition, Key, Metric, RankedRun,
    candidate::mean,
    figure::{Figure, figure, provenance},
};

/// What the repetitions of one configuration come to.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCell {
    /// Where.
    pub device: DeviceId,
    /// What was run.
    pub cell: Cell,
    /// What a request had to keep to, to count for goodput.
    pub limits: Option<Limits>,
    /// Its repetitions, by their number, then their start, then their id.
    pub runs: Vec<RunId>,
    /// Requests in them.
    pub n_requests: u32,
    /// Of these, those that failed.
    pub n_failed: u32,
    /// Flags of its runs.
    pub flags: BTreeSet<String>,
    /// Metric id, with `@scope` for those over energy, to its figure; what no run has is not there.
    pub figures: BTreeMap<String, CellFigure>,
}

/// One figure of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellFigure {
    /// One for each repetition that has it, in the order of `runs`; infinite where the percentile is a failed request.
    pub values: Vec<f64>,
    /// Mean over them: arithmetic for shares and what may be negative, else geometric; infinite if one is.
    pub mean: f64,
    /// t interval on the logarithms of the values, with at least three of them.
    pub ci95: Option<(f64, f64)>,
    /// How far sampling may have led the energy astray, as a share of it; 0 for what is not over energy.
    pub relative_bound: f64,
    /// Whether all its repetitions are flagged, so that it is shown and not ranked; else those that are flagged are left out.
    pub is_blocked: bool,
    /// Flags of the repetitions that stand in `values`.
    pub flags: BTreeSet<String>,
}

impl RankedCell {
    /// A figure by `id` or `id@scope`.
    pub fn figure(&self, id: &str) -> Option<&CellFigure> {
        self.figures.get(id)
    }
}

/// Cells of the runs that meet all conditions, with their figures of one provenance; by device and name, whatever order the runs are in.
pub fn cells(
    runs: &[RankedRun],
    conditions: &[Condition],
    provenance: Provenance,
) -> Vec<RankedCell> {
    let mut groups: BTreeMap<Vec<String>, Vec<&RankedRun>> = BTreeMap::new();
    for run in runs {
        if conditions
            .iter()
            .all(|condition| condition.holds(&run.report))
        {
            groups.entry(name(&run.report)).or_default().push(run);
        }
    }
    let cells = groups.into_values().map(|runs| cell(runs, provenance));
    cells.filter(|cell| !cell.figures.is_empty()).collect()
}

fn name(report: &RunReport) -> Vec<String> {
    Key::ALL.into_iter().map(|key| key.of(report)).collect()
}

fn cell(mut runs: Vec<&RankedRun>, provenance: Provenance) -> RankedCell {
    runs.sort_by_key(|run| (run.report.repetition, run.report.started, run.report.run));
    let first = &runs[0].report;
    let requests = || runs.iter().map(|run| &run.report.requests);
    RankedCell {
        device: first.device.clone(),
        cell: first.cell.clone(),
        limits: first.limits,
        runs: runs.iter().map(|run| run.report.run).collect(),
        n_requests: requests().map(|counts| counts.issued).sum(),
        n_failed: requests().flat_map(|counts| counts.failed.values()).sum(),
        flags: runs
            .iter()
            .flat_map(|run| run.report.flags.iter().map(|flag| flag.id.clone()))
            .collect(),
        figures: metrics(&runs)
            .filter_map(|metric| {
                let figure = cell_figure(&runs, &metric, provenance)?;
                Some((metric.to_string(), figure))
            })
            .collect(),
    }
}

/// Everything in the dictionary, each over every scope that these runs have.
fn metrics(runs: &[&RankedRun]) -> impl Iterator<Item = Metric> {
    let powers = runs.iter().flat_map(|run| run.report.power.iter());
    let scopes: BTreeSet<Scope> = powers.map(|power| power.scope).collect();
    let scoped = move |definition: &'static Definition| {
        let scopes: Vec<Option<Scope>> = match definition.needs_scope {
            true => scopes.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        let metric = move |scope| Metric { definition, scope };
        scopes.into_iter().map(metric)
    };
    definitions().iter().flat_map(scoped)
}

fn cell_figure(runs: &[&RankedRun], metric: &Metric, of: Provenance) -> Option<CellFigure> {
    let figures = runs
        .iter()
        .filter(|run| provenance(&run.report, metric) == of)
        .filter_map(|run| figure(run, metric).ok());
    let (blocked, ranked): (Vec<Figure<'_>>, Vec<Figure<'_>>) =
        figures.partition(|figure| figure.is_blocked);
    let is_blocked = ranked.is_empty();
    let figures = if is_blocked { blocked } else { ranked };
    let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    let is_logarithmic = !metric.definition.is_share() && values.iter().all(|value| *value > 0.0);
    let bounds = figures.iter().map(|figure| figure.relative_bound);
    Some(CellFigure {
        mean: mean(&values, !is_logarithmic)?,
        ci95: log_t_interval(&values).map(|interval| (interval.low, interval.high)),
        relative_bound: bounds.fold(0.0, f64::max),
        is_blocked,
        flags: figures
            .iter()
            .flat_map(|figure| figure.flags.iter().cloned())
            .collect(),
        values,
    })
}
