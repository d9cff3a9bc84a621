//! What an answer is worth that did not look: scores stand beside these, since a grammar alone gets some facts right.

use std::collections::BTreeSet;

use super::{
    Case,
    canonical::{canonical_answer, name},
    facts::Facts,
    lexicon::Lexicon,
    mean_by_picture,
    reading::{Reading, read},
};
use crate::workload::{SceneTruth, Scoring, Truth};

/// Scores of the one fixed answer that does best on average by `id`, the task's first score. It is chosen among the right answers to
/// the run's own pictures, the first in alphabetical order of equals.
pub(super) fn constant(
    scoring: Scoring,
    cases: &[Case<'_>],
    lexicon: &Lexicon,
    ids: &[&'static str],
) -> Vec<(&'static str, f64)> {
    let answers = cases
        .iter()
        .filter_map(|case| canonical_answer(scoring, case.truth));
    let answers: BTreeSet<String> = answers.collect();
    let readings = answers
        .iter()
        .filter_map(|answer| read(scoring, answer, lexicon));
    let worth = |reading: &Reading, id| {
        let mean = mean_by_picture(cases, |case| case.facts.value(scoring, Some(reading), id));
        mean.unwrap_or(0.0)
    };
    let Some(first) = ids.first() else {
        return Vec::new();
    };
    let best = readings
        .map(|reading| (worth(&reading, first), reading))
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map_or_else(Vec::new, |(_, reading)| {
        ids.iter().map(|id| (*id, worth(&reading, id))).collect()
    })
}

/// Scores of well-formed answers that do not know the picture. `None` with a single picture.
///
/// - Spatial: knows which things there are and nothing of where: names them in alphabetical order, each left of the next; a single
///   one in the middle.
/// - Direct: each choice as often in a row as there are choices, so that a suite whose right answers take turns gives it no more than
///   its share.
/// - Else: the right answer to the next picture, in the order of their names.
pub(super) fn grammar(
    scoring: Scoring,
    cases: &[Case<'_>],
    lexicon: &Lexicon,
    ids: &[&'static str],
) -> Option<Vec<(&'static str, f64)>> {
    let first = cases.first()?;
    let distinct = cases.iter().find(|case| case.item != first.item);
    distinct?;
    let readings: Vec<Option<Reading>> = (0..cases.len())
        .map(|position| read(scoring, &blind_answer(scoring, cases, position)?, lexicon))
        .collect();
    let mean = |id| {
        let value = |case: &Case<'_>| {
            case.facts
                .value(scoring, readings[case.position].as_ref(), id)
        };
        mean_by_picture(cases, value)
    };
    ids.iter().map(|id| Some((*id, mean(id)?))).collect()
}

fn blind_answer(scoring: Scoring, cases: &[Case<'_>], position: usize) -> Option<String> {
    let case = &cases[position];
    match (scoring, case.truth) {
        (Scoring::Spatial, Truth::Scene(scene)) => Some(left_to_right(scene)),
        (Scoring::Direct, Truth::Answer { choices, .. }) if !choices.is_empty() => {
            let n = choices.len();
            Some(choices[position / n % n].clone())
        }
        _ => {
            let after = cases[position..].iter().chain(cases);
            let mut others = after.filter(|other| other.item != case.item);
            canonical_answer(scoring, others.next()?.truth)
        }
    }
}

fn left_to_right(scene: &SceneTruth) -> String {
    let mut names: Vec<String> = scene.objects.iter().map(name).collect();
    names.sort();
    if let [only] = names.as_slice() {
        return format!("The {only} is at the middle center.");
    }
    let sentence = |pair: &[String]| format!("The {} is left of the {}.", pair[0], pair[1]);
    let sentences: Vec<String> = names.windows(2).map(sentence).collect();
    sentences.join(" ")
}

impl Facts {
    /// One score of what was read; 0 for what could not be read.
    pub(super) fn value(&self, scoring: Scoring, reading: Option<&Reading>, id: &str) -> f64 {
        let score = reading.and_then(|reading| self.compare(scoring, reading));
        let value = score.and_then(|score| score.value(id));
        value.unwrap_or(0.0)
    }
}
