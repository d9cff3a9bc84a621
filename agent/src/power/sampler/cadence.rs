//! When to read next: every period, ± 10 % by chance, so that sampling cannot lock to the load.

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

    /// 0.9 to 1.1 periods.
    fn step(&mut self) -> u64 {
        let spread = self.period_ns / 5;
        let jitter = self.chance.next_u64() % (spread + 1);
        (self.period_ns - spread / 2).saturating_add(jitter)
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
    fn steps_are_a_period_by_and_large_and_within_a_tenth() {
        let steps = steps(ticks(1, 0));
        assert!(steps.iter().all(|step| (900..=1100).contains(step)));
        assert!((990_000..=1_010_000).contains(&steps.iter().sum::<u64>()));
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
        assert!((9..=9).contains(&missed), "{missed}");
        assert!(
            (9_900..=10_500).contains(&ticks.due().0),
            "{:?}",
            ticks.due()
        );
    }
}
