//! `tokwatt.recommend/1`: the best for a use case, what comes next, and what was excluded and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokwatt_domain::power::{Provenance, Scope};

/// The best for a use case.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Recommendation {
    /// Name of the document.
    pub schema: String,
    /// What was wanted.
    pub use_case: UseCaseShown,
    /// How the figures came to be.
    pub provenance: Provenance,
    /// Power scope of all energies.
    pub scope: Option<Scope>,
    /// How tasks were put together.
    pub aggregate: String,
    /// What all candidates have in common: key to value.
    pub fixed: BTreeMap<String, String>,
    /// The best first; those who cannot be told from it share its place.
    pub recommended: Vec<Recommended>,
    /// By their keys.
    pub excluded: Vec<Excluded>,
    /// What to know before believing.
    pub notes: Vec<String>,
}

/// A use case, as it was applied.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct UseCaseShown {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What it is for, as a question.
    pub question: String,
    /// What may be chosen.
    pub choose: Vec<String>,
    /// What must be kept, for every task.
    pub limits: Vec<LimitShown>,
    /// What decides among those that keep it; of several their weighted geometric mean.
    pub objective: Vec<TermShown>,
    /// Axes of the Pareto front.
    pub front: Vec<Axis>,
}

/// A limit; of a candidate with its value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LimitShown {
    /// Which metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The most that is allowed.
    pub at_most: Option<f64>,
    /// The least that is allowed.
    pub at_least: Option<f64>,
    /// The candidate's value in the task in which it comes closest; absent in the use case itself.
    pub value: Option<f64>,
    /// In which task.
    pub task: Option<String>,
    /// Whether its interval reaches beyond the limit, so that it may be broken.
    pub may_be_broken: bool,
}

/// Part of what decides; of a candidate with its value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TermShown {
    /// Which metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which way is better.
    pub lower_is_better: bool,
    /// Its weight; weights add up to 1.
    pub weight: f64,
    /// The candidate's value over all tasks; absent in the use case itself.
    pub value: Option<f64>,
}

/// An axis of the Pareto front.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Axis {
    /// Which metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which way is better.
    pub lower_is_better: bool,
}

/// A candidate that keeps all limits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Recommended {
    /// 1 + candidates that are better beyond doubt.
    pub place: u32,
    /// First and last place that the intervals leave open.
    pub place_range: (u32, u32),
    /// What tells it from others: key to value.
    pub key: BTreeMap<String, String>,
    /// What decides: of a single metric its mean in SI units, of several the score as a multiple of the best one's.
    pub value: f64,
    /// t interval on the logarithms of the repetitions' values.
    pub ci95: (f64, f64),
    /// Against the first in the list; absent for that one.
    pub against_first: Option<Against>,
    /// What the value is made of.
    pub terms: Vec<TermShown>,
    /// How it keeps the limits.
    pub limits: Vec<LimitShown>,
    /// Figures beside: metric to value.
    pub figures: BTreeMap<String, FigureShown>,
    /// Whether nothing else beats it on every axis; absent where it lacks one, or there are none.
    pub on_front: Option<bool>,
    /// Repetitions that decide.
    pub n_runs: u32,
    /// Requests in them.
    pub n_requests: u32,
    /// Flags of its runs.
    pub flags: Vec<String>,
    /// How many more repetitions of each might tell it from the first.
    pub more_repetitions: Option<u32>,
}

/// How a candidate stands to the first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Against {
    /// Its value divided by the first's.
    pub ratio: f64,
    /// Welch's interval on the logarithms, widened by both bounds.
    pub ci95: (f64, f64),
    /// Whether it cannot be told from the first.
    pub is_tied: bool,
}

/// A figure beside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FigureShown {
    /// Over all tasks; absent where it is a failed request.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
}

/// A candidate without a place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Excluded {
    /// What tells it from others: key to value.
    pub key: BTreeMap<String, String>,
    /// Its repetitions.
    pub n_runs: u32,
    /// All reasons, the first of which would do.
    pub reasons: Vec<Reason>,
}

/// Why a candidate has no place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reason {
    /// Which kind of reason.
    pub kind: ReasonKind,
    /// About which metric, if about one.
    pub metric: Option<String>,
    /// In words.
    pub text: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// A limit is broken.
    Limit,
    /// A figure is absent.
    Missing,
    /// It was not run for a task that others were.
    MissingTask,
    /// All repetitions of a figure are flagged.
    Blocked,
    /// Fewer than three repetitions.
    TooFew,
    /// What decides is a failed request.
    Failed,
}

impl Reason {
    pub(super) fn new(kind: ReasonKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            metric: None,
            text: text.into(),
        }
    }

    pub(super) fn about(mut self, metric: &str) -> Self {
        self.metric = Some(metric.to_owned());
        self
    }
}
