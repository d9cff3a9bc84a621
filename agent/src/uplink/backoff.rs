//! How long to wait before the next try: twice as long each time, with full jitter, 60 s at most if nothing else is said.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Waits that grow.
#[derive(Clone)]
pub struct Backoff {
    ceiling: Duration,
    longest: Duration,
    chance: ChaCha8Rng,
}

impl Backoff {
    /// Starts short.
    pub fn new() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the kernel has random bytes");
        Self::seeded(u64::from_le_bytes(seed))
    }

    /// The same, with waits that the seed repeats.
    pub fn seeded(seed: u64) -> Self {
        Self {
            ceiling: SHORTEST_CEILING,
            longest: LONGEST_CEILING,
            chance: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// With waits of at most this.
    #[must_use]
    pub fn up_to(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// A wait drawn from zero to the ceiling, which then doubles.
    pub fn next_wait(&mut self) -> Duration {
        let share = f64::from(self.chance.next_u32()) / f64::from(u32::MAX);
        let wait = self.ceiling.mul_f64(share);
        self.ceiling = (self.ceiling * 2).min(self.longest);
        wait
    }

    /// It worked: the next failure starts short again.
    pub fn reset(&mut self) {
        self.ceiling = SHORTEST_CEILING;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

const SHORTEST_CEILING: Duration = Duration::from_secs(1);
const LONGEST_CEILING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_minute_and_start_below_a_second() {
        let mut backoff = Backoff::new();
        assert!(backoff.next_wait() <= SHORTEST_CEILING);
        let longest = (0..200).map(|_| backoff.next_wait()).max();
        assert!(longest <= Some(LONGEST_CEILING) && longest > Some(Duration::from_secs(5)));
        backoff.reset();
        assert!(backoff.next_wait() <= SHORTEST_CEILING);
    }

    #[test]
    fn waits_stay_below_what_was_said_and_a_seed_repeats_them() {
        let longest = Duration::from_secs(20);
        let waits = |seed| {
            let mut backoff = Backoff::seeded(seed).up_to(longest);
            std::array::from_fn::<_, 200, _>(|_| backoff.next_wait())
        };
        let most = waits(1).into_iter().max();
        assert!(most <= Some(longest) && most > Some(longest / 2));
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
