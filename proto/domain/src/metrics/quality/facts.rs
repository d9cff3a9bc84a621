//! What is true of a picture, and how much of it a reading got right.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Score,
    lexicon::{Lexicon, Relation},
    naming::{self, Names},
    reading::{Caption, Group, Position, Reading, Setting, Statement, Thing},
};
use crate::workload::{
    SceneObject, SceneTruth, Scoring, Truth,
    json::{Json, Schema},
};

/// A truth in the lexicon's words.
#[derive(Clone, Debug)]
pub(super) enum Facts {
    Scene(Scene),
    Answer {
        expected: Vec<String>,
        choices: Vec<Vec<String>>,
    },
    Number {
        value: f64,
        tolerance: f64,
    },
    Named(Vec<Names>),
    Json {
        schema: Schema,
        answer: Json,
    },
}

/// A scene in the lexicon's words.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    place: String,
    time: String,
    weather: String,
    objects: Vec<Placed>,
    groups: BTreeSet<Group>,
}

/// One thing and where it is.
#[derive(Clone, Debug)]
struct Placed {
    thing: Thing,
    x: u16,
    y: u16,
}

impl Facts {
    pub(super) fn of(truth: &Truth, lexicon: &Lexicon) -> Self {
        let words = |text: &String| super::reading::words(&lexicon.read(text)).collect();
        match truth {
            Truth::Scene(scene) => Self::Scene(Scene::of(scene, lexicon)),
            Truth::Answer { expected, choices } => Self::Answer {
                expected: words(expected),
                choices: choices.iter().map(words).collect(),
            },
            Truth::Number { value, tolerance } => Self::Number {
                value: *value,
                tolerance: *tolerance,
            },
            Truth::Facts(facts) => Self::Named(facts.iter().map(Names::of).collect()),
            Truth::Json { schema, answer } => Self::Json {
                schema: schema.clone(),
                answer: answer.clone(),
            },
        }
    }

    /// Scores what was read; `None` if this truth is of another kind than the answer.
    pub(super) fn compare(&self, scoring: Scoring, reading: &Reading) -> Option<Score> {
        match (self, reading) {
            (Self::Scene(scene), Reading::Caption(caption)) => Some(scene.compare_caption(caption)),
            (Self::Scene(scene), Reading::Counts(counts)) => Some(scene.compare_counts(counts)),
            (Self::Scene(scene), Reading::Attributes(things)) => Some(scene.compare_things(things)),
            (Self::Scene(scene), Reading::Spatial(said)) => Some(scene.compare_statements(said)),
            (Self::Scene(scene), Reading::SceneContext(said)) => Some(scene.compare_setting(said)),
            (Self::Answer { expected, choices }, Reading::Direct(words)) => {
                Some(compare_words(expected, choices, words))
            }
            (Self::Number { value, tolerance }, Reading::Number(said)) => {
                let is_right = (said - value).abs() <= *tolerance;
                Some(rightly("number_right", is_right))
            }
            (Self::Named(facts), Reading::Words(words)) => {
                Some(compare_names(scoring, facts, words))
            }
            (Self::Json { schema, answer }, Reading::Json(said)) => {
                Some(compare_documents(schema, answer, said))
            }
            _ => None,
        }
    }
}

impl Scene {
    fn of(truth: &SceneTruth, lexicon: &Lexicon) -> Self {
        let placed = |object: &SceneObject| Placed {
            thing: Thing {
                kind: lexicon.canonical(&object.kind),
                color: Some(lexicon.canonical(&object.color)),
                size: Some(lexicon.canonical(&object.size)),
            },
            x: object.x,
            y: object.y,
        };
        let objects: Vec<Placed> = truth.objects.iter().map(placed).collect();
        Self {
            place: lexicon.canonical(&truth.place),
            time: lexicon.canonical(&truth.time),
            weather: lexicon.canonical(&truth.weather),
            groups: groups(&objects),
            objects,
        }
    }

    /// Facts: place, time, weather unless indoors, and each group of one kind and colour with its count. A group is named by stating
    /// all three; it is wrong only if what it does state is.
    fn compare_caption(&self, caption: &Caption) -> Score {
        let (mut named, wrong) = self.settings_named(&caption.setting);
        let mut facts = self.settings() + self.groups.len();
        let mut all_named = named + wrong;
        if self.weather == INDOORS {
            // Nobody says so of a room: neither a fact nor an error.
            let said = usize::from(caption.setting.weathers.contains(INDOORS));
            (named, all_named, facts) = (named - said, all_named - said, facts - 1);
        }
        let said: BTreeSet<&Group> = caption.groups.iter().collect();
        let right = self
            .groups
            .iter()
            .filter(|group| said.contains(group))
            .count();
        let false_groups = said.iter().filter(|group| !self.allows(group)).count();
        Score {
            values: vec![
                ("caption_true_facts", share(right + named, facts)),
                (
                    "caption_wrong_facts",
                    share(wrong + false_groups, all_named + said.len()),
                ),
            ],
            is_correct: None,
        }
    }

    /// F1 over the pairs of kind and count: 2·matches / (pairs said + pairs true); both empty is 1.
    fn compare_counts(&self, counts: &BTreeMap<String, u32>) -> Score {
        let mut truth: BTreeMap<&String, u32> = BTreeMap::new();
        for object in &self.objects {
            *truth.entry(&object.thing.kind).or_default() += 1;
        }
        let matches = truth
            .iter()
            .filter(|(kind, count)| counts.get(**kind) == Some(count))
            .count();
        let is_exact = matches == truth.len() && matches == counts.len();
        exactly(
            "counts_f1",
            f1(matches, counts.len(), truth.len()),
            "counts_exact",
            is_exact,
        )
    }

    /// F1 over the multiset of (kind, colour, size); both empty is 1.
    fn compare_things(&self, things: &[Thing]) -> Score {
        let mut left: Vec<&Thing> = self.objects.iter().map(|object| &object.thing).collect();
        let mut matches = 0;
        for thing in things {
            if let Some(position) = left.iter().position(|other| *other == thing) {
                left.swap_remove(position);
                matches += 1;
            }
        }
        let is_exact = matches == self.objects.len() && matches == things.len();
        let f1 = f1(matches, things.len(), self.objects.len());
        exactly("attributes_f1", f1, "attributes_exact", is_exact)
    }

    /// Share of the statements that are true, with all things they name present; both empty is 1. Correct also needs every
    /// kind and colour of the scene to be named.
    fn compare_statements(&self, said: &[Statement]) -> Score {
        let is_true = |statement: &&Statement| self.is_true(statement);
        let value = match (said.is_empty(), self.objects.is_empty()) {
            (true, is_nothing_there) => f64::from(u8::from(is_nothing_there)),
            (false, _) => share(said.iter().filter(is_true).count(), said.len()),
        };
        let named: Vec<&Thing> = said.iter().flat_map(Statement::things).collect();
        let is_named = |object: &Placed| named.iter().any(|thing| object.is_called(thing));
        Score {
            values: vec![("spatial_true", value)],
            is_correct: Some(value >= 1.0 && self.objects.iter().all(is_named)),
        }
    }

    /// Facts: place, time, weather, as far as the truth has them.
    fn compare_setting(&self, said: &Setting) -> Score {
        let (named, wrong) = self.settings_named(said);
        Score {
            values: vec![
                ("scene_true_facts", share(named, self.settings())),
                ("scene_wrong_facts", share(wrong, named + wrong)),
            ],
            is_correct: Some(named == self.settings() && wrong == 0),
        }
    }

    /// How many of place, time and weather are known.
    fn settings(&self) -> usize {
        let words = [&self.place, &self.time, &self.weather];
        words.iter().filter(|word| !word.is_empty()).count()
    }

    /// How many of the three were named, and how many words for them were wrong.
    fn settings_named(&self, said: &Setting) -> (usize, usize) {
        let pairs = [
            (&self.place, &said.places),
            (&self.time, &said.times),
            (&self.weather, &said.weathers),
        ];
        let named = pairs
            .iter()
            .filter(|(truth, said)| said.contains(*truth))
            .count();
        let all: usize = pairs.iter().map(|(_, said)| said.len()).sum();
        (named, all - named)
    }

    /// Whether what the group states is so: of things of its colour, or of all of its kind if it names none.
    fn allows(&self, said: &Group) -> bool {
        let of_kind = || self.groups.iter().filter(|group| group.kind == said.kind);
        let agrees = |count: Option<u32>| said.count.is_none() || said.count == count;
        if said.color.is_some() {
            return of_kind().any(|group| group.color == said.color && agrees(group.count));
        }
        let total: u32 = of_kind().filter_map(|group| group.count).sum();
        total > 0 && (agrees(Some(total)) || of_kind().any(|group| agrees(group.count)))
    }

    fn is_true(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Relation(Some(subject), relation, Some(object)) => {
                self.holds(subject, *relation, object)
            }
            Statement::Relation(..) => false,
            Statement::Position(thing, position) => self
                .called(thing)
                .any(|(_, placed)| placed.is_at(*position)),
        }
    }

    /// Whether some two different things of these names are so placed.
    fn holds(&self, subject: &Thing, relation: Relation, object: &Thing) -> bool {
        self.called(subject).any(|(index, left)| {
            let mut others = self.called(object).filter(|(other, _)| *other != index);
            others.any(|(_, right)| match relation {
                Relation::LeftOf => left.x < right.x,
                Relation::RightOf => left.x > right.x,
                Relation::Above => left.y < right.y,
                Relation::Below => left.y > right.y,
            })
        })
    }

    fn called<'a>(&'a self, thing: &'a Thing) -> impl Iterator<Item = (usize, &'a Placed)> {
        let objects = self.objects.iter().enumerate();
        objects.filter(|(_, placed)| placed.is_called(thing))
    }
}

impl Placed {
    /// Whether it is of that kind, and of the colour and size that are named.
    fn is_called(&self, name: &Thing) -> bool {
        let agrees = |named: &Option<String>, own| named.is_none() || named == own;
        self.thing.kind == name.kind
            && agrees(&name.color, &self.thing.color)
            && agrees(&name.size, &self.thing.size)
    }

    fn is_at(&self, position: Position) -> bool {
        let agrees = |named: Option<u16>, own| named.is_none_or(|named| named == third(own));
        agrees(position.column, self.x) && agrees(position.row, self.y)
    }
}

impl Statement {
    fn things(&self) -> impl Iterator<Item = &Thing> {
        let (first, second) = match self {
            Self::Relation(subject, _, object) => (subject.as_ref(), object.as_ref()),
            Self::Position(thing, _) => (Some(thing), None),
        };
        first.into_iter().chain(second)
    }
}

/// The weather of a room.
const INDOORS: &str = "indoors";

/// Things of one kind and colour, with their count.
fn groups(objects: &[Placed]) -> BTreeSet<Group> {
    let group = |placed: &Placed| {
        let (kind, color) = (&placed.thing.kind, &placed.thing.color);
        let same = |other: &&Placed| other.thing.kind == *kind && other.thing.color == *color;
        Group {
            count: u32::try_from(objects.iter().filter(same).count()).ok(),
            color: color.clone(),
            kind: kind.clone(),
        }
    };
    objects.iter().map(group).collect()
}

/// Which third of the picture's side a thousandth lies in.
pub(super) fn third(thousandth: u16) -> u16 {
    (thousandth.saturating_mul(3) / 1000).min(2)
}

/// Of the choices that the question offered, exactly one is named, and it is the right one; without choices, the words are the same.
fn compare_words(expected: &[String], choices: &[Vec<String>], words: &[String]) -> Score {
    let is_right = if choices.is_empty() {
        said(words) == said(expected)
    } else {
        named(choices, words) == BTreeSet::from([expected])
    };
    rightly("direct_exact", is_right)
}

/// Share of the facts that are named.
fn compare_names(scoring: Scoring, facts: &[Names], words: &[String]) -> Score {
    let named = facts.iter().filter(|names| names.are_in(words)).count();
    let id = match scoring {
        Scoring::CodeFacts => "code_facts_named",
        _ => "facts_named",
    };
    Score {
        values: vec![(id, share(named, facts.len()))],
        is_correct: Some(named == facts.len()),
    }
}

/// Whether the document has the form that was asked for, and the share of the right one's values that it has.
fn compare_documents(schema: &Schema, answer: &Json, said: &Json) -> Score {
    let has_form = schema.matches(said);
    let (right, all) = agreement(answer, Some(said));
    Score {
        values: vec![
            ("json_values", share(right, all)),
            ("json_schema", f64::from(u8::from(has_form))),
        ],
        is_correct: Some(has_form && right == all),
    }
}

/// How many of a document's values another one has in the same place, and how many there are. What a list has too much is wrong.
fn agreement(answer: &Json, said: Option<&Json>) -> (usize, usize) {
    let add = |sum: (usize, usize), next: (usize, usize)| (sum.0 + next.0, sum.1 + next.1);
    match (answer, said) {
        (Json::Object(values), said) if !values.is_empty() => {
            let of = |key| match said {
                Some(Json::Object(said)) => said.get(key),
                _ => None,
            };
            let parts = values.iter().map(|(key, value)| agreement(value, of(key)));
            parts.fold((0, 0), add)
        }
        (Json::List(values), said) if !values.is_empty() => {
            let said: &[Json] = match said {
                Some(Json::List(said)) => said,
                _ => &[],
            };
            let parts = values.iter().enumerate();
            let parts = parts.map(|(index, value)| agreement(value, said.get(index)));
            let too_many = said.len().saturating_sub(values.len());
            parts.fold((0, too_many), add)
        }
        (answer, said) => (
            usize::from(said.is_some_and(|said| agrees(answer, said))),
            1,
        ),
    }
}

/// Numbers to the ninth digit, texts by their words.
fn agrees(answer: &Json, said: &Json) -> bool {
    match (answer, said) {
        (Json::Number(answer), Json::Number(said)) => {
            (answer - said).abs() <= 1e-9 * answer.abs().max(1.0)
        }
        (Json::Text(answer), Json::Text(said)) => naming::words(answer) == naming::words(said),
        _ => answer == said,
    }
}

fn rightly(id: &'static str, is_right: bool) -> Score {
    Score {
        values: vec![(id, f64::from(u8::from(is_right)))],
        is_correct: Some(is_right),
    }
}

/// Without the words of a sentence around the answer.
fn said(words: &[String]) -> Vec<&String> {
    let is_around = |word: &str| ["it", "is", "the", "there", "are"].contains(&word);
    words.iter().filter(|word| !is_around(word)).collect()
}

/// The choices found in the words, the longest first where several begin.
fn named<'a>(choices: &'a [Vec<String>], words: &[String]) -> BTreeSet<&'a [String]> {
    let mut named = BTreeSet::new();
    let mut rest = words;
    while !rest.is_empty() {
        let starting = choices
            .iter()
            .filter(|choice| !choice.is_empty() && rest.starts_with(choice));
        let found = starting.max_by_key(|choice| choice.len());
        named.extend(found.map(Vec::as_slice));
        rest = &rest[found.map_or(1, Vec::len)..];
    }
    named
}

fn exactly(f1_id: &'static str, f1: f64, exact_id: &'static str, is_exact: bool) -> Score {
    Score {
        values: vec![(f1_id, f1), (exact_id, f64::from(u8::from(is_exact)))],
        is_correct: Some(is_exact),
    }
}

fn f1(matches: usize, said: usize, truth: usize) -> f64 {
    if said + truth == 0 {
        return 1.0;
    }
    share(2 * matches, said + truth)
}

/// 0 of nothing is 0.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}
