//! What was written by a version that people have is read for ever: its bytes are in `fixtures/wire/VERSION/`, one file for each
//! message and kind of record, and mean what is written down here.
//!
//! A field that comes later gets the value here that it has in bytes without it. A new kind of record, or a new way to write one,
//! is a new file: `TOKWATT_WRITE_GOLDEN=1 cargo test --release -p tokwatt-proto --test wire golden` writes those that are missing, and
//! none that is there.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use prost::Message;
use tokwatt_domain::{
    gap::{Gap, GapCause, Part},
    ids::{DeviceId, Epoch, RunId, Seq},
    power::Scope,
    run::{
        Chunk, ChunkKind, CountSource, EngineTimes, FailureClass, GaugeKind, GaugeTrace,
        IdleBaseline, IdleState, MemoryScope, MemoryTrace, Outcome, RequestTrace, Resumption,
        RunEnd, TokenCounts,
    },
    time::{Stamp, WallTime, Window},
    units::Watts,
    workload::Truth,
};
use tokwatt_proto::{
    Record,
    delivery::{Ack, Envelope, Hello},
    v1,
};

use crate::made_up;

/// Of version 0.1.0: file and what it holds.
fn records() -> Vec<(&'static str, Record)> {
    let run = RunId([7; 16]);
    let mut device = made_up::a_device();
    device.facts = BTreeMap::from([("kernel".to_owned(), "6.8.12".to_owned())]);
    device.reasons = BTreeMap::from([("soc".to_owned(), "no such file".to_owned())]);
    let much_power = || Record::Power {
        run,
        segment: 0,
        sensor_index: 1,
        first: 0,
        trace: made_up::power_trace(500),
    };
    vec![
        ("device", Record::Device(device)),
        ("run_opened", Record::RunOpened(Box::new(made_up::header()))),
        (
            "requests",
            Record::Requests {
                run,
                segment: 1,
                first: 300,
                requests: vec![answered(), failed()],
            },
        ),
        (
            "power",
            Record::Power {
                run,
                segment: 1,
                sensor_index: 0,
                first: 1_000,
                trace: made_up::power_trace(3),
            },
        ),
        ("power_deflated", much_power()),
        ("power_deflated_of_run", much_power()),
        (
            "power_by_levels",
            Record::Power {
                run,
                segment: 0,
                sensor_index: 1,
                first: 0,
                trace: made_up::noisy_power_trace(500),
            },
        ),
        ("segment_closed", segment_closed(run)),
        (
            "gap_of_samples",
            gap(run, Part::Samples(1), GapCause::Thinned),
        ),
        ("gap_of_requests", gap(run, Part::Requests, GapCause::Crash)),
        ("run_resumed", resumed(run)),
        (
            "run_finished",
            Record::RunFinished {
                run,
                n_segments: 2,
                n_resumptions: 1,
                end: RunEnd::Cancelled,
                report: Box::new(made_up::report()),
            },
        ),
    ]
}

fn answered() -> RequestTrace {
    let chunk = |at, kind, tokens| Chunk {
        at: Stamp(at),
        kind,
        tokens,
    };
    RequestTrace {
        index: 300,
        item: "scene-7".to_owned(),
        scheduled: Some(Stamp(5_000_000_000)),
        sent: Stamp(5_000_100_000),
        chunks: vec![
            chunk(5_090_000_000, ChunkKind::Reasoning, None),
            chunk(5_120_000_000, ChunkKind::Content, Some(2)),
        ],
        ended: Stamp(5_200_000_000),
        outcome: Outcome::Length,
        tokens: Some(TokenCounts {
            prompt: 90,
            cached: Some(0),
            completion: 64,
            source: CountSource::Usage,
        }),
        image_encode: Some(Duration::from_millis(12)),
        engine_times: Some(EngineTimes {
            prefill: Duration::from_millis(80),
            decode: Duration::from_millis(110),
        }),
        answer: "ein roter Ball, größer als der Würfel".to_owned(),
        truth: Some(Truth::Answer {
            expected: "red".to_owned(),
            choices: vec!["red".to_owned(), "blue".to_owned()],
        }),
    }
}

fn failed() -> RequestTrace {
    RequestTrace {
        outcome: Outcome::Failed {
            class: FailureClass::OutOfMemory,
            message: "CUDA error: out of memory".to_owned(),
        },
        ..made_up::bare_request(301)
    }
}

fn segment_closed(run: RunId) -> Record {
    Record::SegmentClosed {
        run,
        segment: 1,
        window: Window {
            from: Stamp(5_000_000_000),
            to: Stamp(65_000_000_000),
        },
        n_requests: 302,
        n_samples: vec![1_003, 0],
        memory: vec![MemoryTrace {
            scope: MemoryScope::ProcessTree,
            baseline_bytes: 1 << 30,
            samples: vec![(Stamp(5), 3 << 30), (Stamp(6), 2 << 30)],
        }],
        gauges: vec![GaugeTrace {
            kind: GaugeKind::Temperature,
            name: "tj-thermal".to_owned(),
            samples: vec![(Stamp(5), 48_500), (Stamp(1_000_000_005), -40_000)],
        }],
    }
}

fn gap(run: RunId, part: Part, cause: GapCause) -> Record {
    Record::Gap {
        run,
        segment: 1,
        gap: Gap {
            part,
            count: 5_400,
            cause,
            note: "the spool's limit is reached".to_owned(),
        },
    }
}

fn resumed(run: RunId) -> Record {
    Record::RunResumed {
        run,
        number: 0,
        resumption: Box::new(Resumption {
            segment: 1,
            at: WallTime(1_700_000_100_000_000),
            idle: vec![IdleBaseline {
                source: "nvml".to_owned(),
                scope: Scope::GpuRail,
                state: IdleState::Loaded,
                power: Watts(8.25),
                bound: Some(Watts(0.5)),
                length: Duration::from_secs(60),
                ended: Stamp(4_000_000_000),
            }],
        }),
    }
}

fn hello() -> Hello {
    Hello {
        device: DeviceId::parse("thor-1").unwrap(),
        epoch: Epoch(1_700_000_000_000_000),
        agent_version: "0.1.0".to_owned(),
    }
}

fn envelopes() -> Vec<Envelope> {
    let envelope = |seq: u64| Envelope {
        epoch: Epoch(1_700_000_000_000_000),
        seq: Seq(seq),
        record: vec![u8::try_from(seq).unwrap(); 3].into(),
    };
    vec![envelope(7), envelope(8)]
}

const ACK: Ack = Ack {
    epoch: Epoch(1_700_000_000_000_000),
    through: Seq(8),
    credits: 8,
};

/// The bytes of a file; where it is missing and that is asked for, written by today's code first.
fn golden(name: &str, today: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire/0.1.0");
    let path = folder.join(format!("{name}.bin"));
    if std::env::var_os("TOKWATT_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, today()).unwrap();
    }
    fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

#[test]
fn records_of_version_0_1_mean_what_they_meant() {
    for (name, want) in records() {
        let bytes = golden(name, || want.encode());
        assert_eq!(Record::decode(&bytes).unwrap(), want, "{name}");
    }
}

#[test]
fn deliveries_of_version_0_1_mean_what_they_meant() {
    let bytes = golden("hello", || v1::Hello::from(hello()).encode_to_vec());
    let read = v1::Hello::decode(bytes.as_slice()).unwrap();
    assert_eq!(Hello::try_from(read).unwrap(), hello());

    let batch = || v1::Batch {
        records: envelopes().into_iter().map(v1::Envelope::from).collect(),
    };
    let bytes = golden("batch", || batch().encode_to_vec());
    let read = v1::Batch::decode(bytes.as_slice()).unwrap();
    let read: Vec<Envelope> = read.records.into_iter().map(Envelope::from).collect();
    assert_eq!(read, envelopes());

    let bytes = golden("ack", || v1::Ack::from(ACK).encode_to_vec());
    let read = v1::Ack::decode(bytes.as_slice()).unwrap();
    assert_eq!(Ack::from(read), ACK);
}
