//! Stored runs to a board: who is better, beyond doubt, and who shares a place. Pure.
//!
//! What may be compared: identity (suite, task, model, precision, limits, load, …) must match within a board, unless a key makes
//! the rows; only tasks are put together, and the board says how. Configuration (engine, digests, power mode, …) is printed and
//! never merged: each row shows the best configuration of its key and names it. Same runs, same bytes, in any order of arrival.

mod beside;
mod candidate;
mod catalogue;
mod cell;
mod choices;
mod figure;
mod identity;
mod index;
mod key;
mod place;
mod question;
mod reciprocal;
mod selection;
mod suspicion;

#[cfg(test)]
pub(crate) mod made_up;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{
    leaderboard::{Board, Boards, Row},
    metrics::{Failed, Percentile, RunReport, dictionary::UnknownMetric},
    power::{Scope, UnknownScope},
};

use self::{
    beside::{Beside, beside},
    candidate::{Candidate, Grouping, Named, describe},
    figure::{counted, figures},
    identity::{Aggregate, Common, Several},
    place::{Placed, place},
    selection::{Selection, meeting, scopes_of},
    suspicion::suspect,
};

pub use self::{
    catalogue::{Catalogue, MemoryIndex},
    cell::{CellFigure, RankedCell, Repetition, cells, cells_of},
    choices::{Choices, choices},
    index::{CellIndex, CellName},
    key::{Condition, Key},
    question::{Metric, OverTasks, PROVENANCES, Question, parse_provenance},
};

/// A measured run, as far as ranking looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedRun {
    /// Our report.
    pub report: RunReport,
    /// Whether the agent's differs.
    pub report_differs: bool,
}

/// Where the figures of cells are read: the index in the store, or one in memory.
pub trait Columns {
    /// Why they cannot be read.
    type Error;

    /// Hands over the packed figures of a metric, `id` or `id@scope`, cell by cell, with the cell's position in `cells`, whose numbers
    /// grow. What a cell does not have is left out.
    ///
    /// # Errors
    /// The index cannot be read.
    fn columns(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), Self::Error>;

    /// The names of cells, each a [`CellName`] as JSON.
    ///
    /// # Errors
    /// The index cannot be read.
    fn names(&self, cells: &[i64]) -> Result<Vec<String>, Self::Error>;

    /// Whether any cell has figures of a metric, `id` or `id@scope`.
    ///
    /// # Errors
    /// The index cannot be read.
    fn has(&self, metric: &str) -> Result<bool, Self::Error>;
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
    /// No such way to put tasks together.
    #[error("unknown aggregate `{name}`, {advice}")]
    UnknownAggregate {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// Sums of a metric that is not made of any.
    #[error("`{0}` is not made of sums: leave out --aggregate, or take --aggregate macro")]
    NoSums(&'static str),
    /// The index of figures is damaged.
    #[error(
        "the index of figures cannot be read ({0}): stop the collector and run `check --rebuild`"
    )]
    Index(String),
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
    #[error("`{metric}` is there for several power scopes, which cannot be compared: ask for one, {}, or for each on a board of its own with --allow-mixed-scope", scoped(.metric, .scopes))]
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
        "`{0}` counts tokens, and models differ in what a token is: rank models by images_per_s, j_per_image@SCOPE or request_latency, ask for one model, or take --across-tokenizers on the command line, and every row says so"
    )]
    TokenizersDiffer(String),
}

/// Ranks runs.
///
/// # Errors
/// A question that these runs cannot answer on one board; the message says which to ask instead.
pub fn rank(runs: &[RankedRun], question: &Question) -> Result<Board, RankError> {
    let index = MemoryIndex::of(runs)?;
    board(&index.catalogue, &index, question)
}

/// Ranks what is in an index: the cells of `catalogue`, whose figures are in `columns`.
///
/// # Errors
/// A question that these runs cannot answer on one board, or the index cannot be read.
pub fn board<C: Columns>(
    catalogue: &Catalogue,
    columns: &C,
    question: &Question,
) -> Result<Board, C::Error>
where
    C::Error: From<RankError>,
{
    let selection = Selection::of(catalogue, question)?;
    let mut notes = selection.others();
    let figures = figures(&selection, columns, &mut notes)?;
    let figures = Common::comparable(catalogue, &selection.question, figures, &mut notes);
    let common = Common::of(catalogue, &figures);
    let question = &selection.question;
    let aggregate = common.check(question)?;
    let order = catalogue.order();
    let grouping = Grouping::new(question, &order, &aggregate);
    let candidates = grouping.candidates(&figures, &mut notes);
    let best = best(candidates, question, &mut notes);
    let mut placed = place(best, question.metric.is_lower_better());
    notes.extend(suspect(&mut placed, catalogue, &question.metric));
    let mut besides = vec![Beside::new(); placed.len()];
    if common.has_several_tokenizers() {
        let candidates: Vec<&Candidate<'_>> = placed.iter().map(|row| &row.candidate).collect();
        besides = beside(&selection, &candidates, columns)?;
        flag_tokens(&mut placed, question);
    }
    notes.extend(caveats(&placed, question));
    let fixed = fixed(&common, &aggregate, question);
    Ok(document(
        placed, besides, fixed, &aggregate, question, notes,
    ))
}

/// A board for each power scope that is there, in the order of the scopes: side by side, never one among the rows of another. One
/// board for a question that names its scope or needs none.
///
/// # Errors
/// As [`board`].
pub fn boards<C: Columns>(
    catalogue: &Catalogue,
    columns: &C,
    question: &Question,
) -> Result<Boards, C::Error>
where
    C::Error: From<RankError>,
{
    let metric = &question.metric;
    let questions: Vec<Question> = if metric.definition.needs_scope && metric.scope.is_none() {
        let cells = meeting(catalogue, &question.conditions)?;
        let scopes = scopes_of(catalogue, &cells, question.provenance);
        scopes
            .into_iter()
            .map(|scope| question.of_scope(scope))
            .collect()
    } else {
        Vec::new()
    };
    let questions = if questions.is_empty() {
        vec![question.clone()]
    } else {
        questions
    };
    let boards: Result<Vec<Board>, C::Error> = questions
        .iter()
        .map(|question| board(catalogue, columns, question))
        .collect();
    let boards = boards?;
    Ok(Boards {
        schema: BOARDS_SCHEMA.to_owned(),
        warning: (boards.len() > 1).then(|| MIXED_SCOPES.to_owned()),
        boards,
    })
}

/// Whoever reads tokens of several models must see on every row that they are not the same.
fn flag_tokens(placed: &mut [Placed<'_>], question: &Question) {
    if question.metric.counts_tokens() {
        for row in placed {
            row.candidate.flags.insert("tokenizer_differs".to_owned());
        }
    }
}

/// The best configuration of each row, and apart from it the best of those that are not ranked.
fn best<'a>(
    candidates: Vec<Candidate<'a>>,
    question: &Question,
    notes: &mut Vec<String>,
) -> Vec<Candidate<'a>> {
    let mut rows: BTreeMap<(Named<'a>, bool), Vec<Candidate<'a>>> = BTreeMap::new();
    for candidate in candidates {
        let row = (candidate.by.clone(), candidate.is_blocked);
        rows.entry(row).or_default().push(candidate);
    }
    let mut best = Vec::new();
    for mut candidates in rows.into_values() {
        candidates.sort_by(|left, right| {
            let by_value = left.mean.total_cmp(&right.mean);
            let has_interval = |candidate: &Candidate<'_>| candidate.sample.is_some();
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
fn others(candidates: &[Candidate<'_>]) -> Option<String> {
    let (best, others) = candidates.split_first()?;
    let differs = |position: usize| {
        let mut others = others.iter();
        others.any(|other| other.configuration.get(position) != best.configuration.get(position))
    };
    let keys = best.configuration.iter().enumerate();
    let keys: Vec<&str> = keys
        .filter(|(position, _)| differs(*position))
        .map(|(_, (key, _))| key.as_str())
        .collect();
    if keys.is_empty() {
        return None;
    }
    Some(format!(
        "{}: the best configuration is shown, {} not: rows by {}, too, show them",
        describe(&best.by),
        counted(others.len(), "other is", "others are"),
        keys.join(",")
    ))
}

/// What to know before believing.
fn caveats(placed: &[Placed<'_>], question: &Question) -> Vec<String> {
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
fn stands_above_a_better_value(placed: &[Placed<'_>], is_lower_better: bool) -> bool {
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
fn failures(placed: &[Placed<'_>]) -> impl Iterator<Item = String> {
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

/// What all rows have in common of identity and device.
fn fixed(
    common: &Common<'_, '_>,
    aggregate: &Aggregate,
    question: &Question,
) -> BTreeMap<Key, String> {
    let is_common =
        |key: &Key| !question.by.contains(key) && (key.is_identity() || *key == Key::Device);
    let mut fixed = common.keys(Key::ALL.into_iter().filter(is_common));
    if let Some(tasks) = aggregate.tasks() {
        let names: Vec<&str> = tasks.iter().map(String::as_str).collect();
        fixed.insert(Key::Task, names.join(" + "));
    }
    fixed
}

fn document(
    placed: Vec<Placed<'_>>,
    besides: Vec<Beside>,
    mut fixed: BTreeMap<Key, String>,
    aggregate: &Aggregate,
    question: &Question,
    notes: Vec<String>,
) -> Board {
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
        fixed: fixed
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value))
            .collect(),
        rows: placed
            .into_iter()
            .zip(besides)
            .map(|(placed, beside)| row(placed, beside, &differing))
            .collect(),
        notes,
    }
}

/// Configuration that all rows share, with its values, and the keys in which they differ.
fn configuration(placed: &[Placed<'_>]) -> (BTreeMap<Key, String>, BTreeSet<Key>) {
    let mut same = BTreeMap::new();
    let mut differing = BTreeSet::new();
    let first = placed.first().map(|row| &row.candidate.configuration);
    for (position, (key, value)) in first.into_iter().flatten().enumerate() {
        let is_own =
            |row: &Placed<'_>| row.candidate.configuration.get(position) == Some(&(*key, *value));
        if placed.iter().all(is_own) {
            same.insert(*key, (*value).to_owned());
        } else {
            differing.insert(*key);
        }
    }
    (same, differing)
}

fn row(placed: Placed<'_>, beside: Beside, differing: &BTreeSet<Key>) -> Row {
    let candidate = placed.candidate;
    let configuration = candidate.configuration.into_iter();
    let configuration = configuration.filter(|(key, _)| differing.contains(key));
    let key = candidate.by.into_iter().chain(configuration);
    let interval = candidate.sample.map(|sample| sample.interval());
    Row {
        place: placed.place,
        place_range: placed.place_range,
        key: key
            .map(|(key, value)| (key.as_str().to_owned(), value.to_owned()))
            .collect(),
        value: if candidate.mean.is_infinite() {
            Percentile::Failed(Failed::Failed)
        } else {
            Percentile::Value(candidate.mean)
        },
        ci95: interval.map(|interval| (interval.low, interval.high)),
        n_runs: u32::try_from(candidate.values.len()).unwrap_or(u32::MAX),
        n_requests: candidate.n_requests,
        flags: candidate.flags.into_iter().chain(placed.advice).collect(),
        beside,
    }
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

/// Name of the document of several boards.
pub const BOARDS_SCHEMA: &str = "tokwatt.boards/1";

/// What whoever reads several scopes must know.
const MIXED_SCOPES: &str = "these boards are of different power scopes, which include different parts of a machine: no value on one may be compared with a value on another (a GPU's own sensor showed 27 to 50 % of what the whole box drew)";
