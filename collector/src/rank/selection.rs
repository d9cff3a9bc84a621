//! Which cells a question is about, by their keys alone.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::power::{Provenance, Scope};

use super::{
    Catalogue, Condition, Key, Question, RankError,
    catalogue::{IndexedCell, Word},
    figure::{counted, kinds_of},
};

/// Cells that meet a question's conditions.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) catalogue: &'a Catalogue,
    /// Its scope is there, if there is one.
    pub(super) question: Question,
    pub(super) cells: Vec<&'a IndexedCell>,
}

impl<'a> Selection<'a> {
    /// Names the scope if only one is there.
    pub(super) fn of(catalogue: &'a Catalogue, question: &Question) -> Result<Self, RankError> {
        let cells = meeting(catalogue, &question.conditions)?;
        let mut question = question.clone();
        if question.metric.definition.needs_scope && question.metric.scope.is_none() {
            let scopes = scopes_of(catalogue, &cells, question.provenance);
            if scopes.len() > 1 {
                return Err(RankError::NeedsScope {
                    metric: question.metric.definition.id,
                    scopes: scopes.into_iter().collect(),
                });
            }
            question.metric.scope = scopes.first().copied();
        }
        Ok(Self {
            catalogue,
            question,
            cells,
        })
    }

    /// Runs of another provenance than the one asked for.
    pub(super) fn others(&self) -> Vec<String> {
        let Question {
            metric, provenance, ..
        } = &self.question;
        let mut others: BTreeMap<_, usize> = BTreeMap::new();
        for (kind, n) in kinds_of(&self.cells) {
            let own = self.catalogue.kind(kind).provenance(metric);
            *others.entry(own).or_default() += n;
        }
        others.remove(provenance);
        let note = |(other, n)| {
            let runs = counted(n, "run is", "runs are");
            format!("{runs} {other}, on a board of their own: ask for provenance {other}")
        };
        others.into_iter().map(note).collect()
    }
}

/// Cells that meet all conditions, in the order of their numbers, which is not to be seen in any answer.
pub(super) fn meeting<'a>(
    catalogue: &'a Catalogue,
    conditions: &[Condition],
) -> Result<Vec<&'a IndexedCell>, RankError> {
    let mut cells: Vec<&IndexedCell> = catalogue
        .cells()
        .filter(|cell| !cell.runs.is_empty())
        .collect();
    for condition in conditions {
        let own = |cell: &&IndexedCell| cell.key(condition.key);
        let there_are: BTreeSet<Word> = distinct(cells.iter().map(own));
        let wanted = catalogue.word(&condition.value);
        cells.retain(|cell| Some(own(cell)) == wanted);
        if cells.is_empty() && !there_are.is_empty() {
            return Err(no_such_value(catalogue, condition, &there_are));
        }
    }
    Ok(cells)
}

/// Power scopes of the cells' runs whose energies are of a provenance.
pub(super) fn scopes_of(
    catalogue: &Catalogue,
    cells: &[&IndexedCell],
    provenance: Provenance,
) -> BTreeSet<Scope> {
    let kinds = kinds_of(cells).into_keys();
    let kinds = kinds.map(|number| catalogue.kind(number));
    let own = kinds.filter(|kind| kind.of_energy() == provenance);
    own.flat_map(|kind| kind.scopes.iter().copied()).collect()
}

/// The values of one key; neighbours often have the same.
pub(super) fn distinct(words: impl Iterator<Item = Word>) -> BTreeSet<Word> {
    let mut distinct = BTreeSet::new();
    let mut last = None;
    for word in words {
        if last.replace(word) != Some(word) {
            distinct.insert(word);
        }
    }
    distinct
}

/// The texts of some words, sorted.
pub(super) fn texts(catalogue: &Catalogue, words: &BTreeSet<Word>) -> BTreeSet<String> {
    let texts = words.iter().map(|word| catalogue.text(*word).to_owned());
    texts.collect()
}

fn no_such_value(
    catalogue: &Catalogue,
    condition: &Condition,
    there_are: &BTreeSet<Word>,
) -> RankError {
    let Condition { key, value } = condition;
    let there_are = texts(catalogue, there_are).into_iter().collect();
    RankError::NoSuchValue {
        key: Key::as_str(*key),
        value: value.clone(),
        there_are,
    }
}
