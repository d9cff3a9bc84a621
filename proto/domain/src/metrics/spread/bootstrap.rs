//! An interval by drawing again: how two rows compare on the very same pictures.
//!
//! What differs between pictures cancels, since each is asked on both sides; what differs between repetitions is not in it. It says
//! what other pictures of this kind would have shown, within the repetitions that there are.

use super::{Interval, Ratio};

/// What a picture cost on the one side and on the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The mean of its requests on the one side.
    pub left: f64,
    /// The mean of its requests on the other.
    pub right: f64,
}

/// How many times the left sides' sum is that of the right ones, with the range of 95 in 100 samples of as many pairs, drawn with
/// replacement: the values at ranks ⌈0.025·n⌉ and ⌈0.975·n⌉.
///
/// `draw(n)` is a number below n; the same numbers give the same interval. `None` for fewer pairs than [`PAIRS_LEAST`], or where a figure
/// is not above 0.
pub fn paired_ratio(
    pairs: &[Pair],
    resamples: usize,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<Ratio> {
    let is_positive = |value: f64| value.is_finite() && value > 0.0;
    let is_usable = |pair: &Pair| is_positive(pair.left) && is_positive(pair.right);
    if pairs.len() < PAIRS_LEAST || resamples == 0 || !pairs.iter().all(is_usable) {
        return None;
    }
    let mut drawn: Vec<f64> = (0..resamples)
        .map(|_| ratio_of_sums((0..pairs.len()).map(|_| pairs[draw(pairs.len())])))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at_rank = |thousandths: usize| drawn[(resamples * thousandths).div_ceil(1000).max(1) - 1];
    Some(Ratio {
        value: ratio_of_sums(pairs.iter().copied()),
        interval: Interval {
            low: at_rank(25),
            high: at_rank(975),
        },
    })
}

fn ratio_of_sums(pairs: impl Iterator<Item = Pair>) -> f64 {
    let (left, right) = pairs.fold((0.0, 0.0), |(left, right), pair| {
        (left + pair.left, right + pair.right)
    });
    left / right
}

/// Fewer pictures say nothing about others.
pub const PAIRS_LEAST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers by a plain multiplicative generator, enough for a test.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state: u64 = 1;
        move |n| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from((state >> 33) % n as u64).unwrap()
        }
    }

    fn pairs(n: u32, right: impl Fn(f64) -> f64) -> Vec<Pair> {
        (1..=n)
            .map(|left| Pair {
                left: f64::from(left),
                right: right(f64::from(left)),
            })
            .collect()
    }

    #[test]
    fn what_differs_between_pictures_cancels() {
        // Pictures from 1 s to 50 s, each twice as fast on the right: no picture is in doubt.
        let ratio = paired_ratio(&pairs(50, |left| left / 2.0), 1000, numbers()).unwrap();
        assert_eq!(ratio.value, 2.0);
        assert_eq!((ratio.interval.low, ratio.interval.high), (2.0, 2.0));
    }

    #[test]
    fn pictures_that_disagree_leave_doubt() {
        let right = |left: f64| {
            if left % 2.0 == 0.0 {
                left * 2.0
            } else {
                left / 2.0
            }
        };
        let ratio = paired_ratio(&pairs(20, right), 1000, numbers()).unwrap();
        assert!(!ratio.interval.excludes(1.0), "{ratio:?}");
        assert!(ratio.interval.low < ratio.value && ratio.value < ratio.interval.high);
    }

    #[test]
    fn the_interval_is_that_of_the_mean_for_many_pictures() {
        // Right sides are 1; left ones alternate 0.9 and 1.1: the mean of 400 has a standard error of 0.1/20.
        let alternate: Vec<Pair> = (0..400)
            .map(|n| Pair {
                left: if n % 2 == 0 { 0.9 } else { 1.1 },
                right: 1.0,
            })
            .collect();
        let ratio = paired_ratio(&alternate, 4000, numbers()).unwrap();
        let half = 1.96 * 0.1 / 20.0;
        assert!(
            (ratio.interval.high - 1.0 - half).abs() < 0.001,
            "{ratio:?}"
        );
        assert!((1.0 - ratio.interval.low - half).abs() < 0.001, "{ratio:?}");
    }

    #[test]
    fn few_pictures_and_times_that_are_none_have_no_interval() {
        assert_eq!(paired_ratio(&pairs(9, |left| left), 1000, numbers()), None);
        let mut with_zero = pairs(10, |left| left);
        assert!(paired_ratio(&with_zero, 1000, numbers()).is_some());
        with_zero[3].right = 0.0;
        assert_eq!(paired_ratio(&with_zero, 1000, numbers()), None);
    }
}
