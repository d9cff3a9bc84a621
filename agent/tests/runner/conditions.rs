//! The conditions of a run: looked at before, during and after its window, and waited for before it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokwatt_agent::{
    clock::VirtualClock,
    device::gauges::{Gauge, GaugeSource, Gauges, GpuMemory},
    runner::Progress,
};
use tokwatt_domain::{
    metrics::RunReport,
    run::{GaugeKind, GaugeTrace, MemoryScope, RunTrace},
    time::Stamp,
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

fn times(samples: &[(Stamp, i64)]) -> Vec<Stamp> {
    samples.iter().map(|(at, _)| *at).collect()
}

fn flags(report: &RunReport) -> Vec<&str> {
    report.flags.iter().map(|flag| flag.id.as_str()).collect()
}

/// A bench whose time is tokio's, which passes at once.
fn in_virtual_time(gauges: Gauges) -> Bench {
    let mut bench = Bench::new();
    bench.runner.clock = Arc::new(VirtualClock::start());
    bench.runner.gauges = gauges;
    bench
}

#[tokio::test(start_paused = true)]
async fn gauges_are_looked_at_just_before_the_window_every_second_and_just_after() {
    let mut bench = in_virtual_time(gauges(|look| gauge(GaugeKind::Overcurrent, "oc1", look)));
    bench.runner.settings.timeout = Duration::from_millis(3500);
    let outcome = bench
        .ask(2, |prompt| match prompt {
            "q1" => Reply::Never,
            _ => Reply::Answer,
        })
        .await;
    let trace = &outcome.traces[0];
    let window = trace.segments[0].window;
    let samples = &traced(trace, GaugeKind::Overcurrent).samples;
    let warm_up_ended = bench.seen.lock().unwrap().warm_up_ended;
    assert!(warm_up_ended <= samples[0].0 && samples[0].0 <= window.from);
    assert!(window.to <= samples.last().unwrap().0);
    let within = samples
        .iter()
        .filter(|(at, _)| *at > window.from && *at < window.to);
    assert_eq!(within.count(), 3, "{samples:?}");
    // Memory is seen at the same looks, and the wall clock with them.
    let memory = &trace.segments[0].memory[0];
    assert_eq!(memory.scope, MemoryScope::System);
    let seen: Vec<Stamp> = memory.samples.iter().map(|(at, _)| *at).collect();
    assert_eq!(seen, times(&traced(trace, GaugeKind::Overcurrent).samples));
    assert_eq!(seen, times(&traced(trace, GaugeKind::WallOffset).samples));
    let report = &outcome.reports[0];
    assert!(flags(report).contains(&"overcurrent"), "{:?}", report.flags);
    assert!(!flags(report).contains(&"clock_step"), "{:?}", report.flags);
    let closed = records(&bench.runner.spool)
        .into_iter()
        .find_map(|record| match record {
            Record::SegmentClosed { gauges, .. } => Some(gauges),
            _ => None,
        });
    assert_eq!(closed.as_ref(), Some(&trace.segments[0].gauges));
}

/// Two looks of a window shorter than a second: the real clock, as on a device.
#[tokio::test]
async fn a_short_window_is_looked_at_from_both_sides() {
    let mut bench = Bench::new();
    bench.runner.gauges = gauges(|look| gauge(GaugeKind::Utilisation, "gpu", look));
    let outcome = bench.ask(2, |_| Reply::Answer).await;
    let trace = &outcome.traces[0];
    let window = trace.segments[0].window;
    let seen = times(&traced(trace, GaugeKind::Utilisation).samples);
    assert!(*seen.first().unwrap() <= window.from);
    assert!(window.to <= *seen.last().unwrap());
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

#[tokio::test(start_paused = true)]
async fn where_nothing_can_tell_a_run_begins_at_once_and_says_nothing_of_it() {
    let bench = in_virtual_time(gauges(|look| gauge(GaugeKind::Clock, "gpu", look)));
    let outcome = bench.ask(2, |_| Reply::Answer).await;
    let header = &outcome.traces[0].header;
    assert!(!header.reasons.contains_key("settle"));
    let before = outcome.traces[0].segments[0].window.from;
    assert!(before < Stamp::at(Duration::from_secs(1)), "{before:?}");
}

/// Runs one request after waiting for a temperature that is so many m°C at each look; what came of it and what was told.
async fn settled(is_quick: bool, millidegrees: fn(i64) -> i64) -> (RunTrace, Vec<String>) {
    let show = move |look| gauge(GaugeKind::Temperature, "tj", millidegrees(look));
    let mut bench = in_virtual_time(gauges(show));
    bench.runner.settings.is_quick = is_quick;
    let group = bench.group(|_| Ok(()), |_| Reply::Answer);
    let (mut told, mut traces) = (Vec::new(), Vec::new());
    let mut note = |step: Progress| match step {
        Progress::Stage(stage) => told.push(stage),
        Progress::Finished(trace) => traces.push(*trace),
        _ => {}
    };
    let outcome = bench.runner.bench(&plan(1), &[group], &mut note).await;
    let report = &outcome.reports[0];
    let trace = traces.remove(0);
    assert_eq!(report.reasons["settle"], trace.header.reasons["settle"]);
    assert_eq!(report.requests.succeeded, 1);
    (trace, told)
}

#[tokio::test(start_paused = true)]
async fn a_steady_machine_is_watched_for_ten_seconds_and_a_quick_run_for_four() {
    for (is_quick, want) in [(false, "flat after 10 s"), (true, "flat after 4 s")] {
        let (trace, _) = settled(is_quick, |_| 45_000).await;
        assert_eq!(trace.header.reasons["settle"], want);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_to_rest_is_waited_for() {
    // A degree a second for 29 s, then none: flat once no more than the oldest of the last 11 looks is a degree below.
    let (trace, told) = settled(false, |look| 1000 * look.min(30)).await;
    assert_eq!(trace.header.reasons["settle"], "flat after 38 s");
    let waiting = "waiting until temperature and power are flat, 60 s at most";
    assert!(told.iter().any(|stage| stage == waiting), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_come_to_rest_is_measured_all_the_same_and_says_what_moved() {
    let (trace, told) = settled(false, |look| 200 * look).await;
    let want = "not flat after 60 s: tj rose 0.20 °C/s";
    assert_eq!(trace.header.reasons["settle"], want);
    assert!(told.iter().any(|stage| stage == want), "{told:?}");
    let (trace, _) = settled(true, |look| -500 * look).await;
    let want = "not flat after 5 s: tj fell 0.50 °C/s";
    assert_eq!(trace.header.reasons["settle"], want);
}

#[tokio::test(start_paused = true)]
async fn a_run_starts_when_the_waiting_is_over() {
    let (trace, _) = settled(false, |_| 45_000).await;
    let wall = &traced(&trace, GaugeKind::WallOffset).samples[0];
    let began = trace.header.started.0 - wall.1;
    assert!(began >= 10_000_000, "{began} µs after the bench");
}

#[tokio::test(start_paused = true)]
async fn stopped_while_it_waits_for_steadiness_it_asks_nothing_and_leaves_no_run() {
    let mut bench = Bench::new();
    bench.runner.clock = Arc::new(VirtualClock::start());
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
    assert_eq!(records(&bench.runner.spool).len(), 1, "the device alone");
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

#[tokio::test(start_paused = true)]
async fn tokens_that_a_server_generated_for_others_block() {
    let generated =
        |each: i64| gauges(move |look| gauge(GaugeKind::GeneratedTokens, "vllm", each * look));
    let answer = |prompt: &str| match prompt {
        "w0" => Reply::Answer,
        _ => Reply::Slowly(Duration::from_millis(1500), 4),
    };
    // Ten requests of 4 tokens in 15 s, and 16 looks from just before them to just after.
    let outcome = in_virtual_time(generated(2)).ask(10, answer).await;
    assert!(!flags(&outcome.reports[0]).contains(&"shared_device"));
    let outcome = in_virtual_time(generated(5)).ask(10, answer).await;
    let report = &outcome.reports[0];
    assert!(flags(report).contains(&"shared_device"), "{report:?}");
    let server = report.server.as_ref().unwrap();
    let n_looks = traced(&outcome.traces[0], GaugeKind::GeneratedTokens)
        .samples
        .len() as u64;
    assert_eq!(server.generated_tokens, Some(5 * (n_looks - 1)));
}

/// Says why it shows nothing.
struct Silent;

impl GaugeSource for Silent {
    fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        Vec::new()
    }

    fn silence(&self) -> Option<(&'static str, String)> {
        Some(("server", "it answers 501".to_owned()))
    }
}

#[tokio::test(start_paused = true)]
async fn why_a_server_tells_nothing_stands_with_the_run() {
    let bench = in_virtual_time(Gauges::of(vec![Box::new(Silent)]));
    let outcome = bench.ask(1, |_| Reply::Answer).await;
    assert_eq!(outcome.reports[0].reasons["server"], "it answers 501");
    let opened = records(&bench.runner.spool)
        .into_iter()
        .find_map(|record| match record {
            Record::RunOpened(header) => Some(header.reasons["server"].clone()),
            _ => None,
        });
    assert_eq!(opened.as_deref(), Some("it answers 501"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_say_what_it_cached_is_known_by_its_haste() {
    let times = Arc::new(AtomicUsize::new(0));
    let seen = times.clone();
    let outcome = in_virtual_time(Gauges::default())
        .ask(1, move |prompt| match prompt {
            // New it takes a second, and nothing when it is asked again.
            "w1" if seen.fetch_add(1, Ordering::Relaxed) == 0 => {
                Reply::Slowly(Duration::from_secs(1), 1)
            }
            _ => Reply::Answer,
        })
        .await;
    let probe = outcome.traces[0].header.cache_probe.clone().unwrap();
    assert_eq!((probe.prompt_tokens, probe.cached_tokens), (None, None));
    let pair = (Duration::from_secs(1), Duration::ZERO);
    assert_eq!(probe.first_tokens, [pair, pair]);
    assert!(flags(&outcome.reports[0]).contains(&"prefix_cache"));
}

#[tokio::test(start_paused = true)]
async fn without_streaming_no_question_is_streamed_and_no_first_token_is_timed() {
    let mut bench = in_virtual_time(Gauges::default());
    bench.runner.settings.is_streaming = false;
    let outcome = bench.ask(1, |_| Reply::Answer).await;
    let probe = outcome.traces[0].header.cache_probe.clone().unwrap();
    assert_eq!(probe.first_tokens, []);
    assert_eq!(bench.seen.lock().unwrap().n_streamed, 0);
}
