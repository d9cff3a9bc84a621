//! Runs that never took place: any that the types allow, and a small one.

use std::{collections::BTreeMap, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO},
    option,
    prelude::*,
};
use tokwatt_domain::{
    campaign::JobRef,
    device::{DeviceKind, DeviceProfile},
    gap::{Gap, GapCause, Part},
    ids::{DeviceId, Digest, JobId, RunId},
    metrics::{
        Distribution, Failed, Flag, LoadReport, MetricValue, Percentile, PowerReport,
        RefreshSource, RequestCounts, RunProvenance, RunReport, correlation::Correlation,
        server::ServerReport,
    },
    power::{OwnClock, PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    run::{
        CacheProbe, Cell, Chunk, ChunkKind, Configuration, CountSource, EngineTimes, FailureClass,
        GaugeKind, GaugeTrace, Identity, IdleBaseline, IdleState, LoadKind, LoadTime, MemoryScope,
        MemoryTrace, Outcome, RequestTrace, Resumption, RunEnd, RunHeader, RunTrace, Segment,
        TokenCounts,
    },
    time::{Stamp, WallTime, Window},
    units::{Joules, Watts},
    workload::{
        Arrivals, CachePolicy, KeyFact, Limits, Load, Sampling, SceneObject, SceneTruth, Scoring,
        Truth,
        json::{Json, Kind, Schema},
    },
};
use tokwatt_proto::{Record, record::POWER_SAMPLES_MAX};

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) trace: RunTrace,
    pub(crate) report: RunReport,
}

impl Run {
    /// As an agent would tell it.
    pub(crate) fn records(&self) -> Vec<Record> {
        let run = self.trace.header.run;
        let mut records = vec![Record::RunOpened(Box::new(self.trace.header.clone()))];
        for (index, segment) in (0..).zip(&self.trace.segments) {
            records.extend(Record::segment(run, index, segment));
        }
        let resumptions = (0..).zip(&self.trace.resumptions);
        records.extend(resumptions.map(|(number, resumption)| Record::RunResumed {
            run,
            number,
            resumption: Box::new(resumption.clone()),
        }));
        records.push(Record::RunFinished {
            run,
            n_segments: u32::try_from(self.trace.segments.len()).unwrap(),
            n_resumptions: u32::try_from(self.trace.resumptions.len()).unwrap(),
            end: self.trace.end,
            report: Box::new(self.report.clone()),
        });
        records
    }
}

/// Two segments, the second with more power samples than a record holds, and two interruptions between them.
pub(crate) fn small_run() -> Run {
    let mut segments = vec![segment_of(bare_request), segment_of(bare_request)];
    segments[0].requests.truncate(3);
    segments[1].power = vec![power_trace(16_000)];
    let resumption = |at| Resumption {
        segment: 1,
        at: WallTime(at),
        idle: Vec::new(),
    };
    let trace = RunTrace {
        header: header(),
        segments,
        resumptions: vec![resumption(1), resumption(2)],
        end: RunEnd::Complete,
    };
    let report = report();
    Run { trace, report }
}

/// 500 requests, and nothing else.
pub(crate) fn segment_of(request: impl Fn(u32) -> RequestTrace) -> Segment {
    Segment {
        window: Window {
            from: Stamp(10),
            to: Stamp(20),
        },
        requests: (0..500).map(request).collect(),
        power: vec![],
        memory: vec![],
        gauges: vec![],
        gaps: vec![],
    }
}

pub(crate) fn bare_request(index: u32) -> RequestTrace {
    RequestTrace {
        index,
        item: format!("scene-{index}"),
        scheduled: None,
        sent: Stamp(1_000),
        chunks: vec![],
        ended: Stamp(2_000),
        outcome: Outcome::Stop,
        tokens: None,
        image_encode: None,
        engine_times: None,
        answer: String::new(),
        truth: None,
    }
}

pub(crate) fn power_trace(n_samples: u64) -> PowerTrace {
    let sample = |n: u64| PowerSample {
        at: Stamp(n * 100_000_000),
        values: vec![12_500_000, -3],
    };
    let rail = |name: &str| Rail {
        name: name.to_owned(),
        quantum: Watts(0.1),
    };
    PowerTrace {
        sensor: Sensor {
            source: "ina".to_owned(),
            scope: Scope::Module,
            rails: vec![rail("VDD_GPU_SOC"), rail("VDD_CPU_CV")],
            reading: Reading::Power,
            refresh: None,
            averaging: Duration::ZERO,
            provenance: Provenance::Measured,
            asked_interval: None,
            clock: None,
        },
        samples: (0..n_samples).map(sample).collect(),
    }
}

/// Readings that jump between a few values.
pub(crate) fn noisy_power_trace(n_samples: u64) -> PowerTrace {
    let mut trace = power_trace(n_samples);
    for (n, sample) in (0_i64..).zip(&mut trace.samples) {
        sample.values = vec![152_000 * (n * n % 97), -64 * (n * n * n % 101)];
    }
    trace
}

pub(crate) fn cell() -> Cell {
    Cell {
        identity: Identity {
            suite: "edge-vision".to_owned(),
            suite_digest: Digest([1; 32]),
            task: "caption_brief".to_owned(),
            image_px: Some(96),
            model: "tiny-vlm".to_owned(),
            precision: "f32".to_owned(),
            max_tokens: 64,
            sampling: Sampling::Greedy,
            load: Load::Closed(1),
            cache_policy: CachePolicy::Cold,
            is_streaming: true,
        },
        configuration: Configuration {
            backend: "embedded".to_owned(),
            engine: "llama.cpp b6000".to_owned(),
            engine_flags: BTreeMap::from([("threads".to_owned(), "2".to_owned())]),
            model_digest: Some(Digest([2; 32])),
            mmproj_digest: None,
            mmproj_precision: None,
            model_facts: BTreeMap::new(),
            power_mode: None,
            os: "Debian 12, Linux 6.1".to_owned(),
        },
    }
}

pub(crate) fn header() -> RunHeader {
    RunHeader {
        run: RunId([7; 16]),
        device: DeviceId::parse("thor-1").unwrap(),
        cell: cell(),
        repetition: 1,
        started: WallTime(1_700_000_000_000_000),
        scoring: Some(Scoring::Caption),
        has_pictures: true,
        requests_provenance: Provenance::Measured,
        is_quick: false,
        idle: vec![],
        load_time: None,
        load_trials: vec![],
        image_tokens: Some(16),
        cache_probe: Some(CacheProbe {
            prompt_tokens: Some(90),
            cached_tokens: None,
            first_tokens: vec![(Duration::from_millis(90), Duration::from_millis(40))],
        }),
        limits: Some(Limits {
            ttft_s: Some(0.5),
            tpot_s: None,
            latency_s: Some(5.0),
        }),
        job: Some(JobRef {
            job: JobId([9; 16]),
            attempt: 2,
        }),
        reasons: BTreeMap::new(),
    }
}

/// One that has everything: figures, failures, absences.
pub(crate) fn report() -> RunReport {
    let latency = Distribution {
        mean: Some(0.31),
        p50: Some(Percentile::Value(0.3)),
        p90: Some(Percentile::Failed(Failed::Failed)),
        p95: None,
        p99: None,
        n: 12,
    };
    let metrics = [
        ("request_latency", Some(MetricValue::Distribution(latency))),
        ("output_tps", Some(MetricValue::Number(31.3))),
        ("goodput", None),
    ];
    RunReport {
        run: RunId([7; 16]),
        device: DeviceId::parse("thor-1").unwrap(),
        repetition: 1,
        started: WallTime(1_700_000_000_000_000),
        cell: cell(),
        provenance: RunProvenance {
            requests: Provenance::Measured,
            power: Some(Provenance::Replayed),
        },
        limits: None,
        window_s: 61.5,
        loads: vec![LoadReport {
            kind: LoadKind::Cold,
            duration_s: 3.2,
            resident: Some(0.0),
        }],
        requests: RequestCounts {
            issued: 12,
            succeeded: 10,
            failed: BTreeMap::from([("timeout".to_owned(), 2)]),
        },
        metrics: metrics.map(|(id, value)| (id.to_owned(), value)).into(),
        power: vec![power_report()],
        server: Some(server_report()),
        quality: [("f1".to_owned(), Some(0.8)), ("exact".to_owned(), None)].into(),
        totals: [("output_tokens".to_owned(), 120.0)].into(),
        flags: vec![Flag {
            id: "quick".to_owned(),
            blocking: false,
            detail: "idle baselines of 10 s".to_owned(),
        }],
        reasons: BTreeMap::from([("goodput".to_owned(), "no limits stated".to_owned())]),
    }
}

fn server_report() -> ServerReport {
    ServerReport {
        server: "vllm".to_owned(),
        kv_cache_use_max: Some(0.75),
        kv_cache_use_mean: Some(0.5),
        requests_running_max: Some(8),
        requests_queued_max: Some(0),
        preemptions: None,
        prompt_tokens: Some(6_200),
        generated_tokens: Some(1_200),
        prefix_cache_hit_share: Some(0.0),
        latency_with_kv_cache_use: Some(Correlation { rho: -0.25, n: 10 }),
        latency_with_requests_queued: None,
    }
}

fn power_report() -> PowerReport {
    PowerReport {
        scope: Scope::Module,
        source: "ina".to_owned(),
        rails: vec!["VDD_IN".to_owned()],
        energy_j: Some(900.0),
        error_bound_j: Some(9.0),
        error_terms_j: [("edges".to_owned(), 9.0)].into(),
        avg_power_w: Some(14.6),
        idle_unloaded_power_w: None,
        idle_loaded_power_w: Some(8.0),
        energy_net_j: Some(-1.0),
        energy_net_bound_j: Some(12.0),
        coverage: 1.0,
        bracketed: true,
        sample_period_s: Some(0.1),
        refresh_s: Some(0.1),
        refresh_source: Some(RefreshSource::Measured),
        samples: 615,
        largest_gap_s: Some(0.12),
        tok_per_s_per_w: Some(0.13),
        j_per_output_token: Some(7.5),
        j_per_request: Some(90.0),
        j_per_image: Some(90.0),
        j_per_correct_answer: None,
    }
}

pub(crate) fn run() -> impl Strategy<Value = Run> {
    let end = prop_oneof![
        Just(RunEnd::Complete),
        Just(RunEnd::Cancelled),
        Just(RunEnd::Aborted)
    ];
    let resumptions = vec(resumption(), 0..3);
    (
        any_header(),
        vec(segment(), 0..3),
        resumptions,
        end,
        any_report(),
    )
        .prop_map(|(header, segments, resumptions, end, report)| Run {
            trace: RunTrace {
                header,
                segments,
                resumptions,
                end,
            },
            report,
        })
}

/// All before one segment, so that they are in order.
fn resumption() -> impl Strategy<Value = Resumption> {
    (any::<i64>(), vec(idle_baseline(), 0..2)).prop_map(|(at, idle)| Resumption {
        segment: 1,
        at: WallTime(at),
        idle,
    })
}

pub(crate) fn a_device() -> DeviceProfile {
    DeviceProfile {
        id: DeviceId::parse("thor-1").unwrap(),
        kind: DeviceKind::Thor,
        facts: BTreeMap::new(),
        reasons: BTreeMap::new(),
    }
}

pub(crate) fn device_profile() -> impl Strategy<Value = DeviceProfile> {
    (texts(), texts()).prop_map(|(facts, reasons)| DeviceProfile {
        id: DeviceId::parse("thor-1").unwrap(),
        kind: DeviceKind::Thor,
        facts,
        reasons,
    })
}

fn any_header() -> impl Strategy<Value = RunHeader> {
    let idle = vec(idle_baseline(), 0..3);
    (
        any_cell(),
        any::<[u8; 16]>().prop_map(RunId),
        any::<i64>().prop_map(WallTime),
        idle,
        option::of(load_time()),
        vec(load_time(), 0..3),
        texts(),
    )
        .prop_map(
            |(cell, run, started, idle, load_time, load_trials, reasons)| RunHeader {
                run,
                cell,
                started,
                idle,
                load_time,
                load_trials,
                reasons,
                ..header()
            },
        )
}

fn load_time() -> impl Strategy<Value = LoadTime> {
    (duration(), option::of(0.0..=1.0)).prop_map(|(duration, resident)| LoadTime {
        duration,
        kind: LoadKind::Swap,
        resident,
    })
}

fn any_cell() -> impl Strategy<Value = Cell> {
    let sampling = prop_oneof![
        Just(Sampling::Greedy),
        (number(), any::<u32>())
            .prop_map(|(temperature, seed)| Sampling::Seeded { temperature, seed })
    ];
    let load = prop_oneof![
        any::<u32>().prop_map(Load::Closed),
        (any::<u32>(), any::<bool>()).prop_map(|(per_1000_s, is_random)| Load::Open {
            per_1000_s,
            arrivals: if is_random {
                Arrivals::Poisson
            } else {
                Arrivals::Constant
            },
        })
    ];
    let digest = option::of(any::<[u8; 32]>().prop_map(Digest));
    let image_px = option::of(any::<u32>());
    (sampling, load, image_px, texts(), digest, ".*").prop_map(
        |(sampling, load, image_px, engine_flags, model_digest, os)| {
            let mut cell = cell();
            cell.identity.sampling = sampling;
            cell.identity.load = load;
            cell.identity.image_px = image_px;
            cell.configuration.engine_flags = engine_flags;
            cell.configuration.model_digest = model_digest;
            cell.configuration.os = os;
            cell
        },
    )
}

fn idle_baseline() -> impl Strategy<Value = IdleBaseline> {
    let bound = option::of(number().prop_map(Watts));
    (number(), bound, duration(), any::<u64>()).prop_map(|(power, bound, length, ended)| {
        IdleBaseline {
            source: "nvml".to_owned(),
            scope: Scope::GpuRail,
            state: IdleState::Loaded,
            power: Watts(power),
            bound,
            length,
            ended: Stamp(ended),
        }
    })
}

fn any_report() -> impl Strategy<Value = RunReport> {
    let metrics = btree_map(".*", option::of(metric_value()), 0..4);
    let quality = btree_map("[a-z]+", option::of(number()), 0..4);
    let totals = btree_map("[a-z]+", number(), 0..4);
    (metrics, quality, totals, number()).prop_map(|(metrics, quality, totals, window_s)| {
        RunReport {
            metrics,
            quality,
            totals,
            window_s,
            ..report()
        }
    })
}

fn metric_value() -> impl Strategy<Value = MetricValue> {
    let percentile = || {
        option::of(prop_oneof![
            number().prop_map(Percentile::Value),
            Just(Percentile::Failed(Failed::Failed))
        ])
    };
    let distribution = (
        option::of(number()),
        percentile(),
        percentile(),
        any::<u32>(),
    )
        .prop_map(|(mean, p50, p99, n)| Distribution {
            mean,
            p50,
            p90: None,
            p95: None,
            p99,
            n,
        });
    prop_oneof![
        number().prop_map(MetricValue::Number),
        distribution.prop_map(MetricValue::Distribution)
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    let requests = vec(request(), 0..8);
    (
        window(),
        requests,
        vec(any_power(), 0..3),
        vec(memory(), 0..3),
        vec(gauge(), 0..3),
        vec(gap(), 0..3),
    )
        .prop_map(|(window, requests, power, memory, gauges, mut gaps)| {
            let is_sensor = |gap: &Gap| match gap.part {
                Part::Requests => true,
                Part::Samples(sensor) => (sensor as usize) < power.len(),
            };
            gaps.retain(is_sensor);
            gaps.sort();
            Segment {
                window,
                requests,
                power,
                memory,
                gauges,
                gaps,
            }
        })
}

fn window() -> impl Strategy<Value = Window> {
    (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Window {
        from: Stamp(a.min(b)),
        to: Stamp(a.max(b)),
    })
}

fn request() -> impl Strategy<Value = RequestTrace> {
    let times = (option::of(stamp()), stamp(), stamp());
    let engine_times = (nanoseconds(), nanoseconds())
        .prop_map(|(prefill, decode)| EngineTimes { prefill, decode });
    let engine = (option::of(nanoseconds()), option::of(engine_times));
    (
        any::<u32>(),
        ".*",
        times,
        vec(chunk(), 0..20),
        outcome(),
        option::of(token_counts()),
        engine,
        ".*",
        option::of(truth()),
    )
        .prop_map(
            |(index, item, times, chunks, outcome, tokens, engine, answer, truth)| RequestTrace {
                index,
                item,
                scheduled: times.0,
                sent: times.1,
                chunks,
                ended: times.2,
                outcome,
                tokens,
                image_encode: engine.0,
                engine_times: engine.1,
                answer,
                truth,
            },
        )
}

fn chunk() -> impl Strategy<Value = Chunk> {
    let kind = prop_oneof![Just(ChunkKind::Content), Just(ChunkKind::Reasoning)];
    let tokens = prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)];
    (stamp(), kind, option::of(tokens)).prop_map(|(at, kind, tokens)| Chunk { at, kind, tokens })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let class = prop::sample::select(vec![
        FailureClass::Timeout,
        FailureClass::Http,
        FailureClass::Refused,
        FailureClass::OutOfMemory,
        FailureClass::Crashed,
        FailureClass::Protocol,
        FailureClass::Cancelled,
    ]);
    prop_oneof![
        Just(Outcome::Stop),
        Just(Outcome::Length),
        (class, ".*").prop_map(|(class, message)| Outcome::Failed { class, message })
    ]
}

fn token_counts() -> impl Strategy<Value = TokenCounts> {
    let source = prop::sample::select(vec![
        CountSource::Usage,
        CountSource::Timings,
        CountSource::Engine,
        CountSource::Tokenizer,
    ]);
    (any::<u32>(), option::of(any::<u32>()), any::<u32>(), source).prop_map(
        |(prompt, cached, completion, source)| TokenCounts {
            prompt,
            cached,
            completion,
            source,
        },
    )
}

fn truth() -> impl Strategy<Value = Truth> {
    let object = (".*", any::<u16>()).prop_map(|(kind, x)| SceneObject {
        kind,
        color: "red".to_owned(),
        size: "small".to_owned(),
        x,
        y: 500,
        radius: u16::MAX,
    });
    let scene = (".*", vec(object, 0..4)).prop_map(|(place, objects)| {
        Truth::Scene(SceneTruth {
            place,
            time: "day".to_owned(),
            weather: "clear".to_owned(),
            objects,
        })
    });
    let answer =
        (".*", vec(".*", 0..3)).prop_map(|(expected, choices)| Truth::Answer { expected, choices });
    let number = (any::<i32>(), any::<u32>()).prop_map(|(value, tolerance)| Truth::Number {
        value: f64::from(value) / 7.0,
        tolerance: f64::from(tolerance) / 3.0,
    });
    let facts = vec(vec(".*", 0..3).prop_map(KeyFact), 0..3).prop_map(Truth::Facts);
    prop_oneof![scene, answer, number, facts, any_document()]
}

fn any_document() -> impl Strategy<Value = Truth> {
    let values = (any::<Option<bool>>(), any::<i32>(), ".*");
    (values, vec(".*", 0..3), any::<u16>()).prop_map(|((flag, number, text), keys, limit)| {
        let list = Json::List(vec![
            flag.map_or(Json::Null, Json::Bool),
            Json::Number(f64::from(number) / 3.0),
            Json::Text(text),
        ]);
        let properties = keys.iter().map(|key| (key.clone(), Schema::default()));
        Truth::Json {
            answer: Json::Object(keys.iter().map(|key| (key.clone(), list.clone())).collect()),
            schema: Schema {
                r#type: Some(Kind::Object),
                properties: properties.collect(),
                required: keys,
                additional_properties: flag,
                items: Some(Box::default()),
                r#enum: vec![list],
                minimum: Some(f64::from(limit) / 3.0),
                maximum: None,
            },
        }
    })
}

fn any_power() -> impl Strategy<Value = PowerTrace> {
    // Enough samples for two records now and then.
    let samples = prop_oneof![
        40 => 0..20_usize,
        1 => POWER_SAMPLES_MAX - 10..POWER_SAMPLES_MAX + 10
    ];
    (0..4_usize, samples).prop_flat_map(|(n_rails, n_samples)| {
        let values = vec(
            prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -5..5_i64],
            n_rails,
        );
        let samples = vec((stamp(), values), n_samples);
        (sensor(n_rails), samples).prop_map(|(sensor, mut samples)| {
            samples.sort_by_key(|(at, _)| *at);
            let sample = |(at, values)| PowerSample { at, values };
            PowerTrace {
                sensor,
                samples: samples.into_iter().map(sample).collect(),
            }
        })
    })
}

fn sensor(n_rails: usize) -> impl Strategy<Value = Sensor> {
    let rail = (".*", number()).prop_map(|(name, quantum)| Rail {
        name,
        quantum: Watts(quantum),
    });
    let reading = prop_oneof![
        Just(Reading::Power),
        number().prop_map(|resolution| Reading::Counter {
            resolution: Joules(resolution)
        })
    ];
    (
        vec(rail, n_rails),
        reading,
        (option::of(duration()), duration(), option::of(duration())),
        option::of(own_clock()),
        prop::sample::select(Scope::ALL.to_vec()),
    )
        .prop_map(|(rails, reading, times, clock, scope)| Sensor {
            source: "replay".to_owned(),
            scope,
            rails,
            reading,
            refresh: times.0,
            averaging: times.1,
            provenance: Provenance::Replayed,
            asked_interval: times.2,
            clock,
        })
}

fn own_clock() -> impl Strategy<Value = OwnClock> {
    (any::<i64>(), option::of(duration())).prop_map(|(offset_us, uncertainty)| OwnClock {
        offset_us,
        uncertainty,
    })
}

fn memory() -> impl Strategy<Value = MemoryTrace> {
    let scope = prop::sample::select(vec![
        MemoryScope::ProcessTree,
        MemoryScope::System,
        MemoryScope::Gpu,
    ]);
    (scope, any::<u64>(), vec((stamp(), any::<u64>()), 0..20)).prop_map(
        |(scope, baseline_bytes, mut samples)| {
            samples.sort_by_key(|(at, _)| *at);
            MemoryTrace {
                scope,
                baseline_bytes,
                samples,
            }
        },
    )
}

fn gauge() -> impl Strategy<Value = GaugeTrace> {
    let kind = prop::sample::select(GAUGE_KINDS.to_vec());
    (kind, ".*", vec((stamp(), any::<i64>()), 0..20)).prop_map(|(kind, name, mut samples)| {
        samples.sort_by_key(|(at, _)| *at);
        GaugeTrace {
            kind,
            name,
            samples,
        }
    })
}

fn gap() -> impl Strategy<Value = Gap> {
    let part = prop_oneof![Just(Part::Requests), (0..3_u32).prop_map(Part::Samples)];
    let cause = prop::sample::select(vec![
        GapCause::DiskFull,
        GapCause::Thinned,
        GapCause::Crash,
        GapCause::Retention,
        GapCause::Unknown(99),
    ]);
    (part, 1..u32::MAX / 4, cause, ".*").prop_map(|(part, count, cause, note)| Gap {
        part,
        count,
        cause,
        note,
    })
}

/// Ends of the range as often as its middle.
fn stamp() -> impl Strategy<Value = Stamp> {
    prop_oneof![any::<u64>(), 0..1_000_u64, Just(0), Just(u64::MAX)].prop_map(Stamp)
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, ns)| Duration::new(s, ns))
}

/// What a field of 64 bits of nanoseconds holds.
fn nanoseconds() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

/// Every finite one.
fn number() -> impl Strategy<Value = f64> {
    NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(".*", ".*", 0..4)
}

/// All of them, in the order of their numbers on the wire, from 1.
pub(crate) const GAUGE_KINDS: [GaugeKind; 15] = [
    GaugeKind::Clock,
    GaugeKind::Temperature,
    GaugeKind::Throttle,
    GaugeKind::Overcurrent,
    GaugeKind::Utilisation,
    GaugeKind::ForeignGpuProcess,
    GaugeKind::WallOffset,
    GaugeKind::KvCacheUse,
    GaugeKind::RequestsRunning,
    GaugeKind::RequestsQueued,
    GaugeKind::Preemptions,
    GaugeKind::PromptTokens,
    GaugeKind::GeneratedTokens,
    GaugeKind::PrefixCacheQueries,
    GaugeKind::PrefixCacheHits,
];
