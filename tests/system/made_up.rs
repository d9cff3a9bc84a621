//! Runs that nobody measured, as a runner makes them: for tests of what becomes of results, where the results themselves do not matter.

use std::{collections::BTreeMap, time::Duration};

use tokwatt_domain::{
    ids::{DeviceId, Digest, RunId},
    metrics::measure,
    power::{PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    run::{
        Cell, Chunk, ChunkKind, Configuration, CountSource, EngineTimes, GaugeKind, GaugeTrace,
        Identity, MemoryScope, MemoryTrace, Outcome, RequestTrace, RunEnd, RunHeader, RunTrace,
        Segment, TokenCounts,
    },
    time::{Stamp, WallTime, Window},
    units::Watts,
    workload::{CachePolicy, KeyFact, Load, Sampling, Scoring, Truth},
};
use tokwatt_harness::Random;
use tokwatt_proto::record::Record;

/// A device that measures, in its own time.
pub(crate) struct MadeUp {
    pub(crate) device: DeviceId,
    pub(crate) random: Random,
    /// Its clock.
    pub(crate) now: Stamp,
    /// Of its power sensor.
    pub(crate) n_rails: usize,
    /// Between two power samples.
    pub(crate) period: Duration,
    pub(crate) n_runs: u32,
}

impl MadeUp {
    /// One with an instrument of six rails.
    pub(crate) fn new(device: DeviceId, seed: u64, period: Duration) -> Self {
        Self {
            device,
            random: Random::new(seed),
            now: Stamp(1_000_000_000),
            n_rails: 6,
            period,
            n_runs: 0,
        }
    }

    /// The next run begins.
    pub(crate) fn header(&mut self) -> RunHeader {
        self.n_runs += 1;
        let run = self.random.bytes(16).try_into().expect("these are 16");
        header(RunId(run), self.device.clone(), self.n_runs)
    }

    /// Questions one after the other for so long, with the power and the conditions meanwhile.
    pub(crate) fn segment(&mut self, length: Duration, first: u32) -> Segment {
        let before = self.now;
        let from = self.later(20_000_000);
        let until = from.after(length);
        let mut requests = Vec::new();
        for index in first.. {
            if self.now >= until {
                break;
            }
            requests.push(self.request(index));
            self.later(2_000_000);
        }
        let to = requests.iter().map(|request| request.ended).max();
        let window = Window {
            from,
            to: to.unwrap_or(from),
        };
        let power = vec![self.power(before, &requests)];
        let seconds = before.0..=window.to.0 + 1_000_000_000;
        let looks: Vec<Stamp> = seconds.step_by(1_000_000_000).map(Stamp).collect();
        Segment {
            window,
            requests,
            power,
            memory: self.memory(&looks),
            gauges: self.gauges(&looks),
            gaps: Vec::new(),
        }
    }

    fn request(&mut self, index: u32) -> RequestTrace {
        let sent = self.now;
        let prefill = 150_000_000 + self.random.below(250_000_000);
        let n_tokens = 32 + self.random.below(96);
        self.now = sent.after(Duration::from_nanos(prefill));
        let chunks: Vec<Chunk> = (0..n_tokens)
            .map(|_| Chunk {
                at: self.later(15_000_000),
                kind: ChunkKind::Content,
                tokens: Some(1),
            })
            .collect();
        let answer = (0..n_tokens).map(|_| *self.random.pick(&WORDS));
        RequestTrace {
            index,
            item: format!("scene-{:04}", index % 500),
            scheduled: None,
            sent,
            ended: chunks.last().map_or(sent, |chunk| chunk.at),
            chunks,
            outcome: Outcome::Stop,
            tokens: Some(TokenCounts {
                prompt: 300,
                cached: Some(0),
                completion: u32::try_from(n_tokens).expect("it is below 128"),
                source: CountSource::Engine,
            }),
            image_encode: Some(Duration::from_nanos(prefill / 3)),
            engine_times: Some(EngineTimes {
                prefill: Duration::from_nanos(prefill),
                decode: Duration::from_nanos(n_tokens * 15_000_000),
            }),
            answer: answer.collect::<Vec<&str>>().join(" "),
            truth: Some(Truth::Facts(
                WORDS.map(|word| KeyFact(vec![word.to_owned()])).to_vec(),
            )),
        }
    }

    /// Readings from before the first request to after the last, each a period after the other, a third of it sooner or later.
    fn power(&mut self, from: Stamp, requests: &[RequestTrace]) -> PowerTrace {
        let end = self.now;
        let period = u64::try_from(self.period.as_nanos()).expect("a period is short");
        let mut at = from;
        let mut busy = requests.iter().peekable();
        let mut samples = Vec::new();
        loop {
            while busy.peek().is_some_and(|request| request.ended < at) {
                busy.next();
            }
            let is_busy = busy.peek().is_some_and(|request| request.sent <= at);
            samples.push(PowerSample {
                at,
                values: (0..self.n_rails)
                    .map(|rail| self.reading(rail, is_busy))
                    .collect(),
            });
            if at > end {
                break;
            }
            let step = period * 2 / 3 + self.random.below(period * 2 / 3);
            at = at.after(Duration::from_nanos(step));
        }
        self.now = at;
        PowerTrace {
            sensor: sensor(self.n_rails),
            samples,
        }
    }

    /// An INA3221 behind 5 mΩ: steps of 8 mV and 8 mA, some of them noise, and their product in µW.
    fn reading(&mut self, rail: usize, is_busy: bool) -> i64 {
        let (supply, idle) = [
            (2375, 60),
            (2375, 25),
            (625, 90),
            (625, 30),
            (137, 40),
            (412, 15),
        ][rail % 6];
        let load = if is_busy { 3 * idle } else { idle };
        let volts = supply - load / 60 + self.noise(3);
        let amperes = load + self.noise(load / 6 + 3);
        64 * volts * amperes
    }

    /// About as far from zero as a normal distribution: the sum of three dice.
    fn noise(&mut self, most: i64) -> i64 {
        let sides = u64::try_from(2 * most / 3 + 1).expect("it is not below zero");
        let dice = (0..3).map(|_| self.random.below(sides)).sum::<u64>();
        i64::try_from(dice).expect("it is small") - most
    }

    fn memory(&mut self, looks: &[Stamp]) -> Vec<MemoryTrace> {
        let scopes = [MemoryScope::ProcessTree, MemoryScope::System];
        let trace = |scope| MemoryTrace {
            scope,
            baseline_bytes: 5 << 30,
            samples: looks
                .iter()
                .map(|at| (*at, (7 << 30) + 4096 * self.random.below(10_000)))
                .collect(),
        };
        scopes.map(trace).to_vec()
    }

    fn gauges(&mut self, looks: &[Stamp]) -> Vec<GaugeTrace> {
        let kinds = [
            GaugeKind::Clock,
            GaugeKind::Temperature,
            GaugeKind::Utilisation,
        ];
        let named = kinds
            .into_iter()
            .flat_map(|kind| (0..5).map(move |number| (kind, format!("gpu {number}"))));
        let mut trace = |(kind, name)| GaugeTrace {
            kind,
            name,
            samples: looks
                .iter()
                .map(|at| (*at, 45_000 + 500 * self.noise(10)))
                .collect(),
        };
        named.map(&mut trace).collect()
    }

    /// Goes on by so many nanoseconds, give or take a twentieth.
    fn later(&mut self, nanoseconds: u64) -> Stamp {
        let jitter = self.random.below(nanoseconds / 10 + 1);
        let step = nanoseconds - nanoseconds / 20 + jitter;
        self.now = self.now.after(Duration::from_nanos(step));
        self.now
    }
}

/// A run of so many short segments, as the records of a spool.
pub(crate) fn short_run(made_up: &mut MadeUp, n_segments: u32) -> Vec<Vec<u8>> {
    let header = made_up.header();
    let run = header.run;
    let mut segments: Vec<Segment> = Vec::new();
    let mut first = 0;
    for _ in 0..n_segments {
        let segment = made_up.segment(Duration::from_secs(2), first);
        first += u32::try_from(segment.requests.len()).expect("it is short");
        segments.push(segment);
    }
    let mut records = vec![Record::RunOpened(Box::new(header.clone()))];
    for (index, segment) in (0..).zip(&segments) {
        records.extend(Record::segment(run, index, segment));
    }
    let trace = RunTrace {
        header,
        segments,
        resumptions: Vec::new(),
        end: RunEnd::Complete,
    };
    records.push(end(&trace));
    records.iter().map(Record::encode).collect()
}

/// What an agent says when a run is complete.
pub(crate) fn end(trace: &RunTrace) -> Record {
    Record::RunFinished {
        run: trace.header.run,
        n_segments: u32::try_from(trace.segments.len()).expect("a run has few"),
        n_resumptions: 0,
        end: trace.end,
        report: Box::new(measure(trace)),
    }
}

fn header(run: RunId, device: DeviceId, repetition: u32) -> RunHeader {
    RunHeader {
        run,
        device,
        cell: cell(),
        repetition,
        started: WallTime(1_790_000_000_000_000 + 60_000_000 * i64::from(repetition)),
        scoring: Some(Scoring::Facts),
        has_pictures: true,
        requests_provenance: Provenance::Simulated,
        is_quick: false,
        idle: Vec::new(),
        load_time: None,
        load_trials: Vec::new(),
        image_tokens: Some(256),
        cache_probe: None,
        limits: None,
        job: None,
        reasons: BTreeMap::new(),
    }
}

fn cell() -> Cell {
    Cell {
        identity: Identity {
            suite: "made-up".to_owned(),
            suite_digest: Digest([1; 32]),
            task: "caption_brief".to_owned(),
            image_px: Some(512),
            model: "made-up-2b".to_owned(),
            precision: "f16".to_owned(),
            max_tokens: 128,
            sampling: Sampling::Greedy,
            load: Load::Closed(1),
            cache_policy: CachePolicy::Cold,
            is_streaming: true,
        },
        configuration: Configuration {
            backend: "simulated".to_owned(),
            engine: "made-up 1".to_owned(),
            engine_flags: BTreeMap::new(),
            model_digest: None,
            mmproj_digest: None,
            mmproj_precision: None,
            model_facts: BTreeMap::new(),
            power_mode: None,
            os: "linux".to_owned(),
        },
    }
}

fn sensor(n_rails: usize) -> Sensor {
    let rail = |number| Rail {
        name: format!("VDD_{number}"),
        quantum: Watts(0.15),
    };
    Sensor {
        source: "ina".to_owned(),
        scope: Scope::Module,
        rails: (0..n_rails).map(rail).collect(),
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance: Provenance::Simulated,
        asked_interval: None,
        clock: None,
    }
}

const WORDS: [&str; 12] = [
    "a", "red", "ball", "lies", "left of", "the", "large", "blue", "box", "on", "a beach",
    "at night",
];
