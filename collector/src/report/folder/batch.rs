//! How long 5,000 to 200,000 requests would take: projected from the repetitions of the suite, never measured.

use std::{collections::BTreeMap, time::Duration};

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
    rank::{Key, RankedCell},
};

/// A row for each configuration, the suite's tasks in equal parts; nothing where nobody knows how long a request takes.
pub(super) fn matrix(material: &Material) -> Option<Chart> {
    let mut configurations: BTreeMap<String, Vec<&RankedCell>> = BTreeMap::new();
    let cells = material.drawn();
    let setting = material.setting.as_ref()?;
    for (cell, name) in cells.iter().zip(make::cell_names(&cells, &[Key::Task])) {
        configurations.entry(name).or_default().push(cell);
    }
    let row = |(name, cells): (String, Vec<&RankedCell>)| {
        let stretches = stretches(&cells);
        (!stretches.is_empty()).then(|| (name, SIZES.map(|size| datum(&stretches, size)).into()))
    };
    let rows: Vec<(String, Vec<Datum>)> = configurations.into_iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| Chart {
        name: "batch".to_owned(),
        title: format!("How long a batch would take, projected from {} runs", material.provenance),
        subtitle: vec![
            format!("projected from {} runs: {}; requests of all tasks in equal parts", material.provenance, setting.words()),
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
        notes: vec![
            "a drift, such as a device that warms up, is not in it, nor is loading the model; no interval: fewer than three repetitions".to_owned(),
        ],
    })
}

/// One for each repetition that every task has: its requests, and how long they took at its rate.
fn stretches(cells: &[&RankedCell]) -> Vec<Stretch> {
    let rates: Option<Vec<_>> = cells
        .iter()
        .map(|cell| cell.figure("requests_per_s"))
        .collect();
    let Some(rates) = rates else {
        return Vec::new();
    };
    let n = rates
        .iter()
        .map(|figure| figure.values.len())
        .min()
        .unwrap_or(0);
    let stretch = |repetition: usize| {
        let (mut requests, mut seconds) = (0, 0.0);
        for (cell, rate) in cells.iter().zip(&rates) {
            let each = u64::from(cell.n_requests) / u64::try_from(cell.runs.len()).ok()?.max(1);
            requests += each;
            seconds += each as f64 / rate.values[repetition];
        }
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        (requests > 0).then_some(Stretch { requests, time })
    };
    (0..n).filter_map(stretch).collect()
}

fn datum(stretches: &[Stretch], size: u64) -> Datum {
    let Some(projection) = project(stretches, size) else {
        return Datum::absent();
    };
    let interval = projection
        .interval
        .map(|interval| (interval.low, interval.high));
    Datum {
        value: Value::Number(projection.seconds),
        interval,
        is_blocked: false,
        marks: Vec::new(),
    }
}

/// What the studies ask for.
const SIZES: [u64; 6] = [5_000, 10_000, 50_000, 100_000, 170_000, 200_000];
