//! From trace to report: the one definition of every number.

/// What every metric is called, measured in, and made of.
pub mod dictionary;

/// Sums over a run, from which ratios are made.
pub mod totals;

/// How long requests took.
pub mod latency;

/// Which requests keep to the limits that were stated.
pub mod goodput;

/// Memory in use.
pub mod memory;

/// What a server told of itself.
pub mod server;

/// Energy over a run's windows, and its error bound.
pub mod energy;

/// Energy for what was done.
pub mod efficiency;

/// How much of the answers is true.
pub mod quality;

/// Means and intervals over repetitions.
pub mod spread;

/// Two models on one machine: what a switch costs, and when it pays.
pub mod swap;

/// Whether a model fits into memory.
pub mod fit;

/// What energy costs.
pub mod cost;

/// What nothing else beats in every respect.
pub mod front;

/// What goes together with what.
pub mod correlation;

/// Pictures that were made smaller on the way.
pub mod resized;

/// A run's gauges.
mod gauges;

/// How long more of the same would take.
pub mod projection;

/// A stretch of a run, for whoever watches.
pub mod live;

/// The dictionary, filled in for a run.
mod figures;

/// What makes figures doubtful.
pub mod flags;

#[cfg(test)]
mod example;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{DeviceId, RunId},
    power::{Provenance, Scope},
    run::{Cell, LoadKind, LoadTime, Outcome, RunTrace},
    time::WallTime,
    workload::Limits,
};

/// What a run came to. Pure: the same trace gives the same report, here and at the collector.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunReport {
    /// Which run.
    pub run: RunId,
    /// Where.
    pub device: DeviceId,
    /// Which repetition of the cell, from 1.
    pub repetition: u32,
    /// When it started, by the wall clock, in µs since 1970.
    pub started: WallTime,
    /// What was run.
    pub cell: Cell,
    /// How its figures came to be.
    pub provenance: RunProvenance,
    /// What a request had to keep to, to count for `goodput`; `null` where nobody said.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// W: Σ of the segments' windows, in seconds.
    pub window_s: f64,
    /// Loads of the model that came before the run's requests, in order; the last is the one of its group.
    #[serde(default)]
    pub loads: Vec<LoadReport>,
    /// Requests by what became of them.
    pub requests: RequestCounts,
    /// Metric id to its figure. Absent figures are `null`, with the reason in `reasons`.
    pub metrics: BTreeMap<String, Option<MetricValue>>,
    /// One entry for each sensor and scope; empty without a sensor, with `reasons.power`.
    pub power: Vec<PowerReport>,
    /// What the server told of itself; absent where it told nothing, with `reasons.server`. Reports before it have none.
    #[serde(default)]
    pub server: Option<server::ServerReport>,
    /// Quality id to its score, 0 to 1 (`output_chars` apart); absent without known truth.
    pub quality: BTreeMap<String, Option<f64>>,
    /// Sums over the run from which every ratio is made, so that runs add up: total id to value.
    pub totals: BTreeMap<String, f64>,
    /// What makes a figure doubtful.
    pub flags: Vec<Flag>,
    /// Key to why it is absent; `settle` to what came of waiting for steady conditions before the run.
    pub reasons: BTreeMap<String, String>,
}

/// How a run's figures came to be.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunProvenance {
    /// Of latency, speed, quality.
    pub requests: Provenance,
    /// Of power; absent without a sensor.
    pub power: Option<Provenance>,
}

/// One load of the model: from the call to the first generated token.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoadReport {
    /// What state the machine was in.
    pub kind: LoadKind,
    /// How long it took.
    pub duration_s: f64,
    /// Share of the weights' pages that were in the page cache before it, 0 to 1; absent where nobody could tell.
    pub resident: Option<f64>,
}

/// Requests by what became of them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RequestCounts {
    /// Sent.
    pub issued: u32,
    /// Ended with stop or length.
    pub succeeded: u32,
    /// Failure class to how many.
    pub failed: BTreeMap<String, u32>,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MetricValue {
    /// Of the run as a whole.
    Number(f64),
    /// Of its requests.
    Distribution(Distribution),
}

/// A per-request figure over a run. Percentiles are nearest rank over all measured requests, where a
/// failure counts as larger than any value.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Distribution {
    /// Mean over the requests that have the figure.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<Percentile>,
    /// Needs 10 requests.
    pub p90: Option<Percentile>,
    /// Needs 20 requests.
    pub p95: Option<Percentile>,
    /// Needs 100 requests.
    pub p99: Option<Percentile>,
    /// How many are behind it: requests that have the figure, and failures (of `icl` gaps between pieces).
    pub n: u32,
}

/// A percentile: a value, or the word `failed` where so many requests failed that it is one of them. Also a mean over
/// repetitions of which one is so.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Percentile {
    /// The value.
    Value(f64),
    /// Written as the string `failed`.
    Failed(Failed),
}

/// Written as the string `failed`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Failed {
    /// The request at this rank failed.
    #[serde(rename = "failed")]
    Failed,
}

/// Energy and what follows from it, for one sensor and scope.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PowerReport {
    /// What is included.
    pub scope: Scope,
    /// Which instrument.
    pub source: String,
    /// Which rails were added up.
    pub rails: Vec<String>,
    /// E over W.
    pub energy_j: Option<f64>,
    /// How far sampling may have led E astray; see `energy::Bound` for its terms.
    pub error_bound_j: Option<f64>,
    /// The terms of the bound in J: `edges`, `averaging`, `quantisation`, `interior`, `gaps`, `counter`, `clock`.
    pub error_terms_j: BTreeMap<String, f64>,
    /// E / W.
    pub avg_power_w: Option<f64>,
    /// Before the model was loaded.
    pub idle_unloaded_power_w: Option<f64>,
    /// With the model loaded, nothing asked.
    pub idle_loaded_power_w: Option<f64>,
    /// E − idle loaded · W; may be negative; never ranked.
    pub energy_net_j: Option<f64>,
    /// How far sampling may have led the net energy astray, in J and not below 0: the bounds of E and of idle loaded · W together.
    pub energy_net_bound_j: Option<f64>,
    /// Part of W between readings no further apart than three median periods, 0 to 1.
    pub coverage: f64,
    /// Whether samples lie on both sides of every window.
    pub bracketed: bool,
    /// Median time between samples.
    pub sample_period_s: Option<f64>,
    /// Shortest time after which a new value appeared, where known. What is sampled faster is not more than that.
    pub refresh_s: Option<f64>,
    /// Who says so.
    #[serde(default)]
    pub refresh_source: Option<RefreshSource>,
    /// How many lie within W.
    pub samples: u32,
    /// Longest time between neighbours.
    pub largest_gap_s: Option<f64>,
    /// ΣN / E.
    pub tok_per_s_per_w: Option<f64>,
    /// E / ΣN.
    pub j_per_output_token: Option<f64>,
    /// E / successes.
    pub j_per_request: Option<f64>,
    /// E / pictures of successes.
    pub j_per_image: Option<f64>,
    /// E / answers with every fact right.
    pub j_per_correct_answer: Option<f64>,
}

/// How a sensor's refresh is known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshSource {
    /// Its driver states it, or its maker.
    Driver,
    /// Found in the readings of the run.
    Measured,
}

/// What makes a figure doubtful.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Flag {
    /// `roofline`, `cache_leak`, `shared_device`, `clock_step`, `aliased`, `throttled`, `littles_law`, `token_leak`,
    /// `bundled`, `client_lag`, `overcurrent`, `preempted`, `queued`, `prefix_cache`, `interval_not_kept`, `quick`, `resumed`, `missing_samples`, `missing_requests`,
    /// `cancelled`, `aborted`, `report_differs`, `too_few_requests`; of an energy
    /// `not_bracketed`, `low_coverage`, `bound_above_5_percent`, `window_below_60_s`.
    pub id: String,
    /// Blocking: shown and not ranked.
    pub blocking: bool,
    /// The figures behind it.
    pub detail: String,
}

/// Makes a run's report from its trace, and from nothing else.
pub fn measure(trace: &RunTrace) -> RunReport {
    let header = &trace.header;
    let mut totals = totals::totals(trace);
    let quality = quality::quality(trace);
    quality.add_to(&mut totals);
    let (power, power_reasons) = efficiency::power_reports(trace, &mut totals);
    let figures = figures::figures(trace, &totals);
    let (server, server_reasons) = server::server(trace);
    let (flags, flag_reasons) = flags::flags(trace, &totals, &power);
    let no_sensor = power
        .is_empty()
        .then(|| ("power".to_owned(), "no power sensor".to_owned()));
    let reasons = [
        figures.reasons,
        quality.reasons,
        power_reasons,
        server_reasons,
        flag_reasons,
    ];
    RunReport {
        run: header.run,
        device: header.device.clone(),
        repetition: header.repetition,
        started: header.started,
        cell: header.cell.clone(),
        provenance: RunProvenance {
            requests: header.requests_provenance,
            power: power_provenance(trace),
        },
        limits: header.limits,
        window_s: totals::window(trace).as_secs_f64(),
        loads: {
            let loads = header.load_trials.iter().chain(&header.load_time);
            loads.map(LoadReport::of).collect()
        },
        requests: request_counts(trace),
        metrics: figures.metrics,
        power,
        server,
        quality: quality.scores,
        totals: totals.values,
        flags,
        reasons: all_reasons(
            &header.reasons,
            reasons.into_iter().flatten().chain(no_sensor),
        ),
    }
}

impl LoadReport {
    fn of(load: &LoadTime) -> Self {
        Self {
            kind: load.kind,
            duration_s: load.duration.as_secs_f64(),
            resident: load.resident,
        }
    }
}

impl RunReport {
    /// Whether not everything was asked: a person stopped it, or the engine did not come back.
    pub fn ended_early(&self) -> bool {
        let is_end = |flag: &Flag| ["cancelled", "aborted"].contains(&flag.id.as_str());
        self.flags.iter().any(is_end)
    }

    /// Requests by what became of them; absent where another tool's file does not say how many there were.
    pub fn stated_requests(&self) -> Option<&RequestCounts> {
        Some(&self.requests).filter(|counts| !self.is_stated() || counts.issued > 0)
    }

    /// W, in seconds; absent where another tool's file does not say how long it took.
    pub fn stated_window_s(&self) -> Option<f64> {
        Some(self.window_s).filter(|window_s| !self.is_stated() || *window_s > 0.0)
    }

    /// Whether somebody else says what it came to.
    fn is_stated(&self) -> bool {
        self.provenance.requests >= Provenance::Imported
    }
}

impl RunProvenance {
    /// Of a metric: the weaker of those it uses. `None` for one over energy without a sensor.
    pub fn of(&self, metric: &dictionary::Definition) -> Option<Provenance> {
        if !metric.needs_scope {
            return Some(self.requests);
        }
        self.power.map(|power| power.weaker(self.requests))
    }
}

/// The weakest of the sensors'.
fn power_provenance(trace: &RunTrace) -> Option<Provenance> {
    let sensors = trace.segments.iter().flat_map(|segment| &segment.power);
    sensors
        .map(|power| power.sensor.provenance)
        .reduce(Provenance::weaker)
}

fn request_counts(trace: &RunTrace) -> RequestCounts {
    let mut counts = RequestCounts::default();
    for request in totals::requests(trace) {
        counts.issued += 1;
        match &request.outcome {
            Outcome::Stop | Outcome::Length => counts.succeeded += 1,
            Outcome::Failed { class, .. } => {
                *counts.failed.entry(class.as_str().to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

/// What was known before the run goes first, and holds for variants too: `memory` for `memory_peak.system`.
fn all_reasons(
    before: &BTreeMap<String, String>,
    found: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut reasons = before.clone();
    for (key, reason) in found {
        let known = before
            .iter()
            .find(|(known, _)| key.starts_with(known.as_str()));
        let reason = known.map_or(reason, |(_, known)| known.clone());
        reasons.insert(key, reason);
    }
    reasons
}
