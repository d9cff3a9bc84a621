//! What comparing comes to: `tokwatt.compare/1` and `tokwatt.history/1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    ids::RunId,
    metrics::{Percentile, spread::verdict::Verdict},
    power::{Provenance, Scope},
};

/// `tokwatt.compare/1`: two sides, cell by cell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the document.
    pub schema: String,
    /// Side A: key to value.
    pub left: BTreeMap<String, String>,
    /// Side B: key to value.
    pub right: BTreeMap<String, String>,
    /// How the figures came to be.
    pub provenance: Provenance,
    /// What everything has in common: key to value.
    pub fixed: BTreeMap<String, String>,
    /// By their keys.
    pub pairs: Vec<Pair>,
    /// What was left out, and what to know before believing.
    pub notes: Vec<String>,
}

/// A cell of each side, alike in everything but what is compared.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Pair {
    /// What tells it from other pairs: key to value.
    pub key: BTreeMap<String, String>,
    /// Of A.
    pub left: PairSide,
    /// Of B.
    pub right: PairSide,
    /// Figures that both have.
    pub figures: Vec<FigurePair>,
}

/// One side's cell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PairSide {
    /// In what it differs from the other: key to value.
    pub configuration: BTreeMap<String, String>,
    /// Its repetitions.
    pub runs: Vec<RunId>,
    /// Requests in them.
    pub n_requests: u32,
    /// Of these, those that failed.
    pub n_failed: u32,
    /// Flags of its runs.
    pub flags: Vec<String>,
    /// How much the latency of its requests varies.
    pub cv_requests: Option<f64>,
    /// `low` below 20 %, `moderate` to 35 %, `high` above.
    pub band: Option<String>,
}

/// A figure of both sides.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FigurePair {
    /// Which metric.
    pub metric: String,
    /// Which power scope, for metrics over energy.
    pub scope: Option<Scope>,
    /// Unit of both values.
    pub unit: String,
    /// Which way is better; absent where neither is.
    pub lower_is_better: Option<bool>,
    /// Of A.
    pub left: SideFigure,
    /// Of B.
    pub right: SideFigure,
    /// B divided by A; absent where a value is not above 0.
    pub ratio: Option<f64>,
    /// Welch's interval on the logarithms of the repetitions' values, energies' widened by both bounds.
    pub ci95: Option<(f64, f64)>,
    /// What follows.
    pub verdict: Verdict,
    /// Whether all repetitions of a side are flagged, so that the figure is shown and not to be relied on.
    pub is_blocked: bool,
    /// How many more of each it would take, for an interval or to tell the two apart.
    pub more_repetitions: Option<u32>,
    /// The verdict in words.
    pub text: String,
    /// The same pictures on both sides; for metrics of single requests.
    pub within_repetitions: Option<Within>,
}

/// One side's figure.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SideFigure {
    /// Mean of the repetitions: geometric, arithmetic for shares; `failed` where a repetition's percentile is a failed request.
    pub value: Percentile,
    /// t interval on the logarithms of the repetitions' values.
    pub ci95: Option<(f64, f64)>,
    /// Repetitions that have it.
    pub n_runs: u32,
    /// Sample standard deviation of their values over the mean.
    pub cv_runs: Option<f64>,
    /// How far sampling may have led the energy astray, as a share of it.
    pub relative_bound: Option<f64>,
    /// Flags of these repetitions.
    pub flags: Vec<String>,
    /// Which runs they are: for whoever looks at single requests beside the figure, and no part of the document.
    #[serde(skip)]
    pub runs: Vec<RunId>,
}

/// Means over the same pictures, within the repetitions that there are: it says nothing about what other repetitions would show.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Within {
    /// B's sum over the pictures divided by A's.
    pub ratio: f64,
    /// Percentile bootstrap over pictures.
    pub ci95: (f64, f64),
    /// Pictures that both sides answered.
    pub n_items: u32,
    /// Pictures that only one side did.
    pub n_left_out: u32,
    /// Samples drawn.
    pub n_resamples: u32,
    /// By which generator, seeded from the run ids.
    pub generator: String,
}

/// `tokwatt.history/1`: one key's values in the order in which they came, each against the one before and against the first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct History {
    /// Name of the document.
    pub schema: String,
    /// Which key.
    pub over: String,
    /// How the figures came to be.
    pub provenance: Provenance,
    /// What everything has in common: key to value.
    pub fixed: BTreeMap<String, String>,
    /// The key's values in order of their first start.
    pub values: Vec<Moment>,
    /// One for each figure of each cell.
    pub series: Vec<Series>,
    /// What was left out, and what to know before believing.
    pub notes: Vec<String>,
}

/// A value of the key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Moment {
    /// The value.
    pub value: String,
    /// Its first run, by the agent's wall clock, in µs since 1970.
    pub first_started: i64,
}

/// A figure of one cell over the values.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Series {
    /// What tells the cell from others: key to value.
    pub key: BTreeMap<String, String>,
    /// Which metric.
    pub metric: String,
    /// Which power scope, for metrics over energy.
    pub scope: Option<Scope>,
    /// Unit of the values.
    pub unit: String,
    /// Which way is better; absent where neither is.
    pub lower_is_better: Option<bool>,
    /// In order of their first start.
    pub points: Vec<Point>,
}

/// A cell's figure at one value of the key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Point {
    /// The key's value.
    pub value: String,
    /// The cell's first run, in µs since 1970.
    pub first_started: i64,
    /// Its repetitions.
    pub runs: Vec<RunId>,
    /// The figure.
    pub figure: SideFigure,
    /// Against the point before; absent for the first.
    pub previous: Option<Step>,
    /// Against the first point; absent for the first.
    pub first: Option<Step>,
}

/// From an earlier point to a later one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Step {
    /// The later divided by the earlier.
    pub ratio: Option<f64>,
    /// 95 %.
    pub ci95: Option<(f64, f64)>,
    /// `left_better`: it became worse beyond doubt.
    pub verdict: Verdict,
    /// How many more repetitions of each it would take.
    pub more_repetitions: Option<u32>,
    /// The verdict in words.
    pub text: String,
}
