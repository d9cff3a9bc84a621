//! The open loop: when requests go out, what counts as their start, and that 32 in flight are 32.

use std::{sync::Arc, time::Duration};

use tokwatt_agent::{clock::VirtualClock, workload::arrivals::Schedule};
use tokwatt_domain::{
    ids::Digest,
    metrics::MetricValue,
    run::{RequestTrace, RunEnd},
    workload::{Arrivals, Limits, Load},
};

use crate::{Bench, requests, scripted::Reply};

fn open(per_1000_s: u32) -> Load {
    Load::Open {
        per_1000_s,
        arrivals: Arrivals::Constant,
    }
}

/// In virtual time.
fn bench(load: Load) -> Bench {
    let mut bench = Bench::new();
    bench.runner.clock = Arc::new(VirtualClock::start());
    bench.runner.settings.loads = vec![load];
    bench
}

fn due(request: &RequestTrace) -> Duration {
    Duration::from_nanos(request.scheduled.unwrap().0)
}

fn lag(request: &RequestTrace) -> Duration {
    assert!(
        request.sent >= request.scheduled.unwrap(),
        "sent before it was due"
    );
    request.sent.since(request.scheduled.unwrap())
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn requests_go_out_when_they_are_due_whatever_is_in_flight() {
    let bench = bench(open(10_000));
    let slow = |_: &str| Reply::Slowly(Duration::from_secs(1), 3);
    let outcome = bench.ask(40, slow).await;
    let trace = &outcome.traces[0];
    let asked: Vec<&RequestTrace> = requests(trace).collect();
    assert_eq!(asked.len(), 40);
    for pair in asked.windows(2) {
        assert_eq!(due(pair[1]) - due(pair[0]), Duration::from_millis(100));
    }
    for request in &asked {
        assert!(lag(request) <= MILLISECOND, "{:?}", lag(request));
    }
    let most = bench.seen.lock().unwrap().most_in_flight;
    assert!((10..=11).contains(&most), "{most}");
    let report = &outcome.reports[0];
    assert!(report.flags.iter().all(|flag| flag.id != "client_lag"));
    assert_eq!(report.cell.identity.load.to_string(), "open(10)");
}

#[tokio::test(start_paused = true)]
async fn latency_counts_from_the_schedule() {
    let bench = bench(open(10_000));
    let outcome = bench
        .ask(40, |prompt| match prompt {
            "q5" => Reply::Slowly(Duration::from_millis(500), 3),
            _ => Reply::Answer,
        })
        .await;
    let slow = requests(&outcome.traces[0]).nth(5).unwrap();
    let last = slow.chunks.last().unwrap().at;
    let latency = last.since(slow.scheduled.unwrap());
    assert!(latency >= Duration::from_millis(500) && latency <= Duration::from_millis(502));
    let Some(Some(MetricValue::Distribution(of_all))) =
        outcome.reports[0].metrics.get("request_latency")
    else {
        panic!("no latency");
    };
    assert!(of_all.mean.unwrap() >= 0.5 / 40.0);
}

#[tokio::test(start_paused = true)]
async fn random_arrivals_are_those_of_the_schedule_again_and_again() {
    for repetition in 1..=2 {
        let mut bench = bench(Load::Open {
            per_1000_s: 5000,
            arrivals: Arrivals::Poisson,
        });
        bench.runner.settings.repeat = repetition;
        let outcome = bench.ask(60, |_| Reply::Answer).await;
        let trace = outcome.traces.last().unwrap();
        let schedule = Schedule {
            per_1000_s: 5000,
            arrivals: Arrivals::Poisson,
            digest: Digest([0; 32]),
            repetition,
        };
        let start = due(requests(trace).next().unwrap());
        let got: Vec<Duration> = requests(trace)
            .map(|request| due(request) - start)
            .collect();
        let want: Vec<Duration> = schedule.offsets(0).take(60).collect();
        assert_eq!(got, want);
        assert_eq!(
            outcome.reports[0].cell.identity.load.to_string(),
            "open(5, poisson)"
        );
    }
}

/// A minute has six requests at this rate: W would lack a sixth of the time.
#[tokio::test(start_paused = true)]
async fn a_segment_of_a_slow_schedule_has_twenty_requests() {
    let bench = bench(open(100));
    let outcome = bench.ask(45, |_| Reply::Answer).await;
    let trace = &outcome.traces[0];
    let sizes: Vec<usize> = trace.segments.iter().map(|s| s.requests.len()).collect();
    assert_eq!(sizes, [20, 20, 5]);
    let first = trace.segments[0].window.length().as_secs_f64();
    assert!((190.0..191.0).contains(&first), "{first}");
    assert!(requests(trace).map(|request| request.index).eq(0..45));
}

#[tokio::test(start_paused = true)]
async fn a_segment_of_a_fast_schedule_lasts_a_minute() {
    let bench = bench(open(2_000));
    let outcome = bench.ask(200, |_| Reply::Answer).await;
    let sizes: Vec<usize> = outcome.traces[0]
        .segments
        .iter()
        .map(|segment| segment.requests.len())
        .collect();
    assert_eq!(sizes, [120, 80]);
}

#[tokio::test(start_paused = true)]
async fn it_warms_up_at_the_rate_before_the_window() {
    let bench = bench(open(500));
    let before = bench.runner.clock.now();
    let outcome = bench.ask(3, |_| Reply::Answer).await;
    let trace = &outcome.traces[0];
    let window = trace.segments[0].window;
    // Two questions, two seconds apart.
    assert!(window.from.since(before) >= Duration::from_secs(2));
    assert!(bench.seen.lock().unwrap().warm_up_ended <= window.from);
    assert!(requests(trace).all(|request| request.item.starts_with('q')));
}

#[tokio::test(start_paused = true)]
async fn who_stops_does_not_wait_for_the_next_one_that_is_due() {
    let mut bench = bench(open(1));
    bench.runner.settings.repeat = 1;
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(3, move |prompt| {
            if prompt == "q0" {
                stop.cancel();
            }
            Reply::Answer
        })
        .await;
    assert_eq!(outcome.traces[0].end, RunEnd::Cancelled);
    assert_eq!(requests(&outcome.traces[0]).count(), 1);
    // The warm-up's second question was due after 1,000 s, the next measured one would have been after as many.
    assert!(bench.runner.clock.now() < tokwatt_domain::time::Stamp(1_500_000_000_000));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_ends_the_segment_and_the_rest_goes_on_by_schedule() {
    let bench = bench(open(10_000));
    let outcome = bench
        .ask(10, |prompt| match prompt {
            "q3" => Reply::Die,
            _ => Reply::Answer,
        })
        .await;
    let trace = &outcome.traces[0];
    assert_eq!(trace.end, RunEnd::Complete);
    assert!(requests(trace).map(|request| request.index).eq(0..10));
    assert_eq!(trace.segments.len(), 2);
}

/// On the machine's own clock. How late a busy machine is, is no claim of a test; that it is told, is one.
#[tokio::test]
async fn in_real_time_nothing_is_sent_early_and_what_is_late_is_flagged() {
    let mut bench = Bench::new();
    bench.runner.settings.loads = vec![open(500_000)];
    let outcome = bench.ask(200, |_| Reply::Answer).await;
    let mut lags: Vec<Duration> = requests(&outcome.traces[0]).map(lag).collect();
    lags.sort();
    let is_late = lags[197] > MILLISECOND;
    let is_flagged = outcome.reports[0]
        .flags
        .iter()
        .any(|flag| flag.id == "client_lag");
    assert_eq!(is_flagged, is_late, "{:?}", lags[197]);
}

#[tokio::test(start_paused = true)]
async fn goodput_is_of_those_within_the_limits() {
    let mut bench = bench(open(10_000));
    bench.runner.settings.limits = Some(Limits {
        ttft_s: None,
        tpot_s: None,
        latency_s: Some(0.4),
    });
    let outcome = bench
        .ask(40, |prompt| match prompt {
            "q3" | "q30" => Reply::Slowly(Duration::from_millis(500), 3),
            _ => Reply::Answer,
        })
        .await;
    let report = &outcome.reports[0];
    assert_eq!(report.limits, bench.runner.settings.limits);
    assert_eq!(report.totals["good_requests"], 38.0);
    let want = 38.0 / report.window_s;
    assert_eq!(report.metrics["goodput"], Some(MetricValue::Number(want)));
    assert!(report.metrics["drain_share"].is_some());
}

#[tokio::test]
async fn a_closed_loop_of_32_has_32_in_flight_before_the_first_one_ends() {
    let mut bench = Bench::new();
    for concurrency in [1, 2, 8, 16, 32] {
        bench.runner.settings.loads = vec![Load::Closed(concurrency)];
        *bench.seen.lock().unwrap() = Default::default();
        let n = concurrency as usize;
        let outcome = bench
            .ask(3 * n, move |prompt| match prompt.starts_with('q') {
                true => Reply::Together(n),
                false => Reply::Answer,
            })
            .await;
        let trace = &outcome.traces[0];
        let burst = requests(trace).take(n).map(|request| request.sent).max();
        let first_end = requests(trace).map(|request| request.ended).min();
        assert!(burst <= first_end, "{burst:?} {first_end:?}");
        assert_eq!(bench.seen.lock().unwrap().most_in_flight, n);
    }
}
