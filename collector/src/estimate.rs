//! What a plan comes to: whether a model fits, how long a batch takes, what energy costs, when a swap pays. Pure.
//!
//! Every figure says what it is: measured, estimated by a formula, or extrapolated beyond what was measured.

mod batch;
mod cost;
mod document;
mod fit;
mod plan;
mod swap;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::rank::{CellFigure, Key, RankError, RankedCell};

pub use self::{
    batch::batch,
    cost::cost,
    document::{
        Amount, Answer, BatchEnergy, BatchRow, CostRow, Estimate, FitRow, Mark, Outcome, Projected,
        SwapRow,
    },
    fit::{Attempt, Machine, Tried, facts_of, fit},
    plan::{BatchPlan, CostPlan, FitPlan, Plan, Price, SwapPlan},
    swap::swap,
};

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EstimateError {
    /// An unknown key, condition, scope or provenance.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// The plan cannot be read.
    #[error("the plan cannot be read: {0}")]
    Plan(String),
    /// A figure of the plan is missing, or is none.
    #[error("{0}")]
    Figure(String),
    /// There is nothing to estimate from.
    #[error("no run has {0}: nothing can be estimated from these runs")]
    Nothing(String),
    /// Conditions that leave one side empty, or put a run on both.
    #[error("{0}")]
    Sides(String),
}

/// What cells are called where several are shown: keys in which they differ, and the device.
fn names(cells: &[&RankedCell]) -> Vec<BTreeMap<String, String>> {
    let differs = |key: &Key| {
        let values: BTreeSet<String> = cells.iter().map(|cell| cell.value(*key)).collect();
        values.len() > 1 || ALWAYS.contains(key)
    };
    let keys: Vec<Key> = Key::ALL.into_iter().filter(differs).collect();
    let name = |cell: &&RankedCell| {
        let named = |key: &Key| (key.as_str().to_owned(), cell.value(*key));
        keys.iter().map(named).collect()
    };
    cells.iter().map(name).collect()
}

/// The figure's mean times a factor, with its interval, widened by its bound.
fn amount(figure: &CellFigure, factor: f64) -> Amount {
    let bound = figure.relative_bound;
    let ends = figure.ci95.filter(|_| bound < 1.0);
    Amount {
        value: figure.mean * factor,
        ci95: ends.map(|(low, high)| (low * factor * (1.0 - bound), high * factor / (1.0 - bound))),
    }
}

/// What to know before believing.
pub fn notes(answer: &Answer) -> Vec<String> {
    let notes: &[&str] = match answer {
        Answer::Fit(_) => &[
            "estimated is weights, key-value cache, picture encoder, scratch space and what the system takes itself, against all of the memory; fragmentation and other programs are not in it",
        ],
        Answer::Batch(_) => &[
            "extrapolated is as if it went on as in the repetitions: a device that warms up, a full disk or a cut in power is not in it, nor in its interval",
            "the time is that of the requests; loading the model comes on top",
        ],
        Answer::Cost(_) => &[
            "what lies outside the power scope is not paid for here; only `wall` is what the bill says",
            "the energy is that of the runs, idle power while it worked included; waiting between runs is not",
        ],
        Answer::Swap(_) => &[
            "this is about time, and nothing about answers: a slower model may be the one whose answers are wanted",
            "the range is for the largest and the smallest saving that the intervals of both models leave open",
        ],
    };
    notes.iter().map(|note| (*note).to_owned()).collect()
}

/// As a whole number, where it can be one.
pub fn whole_bytes(bytes: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie between 0 and 2⁵³"
    )]
    (0.0..9e15).contains(&bytes).then_some(bytes as u64)
}

/// Name of the document.
pub const ESTIMATE_SCHEMA: &str = "tokwatt.estimate/1";

/// Without these a row says nothing.
const ALWAYS: [Key; 4] = [Key::Device, Key::Model, Key::Precision, Key::Task];
