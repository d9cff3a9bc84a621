//! What has been read, by sensor and in order of time, with what was not.

use std::collections::VecDeque;

use serde::Serialize;
use tokwatt_domain::{
    power::{PowerSample, PowerTrace, Sensor},
    time::Stamp,
};

use crate::power::{ReadError, Taken};

/// How an instrument is doing.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Health {
    /// Which instrument.
    pub source: String,
    /// Samples taken.
    pub taken: u64,
    /// Readings that failed.
    pub failed: u64,
    /// Readings that were due while an earlier one took too long.
    pub missed: u64,
    /// In its own words, the latest failure.
    pub last_error: Option<String>,
    /// It is not read any more.
    pub is_lost: bool,
}

pub(super) struct Timeline {
    pub(super) series: Vec<Series>,
    pub(super) health: Vec<Health>,
}

/// One sensor's samples, the latest [`SAMPLES_MAX`].
pub(super) struct Series {
    source: usize,
    sensor: Sensor,
    samples: VecDeque<PowerSample>,
}

impl Timeline {
    /// `sensors` of each source.
    pub(super) fn new(sensors: &[Vec<Sensor>]) -> Self {
        let series = |(source, sensors): (usize, &Vec<Sensor>)| {
            let series = move |sensor: Sensor| Series {
                source,
                sensor,
                samples: VecDeque::new(),
            };
            sensors.iter().cloned().map(series).collect::<Vec<_>>()
        };
        let health = |sensors: &Vec<Sensor>| Health {
            source: sensors
                .first()
                .map(|s| s.source.clone())
                .unwrap_or_default(),
            ..Health::default()
        };
        Self {
            series: sensors.iter().enumerate().flat_map(series).collect(),
            health: sensors.iter().map(health).collect(),
        }
    }

    pub(super) fn remember(&mut self, source: usize, batch: &mut Vec<Taken>) {
        let Some(health) = self.health.get_mut(source) else {
            return;
        };
        let mut own: Vec<&mut Series> = self
            .series
            .iter_mut()
            .filter(|series| series.source == source)
            .collect();
        for Taken { sensor, sample } in batch.drain(..) {
            if let Some(series) = own.get_mut(sensor) {
                series.push(sample);
                health.taken += 1;
            }
        }
    }

    /// Returns whether the failure is news.
    pub(super) fn fail(&mut self, source: usize, error: &ReadError) -> bool {
        let Some(health) = self.health.get_mut(source) else {
            return false;
        };
        let message = Some(error.to_string());
        let is_news = health.last_error != message;
        health.failed += 1;
        health.last_error = message;
        health.is_lost |= matches!(error, ReadError::Fatal(_));
        is_news
    }

    pub(super) fn miss(&mut self, source: usize, ticks: u64) {
        if let Some(health) = self.health.get_mut(source) {
            health.missed += ticks;
        }
    }

    /// Whether every sensor that is still read has a sample at or after `to`; `None` if none is read any more.
    pub(super) fn is_bracketed(&self, to: Stamp) -> Option<bool> {
        let is_read = |series: &&Series| {
            let health = self.health.get(series.source);
            health.is_some_and(|health| !health.is_lost)
        };
        let mut read = self.series.iter().filter(is_read).peekable();
        read.peek()?;
        Some(read.all(|series| series.reaches(to)))
    }
}

impl Series {
    /// Samples between and including the last at or before `from` and the first at or after `to`.
    pub(super) fn window(&self, from: Stamp, to: Stamp) -> PowerTrace {
        let first = self.samples.partition_point(|sample| sample.at <= from);
        let last = self.samples.partition_point(|sample| sample.at < to);
        let range = first.saturating_sub(1)..(last + 1).min(self.samples.len());
        PowerTrace {
            sensor: self.sensor.clone(),
            samples: self.samples.range(range).cloned().collect(),
        }
    }

    /// A source's clock stamps go up; one that does not is left out, so that the order holds.
    fn push(&mut self, sample: PowerSample) {
        if self.samples.back().is_some_and(|last| last.at >= sample.at) {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    fn reaches(&self, to: Stamp) -> bool {
        self.samples.back().is_some_and(|last| last.at >= to)
    }
}

/// Most samples kept of a sensor: eleven minutes at 100 Hz, and no window is longer than a segment of 60 s or an idle baseline.
const SAMPLES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::power::sampler::tests::sensor;

    fn series(stamps: &[u64]) -> Series {
        let mut series = Series {
            source: 0,
            sensor: sensor(),
            samples: VecDeque::new(),
        };
        for &at in stamps {
            series.push(PowerSample {
                at: Stamp(at),
                values: vec![1],
            });
        }
        series
    }

    #[track_caller]
    fn check(stamps: &[u64], (from, to): (u64, u64), want: &[u64]) {
        let window = series(stamps).window(Stamp(from), Stamp(to));
        let got: Vec<u64> = window.samples.iter().map(|sample| sample.at.0).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_window_has_a_sample_on_each_side_where_there_is_one() {
        check(&[10, 20, 30, 40, 50], (25, 35), &[20, 30, 40]);
        check(&[10, 20, 30, 40, 50], (20, 40), &[20, 30, 40]);
        check(&[10, 20, 30], (15, 99), &[10, 20, 30]);
        check(&[10, 20, 30], (0, 5), &[10]);
        check(&[10, 20], (40, 50), &[20]);
        check(&[], (0, 5), &[]);
    }

    #[test]
    fn samples_stay_in_order_and_bounded() {
        check(&[10, 10, 9, 11], (0, 99), &[10, 11]);
        let many: Vec<u64> = (1..=u64::try_from(SAMPLES_MAX).unwrap() + 5).collect();
        assert_eq!(series(&many).samples.len(), SAMPLES_MAX);
    }

    proptest! {
        #[test]
        fn a_window_is_the_least_that_covers_it(
            mut stamps in proptest::collection::vec(0..100u64, 0..30), from in 0..100u64, length in 0..50u64
        ) {
            stamps.sort_unstable();
            stamps.dedup();
            let to = from + length;
            let before = stamps.iter().rfind(|&&at| at <= from).copied();
            let after = stamps.iter().find(|&&at| at >= to).copied();
            let want: Vec<u64> = stamps
                .iter()
                .copied()
                .filter(|&at| at >= before.unwrap_or(0) && at <= after.unwrap_or(u64::MAX))
                .collect();
            check(&stamps, (from, to), &want);
        }
    }
}
