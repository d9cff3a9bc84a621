//! Spread over repetitions: means, intervals on logarithms, and how many more repetitions would separate two rows.
//!
//! Values are sorted before they are summed, and ln, exp and √ come from one software library: the same values give
//! the same bytes, in any order, on every machine.

/// Quantiles of Student's t.
pub mod student;

/// What can be said of two rows.
pub mod verdict;

/// The same pictures on both sides.
pub mod bootstrap;

/// Several figures as one.
pub mod composite;

use crate::metrics::{Failed, Percentile};
use student::{NORMAL, t_bounds, t_quantile, t_quantile_of};

/// What some values have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many.
    pub n: u32,
    /// Σx / n.
    pub mean: f64,
    /// exp(Σ ln x / n); absent unless all are above 0.
    pub geometric_mean: Option<f64>,
    /// √(Σ(x − mean)² / (n − 1)); absent for a single value.
    pub sd: Option<f64>,
    /// sd / mean; absent for a single value or a mean not above 0.
    pub cv: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// How consistent the requests of a task are, by their coefficient of variation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Band {
    /// Below 20 %.
    Low,
    /// From 20 % to 35 %.
    Moderate,
    /// Above 35 %.
    High,
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The values of one row's repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repetitions<'a> {
    /// One for each.
    pub values: &'a [f64],
    /// How far each may be off for reasons that repetition does not show, as a share of it: an energy's error bound divided by the
    /// energy, the largest of the repetitions; 0 for what is not over energy.
    pub relative_bound: f64,
}

/// One row's repetitions on the logarithms, worked out once where it is compared with many others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSample {
    n: u32,
    mean: f64,
    variance: f64,
    /// −ln(1 − b): by how much an interval is widened for its bound; infinite for a bound of the whole value.
    widening: f64,
}

/// One row's value as a multiple of another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the geometric means.
    pub value: f64,
    /// 95 %.
    pub interval: Interval,
}

impl Band {
    /// The band of a coefficient of variation.
    pub fn of(cv: f64) -> Self {
        match cv {
            cv if cv < 0.20 => Self::Low,
            cv if cv <= 0.35 => Self::Moderate,
            _ => Self::High,
        }
    }

    /// How it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
        }
    }
}

impl Interval {
    /// Whether `value` lies outside.
    pub fn excludes(&self, value: f64) -> bool {
        value < self.low || value > self.high
    }
}

/// What the values have in common; `None` without any, or if one is not finite.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted_finite(values)?;
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let mean = mean(&sorted);
    let sd = variance(&sorted).map(libm::sqrt);
    Some(Spread {
        n: u32::try_from(sorted.len()).ok()?,
        mean,
        geometric_mean: geometric_mean(&sorted),
        sd,
        cv: sd.filter(|_| mean > 0.0).map(|sd| sd / mean),
        min,
        max,
    })
}

/// exp(Σ ln x / n); `None` without values, or if one is not finite or not above 0.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    Some(libm::exp(mean(&logarithms(values)?)))
}

/// Σx / n, the same in any order; `None` without values, or if one is not finite.
pub fn arithmetic_mean(values: &[f64]) -> Option<f64> {
    sorted_finite(values).map(|sorted| mean(&sorted))
}

/// The 95 % interval of the geometric mean: exp(m ± t(0.975, n − 1) · s / √n) over the logarithms' mean m and sample
/// standard deviation s. `None` for fewer than 3 values, or if one is not above 0.
pub fn log_t_interval(values: &[f64]) -> Option<Interval> {
    let repetitions = Repetitions {
        values,
        relative_bound: 0.0,
    };
    LogSample::of(&repetitions).map(|sample| sample.interval())
}

/// How many times `right` is `left`, with Welch's 95 % interval on the logarithms, widened by both bounds:
/// exp(d ± (t(0.975, ν) · √(s₁²/n₁ + s₂²/n₂) + w)), w = −ln(1 − b₁) − ln(1 − b₂), ν after Welch and Satterthwaite.
///
/// `None` for fewer than 3 values on a side, a value not above 0, or a bound of the whole value.
pub fn ratio(left: &Repetitions<'_>, right: &Repetitions<'_>) -> Option<Ratio> {
    LogSample::of(left)?.ratio(&LogSample::of(right)?)
}

/// How many more repetitions *of each* would exclude 1 from the interval of [`ratio`], if their means and spreads stayed: 0 if
/// it is excluded now; `None` if 1,000 would not do, or where there is no interval.
pub fn repetitions_to_separate(left: &Repetitions<'_>, right: &Repetitions<'_>) -> Option<u32> {
    LogSample::of(left)?.repetitions_to_separate(&LogSample::of(right)?)
}

/// The nearest-rank percentile of values sorted upwards, followed by `failures` that count as larger than any value: the one at
/// rank ⌈percent · n / 100⌉. `None` with fewer than the requests it needs: 10 for p90, 20 for p95, 100 for p99, else 1.
pub fn percentile(sorted: &[f64], failures: usize, percent: u32) -> Option<Percentile> {
    let n = sorted.len() + failures;
    if n < requests_needed(percent) {
        return None;
    }
    let rank = (n * usize::try_from(percent).ok()?).div_ceil(100).max(1);
    Some(match sorted.get(rank - 1) {
        Some(value) => Percentile::Value(*value),
        None => Percentile::Failed(Failed::Failed),
    })
}

/// Fewest requests of which a percentile is stated.
pub fn requests_needed(percent: u32) -> usize {
    match percent {
        99.. => 100,
        95.. => 20,
        90.. => 10,
        _ => 1,
    }
}

/// More are not advised to anybody.
const MOST_REPETITIONS: u32 = 1000;

/// More than what rounding does to a half width.
const ROUNDING: f64 = 1e-9;

/// Two samples, and by how much both may be off.
struct Comparison<'a> {
    left: &'a LogSample,
    right: &'a LogSample,
    widening: f64,
}

impl LogSample {
    /// `None` for fewer than 3 values, or if one is not above 0.
    pub fn of(repetitions: &Repetitions<'_>) -> Option<Self> {
        let values = repetitions.values;
        let logarithms = logarithms(values).filter(|logarithms| logarithms.len() >= 3)?;
        Some(Self {
            n: u32::try_from(logarithms.len()).ok()?,
            mean: mean(&logarithms),
            variance: variance(&logarithms)?,
            widening: -libm::log1p(-repetitions.relative_bound),
        })
    }

    /// As [`geometric_mean`].
    pub fn geometric_mean(&self) -> f64 {
        libm::exp(self.mean)
    }

    /// As [`log_t_interval`].
    pub fn interval(&self) -> Interval {
        let half = t_quantile_of(self.n - 1) * self.error();
        exponentials(self.mean, half)
    }

    /// As [`ratio`].
    pub fn ratio(&self, other: &Self) -> Option<Ratio> {
        let comparison = Comparison::of(self, other)?;
        Some(Ratio {
            value: libm::exp(comparison.difference()),
            interval: exponentials(comparison.difference(), comparison.half_width(0)),
        })
    }

    /// Whether the interval of [`ratio`] lies above 1.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.mean > other.mean && Comparison::of(self, other).is_some_and(|own| own.separates(0))
    }

    /// As [`repetitions_to_separate`].
    pub fn repetitions_to_separate(&self, other: &Self) -> Option<u32> {
        let comparison = Comparison::of(self, other)?;
        if !comparison.separates(MOST_REPETITIONS) {
            return None;
        }
        // The half width falls with every repetition.
        let (mut low, mut high) = (0, MOST_REPETITIONS);
        while low < high {
            let middle = low.midpoint(high);
            if comparison.separates(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(high)
    }

    /// Mean of the logarithms.
    pub fn middle(&self) -> f64 {
        self.mean
    }

    /// Standard error of the mean of the logarithms.
    pub fn error(&self) -> f64 {
        libm::sqrt(self.variance / f64::from(self.n))
    }

    /// By how much an interval is widened for how far off its repetitions may be; infinite if nothing is known of it.
    pub fn widening(&self) -> f64 {
        self.widening
    }

    /// A quantile that no comparison with a sample of as many or more repetitions exceeds.
    pub fn quantile(&self) -> f64 {
        t_quantile_of(self.n - 1)
    }

    /// The quantile that every comparison exceeds.
    pub fn least_quantile() -> f64 {
        NORMAL
    }
}

impl<'a> Comparison<'a> {
    fn of(left: &'a LogSample, right: &'a LogSample) -> Option<Self> {
        let widening = left.widening + right.widening;
        widening.is_finite().then_some(Self {
            left,
            right,
            widening,
        })
    }

    fn difference(&self) -> f64 {
        self.left.mean - self.right.mean
    }

    /// Half of the interval's width on the logarithms, if each side had `more` repetitions of the same spread.
    fn half_width(&self, more: u32) -> f64 {
        match self.error(more) {
            None => self.widening,
            Some((error, freedom)) => t_quantile(0.975, freedom) * error + self.widening,
        }
    }

    /// Whether that half width is below the difference. The quantile is long to compute, and seldom needed to all its digits.
    fn separates(&self, more: u32) -> bool {
        let difference = libm::fabs(self.difference());
        let Some((error, freedom)) = self.error(more) else {
            return self.widening < difference;
        };
        let (low, high) = t_bounds(freedom);
        if (low * error + self.widening) * (1.0 - ROUNDING) > difference {
            return false;
        }
        if (high * error + self.widening) * (1.0 + ROUNDING) < difference {
            return true;
        }
        t_quantile(0.975, freedom) * error + self.widening < difference
    }

    /// Standard error of the difference and its degrees of freedom; `None` without any spread.
    fn error(&self, more: u32) -> Option<(f64, f64)> {
        let n = |sample: &LogSample| f64::from(sample.n + more);
        let share = |sample: &LogSample| sample.variance / n(sample);
        let (left, right) = (share(self.left), share(self.right));
        let error = left + right;
        if error <= 0.0 {
            return None;
        }
        let doubt = left * left / (n(self.left) - 1.0) + right * right / (n(self.right) - 1.0);
        Some((libm::sqrt(error), error * error / doubt))
    }
}

fn exponentials(middle: f64, half: f64) -> Interval {
    Interval {
        low: libm::exp(middle - half),
        high: libm::exp(middle + half),
    }
}

fn logarithms(values: &[f64]) -> Option<Vec<f64>> {
    let sorted = sorted_finite(values).filter(|sorted| sorted.iter().all(|value| *value > 0.0))?;
    Some(sorted.into_iter().map(libm::log).collect())
}

fn sorted_finite(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values.len())
}

fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean) * (value - mean));
    Some(squares.sum::<f64>() / count(values.len() - 1))
}

/// Exact below 2⁵³, and nobody has as many values.
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(values: &[f64]) -> Repetitions<'_> {
        Repetitions {
            values,
            relative_bound: 0.0,
        }
    }

    #[track_caller]
    fn check_near(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "{got}, want {want}");
    }

    #[test]
    fn the_study_printed_sample_deviations() {
        // Three rates of Molmo on a photograph, the third from the printed mean: 29.3 ± 5.8 [24.0, 35.5], 20 %.
        let molmo = spread(&[24.0, 28.4, 35.5]).unwrap();
        check_near(molmo.mean, 29.3, 1e-9);
        check_near(molmo.sd.unwrap(), 5.80, 0.005);
        assert_eq!(Band::of(molmo.cv.unwrap()), Band::Low);
        // 2.3 ± 2.3 [0.8, 4.9], printed as 100 %.
        let reasoning = spread(&[0.8, 1.2, 4.9]).unwrap();
        check_near(reasoning.sd.unwrap(), 2.26, 0.005);
        assert_eq!(Band::of(reasoning.cv.unwrap()), Band::High);
    }

    #[test]
    fn bands_begin_where_the_study_put_them() {
        for (cv, want) in [
            (0.0, "low"),
            (0.1999, "low"),
            (0.20, "moderate"),
            (0.35, "moderate"),
            (0.3501, "high"),
        ] {
            assert_eq!(Band::of(cv).as_str(), want, "{cv}");
        }
    }

    #[test]
    fn what_has_no_spread_says_so() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[1.0, f64::NAN]), None);
        let single = spread(&[2.0]).unwrap();
        assert_eq!((single.n, single.sd, single.cv), (1, None, None));
        let zero = spread(&[-1.0, 1.0]).unwrap();
        assert_eq!((zero.cv, zero.geometric_mean), (None, None));
    }

    #[test]
    fn three_values_make_an_interval_and_two_do_not() {
        assert_eq!(log_t_interval(&[1.0, 2.0]), None);
        assert_eq!(log_t_interval(&[1.0, 2.0, 0.0]), None);
        // Logarithms −1, 0, 1: mean 0, sd 1, half width 4.302653/√3.
        let e = std::f64::consts::E;
        let interval = log_t_interval(&[1.0 / e, 1.0, e]).unwrap();
        check_near(
            libm::log(interval.high),
            4.302_652_729_749_464 / 3_f64.sqrt(),
            1e-12,
        );
        check_near(
            libm::log(interval.low),
            -4.302_652_729_749_464 / 3_f64.sqrt(),
            1e-12,
        );
    }

    #[test]
    fn equal_spreads_have_pooled_freedom() {
        // ln: −1, 0, 1 and 1, 2, 3: d = −2, error √(2/3), ν = 4.
        let left: Vec<f64> = [-1.0, 0.0, 1.0].map(libm::exp).to_vec();
        let right: Vec<f64> = [1.0, 2.0, 3.0].map(libm::exp).to_vec();
        let ratio = ratio(&plain(&left), &plain(&right)).unwrap();
        let half = 2.776_445_105_197_794 * libm::sqrt(2.0 / 3.0);
        check_near(libm::log(ratio.value), -2.0, 1e-12);
        check_near(libm::log(ratio.interval.low), -2.0 - half, 1e-12);
        check_near(libm::log(ratio.interval.high), -2.0 + half, 1e-12);
        assert!(!ratio.interval.excludes(1.0));
    }

    #[test]
    fn two_repetitions_are_never_separated() {
        let (left, right) = ([1.0, 1.0], [9.0, 9.0, 9.0]);
        assert_eq!(ratio(&plain(&left), &plain(&right)), None);
        assert_eq!(repetitions_to_separate(&plain(&left), &plain(&right)), None);
    }

    #[test]
    fn a_bound_of_energy_keeps_near_rows_together() {
        let (left, right) = ([1.00, 1.001, 0.999], [1.05, 1.051, 1.049]);
        assert!(
            ratio(&plain(&left), &plain(&right))
                .unwrap()
                .interval
                .excludes(1.0)
        );
        let doubtful = |values| Repetitions {
            values,
            relative_bound: 0.03,
        };
        let widened = ratio(&doubtful(&left), &doubtful(&right)).unwrap();
        assert!(!widened.interval.excludes(1.0), "{widened:?}");
        assert_eq!(
            repetitions_to_separate(&doubtful(&left), &doubtful(&right)),
            None
        );
        let hopeless = Repetitions {
            values: &left,
            relative_bound: 1.0,
        };
        assert_eq!(ratio(&hopeless, &plain(&right)), None);
    }

    #[test]
    fn advice_on_repetitions_is_the_least_that_does() {
        let (left, right) = ([1.0, 1.1, 0.9], [1.1, 1.2, 1.0]);
        let more = repetitions_to_separate(&plain(&left), &plain(&right)).unwrap();
        let samples = [&left, &right].map(|values| LogSample::of(&plain(values)).unwrap());
        let comparison = Comparison::of(&samples[0], &samples[1]).unwrap();
        let separates = |more| comparison.half_width(more) < comparison.difference().abs();
        assert!(
            more > 0 && separates(more) && !separates(more - 1),
            "{more}"
        );
        let far = [9.0, 9.1, 8.9];
        assert_eq!(
            repetitions_to_separate(&plain(&left), &plain(&far)),
            Some(0)
        );
        assert_eq!(repetitions_to_separate(&plain(&left), &plain(&left)), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        for (percent, want) in [(50, 5.0), (90, 9.0), (51, 6.0)] {
            assert_eq!(
                percentile(&values, 0, percent),
                Some(Percentile::Value(want))
            );
        }
        assert_eq!(percentile(&values, 0, 95), None);
        assert_eq!(percentile(&values[..9], 0, 90), None);
        assert_eq!(percentile(&[], 0, 50), None);
    }

    #[test]
    fn a_failure_is_slower_than_anything() {
        let failed = Some(Percentile::Failed(Failed::Failed));
        assert_eq!(percentile(&[1.0], 1, 50), Some(Percentile::Value(1.0)));
        assert_eq!(percentile(&[1.0], 2, 50), failed);
        let values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(percentile(&values, 1, 90), Some(Percentile::Value(9.0)));
        assert_eq!(percentile(&values[..8], 2, 90), failed);
    }

    proptest! {
        #[test]
        fn order_changes_not_one_bit(
            (values, shuffled) in prop::collection::vec(0.001..1000.0_f64, 3..12)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle()))
        ) {
            prop_assert_eq!(spread(&values), spread(&shuffled));
            prop_assert_eq!(log_t_interval(&values), log_t_interval(&shuffled));
            let other = plain(&[1.0, 2.0, 3.0]);
            prop_assert_eq!(ratio(&plain(&values), &other), ratio(&plain(&shuffled), &other));
        }

        #[test]
        fn what_is_decided_by_bounds_is_what_the_quantile_decides(
            left in prop::collection::vec(0.9..1.1_f64, 3..40),
            right in prop::collection::vec(0.9..1.1_f64, 3..9),
            factor in 0.8..1.25_f64,
            more in 0..50_u32,
        ) {
            let right: Vec<f64> = right.iter().map(|value| value * factor).collect();
            let samples = [&left, &right].map(|values| LogSample::of(&plain(values)).unwrap());
            let comparison = Comparison::of(&samples[0], &samples[1]).unwrap();
            let difference = comparison.difference().abs();
            prop_assert_eq!(comparison.separates(more), comparison.half_width(more) < difference);
            let ratio = samples[0].ratio(&samples[1]).unwrap();
            prop_assert_eq!(samples[0].exceeds(&samples[1]), ratio.interval.low > 1.0);
            prop_assert_eq!(samples[1].exceeds(&samples[0]), ratio.interval.high < 1.0);
            let quantile = samples[0].quantile().max(samples[1].quantile());
            prop_assert!(comparison.half_width(0) <= quantile * (samples[0].error() + samples[1].error()));
        }

        #[test]
        fn exchanged_rows_have_the_inverse_ratio(
            left in prop::collection::vec(0.01..100.0_f64, 3..8),
            right in prop::collection::vec(0.01..100.0_f64, 3..8),
        ) {
            let there = ratio(&plain(&left), &plain(&right)).unwrap();
            let back = ratio(&plain(&right), &plain(&left)).unwrap();
            prop_assert!((there.value * back.value - 1.0).abs() < 1e-12);
            prop_assert!((there.interval.low * back.interval.high - 1.0).abs() < 1e-11);
            prop_assert_eq!(there.interval.excludes(1.0), back.interval.excludes(1.0));
        }
    }
}
