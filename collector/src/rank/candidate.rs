//! Repetitions of one configuration, put together to what may become a row.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::spread::{arithmetic_mean, geometric_mean};

use super::{
    Key, Question,
    figure::{Figure, Sums, counted},
    identity::Aggregate,
};

/// All repetitions of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// What makes its row: the keys asked for.
    pub(super) by: BTreeMap<Key, String>,
    /// What is printed and never merged.
    pub(super) configuration: BTreeMap<Key, String>,
    /// Shown and not ranked.
    pub(super) is_blocked: bool,
    /// One for each repetition, sorted.
    pub(super) values: Vec<f64>,
    /// Mean over them: arithmetic for shares, else geometric; infinite if one is.
    pub(super) mean: f64,
    /// The largest of its repetitions'.
    pub(super) relative_bound: f64,
    pub(super) n_requests: u32,
    /// Of these, those that failed.
    pub(super) n_failed: u32,
    pub(super) flags: BTreeSet<String>,
}

/// What keeps figures apart: the row, the configuration, and whether they are ranked at all.
type Group = (BTreeMap<Key, String>, BTreeMap<Key, String>, bool);

/// A repetition's value, with the bound on its energy and the requests behind it.
struct Repetition {
    value: f64,
    relative_bound: f64,
    n_requests: u32,
    n_failed: u32,
}

/// Groups figures by row and configuration. What cannot be put together over all tasks goes into the notes.
pub(super) fn candidates(
    figures: &[Figure<'_>],
    question: &Question,
    aggregate: &Aggregate,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    let mut groups: BTreeMap<Group, Vec<&Figure<'_>>> = BTreeMap::new();
    for figure in figures {
        groups
            .entry(group_of(figure, question))
            .or_default()
            .push(figure);
    }
    let candidates = groups
        .into_iter()
        .filter_map(|(group, members)| candidate(group, &members, question, aggregate, notes));
    candidates.collect()
}

fn group_of(figure: &Figure<'_>, question: &Question) -> Group {
    let values = |keys: &mut dyn Iterator<Item = Key>| {
        keys.map(|key| (key, key.of(figure.report))).collect()
    };
    let is_configuration = |key: &Key| !key.is_identity() && !question.by.contains(key);
    (
        values(&mut question.by.iter().copied()),
        values(&mut Key::ALL.into_iter().filter(is_configuration)),
        figure.is_blocked,
    )
}

fn candidate(
    (by, configuration, is_blocked): Group,
    figures: &[&Figure<'_>],
    question: &Question,
    aggregate: &Aggregate,
    notes: &mut Vec<String>,
) -> Option<Candidate> {
    let kind = if is_blocked { " (what is flagged)" } else { "" };
    let name = format!("{}{kind}", describe(&by));
    let repetitions = match aggregate.tasks() {
        None => singles(figures),
        Some(tasks) => match over_tasks(figures, tasks, aggregate) {
            Ok((repetitions, 0)) => repetitions,
            Ok((repetitions, n)) => {
                let left_out = counted(n, "repetition is", "repetitions are");
                notes.push(format!(
                    "{name}: {left_out} left out: not all tasks have it"
                ));
                repetitions
            }
            Err(missing) => {
                let missing = missing.join(", ");
                notes.push(format!(
                    "{name} is left out: it has no figure for {missing}"
                ));
                return None;
            }
        },
    };
    let mut values: Vec<f64> = repetitions
        .iter()
        .map(|repetition| repetition.value)
        .collect();
    values.sort_by(f64::total_cmp);
    let mean = mean(&values, question.metric.definition.is_share());
    let Some(mean) = mean else {
        notes.push(format!("{name} is left out: a value is not above 0"));
        return None;
    };
    let bounds = repetitions
        .iter()
        .map(|repetition| repetition.relative_bound);
    Some(Candidate {
        by,
        configuration,
        is_blocked,
        values,
        mean,
        relative_bound: bounds.fold(0.0, f64::max),
        n_requests: repetitions.iter().map(|one| one.n_requests).sum(),
        n_failed: repetitions.iter().map(|one| one.n_failed).sum(),
        flags: figures
            .iter()
            .flat_map(|figure| figure.flags.iter().cloned())
            .collect(),
    })
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

fn singles(figures: &[&Figure<'_>]) -> Vec<Repetition> {
    let single = |figure: &&Figure<'_>| Repetition::of(figure.value, &[*figure]);
    figures.iter().map(single).collect()
}

impl Repetition {
    fn of(value: f64, figures: &[&Figure<'_>]) -> Self {
        let requests = || figures.iter().map(|figure| &figure.report.requests);
        // No task's energy is further off than this, so neither is their sum.
        let bounds = figures.iter().map(|figure| figure.relative_bound);
        Self {
            value,
            relative_bound: bounds.fold(0.0, f64::max),
            n_requests: requests().map(|counts| counts.issued).sum(),
            n_failed: requests().flat_map(|counts| counts.failed.values()).sum(),
        }
    }
}

/// One value for each repetition that every task has, and how many there are that not every task has.
///
/// Repetitions are matched by number; where a bench ran twice, the first of one task with the first of the others.
fn over_tasks(
    figures: &[&Figure<'_>],
    tasks: &BTreeSet<String>,
    aggregate: &Aggregate,
) -> Result<(Vec<Repetition>, usize), Vec<String>> {
    let mut by_task: BTreeMap<&str, Vec<&Figure<'_>>> = BTreeMap::new();
    for figure in figures {
        let task = figure.report.cell.identity.task.as_str();
        by_task.entry(task).or_default().push(figure);
    }
    let missing = tasks
        .iter()
        .filter(|task| !by_task.contains_key(task.as_str()));
    let missing: Vec<String> = missing.cloned().collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut matched: BTreeMap<(u32, usize), Vec<&Figure<'_>>> = BTreeMap::new();
    for figures in by_task.into_values() {
        for (position, figure) in numbered(figures) {
            matched.entry(position).or_default().push(figure);
        }
    }
    let n = matched.len();
    let complete = matched
        .into_values()
        .filter(|figures| figures.len() == tasks.len());
    let repetitions: Vec<Repetition> = complete
        .filter_map(|figures| aggregate_one(&figures, aggregate))
        .collect();
    let left_out = n - repetitions.len();
    Ok((repetitions, left_out))
}

/// Figures of one task with their repetition, and which of those with that number it is.
fn numbered<'f, 'a>(mut figures: Vec<&'f Figure<'a>>) -> Vec<((u32, usize), &'f Figure<'a>)> {
    let order = |figure: &&Figure<'_>| {
        let report = figure.report;
        (report.repetition, report.started, report.run)
    };
    figures.sort_by_key(order);
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    let number = |figure: &'f Figure<'a>| {
        let repetition = figure.report.repetition;
        let nth = seen.entry(repetition).or_default();
        *nth += 1;
        ((repetition, *nth), figure)
    };
    figures.into_iter().map(number).collect()
}

fn aggregate_one(figures: &[&Figure<'_>], aggregate: &Aggregate) -> Option<Repetition> {
    let values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    let value = match aggregate {
        Aggregate::RatioOfSums(_) => ratio_of_sums(figures)?,
        Aggregate::Mean { is_share, .. } => mean(&values, *is_share)?,
        Aggregate::OneTask => mean(&values, false)?,
    };
    Some(Repetition::of(value, figures))
}

/// Added in the order of the tasks' names, so that the sum does not depend on who came first.
fn ratio_of_sums(figures: &[&Figure<'_>]) -> Option<f64> {
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
pub(super) fn describe(keys: &BTreeMap<Key, String>) -> String {
    let texts: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{}={value}", key.as_str()))
        .collect();
    texts.join(", ")
}
