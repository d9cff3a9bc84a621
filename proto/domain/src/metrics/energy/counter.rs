//! An energy counter over one window: the difference between its reads, interpolated between observed changes.

use std::time::Duration;

use super::{
    Bound, Point, Seen, Stretch, brackets, clock_doubt, interpolate, range, seconds, straddle,
};
use crate::{
    power::{PowerSample, Sensor},
    time::{Stamp, Window},
    units::Joules,
};

/// E(to) − E(from). A hole between two reads loses nothing: the counter went on counting.
pub(super) fn difference(
    sensor: &Sensor,
    stretch: &Stretch<'_>,
    resolution: Joules,
    refresh: Option<Duration>,
) -> Seen {
    let (window, samples) = *stretch;
    let points = changes(samples);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Seen::default();
    };
    let (from, to) = (window.from.max(first.at), window.to.min(last.at));
    // A counter that stood still was slower than the window: that is no knowledge, not no energy.
    if from >= to || first.value == last.value {
        return Seen::default();
    }
    let powers = powers(&points, from, to);
    let refresh = refresh.map_or_else(|| shortest(&points), |time| time.as_secs_f64());
    Seen {
        joules: value_at(&points, to) - value_at(&points, from),
        covered: to.since(from),
        bound: bound(sensor, &points, window, resolution, refresh, powers),
        interior_squares: 0.0,
        range: powers,
        is_bracketed: brackets(&points, window),
    }
}

/// The reads at which a new value was first seen, and the first and last of all.
fn changes(samples: &[PowerSample]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for (position, sample) in samples.iter().enumerate() {
        let point = Point::of(sample);
        let is_change = points.last().is_none_or(|last| last.value != point.value);
        if is_change || position + 1 == samples.len() {
            points.push(point);
        }
    }
    points
}

fn value_at(points: &[Point], at: Stamp) -> f64 {
    let pair = points
        .windows(2)
        .find(|pair| pair[0].at <= at && at <= pair[1].at);
    pair.map_or(0.0, |pair| interpolate(pair[0], pair[1], at))
}

/// Lowest and highest mean power between changes. The first read may be older than it looks, and after the last change
/// nothing is known: an edge there is uncertain by all of the power, so the lowest is 0 then.
fn powers(points: &[Point], from: Stamp, to: Stamp) -> Option<(f64, f64)> {
    let pairs = points
        .windows(2)
        .filter(|pair| pair[1].at > from && pair[0].at < to);
    let slope = |pair: &[Point]| (pair[1].value - pair[0].value) / seconds(pair[0].at, pair[1].at);
    let (low, high) = range(pairs.map(slope).filter(|power| power.is_finite()))?;
    let is_before_first_change = points.get(1).is_some_and(|first| from < first.at);
    Some((
        if is_before_first_change {
            low.min(0.0)
        } else {
            low
        },
        high,
    ))
}

fn bound(
    sensor: &Sensor,
    points: &[Point],
    window: Window,
    resolution: Joules,
    refresh: f64,
    powers: Option<(f64, f64)>,
) -> Bound {
    let swing = powers.map_or(0.0, |(low, high)| high - low);
    let rails = sensor.rails.len() as f64;
    let resolution = Some(resolution.0).filter(|step| step.is_finite());
    Bound {
        edges: 0.5 * (straddle(points, window.from) + straddle(points, window.to)) * swing,
        counter: 2.0 * refresh * swing + resolution.unwrap_or(0.0) * rails,
        clock: clock_doubt(sensor) * swing,
        ..Bound::default()
    }
}

/// The shortest time between changes, where no refresh is known.
fn shortest(points: &[Point]) -> f64 {
    let gaps = points
        .windows(2)
        .map(|pair| seconds(pair[0].at, pair[1].at));
    gaps.reduce(f64::min).unwrap_or(0.0)
}
