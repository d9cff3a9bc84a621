//! One key over time: what became of every figure from one value to the next, such as from an engine's version to the one after.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    metrics::{
        dictionary::Better,
        spread::verdict::{Verdict, judge},
    },
    power::Provenance,
};

use super::{
    CompareError, GOODPUT, HISTORY_SCHEMA, History, Moment, NO_TOKENS, Point, Series, Step,
    is_within_limits,
    pairing::{common, named, pair},
    phrase, question, repetitions, side_figure, usual,
};
use crate::rank::{Key, Metric, RankedCell};

/// All values of a key in the order of their first start. `cells` are those that meet the conditions, of one provenance; `metrics` what is
/// looked at, if not what people ask for first.
///
/// # Errors
/// There are fewer than two values, or models differ along a line and tokens were asked for.
pub fn history(
    cells: &[RankedCell],
    over: Key,
    metrics: &[Metric],
    provenance: Provenance,
) -> Result<History, CompareError> {
    let values = in_order(cells, over);
    if values.len() < 2 {
        return Err(CompareError::NoHistory {
            key: over.as_str(),
            values: values.into_iter().map(|moment| moment.value).collect(),
        });
    }
    let mut lines: BTreeMap<Vec<String>, Vec<&RankedCell>> = BTreeMap::new();
    let mut notes = Vec::new();
    let apart = BTreeSet::from([over]);
    for (number, moment) in values.iter().enumerate() {
        // Each value with the one before, and so a line from the first value on that a cell has.
        for earlier in values[..number].iter().rev() {
            let of = |value: &str| -> Vec<&RankedCell> {
                cells
                    .iter()
                    .filter(|cell| cell.value(over) == value)
                    .collect()
            };
            for row in pair(&[of(&earlier.value), of(&moment.value)], &apart).rows {
                extend(&mut lines, &row, over);
            }
        }
    }
    if lines.is_empty() {
        notes.push(format!(
            "no two values of {} have a cell in common",
            over.as_str()
        ));
    }
    let all: Vec<&RankedCell> = lines.values().flatten().copied().collect();
    let fixed = common(&all);
    let mut all_series: Vec<Series> = Vec::new();
    for line in lines.values() {
        let asked = asked(line, metrics, &mut notes)?;
        all_series.extend(series(line, over, asked, &fixed));
    }
    let series = all_series;
    notes.sort();
    notes.dedup();
    notes.extend(caveats(&series));
    Ok(History {
        schema: HISTORY_SCHEMA.to_owned(),
        over: over.as_str().to_owned(),
        provenance,
        fixed: named(fixed),
        values,
        series,
        notes,
    })
}

/// Reads what a history is over, and in which metrics.
///
/// # Errors
/// An unknown key or metric, with the nearest name.
pub fn parse(over: &str, metrics: &[String]) -> Result<(Key, Vec<Metric>), CompareError> {
    Ok((Key::parse(over)?, question::metrics(metrics)?))
}

fn in_order(cells: &[RankedCell], over: Key) -> Vec<Moment> {
    let mut first: BTreeMap<String, i64> = BTreeMap::new();
    for cell in cells {
        let started = first.entry(cell.value(over)).or_insert(i64::MAX);
        *started = cell.started.0.min(*started);
    }
    let mut moments: Vec<Moment> = first
        .into_iter()
        .map(|(value, first_started)| Moment {
            value,
            first_started,
        })
        .collect();
    moments.sort_by_key(|moment| moment.first_started);
    moments
}

/// Adds a matching pair to the line that its earlier cell is in, or begins one.
fn extend<'a>(
    lines: &mut BTreeMap<Vec<String>, Vec<&'a RankedCell>>,
    row: &[&'a RankedCell],
    over: Key,
) {
    let [earlier, later] = row else {
        return;
    };
    let is_at_end = |line: &&mut Vec<&'a RankedCell>| line.contains(earlier);
    if let Some(line) = lines.values_mut().find(is_at_end) {
        let is_new = !line
            .iter()
            .any(|cell| cell.value(over) == later.value(over));
        if is_new {
            line.push(later);
        }
        return;
    }
    if !lines.values().any(|line| line.contains(later)) {
        let name = Key::ALL.map(|key| earlier.value(key)).to_vec();
        lines.insert(name, vec![earlier, later]);
    }
}

/// What is looked at along a line: what was asked for, else what people ask for first, without what means something else from one of its
/// cells to the next.
fn asked(
    line: &[&RankedCell],
    metrics: &[Metric],
    notes: &mut Vec<String>,
) -> Result<Vec<Metric>, CompareError> {
    let differs = |key: Key| {
        let values: BTreeSet<String> = line.iter().map(|cell| cell.value(key)).collect();
        values.len() > 1
    };
    let mut asked = match metrics.is_empty() {
        true => usual(),
        false => metrics.to_vec(),
    };
    if differs(Key::Model) {
        if let Some(metric) = metrics.iter().find(|metric| metric.counts_tokens()) {
            return Err(CompareError::TokenizersDiffer(*metric));
        }
        asked.retain(|metric| !metric.counts_tokens());
        notes.push(NO_TOKENS.to_owned());
    }
    if differs(Key::Limits) && asked.iter().any(is_within_limits) {
        asked.retain(|metric| !is_within_limits(metric));
        notes.push(format!(
            "`{GOODPUT}` is left out where it was measured under different limits"
        ));
    }
    Ok(asked)
}

fn series(
    line: &[&RankedCell],
    over: Key,
    asked: Vec<Metric>,
    fixed: &BTreeMap<Key, String>,
) -> Vec<Series> {
    let shared = common(line);
    let own = shared
        .into_iter()
        .filter(|(key, _)| !fixed.contains_key(key));
    let key = named(own.collect());
    let over_scopes = asked.into_iter().flat_map(|metric| scoped(metric, line));
    over_scopes
        .filter_map(|metric| {
            let points = points(line, over, &metric);
            (points.len() > 1).then(|| Series {
                key: key.clone(),
                metric: metric.definition.id.to_owned(),
                scope: metric.scope,
                unit: metric.definition.unit.to_owned(),
                lower_is_better: match metric.definition.better {
                    Better::Lower => Some(true),
                    Better::Higher => Some(false),
                    Better::Neither => None,
                },
                points,
            })
        })
        .collect()
}

/// A metric over energy, once for each scope that any of the cells has.
fn scoped(metric: Metric, line: &[&RankedCell]) -> Vec<Metric> {
    if !metric.definition.needs_scope || metric.scope.is_some() {
        return vec![metric];
    }
    let scopes: BTreeSet<_> = line.iter().flat_map(|cell| cell.scopes()).collect();
    let of = |scope| Metric {
        scope: Some(scope),
        ..metric
    };
    scopes.into_iter().map(of).collect()
}

fn points(line: &[&RankedCell], over: Key, metric: &Metric) -> Vec<Point> {
    let id = metric.to_string();
    let having: Vec<&RankedCell> = line
        .iter()
        .copied()
        .filter(|cell| cell.figure(&id).is_some())
        .collect();
    let step = |from: usize, to: usize| -> Option<Step> {
        let (from, to) = (having.get(from)?, having.get(to)?);
        let (earlier, later) = (from.figure(&id)?, to.figure(&id)?);
        let better = metric.definition.better;
        let judgement = judge(&repetitions(earlier), &repetitions(later), better);
        let words = phrase::verdict(
            metric.definition,
            &judgement,
            &to.value(over),
            &from.value(over),
        );
        let is_blocked = earlier.is_blocked || later.is_blocked;
        Some(Step {
            ratio: judgement.ratio,
            ci95: judgement
                .interval
                .map(|interval| (interval.low, interval.high)),
            verdict: judgement.verdict,
            more_repetitions: judgement.more_repetitions,
            text: match is_blocked {
                true => format!("{words}; flagged, so that it is shown and not to be relied on"),
                false => words,
            },
        })
    };
    let point = |(number, cell): (usize, &&RankedCell)| {
        let figure = cell.figure(&id)?;
        Some(Point {
            value: cell.value(over),
            first_started: cell.started.0,
            runs: cell.runs.clone(),
            figure: side_figure(figure),
            previous: number
                .checked_sub(1)
                .and_then(|before| step(before, number)),
            first: step(0, number).filter(|_| number > 0),
        })
    };
    having.iter().enumerate().filter_map(point).collect()
}

fn caveats(series: &[Series]) -> Vec<String> {
    if series.is_empty() {
        return Vec::new();
    }
    let mut caveats = vec![
        "a ratio is the later value divided by the earlier one; the 95 % hold for each step, not for all together: of 40 steps without any change two may look like one"
            .to_owned(),
    ];
    let steps = series.iter().flat_map(|series| {
        let points = series.points.iter();
        points.filter_map(move |point| Some((series, point, point.previous.as_ref()?)))
    });
    for (series, point, step) in steps.filter(|(.., step)| step.verdict == Verdict::LeftBetter) {
        let key: Vec<&str> = series.key.values().map(String::as_str).collect();
        caveats.push(format!(
            "worse: {} {}: {}",
            [key.join(" "), series.metric.clone()].join(" ").trim(),
            point.value,
            step.text
        ));
    }
    caveats
}
