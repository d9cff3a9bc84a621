//! A run's report as a whole: worked examples of published studies, the form of its JSON, and what must always hold.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::{dictionary::definition, example, *};
use crate::{
    power::{PowerTrace, Reading},
    run::{
        CountSource, EngineTimes, FailureClass, IdleBaseline, IdleState, LoadKind, LoadTime,
        RequestTrace, Resumption, TokenCounts,
    },
    time::Window,
    units::{Joules, Watts},
    workload::{CachePolicy, Load, SceneObject, SceneTruth, Scoring, Truth},
};

fn number(report: &RunReport, id: &str) -> f64 {
    definition(id)
        .unwrap()
        .figure(report, Some(Scope::Module))
        .unwrap_or_else(|| panic!("{id} is absent: {:?}", report.reasons))
}

#[track_caller]
fn check(report: &RunReport, id: &str, want: f64, tolerance: f64) {
    let got = number(report, id);
    assert!(
        (got - want).abs() <= tolerance,
        "{id} is {got}, want {want}"
    );
}

/// A success of N tokens, the first after `ttft` ms, the last after `latency` ms.
fn timed(
    index: u32,
    sent: u64,
    (ttft, latency): (u64, u64),
    prompt: u32,
    completion: u32,
) -> RequestTrace {
    example::request(index, sent, &[ttft, latency], prompt, completion)
}

/// At concurrency 1 and `watts`, sampled at 10 Hz around the whole run.
fn with_power(mut trace: RunTrace, watts: i64) -> RunTrace {
    let end = trace.segments[0].window.to.0 / 1_000_000;
    let points: Vec<(u64, i64)> = (0..=end / 100 + 1)
        .map(|step| (step * 100, watts))
        .collect();
    trace.segments[0].power.push(example::power(&points));
    trace
}

#[test]
fn one_mlperf_sample_is_both_31_and_47_tokens_per_second() {
    // Thor, Llama 3.1 8B, SingleStream: TTFT 1.385 s, TPOT 21.29 ms, 128 tokens in 4.089 s; 31.30 TPS was printed.
    let report = measure(&example::run(vec![timed(0, 0, (1385, 4089), 700, 128)]));
    check(&report, "ttft", 1.385, 1e-12);
    check(&report, "tpot", 0.02129, 5e-6);
    check(&report, "e2e_output_tps", 31.30, 0.005);
    check(&report, "decode_tps", 47.0, 0.05);
}

#[test]
fn a_202_tokens_per_second_end_to_end_is_22_ms_a_token() {
    // Gemma 3 4B on an L40S: 500 prompt tokens, 145 completion tokens.
    let report = measure(&example::run(vec![timed(0, 0, (135, 3190), 500, 145)]));
    check(&report, "e2e_total_tps", 202.25, 0.1);
    check(&report, "ntpot", 0.022, 1e-9);
    check(&report, "e2e_output_tps", 45.45, 0.01);
    assert!(!definition("e2e_total_tps").unwrap().is_rankable);
}

#[test]
fn a_rate_of_19813_with_its_prompts_is_5601_without() {
    // Llama 3.2 1B, 5,000 requests at once, done after 108.36 s; 1,540,000 prompt and 606,875 completion tokens.
    let request = |index: u32| {
        timed(
            index,
            0,
            (1000, 108_360),
            308,
            121 + u32::from(index < 1875),
        )
    };
    let report = measure(&example::run((0..5000).map(request).collect()));
    assert_eq!(report.totals["prompt_tokens"], 1_540_000.0);
    assert_eq!(report.totals["completion_tokens"], 606_875.0);
    check(&report, "total_tps", 19_813.0, 1.0);
    check(&report, "output_tps", 5_601.0, 1.0);
    check(&report, "requests_per_s", 46.1, 0.05);
    check(&report, "requests_per_min", 2768.5, 0.1);
}

#[test]
fn what_is_18_78_tokens_per_joule_is_not_0_051_joules_per_token() {
    // SmolVLM2 on Thor: 554 tok/s and 18.78 tok/s/W, so 29.5 W; 0.051 J/token was printed beside them.
    let requests =
        (0..100).map(|index| timed(index, u64::from(index) * 1000, (500, 1000), 50, 554));
    let report = measure(&with_power(example::run(requests.collect()), 29_500).scaled(1000));
    check(&report, "output_tps", 554.0, 1e-9);
    check(&report, "avg_power", 29.5, 1e-9);
    check(&report, "tok_per_s_per_w", 18.78, 0.005);
    check(&report, "j_per_output_token", 0.0532, 0.00005);
}

impl RunTrace {
    /// Power divided by `divisor`, for watts with decimals.
    fn scaled(mut self, divisor: i64) -> Self {
        for sample in &mut self.segments[0].power[0].samples {
            sample.values[0] /= divisor;
        }
        self
    }
}

#[test]
fn a_ratio_of_sums_is_no_mean_of_ratios() {
    // 10 tokens in 1 s, then 10 tokens in 3 s, at 10 W: 0.5 tok/J, where the mean of both would be 0.67.
    let trace = example::run(vec![
        timed(0, 0, (500, 1000), 5, 10),
        timed(1, 1000, (500, 3000), 5, 10),
    ]);
    let report = measure(&with_power(trace, 10));
    check(&report, "tok_per_s_per_w", 0.5, 1e-12);
    check(&report, "e2e_output_tps", 5.0, 1e-12);
    check(&report, "energy", 40.0, 1e-9);
    check(&report, "j_per_request", 20.0, 1e-9);
    check(&report, "j_per_image", 20.0, 1e-9);
}

#[test]
fn every_run_metric_has_its_closed_form() {
    let mut trace = example::run(vec![
        timed(0, 0, (100, 500), 50, 9),
        timed(1, 500, (200, 1000), 60, 17),
    ]);
    trace.segments[0].requests[1].outcome = Outcome::Length;
    for request in &mut trace.segments[0].requests {
        request.image_encode = Some(Duration::from_millis(30));
        request.engine_times = Some(EngineTimes {
            prefill: Duration::from_millis(50),
            decode: Duration::from_millis(400),
        });
    }
    trace.header.image_tokens = Some(36);
    trace.header.load_time = Some(LoadTime {
        duration: Duration::from_secs(2),
        kind: LoadKind::Warm,
        resident: Some(1.0),
    });
    let report = measure(&trace);
    for (id, want) in [
        ("request_latency", 0.5),
        ("ttft", 0.1),
        ("ttfo", 0.1),
        ("tpot", 0.05),
        ("ntpot", 0.5 / 9.0),
        ("icl", 0.4),
        ("image_encode_time", 0.03),
        ("image_tokens", 36.0),
        ("decode_tps", 24.0 / 1.2),
        ("e2e_output_tps", 26.0 / 1.5),
        ("output_tps", 26.0 / 1.5),
        ("prefill_tps", 110.0 / 0.3),
        ("total_tps", 136.0 / 1.5),
        ("decode_tps_server", 26.0 / 0.8),
        ("prefill_tps_server", 110.0 / 0.1),
        ("images_per_s", 2.0 / 1.5),
        ("success_rate", 1.0),
        ("truncated_share", 0.5),
        ("drain_share", 0.0),
        ("cv_requests", 0.125_f64.sqrt() / 0.75),
        ("load_time.warm", 2.0),
    ] {
        check(&report, id, want, 1e-12);
    }
    assert_eq!(report.reasons["load_time.cold"], "the load was `warm`");
    assert_eq!(report.reasons["goodput"], "no limits are stated");
    assert_eq!(report.reasons["ttft.p90"], "takes 10 requests, there are 2");
}

#[test]
fn the_load_time_of_a_kind_is_the_median_of_its_loads() {
    let load = |seconds, kind, resident| LoadTime {
        duration: Duration::from_secs(seconds),
        kind,
        resident,
    };
    let mut trace = example::run(vec![timed(0, 0, (100, 500), 50, 9)]);
    trace.header.load_trials = vec![
        load(9, LoadKind::Cold, Some(0.0)),
        load(2, LoadKind::Warm, Some(1.0)),
        load(7, LoadKind::Cold, Some(0.002)),
        load(4, LoadKind::Warm, Some(1.0)),
        load(8, LoadKind::Cold, Some(0.0)),
    ];
    trace.header.load_time = Some(load(3, LoadKind::Warm, None));
    let report = measure(&trace);
    check(&report, "load_time.cold", 8.0, 0.0);
    check(&report, "load_time.warm", 3.0, 0.0);
    let why = "the loads were `cold` and `warm`";
    assert_eq!(report.reasons["load_time.swap"], why);
    let seconds: Vec<f64> = report.loads.iter().map(|load| load.duration_s).collect();
    assert_eq!(seconds, [9.0, 2.0, 7.0, 4.0, 8.0, 3.0]);
    assert_eq!(report.loads[2].resident, Some(0.002));
    assert_eq!(report.loads[5].resident, None);
}

#[test]
fn a_load_is_cold_only_if_a_look_said_so() {
    for (resident, want) in [
        (Some(0.0), LoadKind::Cold),
        (Some(0.01), LoadKind::Cold),
        (Some(0.011), LoadKind::Warm),
        (Some(1.0), LoadKind::Warm),
        (None, LoadKind::Warm),
    ] {
        assert_eq!(LoadKind::of_cached(resident), want, "{resident:?}");
    }
}

#[test]
fn a_header_of_an_agent_before_it_has_no_trials_and_no_residency() {
    let mut header = example::run(Vec::new()).header;
    header.load_time = Some(LoadTime {
        duration: Duration::from_secs(2),
        kind: LoadKind::Warm,
        resident: Some(0.5),
    });
    let mut old = serde_json::to_value(&header).unwrap();
    old.as_object_mut().unwrap().remove("load_trials");
    let load = old["load_time"].as_object_mut().unwrap();
    load.remove("resident");
    let read: crate::run::RunHeader = serde_json::from_value(old).unwrap();
    assert_eq!(read.load_time.unwrap().resident, None);
    assert!(read.load_trials.is_empty());
}

#[test]
fn a_failure_keeps_its_time_and_energy_and_ranks_last() {
    let mut trace = example::run(vec![
        timed(0, 0, (100, 1000), 5, 10),
        timed(1, 1000, (100, 1000), 5, 10),
    ]);
    trace.segments[0].requests[1].outcome = Outcome::Failed {
        class: FailureClass::Timeout,
        message: "no end within 1 s".to_owned(),
    };
    let report = measure(&with_power(trace, 10));
    assert_eq!(report.requests.failed["timeout"], 1);
    check(&report, "output_tps", 5.0, 1e-12);
    check(&report, "j_per_request", 20.0, 1e-9);
    check(&report, "success_rate", 0.5, 0.0);
    check(&report, "e2e_output_tps", 10.0, 1e-12);
    assert_eq!(number(&report, "request_latency"), 1.0);
    let mut all_failed = example::run(vec![timed(0, 0, (100, 1000), 5, 10)]);
    all_failed.segments[0].requests[0].outcome = Outcome::Failed {
        class: FailureClass::Crashed,
        message: String::new(),
    };
    let report = measure(&all_failed);
    assert_eq!(number(&report, "request_latency"), f64::INFINITY);
    assert_eq!(report.reasons["output_tps"], "no request succeeded");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["metrics"]["request_latency"]["p50"], "failed");
    assert_eq!(json["metrics"]["request_latency"]["mean"], Value::Null);
}

#[test]
fn absent_is_absent_with_its_reason() {
    let mut trace = example::run(vec![
        timed(0, 0, (100, 1000), 5, 10),
        timed(1, 1000, (100, 1000), 5, 10),
    ]);
    trace.segments[0].requests[1].tokens = None;
    trace
        .header
        .reasons
        .insert("memory".to_owned(), "`/proc` is not readable".to_owned());
    let report = measure(&trace);
    for id in ["output_tps", "decode_tps", "prefill_tps", "tpot", "ntpot"] {
        assert_eq!(report.metrics[id], None);
        assert_eq!(
            report.reasons[id], "1 of 2 answers have no token count",
            "{id}"
        );
    }
    assert_eq!(
        report.reasons["memory_peak.system"],
        "`/proc` is not readable"
    );
    assert_eq!(report.reasons["power"], "no power sensor");
    trace.segments[0].requests[1].tokens = Some(TokenCounts {
        prompt: 5,
        cached: None,
        completion: 10,
        source: CountSource::Usage,
    });
    let mixed = measure(&trace);
    assert_eq!(
        mixed.reasons["output_tps"],
        "token counts come from more than one source"
    );
}

#[test]
fn an_unknown_cache_hides_prefill_only_when_warm() {
    let mut trace = example::run(vec![timed(0, 0, (100, 1000), 50, 10)]);
    check(&measure(&trace), "prefill_tps", 500.0, 1e-9);
    trace.header.cell.identity.cache_policy = CachePolicy::Warm;
    let unknown = "how many prompt tokens came from a cache is not known";
    assert_eq!(measure(&trace).reasons["prefill_tps"], unknown);
    trace.segments[0].requests[0]
        .tokens
        .as_mut()
        .unwrap()
        .cached = Some(30);
    check(&measure(&trace), "prefill_tps", 200.0, 1e-9);
}

#[test]
fn answers_in_one_piece_have_a_latency_only() {
    let mut trace = example::run(vec![example::request(0, 0, &[1000], 5, 10)]);
    assert_eq!(
        measure(&trace).reasons["decode_tps"],
        "no answer had two tokens in two pieces"
    );
    trace.header.cell.identity.is_streaming = false;
    let report = measure(&trace);
    for id in ["ttft", "ttfo", "tpot", "icl", "decode_tps", "prefill_tps"] {
        assert_eq!(report.reasons[id], "answers are not streamed", "{id}");
    }
    check(&report, "e2e_output_tps", 10.0, 1e-12);
    check(&report, "ntpot", 0.1, 1e-12);
}

#[test]
fn drain_begins_when_a_place_stays_empty() {
    let mut trace = example::run(vec![
        timed(0, 0, (100, 1000), 5, 5),
        timed(1, 0, (100, 2000), 5, 5),
        timed(2, 1000, (100, 3000), 5, 5),
    ]);
    trace.header.cell.identity.load = Load::Closed(2);
    // Ends at 1, 2 and 4 s; the last send is at 1 s.
    check(&measure(&trace), "drain_share", 0.5, 1e-12);
}

fn baseline(state: IdleState, watts: f64, length_s: u64) -> IdleBaseline {
    IdleBaseline {
        source: "replay".to_owned(),
        scope: Scope::Module,
        state,
        power: Watts(watts),
        bound: None,
        length: Duration::from_secs(length_s),
        ended: example::stamp(0),
    }
}

#[test]
fn net_energy_is_what_idling_does_not_explain() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.header.idle = vec![
        baseline(IdleState::Unloaded, 3.0, 59),
        baseline(IdleState::Loaded, 4.0, 60),
    ];
    let report = measure(&trace);
    let power = &report.power[0];
    assert_eq!(
        (power.idle_unloaded_power_w, power.idle_loaded_power_w),
        (None, Some(4.0))
    );
    assert!((power.energy_net_j.unwrap() - 24.0).abs() < 1e-9);
    assert_eq!(
        report.reasons["idle_unloaded_power@module"],
        "the idle baseline lasted 59 s, it takes 60 s"
    );
    assert_eq!(number(&report, "idle_loaded_power"), 4.0);
    trace.header.is_quick = true;
    assert_eq!(measure(&trace).power[0].idle_unloaded_power_w, Some(3.0));
    let later = 31 * 60 * 1000;
    let mut stale = with_power(example::run(vec![timed(0, later, (500, 4000), 5, 10)]), 10);
    stale.header.idle = vec![baseline(IdleState::Loaded, 4.0, 60)];
    let report = measure(&stale);
    assert_eq!(report.power[0].energy_net_j, None);
    assert_eq!(
        report.reasons["idle_loaded_power@module"],
        "the idle baseline is 31 minutes old, 30 are allowed"
    );
    assert_eq!(
        report.reasons["energy_net@module"],
        "there is no idle power with the model loaded"
    );
}

#[test]
fn a_run_that_was_interrupted_takes_the_idle_power_that_was_measured_before_each_part() {
    // 4 s with idle power of 4 W before, 1 s with 9 W: 5 W in all.
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.header.is_quick = true;
    trace.header.idle = vec![baseline(IdleState::Loaded, 4.0, 10)];
    let late = 60 * 60 * 1000;
    let mut other = example::run(vec![timed(1, late, (500, 1000), 5, 10)]);
    let points = [(late - 100, 10), (late + 1100, 10)];
    other.segments[0].power.push(example::power(&points));
    trace.segments.extend(other.segments);
    let resumed = |segment, watts| Resumption {
        segment,
        at: WallTime(0),
        idle: vec![IdleBaseline {
            ended: example::stamp(late),
            ..baseline(IdleState::Loaded, watts, 10)
        }],
    };
    // It was interrupted twice before it came to the second segment.
    trace.resumptions = vec![resumed(1, 7.0), resumed(1, 9.0)];
    let power = &measure(&trace).power[0];
    assert_eq!(power.idle_loaded_power_w, Some(5.0));
    assert!((power.energy_net_j.unwrap() - 25.0).abs() < 1e-9);
    trace.resumptions[1].idle.clear();
    let report = measure(&trace);
    assert_eq!(report.power[0].idle_loaded_power_w, None);
    let reason = &report.reasons["idle_loaded_power@module"];
    assert_eq!(reason, "no idle baseline was measured");
}

#[test]
fn net_energy_may_be_wrong_by_both_bounds() {
    // 4 s at 10 W whose rail has steps of 0.5 W: E is 40 ± 1 J. Idle 4 ± 0.25 W.
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.segments[0].power[0].sensor.rails[0].quantum = Watts(0.5);
    trace.header.idle = vec![IdleBaseline {
        bound: Some(Watts(0.25)),
        ..baseline(IdleState::Loaded, 4.0, 60)
    }];
    let power = &measure(&trace).power[0];
    assert_eq!(power.error_bound_j, Some(1.0));
    assert_eq!(power.energy_net_bound_j, Some(2.0));
    trace.header.idle[0].bound = None;
    let report = measure(&trace);
    assert_eq!(report.power[0].energy_net_bound_j, None);
    assert_eq!(
        report.reasons["energy_net_bound@module"],
        "the idle baseline has no bound"
    );
    assert!(report.power[0].energy_net_j.is_some());
}

#[test]
fn a_sensor_that_saw_nothing_has_no_energy_and_says_why() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.segments[0].power[0].samples.clear();
    let report = measure(&trace);
    assert_eq!(report.power[0].energy_j, None);
    assert_eq!(
        report.reasons["energy@module"],
        "the sensor shows nothing of the run's windows"
    );
    assert_eq!(report.totals.get("energy_j@module"), None);
    assert_eq!(
        definition("energy")
            .unwrap()
            .figure(&report, Some(Scope::Module)),
        None
    );
}

#[test]
fn energy_not_above_zero_divides_nothing() {
    let report = measure(&with_power(
        example::run(vec![timed(0, 0, (500, 4000), 5, 10)]),
        -1,
    ));
    let power = &report.power[0];
    assert_eq!((power.tok_per_s_per_w, power.j_per_image), (None, None));
    assert_eq!(
        report.reasons["tok_per_s_per_w@module"],
        "the energy is not above 0"
    );
    assert_eq!(
        definition("j_per_image")
            .unwrap()
            .figure(&report, Some(Scope::Module)),
        None
    );
}

#[test]
fn of_two_sensors_of_a_scope_the_surer_one_is_ranked() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    let mut coarse: PowerTrace = trace.segments[0].power[0].clone();
    coarse.sensor.source = "csv".to_owned();
    coarse.sensor.rails[0].quantum = Watts(1.0);
    coarse
        .samples
        .iter_mut()
        .for_each(|sample| sample.values[0] = 11_000_000);
    trace.segments[0].power.push(coarse);
    let report = measure(&trace);
    let sources: Vec<&str> = report
        .power
        .iter()
        .map(|power| power.source.as_str())
        .collect();
    assert_eq!(sources, ["csv", "replay"]);
    assert_eq!(report.totals["energy_j@module"], 40.0);
    assert_eq!(report.power_of(Scope::Module).unwrap().source, "replay");
    assert_eq!(report.power_of(Scope::Wall), None);
}

#[test]
fn energy_is_ranked_only_when_it_was_seen_well() {
    let minutes = |watts| {
        let requests =
            (0..61).map(|index| timed(index, u64::from(index) * 1000, (500, 1000), 5, 10));
        with_power(example::run(requests.collect()), watts)
    };
    let report = measure(&minutes(10));
    assert_eq!(report.power[0].doubts(report.window_s), []);
    assert_eq!(report.power[0].doubts(60.0), []);
    let doubt = |change: fn(&mut PowerReport), window_s| {
        let mut power = report.power[0].clone();
        change(&mut power);
        let doubts = power.doubts(window_s);
        assert!(doubts.iter().all(|doubt| doubt.blocking));
        let texts: Vec<String> = doubts
            .into_iter()
            .map(|doubt| format!("{}: {}", doubt.id, doubt.detail))
            .collect();
        texts.join("; ")
    };
    assert_eq!(
        doubt(|_| {}, 59.9),
        "window_below_60_s: the window is 59.9 s long"
    );
    assert_eq!(
        doubt(|power| power.bracketed = false, 61.0),
        "not_bracketed: samples do not lie on both sides of every window"
    );
    assert_eq!(
        doubt(|power| power.coverage = 0.94, 61.0),
        "low_coverage: coverage 0.940 is below 0.95"
    );
    assert_eq!(
        doubt(|power| power.error_bound_j = Some(61.0), 61.0),
        "bound_above_5_percent: the error bound is 10.0 % of the energy"
    );
    assert!(doubt(|power| power.error_bound_j = None, 61.0).starts_with("bound_above"));
    assert!(doubt(|power| power.error_bound_j = Some(f64::NAN), 61.0).starts_with("bound_above"));
    let quick = Flag {
        id: "quick".to_owned(),
        blocking: false,
        detail: String::new(),
    };
    assert!(quick.blocks(definition("energy").unwrap()));
}

#[test]
fn provenance_is_that_of_the_weaker() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    let provenance = measure(&trace).provenance;
    assert_eq!(
        provenance.of(definition("ttft").unwrap()),
        Some(Provenance::Measured)
    );
    assert_eq!(
        provenance.of(definition("energy").unwrap()),
        Some(Provenance::Replayed)
    );
    trace.header.requests_provenance = Provenance::Simulated;
    assert_eq!(
        measure(&trace).provenance.of(definition("energy").unwrap()),
        Some(Provenance::Simulated)
    );
    trace.segments[0].power.clear();
    assert_eq!(
        measure(&trace).provenance.of(definition("energy").unwrap()),
        None
    );
}

fn truth(kinds: &[&str]) -> Truth {
    let object = |(position, kind): (u16, &&str)| SceneObject {
        kind: (*kind).to_owned(),
        color: "red".to_owned(),
        size: "small".to_owned(),
        x: 100 + 200 * position,
        y: 500,
        radius: 70,
    };
    Truth::Scene(SceneTruth {
        place: "beach".to_owned(),
        time: "night".to_owned(),
        weather: "rainy".to_owned(),
        objects: (0..).zip(kinds).map(object).collect(),
    })
}

#[test]
fn energy_per_correct_answer_counts_the_exact_ones() {
    let mut trace = with_power(
        example::run(vec![
            timed(0, 0, (500, 1000), 5, 10),
            timed(1, 1000, (500, 1000), 5, 10),
        ]),
        10,
    );
    trace.header.scoring = Some(Scoring::Counts);
    for (request, answer) in trace.segments[0]
        .requests
        .iter_mut()
        .zip(["ball: 1", "ball: 2"])
    {
        request.truth = Some(truth(&["ball"]));
        request.answer = answer.to_owned();
    }
    let report = measure(&trace);
    assert_eq!(report.quality["counts_exact"], Some(0.5));
    check(&report, "counts_f1", 0.5, 0.0);
    check(&report, "j_per_correct_answer", 20.0, 1e-9);
    check(&report, "bad_output_share", 0.0, 0.0);
    trace.segments[0].requests[1].truth = None;
    let partly = measure(&trace);
    assert_eq!(partly.power[0].j_per_correct_answer, None);
    assert_eq!(partly.quality["counts_exact"], Some(1.0));
}

/// Keys of ARCHITECTURE's contract for a run in `bench --format json`.
#[test]
fn the_json_has_the_keys_of_the_contract() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.header.scoring = Some(Scoring::Counts);
    trace.segments[0].requests[0].truth = Some(truth(&["ball", "box"]));
    let report = measure(&trace);
    let json = serde_json::to_value(&report).unwrap();
    for key in [
        "cell",
        "provenance",
        "window_s",
        "requests",
        "metrics",
        "power",
        "quality",
        "flags",
        "reasons",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["provenance"]["requests"], "measured");
    assert_eq!(json["provenance"]["power"], "replayed");
    assert_eq!(json["requests"]["succeeded"], 1);
    for key in ["mean", "p50", "p90", "p95", "p99", "n"] {
        assert!(json["metrics"]["ttft"].get(key).is_some(), "{key}");
    }
    for key in [
        "scope",
        "source",
        "rails",
        "energy_j",
        "error_bound_j",
        "avg_power_w",
        "idle_unloaded_power_w",
        "idle_loaded_power_w",
        "energy_net_j",
        "energy_net_bound_j",
        "coverage",
        "bracketed",
        "sample_period_s",
        "refresh_s",
        "samples",
        "largest_gap_s",
        "tok_per_s_per_w",
        "j_per_output_token",
        "j_per_request",
        "j_per_image",
    ] {
        assert!(json["power"][0].get(key).is_some(), "{key}");
    }
    assert_eq!(json["power"][0]["scope"], "module");
    for (id, figure) in json["metrics"].as_object().unwrap() {
        assert_eq!(definition(id).unwrap().id, id);
        assert!(
            !figure.is_null() || json["reasons"].get(id).is_some(),
            "{id} is null without a reason"
        );
    }
    for (id, score) in json["quality"].as_object().unwrap() {
        assert!(
            !score.is_null() || json["reasons"].get(id).is_some(),
            "{id} is null without a reason"
        );
    }
    let back: RunReport = serde_json::from_value(json).unwrap();
    assert_eq!(back, report);
}

/// Runs with everything that can be odd about them.
fn any_trace() -> impl Strategy<Value = RunTrace> {
    let request = (
        0..20_000_u64,
        prop::collection::vec(0..3000_u64, 0..6),
        0..100_u32,
        0..8_u8,
    );
    (
        prop::collection::vec(request, 0..30),
        prop::collection::vec((0..20_000_u64, -5..50_i64), 0..60),
        0..3_u32,
    )
        .prop_map(|(requests, mut points, concurrency)| {
            let mut trace = example::run(
                (0..)
                    .zip(requests)
                    .map(|(index, request)| odd_request(index, request))
                    .collect(),
            );
            points.sort_unstable();
            trace.segments[0].power.push(example::power(&points));
            trace.header.scoring = Some(Scoring::Counts);
            trace.header.cell.identity.load = Load::Closed(concurrency);
            trace
        })
}

fn odd_request(
    index: u32,
    (sent, mut chunks, completion, kind): (u64, Vec<u64>, u32, u8),
) -> RequestTrace {
    chunks.sort_unstable();
    let mut request = example::request(index, sent, &chunks, 10, completion);
    request.item = format!("scene-{}", index % 7);
    request.truth = (kind != 1).then(|| truth(&["ball", "box", "ball"][..usize::from(kind % 4)]));
    request.answer =
        ["", "ball: 1", "{\"ball\": 2}", "box 1, ball 2", "…"][usize::from(kind % 5)].to_owned();
    if kind == 7 {
        request.outcome = Outcome::Failed {
            class: FailureClass::Http,
            message: "503".to_owned(),
        };
    }
    request
}

fn has_only_finite_numbers(json: &Value) -> bool {
    match json {
        Value::Number(number) => number.as_f64().is_some_and(f64::is_finite),
        Value::Array(values) => values.iter().all(has_only_finite_numbers),
        Value::Object(values) => values.values().all(has_only_finite_numbers),
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_trace_has_a_report_of_finite_numbers(trace in any_trace()) {
        let report = measure(&trace);
        let json = serde_json::to_value(&report).unwrap();
        prop_assert!(has_only_finite_numbers(&json));
        for key in ["window_s", "totals"] {
            prop_assert!(!json[key].is_null());
        }
        for value in report.totals.values() {
            prop_assert!(value.is_finite());
        }
        for (id, figure) in &report.metrics {
            prop_assert!(figure.is_some() || report.reasons.contains_key(id), "{} has no reason", id);
        }
    }

    #[test]
    fn no_order_of_requests_shows(
        (trace, shuffled) in any_trace().prop_flat_map(|trace| {
            let requests = Just(trace.segments[0].requests.clone()).prop_shuffle();
            (Just(trace), requests)
        })
    ) {
        let mut other = trace.clone();
        other.segments[0].requests = shuffled;
        prop_assert_eq!(measure(&trace), measure(&other));
    }

    #[test]
    fn tokens_per_joule_and_joules_per_token_are_reciprocal(
        tokens in 1..100_000_u32, watts in 1..1000_i64, latency in 200..60_000_u64,
    ) {
        let report = measure(&with_power(example::run(vec![timed(0, 0, (100, latency), 5, tokens)]), watts));
        let power = &report.power[0];
        let product = power.tok_per_s_per_w.unwrap() * power.j_per_output_token.unwrap();
        prop_assert!((product - 1.0).abs() <= 2.0 * f64::EPSILON, "{}", product);
        let rate = number(&report, "output_tps") / number(&report, "avg_power");
        prop_assert!((rate / power.tok_per_s_per_w.unwrap() - 1.0).abs() <= 4.0 * f64::EPSILON);
    }

    #[test]
    fn segments_add_up_to_one_run(cut in 1..39_usize) {
        let requests: Vec<RequestTrace> = (0..40).map(|index| timed(index, u64::from(index) * 500, (100, 500), 7, 9)).collect();
        let whole = with_power(example::run(requests.clone()), 10);
        let mut parts = whole.clone();
        let samples = whole.segments[0].power.clone();
        parts.segments = [&requests[..cut], &requests[cut..]].map(|part| example::segment(part.to_vec())).to_vec();
        for segment in &mut parts.segments {
            segment.power.clone_from(&samples);
        }
        let (whole, parts) = (measure(&whole), measure(&parts));
        prop_assert_eq!(whole.window_s, parts.window_s);
        for (id, total) in &whole.totals {
            prop_assert!((total - parts.totals[id]).abs() <= 1e-9 * total.abs(), "{}", id);
        }
        prop_assert_eq!(whole.metrics, parts.metrics);
    }
}

#[test]
fn what_another_tool_does_not_count_is_absent_and_what_we_counted_is_not() {
    let mut trace = example::run(Vec::new());
    trace.segments.clear();
    let mut report = measure(&trace);
    for (provenance, is_there) in [
        (Provenance::Measured, true),
        (Provenance::Simulated, true),
        (Provenance::Imported, false),
        (Provenance::Estimated, false),
    ] {
        report.provenance.requests = provenance;
        assert_eq!(report.stated_requests().is_some(), is_there, "{provenance}");
        assert_eq!(report.stated_window_s().is_some(), is_there, "{provenance}");
    }
    (report.requests.issued, report.window_s) = (3, 2.0);
    assert_eq!(report.stated_requests(), Some(&report.requests));
    assert_eq!(report.stated_window_s(), Some(2.0));
}

#[test]
fn a_window_without_requests_is_no_division_by_zero() {
    let mut trace = example::run(Vec::new());
    trace.segments[0].window = Window {
        from: example::stamp(5),
        to: example::stamp(5),
    };
    let report = measure(&trace);
    assert_eq!(report.metrics["output_tps"], None);
    assert_eq!(report.reasons["requests_per_s"], "`window_s` is 0");
    trace.segments.clear();
    assert_eq!(measure(&trace).window_s, 0.0);
}

#[test]
fn a_sensor_that_describes_itself_in_no_numbers_spoils_nothing() {
    let mut trace = with_power(example::run(vec![timed(0, 0, (500, 4000), 5, 10)]), 10);
    trace.header.idle = vec![baseline(IdleState::Loaded, f64::NAN, 60)];
    trace.segments[0].power[0].sensor.rails[0].quantum = Watts(f64::INFINITY);
    let report = measure(&trace);
    assert_eq!(report.power[0].error_bound_j, Some(0.0));
    assert_eq!(
        report.reasons["idle_loaded_power@module"],
        "the idle baseline is not a number"
    );
    trace.segments[0].power[0].sensor.reading = Reading::Counter {
        resolution: Joules(f64::NAN),
    };
    for (sample, joules) in trace.segments[0].power[0].samples.iter_mut().zip(0..) {
        sample.values[0] = joules * 1_000_000;
    }
    let report = measure(&trace);
    assert!(report.power[0].error_bound_j.is_some_and(f64::is_finite));
}

#[test]
fn a_task_without_pictures_has_no_figure_about_them() {
    let mut trace = example::run(vec![timed(0, 0, (100, 500), 50, 9)]);
    trace.header.has_pictures = false;
    let report = measure(&trace);
    for id in ["image_tokens", "image_encode_time", "images_per_s"] {
        assert_eq!(report.metrics[id], None, "{id}");
        let reason = &report.reasons[id];
        assert!(reason.contains("is about a picture"), "{id}: {reason}");
    }
    assert!(report.metrics["requests_per_s"].is_some());
}
