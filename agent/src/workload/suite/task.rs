//! One task of a suite: what it asks, about what, and how answers are read.

use std::{collections::BTreeSet, num::NonZeroU32};

use serde::{Deserialize, Serialize};
use tokwatt_domain::workload::{Scoring, json::Schema};

use super::{Flaw, check_name, question::StatedQuestion};
use crate::workload::{
    chart::ChartQuestion,
    padding::count_words,
    relation::{self, Relation},
};

/// One question asked about every picture, or a list of questions without pictures.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name: lower-case letters, digits, `-` and `_`; no other task of the suite has it.
    pub name: String,
    /// What is asked, unless the task has questions of its own; a direct question's has the places `{a}` and `{b}`.
    pub prompt: Option<String>,
    /// Most tokens of an answer.
    #[serde(default = "usual_max_tokens")]
    pub max_tokens: NonZeroU32,
    /// How answers are read.
    pub scoring: Scoring,
    /// What a direct question about a scene is about; absent for all others.
    pub relation: Option<Relation>,
    /// What is asked about a chart; absent for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartQuestion>,
    /// Whether the prompt is asked without a picture.
    #[serde(default, skip_serializing_if = "is_not")]
    pub text_only: bool,
    /// Whether every answer is to have all of its tokens.
    #[serde(default, skip_serializing_if = "is_not")]
    pub fixed_length: bool,
    /// How many words the prompt has once other words, different ones in every request, have been put before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_words: Option<NonZeroU32>,
    /// How often each question is asked, all of them in turn; once if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<NonZeroU32>,
    /// Which form a JSON document has; put into prompts in place of `{schema}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
    /// The task's own questions, without pictures.
    #[serde(default, rename = "question", skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<StatedQuestion>,
}

/// What a task is about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// A scene each time.
    Scenes(&'a str),
    /// A chart each time.
    Charts(&'a str, ChartQuestion),
    /// Nothing that can be seen: one prompt.
    Prompt(&'a str),
    /// Nothing that can be seen: questions.
    Questions(&'a [StatedQuestion]),
}

impl Task {
    /// What it is about, with the prompt where it has one for all.
    pub fn about(&self) -> About<'_> {
        match (&self.prompt, self.chart) {
            (None, _) => About::Questions(&self.questions),
            (Some(prompt), Some(chart)) => About::Charts(prompt, chart),
            (Some(prompt), None) if self.text_only => About::Prompt(prompt),
            (Some(prompt), None) => About::Scenes(prompt),
        }
    }

    /// Whether each question is about a picture.
    pub fn has_pictures(&self) -> bool {
        matches!(self.about(), About::Scenes(_) | About::Charts(..))
    }

    pub(super) fn check(&self, has_pictures: bool) -> Result<(), Flaw> {
        check_name(&self.name)?;
        let name = || self.name.clone();
        match self.about() {
            About::Questions([]) => return Err(Flaw::NothingAsked(name())),
            About::Questions(_) => self.check_questions()?,
            _ if !self.questions.is_empty() => return Err(Flaw::PromptAndQuestions(name())),
            _ if !has_pictures => return Err(Flaw::NoPictures(name())),
            About::Scenes(prompt) => self.check_about_scenes(prompt)?,
            About::Charts(prompt, chart) => self.check_about_charts(prompt, chart)?,
            About::Prompt(_) if self.scoring != Scoring::None => {
                return Err(Flaw::NothingKnown(name()));
            }
            About::Prompt(_) => {}
        }
        if !matches!(self.about(), About::Scenes(_)) && self.relation.is_some() {
            return Err(Flaw::NotDirect(name()));
        }
        self.check_form()?;
        self.check_words()
    }

    fn check_about_scenes(&self, prompt: &str) -> Result<(), Flaw> {
        let is_direct = self.scoring == Scoring::Direct;
        let has = |place| prompt.contains(place);
        match (self.relation, self.scoring) {
            (_, Scoring::Number | Scoring::Facts | Scoring::CodeFacts | Scoring::Json) => {
                Err(Flaw::NotOfScenes(self.name.clone()))
            }
            (None, _) if is_direct => Err(Flaw::NoRelation(self.name.clone())),
            (Some(_), _) if !is_direct => Err(Flaw::NotDirect(self.name.clone())),
            _ if has(relation::A) != is_direct || has(relation::B) != is_direct => {
                Err(Flaw::Places(self.name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn check_about_charts(&self, prompt: &str, chart: ChartQuestion) -> Result<(), Flaw> {
        if self.text_only {
            return Err(Flaw::UnseenChart(self.name.clone()));
        }
        if ![chart.scoring(), Scoring::None].contains(&self.scoring) {
            return Err(Flaw::ChartScoring {
                task: self.name.clone(),
                scoring: chart.scoring(),
            });
        }
        let is_wrong = |place: &&str| prompt.contains(*place) != (chart.place() == Some(*place));
        match ChartQuestion::PLACES.into_iter().find(is_wrong) {
            Some(place) => Err(Flaw::ChartPlace {
                task: self.name.clone(),
                place,
            }),
            None => Ok(()),
        }
    }

    fn check_questions(&self) -> Result<(), Flaw> {
        if self.text_only || self.chart.is_some() {
            return Err(Flaw::QuestionsAlone(self.name.clone()));
        }
        let mut names = BTreeSet::new();
        for question in &self.questions {
            check_name(&question.name)?;
            if !names.insert(&question.name) {
                return Err(Flaw::TwoQuestions {
                    task: self.name.clone(),
                    question: question.name.clone(),
                });
            }
            let checked = question.check(self.scoring, self.schema.as_ref());
            checked.map_err(|problem| Flaw::Question {
                task: self.name.clone(),
                question: question.name.clone(),
                problem,
            })?;
        }
        Ok(())
    }

    /// A schema goes with documents, and rounds with questions.
    fn check_form(&self) -> Result<(), Flaw> {
        if self.schema.is_some() != (self.scoring == Scoring::Json) {
            return Err(Flaw::Schema(self.name.clone()));
        }
        if self.rounds.is_some() && self.questions.is_empty() {
            return Err(Flaw::Rounds(self.name.clone()));
        }
        Ok(())
    }

    fn check_words(&self) -> Result<(), Flaw> {
        let Some(words) = self.prompt_words else {
            return Ok(());
        };
        let Some(prompt) = &self.prompt else {
            return Err(Flaw::PaddedQuestions(self.name.clone()));
        };
        let own = count_words(prompt);
        if own > words.get() || words.get() > WORDS_MAX {
            return Err(Flaw::Words {
                task: self.name.clone(),
                own,
            });
        }
        Ok(())
    }
}

/// Most words of a prompt: more than any context that people run on such devices.
pub(super) const WORDS_MAX: u32 = 100_000;

fn usual_max_tokens() -> NonZeroU32 {
    const { NonZeroU32::new(64).expect("not 0") }
}

fn is_not(flag: &bool) -> bool {
    !flag
}
