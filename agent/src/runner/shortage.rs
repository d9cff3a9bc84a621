//! When the spool or its disk is full: less of a segment is kept, and what is not is declared missing.
//!
//! First no new work is begun ([`Spool::check_room`]); then of a segment that does not fit one power sample a second is kept, then
//! none, with all requests; then nothing of it, so that it is asked again. The end of a run is given up last of all: room is kept back
//! for it.

use std::time::Duration;

use tokwatt_domain::{
    gap::{Gap, GapCause, Part},
    ids::RunId,
    power::{PowerSample, PowerTrace},
    run::Segment,
    time::Window,
};
use tokwatt_proto::Record;

use crate::spool::{Spool, SpoolError};

/// A segment that is kept with less than was measured.
#[derive(Debug)]
pub(super) struct Shortened {
    /// What was given up, in words.
    pub(super) given_up: String,
    /// Why.
    pub(super) because: Box<SpoolError>,
}

/// Keeps as much of the segment as there is room for; what was given up, if it is not all of it.
///
/// # Errors
/// Not even its requests fit, or the spool failed; nothing of it is kept then.
pub(super) fn keep(
    spool: &Spool,
    run: RunId,
    index: u32,
    segment: Segment,
) -> Result<Option<Shortened>, SpoolError> {
    let append = |segment: &Segment| {
        let records = Record::segment(run, index, segment);
        let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        spool.append(&encoded)
    };
    let because = match append(&segment) {
        Ok(_) => return Ok(None),
        Err(error) if error.is_full() => error,
        Err(error) => return Err(error),
    };
    let note = because.to_string();
    for (cause, thin) in LESSER {
        let lesser = without(&segment, cause, &note, thin);
        if lesser.gaps.is_empty() {
            continue;
        }
        match append(&lesser) {
            Ok(_) => {
                let given_up = in_words(&lesser.gaps);
                tracing::error!(%run, segment = index, given_up, "samples are given up and declared missing, for want of room");
                return Ok(Some(Shortened {
                    given_up,
                    because: Box::new(because),
                }));
            }
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error),
        }
    }
    Err(because)
}

/// Which samples of a sensor are kept, sorted as they are.
type Thin = fn(&PowerTrace, Window) -> Vec<PowerSample>;

/// What is tried, one after the other.
const LESSER: [(GapCause, Thin); 2] = [
    (GapCause::Thinned, one_a_second),
    (GapCause::DiskFull, none),
];

/// The segment with fewer samples, and gaps for the others.
fn without(segment: &Segment, cause: GapCause, note: &str, thin: Thin) -> Segment {
    let mut lesser = segment.clone();
    for (sensor, trace) in (0..).zip(&mut lesser.power) {
        let before = trace.samples.len();
        trace.samples = thin(trace, segment.window);
        let count = u32::try_from(before - trace.samples.len()).unwrap_or(u32::MAX);
        if count > 0 {
            lesser.gaps.push(Gap {
                part: Part::Samples(sensor),
                count,
                cause,
                note: note.to_owned(),
            });
        }
    }
    lesser.gaps.sort();
    lesser
}

/// About one a second, and those next to the window on both sides, so that it stays bracketed.
fn one_a_second(trace: &PowerTrace, window: Window) -> Vec<PowerSample> {
    let before = trace
        .samples
        .iter()
        .rposition(|sample| sample.at <= window.from);
    let after = trace
        .samples
        .iter()
        .position(|sample| sample.at >= window.to);
    let mut last = None;
    let mut is_kept = |index: usize, sample: &PowerSample| {
        let is_due = last.is_none_or(|last| sample.at.since(last) >= THINNED_PERIOD);
        let is_edge = Some(index) == before || Some(index) == after;
        if is_due {
            last = Some(sample.at);
        }
        is_due || is_edge
    };
    let samples = trace.samples.iter().enumerate();
    samples
        .filter(|(index, sample)| is_kept(*index, sample))
        .map(|(_, sample)| sample.clone())
        .collect()
}

fn none(_: &PowerTrace, _: Window) -> Vec<PowerSample> {
    Vec::new()
}

fn in_words(gaps: &[Gap]) -> String {
    let count: u64 = gaps.iter().map(|gap| u64::from(gap.count)).sum();
    match gaps.first() {
        Some(gap) if gap.cause == GapCause::Thinned => {
            format!("{count} power samples (one a second is left)")
        }
        _ => format!("all {count} power samples"),
    }
}

/// What is left of samples for which there is no room.
const THINNED_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        ids::Seq,
        power::{Provenance, Rail, Reading, Scope, Sensor},
        time::{Stamp, WallTime},
        units::Watts,
    };

    use super::*;

    const MS: u64 = 1_000_000;

    fn trace(n: u64) -> PowerTrace {
        PowerTrace {
            sensor: Sensor {
                source: "ina".to_owned(),
                scope: Scope::Module,
                rails: vec![Rail {
                    name: "VDD_IN".to_owned(),
                    quantum: Watts(0.0),
                }],
                reading: Reading::Power,
                refresh: None,
                averaging: Duration::ZERO,
                provenance: Provenance::Measured,
                asked_interval: None,
                clock: None,
            },
            samples: (0..n)
                .map(|n| PowerSample {
                    at: Stamp(n * 10 * MS),
                    values: vec![1],
                })
                .collect(),
        }
    }

    #[test]
    fn a_sample_a_second_is_left_and_those_around_the_window() {
        let window = Window {
            from: Stamp(255 * MS),
            to: Stamp(4_555 * MS),
        };
        let left = one_a_second(&trace(500), window);
        let times: Vec<u64> = left.iter().map(|sample| sample.at.0 / MS).collect();
        assert_eq!(times, [0, 250, 1_000, 2_000, 3_000, 4_000, 4_560]);
    }

    #[test]
    fn what_is_not_kept_is_declared_to_the_last_sample() {
        let segment = Segment {
            window: Window {
                from: Stamp(0),
                to: Stamp(5_000 * MS),
            },
            requests: Vec::new(),
            power: vec![trace(500), trace(0), trace(300)],
            memory: Vec::new(),
            gauges: Vec::new(),
            gaps: Vec::new(),
        };
        for (cause, thin) in LESSER {
            let lesser = without(&segment, cause, "", thin);
            let count = |sensor: u32| {
                let gaps = lesser.gaps.iter();
                let own = gaps.filter(|gap| gap.part == Part::Samples(sensor));
                own.map(|gap| gap.count as usize).sum::<usize>()
            };
            for (sensor, (before, after)) in (0..).zip(segment.power.iter().zip(&lesser.power)) {
                assert_eq!(before.samples.len(), after.samples.len() + count(sensor));
            }
            assert_eq!(lesser.gaps.len(), 2);
        }
    }

    /// A sample each second of a day, of which thinning leaves all.
    fn slow() -> Segment {
        let mut power = trace(86_400);
        for (second, sample) in (0..).zip(&mut power.samples) {
            sample.at = Stamp(second * 1_000 * MS);
            sample.values = vec![i64::try_from(second * second * 7_919 % 1_000_003).unwrap()];
        }
        Segment {
            window: Window {
                from: Stamp(0),
                to: Stamp(1),
            },
            requests: Vec::new(),
            power: vec![power],
            memory: Vec::new(),
            gauges: Vec::new(),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn where_thinning_does_not_help_all_samples_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 100_000).unwrap();
        let shortened = keep(&spool, RunId([7; 16]), 0, slow()).unwrap().unwrap();
        assert_eq!(shortened.given_up, "all 86400 power samples");
        let kept = spool.after(Seq(0), usize::MAX).unwrap();
        let gap = kept
            .iter()
            .find_map(|spooled| match Record::decode(&spooled.bytes) {
                Ok(Record::Gap { gap, .. }) => Some(gap),
                _ => None,
            });
        let gap = gap.unwrap();
        assert_eq!((gap.count, gap.cause), (86_400, GapCause::DiskFull));
        assert!(gap.note.contains("100000 bytes"), "{}", gap.note);
    }

    #[test]
    fn where_not_even_requests_fit_nothing_is_kept_and_the_end_of_the_run_still_fits() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 6_400).unwrap();
        spool.begin_bench("").unwrap();
        spool.open_run(RunId([7; 16]), vec![0; 6_250]).unwrap();
        let error = keep(&spool, RunId([7; 16]), 0, slow()).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert_eq!(spool.status().unwrap().waiting_records, 1);
        spool.close_run(1, vec![0; 150]).unwrap();
    }
}
