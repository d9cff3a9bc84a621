//! A run's figure for the ranked metric, and what speaks against ranking it.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    metrics::{
        RunReport,
        dictionary::{Kind, total_id},
    },
    power::Provenance,
};

use super::{Metric, RankedRun};

/// A run with its figure.
#[derive(Clone, Debug)]
pub(super) struct Figure<'a> {
    pub(super) report: &'a RunReport,
    /// Infinite where the percentile is a failed request: slower than any.
    pub(super) value: f64,
    /// What the value is made of, for metrics that are ratios of sums.
    pub(super) sums: Option<Sums>,
    /// How far sampling may have led the energy astray, as a share of it; 0 for what is not over energy.
    pub(super) relative_bound: f64,
    /// What makes it doubtful, by name.
    pub(super) flags: BTreeSet<String>,
    /// Shown and not ranked.
    pub(super) is_blocked: bool,
}

/// What a ratio is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) numerator: f64,
    pub(super) denominator: f64,
}

/// Runs with their figures; the others go into the notes.
pub(super) fn figures<'a>(
    runs: &[&'a RankedRun],
    metric: &Metric,
    notes: &mut Vec<String>,
) -> Vec<Figure<'a>> {
    let mut figures = Vec::new();
    let mut absent: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs {
        match figure(run, metric) {
            Ok(figure) => figures.push(figure),
            Err(reason) => *absent.entry(reason).or_default() += 1,
        }
    }
    let left_out = |(reason, n)| format!("{} left out: {reason}", counted(n, "run is", "runs are"));
    notes.extend(absent.into_iter().map(left_out));
    figures
}

/// Provenance that a metric of a run has; one over energy without a sensor stands with the run's other figures, to be left out there
/// with its reason.
pub(super) fn provenance(report: &RunReport, metric: &Metric) -> Provenance {
    let provenance = report.provenance;
    provenance
        .of(metric.definition)
        .unwrap_or(provenance.requests)
}

pub(super) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

pub(super) fn figure<'a>(run: &'a RankedRun, metric: &Metric) -> Result<Figure<'a>, String> {
    let report = &run.report;
    let value = metric.definition.figure(report, metric.scope);
    let value = value.ok_or_else(|| reason(report, metric))?;
    let energy = metric
        .scope
        .filter(|_| metric.is_over_energy())
        .and_then(|scope| report.power_of(scope));
    let doubts = energy.map_or_else(Vec::new, |energy| energy.doubts(report.window_s));
    let flags = || report.flags.iter().chain(&doubts);
    let differs = run.report_differs.then_some("report_differs");
    Ok(Figure {
        report,
        value,
        sums: sums(report, metric),
        // A bound that is not known may be anything.
        relative_bound: energy.map_or(0.0, |energy| energy.relative_bound().unwrap_or(1.0)),
        is_blocked: flags().any(|flag| flag.blocks(metric.definition)),
        flags: flags()
            .map(|flag| flag.id.as_str())
            .chain(differs)
            .map(str::to_owned)
            .collect(),
    })
}

fn sums(report: &RunReport, metric: &Metric) -> Option<Sums> {
    let Kind::Ratio {
        numerator,
        denominator,
    } = metric.definition.kind
    else {
        return None;
    };
    let total = |id| report.totals.get(&total_id(id, metric.scope)).copied();
    Some(Sums {
        numerator: total(numerator)?,
        denominator: total(denominator)?,
    })
}

/// Why the figure is absent, in the report's own words where it has some.
fn reason(report: &RunReport, metric: &Metric) -> String {
    let id = metric.definition.id;
    let scoped = metric.scope.map(|scope| format!("{id}@{scope}"));
    let keys = [scoped.as_deref(), Some(id), metric.scope.map(|_| "power")];
    let said = keys
        .into_iter()
        .flatten()
        .find_map(|key| report.reasons.get(key));
    let name = scoped.as_deref().unwrap_or(id);
    match said {
        Some(reason) => format!("no `{name}` ({reason})"),
        None => format!("no `{name}`"),
    }
}
