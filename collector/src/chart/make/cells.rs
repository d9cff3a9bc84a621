//! Cells as bars by task, curves over concurrency, and scatters of speed and quality.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{metrics::spread::Band, power::Provenance};

use super::{axis, naming};
use crate::{
    chart::{Axis, Bars, Chart, Datum, Drawing, Group, Lines, Panel, Scatter, Series, Value},
    rank::{CellFigure, Key, RankedCell},
};

/// A metric of every cell, under a heading for each task; nothing if no cell has it.
pub fn by_task(
    name: &str,
    title: &str,
    cells: &[&RankedCell],
    metric: &str,
    provenance: Provenance,
) -> Option<Chart> {
    let names = names(cells, &[Key::Task]);
    let mut tasks: BTreeMap<String, Vec<(String, Datum)>> = BTreeMap::new();
    for (cell, name) in cells.iter().zip(names) {
        if let Some(figure) = cell.figure(metric) {
            let mut datum = datum(figure);
            if metric == "cv_requests" {
                let band = Band::of(figure.mean);
                datum.marks.insert(0, format!("{} spread", band.as_str()));
            }
            tasks
                .entry(cell.value(Key::Task))
                .or_default()
                .push((name, datum));
        }
    }
    if tasks.is_empty() {
        return None;
    }
    let groups = tasks.into_iter().map(|(name, rows)| Group { name, rows });
    Some(Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: vec![common(cells, &[Key::Task])],
        provenance,
        drawing: Drawing::Bars(Bars {
            axis: axis(metric),
            groups: groups.collect(),
        }),
        notes: vec![
            "whiskers and brackets: 95 % interval over repetitions; hatched: shown and not ranked"
                .to_owned(),
        ],
    })
}

/// Tokens per second over requests at once, a line for each configuration and size of pictures; one chart for each task and model of
/// which more than one concurrency was measured.
pub fn by_concurrency(
    (name, title): (&str, &str),
    cells: &[RankedCell],
    metric: &str,
    provenance: Provenance,
) -> Vec<Chart> {
    let mut charts: BTreeMap<[String; 4], Vec<(&RankedCell, u32)>> = BTreeMap::new();
    for cell in cells {
        // Another tool's file that states none has 0.
        let concurrency = cell.cell.identity.load.concurrency();
        if let Some(concurrency) = concurrency.filter(|own| *own > 0) {
            let key =
                [Key::Suite, Key::SuiteDigest, Key::Task, Key::Model].map(|key| cell.value(key));
            charts.entry(key).or_default().push((cell, concurrency));
        }
    }
    let is_sweep = |points: &Vec<(&RankedCell, u32)>| {
        let loads: BTreeSet<u32> = points.iter().map(|(_, load)| *load).collect();
        loads.len() > 1
    };
    let charts = charts.into_iter().filter(|(_, points)| is_sweep(points));
    charts
        .filter_map(|([_, _, task, model], points)| {
            let title = format!("{title} over requests at once: {task}, {model}");
            curve(
                &format!("{name}-{model}-{task}"),
                &title,
                &points,
                metric,
                provenance,
            )
        })
        .collect()
}

fn curve(
    name: &str,
    title: &str,
    points: &[(&RankedCell, u32)],
    metric: &str,
    provenance: Provenance,
) -> Option<Chart> {
    let cells: Vec<&RankedCell> = points.iter().map(|(cell, _)| *cell).collect();
    let mut lines: BTreeMap<String, Vec<(u32, Datum)>> = BTreeMap::new();
    for ((cell, load), name) in points.iter().zip(names(&cells, &[Key::Load])) {
        if let Some(figure) = cell.figure(metric) {
            lines.entry(name).or_default().push((*load, datum(figure)));
        }
    }
    lines.retain(|_, points| points.len() > 1);
    if lines.is_empty() {
        return None;
    }
    let series = lines.into_iter().map(|(name, mut points)| {
        points.sort_by_key(|(load, _)| *load);
        let points = points
            .into_iter()
            .map(|(load, datum)| (f64::from(load), datum));
        Series {
            name,
            points: points.collect(),
        }
    });
    Some(Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: vec![common(&cells, &[Key::Load])],
        provenance,
        drawing: Drawing::Lines(Lines {
            x: Axis::plain("requests at once, closed loop", ""),
            y: axis(metric),
            is_doubling: true,
            has_markers: true,
            series: series.collect(),
            stretches: Vec::new(),
        }),
        notes: vec![
            "bars: 95 % interval over repetitions; ringed: shown and not ranked".to_owned(),
        ],
    })
}

/// Latency against quality, a panel for each task whose answers are scored.
pub fn speed_and_quality(
    name: &str,
    title: &str,
    cells: &[&RankedCell],
    provenance: Provenance,
) -> Option<Chart> {
    let mut tasks: BTreeMap<String, Vec<&RankedCell>> = BTreeMap::new();
    for cell in cells {
        tasks.entry(cell.value(Key::Task)).or_default().push(cell);
    }
    let panels: Vec<Panel> = tasks
        .iter()
        .filter_map(|(task, cells)| panel(task, cells))
        .collect();
    if panels.is_empty() {
        return None;
    }
    Some(Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        subtitle: vec![common(cells, &[Key::Task])],
        provenance,
        drawing: Drawing::Panels(panels),
        notes: vec![
            "quality is the share of known truth that answers state; each task has its own score"
                .to_owned(),
        ],
    })
}

fn panel(task: &str, cells: &[&RankedCell]) -> Option<Panel> {
    let has = |id: &&str| cells.iter().any(|cell| cell.figure(id).is_some());
    let quality = QUALITY.into_iter().find(has)?;
    let names = names(cells, &[Key::Task]);
    let dot = |(cell, name): (&&RankedCell, String)| {
        let datum = |id: &str| cell.figure(id).map_or_else(Datum::absent, datum);
        (name, [datum(LATENCY), datum(quality)])
    };
    Some(Panel {
        title: task.to_owned(),
        drawing: Drawing::Scatter(Scatter {
            x: axis(LATENCY),
            y: axis(quality),
            dots: cells.iter().zip(names).map(dot).collect(),
        }),
    })
}

/// Short names that tell cells apart, without the keys that stand elsewhere.
pub fn names(cells: &[&RankedCell], without: &[Key]) -> Vec<String> {
    naming::names(&values(cells, without))
}

/// What all cells have in common, in words.
pub fn common(cells: &[&RankedCell], without: &[Key]) -> String {
    let shown = [
        Key::Suite,
        Key::Task,
        Key::ImagePx,
        Key::Model,
        Key::Precision,
        Key::Device,
        Key::Load,
        Key::CachePolicy,
        Key::MaxTokens,
        Key::Sampling,
        Key::PowerMode,
    ];
    let single = |key: Key| {
        let values: BTreeSet<String> = cells.iter().map(|cell| cell.value(key)).collect();
        let value = values
            .first()
            .filter(|value| values.len() == 1 && *value != "none")?;
        let word = naming::word(key, value);
        Some(match key {
            Key::Suite => format!("suite {word}"),
            Key::CachePolicy => format!("{word} cache"),
            Key::MaxTokens => format!("at most {word} tokens"),
            Key::PowerMode => format!("power mode {word}"),
            _ => word,
        })
    };
    let keys = shown.into_iter().filter(|key| !without.contains(key));
    keys.filter_map(single).collect::<Vec<_>>().join(", ")
}

fn values(cells: &[&RankedCell], without: &[Key]) -> Vec<naming::Values> {
    let keys = Key::ALL.into_iter().filter(|key| !without.contains(key));
    let keys: Vec<Key> = keys.collect();
    let of = |cell: &&RankedCell| keys.iter().map(|key| (*key, cell.value(*key))).collect();
    cells.iter().map(of).collect()
}

fn datum(figure: &CellFigure) -> Datum {
    let few = figure.ci95.is_none().then(|| match figure.values.len() {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    });
    let flags = figure.flags.iter().filter(|_| figure.is_blocked).cloned();
    Datum {
        value: match figure.mean.is_finite() {
            true => Value::Number(figure.mean),
            false => Value::Failed,
        },
        interval: figure.ci95,
        is_blocked: figure.is_blocked,
        marks: flags.chain(few).collect(),
    }
}

const LATENCY: &str = "request_latency";

/// One score for each kind of task: how much of the truth is said.
const QUALITY: [&str; 9] = [
    "caption_true_facts",
    "counts_f1",
    "attributes_f1",
    "spatial_true",
    "scene_true_facts",
    "direct_exact",
    "number_right",
    "facts_named",
    "json_values",
];

#[cfg(test)]
mod tests {
    use tokwatt_domain::metrics::dictionary::{Better, definition};

    use super::QUALITY;

    #[test]
    fn of_every_score_the_higher_is_the_better() {
        for id in QUALITY {
            assert_eq!(definition(id).unwrap().better, Better::Higher, "{id}");
        }
    }
}
