//! How long 5,000 to 200,000 requests would take: projected from the repetitions of the suite, never measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokwatt_domain::{
    metrics::{
        dictionary::Better,
        projection::{Stretch, project},
    },
    power::Provenance,
};

use super::Material;
use crate::{
    chart::{Axis, Chart, Datum, Drawing, HeatMap, Value, make},
    rank::{CellFigure, Key, RankedCell},
};

/// A row for each configuration that has every task, the tasks in equal parts; nothing where nobody knows how long a request takes.
pub(super) fn matrix(material: &Material) -> Option<Chart> {
    let mut configurations: BTreeMap<String, Vec<&RankedCell>> = BTreeMap::new();
    let cells = material.drawn();
    let setting = material.setting.as_ref()?;
    for (cell, name) in cells.iter().zip(make::cell_names(&cells, &[Key::Task])) {
        configurations.entry(name).or_default().push(cell);
    }
    let tasks = |cells: &[&RankedCell]| -> BTreeSet<String> {
        cells.iter().map(|cell| cell.value(Key::Task)).collect()
    };
    let all = tasks(&cells);
    let mut notes = vec![
        "a drift, such as a device that warms up, is not in it, nor is loading the model; no interval: fewer than three repetitions".to_owned(),
    ];
    let mut rows: Vec<(String, Vec<Datum>)> = Vec::new();
    for (name, cells) in configurations {
        let own = tasks(&cells);
        let missing: Vec<&str> = all.difference(&own).map(String::as_str).collect();
        if !missing.is_empty() {
            notes.push(format!(
                "{name} is left out: it has no run of {}",
                missing.join(", ")
            ));
            continue;
        }
        let stretches = stretches(&cells);
        let is_blocked = cells
            .iter()
            .filter_map(|cell| cell.figure(RATE))
            .any(|rate| rate.is_blocked);
        if stretches.is_empty() {
            notes.push(format!(
                "{name} is left out: no repetition has a `{RATE}` for every task"
            ));
        } else {
            let row = SIZES.map(|size| datum(&stretches, size, is_blocked));
            rows.push((name, row.into()));
        }
    }
    (!rows.is_empty()).then(|| Chart {
        name: "batch".to_owned(),
        title: format!(
            "How long a batch would take, projected from {} runs",
            material.provenance
        ),
        subtitle: vec![
            format!(
                "projected from {} runs: {}; requests of all tasks in equal parts",
                material.provenance,
                setting.words()
            ),
            "in each cell the time at the mean rate, and its 95 % interval below".to_owned(),
        ],
        provenance: material.provenance.weaker(Provenance::Estimated),
        drawing: Drawing::HeatMap(HeatMap {
            axis: Axis {
                label: "time".to_owned(),
                unit: "s".to_owned(),
                better: Better::Lower,
            },
            keys: ["configuration".to_owned(), "requests".to_owned()],
            columns: SIZES.map(|size| format!("{}K", size / 1000)).into(),
            rows,
        }),
        notes,
    })
}

/// One for each repetition that every task has: its requests, and how long they took at its rate.
fn stretches(cells: &[&RankedCell]) -> Vec<Stretch> {
    let rates: Option<Vec<&CellFigure>> = cells.iter().map(|cell| cell.figure(RATE)).collect();
    let Some(rates) = rates else {
        return Vec::new();
    };
    let stretch = |position: &(u32, usize)| {
        let (mut requests, mut seconds) = (0, 0.0);
        for (cell, rate) in cells.iter().zip(&rates) {
            let each = u64::from(cell.n_requests) / u64::try_from(cell.runs.len()).ok()?.max(1);
            requests += each;
            seconds += each as f64 / rate.at(*position)?;
        }
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        (requests > 0).then_some(Stretch { requests, time })
    };
    let positions = CellFigure::shared_positions(&rates);
    positions.iter().filter_map(stretch).collect()
}

fn datum(stretches: &[Stretch], size: u64, is_blocked: bool) -> Datum {
    let Some(projection) = project(stretches, size) else {
        return Datum::absent();
    };
    let interval = projection
        .interval
        .map(|interval| (interval.low, interval.high));
    Datum {
        value: Value::Number(projection.seconds),
        interval,
        is_blocked,
        marks: Vec::new(),
    }
}

/// How fast requests are answered.
const RATE: &str = "requests_per_s";

/// What the studies ask for.
const SIZES: [u64; 6] = [5_000, 10_000, 50_000, 100_000, 170_000, 200_000];
