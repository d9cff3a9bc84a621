//! Traces for tests: plain runs whose every figure is known.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::{DeviceId, Digest, RunId},
    power::{PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    run::{
        Cell, Chunk, ChunkKind, Configuration, CountSource, Identity, Outcome, RequestTrace,
        RunEnd, RunHeader, RunTrace, Segment, TokenCounts,
    },
    time::{Stamp, WallTime, Window},
    units::Watts,
    workload::{CachePolicy, Load, Sampling},
};

pub(crate) fn stamp(milliseconds: u64) -> Stamp {
    Stamp(milliseconds * 1_000_000)
}

pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

/// A success sent at `sent` ms whose chunks come at so many ms after.
pub(crate) fn request(
    index: u32,
    sent: u64,
    chunks: &[u64],
    prompt: u32,
    completion: u32,
) -> RequestTrace {
    let chunk = |after: &u64| Chunk {
        at: stamp(sent + after),
        kind: ChunkKind::Content,
        tokens: None,
    };
    RequestTrace {
        index,
        item: format!("scene-{index}"),
        scheduled: None,
        sent: stamp(sent),
        chunks: chunks.iter().map(chunk).collect(),
        ended: stamp(sent + chunks.last().copied().unwrap_or_default()),
        outcome: Outcome::Stop,
        tokens: Some(TokenCounts {
            prompt,
            cached: None,
            completion,
            source: CountSource::Engine,
        }),
        image_encode: None,
        engine_times: None,
        answer: "a red ball".to_owned(),
        truth: None,
    }
}

/// A run of one segment, from the first send to the last end, at concurrency 1.
pub(crate) fn run(requests: Vec<RequestTrace>) -> RunTrace {
    RunTrace {
        header: header(),
        segments: vec![segment(requests)],
        resumptions: Vec::new(),
        end: RunEnd::Complete,
    }
}

pub(crate) fn segment(requests: Vec<RequestTrace>) -> Segment {
    let window = Window {
        from: requests
            .iter()
            .map(|request| request.sent)
            .min()
            .unwrap_or_default(),
        to: requests
            .iter()
            .map(|request| request.ended)
            .max()
            .unwrap_or_default(),
    };
    Segment {
        window,
        requests,
        power: Vec::new(),
        memory: Vec::new(),
        gauges: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Module power: milliseconds and watts.
pub(crate) fn power(points: &[(u64, i64)]) -> PowerTrace {
    let sample = |(at, watts): &(u64, i64)| PowerSample {
        at: stamp(*at),
        values: vec![watts * 1_000_000],
    };
    PowerTrace {
        sensor: Sensor {
            source: "replay".to_owned(),
            scope: Scope::Module,
            rails: vec![Rail {
                name: "VDD_IN".to_owned(),
                quantum: Watts(0.0),
            }],
            reading: Reading::Power,
            refresh: None,
            averaging: Duration::ZERO,
            provenance: Provenance::Replayed,
            asked_interval: None,
            clock: None,
        },
        samples: points.iter().map(sample).collect(),
    }
}

pub(crate) fn header() -> RunHeader {
    RunHeader {
        run: RunId([7; 16]),
        device: DeviceId::parse("lab-orin-1").expect("a valid name"),
        cell: cell(),
        repetition: 1,
        started: WallTime(1_769_731_200_000_000),
        scoring: None,
        has_pictures: true,
        requests_provenance: Provenance::Measured,
        is_quick: false,
        idle: Vec::new(),
        load_time: None,
        load_trials: Vec::new(),
        image_tokens: None,
        cache_probe: None,
        limits: None,
        job: None,
        reasons: BTreeMap::new(),
    }
}

fn cell() -> Cell {
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
            engine: "llama.cpp".to_owned(),
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
