//! Conditions that did not hold still during a run: limits that cut in, clocks that fell, others on the GPU, a clock that was set.

use std::collections::BTreeMap;

use super::Flag;
use crate::{
    metrics::{
        gauges::{all, nearest},
        totals::number,
    },
    run::{GaugeKind, GaugeTrace, RunTrace, Segment},
    time::Stamp,
};

/// Those of a run's flags that its gauges show.
pub(super) fn flags(trace: &RunTrace) -> impl Iterator<Item = Flag> {
    [
        throttled(trace),
        overcurrent(trace),
        shared_device(trace),
        clock_step(trace),
    ]
    .into_iter()
    .flatten()
}

/// A limit that was in force, or a GPU clock that fell.
fn throttled(trace: &RunTrace) -> Option<Flag> {
    let what: Vec<String> = limits(trace).chain(falls(trace)).collect();
    (!what.is_empty()).then(|| Flag::blocking("throttled", what.join("; ")))
}

/// Limits in force at any look, those just before and just after a window included: a window shorter than a second has no
/// others, and what was in force before it went on into it.
fn limits(trace: &RunTrace) -> impl Iterator<Item = String> {
    all(&trace.segments, GaugeKind::Throttle)
        .into_iter()
        .filter_map(|(name, samples)| {
            let in_force = samples.iter().filter(|(_, state)| *state > 0);
            let (n_looks, highest) = (in_force.clone().count(), in_force.map(|s| s.1).max()?);
            Some(format!(
                "`{name}` limited at {n_looks} of {} looks, state {highest} at most",
                samples.len()
            ))
        })
}

/// GPU clocks more than 5 % below their start while there was load.
///
/// A clock's start is the highest of its first three values under load, for the first one may still be that of an idle GPU. It has
/// fallen if later any three values in a row are all lower than that: a governor's single dip between two requests is no fall.
fn falls(trace: &RunTrace) -> impl Iterator<Item = String> {
    // A memory's clock goes with the load of the memory, which nobody tells.
    let is_gpu =
        |gauge: &&GaugeTrace| is_gpu(gauge, GaugeKind::Clock) && !gauge.name.ends_with(" memory");
    let mut clocks: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for segment in &trace.segments {
        for gauge in segment.gauges.iter().filter(is_gpu) {
            let values = under_load(segment, gauge);
            clocks.entry(&gauge.name).or_default().extend(values);
        }
    }
    clocks.into_iter().filter_map(|(name, values)| {
        let highest = |values: &[i64]| values.iter().copied().max();
        let start = highest(values.get(..FEW)?)?;
        let lowest = values.windows(FEW).filter_map(highest).min()?;
        let has_fallen = 100 * i128::from(lowest) < 95 * i128::from(start);
        let megahertz = |hertz: i64| hertz as f64 / 1e6;
        has_fallen.then(|| {
            format!(
                "clock `{name}` fell from {:.0} to {:.0} MHz under load",
                megahertz(start),
                megahertz(lowest)
            )
        })
    })
}

/// A clock's values inside the segment's window while a request was in flight, without those at which the GPU was known to be mostly
/// idle.
fn under_load<'a>(
    segment: &'a Segment,
    clock: &'a GaugeTrace,
) -> impl Iterator<Item = i64> + use<'a> {
    let uses = uses_of(segment, clock);
    let window = segment.window;
    clock
        .samples
        .iter()
        // The looks around a window belong to an idle GPU.
        .filter(move |(at, _)| window.from < *at && *at < window.to)
        // Between two requests of an open loop a clock is low for want of work.
        .filter(move |(at, _)| is_in_flight(segment, *at))
        .filter(move |(at, _)| {
            let mut known = uses.iter().filter_map(|gauge| Some(nearest(gauge, *at)?.1));
            let first = known.next();
            first.is_none_or(|first| known.fold(first, i64::max) >= BUSY)
        })
        .map(|(_, hertz)| *hertz)
}

fn is_in_flight(segment: &Segment, at: Stamp) -> bool {
    let mut requests = segment.requests.iter();
    requests.any(|request| request.sent <= at && at <= request.ended)
}

/// Of the clock's own GPU, `gpu1` for `gpu1 sm`; where there is none, of all.
fn uses_of<'a>(segment: &'a Segment, clock: &GaugeTrace) -> Vec<&'a GaugeTrace> {
    let is_use = |gauge: &&GaugeTrace| is_gpu(gauge, GaugeKind::Utilisation);
    let uses: Vec<&GaugeTrace> = segment.gauges.iter().filter(is_use).collect();
    let gpu = clock.name.split(' ').next().unwrap_or_default();
    let own: Vec<&GaugeTrace> = uses
        .iter()
        .copied()
        .filter(|used| used.name == gpu)
        .collect();
    if own.is_empty() { uses } else { own }
}

/// Counters that rose from the run's first look to its last.
fn overcurrent(trace: &RunTrace) -> Option<Flag> {
    let rose = |(name, samples): (&str, Vec<(Stamp, i64)>)| {
        let (first, last) = (samples.first()?.1, samples.last()?.1);
        (last > first).then(|| format!("`{name}` rose from {first} to {last}"))
    };
    let what: Vec<String> = uninterrupted(trace)
        .flat_map(|segments| all(segments, GaugeKind::Overcurrent))
        .filter_map(rose)
        .collect();
    (!what.is_empty()).then(|| Flag::note("overcurrent", what.join("; ")))
}

/// Others on the GPU at any look.
fn shared_device(trace: &RunTrace) -> Option<Flag> {
    let gauges = all(&trace.segments, GaugeKind::ForeignGpuProcess);
    let most = gauges.values().flatten().map(|(_, n)| *n).max()?;
    let detail = format!("{most} GPU processes that are neither ours nor the engine's");
    (most > 0).then(|| Flag::blocking("shared_device", detail))
}

/// A wall clock that went another way than the monotonic one by more than half a second between two looks.
fn clock_step(trace: &RunTrace) -> Option<Flag> {
    let gauges: Vec<Vec<(Stamp, i64)>> = uninterrupted(trace)
        .flat_map(|segments| all(segments, GaugeKind::WallOffset).into_values())
        .collect();
    let steps = gauges.iter().flat_map(|samples| samples.windows(2));
    let largest = steps
        .map(|pair| (pair[0].1.abs_diff(pair[1].1), pair[1].1 > pair[0].1))
        .max()?;
    let (microseconds, is_forward) = largest;
    let detail = format!(
        "the wall clock was set {} by {:.1} s",
        if is_forward { "forward" } else { "back" },
        number(microseconds) / 1e6
    );
    (microseconds > STEP_US).then(|| Flag::blocking("clock_step", detail))
}

/// The segments between interruptions: over one, counters begin anew and the monotonic clock stood still.
fn uninterrupted(trace: &RunTrace) -> impl Iterator<Item = &[Segment]> {
    let is_new = |index: u32| {
        let mut resumptions = trace.resumptions.iter();
        resumptions.any(|resumption| resumption.segment == index)
    };
    let mut segments = &trace.segments[..];
    let mut index = 0;
    std::iter::from_fn(move || {
        let rest = segments.get(1..)?;
        let length = 1
            + (index + 1..)
                .zip(rest)
                .take_while(|(at, _)| !is_new(*at))
                .count();
        let (part, after) = segments.split_at(length);
        segments = after;
        index += u32::try_from(length).unwrap_or(u32::MAX);
        Some(part)
    })
}

fn is_gpu(gauge: &GaugeTrace, kind: GaugeKind) -> bool {
    gauge.kind == kind && gauge.name.starts_with("gpu")
}

/// As many values in a row are believed.
const FEW: usize = 3;

/// A GPU used less than this, in ‰, is not under load, and its clock may be low for want of work.
const BUSY: i64 = 500;

/// Half a second in µs: far more than a clock that is being slewed gains or loses between two looks.
const STEP_US: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::example, run::Resumption, time::WallTime};

    /// A run of 10 s and one gauge of each series, read every second from the first one's time on, in s.
    fn run(gauges: &[(GaugeKind, &str, u64, &[i64])]) -> RunTrace {
        let mut trace = example::run(vec![example::request(0, 0, &[10_000], 50, 4)]);
        trace.segments[0].gauges = gauges.iter().map(gauge).collect();
        trace
    }

    fn gauge((kind, name, start, values): &(GaugeKind, &str, u64, &[i64])) -> GaugeTrace {
        let samples = (*start..).zip(*values);
        GaugeTrace {
            kind: *kind,
            name: (*name).to_owned(),
            samples: samples
                .map(|(second, value)| (example::stamp(1000 * second), *value))
                .collect(),
        }
    }

    #[track_caller]
    fn check(trace: &RunTrace, want: &[(&str, bool, &str)]) {
        let flags: Vec<Flag> = flags(trace).collect();
        let got: Vec<(&str, bool, &str)> = flags
            .iter()
            .map(|flag| (flag.id.as_str(), flag.blocking, flag.detail.as_str()))
            .collect();
        assert_eq!(got, want);
    }

    const MHZ: i64 = 1_000_000;

    #[test]
    fn steady_conditions_raise_nothing() {
        check(&run(&[]), &[]);
        check(
            &run(&[
                (GaugeKind::Clock, "gpu", 0, &[1300 * MHZ; 11]),
                (GaugeKind::Temperature, "tj", 0, &[40_000, 90_000]),
                (GaugeKind::Throttle, "gpu-throttle-alert", 0, &[0; 11]),
                (GaugeKind::Overcurrent, "oc1", 0, &[7; 11]),
                (GaugeKind::Utilisation, "gpu", 0, &[990; 11]),
                (GaugeKind::ForeignGpuProcess, "gpu", 0, &[0; 11]),
                (GaugeKind::WallOffset, "wall", 0, &[5, 6, 4, 5]),
            ]),
            &[],
        );
    }

    #[test]
    fn a_limit_in_force_blocks_also_right_beside_the_window() {
        let detail = "`gpu-throttle-alert` limited at 2 of 4 looks, state 3 at most";
        check(
            &run(&[(GaugeKind::Throttle, "gpu-throttle-alert", 2, &[0, 3, 1, 0])]),
            &[("throttled", true, detail)],
        );
        check(
            &run(&[(GaugeKind::Throttle, "cpu", 11, &[1])]),
            &[(
                "throttled",
                true,
                "`cpu` limited at 1 of 1 looks, state 1 at most",
            )],
        );
    }

    #[test]
    fn a_gpu_clock_five_percent_below_its_start_is_steady_and_below_that_it_has_fallen() {
        let clock = |low: i64| {
            let values = [1000 * MHZ, 1000 * MHZ, 1000 * MHZ, low, low, low];
            run(&[(GaugeKind::Clock, "gpu", 1, &values)])
        };
        check(&clock(950 * MHZ), &[]);
        check(
            &clock(949 * MHZ),
            &[(
                "throttled",
                true,
                "clock `gpu` fell from 1000 to 949 MHz under load",
            )],
        );
    }

    #[test]
    fn an_idle_clock_at_the_start_is_not_the_start() {
        check(
            &run(&[(GaugeKind::Clock, "gpu", 0, &[300, 1300, 1300, 1300, 1300])]),
            &[],
        );
        check(
            &run(&[(
                GaugeKind::Clock,
                "gpu",
                1,
                &[300 * MHZ, 1300 * MHZ, 900 * MHZ, 900 * MHZ, 900 * MHZ],
            )]),
            &[(
                "throttled",
                true,
                "clock `gpu` fell from 1300 to 900 MHz under load",
            )],
        );
    }

    #[test]
    fn the_looks_at_a_windows_edges_are_not_under_load() {
        let mut trace = run(&[(GaugeKind::Clock, "gpu", 8, &[1300, 1300, 315])]);
        trace.segments[0].gauges[0]
            .samples
            .insert(0, (Stamp(7_000_000_000), 1300));
        let later = run(&[(GaugeKind::Clock, "gpu", 0, &[315])]);
        trace
            .segments
            .extend([later.segments.clone(), later.segments].concat());
        check(&trace, &[]);
    }

    #[test]
    fn a_clock_that_rests_between_the_requests_of_an_open_loop_has_not_fallen() {
        // Read every second: in flight until 4 s, then again from 8 s on.
        let mhz = [
            1500, 1500, 1500, 1500, 1500, 300, 300, 300, 1500, 1500, 1500,
        ];
        let values = mhz.map(|mhz| mhz * MHZ);
        let gauges = run(&[(GaugeKind::Clock, "gpu", 0, &values)]);
        let mut trace = example::run(vec![
            example::request(0, 0, &[4_000], 50, 4),
            example::request(1, 8_000, &[2_000], 50, 4),
        ]);
        trace.segments[0].gauges = gauges.segments[0].gauges.clone();
        check(&trace, &[]);
        let detail = "clock `gpu` fell from 1500 to 300 MHz under load";
        check(&gauges, &[("throttled", true, detail)]);
    }

    #[test]
    fn two_low_values_in_a_row_are_no_fall() {
        let values = [1300, 1300, 1300, 600, 600, 1300, 600, 600, 1300];
        check(&run(&[(GaugeKind::Clock, "gpu", 0, &values)]), &[]);
    }

    #[test]
    fn a_clock_is_judged_under_load_only() {
        let clock: (_, _, _, &[i64]) = (GaugeKind::Clock, "gpu", 0, &[1300, 1300, 1300, 6, 6, 6]);
        let busy: (_, _, _, &[i64]) = (GaugeKind::Utilisation, "gpu", 0, &[990, 990, 990, 20, 499]);
        check(&run(&[clock, busy]), &[]);
        // Another GPU's load is no reason for this one's clock to be high.
        let clock: (_, _, _, &[i64]) = (GaugeKind::Clock, "gpu1 sm", 0, clock.3);
        let idle: (_, _, _, &[i64]) = (GaugeKind::Utilisation, "gpu1", 0, busy.3);
        let other: (_, _, _, &[i64]) = (GaugeKind::Utilisation, "gpu0", 0, &[990; 6]);
        check(&run(&[clock, idle, other]), &[]);
        let memory: (_, _, _, &[i64]) = (GaugeKind::Clock, "gpu0 memory", 0, clock.3);
        check(&run(&[memory, other]), &[]);
        // After the window nothing is asked any more.
        check(
            &run(&[(GaugeKind::Clock, "gpu", 8, &[1300, 1300, 1300, 6, 6, 6])]),
            &[],
        );
        // Clusters of the processor go up and down as they like.
        check(
            &run(&[(GaugeKind::Clock, "cpu policy0", 0, &[13, 13, 13, 6, 6, 6])]),
            &[],
        );
    }

    #[test]
    fn a_clock_may_fall_from_one_segment_to_the_next() {
        let mut trace = run(&[(GaugeKind::Clock, "gpu", 1, &[1300 * MHZ; 3])]);
        let later = run(&[(GaugeKind::Clock, "gpu", 1, &[650 * MHZ; 3])]);
        trace.segments.extend(later.segments);
        check(
            &trace,
            &[(
                "throttled",
                true,
                "clock `gpu` fell from 1300 to 650 MHz under load",
            )],
        );
    }

    #[test]
    fn overcurrent_is_what_came_to_the_counter_during_the_run() {
        let mut trace = run(&[(GaugeKind::Overcurrent, "oc1", 0, &[3, 3])]);
        check(&trace, &[]);
        let later = run(&[(GaugeKind::Overcurrent, "oc1", 20, &[3, 5])]);
        trace.segments.extend(later.segments);
        check(&trace, &[("overcurrent", false, "`oc1` rose from 3 to 5")]);
    }

    #[test]
    fn what_happened_while_a_run_was_interrupted_is_not_held_against_it() {
        let wall = |values: &[i64]| run(&[(GaugeKind::WallOffset, "wall", 0, values)]);
        let mut trace = wall(&[10, 10]);
        trace
            .segments
            .extend(wall(&[3_600_000_010, 3_600_000_010]).segments);
        trace.segments.extend(wall(&[3_600_000_010]).segments);
        let resumed = |segment| Resumption {
            segment,
            at: WallTime(0),
            idle: Vec::new(),
        };
        trace.resumptions = vec![resumed(0), resumed(1)];
        check(&trace, &[]);
        trace.resumptions = vec![resumed(2)];
        assert_eq!(flags(&trace).count(), 1);

        let counted = |values: &[i64]| run(&[(GaugeKind::Overcurrent, "oc1", 0, values)]);
        let mut trace = counted(&[3, 5]);
        trace.segments.extend(counted(&[0, 0]).segments);
        trace.resumptions = vec![resumed(1)];
        check(&trace, &[("overcurrent", false, "`oc1` rose from 3 to 5")]);
    }

    #[test]
    fn one_look_at_a_foreign_process_is_enough() {
        check(
            &run(&[(GaugeKind::ForeignGpuProcess, "gpu", 0, &[0, 2, 0])]),
            &[(
                "shared_device",
                true,
                "2 GPU processes that are neither ours nor the engine's",
            )],
        );
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_within_segments_and_between_them() {
        let wall = |values: &[i64]| run(&[(GaugeKind::WallOffset, "wall", 0, values)]);
        check(&wall(&[0, 500_000, 0]), &[]);
        check(
            &wall(&[0, 500_000, -1]),
            &[("clock_step", true, "the wall clock was set back by 0.5 s")],
        );
        let mut trace = wall(&[10]);
        trace.segments.extend(wall(&[3_600_000_010]).segments);
        check(
            &trace,
            &[(
                "clock_step",
                true,
                "the wall clock was set forward by 3600.0 s",
            )],
        );
        let ends_of_the_range = wall(&[i64::MIN, i64::MAX]);
        assert_eq!(flags(&ends_of_the_range).count(), 1);
    }
}
