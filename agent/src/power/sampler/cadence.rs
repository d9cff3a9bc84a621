//! When to read next: every period, a third of it earlier or later by chance, so that sampling cannot lock to the load.
//!
//! Why a third: METRICS.md says ± 10 %, and with that a strictly periodic load stays locked for tens of seconds, because the
//! steps add up to one period of the load in a random walk only. Simulated were 20,000 windows each of 20 s at 10 Hz over loads of 5 to
//! 25 W. For each: the error of the energy in percent (root mean square), and the largest as a share of the stated bound, of
//! which none may be above 1:
//!
//! ```text
//! load                                           ± 10 %       ± 25 %       ± 33 %       ± 50 %   anywhere in its slot
//! square, 2 Hz, half of it high                 4.6  0.8     2.2  0.5     1.9  0.4     1.9  0.4     2.1  0.4
//! square, 1.25 Hz, a fifth of it high           4.7  0.7     2.7  0.4     2.6  0.4     2.6  0.4     2.7  0.5
//! square, 2.5 Hz, a fifth of it high            6.2  1.7     3.4  0.6     3.4  0.7     4.0  0.7     4.4  0.8
//! square, 3.33 Hz, half of it high              7.6  1.0     3.4  0.6     2.8  0.4     2.3  0.4     2.7  0.5
//! square, 5 Hz, a fifth of it high             18.1  inf     7.8  1.4     6.3  1.2     5.4  1.0     5.8  0.9
//! square, 0.5 to 2.5 Hz by chance               1.5  0.7     1.5  0.5     1.5  0.4     1.7  0.4     1.8  0.4
//! requests of 0.2 to 0.6 s, of three powers     1.0  0.6     1.0  0.6     1.0  0.6     1.1  0.6     1.2  0.7
//! requests of 0.5 to 1.5 s, of three powers     0.6  0.4     0.6  0.4     0.6  0.5     0.7  0.5     0.7  0.5
//! ```
//!
//! So a third takes the lock away and costs next to nothing where requests differ in length. To place each reading by chance within
//! its own period's slot is no better where it may fall anywhere in it, and never unlocks where it may not: with half a slot
//! the error at 2 Hz is 7.9 %. What changes faster than it is read can be beyond the bound, if seldom (of the windows at 8 Hz
//! one in 800): requests so short are flagged `aliased`.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokwatt_domain::time::Stamp;

/// How often instruments are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cadence {
    /// Mean time from one reading to the next.
    pub period: Duration,
    /// Seed of the jitter: ChaCha8, one stream for each source.
    pub seed: u64,
}

impl Default for Cadence {
    /// 10 Hz.
    fn default() -> Self {
        Self {
            period: Duration::from_millis(100),
            seed: 0,
        }
    }
}

/// The ticks of one source.
pub(super) struct Ticks {
    period_ns: u64,
    chance: ChaCha8Rng,
    due: Stamp,
}

impl Ticks {
    /// The first tick is now.
    pub(super) fn new(cadence: Cadence, source: usize, now: Stamp) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(cadence.seed);
        chance.set_stream(u64::try_from(source).unwrap_or(u64::MAX));
        Self {
            period_ns: Stamp::at(cadence.period).0.max(1),
            chance,
            due: now,
        }
    }

    /// When the next reading is due.
    pub(super) fn due(&self) -> Stamp {
        self.due
    }

    /// Goes on to the first tick after `now`; returns how many ticks were missed meanwhile.
    pub(super) fn advance(&mut self, now: Stamp) -> u64 {
        self.due = Stamp(self.due.0.saturating_add(self.step()));
        let late = now.0.saturating_sub(self.due.0);
        let missed = late / self.period_ns;
        self.due = Stamp(self.due.0.saturating_add(missed * self.period_ns));
        missed
    }

    /// Two to four thirds of a period.
    fn step(&mut self) -> u64 {
        let third = self.period_ns / 3;
        let jitter = self.chance.next_u64() % (2 * third + 1);
        (self.period_ns - third).saturating_add(jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(seed: u64, source: usize) -> Ticks {
        let period = Duration::from_nanos(1000);
        Ticks::new(Cadence { period, seed }, source, Stamp(0))
    }

    fn steps(mut ticks: Ticks) -> Vec<u64> {
        let mut at = 0;
        let mut step = || {
            ticks.advance(Stamp(0));
            let step = ticks.due().0 - at;
            at = ticks.due().0;
            step
        };
        (0..1000).map(|_| step()).collect()
    }

    #[test]
    fn steps_are_a_period_by_and_large_and_use_all_of_the_third_around_it() {
        let steps = steps(ticks(1, 0));
        assert!(steps.iter().all(|step| (667..=1333).contains(step)));
        assert!(steps.iter().any(|step| *step < 700) && steps.iter().any(|step| *step > 1300));
        // The mean of 1,000 is 1,000 ± 6 in one standard deviation.
        assert!((980_000..=1_020_000).contains(&steps.iter().sum::<u64>()));
    }

    #[test]
    fn sources_do_not_tick_together_and_a_seed_repeats_itself() {
        assert_ne!(steps(ticks(1, 0)), steps(ticks(1, 1)));
        assert_eq!(steps(ticks(1, 0)), steps(ticks(1, 0)));
    }

    #[test]
    fn ticks_missed_by_a_slow_reading_are_counted_not_caught_up() {
        let mut ticks = ticks(1, 0);
        let missed = ticks.advance(Stamp(10_500));
        assert_eq!(missed, 9);
        assert!(
            (9_667..=10_333).contains(&ticks.due().0),
            "{:?}",
            ticks.due()
        );
    }
}
