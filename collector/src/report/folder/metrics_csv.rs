//! `metrics.csv`: a line for each cell (device × model × precision × task × …), with every figure that it has.
//!
//! Each metric has columns `ID (UNIT)`, then behind the same id `ci95_low`, `ci95_high`, `n` (repetitions behind it), `ranked` (`no` where flags
//! keep it off the boards), and for those over energy `relative_bound`. Ids are those of the dictionary, with the power scope behind an `@`.
//! Absent figures are empty, a percentile that is a failed request reads `failed`. Text that a spreadsheet would take for a formula has an
//! apostrophe before it.

use std::collections::BTreeMap;

use tokwatt_domain::{
    metrics::dictionary::{definition, definitions},
    power::Provenance,
};

use crate::{
    rank::{CellFigure, Key, RankedCell},
    report::csv::defused,
};

pub(super) fn csv(cells: &[RankedCell], provenance: Provenance) -> String {
    let metrics = metrics(cells);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head(&metrics)).expect(WRITES);
    for cell in cells {
        let line = line(cell, &metrics, provenance)
            .into_iter()
            .map(|field| defused(&field));
        writer.write_record(line).expect(WRITES);
    }
    let bytes = writer.into_inner().expect(WRITES);
    String::from_utf8(bytes).expect("made of text")
}

/// Those that any cell has, in the order of the dictionary.
fn metrics(cells: &[RankedCell]) -> Vec<String> {
    let mut places: BTreeMap<(usize, &str), ()> = BTreeMap::new();
    for metric in cells.iter().flat_map(|cell| cell.figures.keys()) {
        let id = metric.split('@').next().unwrap_or_default();
        let place = definitions()
            .iter()
            .position(|definition| definition.id == id);
        places.insert((place.unwrap_or(usize::MAX), metric), ());
    }
    places
        .into_keys()
        .map(|(_, metric)| metric.to_owned())
        .collect()
}

fn head(metrics: &[String]) -> Vec<String> {
    let keys = Key::ALL.into_iter().map(|key| key.as_str().to_owned());
    let counts = ["provenance", "n_runs", "n_requests", "n_failed", "flags"].map(str::to_owned);
    let mut head: Vec<String> = keys.chain(counts).collect();
    for metric in metrics {
        let unit = definition(metric.split('@').next().unwrap_or_default())
            .map_or("", |definition| definition.unit);
        head.push(match unit {
            "" => metric.clone(),
            unit => format!("{metric} ({unit})"),
        });
        head.extend(sides(metric).iter().map(|side| format!("{metric} {side}")));
    }
    head
}

fn line(cell: &RankedCell, metrics: &[String], provenance: Provenance) -> Vec<String> {
    let keys = Key::ALL.into_iter().map(|key| cell.value(key));
    let flags: Vec<&str> = cell.flags.iter().map(String::as_str).collect();
    let stated = |n: u32| match cell.stated_requests(provenance) {
        Some(_) => n.to_string(),
        None => String::new(),
    };
    let counts = [
        provenance.to_string(),
        cell.runs.len().to_string(),
        stated(cell.n_requests),
        stated(cell.n_failed),
        flags.join("; "),
    ];
    let mut line: Vec<String> = keys.chain(counts).collect();
    for metric in metrics {
        match cell.figure(metric) {
            Some(figure) => line.extend(fields(figure, metric)),
            None => line.extend(std::iter::repeat_n(String::new(), 1 + sides(metric).len())),
        }
    }
    line
}

fn fields(figure: &CellFigure, metric: &str) -> Vec<String> {
    let value = match figure.mean.is_finite() {
        true => figure.mean.to_string(),
        false => "failed".to_owned(),
    };
    let end = |end: Option<f64>| end.map(|end| end.to_string()).unwrap_or_default();
    let ranked = if figure.is_blocked { "no" } else { "yes" };
    let mut fields = vec![
        value,
        end(figure.ci95.map(|(low, _)| low)),
        end(figure.ci95.map(|(_, high)| high)),
        figure.values.len().to_string(),
        ranked.to_owned(),
    ];
    fields.extend(
        metric
            .contains('@')
            .then(|| figure.relative_bound.to_string()),
    );
    fields
}

/// What stands behind each value.
fn sides(metric: &str) -> &'static [&'static str] {
    let sides: &[&str] = &["ci95_low", "ci95_high", "n", "ranked", "relative_bound"];
    if metric.contains('@') {
        sides
    } else {
        &sides[..4]
    }
}

const WRITES: &str = "a text in memory takes lines of one length";
