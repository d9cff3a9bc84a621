//! The conditions of a run: looked at before, during and after its window, and waited for before it.

use std::{collections::BTreeSet, time::Duration};

use tokwatt_agent::{
    device::gauges::{Gauge, GaugeSource, Gauges, GpuMemory},
    runner::Progress,
};
use tokwatt_domain::{
    metrics::RunReport,
    run::{GaugeKind, GaugeTrace, MemoryScope, RunTrace},
};
use tokwatt_proto::Record;

use crate::{Bench, plan, records, scripted::Reply};

/// Shows what a function makes of the number of the look, from 1.
struct Scripted<F> {
    n_looks: i64,
    show: F,
}

impl<F: FnMut(i64) -> Vec<Gauge> + Send> GaugeSource for Scripted<F> {
    fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        self.n_looks += 1;
        (self.show)(self.n_looks)
    }
}

fn gauges(show: impl FnMut(i64) -> Vec<Gauge> + Send + 'static) -> Gauges {
    Gauges::of(vec![Box::new(Scripted { n_looks: 0, show })])
}

fn gauge(kind: GaugeKind, name: &str, value: i64) -> Vec<Gauge> {
    vec![Gauge {
        kind,
        name: name.to_owned(),
        value,
    }]
}

fn traced(trace: &RunTrace, kind: GaugeKind) -> &GaugeTrace {
    let gauges = &trace.segments[0].gauges;
    gauges.iter().find(|gauge| gauge.kind == kind).unwrap()
}

fn flags(report: &RunReport) -> Vec<&str> {
    report.flags.iter().map(|flag| flag.id.as_str()).collect()
}

#[tokio::test]
async fn gauges_are_looked_at_just_before_the_window_within_it_and_just_after() {
    let mut bench = Bench::new();
    bench.runner.gauges = gauges(|look| gauge(GaugeKind::Overcurrent, "oc1", look));
    // Long enough for looks within the window, on however slow a machine.
    bench.runner.settings.timeout = Duration::from_secs(3);
    let outcome = bench
        .ask(2, |prompt| match prompt {
            "q1" => Reply::Never,
            _ => Reply::Answer,
        })
        .await;
    let trace = &outcome.traces[0];
    let window = trace.segments[0].window;
    let samples = &traced(trace, GaugeKind::Overcurrent).samples;
    let (first, last) = (samples.first().unwrap().0, samples.last().unwrap().0);
    let warm_up_ended = bench.seen.lock().unwrap().warm_up_ended;
    assert!(warm_up_ended <= first && first <= window.from);
    assert!(window.to <= last);
    assert!(samples.len() > 2, "{samples:?}");
    // Memory is seen at the same looks, and the wall clock with them.
    let memory = &trace.segments[0].memory[0];
    assert_eq!(memory.scope, MemoryScope::System);
    let times = |samples: &[(_, i64)]| samples.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    let seen: Vec<_> = memory.samples.iter().map(|(at, _)| *at).collect();
    assert_eq!(seen, times(samples));
    assert_eq!(seen, times(&traced(trace, GaugeKind::WallOffset).samples));
    let report = &outcome.reports[0];
    assert!(flags(report).contains(&"overcurrent"), "{:?}", report.flags);
    assert!(!flags(report).contains(&"clock_step"), "{:?}", report.flags);
    // What is spooled has it all.
    let closed = records(&bench.runner.spool).into_iter().find_map(|record| {
        let Record::SegmentClosed { gauges, .. } = record else {
            return None;
        };
        Some(gauges)
    });
    assert_eq!(closed.as_ref(), Some(&trace.segments[0].gauges));
}

#[tokio::test]
async fn a_source_that_panics_costs_the_conditions_and_not_the_run() {
    let mut bench = Bench::new();
    bench.runner.gauges = gauges(|_| panic!("a driver misbehaves"));
    let outcome = bench.ask(2, |_| Reply::Answer).await;
    assert_eq!(outcome.reports[0].requests.succeeded, 2);
    assert_eq!(outcome.traces[0].segments[0].gauges, []);
}

#[tokio::test]
async fn a_limit_that_cuts_in_keeps_the_run_off_the_boards() {
    let mut bench = Bench::new();
    bench.runner.gauges = gauges(|look| gauge(GaugeKind::Throttle, "gpu-throttle-alert", look - 1));
    let outcome = bench.ask(2, |_| Reply::Answer).await;
    assert!(flags(&outcome.reports[0]).contains(&"throttled"));
}

#[tokio::test]
async fn where_nothing_can_tell_a_run_begins_at_once_and_says_nothing_of_it() {
    let bench = Bench::new();
    let outcome = bench.ask(2, |_| Reply::Answer).await;
    assert!(!outcome.traces[0].header.reasons.contains_key("settle"));
}

#[tokio::test]
async fn a_run_waits_until_it_is_steady_and_says_so() {
    let mut bench = Bench::new();
    bench.runner.gauges = gauges(|_| gauge(GaugeKind::Temperature, "tj", 45_000));
    let group = bench.group(|_| Ok(()), |_| Reply::Answer);
    let mut stages = Vec::new();
    let mut note = |step: Progress| {
        if let Progress::Stage(stage) = step {
            stages.push(stage);
        }
    };
    let outcome = bench.runner.bench(&plan(1), &[group], &mut note).await;
    let settle = &outcome.traces[0].header.reasons["settle"];
    assert!(settle.starts_with("flat after "), "{settle}");
    assert_eq!(&outcome.reports[0].reasons["settle"], settle);
    assert!(
        stages.contains(&"waiting until temperature and power are flat, 5 s at most".to_owned()),
        "{stages:?}"
    );
}

#[tokio::test]
async fn a_run_that_does_not_get_steady_is_run_all_the_same_and_says_what_moved() {
    let mut bench = Bench::new();
    let mut degrees = 45_000;
    bench.runner.gauges = gauges(move |_| {
        degrees += 500;
        gauge(GaugeKind::Temperature, "tj", degrees)
    });
    let outcome = bench.ask(1, |_| Reply::Answer).await;
    let settle = &outcome.traces[0].header.reasons["settle"];
    assert!(
        settle.starts_with("not flat after 5 s: tj rose 0."),
        "{settle}"
    );
    assert_eq!(outcome.reports[0].requests.succeeded, 1);
}

#[tokio::test]
async fn stopped_while_it_waits_for_steadiness_it_asks_nothing_and_leaves_no_run() {
    let mut bench = Bench::new();
    let stop = bench.runner.stop.clone();
    bench.runner.gauges = gauges(move |look| {
        if look == 2 {
            stop.cancel();
        }
        gauge(GaugeKind::Temperature, "tj", 45_000)
    });
    let outcome = bench.ask(1, |_| Reply::Answer).await;
    assert!(outcome.is_cancelled && outcome.traces.is_empty());
    assert_eq!(bench.asked('q'), [""; 0]);
}

/// A GPU on which ever more memory is taken: 5 bytes, then 6.
struct Filling(u64);

impl GaugeSource for Filling {
    fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        Vec::new()
    }

    fn gpu_memory(&mut self, _ours: Option<&BTreeSet<u32>>) -> Option<GpuMemory> {
        self.0 += 1;
        Some(GpuMemory::Everybody(4 + self.0))
    }
}

#[tokio::test]
async fn memory_of_a_gpu_is_compared_with_what_was_taken_before_the_load() {
    let mut bench = Bench::new();
    bench.runner.gauges = Gauges::of(vec![Box::new(Filling(0))]);
    let outcome = bench.ask(1, |_| Reply::Answer).await;
    let memory = &outcome.traces[0].segments[0].memory;
    let gpu = memory.iter().find(|trace| trace.scope == MemoryScope::Gpu);
    let gpu = gpu.unwrap();
    assert_eq!(gpu.baseline_bytes, 5);
    assert_eq!(gpu.samples[0].1, 6);
}
