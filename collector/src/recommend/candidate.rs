//! A configuration that may be recommended, with the cells of all its tasks; and whether it is.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::metrics::spread::{
    composite::{combined_bound, weighted_product},
    geometric_mean, log_t_interval,
    verdict::REPETITIONS_LEAST,
};

use super::{
    Reason, ReasonKind,
    measure::{Figures, Measure, OverTasks},
    use_case::{Term, UseCase},
};
use crate::rank::{Key, RankedCell};

/// A configuration with the cells of its tasks.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    /// By task.
    cells: BTreeMap<String, &'a RankedCell>,
    /// Tasks that other candidates have and this one does not.
    missing: BTreeSet<String>,
}

/// What becomes of a candidate.
pub(super) enum Fate {
    /// It has a place.
    Ranked(OverTasks),
    /// It has none, for these reasons.
    Excluded(Vec<Reason>),
}

/// Cells that differ in their task only, together.
pub(super) fn candidates<'a>(cells: &'a [RankedCell], apart: &BTreeSet<Key>) -> Vec<Candidate<'a>> {
    let mut candidates: BTreeMap<Vec<String>, BTreeMap<String, &RankedCell>> = BTreeMap::new();
    for cell in cells {
        let name = apart.iter().map(|key| cell.value(*key)).collect();
        let tasks = candidates.entry(name).or_default();
        tasks.insert(cell.value(Key::Task), cell);
    }
    let all: BTreeSet<&String> = candidates.values().flat_map(BTreeMap::keys).collect();
    let all: BTreeSet<String> = all.into_iter().cloned().collect();
    candidates
        .into_values()
        .map(|cells| Candidate {
            missing: all
                .iter()
                .filter(|task| !cells.contains_key(*task))
                .cloned()
                .collect(),
            cells,
        })
        .collect()
}

impl Candidate<'_> {
    pub(super) fn cells(&self) -> impl Iterator<Item = &RankedCell> {
        self.cells.values().copied()
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &String> {
        self.cells.keys()
    }

    /// Its value of a key; of those that its cells differ in, the first one's.
    pub(super) fn value(&self, key: Key) -> String {
        let mut cells = self.cells();
        cells
            .next()
            .map_or_else(String::new, |cell| cell.value(key))
    }

    pub(super) fn named(&self, keys: &BTreeSet<Key>) -> BTreeMap<String, String> {
        let named = |key: &Key| (key.as_str().to_owned(), self.value(*key));
        keys.iter().map(named).collect()
    }

    /// Repetitions of the task that has the fewest.
    pub(super) fn n_runs(&self) -> u32 {
        let n = self.cells().map(|cell| cell.runs.len()).min();
        u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    pub(super) fn n_requests(&self) -> u32 {
        self.cells().map(|cell| cell.n_requests).sum()
    }

    pub(super) fn flags(&self) -> BTreeSet<String> {
        let flags = self.cells().flat_map(|cell| &cell.flags);
        flags.cloned().collect()
    }

    /// Whether it is ranked, by which values; or every reason why not.
    pub(super) fn fate(&self, use_case: &UseCase, terms: &[Term], figures: &Figures) -> Fate {
        let mut reasons = Vec::new();
        if !self.missing.is_empty() {
            let tasks: Vec<&str> = self.missing.iter().map(String::as_str).collect();
            reasons.push(Reason::new(
                ReasonKind::MissingTask,
                format!("has not been run for {}", tasks.join(", ")),
            ));
        }
        for limit in &use_case.limits {
            reasons.extend(self.unusable(&limit.measure, figures));
            reasons.extend(limit.broken(self, figures));
        }
        for term in terms {
            reasons.extend(self.unusable(&term.measure, figures));
        }
        reasons.dedup();
        if !reasons.is_empty() {
            return Fate::Excluded(reasons);
        }
        match self.decisive(terms, figures) {
            Err(reason) => Fate::Excluded(vec![reason]),
            Ok(value) => Fate::Ranked(value),
        }
    }

    /// Why a figure cannot be used: some task lacks it, or all its repetitions are flagged.
    fn unusable(&self, measure: &Measure, figures: &Figures) -> Option<Reason> {
        let id = measure.scoped_id(figures.scope);
        let lacking: Vec<(&String, &RankedCell)> = self
            .cells
            .iter()
            .filter(|(_, cell)| figures.of(cell, measure).is_none())
            .map(|(task, cell)| (task, *cell))
            .collect();
        if let Some((task, cell)) = lacking.first() {
            let text = figures.reason(cell, measure);
            let reason = Reason::new(
                ReasonKind::Missing,
                self.in_task(task, lacking.len(), &text),
            );
            return Some(reason.about(&id));
        }
        let blocked: Vec<(&String, &RankedCell)> = self
            .cells
            .iter()
            .filter(|(_, cell)| figures.of(cell, measure).is_some_and(|own| own.is_blocked))
            .map(|(task, cell)| (task, *cell))
            .collect();
        let (task, cell) = blocked.first()?;
        let flags = figures.of(cell, measure)?.flags.iter();
        let flags: Vec<&str> = flags.map(String::as_str).collect();
        let text = format!("`{id}` is flagged: {}", flags.join(", "));
        let reason = Reason::new(
            ReasonKind::Blocked,
            self.in_task(task, blocked.len(), &text),
        );
        Some(reason.about(&id))
    }

    /// What decides, repetition by repetition: of a single term its value, of several their weighted geometric mean.
    fn decisive(&self, terms: &[Term], figures: &Figures) -> Result<OverTasks, Reason> {
        let parts: Option<Vec<(f64, OverTasks)>> = terms
            .iter()
            .map(|term| {
                let sign = if term.is_lower_better { -1.0 } else { 1.0 };
                Some((sign * term.weight, figures.over_tasks(self, &term.measure)?))
            })
            .collect();
        let nothing = || Reason::new(ReasonKind::Missing, "has no figure over all its tasks");
        let parts = parts
            .filter(|parts| !parts.is_empty())
            .ok_or_else(nothing)?;
        let value = match &parts[..] {
            [(_, single)] => single.clone(),
            several => composite(several).ok_or_else(|| {
                Reason::new(
                    ReasonKind::Missing,
                    "a figure is 0 or failed, which has no part in a geometric mean",
                )
            })?,
        };
        if value.mean.is_infinite() {
            return Err(Reason::new(
                ReasonKind::Failed,
                "so many requests failed that what decides is a failed request",
            ));
        }
        let n = value.values.len();
        if n < REPETITIONS_LEAST {
            let more = REPETITIONS_LEAST - n;
            let noun = if more == 1 {
                "repetition"
            } else {
                "repetitions"
            };
            let text = format!(
                "{n} of {REPETITIONS_LEAST} repetitions: needs {more} more {noun} for an interval"
            );
            return Err(Reason::new(ReasonKind::TooFew, text));
        }
        if log_t_interval(&value.values).is_none() {
            return Err(Reason::new(
                ReasonKind::Missing,
                "what decides is 0 in a repetition, and has no interval",
            ));
        }
        Ok(value)
    }

    /// In which task, where there are several.
    fn in_task(&self, task: &str, n: usize, text: &str) -> String {
        match (self.cells.len(), n) {
            (0 | 1, _) => text.to_owned(),
            (_, 1) => format!("{text} (in {task})"),
            (_, 2) => format!("{text} (in {task} and another task)"),
            (_, n) => format!("{text} (in {task} and {} more tasks)", n - 1),
        }
    }
}

/// Π vᵢ^wᵢ of each repetition that all parts have.
fn composite(parts: &[(f64, OverTasks)]) -> Option<OverTasks> {
    let ((_, first), others) = parts.split_first()?;
    let is_shared =
        |position: &(u32, usize)| others.iter().all(|(_, part)| part.at(*position).is_some());
    let positions: Vec<(u32, usize)> = first.positions.iter().copied().filter(is_shared).collect();
    let repetition = |position: &(u32, usize)| {
        let values = parts
            .iter()
            .map(|(weight, part)| Some((*weight, part.at(*position)?)));
        weighted_product(&values.collect::<Option<Vec<_>>>()?)
    };
    let values: Vec<f64> = positions.iter().map(repetition).collect::<Option<_>>()?;
    let bounds = parts
        .iter()
        .map(|(weight, part)| (*weight, part.relative_bound));
    Some(OverTasks {
        mean: geometric_mean(&values)?,
        relative_bound: combined_bound(&bounds.collect::<Vec<_>>()),
        values,
        positions,
    })
}
