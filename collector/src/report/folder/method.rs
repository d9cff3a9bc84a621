//! How the figures came about: definitions, power scopes, intervals and places, in the words of METRICS.

use std::collections::BTreeSet;

use tokwatt_domain::{
    metrics::dictionary::{Better, Definition, Kind, definitions},
    power::Scope,
};

use super::Material;
use crate::{
    chart::make::scope_in_words,
    rank::{Key, RankedCell},
};

/// The method section.
#[derive(Clone, Debug)]
pub(super) struct Method {
    /// What holds for every figure.
    pub(super) rules: Vec<&'static str>,
    /// Metric, unit, direction, how it comes about.
    pub(super) definitions: Vec<[String; 4]>,
    /// Power scopes that are there, and what they include.
    pub(super) scopes: Vec<[String; 2]>,
    /// Device, engine, power mode, system: what stands behind its figures.
    pub(super) devices: Vec<[String; 4]>,
}

pub(super) fn method(material: &Material) -> Method {
    let ids: BTreeSet<&str> = material
        .cells
        .iter()
        .flat_map(|cell| cell.figures.keys())
        .filter_map(|id| id.split('@').next())
        .collect();
    let scopes: BTreeSet<Scope> = material
        .cells
        .iter()
        .flat_map(|cell| cell.figures.keys())
        .filter_map(|id| id.split_once('@')?.1.parse().ok())
        .collect();
    let present = definitions()
        .iter()
        .filter(|definition| ids.contains(definition.id));
    let devices: BTreeSet<[String; 4]> = material.cells.iter().map(device).collect();
    Method {
        rules: RULES.to_vec(),
        definitions: present.map(row).collect(),
        scopes: scopes
            .into_iter()
            .map(|scope| [scope.to_string(), scope_in_words(scope).to_owned()])
            .collect(),
        devices: devices.into_iter().collect(),
    }
}

fn row(definition: &Definition) -> [String; 4] {
    let better = match definition.better {
        Better::Lower => "lower is better",
        Better::Higher => "higher is better",
        Better::Neither => "neither",
    };
    let scope = if definition.needs_scope {
        ", of one power scope"
    } else {
        ""
    };
    let how = match definition.kind {
        Kind::Ratio {
            numerator,
            denominator,
        } => format!("Σ {numerator} / Σ {denominator} over the run{scope}"),
        Kind::Percentile { of, percent } => {
            format!("{percent}th percentile (nearest rank) of {of} over the run's requests")
        }
        Kind::Number => format!("one figure of the run{scope}"),
    };
    let ranked = if definition.is_rankable {
        ""
    } else {
        "; never ranked"
    };
    let unit = match definition.unit {
        "" => "a count",
        unit => unit,
    };
    [
        definition.id.to_owned(),
        unit.to_owned(),
        format!("{better}{ranked}"),
        how,
    ]
}

fn device(cell: &RankedCell) -> [String; 4] {
    [Key::Device, Key::Engine, Key::PowerMode, Key::Os].map(|key| cell.value(key))
}

const RULES: [&str; 8] = [
    "A run is one repetition of a cell: from the first measured send to the end of the last measured request, warm-up drained before it. Failed requests stay in it, with their time and energy.",
    "A cell's value is the geometric mean of its repetitions (arithmetic for shares). Over tasks, ratios are ratios of sums, and everything else is a mean of the tasks' values; each picture says which.",
    "Intervals are 95 % t intervals on the logarithms of the repetitions' values, and need three repetitions. They say how repetitions of the same requests differ, not what other pictures would give.",
    "A place is 1 plus the number of rows that are better beyond doubt: whose ratio to this one (Welch's t on logarithms, for energy widened by both error bounds) excludes 1. Rows that cannot be told apart share a place.",
    "Energy is integrated over the run's window from a sensor's readings, with a bound on what sampling may have missed. The bound is about sampling, not about the sensor's truth. It is ranked only with coverage of at least 95 %, a bound of at most 5 %, and a window of at least 60 s.",
    "What a power figure includes is its scope. Figures of two scopes are never compared, added, or drawn in one picture.",
    "What is absent is absent, with a reason, and drawn as n/a; it is never 0.",
    "Figures are computed by the collector from the raw trace of each run. What is simulated, replayed, imported or estimated says so in every title, row, file and picture, and never stands beside what was measured.",
];
