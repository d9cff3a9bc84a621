//! Stored runs to a board: who is better, beyond doubt, and who shares a place. Pure.
//!
//! What may be compared: identity (suite, task, model, precision, limits, load, …) must match within a board, unless a key makes
//! the rows; only tasks are put together, and the board says how. Configuration (engine, digests, power mode, …) is printed and
//! never merged: each row shows the best configuration of its key and names it. Same runs, same bytes, in any order of arrival.

mod candidate;
mod cell;
mod figure;
mod identity;
mod key;
mod place;
mod question;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    leaderboard::{Board, Row},
    metrics::{Failed, Percentile, RunReport, dictionary::UnknownMetric, spread::log_t_interval},
    power::{Scope, UnknownScope},
};

use self::{
    candidate::{Candidate, candidates, describe},
    figure::{Figure, counted, figures, provenance},
    identity::{Aggregate, Several, check, common},
    place::{Placed, place},
};

pub use self::{
    cell::{CellFigure, RankedCell, cells},
    key::{Condition, Key},
    question::{Metric, Question, parse_provenance},
};

/// A measured run, as far as ranking looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedRun {
    /// Our report.
    pub report: RunReport,
    /// Whether the agent's differs.
    pub report_differs: bool,
}

/// Why there is no board.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RankError {
    /// No such metric.
    #[error(transparent)]
    UnknownMetric(#[from] UnknownMetric),
    /// No such scope.
    #[error(transparent)]
    UnknownScope(#[from] UnknownScope),
    /// No such key.
    #[error("unknown key `{name}`, {advice}")]
    UnknownKey {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// No such provenance.
    #[error("unknown provenance `{name}`, {advice}")]
    UnknownProvenance {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// A condition in another form.
    #[error("condition `{0}` has no value: write KEY=VALUE, such as precision=f32")]
    Condition(String),
    /// A condition that no run meets.
    #[error("no run has {key}={value}; there are: {}", .there_are.join(", "))]
    NoSuchValue {
        /// Which key.
        key: &'static str,
        /// What was asked for.
        value: String,
        /// What there is.
        there_are: Vec<String>,
    },
    /// A metric that describes and does not rank.
    #[error(
        "`{0}` is never ranked: it describes a run, and more of it is neither better nor worse, or not comparable"
    )]
    NotRanked(&'static str),
    /// A scope for a metric that is not over energy.
    #[error(
        "`{0}` is not over energy and takes no power scope: leave out what stands behind the @"
    )]
    ScopeWithoutEnergy(&'static str),
    /// Figures of several scopes are never compared.
    #[error("`{metric}` is there for several power scopes, which cannot be compared: ask for one, {}", scoped(.metric, .scopes))]
    NeedsScope {
        /// Which metric.
        metric: &'static str,
        /// What there is.
        scopes: Vec<Scope>,
    },
    /// Keys that must match within a board and do not.
    #[error("these runs cannot stand on one board:{}", fixes(.by, .several))]
    Several {
        /// The keys that make a row.
        by: String,
        /// Which.
        several: Vec<Several>,
    },
    /// Token metrics across models.
    #[error(
        "`{0}` counts tokens, and models differ in what a token is: rank models by images_per_s, j_per_image@SCOPE or request_latency, or add --where model=…"
    )]
    TokenizersDiffer(&'static str),
}

/// Ranks.
///
/// # Errors
/// A question that these runs cannot answer on one board; the message says which to ask instead.
pub fn rank(runs: &[RankedRun], question: &Question) -> Result<Board, RankError> {
    let mut notes = Vec::new();
    let matching = select(runs, question)?;
    let question = with_scope(question, &matching)?;
    let matching = of_provenance(matching, &question, &mut notes);
    let figures = figures(&matching, &question.metric, &mut notes);
    let aggregate = check(&figures, &question)?;
    let candidates = candidates(&figures, &question, &aggregate, &mut notes);
    let best = best(candidates, &question, &mut notes);
    let placed = place(best, question.metric.is_lower_better());
    notes.extend(caveats(&placed, &question));
    Ok(board(placed, &figures, &aggregate, &question, notes))
}

/// Runs that meet the conditions, by id: from here on the order of arrival is forgotten.
fn select<'a>(runs: &'a [RankedRun], question: &Question) -> Result<Vec<&'a RankedRun>, RankError> {
    let mut selected: Vec<&RankedRun> = runs.iter().collect();
    selected.sort_by_key(|run| run.report.run);
    for condition in &question.conditions {
        let there_are: BTreeSet<String> = selected
            .iter()
            .map(|run| condition.key.of(&run.report))
            .collect();
        selected.retain(|run| condition.holds(&run.report));
        if selected.is_empty() && !there_are.is_empty() {
            return Err(RankError::NoSuchValue {
                key: condition.key.as_str(),
                value: condition.value.clone(),
                there_are: there_are.into_iter().collect(),
            });
        }
    }
    Ok(selected)
}

/// Names the scope if only one is there.
fn with_scope(question: &Question, runs: &[&RankedRun]) -> Result<Question, RankError> {
    let mut question = question.clone();
    if !question.metric.definition.needs_scope || question.metric.scope.is_some() {
        return Ok(question);
    }
    let powers = runs.iter().flat_map(|run| run.report.power.iter());
    let scopes: BTreeSet<Scope> = powers.map(|power| power.scope).collect();
    if scopes.len() > 1 {
        return Err(RankError::NeedsScope {
            metric: question.metric.definition.id,
            scopes: scopes.into_iter().collect(),
        });
    }
    question.metric.scope = scopes.first().copied();
    Ok(question)
}

fn of_provenance<'a>(
    runs: Vec<&'a RankedRun>,
    question: &Question,
    notes: &mut Vec<String>,
) -> Vec<&'a RankedRun> {
    let of = |run: &RankedRun| provenance(&run.report, &question.metric);
    let mut others: BTreeMap<_, usize> = BTreeMap::new();
    for run in &runs {
        *others.entry(of(run)).or_default() += 1;
    }
    others.remove(&question.provenance);
    notes.extend(others.into_iter().map(|(other, n)| {
        let runs = counted(n, "run is", "runs are");
        format!("{runs} {other}, on a board of their own: --provenance {other}")
    }));
    runs.into_iter()
        .filter(|run| of(run) == question.provenance)
        .collect()
}

/// The best configuration of each row, and apart from it the best of those that are not ranked.
fn best(
    candidates: Vec<Candidate>,
    question: &Question,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    let mut rows: BTreeMap<(BTreeMap<Key, String>, bool), Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let row = (candidate.by.clone(), candidate.is_blocked);
        rows.entry(row).or_default().push(candidate);
    }
    let mut best = Vec::new();
    for mut candidates in rows.into_values() {
        candidates.sort_by(|left, right| {
            let by_value = left.mean.total_cmp(&right.mean);
            let has_interval = |candidate: &Candidate| log_t_interval(&candidate.values).is_some();
            has_interval(right)
                .cmp(&has_interval(left))
                .then(if question.metric.is_lower_better() {
                    by_value
                } else {
                    by_value.reverse()
                })
                .then_with(|| left.configuration.cmp(&right.configuration))
        });
        notes.extend(others(&candidates));
        best.extend(candidates.into_iter().next());
    }
    best
}

/// What is not shown beside the best configuration, and how to see it.
fn others(candidates: &[Candidate]) -> Option<String> {
    let (best, others) = candidates.split_first()?;
    let differs = |key: &Key| {
        others
            .iter()
            .any(|other| other.configuration.get(key) != best.configuration.get(key))
    };
    let keys: Vec<&str> = best
        .configuration
        .keys()
        .filter(|key| differs(key))
        .map(|key| key.as_str())
        .collect();
    if keys.is_empty() {
        return None;
    }
    Some(format!(
        "{}: the best configuration is shown, {} not: add {} to --by",
        describe(&best.by),
        counted(others.len(), "other is", "others are"),
        keys.join(",")
    ))
}

/// What to know before believing.
fn caveats(placed: &[Placed], question: &Question) -> Vec<String> {
    let rows = || placed.iter().map(|placed| &placed.candidate);
    let n_placed = placed.iter().filter(|row| row.place.is_some()).count();
    let is_shown = !placed.is_empty();
    let caveats = [
        (
            rows().any(|row| row.is_blocked),
            "rows at the end without a place have a flag that keeps them from being ranked",
        ),
        (
            rows().any(|row| row.mean.is_infinite()),
            "`failed` is a row in which so many requests failed that this percentile is one of them: it has no place",
        ),
        (
            question.metric.definition.is_share() && is_shown,
            "intervals are between repetitions of the same requests, and say nothing about other pictures",
        ),
        (
            question.metric.is_over_energy() && is_shown,
            "the bound on energy is about sampling, not about the sensor's truth",
        ),
        (
            stands_above_a_better_value(placed, question.metric.is_lower_better()),
            "a row may stand above one with a better value: its own interval is so wide that nothing beats it beyond doubt",
        ),
        (
            n_placed > 1,
            "the 95 % hold for each pair of rows, not for the board as a whole",
        ),
    ];
    let applying = caveats.into_iter().filter(|(applies, _)| *applies);
    failures(placed)
        .chain(applying.map(|(_, caveat)| caveat.to_owned()))
        .collect()
}

/// Whether a better place goes with a worse value anywhere among the rows, which are in order of place.
fn stands_above_a_better_value(placed: &[Placed], is_lower_better: bool) -> bool {
    let mut pairs = placed.windows(2).filter(|pair| pair[1].place.is_some());
    pairs.any(|pair| {
        let (above, below) = (pair[0].candidate.mean, pair[1].candidate.mean);
        if is_lower_better {
            above > below
        } else {
            above < below
        }
    })
}

/// Failed requests have no speed of their own: who reads a speed must know of them.
fn failures(placed: &[Placed]) -> impl Iterator<Item = String> {
    let rows = placed.iter().map(|placed| &placed.candidate);
    rows.filter(|row| row.n_failed > 0).map(|row| {
        let Candidate {
            n_failed,
            n_requests,
            ..
        } = row;
        format!(
            "{}: {n_failed} of {n_requests} requests failed",
            describe(&row.by)
        )
    })
}

fn board(
    placed: Vec<Placed>,
    figures: &[Figure<'_>],
    aggregate: &Aggregate,
    question: &Question,
    notes: Vec<String>,
) -> Board {
    let is_common =
        |key: &Key| !question.by.contains(key) && (key.is_identity() || *key == Key::Device);
    let mut fixed = common(figures, Key::ALL.into_iter().filter(is_common));
    if let Some(tasks) = aggregate.tasks() {
        let names: Vec<&str> = tasks.iter().map(String::as_str).collect();
        fixed.insert(Key::Task, names.join(" + "));
    }
    let (same, differing) = configuration(&placed);
    fixed.extend(same);
    let metric = &question.metric;
    Board {
        schema: SCHEMA.to_owned(),
        metric: metric.definition.id.to_owned(),
        scope: metric.scope,
        provenance: question.provenance,
        unit: metric.definition.unit.to_owned(),
        lower_is_better: metric.is_lower_better(),
        aggregate: aggregate.name().to_owned(),
        fixed: named(fixed),
        rows: placed
            .into_iter()
            .map(|placed| row(placed, &differing))
            .collect(),
        notes,
    }
}

/// Configuration that all rows share, with its values, and the keys in which they differ.
fn configuration(placed: &[Placed]) -> (BTreeMap<Key, String>, BTreeSet<Key>) {
    let Some(first) = placed.first() else {
        return Default::default();
    };
    let is_shared = |key: &Key, value: &String| {
        placed
            .iter()
            .all(|placed| placed.candidate.configuration.get(key) == Some(value))
    };
    let (same, differing): (BTreeMap<_, _>, BTreeMap<_, _>) = first
        .candidate
        .configuration
        .clone()
        .into_iter()
        .partition(|(key, value)| is_shared(key, value));
    (same, differing.into_keys().collect())
}

fn row(placed: Placed, differing: &BTreeSet<Key>) -> Row {
    let candidate = placed.candidate;
    let mut key = candidate.by;
    key.extend(
        candidate
            .configuration
            .into_iter()
            .filter(|(key, _)| differing.contains(key)),
    );
    let interval = log_t_interval(&candidate.values);
    Row {
        place: placed.place,
        place_range: placed.place_range,
        key: named(key),
        value: if candidate.mean.is_infinite() {
            Percentile::Failed(Failed::Failed)
        } else {
            Percentile::Value(candidate.mean)
        },
        ci95: interval.map(|interval| (interval.low, interval.high)),
        n_runs: u32::try_from(candidate.values.len()).unwrap_or(u32::MAX),
        n_requests: candidate.n_requests,
        flags: candidate.flags.into_iter().chain(placed.advice).collect(),
    }
}

fn named(keys: BTreeMap<Key, String>) -> BTreeMap<String, String> {
    keys.into_iter()
        .map(|(key, value)| (key.as_str().to_owned(), value))
        .collect()
}

fn scoped(metric: &str, scopes: &[Scope]) -> String {
    let names: Vec<String> = scopes
        .iter()
        .map(|scope| format!("{metric}@{scope}"))
        .collect();
    names.join(" or ")
}

fn fixes(by: &str, several: &[Several]) -> String {
    let fix = |Several { key, values }: &Several| {
        let key = key.as_str();
        let first = values.first().map(String::as_str).unwrap_or_default();
        format!(
            "\n  {key} has several values ({}): add --where '{key}={first}', or make rows of it with --by {by},{key}",
            values.join(", ")
        )
    };
    several.iter().map(fix).collect()
}

/// Name of the document.
pub const SCHEMA: &str = "tokwatt.rank/1";
