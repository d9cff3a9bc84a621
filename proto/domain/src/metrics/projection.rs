//! How long so many requests would take, from how long others took: projected, never measured, and never stored as a result.
//!
//! The time per request differs from stretch to stretch; its logarithms are taken for normal and independent. The mean is Σt/Σn, and
//! with k stretches of which the logarithms have sample standard deviation s, what lies ahead as M stretches of the mean size is within
//! a factor exp(± t(0.975, k − 1) · s · √(1/k + 1/M)) of it in 95 of 100 cases. A drift, such as a device that warms up, is not in it.

use std::time::Duration;

use super::spread::{Interval, geometric_mean, spread, student::t_quantile};

/// Requests that were asked in one go, with everything around them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stretch {
    /// So many; at least 1.
    pub requests: u64,
    /// They took so long.
    pub time: Duration,
}

/// How long something would take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// At the mean rate so far.
    pub seconds: f64,
    /// 95 %; absent with fewer than three stretches.
    pub interval: Option<Interval>,
}

/// How much of something there would be, in the unit of what it was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// At the mean of the repetitions.
    pub value: f64,
    /// 95 %; absent with fewer than three repetitions.
    pub interval: Option<Interval>,
}

/// How long so many further requests would take; nothing if none were asked yet.
pub fn project(stretches: &[Stretch], requests: u64) -> Option<Projection> {
    let asked: u64 = stretches.iter().map(|stretch| stretch.requests).sum();
    let time: Duration = stretches.iter().map(|stretch| stretch.time).sum();
    if asked == 0 {
        return None;
    }
    let (asked, requests) = (asked as f64, requests as f64);
    let seconds = time.as_secs_f64() / asked * requests;
    let size = asked / stretches.len() as f64;
    let per_request: Vec<f64> = stretches
        .iter()
        .map(|stretch| stretch.time.as_secs_f64() / stretch.requests as f64)
        .collect();
    let factor = factor(&per_request, (requests / size).max(1.0));
    Some(Projection {
        seconds,
        interval: factor.map(|factor| Interval {
            low: seconds / factor,
            high: seconds * factor,
        }),
    })
}

/// How much time or energy so many requests would take, from what a request took in repetitions of `requests_each`: the geometric mean,
/// each repetition as uncertain as a stretch of that size. Nothing without a repetition, or where one took nothing.
pub fn project_repetitions(
    per_request: &[f64],
    requests_each: f64,
    requests: f64,
) -> Option<Prediction> {
    let mean = geometric_mean(per_request)?;
    let whole = mean * requests;
    let factor = factor(per_request, (requests / requests_each).max(1.0));
    Some(Prediction {
        value: whole,
        interval: factor.map(|factor| Interval {
            low: whole / factor,
            high: whole * factor,
        }),
    })
}

/// How many times more or less it may be, for so many stretches ahead.
fn factor(per_request: &[f64], ahead: f64) -> Option<f64> {
    let logarithms: Vec<f64> = per_request
        .iter()
        .copied()
        .filter(|time| *time > 0.0)
        .map(libm::log)
        .collect();
    let n = logarithms.len();
    if n < 3 {
        return None;
    }
    let deviation = spread(&logarithms)?.sd?;
    let n = n as f64;
    let width = libm::sqrt(1.0 / n + 1.0 / ahead);
    Some(libm::exp(t_quantile(0.975, n - 1.0) * deviation * width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretches(times: &[(u64, f64)]) -> Vec<Stretch> {
        let stretch = |(requests, seconds): &(u64, f64)| Stretch {
            requests: *requests,
            time: Duration::from_secs_f64(*seconds),
        };
        times.iter().map(stretch).collect()
    }

    #[test]
    fn the_rest_takes_what_the_mean_request_took() {
        let two = stretches(&[(100, 10.0), (300, 70.0)]);
        let rest = project(&two, 1000).unwrap();
        assert!((rest.seconds - 200.0).abs() < 1e-9);
        assert_eq!(rest.interval, None, "two say nothing about their spread");
        assert_eq!(project(&[], 1000), None);
        assert_eq!(project(&two, 0).unwrap().seconds, 0.0);
    }

    #[test]
    fn equal_stretches_leave_no_doubt() {
        let rest = project(&stretches(&[(10, 5.0); 4]), 20).unwrap();
        let interval = rest.interval.unwrap();
        assert!((rest.seconds - 10.0).abs() < 1e-9);
        assert!((interval.high - interval.low).abs() < 1e-9);
    }

    #[test]
    fn the_interval_is_the_closed_form() {
        // Logarithms of the times per request: −ln 2, 0, ln 2, so s = ln 2; t(0.975, 2) = 4.302653.
        let three = stretches(&[(10, 5.0), (10, 10.0), (10, 20.0)]);
        let rest = project(&three, 60).unwrap();
        assert!((rest.seconds - 70.0).abs() < 1e-9);
        let factor = 2.0_f64.powf(4.302_652_729_9 * (1.0_f64 / 3.0 + 1.0 / 6.0).sqrt());
        let interval = rest.interval.unwrap();
        assert!(
            (interval.high / (70.0 * factor) - 1.0).abs() < 1e-9,
            "{interval:?}"
        );
        assert!(
            (interval.low * factor / 70.0 - 1.0).abs() < 1e-9,
            "{interval:?}"
        );
    }

    #[test]
    fn repetitions_are_stretches_of_the_same_size() {
        // Logarithms −ln 2, 0, ln 2 again, of 10 requests each, 60 ahead.
        let projection = project_repetitions(&[0.5, 1.0, 2.0], 10.0, 60.0).unwrap();
        assert!((projection.value - 60.0).abs() < 1e-9);
        let factor = 2.0_f64.powf(4.302_652_729_9 * (1.0_f64 / 3.0 + 1.0 / 6.0).sqrt());
        let interval = projection.interval.unwrap();
        assert!((interval.high / (60.0 * factor) - 1.0).abs() < 1e-9);
        let two = project_repetitions(&[0.5, 1.0], 10.0, 60.0).unwrap();
        assert_eq!(two.interval, None);
        assert_eq!(project_repetitions(&[], 10.0, 60.0), None);
        assert_eq!(project_repetitions(&[0.0, 1.0, 1.0], 10.0, 60.0), None);
    }

    #[test]
    fn less_than_a_stretch_ahead_is_as_doubtful_as_one() {
        let three = stretches(&[(10, 5.0), (10, 10.0), (10, 20.0)]);
        let ratio = |requests| {
            let rest = project(&three, requests).unwrap();
            rest.interval.unwrap().high / rest.seconds
        };
        assert!((ratio(1) - ratio(10)).abs() < 1e-9);
        assert!(ratio(1000) < ratio(10));
    }
}
