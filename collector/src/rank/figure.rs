//! A run's figure for the ranked metric, and what speaks against ranking it.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    metrics::{
        PowerReport, RunReport,
        dictionary::{Kind, total_id},
    },
    power::{Provenance, Scope},
};

use super::{Metric, RankedRun};

/// A run with its figure.
#[derive(Clone, Debug)]
pub(super) struct Figure<'a> {
    pub(super) report: &'a RunReport,
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

/// Provenance that a metric of a run has: the weaker of those it uses.
pub(super) fn provenance(report: &RunReport, metric: &Metric) -> Provenance {
    let requests = report.provenance.requests;
    match report.provenance.power {
        Some(power) if metric.definition.needs_scope => requests.weaker(power),
        _ => requests,
    }
}

pub(super) fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

fn figure<'a>(run: &'a RankedRun, metric: &Metric) -> Result<Figure<'a>, String> {
    let report = &run.report;
    let id = metric.definition.id;
    let value = metric
        .definition
        .figure(report, metric.scope)
        .ok_or_else(|| reason(report, metric))?;
    if !value.is_finite() {
        return Err(format!(
            "so many requests failed that `{id}` is a failed one"
        ));
    }
    let power = power_of(report, metric.scope);
    let energy_flags = if metric.definition.needs_scope {
        against_energy(report, metric, power)
    } else {
        Vec::new()
    };
    let flags = report.flags.iter().map(|flag| flag.id.as_str());
    let differs = run.report_differs.then_some("report_differs");
    Ok(Figure {
        report,
        value,
        sums: sums(report, metric),
        relative_bound: if metric.is_over_energy() {
            power.and_then(relative_bound).unwrap_or(1.0)
        } else {
            0.0
        },
        is_blocked: report.flags.iter().any(|flag| flag.blocking) || !energy_flags.is_empty(),
        flags: flags
            .chain(differs)
            .chain(energy_flags)
            .map(str::to_owned)
            .collect(),
    })
}

/// What METRICS asks of an energy before it is ranked, by the name of what is lacking.
fn against_energy(
    report: &RunReport,
    metric: &Metric,
    power: Option<&PowerReport>,
) -> Vec<&'static str> {
    let is_quick = report.flags.iter().any(|flag| flag.id == "quick");
    let mut lacking = vec![(is_quick, "quick")];
    if let Some(power) = power.filter(|_| metric.is_over_energy()) {
        let bound = relative_bound(power);
        lacking.extend([
            (!power.bracketed, "not_bracketed"),
            (power.coverage < COVERAGE_LEAST, "low_coverage"),
            (
                bound.is_none_or(|bound| bound > BOUND_MOST),
                "bound_above_5_percent",
            ),
            (report.window_s < WINDOW_LEAST_S, "window_below_60_s"),
        ]);
    }
    let named = lacking.into_iter().filter(|(is_lacking, _)| *is_lacking);
    named.map(|(_, name)| name).collect()
}

fn relative_bound(power: &PowerReport) -> Option<f64> {
    let (bound, energy) = (power.error_bound_j?, power.energy_j?);
    (energy > 0.0).then(|| bound / energy)
}

fn power_of(report: &RunReport, scope: Option<Scope>) -> Option<&PowerReport> {
    report.power.iter().find(|power| Some(power.scope) == scope)
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

const COVERAGE_LEAST: f64 = 0.95;
const BOUND_MOST: f64 = 0.05;
const WINDOW_LEAST_S: f64 = 60.0;
