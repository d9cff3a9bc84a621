//! Comparisons for people.

use std::collections::BTreeMap;

use tokwatt_domain::{
    metrics::{Percentile, spread::verdict::Verdict},
    power::{Provenance, Scope},
};

use super::{
    date, fixed,
    number::{self, Scale},
    page::{Grid, Page, Section},
    shortened,
};
use crate::compare::{Comparison, FigurePair, History, Pair, PairSide, Point, Series, SideFigure};

/// Two sides, cell by cell.
pub fn comparison(comparison: &Comparison) -> Page {
    let title = format!(
        "A: {} — B: {}{}",
        words(&comparison.left),
        words(&comparison.right),
        unless_measured(comparison.provenance)
    );
    Page {
        title,
        facts: facts(&comparison.fixed, comparison.provenance),
        sections: comparison
            .pairs
            .iter()
            .map(|pair| section(comparison, pair))
            .collect(),
        notes: comparison.notes.clone(),
    }
}

/// One key over time.
pub fn history(history: &History) -> Page {
    let title = format!(
        "{} over time{}",
        history.over,
        unless_measured(history.provenance)
    );
    let moment = |moment: &crate::compare::Moment| {
        let when = date::minute(moment.first_started);
        format!("{} (from {when})", shortened(&moment.value))
    };
    let values: Vec<String> = history.values.iter().map(moment).collect();
    let mut facts = facts(&history.fixed, history.provenance);
    facts.push(("values".to_owned(), values.join(", ")));
    Page {
        title,
        facts,
        sections: history.series.iter().map(series).collect(),
        notes: history.notes.clone(),
    }
}

fn section(comparison: &Comparison, pair: &Pair) -> Section {
    let mut grid = Grid::new(&["figure", "#A", "#B", "#B / A", "95 %", "verdict"]);
    grid.rows = pair.figures.iter().map(row).collect();
    let sides = [
        own("A", &pair.left, &comparison.left),
        own("B", &pair.right, &comparison.right),
    ];
    let mut below: Vec<String> = sides.into_iter().flatten().collect();
    below.extend(variation(pair));
    below.extend(pair.figures.iter().filter_map(within));
    Section {
        heading: words(&pair.key),
        grid,
        below,
    }
}

fn row(figure: &FigurePair) -> Vec<String> {
    let sides = [figure.left.value, figure.right.value];
    let scale = scale(&figure.unit, sides.into_iter());
    let [left, right] = sides.map(|side| number::percentile(side, &scale));
    vec![
        named(&figure.metric, figure.scope, scale.unit),
        left,
        right,
        figure
            .ratio
            .map_or_else(none, |ratio| format!("{ratio:.3}")),
        interval(figure.ci95),
        verdict(figure),
    ]
}

/// The verdict in a few words; the JSON has it as a sentence.
fn verdict(figure: &FigurePair) -> String {
    let more = figure.more_repetitions;
    let words = match figure.verdict {
        Verdict::LeftBetter => "A is better".to_owned(),
        Verdict::RightBetter => "B is better".to_owned(),
        Verdict::Different => "they differ".to_owned(),
        Verdict::Tied if figure.ratio == Some(1.0) => "the same".to_owned(),
        Verdict::Tied => match more {
            Some(more) => format!("tied, {more} more might do"),
            None => "tied".to_owned(),
        },
        Verdict::TooFew => match more {
            Some(more) => format!("needs {more} more"),
            None => "too few".to_owned(),
        },
        Verdict::NoRatio => none(),
    };
    match figure.is_blocked {
        true => format!("{words} (flagged)"),
        false => words,
    }
}

/// What is a side's own beside its conditions: configuration, failures, flags.
fn own(name: &str, side: &PairSide, conditions: &BTreeMap<String, String>) -> Option<String> {
    let mut own: Vec<String> = side
        .configuration
        .iter()
        .filter(|(key, _)| !conditions.contains_key(*key))
        .map(|(key, value)| format!("{key} {}", shortened(value)))
        .collect();
    if side.n_failed > 0 {
        own.push(format!(
            "{} of {} requests failed",
            side.n_failed, side.n_requests
        ));
    }
    if !side.flags.is_empty() {
        own.push(format!("flags {}", side.flags.join(", ")));
    }
    (!own.is_empty()).then(|| format!("{name}: {}", own.join(", ")))
}

fn variation(pair: &Pair) -> Option<String> {
    let of = |name: &str, side: &PairSide| {
        let (cv, band) = (side.cv_requests?, side.band.as_deref()?);
        Some(format!("{name} {:.0} % ({band})", 100.0 * cv))
    };
    let sides: Vec<String> = [of("A", &pair.left), of("B", &pair.right)]
        .into_iter()
        .flatten()
        .collect();
    (!sides.is_empty()).then(|| {
        format!(
            "latency varies from request to request: {}",
            sides.join(", ")
        )
    })
}

fn within(figure: &FigurePair) -> Option<String> {
    let within = figure.within_repetitions.as_ref()?;
    let left_out = match within.n_left_out {
        0 => String::new(),
        n => format!(", {n} left out that only one side answered"),
    };
    Some(format!(
        "{} on the same {} pictures, within repetitions: B / A {:.3} ({:.3} – {:.3}){left_out}",
        named(&figure.metric, figure.scope, ""),
        within.n_items,
        within.ratio,
        within.ci95.0,
        within.ci95.1
    ))
}

fn series(series: &Series) -> Section {
    let values = series.points.iter().map(|point| point.figure.value);
    let scale = scale(&series.unit, values);
    let head = [
        "value",
        "first run (UTC)",
        "#mean",
        "#runs",
        "against the one before",
        "against the first",
    ];
    let mut grid = Grid::new(&head);
    grid.rows = series
        .points
        .iter()
        .map(|point| moment(point, &scale))
        .collect();
    let name = named(&series.metric, series.scope, scale.unit);
    Section {
        heading: [name, words(&series.key)].join("  ").trim().to_owned(),
        grid,
        below: Vec::new(),
    }
}

fn moment(point: &Point, scale: &Scale<'_>) -> Vec<String> {
    let step = |step: &Option<crate::compare::Step>| {
        let Some(step) = step else {
            return none();
        };
        let ratio = step.ratio.map_or_else(none, |ratio| format!("{ratio:.3}"));
        let verdict = match step.verdict {
            Verdict::LeftBetter => "worse",
            Verdict::RightBetter => "better",
            Verdict::Different => "different",
            Verdict::Tied => "not told apart",
            Verdict::TooFew => "too few",
            Verdict::NoRatio => "not judged",
        };
        format!("{ratio} ({}) {verdict}", interval(step.ci95))
    };
    let SideFigure { value, n_runs, .. } = &point.figure;
    vec![
        shortened(&point.value),
        date::minute(point.first_started),
        number::percentile(*value, scale),
        n_runs.to_string(),
        step(&point.previous),
        step(&point.first),
    ]
}

/// `ttft in ms`.
pub(super) fn named(metric: &str, scope: Option<Scope>, unit: &str) -> String {
    let scope = scope.map(|scope| format!("@{scope}")).unwrap_or_default();
    match unit {
        "" => format!("{metric}{scope}"),
        unit => format!("{metric}{scope} in {unit}"),
    }
}

pub(super) fn unless_measured(provenance: Provenance) -> String {
    match provenance {
        Provenance::Measured => String::new(),
        other => format!(" — {}, not measured", other.as_str().to_uppercase()),
    }
}

/// What everything has in common, for people.
pub(super) fn facts(
    fixed: &BTreeMap<String, String>,
    provenance: Provenance,
) -> Vec<(String, String)> {
    let groups = fixed::groups_of(fixed, "one task", provenance).into_iter();
    groups
        .map(|(label, words)| (label.to_owned(), words))
        .collect()
}

/// `device=a, precision=f16`.
pub(super) fn words(keys: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key}={}", shortened(value)))
        .collect();
    words.join(", ")
}

pub(super) fn interval(ci95: Option<(f64, f64)>) -> String {
    match ci95 {
        Some((low, high)) => format!("{low:.3} – {high:.3}"),
        None => none(),
    }
}

fn scale(unit: &str, values: impl Iterator<Item = Percentile>) -> Scale<'_> {
    let values = values.filter_map(|value| match value {
        Percentile::Value(value) => Some(value),
        Percentile::Failed(_) => None,
    });
    Scale::of(unit, values)
}

pub(super) fn none() -> String {
    "–".to_owned()
}
