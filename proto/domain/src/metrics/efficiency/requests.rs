//! The energy of single requests, where a request can be told from its neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{COVERAGE_LEAST, of_sensor, power_reports, stretches, surest};
use crate::{
    metrics::{
        energy::{Energy, energy},
        latency::request_latency,
        totals::Totals,
    },
    power::{PowerSample, PowerTrace, Scope},
    run::{RequestTrace, RunTrace, Segment},
    time::Window,
    workload::Load,
};

/// Energy of each success in J, by what was asked, for each scope: by the sensor that stands for it in the run's report.
///
/// A request has its own only at concurrency 1, and if it lasted ten times as long as the sensor's sample period, refresh and averaging
/// time, and was seen as a whole; the others are not there.
pub fn request_energies(trace: &RunTrace) -> BTreeMap<Scope, Vec<(&str, f64)>> {
    if trace.header.cell.identity.load != Load::Closed(1) {
        return BTreeMap::new();
    }
    let (reports, _) = power_reports(trace, &mut Totals::default());
    let scopes: BTreeSet<Scope> = reports.iter().map(|report| report.scope).collect();
    let of_scope = |scope| {
        let source = &surest(&reports, scope)?.source;
        Some((scope, of_sensor_in(trace, scope, source)?))
    };
    scopes.into_iter().filter_map(of_scope).collect()
}

fn of_sensor_in<'a>(
    trace: &'a RunTrace,
    scope: Scope,
    source: &str,
) -> Option<Vec<(&'a str, f64)>> {
    let segments = trace.segments.iter();
    let powered: Vec<(&Segment, &PowerTrace)> = segments
        .filter_map(|segment| Some((segment, of_sensor(segment, scope, source)?)))
        .collect();
    let (_, first) = powered.first()?;
    let whole = energy(&first.sensor, &stretches(trace, scope, source));
    let shortest = SPAN_LEAST * slowest(first, &whole);
    let requests = powered.into_iter().flat_map(|(segment, power)| {
        let requests = segment.requests.iter();
        requests.map(move |request| (power, request))
    });
    let is_long = |request: &RequestTrace| {
        request.outcome.is_success() && request_latency(request) >= shortest
    };
    let own = requests
        .filter(|(_, request)| is_long(request))
        .filter_map(|(power, request)| Some((request.item.as_str(), own_energy(power, request)?)));
    Some(own.collect())
}

/// The slowest of what lies between power and its reading.
fn slowest(power: &PowerTrace, whole: &Energy) -> Duration {
    let refresh = whole.refresh.map(|refresh| refresh.time);
    let times = [
        whole.period.unwrap_or_default(),
        refresh.unwrap_or_default(),
        power.sensor.averaging,
    ];
    times.into_iter().max().unwrap_or_default()
}

fn own_energy(power: &PowerTrace, request: &RequestTrace) -> Option<f64> {
    let window = Window {
        from: request.sent,
        to: request
            .chunks
            .last()
            .map_or(request.ended, |chunk| chunk.at),
    };
    let own = energy(&power.sensor, &[(window, around(&power.samples, window))]);
    let is_seen = own.is_bracketed && own.coverage >= COVERAGE_LEAST;
    own.joules
        .map(|joules| joules.0)
        .filter(|joules| is_seen && *joules > 0.0)
}

/// From the last sample at or before the window to the first at or after it.
fn around(samples: &[PowerSample], window: Window) -> &[PowerSample] {
    let before = samples.partition_point(|sample| sample.at <= window.from);
    let after = samples.partition_point(|sample| sample.at < window.to);
    let end = (after + 1).min(samples.len());
    samples.get(before.saturating_sub(1)..end).unwrap_or(&[])
}

/// METRICS, "Per run".
const SPAN_LEAST: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;

    /// Two requests of 2 s each, a second apart; 10 W, then 20 W from 3 s on, read every 100 ms.
    fn run(load: Load, every_ms: u64) -> RunTrace {
        let mut trace = example::run(vec![
            example::request(0, 1000, &[100, 2000], 10, 3),
            example::request(1, 4000, &[100, 2000], 10, 3),
        ]);
        trace.header.cell.identity.load = load;
        let points: Vec<(u64, i64)> = (0..=7000 / every_ms)
            .map(|n| n * every_ms)
            .map(|at| (at, if at < 3500 { 10 } else { 20 }))
            .collect();
        trace.segments[0].power = vec![example::power(&points)];
        trace
    }

    #[track_caller]
    fn check(trace: &RunTrace, want: &[(&str, f64)]) {
        let energies = request_energies(trace);
        let own = energies.get(&Scope::Module).cloned();
        assert_eq!(own.unwrap_or_default(), want);
    }

    #[test]
    fn a_request_has_what_was_drawn_while_it_was_answered() {
        let both = [("scene-0", 20.0), ("scene-1", 40.0)];
        check(&run(Load::Closed(1), 100), &both);
    }

    #[test]
    fn requests_that_overlap_or_are_too_short_have_none_of_their_own() {
        check(&run(Load::Closed(2), 100), &[]);
        check(&run(Load::Closed(1), 250), &[]);
    }

    #[test]
    fn what_was_not_seen_as_a_whole_has_none() {
        let mut trace = run(Load::Closed(1), 100);
        trace.segments[0].power[0].samples.truncate(55);
        check(&trace, &[("scene-0", 20.0)]);
    }
}
