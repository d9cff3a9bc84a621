//! How often a sensor has something new, found in its readings where its driver does not say.
//!
//! A register that is read faster than it is refreshed gives the same value again and again, and then a new one. So the time from
//! one change to the next tells its refresh, if three other causes of equal neighbours are kept out:
//!
//! - *When a change is seen is late by up to a sampling period.* Two successive intervals are taken together, which halves that,
//!   and the mean of all that are less than two periods longer than the shortest, which takes most of the rest.
//! - *Steps of the sensor hide small changes*, so that even a fast sensor seems to stand still at times: never does it seem faster
//!   than it is, hence the shortest counts. One odd pair of readings is no rule, hence the k-th shortest, k = 5 and 5 % at least.
//! - *The load itself stands still*, as in idle or between the edges of a square wave. It comes back to the same value then, or
//!   its intervals are of many lengths. So a pair of intervals at whose end the old value is back does not count, and
//!   unless at least half of all pairs are that short, the refresh stays unknown.
//!
//! A sensor that changes with every reading may be any amount faster: its refresh is then given as the sampling period, for no
//! more has been seen and no more is claimed. So is one of less than one and a half periods: it cannot be told from it.

use std::time::Duration;

use super::{PowerSample, Stretch};
use crate::time::Stamp;

/// The shortest repeatable time from change to change in readings taken every `period`; `None` if they do not show one.
pub(super) fn shortest_repeatable(stretches: &[Stretch<'_>], period: Duration) -> Option<Duration> {
    let pairs: Vec<Pair> = stretches.iter().flat_map(pairs).collect();
    let mut lengths: Vec<Duration> = pairs
        .iter()
        .filter(|pair| !pair.is_return)
        .map(|pair| pair.length)
        .collect();
    lengths.sort();
    let k = (pairs.len() / 20).max(CHANGES_LEAST);
    let shortest = *lengths.get(k - 1)?;
    let about_as_short = lengths.partition_point(|length| *length < shortest + 2 * period);
    if 2 * about_as_short < pairs.len() {
        return None;
    }
    let sum: Duration = lengths[..about_as_short].iter().sum();
    let refresh = sum / u32::try_from(2 * about_as_short).ok()?;
    Some(if 2 * refresh < 3 * period {
        period
    } else {
        refresh
    })
}

/// Two successive intervals, from a change to the next but one.
struct Pair {
    length: Duration,
    /// The value that the first change brought is back with the last one.
    is_return: bool,
}

fn pairs(stretch: &Stretch<'_>) -> Vec<Pair> {
    let changes = changes(stretch.1);
    let pair = |changes: &[(Stamp, &[i64])]| Pair {
        length: changes[2].0.since(changes[0].0),
        is_return: changes[2].1 == changes[0].1,
    };
    changes.windows(3).map(pair).collect()
}

/// When a value was first seen, and which.
fn changes(samples: &[PowerSample]) -> Vec<(Stamp, &[i64])> {
    samples
        .windows(2)
        .filter(|pair| pair[0].values != pair[1].values)
        .map(|pair| (pair[1].at, pair[1].values.as_slice()))
        .collect()
}

/// Fewest changes that make a rule.
const CHANGES_LEAST: usize = 5;

#[cfg(test)]
mod tests {
    use rand_like::Chance;

    use super::*;
    use crate::time::Window;

    /// A small generator: the tests need numbers without a pattern, not good ones.
    mod rand_like {
        pub(super) struct Chance(pub(super) u64);

        impl Chance {
            /// 0 to below `n`.
            pub(super) fn below(&mut self, n: u64) -> u64 {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 33) % n
            }
        }
    }

    const PERIOD: u64 = 100;

    /// What a register shows in mW at a time in ms.
    type Register = dyn Fn(u64) -> i64;

    /// A load without a pattern, in mW: another one every 7 ms.
    fn varying(at: u64) -> i64 {
        let mut chance = Chance(at / 7);
        chance.below(2);
        i64::try_from(5_000 + chance.below(20_000)).unwrap()
    }

    /// `load` as a register shows it that takes a new value every `refresh` ms, in steps of `quantum` mW.
    fn register(load: impl Fn(u64) -> i64 + 'static, refresh: u64, quantum: i64) -> Box<Register> {
        Box::new(move |at| load(at / refresh * refresh) / quantum * quantum)
    }

    /// 60 s of readings every 100 ms, up to `jitter` ms earlier or later.
    fn read(register: &Register, jitter: u64) -> Vec<PowerSample> {
        let mut chance = Chance(7);
        let mut at = 1_000;
        let mut sample = || {
            at += PERIOD - jitter + chance.below(2 * jitter + 1);
            PowerSample {
                at: Stamp(at * 1_000_000),
                values: vec![1000 * register(at)],
            }
        };
        (0..600).map(|_| sample()).collect()
    }

    fn found(samples: &[PowerSample]) -> Option<u64> {
        let window = Window {
            from: Stamp(0),
            to: Stamp(u64::MAX),
        };
        let refresh = shortest_repeatable(&[(window, samples)], Duration::from_millis(PERIOD))?;
        u64::try_from(refresh.as_millis()).ok()
    }

    /// Read with our jitter, and by an instrument that keeps its own time.
    #[track_caller]
    fn check(register: &Register, want: Option<std::ops::RangeInclusive<u64>>) {
        for jitter in [33, 2, 0] {
            let got = found(&read(register, jitter));
            let is_well = match (&want, got) {
                (Some(want), Some(got)) => want.contains(&got),
                (None, None) => true,
                _ => false,
            };
            assert!(is_well, "jitter {jitter}: {got:?}, want {want:?}");
        }
    }

    #[test]
    fn a_register_read_faster_than_it_is_refreshed_shows_its_refresh() {
        check(&*register(varying, 1000, 1), Some(970..=1030));
        check(&*register(varying, 500, 1), Some(475..=525));
        check(&*register(varying, 300, 1), Some(275..=325));
        check(&*register(varying, 200, 1), Some(180..=220));
    }

    #[test]
    fn of_a_register_as_fast_as_the_sampling_or_faster_no_more_is_claimed_than_was_seen() {
        for refresh in [100, 93, 50, 2] {
            check(&*register(varying, refresh, 1), Some(PERIOD..=PERIOD));
        }
    }

    /// A third of the neighbours are equal because a step is a third of the range, not because the register is old.
    #[test]
    fn steps_that_hide_changes_do_not_make_a_fast_sensor_slow() {
        let quantised = register(varying, 2, 8_000);
        let samples = read(&*quantised, 33);
        let n_equal = samples
            .windows(2)
            .filter(|pair| pair[0].values == pair[1].values)
            .count();
        assert!((150..300).contains(&n_equal), "{n_equal}");
        let got = found(&samples);
        assert!(got.is_none_or(|refresh| refresh == PERIOD), "{got:?}");
    }

    #[test]
    fn a_slow_register_with_coarse_steps_is_still_slow() {
        check(&*register(varying, 1000, 400), Some(970..=1060));
    }

    #[test]
    fn a_reading_that_stands_still_tells_nothing() {
        check(&|_| 5_000, None);
        check(&|at| if at < 30_000 { 5_000 } else { 25_000 }, None);
    }

    /// Its edges are as regular as a slow register's refresh.
    #[test]
    fn a_square_wave_is_no_slow_sensor() {
        check(&|at| if at % 1000 < 500 { 5_000 } else { 25_000 }, None);
    }

    /// Idle, prefill, decode, over and over: always the same three powers, by a fast sensor without noise.
    #[test]
    fn requests_that_are_all_alike_are_no_slow_sensor() {
        let request = |at: u64| match at % 1400 {
            0..300 => 25_000,
            300..1200 => 15_000,
            _ => 8_000,
        };
        check(&request, None);
    }

    /// The last step of an idle sensor goes up and down.
    #[test]
    fn noise_of_one_step_is_not_enough_to_tell() {
        let idle = |at: u64| 5_000 + 40 * (varying(at) % 2);
        check(&*register(idle, 1000, 1), None);
    }

    #[test]
    fn what_is_dropped_makes_intervals_longer_and_the_refresh_no_shorter() {
        let register = register(varying, 500, 1);
        let mut samples = read(&*register, 33);
        let mut chance = Chance(3);
        samples.retain(|_| chance.below(5) > 0);
        let got = found(&samples).unwrap();
        assert!((450..=560).contains(&got), "{got}");
    }

    #[test]
    fn nothing_is_told_by_too_few_changes() {
        let samples = read(&*register(varying, 1000, 1), 33);
        assert_eq!(found(&samples[..50]), None);
        assert_eq!(found(&[]), None);
    }
}
