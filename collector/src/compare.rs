//! Two sides against each other, cell by cell. Pure.
//!
//! A side is what meets its conditions. Its cells are paired with those of the other side that match in everything that has to match
//! for two runs to be compared, but for what the conditions name; configuration is printed and never merged. Of every figure that both
//! have there is a ratio with its interval over repetitions, and for the times and energies of single requests a second one, paired by picture.

mod document;
mod history;
mod items;
mod pairing;
mod phrase;
mod question;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    metrics::{
        Failed, Percentile,
        dictionary::{Better, definitions},
        quality::HEADLINES,
        spread::{
            Band, Repetitions, spread,
            verdict::{Judgement, Verdict, judge},
        },
    },
    power::Scope,
};

use crate::rank::{CellFigure, Condition, Key, Metric, RankError, RankedCell};

use self::pairing::{Paired, common, named, pair};

pub use self::{
    document::{
        Comparison, FigurePair, History, Moment, Pair, PairSide, Point, Series, SideFigure, Step,
        Within,
    },
    history::{history, parse as parse_history},
    items::Items,
    question::{Question, split},
};

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompareError {
    /// An unknown metric, scope, key, or a condition in another form.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// A side without conditions.
    #[error("the {0} side says nothing: write KEY=VALUE[,KEY=VALUE…], such as device=orin-1")]
    NoCondition(&'static str),
    /// A side that no run meets.
    #[error("no run is {side}: {advice}")]
    NoRun {
        /// Its conditions.
        side: String,
        /// What to do.
        advice: String,
    },
    /// Runs that meet the conditions of both sides.
    #[error("runs of {0} are on both sides: give the sides conditions that exclude each other")]
    Overlap(String),
    /// Nothing on the one side matches anything on the other.
    #[error("{left} and {right} share no cell, so that nothing can be compared:{}", differences(.differing))]
    NothingShared {
        /// Conditions of the first.
        left: String,
        /// Conditions of the second.
        right: String,
        /// Keys of which the sides have no value in common: name, values of the first, values of the second.
        differing: Vec<(&'static str, Vec<String>, Vec<String>)>,
    },
    /// Energies of different scopes.
    #[error(
        "`{metric}` cannot be compared: {left} has it for {}, {right} for {}, and power scopes are never mixed. `wall` spans every device: `tokwatt-agent bench --power csv:FILE` reads a meter",
        listed(.left_scopes), listed(.right_scopes)
    )]
    NoSharedScope {
        /// Which metric.
        metric: &'static str,
        /// Conditions of the first.
        left: String,
        /// Conditions of the second.
        right: String,
        /// Scopes of the first.
        left_scopes: Vec<Scope>,
        /// Scopes of the second.
        right_scopes: Vec<Scope>,
    },
    /// Token metrics across models.
    #[error(
        "`{0}` counts tokens, and models differ in what a token is: compare models by images_per_s, j_per_image@SCOPE or request_latency"
    )]
    TokenizersDiffer(Metric),
    /// Fewer than two values of the key that a history is over.
    #[error("a history takes two values of {key}, and there is {}: what would differ?", one_or_none(.values))]
    NoHistory {
        /// Which key.
        key: &'static str,
        /// What there is.
        values: Vec<String>,
    },
}

/// Compares. `cells` are those that meet the conditions on both sides, of the question's provenance.
///
/// # Errors
/// [`CompareError`]: which side is empty, or in what the sides differ so that nothing matches.
pub fn compare(cells: &[RankedCell], question: &Question) -> Result<Comparison, CompareError> {
    let (left, right) = sides(cells, question)?;
    let apart = question.keys();
    let Paired { rows, left_out } = pair(&[left.clone(), right.clone()], &apart);
    if rows.is_empty() {
        return Err(nothing_shared(&left, &right, question));
    }
    let all: Vec<&RankedCell> = rows.iter().flatten().copied().collect();
    let fixed = common(&all);
    let mut notes = Vec::new();
    let mut pairs = Vec::new();
    for row in &rows {
        if let [left, right] = row[..] {
            pairs.push(pair_of([left, right], question, &fixed, &mut notes)?);
        }
    }
    pairs.sort_by(|left, right| left.key.cmp(&right.key));
    notes.extend(left_out);
    notes.extend(caveats(&pairs));
    notes.dedup();
    Ok(Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        left: named_conditions(&question.left),
        right: named_conditions(&question.right),
        provenance: question.provenance,
        fixed: named(fixed),
        pairs,
        notes,
    })
}

/// Cells of two sides that match, pair by pair: for whoever wants something else of them than a comparison.
///
/// # Errors
/// As [`compare`].
pub fn matched<'a>(
    cells: &'a [RankedCell],
    left: &[Condition],
    right: &[Condition],
) -> Result<Vec<[&'a RankedCell; 2]>, CompareError> {
    let question = Question {
        left: left.to_vec(),
        right: right.to_vec(),
        metrics: Vec::new(),
        provenance: tokwatt_domain::power::Provenance::Measured,
    };
    let (left, right) = sides(cells, &question)?;
    let rows = pair(&[left.clone(), right.clone()], &question.keys()).rows;
    if rows.is_empty() {
        return Err(nothing_shared(&left, &right, &question));
    }
    let pairs = rows.into_iter().filter_map(|row| row.try_into().ok());
    Ok(pairs.collect())
}

/// The cells of each side.
fn sides<'a>(
    cells: &'a [RankedCell],
    question: &Question,
) -> Result<(Vec<&'a RankedCell>, Vec<&'a RankedCell>), CompareError> {
    let of = |conditions: &[Condition]| -> Vec<&'a RankedCell> {
        let meets = |cell: &&RankedCell| conditions.iter().all(|one| cell.meets(one));
        cells.iter().filter(meets).collect()
    };
    let (left, right) = (of(&question.left), of(&question.right));
    for (cells_of_side, conditions) in [(&left, &question.left), (&right, &question.right)] {
        if cells_of_side.is_empty() {
            return Err(CompareError::NoRun {
                side: question::words(conditions),
                advice: question::there_are(cells, conditions),
            });
        }
    }
    if let Some(shared) = left.iter().find(|cell| right.contains(cell)) {
        let keys = question.keys();
        let value = |key: &Key| format!("{}={}", key.as_str(), shared.value(*key));
        let words: Vec<String> = keys.iter().map(value).collect();
        return Err(CompareError::Overlap(words.join(", ")));
    }
    Ok((left, right))
}

fn nothing_shared(
    left: &[&RankedCell],
    right: &[&RankedCell],
    question: &Question,
) -> CompareError {
    let values = |cells: &[&RankedCell], key: Key| -> BTreeSet<String> {
        cells.iter().map(|cell| cell.value(key)).collect()
    };
    let apart = question.keys();
    let must_match = |key: &Key| (key.is_identity() || *key == Key::Device) && !apart.contains(key);
    let differing = Key::ALL.into_iter().filter(must_match).filter_map(|key| {
        let (left, right) = (values(left, key), values(right, key));
        left.is_disjoint(&right).then(|| {
            (
                key.as_str(),
                left.into_iter().collect(),
                right.into_iter().collect(),
            )
        })
    });
    CompareError::NothingShared {
        left: question::words(&question.left),
        right: question::words(&question.right),
        differing: differing.collect(),
    }
}

fn pair_of(
    [left, right]: [&RankedCell; 2],
    question: &Question,
    fixed: &BTreeMap<Key, String>,
    notes: &mut Vec<String>,
) -> Result<Pair, CompareError> {
    let shared = |key: &Key| left.value(*key) == right.value(*key);
    let own = Key::ALL.into_iter().filter(|key| !fixed.contains_key(key));
    let (same, differing): (Vec<Key>, Vec<Key>) = own.partition(shared);
    let key: BTreeMap<Key, String> = same.into_iter().map(|key| (key, left.value(key))).collect();
    let figures = figures(left, right, question, notes)?;
    Ok(Pair {
        key: named(key),
        left: side(left, &differing),
        right: side(right, &differing),
        figures,
    })
}

fn side(cell: &RankedCell, differing: &[Key]) -> PairSide {
    let cv = cell
        .figure("cv_requests")
        .map(|figure| figure.mean)
        .filter(|cv| cv.is_finite());
    PairSide {
        configuration: named(
            differing
                .iter()
                .map(|key| (*key, cell.value(*key)))
                .collect(),
        ),
        runs: cell.runs.clone(),
        n_requests: cell.n_requests,
        n_failed: cell.n_failed,
        flags: cell.flags.iter().cloned().collect(),
        cv_requests: cv,
        band: cv.map(|cv| Band::of(cv).as_str().to_owned()),
    }
}

/// Figures that both sides have, in the order of the dictionary.
fn figures(
    left: &RankedCell,
    right: &RankedCell,
    question: &Question,
    notes: &mut Vec<String>,
) -> Result<Vec<FigurePair>, CompareError> {
    let mut figures = Vec::new();
    for metric in wanted(left, right, question, notes)? {
        let id = metric.to_string();
        match (left.figure(&id), right.figure(&id)) {
            (Some(one), Some(other)) => figures.push(figure_pair(&metric, one, other)),
            (None, None) if question.metrics.is_empty() => {}
            (one, other) => {
                for (side, cell, figure) in [("A", left, one), ("B", right, other)] {
                    if figure.is_none() {
                        notes.push(absent(side, cell, &metric));
                    }
                }
            }
        }
    }
    Ok(figures)
}

fn absent(side: &str, cell: &RankedCell, metric: &Metric) -> String {
    let task = cell.value(Key::Task);
    match cell.reason(metric) {
        Some(reason) => format!("{task}: {side} has no `{metric}` ({reason})"),
        None => format!("{task}: {side} has no `{metric}`"),
    }
}

/// What is compared: what was asked for, else what people ask for first, each over every scope that both sides have.
fn wanted(
    left: &RankedCell,
    right: &RankedCell,
    question: &Question,
    notes: &mut Vec<String>,
) -> Result<Vec<Metric>, CompareError> {
    let shared: Vec<Scope> = left
        .scopes()
        .intersection(&right.scopes())
        .copied()
        .collect();
    let is_asked = !question.metrics.is_empty();
    let asked = match is_asked {
        true => question.metrics.clone(),
        false => usual(),
    };
    let tokenizers_differ = left.cell.identity.model != right.cell.identity.model;
    let mut wanted = Vec::new();
    for metric in asked {
        if tokenizers_differ && metric.counts_tokens() {
            if is_asked {
                return Err(CompareError::TokenizersDiffer(metric));
            }
            notes.push(NO_TOKENS.to_owned());
            continue;
        }
        if is_within_limits(&metric) && left.limits != right.limits {
            notes.push(format!(
                "{}: `{metric}` is left out: A was measured under {}, B under {}, and other limits make another figure",
                left.value(Key::Task),
                left.value(Key::Limits),
                right.value(Key::Limits)
            ));
            continue;
        }
        match metric.definition.needs_scope {
            false => wanted.push(metric),
            true if metric.scope.is_some() => wanted.push(metric),
            true if shared.is_empty() && is_asked => {
                return Err(CompareError::NoSharedScope {
                    metric: metric.definition.id,
                    left: question::words(&question.left),
                    right: question::words(&question.right),
                    left_scopes: left.scopes().into_iter().collect(),
                    right_scopes: right.scopes().into_iter().collect(),
                });
            }
            true => wanted.extend(shared.iter().map(|scope| Metric {
                scope: Some(*scope),
                ..metric
            })),
        }
    }
    let scopes = |cell: &RankedCell| listed(&cell.scopes().into_iter().collect::<Vec<_>>());
    if shared.is_empty() && !(left.scopes().is_empty() && right.scopes().is_empty()) {
        notes.push(format!(
            "energies are left out: A has {}, B has {}, and power scopes are never mixed",
            scopes(left),
            scopes(right)
        ));
    }
    Ok(wanted)
}

/// Whether it counts requests that keep limits, which must be the same then.
fn is_within_limits(metric: &Metric) -> bool {
    metric.definition.id == GOODPUT
}

/// What people ask for first, and whatever says how good the answers are.
fn usual() -> Vec<Metric> {
    let is_usual = |id: &str| USUAL.contains(&id) || HEADLINES.contains(&id);
    let usual = definitions()
        .iter()
        .filter(|definition| is_usual(definition.id));
    usual
        .map(|definition| Metric {
            definition,
            scope: None,
        })
        .collect()
}

fn figure_pair(metric: &Metric, left: &CellFigure, right: &CellFigure) -> FigurePair {
    let definition = metric.definition;
    let judgement = judge(&repetitions(left), &repetitions(right), definition.better);
    let is_blocked = left.is_blocked || right.is_blocked;
    FigurePair {
        metric: definition.id.to_owned(),
        scope: metric.scope,
        unit: definition.unit.to_owned(),
        lower_is_better: match definition.better {
            Better::Lower => Some(true),
            Better::Higher => Some(false),
            Better::Neither => None,
        },
        left: side_figure(left),
        right: side_figure(right),
        ratio: judgement.ratio,
        ci95: judgement
            .interval
            .map(|interval| (interval.low, interval.high)),
        verdict: judgement.verdict,
        is_blocked,
        more_repetitions: judgement.more_repetitions,
        text: text(metric, &judgement, is_blocked, "B", "A"),
        within_repetitions: None,
    }
}

/// What is said about a pair of figures.
fn text(metric: &Metric, judgement: &Judgement, is_blocked: bool, new: &str, old: &str) -> String {
    let mut text = phrase::verdict(metric.definition, judgement, new, old);
    if is_blocked {
        text += "; flagged, so that it is shown and not to be relied on";
    }
    text
}

fn repetitions(figure: &CellFigure) -> Repetitions<'_> {
    Repetitions {
        values: &figure.values,
        relative_bound: figure.relative_bound,
    }
}

fn side_figure(figure: &CellFigure) -> SideFigure {
    SideFigure {
        value: match figure.mean.is_infinite() {
            true => Percentile::Failed(Failed::Failed),
            false => Percentile::Value(figure.mean),
        },
        ci95: figure.ci95,
        n_runs: u32::try_from(figure.values.len()).unwrap_or(u32::MAX),
        cv_runs: spread(&figure.values).and_then(|spread| spread.cv),
        relative_bound: (figure.relative_bound > 0.0).then_some(figure.relative_bound),
        flags: figure.flags.iter().cloned().collect(),
        runs: figure.repetitions.iter().map(|one| one.run).collect(),
    }
}

fn caveats(pairs: &[Pair]) -> Vec<String> {
    let figures = || pairs.iter().flat_map(|pair| &pair.figures);
    let failed = pairs
        .iter()
        .any(|pair| pair.left.n_failed + pair.right.n_failed > 0);
    let caveats = [
        (
            figures().any(|figure| figure.ci95.is_some()),
            "a ratio is B divided by A; its 95 % are between repetitions, and hold for each figure, not for all together",
        ),
        (
            figures().any(|figure| figure.left.relative_bound.is_some()),
            "the intervals of energies are widened by the bounds of both sides, which are about sampling, not about the sensor's truth",
        ),
        (
            failed,
            "some requests failed: they have no speed of their own, look at success_rate beside it",
        ),
        (
            figures().any(|figure| figure.verdict == Verdict::TooFew),
            "fewer than three repetitions have no interval, and nothing is told apart by them",
        ),
    ];
    let applying = caveats.into_iter().filter(|(applies, _)| *applies);
    applying.map(|(_, caveat)| caveat.to_owned()).collect()
}

fn named_conditions(conditions: &[Condition]) -> BTreeMap<String, String> {
    conditions
        .iter()
        .map(|condition| (condition.key.as_str().to_owned(), condition.value.clone()))
        .collect()
}

fn differences(differing: &[(&'static str, Vec<String>, Vec<String>)]) -> String {
    if differing.is_empty() {
        return "\n  no two cells match in everything that has to; name what differs on each side"
            .to_owned();
    }
    let line = |(key, left, right): &(&str, Vec<String>, Vec<String>)| {
        format!(
            "\n  {key} is {} on the one side and {} on the other: if that is what is compared, name it on each side",
            left.join(", "),
            right.join(", ")
        )
    };
    differing.iter().map(line).collect()
}

fn listed(scopes: &[Scope]) -> String {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

fn one_or_none(values: &[String]) -> String {
    match values.first() {
        Some(value) => format!("`{value}` alone"),
        None => "none".to_owned(),
    }
}

/// Requests that keep limits, in a second.
const GOODPUT: &str = "goodput";

/// Why there are none.
const NO_TOKENS: &str = "figures per token are left out: models differ in what a token is";

/// Name of the document of two sides.
pub const COMPARE_SCHEMA: &str = "tokwatt.compare/1";

/// Name of the document of one key over time.
pub const HISTORY_SCHEMA: &str = "tokwatt.history/1";

/// What people ask for first.
const USUAL: [&str; 20] = [
    "request_latency",
    "request_latency.p90",
    "ttft",
    "decode_tps",
    "output_tps",
    "images_per_s",
    "tok_per_s_per_w",
    "j_per_output_token",
    "j_per_request",
    "j_per_image",
    "avg_power",
    "memory_peak.process_tree",
    "memory_peak.system",
    "memory_peak.gpu",
    "load_time.cold",
    "load_time.warm",
    "success_rate",
    "cv_requests",
    "output_chars",
    "bad_output_share",
];
