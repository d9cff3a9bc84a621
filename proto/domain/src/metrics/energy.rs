//! Energy over a run's windows for one sensor, how much of them was seen, and how far sampling may have led it astray.
//!
//! E is what was seen, divided by the part of W that was seen: a hole is reported as coverage lost, and nothing is guessed
//! about its power beyond that the mean goes on.

/// Power readings: trapezoids.
mod trapezoids;

/// Energy counters: differences.
mod counter;

/// How often a sensor has something new.
mod refresh;

use std::{collections::BTreeMap, time::Duration};

use self::trapezoids::Reach;
use crate::{
    metrics::RefreshSource,
    power::{PowerSample, Reading, Sensor},
    time::{Stamp, Window},
    units::Joules,
};

/// Energy of one sensor over W, the sum of the windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Energy {
    /// E; absent if nothing was seen.
    pub joules: Option<Joules>,
    /// How far sampling may have led it astray. It is about sampling, not about the sensor's truth.
    pub bound: Bound,
    /// Part of W that was seen, 0 to 1: between readings no further apart than three median periods.
    pub coverage: f64,
    /// Whether samples lie on both sides of every window.
    pub is_bracketed: bool,
    /// Median time between neighbouring samples.
    pub period: Option<Duration>,
    /// Shortest time after which a new value appeared: the driver's word, else measured, else unknown.
    pub refresh: Option<Refresh>,
    /// Samples within W.
    pub samples: u32,
    /// Longest time between neighbours that touch a window.
    pub largest_gap: Option<Duration>,
}

/// How often a sensor has something new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refresh {
    /// The time from one value to the next.
    pub time: Duration,
    /// Who says so.
    pub source: RefreshSource,
}

/// The terms of the error bound, in J. R is the range of power over a window and its two bracketing samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// ½(g₀ + g₁)·R, g the time between the samples around each edge, 0 for a sample on the edge, and not less than the sensor's
    /// refresh where that is known.
    pub edges: f64,
    /// T·R for a sensor that reports a trailing mean over T.
    pub averaging: f64,
    /// ½·W·Σq over the rails' smallest steps q.
    pub quantisation: f64,
    /// 4·√(Σ(g·ΔP)²/2) over neighbouring samples, g not less than the refresh, for a reading may be as old as that: what
    /// happened between them, four standard deviations of it by successive differences. Holds where the terms are independent: jitter of the sampling sees to it, or requests of different lengths.
    ///
    /// Why ½ and not the 1/12 of a single step at an unknown place between two samples: a prompt is read faster than a sample is
    /// taken, and of such a pulse of share p of the gap, seen with chance p, the variance is p(1−p)·(g·ΔP)², which 1/12 understates
    /// six times. Of 2,665 simulated energies 26 were outside with 1/12.
    pub interior: f64,
    /// (time lost) · (largest distance from the mean power to its extremes), which is ½·gap·R where the mean lies midway: the lost
    /// time was given the mean.
    pub gaps: f64,
    /// For a counter: refresh·R for each edge, and its resolution.
    pub counter: f64,
    /// u·R for a sensor whose own clock is off by up to u: its window may lie so much earlier or later than ours.
    pub clock: f64,
}

/// A window and the samples around it.
pub(crate) type Stretch<'a> = (Window, &'a [PowerSample]);

/// What was seen of one window.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    joules: f64,
    covered: Duration,
    bound: Bound,
    /// Σ(g·ΔP)²: roots are taken over the run.
    interior_squares: f64,
    /// Lowest and highest power.
    range: Option<(f64, f64)>,
    is_bracketed: bool,
}

impl Bound {
    /// All of them together: they may add up.
    pub fn total(&self) -> Joules {
        Joules(self.named().iter().map(|(_, joules)| joules).sum())
    }

    /// By name.
    pub fn terms(&self) -> BTreeMap<String, f64> {
        let owned = |(name, joules): (&str, f64)| (name.to_owned(), joules);
        self.named().into_iter().map(owned).collect()
    }

    fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("edges", self.edges),
            ("averaging", self.averaging),
            ("quantisation", self.quantisation),
            ("interior", self.interior),
            ("gaps", self.gaps),
            ("counter", self.counter),
            ("clock", self.clock),
        ]
    }
}

/// Integrates a sensor over its stretches: windows, each with its samples sorted by time.
///
/// A window whose samples are missing counts as not seen.
pub fn energy(sensor: &Sensor, stretches: &[(Window, &[PowerSample])]) -> Energy {
    let period = median_gap(stretches);
    let refresh = refresh(sensor, stretches, period);
    let time = refresh.map(|refresh| refresh.time);
    let reach = Reach {
        longest_gap: 3 * period.unwrap_or_default(),
        refresh: time.unwrap_or_default(),
    };
    let seen: Vec<Seen> = stretches
        .iter()
        .map(|stretch| match sensor.reading {
            Reading::Power => trapezoids::integrate(sensor, stretch, reach),
            Reading::Counter { resolution } => {
                counter::difference(sensor, stretch, resolution, time)
            }
        })
        .collect();
    let length: Duration = stretches.iter().map(|(window, _)| window.length()).sum();
    let covered: Duration = seen.iter().map(|seen| seen.covered).sum();
    Energy {
        joules: whole_energy(&seen, covered, length),
        bound: whole_bound(&seen, covered, length),
        coverage: share(covered, length),
        is_bracketed: !seen.is_empty() && seen.iter().all(|seen| seen.is_bracketed),
        period,
        refresh,
        samples: samples_within(stretches),
        largest_gap: gaps(stretches, touches).max(),
    }
}

fn refresh(
    sensor: &Sensor,
    stretches: &[Stretch<'_>],
    period: Option<Duration>,
) -> Option<Refresh> {
    if let Some(time) = sensor.refresh {
        let source = RefreshSource::Driver;
        return Some(Refresh { time, source });
    }
    let time = refresh::shortest_repeatable(stretches, period?)?;
    let source = RefreshSource::Measured;
    Some(Refresh { time, source })
}

/// How far the sensor's clock may be off, in s.
fn clock_doubt(sensor: &Sensor) -> f64 {
    let doubt = sensor.clock.and_then(|clock| clock.uncertainty);
    doubt.unwrap_or_default().as_secs_f64()
}

fn whole_energy(seen: &[Seen], covered: Duration, length: Duration) -> Option<Joules> {
    let joules: f64 = seen.iter().map(|seen| seen.joules).sum();
    let coverage = share(covered, length);
    (coverage > 0.0).then(|| Joules(joules / coverage))
}

fn whole_bound(seen: &[Seen], covered: Duration, length: Duration) -> Bound {
    let sum = |term: fn(&Bound) -> f64| seen.iter().map(|seen| term(&seen.bound)).sum::<f64>();
    let squares: f64 = seen.iter().map(|seen| seen.interior_squares).sum();
    Bound {
        edges: sum(|bound| bound.edges),
        averaging: sum(|bound| bound.averaging),
        quantisation: sum(|bound| bound.quantisation),
        interior: 4.0 * libm::sqrt(squares / 2.0),
        gaps: gap_bound(seen, covered, length),
        counter: sum(|bound| bound.counter),
        clock: sum(|bound| bound.clock),
    }
}

fn gap_bound(seen: &[Seen], covered: Duration, length: Duration) -> f64 {
    if covered.is_zero() {
        return 0.0;
    }
    let joules: f64 = seen.iter().map(|seen| seen.joules).sum();
    let mean = joules / covered.as_secs_f64();
    let farthest = seen
        .iter()
        .filter_map(|seen| seen.range)
        .map(|(low, high)| (mean - low).max(high - mean))
        .fold(0.0, f64::max);
    length.saturating_sub(covered).as_secs_f64() * farthest
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / whole.as_secs_f64()
}

fn samples_within(stretches: &[Stretch<'_>]) -> u32 {
    let within = |(window, samples): &Stretch<'_>| {
        let is_within = |sample: &&PowerSample| (window.from..=window.to).contains(&sample.at);
        samples.iter().filter(is_within).count()
    };
    let samples: usize = stretches.iter().map(within).sum();
    u32::try_from(samples).unwrap_or(u32::MAX)
}

fn median_gap(stretches: &[Stretch<'_>]) -> Option<Duration> {
    let mut gaps: Vec<Duration> = gaps(stretches, |_, _, _| true).collect();
    gaps.sort();
    gaps.get(gaps.len().saturating_sub(1) / 2).copied()
}

fn gaps<'a>(
    stretches: &'a [Stretch<'a>],
    counts: fn(&Window, Stamp, Stamp) -> bool,
) -> impl Iterator<Item = Duration> + 'a {
    stretches.iter().flat_map(move |(window, samples)| {
        let pairs = samples.windows(2).map(|pair| (pair[0].at, pair[1].at));
        pairs
            .filter(move |(earlier, later)| counts(window, *earlier, *later))
            .map(|(earlier, later)| later.since(earlier))
    })
}

fn touches(window: &Window, earlier: Stamp, later: Stamp) -> bool {
    later > window.from && earlier < window.to
}

/// Energy or power at an instant.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Stamp,
    value: f64,
}

impl Point {
    /// Σ over the rails, from millionths.
    fn of(sample: &PowerSample) -> Self {
        let millionths: i128 = sample.values.iter().map(|value| i128::from(*value)).sum();
        Self {
            at: sample.at,
            value: millionths as f64 / 1e6,
        }
    }
}

/// Seconds from one stamp to a later one.
fn seconds(from: Stamp, to: Stamp) -> f64 {
    to.since(from).as_secs_f64()
}

/// On the straight line from `left` to `right`.
fn interpolate(left: Point, right: Point, at: Stamp) -> f64 {
    let whole = seconds(left.at, right.at);
    if whole == 0.0 {
        return right.value;
    }
    left.value + (right.value - left.value) * (seconds(left.at, at) / whole)
}

/// The time between the points around an edge; 0 for a point on it.
fn straddle(points: &[Point], edge: Stamp) -> f64 {
    points
        .windows(2)
        .find(|pair| pair[0].at < edge && edge < pair[1].at)
        .map_or(0.0, |pair| seconds(pair[0].at, pair[1].at))
}

/// From the last point at or before the window to the first at or after it.
fn around(points: &[Point], window: Window) -> &[Point] {
    let first = points.partition_point(|point| point.at <= window.from);
    let last = points.partition_point(|point| point.at < window.to);
    let start = first.saturating_sub(1);
    points
        .get(start..(last + 1).min(points.len()))
        .unwrap_or(&[])
}

fn brackets(points: &[Point], window: Window) -> bool {
    let has_before = points.first().is_some_and(|point| point.at <= window.from);
    has_before && points.last().is_some_and(|point| point.at >= window.to)
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

#[cfg(test)]
mod tests;
