//! What a server told of itself during a run: its KV cache, its queue, what it threw out, and whether that goes with latency.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    metrics::{
        correlation::{Correlation, spearman},
        gauges::{self, moved, nearest},
        latency::request_latency,
        totals::{number, successes},
    },
    run::{GaugeKind, RequestTrace, RunTrace, Segment},
    time::Stamp,
};

/// A server's own metrics over a run's windows. What it does not tell is absent, with its reason under `server.` and the key.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServerReport {
    /// Whose metrics they are: `vllm`, `llama.cpp`, `sglang`, `trtllm`.
    pub server: String,
    /// Largest part of the KV cache in use, 0 to 1.
    pub kv_cache_use_max: Option<f64>,
    /// Mean over the looks, which are evenly spaced.
    pub kv_cache_use_mean: Option<f64>,
    /// Most requests computed at a time.
    pub requests_running_max: Option<u64>,
    /// Most requests waiting at a time.
    pub requests_queued_max: Option<u64>,
    /// Requests that had to make room and begin again.
    pub preemptions: Option<u64>,
    /// Prompt tokens read.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated.
    pub generated_tokens: Option<u64>,
    /// Part of the prompt tokens looked up in the prefix cache that was found there, 0 to 1.
    pub prefix_cache_hit_share: Option<f64>,
    /// Latency of the requests with the KV cache's use in their middle.
    pub latency_with_kv_cache_use: Option<Correlation>,
    /// Latency of the requests with the number of waiting ones in their middle.
    pub latency_with_requests_queued: Option<Correlation>,
}

/// What a server told, and why the rest is absent; the key `server` where it told nothing.
pub(crate) fn server(trace: &RunTrace) -> (Option<ServerReport>, BTreeMap<String, String>) {
    let mut absent = Absent::default();
    let Some(name) = name(trace) else {
        let reason = "the server's own metrics were not watched".to_owned();
        absent.0.insert("server".to_owned(), reason);
        return (None, absent.0);
    };
    let told = Told { trace, name };
    let report = ServerReport {
        server: name.to_owned(),
        kv_cache_use_max: absent.unless("kv_cache_use_max", told.most_share()),
        kv_cache_use_mean: absent.unless("kv_cache_use_mean", told.mean_share()),
        requests_running_max: absent.unless(
            "requests_running_max",
            told.most(GaugeKind::RequestsRunning),
        ),
        requests_queued_max: absent
            .unless("requests_queued_max", told.most(GaugeKind::RequestsQueued)),
        preemptions: absent.unless("preemptions", told.moved(GaugeKind::Preemptions)),
        prompt_tokens: absent.unless("prompt_tokens", told.moved(GaugeKind::PromptTokens)),
        generated_tokens: absent.unless("generated_tokens", told.moved(GaugeKind::GeneratedTokens)),
        prefix_cache_hit_share: absent.unless("prefix_cache_hit_share", told.hit_share()),
        latency_with_kv_cache_use: absent.unless(
            "latency_with_kv_cache_use",
            told.latency_with(GaugeKind::KvCacheUse),
        ),
        latency_with_requests_queued: absent.unless(
            "latency_with_requests_queued",
            told.latency_with(GaugeKind::RequestsQueued),
        ),
    };
    (Some(report), absent.0)
}

/// Under which name the server's gauges stand, if there are any: those of one server have one name.
pub(crate) fn name(trace: &RunTrace) -> Option<&str> {
    let mut gauges = trace.segments.iter().flat_map(|segment| &segment.gauges);
    let gauge = gauges.find(|gauge| gauge.kind.is_of_a_server())?;
    Some(&gauge.name)
}

impl GaugeKind {
    /// Whether it is a server's word, not the device's.
    pub fn is_of_a_server(self) -> bool {
        match self {
            Self::Clock
            | Self::Temperature
            | Self::Throttle
            | Self::Overcurrent
            | Self::Utilisation
            | Self::ForeignGpuProcess
            | Self::WallOffset => false,
            Self::KvCacheUse
            | Self::RequestsRunning
            | Self::RequestsQueued
            | Self::Preemptions
            | Self::PromptTokens
            | Self::GeneratedTokens
            | Self::PrefixCacheQueries
            | Self::PrefixCacheHits => true,
        }
    }
}

/// Why figures are absent, by their reason's key.
#[derive(Default)]
struct Absent(BTreeMap<String, String>);

impl Absent {
    fn unless<T>(&mut self, key: &str, figure: Result<T, String>) -> Option<T> {
        figure
            .map_err(|why| self.0.insert(format!("server.{key}"), why))
            .ok()
    }
}

/// One server's gauges over a run.
struct Told<'a> {
    trace: &'a RunTrace,
    name: &'a str,
}

impl Told<'_> {
    fn most(&self, kind: GaugeKind) -> Result<u64, String> {
        let most = self.inside(kind).max();
        Ok(most.ok_or(NOT_SEEN)?)
    }

    fn most_share(&self) -> Result<f64, String> {
        let per_mille = self.most(GaugeKind::KvCacheUse)?;
        Ok(number(per_mille) / 1000.0)
    }

    fn mean_share(&self) -> Result<f64, String> {
        let values = || self.inside(GaugeKind::KvCacheUse);
        let sum: u128 = values().map(u128::from).sum();
        match values().count() {
            0 => Err(NOT_SEEN.to_owned()),
            n => Ok(sum as f64 / (1000.0 * number(n as u64))),
        }
    }

    fn moved(&self, kind: GaugeKind) -> Result<u64, String> {
        moved(self.trace, kind, self.name)
    }

    fn hit_share(&self) -> Result<f64, String> {
        let hits = self.moved(GaugeKind::PrefixCacheHits)?;
        match self.moved(GaugeKind::PrefixCacheQueries)? {
            0 => Err("nothing was looked up".to_owned()),
            queries => Ok(number(hits) / number(queries)),
        }
    }

    /// Over successes, each with the gauge's value that was read nearest to its middle. Requests of one look are no witnesses of their
    /// own, so it takes as many looks as requests.
    fn latency_with(&self, kind: GaugeKind) -> Result<Correlation, String> {
        if self.inside(kind).next().is_none() {
            return Err(NOT_SEEN.to_owned());
        }
        let mut looks = BTreeSet::new();
        let pairs: Vec<(f64, f64)> = successes(self.trace)
            .filter_map(|request| {
                let (at, value) = self.in_the_middle_of(request, kind)?;
                looks.insert(at);
                Some((request_latency(request).as_secs_f64(), value as f64))
            })
            .collect();
        let correlation = spearman(&pairs)?;
        match looks.len() {
            few if few < LOOKS_MIN => Err(format!("takes {LOOKS_MIN} looks, there are {few}")),
            _ => Ok(correlation),
        }
    }

    fn in_the_middle_of(&self, request: &RequestTrace, kind: GaugeKind) -> Option<(Stamp, i64)> {
        let (from, to) = (request.origin().0, request.ended.0);
        let middle = Stamp(from + to.saturating_sub(from) / 2);
        let mut segments = self.trace.segments.iter();
        let segment = segments.find(|segment| is_in(segment, middle))?;
        let look = nearest(gauges::of(segment, kind, self.name)?, middle)?;
        Some(look).filter(|(at, _)| at.0.abs_diff(middle.0) <= NEAR_NS)
    }

    /// Values read inside the windows; a value below 0 is none.
    fn inside(&self, kind: GaugeKind) -> impl Iterator<Item = u64> {
        let segments = self.trace.segments.iter();
        segments
            .filter_map(move |segment| Some((segment, gauges::of(segment, kind, self.name)?)))
            .flat_map(|(segment, gauge)| {
                let samples = gauge.samples.iter();
                samples.filter(move |(at, _)| is_in(segment, *at))
            })
            .filter_map(|(_, value)| u64::try_from(*value).ok())
    }
}

fn is_in(segment: &Segment, at: Stamp) -> bool {
    segment.window.from <= at && at <= segment.window.to
}

const NOT_SEEN: &str = "the server did not tell it inside the windows";

/// As few pairs are no correlation, either.
const LOOKS_MIN: usize = 10;

/// Looks are about a second apart; where there is none as near as that, some are missing.
const NEAR_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{example, measure},
        run::GaugeTrace,
    };

    /// Twenty requests one after the other, the n-th of (n + 1)·100 ms; the window ends at 21 s.
    fn longer_and_longer() -> RunTrace {
        let requests = (0..20_u32).map(|index| {
            let n = u64::from(index);
            example::request(index, 50 * n * (n + 1), &[100 * (n + 1)], 50, 4)
        });
        example::run(requests.collect())
    }

    fn gauge(kind: GaugeKind, samples: impl IntoIterator<Item = (u64, i64)>) -> GaugeTrace {
        GaugeTrace {
            kind,
            name: "vllm".to_owned(),
            samples: samples
                .into_iter()
                .map(|(at, value)| (example::stamp(at), value))
                .collect(),
        }
    }

    #[test]
    fn figures_are_of_the_windows_only() {
        let mut trace = longer_and_longer();
        trace.segments[0].gauges = vec![
            gauge(
                GaugeKind::KvCacheUse,
                [(0, 100), (10_000, 400), (21_000, 250), (22_000, 990)],
            ),
            gauge(GaugeKind::RequestsQueued, [(0, 0), (9_000, 3), (30_000, 8)]),
            gauge(GaugeKind::RequestsRunning, [(0, -1)]),
            gauge(GaugeKind::Preemptions, [(0, 7), (30_000, 9)]),
            gauge(GaugeKind::GeneratedTokens, [(0, 1000), (21_000, 1080)]),
            gauge(GaugeKind::PrefixCacheQueries, [(0, 0), (21_000, 800)]),
            gauge(GaugeKind::PrefixCacheHits, [(0, 0), (21_000, 200)]),
        ];
        let report = measure(&trace);
        let server = report.server.unwrap();
        assert_eq!(server.server, "vllm");
        assert_eq!(server.kv_cache_use_max, Some(0.4));
        assert_eq!(server.kv_cache_use_mean, Some(0.25));
        assert_eq!(server.requests_queued_max, Some(3));
        assert_eq!(server.requests_running_max, None);
        assert_eq!(server.preemptions, Some(2));
        assert_eq!(server.generated_tokens, Some(80));
        assert_eq!(server.prefix_cache_hit_share, Some(0.25));
        assert_eq!(report.reasons["server.requests_running_max"], NOT_SEEN);
        assert_eq!(
            report.reasons["server.prompt_tokens"],
            "the server does not tell"
        );
    }

    #[test]
    fn latency_that_goes_with_the_cache_shows() {
        let mut trace = longer_and_longer();
        // Every 500 ms a little fuller, so that the later and longer requests have the fuller cache.
        let filling = (0..43).map(|n: u16| (500 * u64::from(n), i64::from(n)));
        trace.segments[0].gauges = vec![gauge(GaugeKind::KvCacheUse, filling)];
        let report = measure(&trace);
        let server = report.server.unwrap();
        let correlation = server.latency_with_kv_cache_use.unwrap();
        assert_eq!(correlation.n, 20);
        // Only the first few share a look.
        assert!(correlation.rho > 0.99, "{correlation:?}");
        assert_eq!(
            report.reasons["server.latency_with_requests_queued"],
            NOT_SEEN
        );
    }

    #[test]
    fn many_requests_of_few_looks_are_few_witnesses() {
        let requests = (0..80_u32).map(|index| {
            let n = u64::from(index);
            example::request(index, 50 * n, &[40 + n % 2], 50, 4)
        });
        let mut trace = example::run(requests.collect());
        let looks = [(0, 1), (1000, 2), (2000, 1), (3000, 3), (4000, 1)];
        trace.segments[0].gauges = vec![gauge(GaugeKind::KvCacheUse, looks)];
        assert_eq!(
            measure(&trace).reasons["server.latency_with_kv_cache_use"],
            "takes 10 looks, there are 5"
        );
    }

    #[test]
    fn a_cache_that_did_not_change_goes_with_nothing() {
        let mut trace = longer_and_longer();
        let steady = (0..22).map(|n| (1000 * n, 500));
        trace.segments[0].gauges = vec![gauge(GaugeKind::KvCacheUse, steady)];
        let report = measure(&trace);
        assert_eq!(report.server.unwrap().latency_with_kv_cache_use, None);
        assert_eq!(
            report.reasons["server.latency_with_kv_cache_use"],
            "one of the two did not change"
        );
    }

    #[test]
    fn requests_that_no_look_was_near_to_are_left_out() {
        let mut trace = longer_and_longer();
        trace.segments[0].gauges = vec![gauge(GaugeKind::KvCacheUse, [(0, 1), (1000, 2)])];
        let report = measure(&trace);
        // Middles at 50 ms, 200 ms, 450 ms, …: the sixth is at 1.8 s, the seventh at 2.45 s.
        assert_eq!(
            report.reasons["server.latency_with_kv_cache_use"],
            "takes 10 requests, there are 6"
        );
    }

    #[test]
    fn who_tells_nothing_has_no_figures_and_a_reason() {
        let report = measure(&longer_and_longer());
        assert_eq!(report.server, None);
        assert_eq!(
            report.reasons["server"],
            "the server's own metrics were not watched"
        );
    }
}
