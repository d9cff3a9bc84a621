//! A segment as records of bounded size.

use tokwatt_domain::{
    gap::Part,
    ids::RunId,
    power::PowerTrace,
    run::{RequestTrace, Segment},
};

use super::{Record, request};

/// Most bytes of encoded requests in a record, unless a single one is larger: half a batch, so that batches fill well.
pub const REQUESTS_BYTES_MAX: usize = 512 * 1024;

/// Most samples of a sensor in a record: a segment's minute at 100 Hz, some 15 KiB a rail. Small ones would waste what a database
/// page has left.
pub const POWER_SAMPLES_MAX: usize = 8_000;

pub(super) fn segment(run: RunId, index: u32, segment: &Segment) -> Vec<Record> {
    let mut records = requests(run, index, &segment.requests);
    for (sensor_index, trace) in (0..).zip(&segment.power) {
        records.extend(power(run, index, sensor_index, trace));
    }
    records.extend(segment.gaps.iter().map(|gap| Record::Gap {
        run,
        segment: index,
        gap: gap.clone(),
    }));
    let missing = |part: Part| -> u32 {
        let gaps = segment.gaps.iter().filter(|gap| gap.part == part);
        gaps.fold(0, |sum, gap| sum.saturating_add(gap.count))
    };
    records.push(Record::SegmentClosed {
        run,
        segment: index,
        window: segment.window,
        n_requests: count(segment.requests.len()).saturating_add(missing(Part::Requests)),
        n_samples: (0..)
            .zip(&segment.power)
            .map(|(sensor, trace)| {
                count(trace.samples.len()).saturating_add(missing(Part::Samples(sensor)))
            })
            .collect(),
        memory: segment.memory.clone(),
        gauges: segment.gauges.clone(),
    });
    records
}

fn requests(run: RunId, segment: u32, all: &[RequestTrace]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut first = 0;
    while first < all.len() {
        let length = fitting(&all[first..]);
        records.push(Record::Requests {
            run,
            segment,
            first: count(first),
            requests: all[first..first + length].to_vec(),
        });
        first += length;
    }
    records
}

/// How many requests go into one record: as many as fit, but at least one.
fn fitting(requests: &[RequestTrace]) -> usize {
    let mut bytes = 0;
    let fits = |request: &&RequestTrace| {
        bytes += request::write(request).len();
        bytes <= REQUESTS_BYTES_MAX
    };
    requests.iter().take_while(fits).count().max(1)
}

/// A sensor without samples has one record without any, so that it is not forgotten.
fn power(run: RunId, segment: u32, sensor_index: u32, trace: &PowerTrace) -> Vec<Record> {
    let record = |first: usize| Record::Power {
        run,
        segment,
        sensor_index,
        first: count(first),
        trace: PowerTrace {
            sensor: trace.sensor.clone(),
            samples: trace.samples[first..]
                .iter()
                .take(POWER_SAMPLES_MAX)
                .cloned()
                .collect(),
        },
    };
    (0..trace.samples.len().max(1))
        .step_by(POWER_SAMPLES_MAX)
        .map(record)
        .collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("a segment lasts about a minute, 2^32 of anything take longer")
}
