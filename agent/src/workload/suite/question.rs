//! A question that a suite states with its answer, and what was said before it.

use serde::{Deserialize, Serialize};
use tokwatt_domain::workload::{
    KeyFact, Scoring, Truth,
    json::{Json, Schema},
};

use crate::workload::turn::{Speaker, Turn};

/// One question without a picture. Which of the answers it states is the one that its task's scoring reads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StatedQuestion {
    /// Its name: lower-case letters, digits, `-` and `_`; no other question of the task has it.
    pub name: String,
    /// What is asked.
    pub prompt: String,
    /// What was said before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Turn>,
    /// The right word or phrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the question lets choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The right number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
    /// How far an answer may be off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// What a right answer names, each fact with all of its names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<KeyFact>,
    /// The right document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Json>,
}

/// What is wrong with a question.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QuestionFlaw {
    /// The answer that its scoring reads is not there.
    #[error("it states no `{0}`, which its task's scoring reads")]
    Missing(&'static str),
    /// A scoring that knows scenes only.
    #[error("it states no answer that its task's scoring could read: that is for scenes")]
    OfScenes,
    /// An answer that its scoring does not read.
    #[error("`{0}` does not go with its task's scoring")]
    Unread(&'static str),
    /// The right answer is none of the choices.
    #[error("`expected` is none of its `choices`")]
    NoChoice,
    /// Not a number to compare with.
    #[error("`number` and `tolerance` are finite, and `tolerance` is not below 0")]
    Number,
    /// A fact that nothing names.
    #[error("each of its `facts` is a list of names, and a name has a letter or a digit")]
    Nameless,
    /// The right answer does not have the form.
    #[error("its `json` does not match the task's `schema`")]
    Form,
    /// A conversation that no template takes.
    #[error(
        "its `history` begins with the user, a system turn before that apart, goes on in turns and ends with the assistant"
    )]
    History,
}

impl StatedQuestion {
    /// The prompt as it is asked.
    pub(in crate::workload) fn prompt(&self, schema: Option<&Schema>) -> String {
        match schema {
            Some(schema) => self.prompt.replace(SCHEMA, &schema.to_string()),
            None => self.prompt.clone(),
        }
    }

    /// What is known about the answer.
    pub(in crate::workload) fn truth(
        &self,
        scoring: Scoring,
        schema: Option<&Schema>,
    ) -> Option<Truth> {
        match scoring {
            Scoring::Direct => Some(Truth::Answer {
                expected: self.expected.clone()?,
                choices: self.choices.clone(),
            }),
            Scoring::Number => Some(Truth::Number {
                value: self.number?,
                tolerance: self.tolerance.unwrap_or_default(),
            }),
            Scoring::Facts | Scoring::CodeFacts => Some(Truth::Facts(self.facts.clone())),
            Scoring::Json => Some(Truth::Json {
                schema: schema?.clone(),
                answer: self.json.clone()?,
            }),
            _ => None,
        }
    }

    pub(super) fn check(
        &self,
        scoring: Scoring,
        schema: Option<&Schema>,
    ) -> Result<(), QuestionFlaw> {
        self.check_history()?;
        let read = match scoring {
            Scoring::Direct => Some("expected"),
            Scoring::Number => Some("number"),
            Scoring::Facts | Scoring::CodeFacts => Some("facts"),
            Scoring::Json => Some("json"),
            Scoring::None => None,
            _ => return Err(QuestionFlaw::OfScenes),
        };
        let stated = self.stated();
        if let Some(unread) = stated.iter().find(|(_, of)| Some(*of) != read) {
            return Err(QuestionFlaw::Unread(unread.0));
        }
        if let Some(read) = read.filter(|read| !stated.iter().any(|(name, _)| name == read)) {
            return Err(QuestionFlaw::Missing(read));
        }
        self.check_answer(schema)
    }

    /// Keys that it has, each with the one that it belongs to.
    fn stated(&self) -> Vec<(&'static str, &'static str)> {
        let keys = [
            ("expected", "expected", self.expected.is_some()),
            ("choices", "expected", !self.choices.is_empty()),
            ("number", "number", self.number.is_some()),
            ("tolerance", "number", self.tolerance.is_some()),
            ("facts", "facts", !self.facts.is_empty()),
            ("json", "json", self.json.is_some()),
        ];
        let there = keys.into_iter().filter(|(.., is_there)| *is_there);
        there.map(|(key, of, _)| (key, of)).collect()
    }

    fn check_answer(&self, schema: Option<&Schema>) -> Result<(), QuestionFlaw> {
        let is_choice = |expected: &String| self.choices.contains(expected);
        if !self.choices.is_empty() && !self.expected.as_ref().is_some_and(is_choice) {
            return Err(QuestionFlaw::NoChoice);
        }
        let numbers = self.number.into_iter().chain(self.tolerance);
        let is_below_0 = self.tolerance.is_some_and(|tolerance| tolerance < 0.0);
        if is_below_0 || !numbers.into_iter().all(f64::is_finite) {
            return Err(QuestionFlaw::Number);
        }
        let has_letters = |name: &String| name.chars().any(char::is_alphanumeric);
        let is_named = |fact: &KeyFact| !fact.0.is_empty() && fact.0.iter().all(has_letters);
        if !self.facts.iter().all(is_named) {
            return Err(QuestionFlaw::Nameless);
        }
        match (schema, &self.json) {
            (Some(schema), Some(json)) if !schema.matches(json) => Err(QuestionFlaw::Form),
            _ => Ok(()),
        }
    }

    fn check_history(&self) -> Result<(), QuestionFlaw> {
        let speakers: Vec<Speaker> = self.history.iter().map(|turn| turn.speaker).collect();
        let said = speakers.strip_prefix(&[Speaker::System]);
        let said = said.unwrap_or(&speakers);
        let pairs = said.chunks(2);
        let is_pair = |pair: &[Speaker]| pair == [Speaker::User, Speaker::Assistant];
        match pairs.into_iter().all(is_pair) {
            true => Ok(()),
            false => Err(QuestionFlaw::History),
        }
    }
}

/// Stands for the schema in a prompt.
const SCHEMA: &str = "{schema}";
