//! What a device drew while a run went on, one picture for each instrument and scope: scopes are never drawn on one axis.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use tokwatt_domain::{
    power::{PowerTrace, Reading, Scope},
    run::RunTrace,
    time::{Stamp, Window},
};

use super::{
    names::{name, plain},
    page::scrolling,
};
use crate::{
    chart::{self, Axis, Chart, Datum, Drawing, Lines, Series},
    report,
};

/// An instrument's view of one scope over a whole run.
struct View<'a> {
    traces: Vec<&'a PowerTrace>,
    /// When, in s from the first window's start, and W.
    readings: Vec<(f64, f64)>,
}

/// Every instrument's view.
pub(super) fn over_time(trace: &RunTrace) -> Markup {
    let views = views(trace);
    if views.is_empty() {
        return html! { p { "No instrument was read." } };
    }
    let windows = windows(trace);
    html! {
        @for ((source, scope), view) in &views {
            @if view.readings.len() > 1 { (drawn(&picture(source, *scope, view, &windows))) }
        }
        (table(&views))
    }
}

/// A picture in a page, with its numbers nearby.
pub(super) fn drawn(picture: &Chart) -> Markup {
    html! { div.chart role="region" aria-label=(plain(&picture.title)) tabindex="0" { (PreEscaped(chart::svg(picture))) } }
}

fn views(trace: &RunTrace) -> BTreeMap<(String, Scope), View<'_>> {
    let begin = begin(trace);
    let mut views = BTreeMap::new();
    for power in trace.segments.iter().flat_map(|segment| &segment.power) {
        let key = (power.sensor.source.clone(), power.sensor.scope);
        let view: &mut View<'_> = views.entry(key).or_insert_with(|| View {
            traces: Vec::new(),
            readings: Vec::new(),
        });
        view.traces.push(power);
        view.readings.extend(readings(power, begin));
    }
    views
}

fn picture(source: &str, scope: Scope, view: &View<'_>, windows: &[(String, f64, f64)]) -> Chart {
    let provenance = view.traces.iter().map(|trace| trace.sensor.provenance);
    let points = thinned(&view.readings);
    let mut notes = Vec::new();
    if points.len() < view.readings.len() {
        notes.push(format!(
            "each point is the mean of up to {} readings; the raw ones are in trace.jsonl",
            view.readings.len().div_ceil(POINTS_MAX)
        ));
    }
    let datum = |(at, watts)| (at, Datum::number(watts));
    Chart {
        name: format!("power-{}-{scope}", plain(source)),
        title: format!("Power at {scope}, by {}", plain(source)),
        subtitle: vec!["shaded: the windows that the figures are of".to_owned()],
        provenance: provenance
            .max()
            .unwrap_or(tokwatt_domain::power::Provenance::Estimated),
        drawing: Drawing::Lines(Lines {
            x: Axis::plain("time since the first window began", "s"),
            y: Axis::plain("power", "W"),
            is_doubling: false,
            has_markers: false,
            series: vec![Series {
                name: scope.to_string(),
                points: points.into_iter().map(datum).collect(),
            }],
            stretches: windows.to_vec(),
        }),
        notes,
    }
}

fn table(views: &BTreeMap<(String, Scope), View<'_>>) -> Markup {
    let dash = || "–".to_owned();
    scrolling(
        "Instruments",
        html! {
            table {
                caption { "Instruments" }
                thead { tr {
                    th scope="col" { "Scope" } th scope="col" { "Instrument" } th scope="col" { "Rails" }
                    th scope="col" { "Figures" } th.number scope="col" { "Readings" }
                    th.number scope="col" { "Least (W)" } th.number scope="col" { "Most (W)" }
                } }
                tbody {
                    @for ((source, scope), view) in views {
                        tr {
                            th scope="row" { (scope) }
                            td { (name(source)) }
                            td {
                                @for rail in view.traces.iter().take(1).flat_map(|trace| &trace.sensor.rails) { (name(&rail.name)) " " }
                            }
                            td { @for trace in view.traces.iter().take(1) { (trace.sensor.provenance) } }
                            td.number { (view.readings.len()) }
                            td.number { (view.extreme(f64::min).map_or_else(dash, report::short)) }
                            td.number { (view.extreme(f64::max).map_or_else(dash, report::short)) }
                        }
                    }
                }
            }
        },
    )
}

impl View<'_> {
    fn extreme(&self, choose: impl Fn(f64, f64) -> f64) -> Option<f64> {
        self.readings.iter().map(|(_, watts)| *watts).reduce(choose)
    }
}

fn windows(trace: &RunTrace) -> Vec<(String, f64, f64)> {
    let begin = begin(trace);
    let window = |window: Window| {
        let [from, to] = [window.from, window.to].map(|at| seconds(begin, at));
        ("window".to_owned(), from, to)
    };
    let segments = trace.segments.iter();
    segments.map(|segment| window(segment.window)).collect()
}

fn begin(trace: &RunTrace) -> Stamp {
    let first = trace.segments.first();
    first.map_or(Stamp(0), |segment| segment.window.from)
}

/// Σ over the rails, of each sample, or between each two where a counter is read.
fn readings(power: &PowerTrace, begin: Stamp) -> Vec<(f64, f64)> {
    let sum = |values: &[i64]| {
        let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
        sum as f64 / 1e6
    };
    let samples = &power.samples;
    match power.sensor.reading {
        Reading::Power => samples
            .iter()
            .map(|sample| (seconds(begin, sample.at), sum(&sample.values)))
            .collect(),
        Reading::Counter { .. } => samples
            .windows(2)
            .filter_map(|pair| {
                let length = pair[1].at.since(pair[0].at).as_secs_f64();
                let joules = sum(&pair[1].values) - sum(&pair[0].values);
                (length > 0.0).then(|| (seconds(begin, pair[1].at), joules / length))
            })
            .collect(),
    }
}

/// Readings lie on both sides of a window: those before it are negative.
fn seconds(begin: Stamp, at: Stamp) -> f64 {
    at.since(begin).as_secs_f64() - begin.since(at).as_secs_f64()
}

/// Means over as few readings as make the picture small enough.
fn thinned(readings: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let several = readings.len().div_ceil(POINTS_MAX).max(1);
    let mean = |readings: &[(f64, f64)]| {
        let n = readings.len() as f64;
        let sum = |of: fn(&(f64, f64)) -> f64| readings.iter().map(of).sum::<f64>();
        (sum(|(at, _)| *at) / n, sum(|(_, watts)| *watts) / n)
    };
    readings.chunks(several).map(mean).collect()
}

/// As many as there are pixels.
const POINTS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_mean() {
        let readings: Vec<(f64, f64)> = (0..1200)
            .map(|n| (f64::from(n), f64::from(n % 2)))
            .collect();
        let thinned = thinned(&readings);
        assert_eq!(thinned.len(), 600);
        assert!(thinned.iter().all(|(_, watts)| *watts == 0.5));
        assert_eq!(super::thinned(&readings[..3]), readings[..3]);
    }

    #[test]
    fn what_was_before_the_window_is_negative() {
        assert_eq!(seconds(Stamp(2_000_000_000), Stamp(500_000_000)), -1.5);
        assert_eq!(seconds(Stamp(500_000_000), Stamp(2_000_000_000)), 1.5);
    }
}
