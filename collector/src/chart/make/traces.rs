//! Traces as box plots of single requests, and as power over time.

use tokwatt_domain::{
    metrics::latency::request_latency,
    power::{PowerTrace, Provenance, Reading, Scope},
    run::{RunTrace, Segment},
    time::Stamp,
};

use super::scope_in_words;
use crate::chart::{
    Axis, Boxes, Chart, Datum, Drawing, Group, Lines, Quartiles, Series, make::axis,
};

/// Latencies of requests, in s, of one or more runs of a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Of those that succeeded.
    pub seconds: Vec<f64>,
    /// How many more failed.
    pub n_failed: usize,
    /// From so many runs.
    pub n_runs: usize,
}

impl Latencies {
    /// Adds the requests of a run.
    pub fn add(&mut self, trace: &RunTrace) {
        let requests = trace.segments.iter().flat_map(|segment| &segment.requests);
        for request in requests {
            if request.outcome.is_success() {
                self.seconds.push(request_latency(request).as_secs_f64());
            } else {
                self.n_failed += 1;
            }
        }
        self.n_runs += 1;
    }
}

/// Box plots under headings; what has no single success is left out of the picture and named in the notes.
pub fn latencies(
    name: &str,
    title: &str,
    groups: &[Group<Latencies>],
    (subtitle, provenance): (&str, Provenance),
) -> Option<Chart> {
    let mut notes = vec![
        "box: the middle half of the requests, with the median, those that failed ranked as slower than any; whiskers: up to one and a half boxes from it; rings: beyond"
            .to_owned(),
    ];
    let mut boxes = Vec::new();
    for group in groups {
        let mut rows = Vec::new();
        for (name, latencies) in &group.rows {
            match Quartiles::of(&latencies.seconds, latencies.n_failed) {
                Some(quartiles) => rows.push((name.clone(), quartiles)),
                None => notes.push(format!(
                    "{} {name}: all {} requests failed",
                    group.name, latencies.n_failed
                )),
            }
        }
        if !rows.is_empty() {
            boxes.push(Group {
                name: group.name.clone(),
                rows,
            });
        }
    }
    (!boxes.is_empty()).then(|| Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: vec![subtitle.to_owned()],
        provenance,
        drawing: Drawing::Boxes(Boxes {
            axis: axis("request_latency"),
            groups: boxes,
        }),
        notes,
    })
}

/// Power over the time of a run, each sensor of the scope a line, its measured windows shaded; nothing without a reading.
pub fn power(trace: &RunTrace, scope: Scope) -> Option<Chart> {
    let start = trace.segments.first()?.window.from;
    let mut series: Vec<Series> = Vec::new();
    let mut provenance = trace.header.requests_provenance;
    for (segment, power) in sensors(trace, scope) {
        provenance = provenance.weaker(power.sensor.provenance);
        let rails: Vec<&str> = power
            .sensor
            .rails
            .iter()
            .map(|rail| rail.name.as_str())
            .collect();
        let name = format!("{} ({})", power.sensor.source, rails.join(" + "));
        let points = watts(segment, power, start);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.extend(points),
            None => series.push(Series { name, points }),
        }
    }
    series.retain(|series| !series.points.is_empty());
    if series.is_empty() {
        return None;
    }
    let window = |(number, segment): (usize, &Segment)| {
        let name = if number == 0 { "measured window" } else { "" };
        (
            name.to_owned(),
            seconds(segment.window.from, start),
            seconds(segment.window.to, start),
        )
    };
    let header = &trace.header;
    let sensors: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    Some(Chart {
        name: format!("power-{}-{scope}-{}", header.device, header.run),
        title: format!(
            "Power over a run: {}, {}",
            header.device,
            header.cell.label()
        ),
        subtitle: vec![
            format!("power scope {scope}: {}", scope_in_words(scope)),
            format!("sensor {}", sensors.join("; ")),
            format!("model {}, run {}", header.cell.identity.model, header.run),
        ],
        provenance,
        drawing: Drawing::Lines(Lines {
            x: Axis::plain("time since the window began", "s"),
            y: Axis::plain("power", "W"),
            is_doubling: false,
            has_markers: false,
            series,
            stretches: trace.segments.iter().enumerate().map(window).collect(),
        }),
        notes: Vec::new(),
    })
}

fn sensors(trace: &RunTrace, scope: Scope) -> impl Iterator<Item = (&Segment, &PowerTrace)> {
    let sensors = trace
        .segments
        .iter()
        .flat_map(|segment| segment.power.iter().map(move |power| (segment, power)));
    sensors.filter(move |(_, power)| power.sensor.scope == scope)
}

/// The sum of a sensor's rails; a counter's from one reading to the next.
fn watts(segment: &Segment, power: &PowerTrace, start: Stamp) -> Vec<(f64, Datum)> {
    let sum = |values: &[i64]| values.iter().sum::<i64>() as f64 / 1e6;
    // The sample before the window may lie long before it.
    let is_near = |at: Stamp| {
        at.after(MARGIN) >= segment.window.from && at <= segment.window.to.after(MARGIN)
    };
    match power.sensor.reading {
        Reading::Power => {
            let samples = power.samples.iter().filter(|sample| is_near(sample.at));
            samples
                .map(|sample| {
                    (
                        seconds(sample.at, start),
                        Datum::number(sum(&sample.values)),
                    )
                })
                .collect()
        }
        Reading::Counter { .. } => {
            let pairs = power.samples.windows(2).filter(|pair| is_near(pair[1].at));
            pairs
                .map(|pair| {
                    let joules = sum(&pair[1].values) - sum(&pair[0].values);
                    let length = pair[1].at.since(pair[0].at).as_secs_f64();
                    (seconds(pair[1].at, start), Datum::number(joules / length))
                })
                .collect()
        }
    }
}

fn seconds(at: Stamp, start: Stamp) -> f64 {
    at.since(start).as_secs_f64() - start.since(at).as_secs_f64()
}

/// What is shown around the window.
const MARGIN: std::time::Duration = std::time::Duration::from_secs(10);
