//! Rows as studies published them, one a line: what is shipped (`import published`), and what somebody writes down in the same form.
//!
//! A study's mean is taken for a mean, never for the median by which latencies are ranked. A doubt that is noted about a row stays with its
//! run as a flag. What a study estimated is of provenance `estimated`.

use std::collections::BTreeMap;

use tokwatt_domain::{metrics::dictionary::definition, power::Provenance};

use super::{
    ForeignError, Placed, Readings, date,
    node::Node,
    reading::{Reading, Value, closed},
};

pub(super) fn recognises(node: &Node) -> bool {
    ["row", "metric", "value", "unit", "kind"]
        .iter()
        .all(|key| node.get(key).is_some())
}

/// A run for everything that was published of one model under the same circumstances.
///
/// # Errors
/// There are more than are read.
pub(super) fn read(documents: &[Placed], readings: &mut Readings<'_>) -> Result<(), ForeignError> {
    let mut order: Vec<Vec<Option<&str>>> = Vec::new();
    let mut by_circumstances: BTreeMap<Vec<Option<&str>>, Reading> = BTreeMap::new();
    for document in documents {
        let key: Vec<Option<&str>> = circumstances(&document.node);
        let reading = by_circumstances.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            reading(document)
        });
        add(reading, &document.node);
    }
    let mut found = order.iter().filter_map(|key| by_circumstances.remove(key));
    found.try_for_each(|reading| readings.push(reading))
}

fn circumstances(node: &Node) -> Vec<Option<&str>> {
    let study = text(node, "row").map(study);
    let estimated = text(node, "kind").filter(|kind| *kind == "estimated");
    let keys = [
        "device",
        "engine",
        "model",
        "precision",
        "task",
        "conditions",
    ];
    let said = keys.iter().map(|key| text(node, key));
    [study, estimated].into_iter().chain(said).collect()
}

fn reading(document: &Placed) -> Reading {
    let node = &document.node;
    let row = text(node, "row").unwrap_or_default();
    let mut reading = Reading::new(format!("{}, `{row}` and what goes with it", document.place));
    let owned = |key| text(node, key).map(str::to_owned);
    reading.device = owned("device");
    reading.model = owned("model");
    reading.precision = text(node, "precision").map(str::to_lowercase);
    reading.engine = owned("engine");
    reading.task = text(node, "task").unwrap_or("not stated").to_owned();
    // A date without a day is none.
    let started = text(node, "date").and_then(|date| date::iso(&format!("{date}T00:00")));
    reading.started = started;
    reading.asked("study", Some(study(row)));
    reading.asked("task", text(node, "task"));
    let conditions = text(node, "conditions").unwrap_or_default();
    let in_flight = conditions.strip_prefix("concurrency ");
    reading.load = closed(in_flight.and_then(|number| number.parse().ok()));
    if in_flight.is_none() {
        reading.asked("conditions", text(node, "conditions"));
    }
    if text(node, "kind") == Some("estimated") {
        reading.provenance = Provenance::Estimated;
    }
    reading.note(
        "published",
        format!("as study `{}` published it, not measured here", study(row)),
    );
    reading
}

fn add(reading: &mut Reading, node: &Node) {
    let (Some(metric), Some(value)) = (text(node, "metric"), node.get("value")) else {
        return;
    };
    let Some(value) = value.number() else {
        return;
    };
    let unit = text(node, "unit").unwrap_or_default();
    let note = text(node, "note");
    if let Some(note) = note {
        reading.note("doubt", format!("{metric}: {note}"));
    }
    match (id(metric, note), si(unit)) {
        (Id::Window, _) => reading.window_s = Some(value).filter(|window| *window > 0.0),
        (Id::Known(id), Some((si, factor))) if is_unit_of(&id, si) => {
            let value = Value {
                id,
                value: value * factor,
                unit: si.to_owned(),
                source: metric.to_owned(),
                source_unit: unit.to_owned(),
                remark: None,
            };
            put(reading, value);
        }
        (Id::Known(id), _) => {
            let reason = format!("`{metric}` is in `{unit}`, which is no unit of it here");
            reading.reasons.insert(id, reason);
            reading.put_foreign(TOOL, metric, value, unit);
        }
        _ => reading.put_foreign(TOOL, metric.trim_start_matches("foreign."), value, unit),
    }
    for statistic in ["sd", "min", "max"] {
        if let Some(value) = node.get(statistic).and_then(Node::number) {
            reading.put_foreign(TOOL, &format!("{metric}.{statistic}"), value, unit);
        }
    }
}

/// The definition's own unit.
fn is_unit_of(id: &str, unit: &str) -> bool {
    let id = id.split('@').next().unwrap_or(id);
    let id = id.strip_suffix(".mean").unwrap_or(id);
    definition(id).is_ok_and(|definition| definition.unit == unit)
}

/// One value of each definition: a second that says something else is a contradiction.
fn put(reading: &mut Reading, value: Value) {
    let is_never_zero = !["share", "1/s", "1/min"].contains(&value.unit.as_str());
    let number = value.value;
    if !number.is_finite() || number < 0.0 || (number == 0.0 && is_never_zero) {
        let reason = format!("`{}` is {number}, which nobody measures", value.source);
        reading.reasons.insert(value.id, reason);
        return;
    }
    match reading.value(&value.id) {
        None => reading.values.push(value),
        Some(first) if first == number => {}
        Some(first) => reading.block(
            "source_contradicts",
            format!(
                "{} is {first} and {number} under the same circumstances: the first stands",
                value.source
            ),
        ),
    }
}

/// What a published metric is here.
#[derive(Debug, Eq, PartialEq)]
enum Id {
    Known(String),
    /// How long the batch took, which is no figure of its own.
    Window,
    Unknown,
}

fn id(metric: &str, note: Option<&str>) -> Id {
    let known = |id: &str| Id::Known(id.to_owned());
    match (metric, note) {
        ("window", _) => Id::Window,
        ("cv", _) => known("cv_requests"),
        ("memory_peak" | "memory_mean", Some(note)) => {
            let scope = note
                .strip_prefix("scope ")
                .map(|note| note.split([',', ' ']).next().unwrap_or_default());
            let id = format!("{metric}.{}", scope.unwrap_or_default());
            match definition(&id) {
                Ok(_) => Id::Known(id),
                Err(_) => Id::Unknown,
            }
        }
        // Of one figure nobody said of what it is, so that it is no median.
        ("ttft" | "ntpot" | "request_latency" | "output_chars", _) => {
            Id::Known(format!("{metric}.mean"))
        }
        ("load_time", None) => known("load_time.cold"),
        _ => {
            let (plain, scope) = metric.split_once('@').unwrap_or((metric, ""));
            let has_scope = scope.parse::<tokwatt_domain::power::Scope>().is_ok();
            match definition(plain) {
                Ok(found) if found.needs_scope == has_scope => known(metric),
                _ => Id::Unknown,
            }
        }
    }
}

/// Ours, and how many of it one is.
fn si(unit: &str) -> Option<(&'static str, f64)> {
    Some(match unit {
        "tok/s" => ("tok/s", 1.0),
        "s" => ("s", 1.0),
        "1" => ("share", 1.0),
        "GB" => ("B", 1e9),
        "1/min" => ("1/min", 1.0),
        "tok/s/W" => ("tok/J", 1.0),
        "J/tok" => ("J/tok", 1.0),
        "chars" => ("", 1.0),
        _ => return None,
    })
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key).and_then(Node::text)
}

/// `molmo-gemma` of `molmo-gemma/molmo.plot`.
fn study(row: &str) -> &str {
    row.split_once('/').map_or(row, |(study, _)| study)
}

const TOOL: &str = "published";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::foreign::{Tool, readings};

    #[test]
    fn what_is_shipped_is_read_whole_and_estimates_stay_estimates() {
        let rows = include_str!("../../published/rows.jsonl");
        let (tool, readings, notes) = readings(rows.as_bytes()).unwrap();
        assert_eq!((tool, notes.len()), (Tool::Published, 0));
        let values = readings.iter().flat_map(|reading| &reading.values);
        let is_spread = |value: &&Value| {
            let mut ends = [".sd", ".min", ".max"].iter();
            ends.any(|end| value.id.ends_with(end))
        };
        let windows = readings.iter().filter(|reading| reading.window_s.is_some());
        let n_values = values.filter(|value| !is_spread(value)).count();
        assert_eq!(n_values + windows.count(), rows.lines().count());
        let estimated = |reading: &&Reading| reading.provenance == Provenance::Estimated;
        assert_eq!(readings.iter().filter(estimated).count(), 2);
        let says_so = |reading: &Reading| reading.flags.iter().any(|flag| flag.id == "published");
        assert!(readings.iter().all(says_so));
        let doubts = readings.iter().flat_map(|reading| &reading.flags);
        let doubts = doubts.filter(|flag| flag.id == "doubt").count();
        let noted = rows.lines().filter(|row| row.contains("\"note\""));
        assert_eq!(doubts, noted.count());
    }

    #[test]
    fn one_model_under_the_same_circumstances_is_one_run() {
        let rows = include_str!("../../published/rows.jsonl");
        let (_, readings, _) = readings(rows.as_bytes()).unwrap();
        let of = |model: &str, in_flight: u32, task: &str| {
            readings.iter().find(|reading| {
                reading.model.as_deref() == Some(model)
                    && reading.load == closed(Some(f64::from(in_flight)))
                    && reading.task == task
            })
        };
        let gemma = of("Gemma-3-4B", 32, "text only 500/150").unwrap();
        let ids: Vec<&str> = gemma.values.iter().map(|value| value.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "ntpot.mean",
                "ttft.mean",
                "e2e_total_tps",
                "output_tps",
                "requests_per_min"
            ]
        );
    }

    #[test]
    fn a_metric_keeps_its_definition_and_loses_it_where_its_scope_is_unknown() {
        let known = |id: &str| Id::Known(id.to_owned());
        for (metric, note, want) in [
            ("output_tps", None, known("output_tps")),
            ("ttft", None, known("ttft.mean")),
            ("request_latency.p90", None, known("request_latency.p90")),
            (
                "memory_peak",
                Some("scope gpu, approximate"),
                known("memory_peak.gpu"),
            ),
            ("memory_mean", None, Id::Unknown),
            (
                "tok_per_s_per_w@module",
                None,
                known("tok_per_s_per_w@module"),
            ),
            ("tok_per_s_per_w@unstated", None, Id::Unknown),
            ("foreign.tokens_per_second", None, Id::Unknown),
            ("load_time", Some("includes a download"), Id::Unknown),
            ("window", None, Id::Window),
        ] {
            assert_eq!(id(metric, note), want, "{metric}");
        }
    }
}
