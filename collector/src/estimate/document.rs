//! `tokwatt.estimate/1`: what a plan comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    metrics::{
        fit::Needs,
        swap::{BreakEven, Together},
    },
    power::{Provenance, Scope},
};

use super::Plan;

/// What a plan comes to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Estimate {
    /// Name of the document.
    pub schema: String,
    /// How the figures came to be that it is made from.
    pub provenance: Provenance,
    /// What was asked, with what was looked up.
    pub plan: Plan,
    /// The answer, of the plan's kind.
    pub answer: Answer,
    /// What to know before believing.
    pub notes: Vec<String>,
}

/// An answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// By device.
    Fit(Vec<FitRow>),
    /// By cell.
    Batch(Vec<BatchRow>),
    /// By cell and scope.
    Cost(Vec<CostRow>),
    /// By pair of cells.
    Swap(Vec<SwapRow>),
}

/// How a figure came to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Within what was measured.
    Measured,
    /// By a formula.
    Estimated,
    /// Beyond what was measured, as if it went on so.
    Extrapolated,
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Amount {
    /// The figure.
    pub value: f64,
    /// 95 %, from repetitions, energies' widened by their bound.
    pub ci95: Option<(f64, f64)>,
}

/// Whether a model fits on a device.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FitRow {
    /// Which device.
    pub device: String,
    /// Which memory: `system`, or `gpu` on a machine where the GPU has its own.
    pub memory: String,
    /// How much of it there is.
    pub total_bytes: Option<u64>,
    /// What the model needs.
    pub needs: Needs,
    /// All of that together.
    pub needed_bytes: u64,
    /// What would be left; below 0 if it does not fit.
    pub headroom_bytes: Option<i64>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Runs of this model and precision there.
    pub n_runs: u32,
    /// The most memory that those took, by the means of their repetitions.
    pub measured_peak_bytes: Option<f64>,
    /// Of their requests, those that ended for want of memory or because the engine died, by kind.
    pub failures: BTreeMap<String, u32>,
    /// The outcome in words.
    pub text: String,
}

/// What becomes of a model on a device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was run there.
    Tested,
    /// It was run there, and ran out of memory or died.
    Failed,
    /// It should fit, by the formula.
    Estimated,
    /// It does not, by the formula.
    WillNotFit,
    /// Nobody knows how much memory there is.
    Unknown,
}

/// How long a batch takes in a cell.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BatchRow {
    /// Which cell: key to value.
    pub key: BTreeMap<String, String>,
    /// Repetitions that it is made from.
    pub n_runs: u32,
    /// Pictures in each of them, on average.
    pub pictures_each: f64,
    /// One for each number of pictures.
    pub projected: Vec<Projected>,
    /// Flags of its runs.
    pub flags: Vec<String>,
    /// Whether a flag speaks against believing it.
    pub is_blocked: bool,
}

/// So many pictures.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Projected {
    /// How many.
    pub pictures: u64,
    /// How long, in seconds.
    pub seconds: Amount,
    /// Whether that many were ever measured in one go.
    pub mark: Mark,
    /// How many times as many as in a repetition.
    pub times_measured: f64,
    /// By power scope.
    pub energy: Vec<BatchEnergy>,
}

/// What so many pictures draw, at one scope.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BatchEnergy {
    /// Which scope.
    pub scope: Scope,
    /// In kWh.
    pub kwh: Amount,
    /// At the price that was given.
    pub cost: Option<Amount>,
    /// Whether a flag speaks against believing it.
    pub is_blocked: bool,
}

/// What energy costs in a cell, at one scope.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CostRow {
    /// Which cell: key to value.
    pub key: BTreeMap<String, String>,
    /// Which scope: what is not in it is not paid here.
    pub scope: Scope,
    /// Repetitions.
    pub n_runs: u32,
    /// kWh for a million output tokens; absent without token counts.
    pub kwh_per_million_tokens: Option<Amount>,
    /// The same at the price that was given.
    pub cost_per_million_tokens: Option<Amount>,
    /// kWh for 1,000 pictures; absent without pictures.
    pub kwh_per_1000_images: Option<Amount>,
    /// The same at the price that was given.
    pub cost_per_1000_images: Option<Amount>,
    /// Flags of its runs.
    pub flags: Vec<String>,
    /// Whether a flag speaks against believing it.
    pub is_blocked: bool,
}

/// Whether it pays to go from one model to the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SwapRow {
    /// What both have in common: key to value.
    pub key: BTreeMap<String, String>,
    /// Seconds for a request to the one that is loaded.
    pub stay_s: Amount,
    /// Seconds for a request to the other.
    pub go_s: Amount,
    /// Seconds until the other has generated its first token.
    pub load_s: Option<Amount>,
    /// Of which kind these loads were: `swap`, `warm` or `cold`.
    pub load_kind: Option<String>,
    /// Whether the load is that of a swap, or of an empty machine, to which unloading is to be added.
    pub mark: Mark,
    /// Requests in a row from which going pays.
    pub requests: Option<BreakEven>,
    /// For the largest and the smallest saving that both intervals leave open.
    pub requests_range: Option<[BreakEven; 2]>,
    /// Whether both fit into memory together, by the peaks of their processes.
    pub together: Option<Together>,
    /// Why something of it is absent.
    pub reasons: BTreeMap<String, String>,
}
