//! Reading a run's gauges: what one showed near a time, and how far a counter moved inside the windows.

use std::collections::BTreeMap;

use crate::{
    run::{GaugeKind, GaugeTrace, RunTrace, Segment},
    time::Stamp,
};

/// The samples of each gauge of a kind, over these segments.
pub(crate) fn all(segments: &[Segment], kind: GaugeKind) -> BTreeMap<&str, Vec<(Stamp, i64)>> {
    let mut all: BTreeMap<&str, Vec<(Stamp, i64)>> = BTreeMap::new();
    let gauges = segments.iter().flat_map(|segment| &segment.gauges);
    for gauge in gauges.filter(|gauge| gauge.kind == kind) {
        all.entry(&gauge.name).or_default().extend(&gauge.samples);
    }
    all
}

/// The sample read nearest to `at`; they are in order of time.
pub(crate) fn nearest(gauge: &GaugeTrace, at: Stamp) -> Option<(Stamp, i64)> {
    let after = gauge.samples.partition_point(|(other, _)| *other < at);
    let around = gauge.samples.get(after.saturating_sub(1)..)?.iter().take(2);
    around
        .min_by_key(|(other, _)| other.0.abs_diff(at.0))
        .copied()
}

/// The gauge of a segment.
pub(crate) fn of<'a>(segment: &'a Segment, kind: GaugeKind, name: &str) -> Option<&'a GaugeTrace> {
    let mut gauges = segment.gauges.iter();
    gauges.find(|gauge| gauge.kind == kind && gauge.name == name)
}

/// By how much a counter rose, from the look just before each window to the one just after it, all windows together.
///
/// # Errors
/// Why nobody knows.
pub(crate) fn moved(trace: &RunTrace, kind: GaugeKind, name: &str) -> Result<u64, String> {
    let mut sum = 0_u64;
    for segment in &trace.segments {
        let gauge = of(segment, kind, name).ok_or("the server does not tell")?;
        let (before, after) = edges(segment, gauge).ok_or(NOT_BRACKETED)?;
        let rose = after
            .checked_sub(before)
            .and_then(|rose| u64::try_from(rose).ok());
        sum = sum.saturating_add(rose.ok_or(WENT_BACK)?);
    }
    Ok(sum)
}

/// What a gauge showed just before a segment's window, and just after it.
fn edges(segment: &Segment, gauge: &GaugeTrace) -> Option<(i64, i64)> {
    let window = segment.window;
    let samples = || gauge.samples.iter();
    let before = samples().rev().find(|(at, _)| *at <= window.from)?;
    let after = samples().find(|(at, _)| *at >= window.to)?;
    Some((before.1, after.1))
}

const NOT_BRACKETED: &str = "the server was not seen just before and just after every window";
const WENT_BACK: &str = "the server's counter went back: it was started anew meanwhile";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;

    /// One window from 1 to 2 s, and a counter read at so many ms.
    fn counted(samples: &[(u64, i64)]) -> RunTrace {
        let mut trace = example::run(vec![example::request(0, 1000, &[1000], 50, 4)]);
        trace.segments[0].gauges = vec![GaugeTrace {
            kind: GaugeKind::GeneratedTokens,
            name: "vllm".to_owned(),
            samples: samples
                .iter()
                .map(|(at, value)| (example::stamp(*at), *value))
                .collect(),
        }];
        trace
    }

    #[track_caller]
    fn check(trace: &RunTrace, want: Result<u64, &str>) {
        let got = moved(trace, GaugeKind::GeneratedTokens, "vllm");
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn a_counter_moves_between_the_looks_beside_the_window() {
        check(&counted(&[(900, 5), (1500, 7), (2100, 9)]), Ok(4));
        // What is earlier or later than those belongs to others.
        check(&counted(&[(0, 1), (1000, 5), (2000, 9), (3000, 99)]), Ok(4));
    }

    #[test]
    fn windows_add_up_and_what_is_between_them_does_not_count() {
        let mut trace = counted(&[(900, 5), (2100, 9)]);
        trace
            .segments
            .extend(counted(&[(1000, 500), (2000, 501)]).segments);
        check(&trace, Ok(5));
    }

    #[test]
    fn an_edge_that_was_not_seen_is_a_reason_and_no_guess() {
        check(&counted(&[(1001, 5), (2100, 9)]), Err(NOT_BRACKETED));
        check(&counted(&[(900, 5), (1999, 9)]), Err(NOT_BRACKETED));
        check(&counted(&[(900, 9), (2100, 5)]), Err(WENT_BACK));
        check(
            &counted(&[(900, i64::MIN), (2100, i64::MAX)]),
            Err(WENT_BACK),
        );
        let other = example::run(vec![example::request(0, 0, &[1], 1, 1)]);
        check(&other, Err("the server does not tell"));
    }
}
