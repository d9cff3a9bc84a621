//! What must match within a board: checked, and said with the way out where it does not.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::dictionary::Kind;

use super::{
    Catalogue, Key, OverTasks, Question, RankError,
    catalogue::Word,
    figure::{Figures, counted},
    selection::{distinct, texts},
};

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

/// What figures have in common, seen from one board.
pub(super) struct Common<'f, 'a> {
    catalogue: &'a Catalogue,
    figures: &'f [Figures<'a>],
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

impl<'f, 'a> Common<'f, 'a> {
    pub(super) fn of(catalogue: &'a Catalogue, figures: &'f [Figures<'a>]) -> Self {
        Self { catalogue, figures }
    }

    /// Figures that are ranked, and of those that are only shown what may stand on their board; the others go into the notes. Where
    /// nothing is ranked, all of them.
    pub(super) fn comparable(
        catalogue: &'a Catalogue,
        question: &Question,
        figures: Vec<Figures<'a>>,
        notes: &mut Vec<String>,
    ) -> Vec<Figures<'a>> {
        let (blocked, mut comparable): (Vec<_>, Vec<_>) =
            figures.into_iter().partition(|figures| figures.is_blocked);
        if comparable.is_empty() {
            return blocked;
        }
        let counts_tokens = question.metric.counts_tokens() && !question.may_differ;
        let decides = |key: &Key| {
            must_match(question, *key)
                || (*key == Key::Task && !question.by.contains(key))
                || (*key == Key::Model && counts_tokens)
        };
        let ranked: Vec<(Key, BTreeSet<Word>)> = Key::ALL
            .into_iter()
            .filter(decides)
            .map(|key| {
                (
                    key,
                    distinct(comparable.iter().map(|own| own.cell.key(key))),
                )
            })
            .collect();
        let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
        for figures in blocked {
            let mut keys = ranked.iter();
            let other = keys.find(|(key, values)| !values.contains(&figures.cell.key(*key)));
            match other {
                None => comparable.push(figures),
                Some((key, _)) => {
                    let value = catalogue.text(figures.cell.key(*key));
                    let name = format!("{} {value}", key.as_str());
                    *left_out.entry(name).or_default() += figures.figures.len();
                }
            }
        }
        notes.extend(left_out.into_iter().map(|(name, n)| {
            let runs = counted(n, "run is", "runs are");
            format!("{runs} flagged, and left out: nothing of {name} is ranked here")
        }));
        comparable
    }

    /// Checks that figures may stand on one board, and says how their tasks are put together.
    ///
    /// # Errors
    /// [`RankError::Several`] with every key that has more than one value and should not.
    pub(super) fn check(&self, question: &Question) -> Result<Aggregate, RankError> {
        let must_match = Key::ALL
            .into_iter()
            .filter(|key| must_match(question, *key));
        let several = must_match.filter_map(|key| {
            let values = self.values(key);
            (values.len() > 1).then(|| Several {
                key,
                values: values.into_iter().collect(),
            })
        });
        let several: Vec<Several> = several.collect();
        if !several.is_empty() {
            let by: Vec<&str> = question.by.iter().map(|key| key.as_str()).collect();
            return Err(RankError::Several {
                by: by.join(","),
                several,
            });
        }
        if self.has_several_tokenizers() && question.metric.counts_tokens() && !question.may_differ
        {
            return Err(RankError::TokenizersDiffer(question.metric.to_string()));
        }
        self.aggregate(question)
    }

    /// Keys with one value, the same in all figures.
    pub(super) fn keys(&self, keys: impl Iterator<Item = Key>) -> BTreeMap<Key, String> {
        let single = |key: Key| {
            let mut values = self.values(key);
            let value = values.pop_first()?;
            values.is_empty().then_some((key, value))
        };
        keys.filter_map(single).collect()
    }

    /// Whether there are several models, which differ in what a token is.
    pub(super) fn has_several_tokenizers(&self) -> bool {
        self.values(Key::Model).len() > 1
    }

    fn aggregate(&self, question: &Question) -> Result<Aggregate, RankError> {
        let tasks = self.values(Key::Task);
        if tasks.len() <= 1 || question.by.contains(&Key::Task) {
            return Ok(Aggregate::OneTask);
        }
        let definition = question.metric.definition;
        let is_ratio = matches!(definition.kind, Kind::Ratio { .. });
        let is_share = definition.is_share();
        match question.over_tasks {
            Some(OverTasks::Sums) if !is_ratio => Err(RankError::NoSums(definition.id)),
            Some(OverTasks::Macro) => Ok(Aggregate::Mean { tasks, is_share }),
            Some(OverTasks::Sums) | None if is_ratio => Ok(Aggregate::RatioOfSums(tasks)),
            Some(OverTasks::Sums) | None => Ok(Aggregate::Mean { tasks, is_share }),
        }
    }

    fn values(&self, key: Key) -> BTreeSet<String> {
        let words = distinct(self.figures.iter().map(|figures| figures.cell.key(key)));
        texts(self.catalogue, &words)
    }
}

/// Whether a key must have one value within a board; the tasks are another matter.
fn must_match(question: &Question, key: Key) -> bool {
    let is_asked_about = key != Key::Limits || question.metric.definition.id == "goodput";
    let is_fixed = key.is_identity() && key != Key::Task && is_asked_about;
    let is_engine = question.is_strict && key.is_engine();
    (is_fixed || is_engine || key == Key::Device) && !question.by.contains(&key)
}
