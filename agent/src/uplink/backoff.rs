//! How long to wait before the next try: twice as long each time, with full jitter, 60 s at most.

use std::time::Duration;

/// Waits that grow.
pub struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// Starts short.
    pub fn new() -> Self {
        Self::default()
    }

    /// A wait drawn from zero to the ceiling, which then doubles.
    pub fn next_wait(&mut self) -> Duration {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("the kernel has random bytes");
        let share = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
        let wait = self.ceiling.mul_f64(share);
        self.ceiling = (self.ceiling * 2).min(LONGEST_CEILING);
        wait
    }

    /// It worked: the next failure starts short again.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            ceiling: SHORTEST_CEILING,
        }
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
}
