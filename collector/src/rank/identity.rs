//! What must match within a board: checked, and said with the way out where it does not.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::dictionary::Kind;

use super::{Key, Question, RankError, figure::Figure};

/// How tasks are put together.
#[derive(Clone, Debug)]
pub(super) enum Aggregate {
    /// There is nothing to put together.
    OneTask,
    /// Sums over all tasks, then one divided by the other.
    RatioOfSums(BTreeSet<String>),
    /// The mean of the tasks' values.
    Mean {
        tasks: BTreeSet<String>,
        is_share: bool,
    },
}

/// A key with more than one value, where a board takes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Several {
    /// Which key.
    pub key: Key,
    /// Its values, sorted.
    pub values: Vec<String>,
}

impl Aggregate {
    /// The tasks that are put together.
    pub(super) fn tasks(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::OneTask => None,
            Self::RatioOfSums(tasks) | Self::Mean { tasks, .. } => Some(tasks),
        }
    }

    /// How it is called on the board.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::OneTask => "one task",
            Self::RatioOfSums(_) => "ratio of sums",
            Self::Mean { is_share: true, .. } => "arithmetic mean",
            Self::Mean { .. } => "geometric mean",
        }
    }
}

/// Checks that figures may stand on one board, and says how their tasks are put together.
///
/// # Errors
/// [`RankError::Several`] with every key that has more than one value and should not.
pub(super) fn check(figures: &[Figure<'_>], question: &Question) -> Result<Aggregate, RankError> {
    let must_match = |key: &Key| {
        let is_asked_about = *key != Key::Limits || question.metric.definition.id == "goodput";
        let is_fixed = key.is_identity() && *key != Key::Task && is_asked_about;
        let is_engine = question.is_strict && key.is_engine();
        (is_fixed || is_engine || *key == Key::Device) && !question.by.contains(key)
    };
    let several = Key::ALL.into_iter().filter(must_match).filter_map(|key| {
        let values = values(figures, key);
        (values.len() > 1).then(|| Several {
            key,
            values: values.into_iter().collect(),
        })
    });
    let several: Vec<Several> = several.collect();
    if !several.is_empty() {
        let by = question
            .by
            .iter()
            .map(|key| key.as_str())
            .collect::<Vec<_>>();
        return Err(RankError::Several {
            by: by.join(","),
            several,
        });
    }
    let n_models = values(figures, Key::Model).len();
    if n_models > 1 && question.metric.counts_tokens() {
        return Err(RankError::TokenizersDiffer(question.metric.definition.id));
    }
    Ok(aggregate(figures, question))
}

/// Keys with one value, the same in all figures.
pub(super) fn common(
    figures: &[Figure<'_>],
    keys: impl Iterator<Item = Key>,
) -> BTreeMap<Key, String> {
    let single = |key: Key| {
        let mut values = values(figures, key);
        let value = values.pop_first()?;
        values.is_empty().then_some((key, value))
    };
    keys.filter_map(single).collect()
}

fn aggregate(figures: &[Figure<'_>], question: &Question) -> Aggregate {
    let tasks = values(figures, Key::Task);
    if tasks.len() <= 1 || question.by.contains(&Key::Task) {
        return Aggregate::OneTask;
    }
    match question.metric.definition.kind {
        Kind::Ratio { .. } => Aggregate::RatioOfSums(tasks),
        Kind::Percentile { .. } | Kind::Number => Aggregate::Mean {
            tasks,
            is_share: question.metric.definition.is_share(),
        },
    }
}

fn values(figures: &[Figure<'_>], key: Key) -> BTreeSet<String> {
    figures.iter().map(|figure| key.of(figure.report)).collect()
}
