//! What the runs of a fleet come to: rows and places.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    metrics::Percentile,
    power::{Provenance, Scope},
};

/// A ranking of one metric, of one scope, of one provenance.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Board {
    /// `tokwatt.rank/1`.
    pub schema: String,
    /// Which metric.
    pub metric: String,
    /// Which power scope, for metrics over energy.
    pub scope: Option<Scope>,
    /// How the figures came to be.
    pub provenance: Provenance,
    /// Unit of `value` and `ci95`.
    pub unit: String,
    /// Whether the smaller value is the better one.
    pub lower_is_better: bool,
    /// How tasks were put together: `one task`, `ratio of sums`, `geometric mean`, or `arithmetic mean` for shares.
    pub aggregate: String,
    /// What every row has in common: key to value.
    pub fixed: BTreeMap<String, String>,
    /// Best first.
    pub rows: Vec<Row>,
    /// What was left out, and what to know before believing.
    pub notes: Vec<String>,
}

/// Boards of several power scopes, side by side.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Boards {
    /// `tokwatt.boards/1`.
    pub schema: String,
    /// Why no value on one board may be compared with a value on another; absent where there is one board.
    pub warning: Option<String>,
    /// In the order of their scopes.
    pub boards: Vec<Board>,
}

/// One configuration's place.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// 1 + rows that are better beyond doubt; absent without an interval or with a blocking flag.
    pub place: Option<u32>,
    /// First and last place that the intervals leave open.
    pub place_range: Option<(u32, u32)>,
    /// What makes this row: key to value.
    pub key: BTreeMap<String, String>,
    /// Geometric mean of the repetitions (arithmetic for shares); the word `failed` where a repetition's percentile is a failed
    /// request, which is slower than any: such a row has no interval and no place.
    pub value: Percentile,
    /// t interval on the logarithms of the repetitions' values.
    pub ci95: Option<(f64, f64)>,
    /// Repetitions.
    pub n_runs: u32,
    /// Requests in them.
    pub n_requests: u32,
    /// Flags of its runs, and `needs about k more repetitions to separate from …`.
    pub flags: Vec<String>,
    /// What has to be read beside the value where models differ in what a token is: metric to value, such as `output_chars` and scores.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, f64>,
}
