//! Records survive the way over the wire, and nothing that comes over it brings a reader down.

use proptest::prelude::*;
use prost::Message;
use tokwatt_domain::{
    gap::{Gap, GapCause, Part},
    ids::RunId,
    run::{GaugeKind, GaugeTrace, RequestTrace, RunEnd},
    time::Stamp,
};
use tokwatt_proto::{
    ContractError, Outline, Record, assemble, assemble_under_way,
    record::{POWER_SAMPLES_MAX, RECORD_BYTES_MAX, REQUESTS_BYTES_MAX},
    v1,
};

use crate::made_up::{self, Run, bare_request};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_run_comes_back_from_its_records_in_any_order(
        (run, shuffled) in made_up::run().prop_flat_map(|run| {
            let bytes: Vec<Vec<u8>> = run.records().iter().map(Record::encode).collect();
            (Just(run), Just(bytes).prop_shuffle())
        })
    ) {
        let records: Vec<Record> = shuffled.iter().map(|bytes| Record::decode(bytes).unwrap()).collect();
        let assembled = assemble(records).unwrap();
        prop_assert_eq!(assembled.trace, run.trace);
        for bytes in &shuffled {
            let [outline, record] = outline_and_record(bytes);
            prop_assert_eq!(outline, record);
        }
        prop_assert_eq!(assembled.report, run.report);
    }

    #[test]
    fn a_device_comes_back(profile in made_up::device_profile()) {
        let record = Record::Device(profile);
        prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    }

    #[test]
    fn any_piece_that_is_missing_is_noticed(run in made_up::run(), which: prop::sample::Index) {
        let mut records = run.records();
        records.remove(which.index(records.len()));
        prop_assert!(assemble(records).is_err());
    }

    #[test]
    fn any_piece_that_is_there_twice_is_noticed(run in made_up::run(), which: prop::sample::Index) {
        let mut records = run.records();
        records.push(records[which.index(records.len())].clone());
        prop_assert!(assemble(records).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
        read_and_assemble(&bytes);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_read_or_refused(
        run in made_up::run(),
        which: prop::sample::Index,
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let records = run.records();
        let mut bytes = records[which.index(records.len())].encode();
        let at = at.index(bytes.len());
        read_and_assemble(&bytes[..at]);
        bytes[at] ^= 1_u8 << bit;
        read_and_assemble(&bytes);
    }
}

/// A reader must get through both steps without panicking, and what it read must be writable again; a keeper gets at least as far.
fn read_and_assemble(bytes: &[u8]) {
    let [outline, record] = outline_and_record(bytes);
    if record.is_ok() {
        assert_eq!(outline, record);
    }
    if let Ok(record) = Record::decode(bytes) {
        let again = Record::decode(&record.encode()).unwrap();
        assert_eq!(again, record);
        assemble([record]).unwrap_err();
    }
}

/// The run that the bytes are of or what is wrong with them, to whoever keeps records and to whoever reads them.
fn outline_and_record(bytes: &[u8]) -> [Result<Option<RunId>, String>; 2] {
    let outline = Record::outline(bytes).map(|outline| match outline {
        Outline::Device(_) => None,
        Outline::RunOpened(header) => Some(header.run),
        Outline::Part(run) | Outline::RunFinished(run) => Some(run),
    });
    let record = Record::decode(bytes).map(|record| record.run());
    [outline, record].map(|found| found.map_err(|error| error.to_string()))
}

#[test]
fn a_segment_is_split_into_records_of_bounded_size() {
    let mut segment = made_up::segment_of(|index| RequestTrace {
        answer: "x".repeat(3_000),
        ..bare_request(index)
    });
    segment.power = vec![made_up::power_trace(16_500), made_up::power_trace(0)];
    let records = Record::segment(RunId([7; 16]), 0, &segment);
    assert!(
        records
            .iter()
            .all(|record| record.encode().len() <= REQUESTS_BYTES_MAX + 64)
    );
    let n_samples = |record: &Record| match record {
        Record::Power { trace, .. } => Some(trace.samples.len()),
        _ => None,
    };
    let chunks: Vec<usize> = records.iter().filter_map(n_samples).collect();
    assert_eq!(chunks, [POWER_SAMPLES_MAX, POWER_SAMPLES_MAX, 500, 0]);
    assert!(matches!(
        records.last(),
        Some(Record::SegmentClosed {
            n_requests: 500,
            ..
        })
    ));
}

#[test]
fn what_is_missing_is_named() {
    let run = made_up::small_run();
    check(&run, |_| true, "");
    check(
        &run,
        |record| !matches!(record, Record::RunOpened(_)),
        "its header is missing",
    );
    check(
        &run,
        |record| !matches!(record, Record::RunFinished { .. }),
        "its end is missing",
    );
    check(
        &run,
        |record| !matches!(record, Record::SegmentClosed { segment: 1, .. }),
        "segment 1: its end is missing",
    );
    check(
        &run,
        |record| !matches!(record, Record::Requests { segment: 0, .. }),
        "segment 0: requests 0 to 2 are missing",
    );
    check(
        &run,
        |record| {
            !matches!(
                record,
                Record::Power {
                    segment: 1,
                    first: 8_000,
                    ..
                }
            )
        },
        "segment 1: sensor 0: samples 8000 to 15999 are missing",
    );
    check(
        &run,
        |record| {
            !matches!(
                record,
                Record::Requests { segment: 1, .. }
                    | Record::Power { segment: 1, .. }
                    | Record::SegmentClosed { segment: 1, .. }
            )
        },
        "segment 1 of 2 is missing",
    );
    check(
        &run,
        |record| !matches!(record, Record::RunResumed { number: 0, .. }),
        "resumption 0 of 2 is missing",
    );

    #[track_caller]
    fn check(run: &Run, keep: impl Fn(&Record) -> bool, want: &str) {
        let kept = run.records().into_iter().filter(|record| keep(record));
        let problem = assemble(kept).map_or_else(|error| error.to_string(), |_| String::new());
        let name = format!("run {}: ", run.trace.header.run);
        assert_eq!(problem.strip_prefix(&name).unwrap_or(&problem), want);
    }
}

#[test]
fn a_run_that_has_no_end_yet_is_told_as_far_as_it_came() {
    let run = made_up::small_run();
    let name = run.trace.header.run;
    let is_so_far = |record: &Record| {
        !matches!(
            record,
            Record::RunFinished { .. }
                | Record::Requests { segment: 1, .. }
                | Record::Power { segment: 1, .. }
                | Record::SegmentClosed { segment: 1, .. }
        )
    };
    let mut so_far: Vec<Record> = run.records().into_iter().filter(is_so_far).collect();
    so_far.insert(0, Record::Device(made_up::a_device()));
    let told = assemble_under_way(name, so_far.clone()).unwrap();
    assert_eq!(told.header, run.trace.header);
    assert_eq!(told.segments, run.trace.segments[..1]);
    assert_eq!(told.resumptions, run.trace.resumptions);

    so_far.retain(|record| !matches!(record, Record::Requests { .. }));
    let error = assemble_under_way(name, so_far).unwrap_err().to_string();
    assert!(error.ends_with("requests 0 to 2 are missing"), "{error}");
    let error = assemble_under_way(name, run.records()).unwrap_err();
    assert!(error.to_string().ends_with("it is complete"), "{error}");
}

#[test]
fn a_record_of_another_run_does_not_slip_in() {
    let run = made_up::small_run();
    let mut records = run.records();
    records.push(Record::RunFinished {
        run: RunId([9; 16]),
        n_segments: 0,
        n_resumptions: 0,
        end: RunEnd::Complete,
        report: Box::new(run.report),
    });
    let error = assemble(records).unwrap_err().to_string();
    assert!(error.contains("a record of run 09090909"), "{error}");
}

#[test]
fn a_claim_of_four_billion_segments_costs_nothing() {
    let run = made_up::small_run();
    let header = Record::RunOpened(Box::new(run.trace.header.clone()));
    let finish = Record::RunFinished {
        run: run.trace.header.run,
        n_segments: u32::MAX,
        n_resumptions: u32::MAX,
        end: RunEnd::Complete,
        report: Box::new(run.report),
    };
    let error = assemble([header, finish]).unwrap_err().to_string();
    assert!(
        error.ends_with("segment 0 of 4294967295 is missing"),
        "{error}"
    );
}

#[test]
fn errors_name_the_field() {
    use tokwatt_proto::v1::record::Kind;

    let request = v1::Request {
        chunk_at_ns: vec![1, 2],
        chunk_kind: vec![1],
        ..v1::Request::default()
    };
    let requests = |request: &v1::Request, run: usize| {
        Kind::Requests(v1::Requests {
            run: vec![0; run],
            requests: vec![prost::Message::encode_to_vec(request)],
            ..v1::Requests::default()
        })
    };
    check(
        requests(&request, 16),
        "`record.requests.requests[0].chunk_kind` has 1 values where there must be 2",
    );
    check(
        requests(&v1::Request::default(), 16),
        "`record.requests.requests[0].outcome` is missing",
    );
    check(
        requests(&request, 15),
        "`record.requests.run` has 15 bytes, a run id has 16",
    );
    check(
        Kind::Device(v1::DeviceSeen::default()),
        "`record.device.profile` is missing",
    );
    check(
        Kind::Device(v1::DeviceSeen {
            profile: Some(v1::Document {
                schema: "tokwatt.device/2".to_owned(),
                json: vec![],
            }),
        }),
        "`record.device.profile` is a `tokwatt.device/2`, expected `tokwatt.device/1`",
    );
    check(
        Kind::RunOpened(v1::RunOpened {
            header: Some(v1::Document {
                schema: "tokwatt.header/1".to_owned(),
                json: b"{}".to_vec(),
            }),
        }),
        "cannot read `record.run_opened.header` as `tokwatt.header/1`",
    );
    check(
        Kind::SegmentClosed(v1::SegmentClosed {
            run: vec![0; 16],
            memory: vec![v1::MemoryColumns::default()],
            ..v1::SegmentClosed::default()
        }),
        "`record.segment_closed.memory[0].scope` is 0, which stands for nothing",
    );
    let gauge = v1::GaugeColumns {
        kind: v1::GaugeKind::Clock.into(),
        at_ns: vec![1],
        ..v1::GaugeColumns::default()
    };
    let closed = |gauge: v1::GaugeColumns| {
        Kind::SegmentClosed(v1::SegmentClosed {
            run: vec![0; 16],
            gauges: vec![gauge],
            ..v1::SegmentClosed::default()
        })
    };
    check(
        closed(gauge.clone()),
        "`record.segment_closed.gauges[0].value` has 0 values where there must be 1",
    );
    check(
        closed(v1::GaugeColumns { kind: 0, ..gauge }),
        "`record.segment_closed.gauges[0].kind` is 0, which stands for nothing",
    );
    let sensor = serde_json::to_vec(&made_up::power_trace(0).sensor).unwrap();
    let rail = |value: i64, levels: Vec<i64>| v1::RailColumn {
        value: vec![value],
        levels,
        ..v1::RailColumn::default()
    };
    let power = |position: i64| {
        Kind::Power(v1::PowerChunk {
            run: vec![0; 16],
            sensor: Some(v1::Document {
                schema: "tokwatt.sensor/1".to_owned(),
                json: sensor.clone(),
            }),
            at_ns: vec![1],
            rails: vec![rail(5, Vec::new()), rail(position, vec![7, 1])],
            ..v1::PowerChunk::default()
        })
    };
    for position in [2, -1] {
        let want = format!("`record.power.rails[1].value` is {position}, beyond its 2 levels");
        check(power(position), &want);
    }
    let gap = |gap: v1::Gap| {
        Kind::Gap(v1::Gap {
            run: vec![0; 16],
            ..gap
        })
    };
    check(
        gap(v1::Gap::default()),
        "`record.gap.cause` is 0, which stands for nothing",
    );
    let thinned = v1::Gap {
        cause: v1::GapCause::Thinned.into(),
        ..v1::Gap::default()
    };
    check(gap(thinned.clone()), "`record.gap.part` is missing");
    check(
        gap(v1::Gap {
            part: Some(v1::gap::Part::Requests(0)),
            ..thinned
        }),
        "`record.gap.part` is of nothing: its count is 0",
    );
    let twice = record_of(Kind::Deflated(deflated(&record_of(Kind::Deflated(vec![])))));
    check(
        Kind::Deflated(deflated(&twice)),
        "`record.deflated.deflated` is deflated once more",
    );
    check(
        Kind::Deflated(vec![0xff]),
        "`record.deflated` cannot be inflated: it is damaged",
    );

    #[track_caller]
    fn check(kind: Kind, want: &str) {
        let bytes = record_of(kind).encode_to_vec();
        let [outline, record] = outline_and_record(&bytes);
        assert_eq!(record, Err(want.to_owned()));
        assert!(outline.is_ok() || outline == record);
    }
}

#[test]
fn a_keeper_does_not_inflate_a_record_that_says_its_run_beside() {
    use tokwatt_proto::v1::record::Kind;

    let run = RunId([7; 16]);
    let requests = Record::Requests {
        run,
        segment: 0,
        first: 0,
        requests: (0..200).map(bare_request).collect(),
    };
    let written = v1::Record::decode(&*requests.encode()).unwrap();
    assert_eq!(written.run, run.0);
    let Some(Kind::Deflated(whole)) = written.kind else {
        panic!("200 requests are not smaller so");
    };
    let finished = made_up::small_run().records().pop().unwrap();
    let finished = deflated_bytes(&finished.encode());
    let cut = &whole[..whole.len() - 1];
    let part_of = |byte| Ok(Some(RunId([byte; 16])));
    let wrong = |problem: &str| Err(format!("`record.{problem}"));
    let damaged = || wrong("deflated` cannot be inflated: it is damaged");
    let other = || wrong("run` is not the run that the deflated record is a part of");
    let short = || wrong("run` has 3 bytes, a run id has 16");
    check(&whole, &[], [part_of(7), part_of(7)]);
    check(&whole, &run.0, [part_of(7), part_of(7)]);
    check(cut, &[], [damaged(), damaged()]);
    check(cut, &run.0, [part_of(7), damaged()]);
    check(&whole, &[8; 16], [part_of(8), other()]);
    check(&finished, &[0; 16], [part_of(0), other()]);
    check(&whole, &[7; 3], [short(), short()]);

    #[track_caller]
    fn check(deflated: &[u8], run: &[u8], want: [Result<Option<RunId>, String>; 2]) {
        let record = v1::Record {
            kind: Some(Kind::Deflated(deflated.to_vec())),
            run: run.to_vec(),
        };
        assert_eq!(outline_and_record(&record.encode_to_vec()), want);
    }
}

#[test]
fn a_segment_closed_before_there_were_gauges_is_still_read() {
    // Written by version 0.1: run 00…00, segment 1, window 2 to 3 ns, one request.
    let mut bytes = vec![0x2a, 26, 0x0a, 16];
    bytes.extend([0; 16]);
    bytes.extend([0x10, 1, 0x18, 2, 0x20, 3, 0x28, 1]);
    let Record::SegmentClosed {
        n_requests, gauges, ..
    } = Record::decode(&bytes).unwrap()
    else {
        panic!("it is something else");
    };
    assert_eq!((n_requests, gauges.len()), (1, 0));
}

#[test]
fn what_a_gauge_shows_has_its_number_for_ever() {
    for (number, want) in (1..).zip(made_up::GAUGE_KINDS) {
        // Run 00…00, segment 0, one gauge without samples: field 8 of the segment, field 1 of the gauge.
        let mut bytes = vec![0x2a, 22, 0x0a, 16];
        bytes.extend([0; 16]);
        bytes.extend([0x42, 2, 0x08, number]);
        let Record::SegmentClosed { gauges, .. } = Record::decode(&bytes).unwrap() else {
            panic!("it is something else");
        };
        assert_eq!(gauges[0].kind, want, "{number}");
    }
}

#[test]
fn gauges_out_of_order_are_refused_by_name() {
    let mut run = made_up::small_run();
    run.trace.segments[1].gauges = vec![GaugeTrace {
        kind: GaugeKind::Clock,
        name: "gpu".to_owned(),
        samples: vec![(Stamp(2), 1), (Stamp(1), 1)],
    }];
    let error = assemble(run.records()).unwrap_err().to_string();
    assert!(
        error.ends_with("segment 1: samples of clock `gpu` are not in order of time"),
        "{error}"
    );
}

#[test]
fn a_record_beyond_the_limit_is_not_even_parsed() {
    let error = Record::decode(&vec![0; RECORD_BYTES_MAX + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record has 4194305 bytes, at most 4194304 are read"
    );
}

fn record_of(kind: v1::record::Kind) -> v1::Record {
    v1::Record {
        kind: Some(kind),
        ..v1::Record::default()
    }
}

fn deflated(record: &v1::Record) -> Vec<u8> {
    deflated_bytes(&record.encode_to_vec())
}

fn deflated_bytes(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(bytes, 10)
}

/// The small run with 600 of the second segment's 16,000 samples left, and 15,400 declared as `cause`.
fn thinned_run(declared: u32) -> Run {
    let mut run = made_up::small_run();
    run.trace.segments[1].power = vec![made_up::power_trace(600)];
    run.trace.segments[1].gaps = vec![Gap {
        part: Part::Samples(0),
        count: declared,
        cause: GapCause::Thinned,
        note: String::new(),
    }];
    run
}

#[test]
fn what_is_declared_missing_may_be_missing_and_no_more() {
    let whole = thinned_run(15_400);
    let assembled = assemble(whole.records()).unwrap();
    assert_eq!(assembled.trace, whole.trace);

    // The end says 16,000.
    let less = thinned_run(15_399).records();
    check(
        less,
        "of 16000 samples 600 are there and 15399 declared missing",
    );
    let more = thinned_run(15_401).records();
    check(
        more,
        "of 16000 samples 600 are there, and yet 15401 declared missing",
    );
    let mut none = whole.records();
    none.retain(|record| !matches!(record, Record::Gap { .. }));
    check(none, "samples 600 to 15999 are missing");

    #[track_caller]
    fn check(mut records: Vec<Record>, want: &str) {
        for record in &mut records {
            if let Record::SegmentClosed {
                segment: 1,
                n_samples,
                ..
            } = record
            {
                *n_samples = vec![16_000];
            }
        }
        let error = assemble(records).unwrap_err().to_string();
        let want = format!("segment 1: sensor 0: {want}");
        assert!(error.ends_with(&want), "{error}");
    }
}

#[test]
fn a_hole_in_the_middle_is_accepted_where_it_is_declared() {
    let mut run = made_up::small_run();
    let samples = &mut run.trace.segments[1].power[0].samples;
    samples.drain(8_000..);
    let mut records = made_up::small_run().records();
    records.retain(|record| !matches!(record, Record::Power { first: 8_000, .. }));
    let gap = Gap {
        part: Part::Samples(0),
        count: 8_000,
        cause: GapCause::Crash,
        note: "the last 80 s".to_owned(),
    };
    records.push(Record::Gap {
        run: run.trace.header.run,
        segment: 1,
        gap: gap.clone(),
    });
    run.trace.segments[1].gaps = vec![gap];
    assert_eq!(assemble(records).unwrap().trace, run.trace);
}

#[test]
fn a_gap_of_a_sensor_that_there_is_not_is_refused() {
    let mut run = thinned_run(15_400);
    run.trace.segments[0].gaps = vec![Gap {
        part: Part::Samples(4),
        count: 1,
        cause: GapCause::Crash,
        note: String::new(),
    }];
    let error = assemble(run.records()).unwrap_err().to_string();
    assert!(
        error.ends_with("segment 0: a gap is of samples of sensor 4, beyond its 0 sensors"),
        "{error}"
    );
}

#[test]
fn a_kind_of_record_that_a_later_version_writes_is_told_from_a_damaged_one() {
    // Field 99, one byte.
    let error = Record::decode(&[0x9a, 0x06, 0x01, 0x00]).unwrap_err();
    assert!(
        matches!(error, ContractError::UnknownKind { number: 99 }),
        "{error}"
    );
    assert!(error.to_string().contains("update it"), "{error}");
    let within = record_of(v1::record::Kind::Deflated(deflated_bytes(&[
        0x9a, 0x06, 0x01, 0x00,
    ])));
    let error = Record::decode(&within.encode_to_vec()).unwrap_err();
    assert!(
        matches!(error, ContractError::UnknownKind { number: 99 }),
        "{error}"
    );
}

#[test]
fn fields_and_gauges_that_a_later_version_writes_are_passed_over() {
    let gauge = |kind: i32| v1::GaugeColumns {
        kind,
        name: "gpu".to_owned(),
        ..v1::GaugeColumns::default()
    };
    let closed = v1::SegmentClosed {
        run: vec![7; 16],
        gauges: vec![gauge(99), gauge(1)],
        memory: vec![v1::MemoryColumns {
            scope: 99,
            ..v1::MemoryColumns::default()
        }],
        ..v1::SegmentClosed::default()
    };
    let kind = v1::record::Kind::SegmentClosed(closed);
    let mut bytes = record_of(kind).encode_to_vec();
    // Field 1000 beside the record, and one inside it: its length grows with it.
    bytes.extend([0xc2, 0x3e, 0x01, 0x00]);
    bytes.extend([0x2a, 4, 0xc2, 0x3e, 0x01, 0x00]);
    let Record::SegmentClosed { gauges, memory, .. } = Record::decode(&bytes).unwrap() else {
        panic!("it is something else");
    };
    assert_eq!((gauges.len(), memory.len()), (1, 0));
}

#[test]
fn a_small_record_that_inflates_to_a_large_one_is_refused_without_holding_it() {
    let bomb = deflated_bytes(&vec![0; 64 * RECORD_BYTES_MAX]);
    assert!(bomb.len() < RECORD_BYTES_MAX);
    let record = record_of(v1::record::Kind::Deflated(bomb));
    let error = Record::decode(&record.encode_to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`record.deflated` is inflated more than 4194304 bytes"
    );
}
