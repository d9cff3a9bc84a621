//! When to read next: every period, a third of it earlier or later by chance, so that sampling cannot lock to the load.
//!
//! Why a third: METRICS.md says ± 10 %, and with that a strictly periodic load stays locked for tens of seconds, because the
//! steps add up to one period of the load in a random walk only. Simulated were 20,000 windows each of 20 and of 60 s at 10 Hz over loads
//! between 5 and 25 W; the share whose energy was off by more than the stated bound (4σ) was, in percent, the worse of the two:
//!
//! ```text
//! load                                       ± 10 %   ± 25 %   ± 33 %   ± 50 %   one in each period's slot
//! square, 0.5 to 2.5 Hz by chance              0.35     0.02     0.00     0.00     0.00
//! square, 2 Hz, half of it high               11.79     0.04     0.01     0.00     0.00
//! square, 1.25 Hz, a fifth of it high          3.83     0.03     0.00     0.00     0.01
//! square, 2.5 Hz, a fifth of it high           5.38     0.14     0.10     0.26     0.61
//! square, 3.33 Hz, half of it high            22.93     0.44     0.04     0.00     0.02
//! square, 5 Hz, half of it high                0.00     0.01     0.01     0.12     3.61
//! requests of 0.2 to 0.6 s, of three powers    0.10     0.11     0.14     0.27     0.33
//! requests of 0.5 to 1.5 s, of three powers    0.00     0.00     0.01     0.01     0.01
//! ```
//!
//! Placing each reading by chance within its own period's slot sounds better and is not, unless it may fall anywhere in it: with
//! half a slot 65 % of the windows at 2 Hz are outside. What changes faster than it is read is beyond the bound (8 Hz: 16 % are
//! outside): requests so short are flagged `aliased`. Where requests differ in length, the error itself is about a twentieth
//! larger than with ± 10 %.

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
