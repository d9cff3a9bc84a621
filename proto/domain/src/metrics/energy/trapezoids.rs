//! Power readings of one window, joined by straight lines.

use std::time::Duration;

use super::{
    Bound, Point, Seen, Stretch, around, brackets, clock_doubt, interpolate, range, seconds,
    straddle,
};
use crate::{power::Sensor, time::Window};

/// How far apart readings tell of each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Neighbours further apart than this add neither energy nor coverage.
    pub(super) longest_gap: Duration,
    /// A reading may be as old as this; zero where that is not known. To read it more often tells no more.
    pub(super) refresh: Duration,
}

/// Σ ½(P₁ + P₂)·(t₂ − t₁) within the window, edges interpolated.
pub(super) fn integrate(sensor: &Sensor, stretch: &Stretch<'_>, reach: Reach) -> Seen {
    let (window, samples) = *stretch;
    let points: Vec<Point> = samples.iter().map(Point::of).collect();
    let points = around(&points, window);
    let mut seen = Seen {
        range: range(points.iter().map(|point| point.value)),
        is_bracketed: brackets(points, window),
        ..Seen::default()
    };
    for pair in points.windows(2) {
        if pair[1].at.since(pair[0].at) <= reach.longest_gap {
            add(&mut seen, pair[0], pair[1], window, reach.refresh);
        }
    }
    seen.bound = bound(sensor, points, &seen, window, reach);
    seen
}

fn add(seen: &mut Seen, left: Point, right: Point, window: Window, refresh: Duration) {
    let (from, to) = (left.at.max(window.from), right.at.min(window.to));
    if from >= to {
        return;
    }
    let mean = 0.5 * (interpolate(left, right, from) + interpolate(left, right, to));
    seen.joules += mean * seconds(from, to);
    seen.covered += to.since(from);
    let gap = right.at.since(left.at).max(refresh).as_secs_f64();
    let swing = gap * (right.value - left.value);
    seen.interior_squares += swing * swing;
}

/// The terms that belong to one window; those of the whole run are added by the caller.
fn bound(sensor: &Sensor, points: &[Point], seen: &Seen, window: Window, reach: Reach) -> Bound {
    let swing = seen.range.map_or(0.0, |(low, high)| high - low);
    // An edge inside a hole is lost with it, and counted there.
    let known = |gap: f64| {
        if gap <= reach.longest_gap.as_secs_f64() {
            gap.max(reach.refresh.as_secs_f64())
        } else {
            0.0
        }
    };
    let edges = known(straddle(points, window.from)) + known(straddle(points, window.to));
    let quanta = sensor.rails.iter().map(|rail| rail.quantum.0);
    let steps: f64 = quanta.filter(|quantum| quantum.is_finite()).sum();
    Bound {
        edges: 0.5 * edges * swing,
        averaging: sensor.averaging.as_secs_f64() * swing,
        quantisation: 0.5 * window.length().as_secs_f64() * steps,
        clock: clock_doubt(sensor) * swing,
        ..Bound::default()
    }
}
