//! How much of what an answer says is true, where the truth is known: drawn scenes and charts, own pictures with labels, and questions whose
//! answer a suite states.
//!
//! Failed and unreadable answers score 0. Means are over pictures: several questions about one picture count as one, and so does a
//! question without a picture that is asked several times. Every score
//! stands beside what a constant answer (`ID.constant`) and one that knows only the grammar (`ID.grammar`) get.

/// Words and what they mean.
mod lexicon;

/// Numbers as people write them.
mod number;

/// Phrases that name a fact.
mod naming;

/// From words to statements.
mod reading;

/// Statements against the truth.
mod facts;

/// The right answer in its plainest form.
mod canonical;

/// Answers that did not look.
mod baseline;

use std::collections::{BTreeMap, BTreeSet};

pub use canonical::canonical_answer;

use crate::{
    metrics::{
        spread::arithmetic_mean,
        totals::{self, Totals},
    },
    run::{RequestTrace, RunTrace},
    workload::{SceneTruth, Scoring, Truth},
};
use facts::Facts;
use lexicon::Lexicon;
use reading::{Reading, read};

/// The score that stands for a task, of each kind of scoring: a task has one of them at most.
pub const HEADLINES: [&str; 10] = [
    "caption_true_facts",
    "counts_f1",
    "attributes_f1",
    "spatial_true",
    "scene_true_facts",
    "direct_exact",
    "number_right",
    "facts_named",
    "code_facts_named",
    "json_values",
];

/// What one answer is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Quality id to its value, 0 to 1.
    pub values: Vec<(&'static str, f64)>,
    /// Whether all facts are exact; absent for captions.
    pub is_correct: Option<bool>,
}

/// A run's quality.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Quality id to its value: scores from 0 to 1, their baselines, and `output_chars`.
    pub scores: BTreeMap<String, Option<f64>>,
    /// Key to why it is absent.
    pub reasons: BTreeMap<String, String>,
    /// Successes with every fact right; absent for captions, and unless all truths are known.
    pub correct_answers: Option<u32>,
    /// Successes that do not have the form that was asked for; absent if none was.
    pub bad_outputs: Option<u32>,
}

/// Scores one answer; `None` if the truth is of another kind than the scoring.
pub fn score(scoring: Scoring, answer: &str, truth: &Truth) -> Option<Score> {
    let lexicon = Lexicon::of(scene(truth).into_iter());
    let facts = Facts::of(truth, &lexicon);
    match read(scoring, answer, &lexicon) {
        Some(reading) => facts.compare(scoring, &reading),
        None => canonical_answer(scoring, truth).map(|_| Score::nothing(scoring)),
    }
}

/// Scores a run.
pub fn quality(trace: &RunTrace) -> Quality {
    let Some(scoring) = trace.header.scoring else {
        return Quality::absent("quality", "the suite states no scoring");
    };
    if scoring == Scoring::None {
        return Quality::absent("quality", "answers of this task are not scored");
    }
    let truths = totals::requests(trace).filter_map(|request| request.truth.as_ref());
    let lexicon = Lexicon::of(truths.filter_map(scene));
    let cases = cases(scoring, trace, &lexicon);
    let mut quality = Quality {
        bad_outputs: Some(bad_outputs(scoring, trace, &lexicon)),
        ..Quality::default()
    };
    if cases.is_empty() {
        quality.reasons.insert(
            "quality".to_owned(),
            "the truth about no question is known".to_owned(),
        );
        return quality;
    }
    quality.correct_answers = correct_answers(scoring, trace, &cases);
    quality.add_scores(scoring, &cases, &lexicon);
    quality
}

/// What fixes the scores of tasks that are scored like this, besides truths and prompts: a text that changes with the parser or its words,
/// for a suite's digest. A way of scoring that a suite does not use leaves its digest alone.
pub fn fingerprint(scorings: impl Iterator<Item = Scoring>) -> String {
    let parts: BTreeSet<String> = scorings.filter_map(part_of_fingerprint).collect();
    parts.into_iter().collect::<Vec<_>>().join("\n")
}

fn part_of_fingerprint(scoring: Scoring) -> Option<String> {
    let tables = lexicon::table_text;
    match scoring {
        Scoring::Caption
        | Scoring::Counts
        | Scoring::Attributes
        | Scoring::Spatial
        | Scoring::SceneContext
        | Scoring::Direct => Some(format!("tokwatt.quality/1\n{}", tables())),
        Scoring::Number => Some(format!("tokwatt.quality.number/1\n{}", tables())),
        Scoring::Facts => Some("tokwatt.quality.facts/1".to_owned()),
        Scoring::CodeFacts => Some("tokwatt.quality.code_facts/1".to_owned()),
        Scoring::Json => Some("tokwatt.quality.json/1".to_owned()),
        Scoring::None => None,
    }
}

/// Unicode scalar values of an answer.
pub(crate) fn output_chars(request: &RequestTrace) -> u64 {
    request.answer.chars().count() as u64
}

impl Score {
    /// One of its values.
    pub fn value(&self, id: &str) -> Option<f64> {
        let (_, value) = self.values.iter().find(|(own, _)| *own == id)?;
        Some(*value)
    }

    fn nothing(scoring: Scoring) -> Self {
        Self {
            values: ids(scoring).iter().map(|id| (*id, 0.0)).collect(),
            is_correct: (scoring != Scoring::Caption).then_some(false),
        }
    }
}

impl Quality {
    fn absent(key: &str, reason: &str) -> Self {
        Self {
            reasons: BTreeMap::from([(key.to_owned(), reason.to_owned())]),
            ..Self::default()
        }
    }

    /// `correct_answers` and `bad_outputs`.
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        match self.correct_answers {
            Some(count) => totals.set("correct_answers", f64::from(count)),
            None => totals.miss(
                "correct_answers",
                "takes known truth of every answer, and no captions",
            ),
        }
        match self.bad_outputs {
            Some(count) => totals.set("bad_outputs", f64::from(count)),
            None => totals.miss("bad_outputs", "the suite states no form of answer"),
        }
    }

    fn add_scores(&mut self, scoring: Scoring, cases: &[Case<'_>], lexicon: &Lexicon) {
        let ids = ids(scoring);
        for id in ids {
            let value = |case: &Case<'_>| case.facts.value(scoring, case.reading.as_ref(), id);
            self.scores
                .insert((*id).to_owned(), mean_by_picture(cases, value));
        }
        for (id, value) in baseline::constant(scoring, cases, lexicon, ids) {
            self.scores.insert(format!("{id}.constant"), Some(value));
        }
        let grammar = baseline::grammar(scoring, cases, lexicon, ids);
        for (position, id) in ids.iter().enumerate() {
            let key = format!("{id}.grammar");
            if grammar.is_none() {
                self.reasons
                    .insert(key.clone(), "takes more than one picture".to_owned());
            }
            self.scores
                .insert(key, grammar.as_ref().map(|values| values[position].1));
        }
        let successes = cases
            .iter()
            .filter(|case| case.request.outcome.is_success());
        let chars: Vec<f64> = successes
            .map(|case| totals::number(output_chars(case.request)))
            .collect();
        self.scores
            .insert("output_chars".to_owned(), arithmetic_mean(&chars));
        if chars.is_empty() {
            self.reasons
                .insert("output_chars".to_owned(), "no request succeeded".to_owned());
        }
    }
}

/// Scores of a task, the one that says most first.
fn ids(scoring: Scoring) -> &'static [&'static str] {
    match scoring {
        Scoring::Caption => &["caption_true_facts", "caption_wrong_facts"],
        Scoring::Counts => &["counts_f1", "counts_exact"],
        Scoring::Attributes => &["attributes_f1", "attributes_exact"],
        Scoring::Spatial => &["spatial_true"],
        Scoring::SceneContext => &["scene_true_facts", "scene_wrong_facts"],
        Scoring::Direct => &["direct_exact"],
        Scoring::Number => &["number_right"],
        Scoring::Facts => &["facts_named"],
        Scoring::CodeFacts => &["code_facts_named"],
        Scoring::Json => &["json_values", "json_schema"],
        Scoring::None => &[],
    }
}

/// A request whose truth is known.
struct Case<'a> {
    /// Among the run's cases, sorted by picture and then by request.
    position: usize,
    item: &'a str,
    request: &'a RequestTrace,
    truth: &'a Truth,
    facts: Facts,
    /// Absent if it failed or could not be read.
    reading: Option<Reading>,
}

fn cases<'a>(scoring: Scoring, trace: &'a RunTrace, lexicon: &Lexicon) -> Vec<Case<'a>> {
    let mut cases: Vec<Case<'a>> = totals::requests(trace)
        .filter_map(|request| {
            let truth = request.truth.as_ref()?;
            canonical_answer(scoring, truth)?;
            let answer = Some(&request.answer).filter(|_| request.outcome.is_success());
            Some(Case {
                position: 0,
                item: &request.item,
                request,
                truth,
                facts: Facts::of(truth, lexicon),
                reading: answer.and_then(|answer| read(scoring, answer, lexicon)),
            })
        })
        .collect();
    cases.sort_by_key(|case| (case.item, case.request.index));
    for (position, case) in cases.iter_mut().enumerate() {
        case.position = position;
    }
    cases
}

/// Mean over pictures of the mean over each picture's questions.
fn mean_by_picture(cases: &[Case<'_>], value: impl Fn(&Case<'_>) -> f64) -> Option<f64> {
    let pictures = cases.chunk_by(|left, right| left.item == right.item);
    let means: Option<Vec<f64>> = pictures
        .map(|cases| arithmetic_mean(&cases.iter().map(&value).collect::<Vec<_>>()))
        .collect();
    arithmetic_mean(&means?)
}

fn correct_answers(scoring: Scoring, trace: &RunTrace, cases: &[Case<'_>]) -> Option<u32> {
    // With labels for some only, energy per correct answer would charge the others' energy to these.
    if scoring == Scoring::Caption || cases.len() < totals::requests(trace).count() {
        return None;
    }
    let scores = cases
        .iter()
        .filter_map(|case| case.facts.compare(scoring, case.reading.as_ref()?));
    let correct = scores.filter(|score| score.is_correct == Some(true));
    u32::try_from(correct.count()).ok()
}

fn bad_outputs(scoring: Scoring, trace: &RunTrace, lexicon: &Lexicon) -> u32 {
    let is_bad =
        |answer: &str| answer.trim().is_empty() || read(scoring, answer, lexicon).is_none();
    let bad = totals::successes(trace).filter(|request| is_bad(&request.answer));
    u32::try_from(bad.count()).unwrap_or(u32::MAX)
}

fn scene(truth: &Truth) -> Option<&SceneTruth> {
    match truth {
        Truth::Scene(scene) => Some(scene),
        Truth::Answer { .. } | Truth::Number { .. } | Truth::Facts(_) | Truth::Json { .. } => None,
    }
}

#[cfg(test)]
mod tests;
