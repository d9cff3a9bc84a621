//! What can be said of two rows: which is better, that they cannot be told apart, or why neither can be said.

use serde::{Deserialize, Serialize};

use super::{Interval, Repetitions, ratio, repetitions_to_separate};
use crate::metrics::dictionary::Better;

/// What can be said of two rows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The ratio excludes 1 in favour of the first.
    LeftBetter,
    /// The ratio excludes 1 in favour of the second.
    RightBetter,
    /// The ratio excludes 1, and of this metric neither more nor less is better.
    Different,
    /// 1 lies within the interval.
    Tied,
    /// Fewer than three repetitions on a side: no interval.
    TooFew,
    /// A value is a failed request, not above 0, or as uncertain as it is large.
    NoRatio,
}

/// A verdict with the figures behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The second's value as a multiple of the first's, where both are above 0.
    pub ratio: Option<f64>,
    /// 95 %, as in [`ratio`].
    pub interval: Option<Interval>,
    /// What follows.
    pub verdict: Verdict,
    /// How many more repetitions of each it would take: for an interval, or to tell the two apart if their means and spreads stayed.
    pub more_repetitions: Option<u32>,
}

/// Judges the second row against the first.
pub fn judge(left: &Repetitions<'_>, right: &Repetitions<'_>, better: Better) -> Judgement {
    let undecided = |verdict, more_repetitions| Judgement {
        ratio: ratio_of_means(left.values, right.values),
        interval: None,
        verdict,
        more_repetitions,
    };
    let fewest = left.values.len().min(right.values.len());
    let lacking = REPETITIONS_LEAST.saturating_sub(fewest);
    match ratio(right, left) {
        None if lacking > 0 => undecided(Verdict::TooFew, u32::try_from(lacking).ok()),
        None => undecided(Verdict::NoRatio, None),
        Some(ratio) => {
            let verdict = verdict(&ratio.interval, better);
            let more = repetitions_to_separate(left, right).filter(|_| verdict == Verdict::Tied);
            Judgement {
                ratio: Some(ratio.value),
                interval: Some(ratio.interval),
                verdict,
                more_repetitions: more,
            }
        }
    }
}

fn verdict(interval: &Interval, better: Better) -> Verdict {
    if !interval.excludes(1.0) {
        return Verdict::Tied;
    }
    match (better, interval.low > 1.0) {
        (Better::Neither, _) => Verdict::Different,
        (Better::Higher, true) | (Better::Lower, false) => Verdict::RightBetter,
        (Better::Higher, false) | (Better::Lower, true) => Verdict::LeftBetter,
    }
}

fn ratio_of_means(left: &[f64], right: &[f64]) -> Option<f64> {
    Some(super::geometric_mean(right)? / super::geometric_mean(left)?)
}

/// Fewer have no interval.
pub const REPETITIONS_LEAST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &[f64], right: &[f64], better: Better, want: Verdict) -> Judgement {
        let plain = |values| Repetitions {
            values,
            relative_bound: 0.0,
        };
        let judgement = judge(&plain(left), &plain(right), better);
        assert_eq!(judgement.verdict, want, "{judgement:?}");
        judgement
    }

    #[test]
    fn the_better_one_depends_on_which_way_is_better() {
        let (slow, fast) = ([1.00, 1.01, 0.99], [1.27, 1.28, 1.26]);
        let judgement = check(&slow, &fast, Better::Higher, Verdict::RightBetter);
        assert!((judgement.ratio.unwrap() - 1.27).abs() < 0.001);
        assert_eq!(judgement.more_repetitions, None);
        check(&fast, &slow, Better::Higher, Verdict::LeftBetter);
        check(&slow, &fast, Better::Lower, Verdict::LeftBetter);
        check(&slow, &fast, Better::Neither, Verdict::Different);
    }

    #[test]
    fn a_tie_says_what_it_would_take() {
        let judgement = check(
            &[1.0, 1.1, 0.9],
            &[1.1, 1.2, 1.0],
            Better::Higher,
            Verdict::Tied,
        );
        assert!(judgement.more_repetitions.unwrap() > 0);
        let same = [1.0, 1.0, 1.0];
        let judgement = check(&same, &same, Better::Higher, Verdict::Tied);
        assert_eq!(
            (judgement.ratio, judgement.more_repetitions),
            (Some(1.0), None)
        );
    }

    #[test]
    fn what_has_no_interval_says_why() {
        let judgement = check(&[1.0], &[2.0, 2.0, 2.0], Better::Higher, Verdict::TooFew);
        assert_eq!(
            (judgement.ratio, judgement.more_repetitions),
            (Some(2.0), Some(2))
        );
        let failed = [1.0, f64::INFINITY, 1.0];
        let judgement = check(&failed, &[2.0; 3], Better::Lower, Verdict::NoRatio);
        assert_eq!(judgement.ratio, None);
    }
}
