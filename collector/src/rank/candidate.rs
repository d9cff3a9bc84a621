//! Repetitions of one configuration, put together to what may become a row.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::spread::{LogSample, Repetitions, arithmetic_mean, geometric_mean};

use super::{
    Key, Question,
    catalogue::{IndexedCell, Order, Word},
    figure::{Figure, Figures, counted},
    identity::Aggregate,
    index::Sums,
};

/// Keys with their values, in the order of the keys.
pub(super) type Named<'a> = Vec<(Key, &'a str)>;

/// All repetitions of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    /// What makes its row: the keys asked for.
    pub(super) by: Named<'a>,
    /// What is printed and never merged.
    pub(super) configuration: Named<'a>,
    /// Shown and not ranked.
    pub(super) is_blocked: bool,
    /// One for each repetition, sorted.
    pub(super) values: Vec<f64>,
    /// Mean over them: arithmetic for shares, else geometric; infinite if one is.
    pub(super) mean: f64,
    /// On the logarithms, with how far off its repetitions may be; absent where there is no interval.
    pub(super) sample: Option<LogSample>,
    pub(super) n_requests: u32,
    /// Of these, those that failed.
    pub(super) n_failed: u32,
    pub(super) flags: BTreeSet<String>,
    /// Where its figures are from.
    pub(super) cells: Vec<&'a IndexedCell>,
}

/// What keeps figures apart: the row, the configuration, and whether they are ranked at all; values by the rank of their texts.
type Group = (Vec<u32>, Vec<u32>, bool);

/// A repetition's value, with the bound on its energy and the requests behind it.
struct Repetition {
    value: f64,
    relative_bound: f64,
    n_requests: u32,
    n_failed: u32,
}

/// Puts figures together to candidates.
pub(super) struct Grouping<'q, 'a> {
    question: &'q Question,
    order: &'q Order<'a>,
    aggregate: &'q Aggregate,
    by: Vec<Key>,
    configuration: Vec<Key>,
}

impl<'q, 'a> Grouping<'q, 'a> {
    pub(super) fn new(
        question: &'q Question,
        order: &'q Order<'a>,
        aggregate: &'q Aggregate,
    ) -> Self {
        let is_configuration = |key: &Key| !key.is_identity() && !question.by.contains(key);
        let mut by = question.by.clone();
        by.sort_unstable();
        Self {
            question,
            order,
            aggregate,
            by,
            configuration: Key::ALL.into_iter().filter(is_configuration).collect(),
        }
    }

    /// Groups figures by row and configuration. What cannot be put together over all tasks goes into the notes.
    pub(super) fn candidates(
        &self,
        figures: &[Figures<'a>],
        notes: &mut Vec<String>,
    ) -> Vec<Candidate<'a>> {
        let mut groups: BTreeMap<Group, Vec<&Figures<'a>>> = BTreeMap::new();
        for figures in figures {
            let ranks = |keys: &[Key]| {
                keys.iter()
                    .map(|key| self.rank(figures.cell.key(*key)))
                    .collect()
            };
            let group = (
                ranks(&self.by),
                ranks(&self.configuration),
                figures.is_blocked,
            );
            groups.entry(group).or_default().push(figures);
        }
        let candidates = groups
            .into_iter()
            .filter_map(|(group, members)| self.candidate(&group, &members, notes));
        candidates.collect()
    }

    fn rank(&self, word: Word) -> u32 {
        self.order.rank(word)
    }

    fn named(&self, keys: &[Key], ranks: &[u32]) -> Named<'a> {
        let text = |(key, rank): (&Key, &u32)| (*key, self.order.text(*rank));
        keys.iter().zip(ranks).map(text).collect()
    }

    fn candidate(
        &self,
        (by, configuration, is_blocked): &Group,
        members: &[&Figures<'a>],
        notes: &mut Vec<String>,
    ) -> Option<Candidate<'a>> {
        let by = self.named(&self.by, by);
        let name = || {
            let kind = if *is_blocked {
                " (what is flagged)"
            } else {
                ""
            };
            format!("{}{kind}", describe(&by))
        };
        let repetitions = match self.aggregate.tasks() {
            None => singles(members),
            Some(tasks) => match self.over_tasks(members, tasks) {
                Ok((repetitions, 0)) => repetitions,
                Ok((repetitions, _)) if repetitions.is_empty() => {
                    let name = name();
                    notes.push(match self.aggregate {
                        Aggregate::RatioOfSums(_) => format!(
                            "{name} is left out: no repetition of it has the sums of every task; the aggregate `macro` takes the mean of what is stated"
                        ),
                        _ => format!("{name} is left out: no repetition of it is of every task"),
                    });
                    return None;
                }
                Ok((repetitions, n)) => {
                    let left_out = counted(n, "repetition is", "repetitions are");
                    let name = name();
                    notes.push(format!(
                        "{name}: {left_out} left out: not all tasks have it"
                    ));
                    repetitions
                }
                Err(missing) => {
                    let (name, missing) = (name(), missing.join(", "));
                    notes.push(format!(
                        "{name} is left out: it has no figure for {missing}"
                    ));
                    return None;
                }
            },
        };
        let mut values: Vec<f64> = repetitions.iter().map(|one| one.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let bounds = repetitions.iter().map(|one| one.relative_bound);
        let sample = LogSample::of(&Repetitions {
            values: &values,
            relative_bound: bounds.fold(0.0, f64::max),
        });
        let is_share = self.question.metric.definition.is_share();
        let mean = match &sample {
            Some(sample) if !is_share => Some(sample.geometric_mean()),
            _ => mean(&values, is_share),
        };
        let Some(mean) = mean else {
            notes.push(format!("{} is left out: a value is not above 0", name()));
            return None;
        };
        Some(Candidate {
            configuration: self.named(&self.configuration, configuration),
            is_blocked: *is_blocked,
            mean,
            sample,
            values,
            n_requests: repetitions.iter().map(|one| one.n_requests).sum(),
            n_failed: repetitions.iter().map(|one| one.n_failed).sum(),
            flags: members
                .iter()
                .flat_map(|figures| figures.flags.iter().cloned())
                .collect(),
            cells: members.iter().map(|figures| figures.cell).collect(),
            by,
        })
    }

    /// One value for each repetition that every task has, and how many there are that not every task has.
    ///
    /// Repetitions are matched by number; where a bench ran twice, the first of one task with the first of the others.
    fn over_tasks(
        &self,
        members: &[&Figures<'a>],
        tasks: &BTreeSet<String>,
    ) -> Result<(Vec<Repetition>, usize), Vec<String>> {
        let mut by_task: BTreeMap<&str, Vec<Figure<'a>>> = BTreeMap::new();
        for figures in members {
            let task = self.order.text(self.rank(figures.cell.key(Key::Task)));
            let own = by_task.entry(task).or_default();
            own.extend(figures.figures.iter().copied());
        }
        let missing = tasks
            .iter()
            .filter(|task| !by_task.contains_key(task.as_str()));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let by_task: Vec<Vec<Numbered<'a>>> = by_task.into_values().map(numbered).collect();
        let (complete, n) = matched(&by_task);
        let repetitions: Vec<Repetition> = complete
            .iter()
            .filter_map(|figures| self.over(figures))
            .collect();
        let left_out = n - repetitions.len();
        Ok((repetitions, left_out))
    }

    fn over(&self, figures: &[Figure<'_>]) -> Option<Repetition> {
        let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
        let value = match self.aggregate {
            Aggregate::RatioOfSums(_) => ratio_of_sums(figures)?,
            Aggregate::Mean { is_share, .. } => mean(&values, *is_share)?,
            Aggregate::OneTask => mean(&values, false)?,
        };
        Some(Repetition::of(value, figures))
    }
}

/// One that is infinite makes the mean so.
pub(super) fn mean(values: &[f64], is_share: bool) -> Option<f64> {
    if values.contains(&f64::INFINITY) {
        return Some(f64::INFINITY);
    }
    if is_share {
        arithmetic_mean(values)
    } else {
        geometric_mean(values)
    }
}

fn singles(members: &[&Figures<'_>]) -> Vec<Repetition> {
    let figures = members.iter().flat_map(|figures| &figures.figures);
    let single = |figure: &Figure<'_>| Repetition::of(figure.value, std::slice::from_ref(figure));
    figures.map(single).collect()
}

impl Repetition {
    fn of(value: f64, figures: &[Figure<'_>]) -> Self {
        // No task's energy is further off than this, so neither is their sum.
        let bounds = figures.iter().map(|figure| figure.relative_bound);
        Self {
            value,
            relative_bound: bounds.fold(0.0, f64::max),
            n_requests: figures.iter().map(|figure| figure.run.n_requests).sum(),
            n_failed: figures.iter().map(|figure| figure.run.n_failed).sum(),
        }
    }
}

/// Number of a repetition, and which of those with that number it is.
type Position = (u32, usize);

type Numbered<'a> = (Position, Figure<'a>);

/// Figures of one task in the order of their positions.
fn numbered<'a>(mut figures: Vec<Figure<'a>>) -> Vec<Numbered<'a>> {
    figures.sort_by_key(|Figure { run, .. }| (run.repetition, run.started, run.id));
    let mut nth = 0;
    let mut last = None;
    let number = |figure: Figure<'a>| {
        let repetition = figure.run.repetition;
        nth = match last.replace(repetition) == Some(repetition) {
            true => nth + 1,
            false => 1,
        };
        ((repetition, nth), figure)
    };
    figures.into_iter().map(number).collect()
}

/// Figures of the same position, of each task one; and how many positions there are, in whatever task.
fn matched<'a>(by_task: &[Vec<Numbered<'a>>]) -> (Vec<Vec<Figure<'a>>>, usize) {
    let positions = by_task.iter().flatten().map(|(position, _)| *position);
    let mut positions: Vec<Position> = positions.collect();
    positions.sort();
    positions.dedup();
    let mut rest: Vec<&[Numbered<'a>]> = by_task.iter().map(Vec::as_slice).collect();
    let mut complete = Vec::new();
    for position in &positions {
        let mut figures = Vec::with_capacity(rest.len());
        for task in &mut rest {
            if let Some(((own, figure), tail)) = task.split_first()
                && own == position
            {
                figures.push(*figure);
                *task = tail;
            }
        }
        if figures.len() == by_task.len() {
            complete.push(figures);
        }
    }
    (complete, positions.len())
}

/// Added in the order of the tasks' names, so that the sum does not depend on who came first.
fn ratio_of_sums(figures: &[Figure<'_>]) -> Option<f64> {
    let mut whole = Sums {
        numerator: 0.0,
        denominator: 0.0,
    };
    for figure in figures {
        let sums = figure.sums?;
        whole.numerator += sums.numerator;
        whole.denominator += sums.denominator;
    }
    (whole.denominator > 0.0).then(|| whole.numerator / whole.denominator)
}

/// `device=a, precision=f32`.
pub(super) fn describe(keys: &[(Key, &str)]) -> String {
    let texts: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{}={value}", key.as_str()))
        .collect();
    texts.join(", ")
}
