//! When requests come that wait for nobody: a schedule that a suite, a rate and a repetition bring back exactly.

use std::time::Duration;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tokwatt_domain::{ids::Digest, workload::Arrivals};

/// Decides when each request of a run is due.
///
/// Poisson: the interval before the n-th request is −ln(u)/rate, with u the n-th number of ChaCha8 whose key is the suite's digest,
/// which covers its seed, and whose stream is the repetition. So devices and models are offered the same arrivals, repetitions others,
/// and a run that is resumed goes on with those that it would have had.
pub struct Schedule {
    /// Rate in requests per 1,000 s.
    pub per_1000_s: u32,
    /// At which intervals.
    pub arrivals: Arrivals,
    /// Of the suite.
    pub digest: Digest,
    /// Which repetition.
    pub repetition: u32,
}

impl Schedule {
    /// When requests `first`, `first` + 1, … are due after the first of them.
    pub fn offsets(&self, first: usize) -> impl Iterator<Item = Duration> + use<> {
        let rate = self.per_1000_s.max(1);
        let arrivals = self.arrivals;
        let mut chance = ChaCha8Rng::from_seed(self.digest.0);
        chance.set_stream(u64::from(self.repetition));
        // Two words for each, and the first one's interval lies before it.
        chance.set_word_pos(2 * (first as u128 + 1));
        let mut seconds = 0.0;
        (0_u64..).map(move |nth| match arrivals {
            Arrivals::Constant => even(nth, rate),
            Arrivals::Poisson => {
                let offset = Duration::from_secs_f64(seconds);
                seconds += -libm::log(unit(chance.next_u64())) * 1000.0 / f64::from(rate);
                offset
            }
        })
    }
}

/// The n-th of evenly spaced ones, without an error that adds up.
fn even(nth: u64, per_1000_s: u32) -> Duration {
    let nanoseconds = u128::from(nth) * 1_000_000_000_000 / u128::from(per_1000_s);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Above 0 and below 1.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(arrivals: Arrivals, repetition: u32) -> Schedule {
        Schedule {
            per_1000_s: 3000,
            arrivals,
            digest: Digest([7; 32]),
            repetition,
        }
    }

    fn intervals(schedule: &Schedule, first: usize, count: usize) -> Vec<f64> {
        let offsets: Vec<Duration> = schedule.offsets(first).take(count + 1).collect();
        assert_eq!(offsets[0], Duration::ZERO);
        let pairs = offsets.windows(2);
        pairs
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect()
    }

    #[test]
    fn even_ones_do_not_drift() {
        let even = schedule(Arrivals::Constant, 1);
        assert_eq!(even.offsets(0).nth(3), Some(Duration::from_secs(1)));
        let last = even.offsets(17).nth(300_000);
        assert_eq!(last, Some(Duration::from_secs(100_000)));
    }

    #[test]
    fn random_ones_have_the_rate_and_the_spread_of_a_poisson_process() {
        let intervals = intervals(&schedule(Arrivals::Poisson, 1), 0, 20_000);
        let n = intervals.len() as f64;
        let mean = intervals.iter().sum::<f64>() / n;
        assert!((mean * 3.0 - 1.0).abs() < 0.03, "{mean}");
        let squares: f64 = intervals.iter().map(|one| (one - mean).powi(2)).sum();
        let sd = (squares / n).sqrt();
        assert!((sd / mean - 1.0).abs() < 0.05, "{sd}");
        // Of an exponential distribution e⁻¹ lies above its mean.
        let long = intervals.iter().filter(|one| **one > mean).count() as f64 / n;
        assert!((long - 0.3679).abs() < 0.02, "{long}");
    }

    #[test]
    fn a_schedule_is_the_same_again_and_goes_on_where_it_was_left() {
        let random = schedule(Arrivals::Poisson, 1);
        let all = intervals(&random, 0, 50);
        assert_eq!(all, intervals(&schedule(Arrivals::Poisson, 1), 0, 50));
        let rest = intervals(&random, 30, 20);
        let is_near = |(one, other): (&f64, &f64)| (one - other).abs() < 2e-9;
        assert!(all[30..].iter().zip(&rest).all(is_near), "{rest:?}");
        assert_ne!(all, intervals(&schedule(Arrivals::Poisson, 2), 0, 50));
    }
}
