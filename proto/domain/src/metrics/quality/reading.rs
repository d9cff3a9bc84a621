//! What an answer says, as far as it can be read: one tolerant reader for each form of answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    lexicon::{Lexicon, Relation, Tag},
    naming::{self, fenced},
    number::last_number,
};
use crate::workload::{Scoring, json::Json};

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    Caption(Caption),
    /// Kind to how many.
    Counts(BTreeMap<String, u32>),
    Attributes(Vec<Thing>),
    Spatial(Vec<Statement>),
    SceneContext(Setting),
    /// Words, without articles and punctuation.
    Direct(Vec<String>),
    Number(f64),
    /// Words among which facts are named.
    Words(Vec<String>),
    Json(Json),
}

/// Setting and groups of things that a sentence names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Caption {
    pub(super) setting: Setting,
    pub(super) groups: Vec<Group>,
}

/// What was named of each; more than one is possible.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Setting {
    pub(super) places: BTreeSet<String>,
    pub(super) times: BTreeSet<String>,
    pub(super) weathers: BTreeSet<String>,
}

/// `two blue trees`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Group {
    pub(super) count: Option<u32>,
    pub(super) color: Option<String>,
    pub(super) kind: String,
}

/// `small red ball`.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Thing {
    pub(super) kind: String,
    pub(super) color: Option<String>,
    pub(super) size: Option<String>,
}

/// Something said about where things are. A thing that could not be read is `None`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Statement {
    Relation(Option<Thing>, Relation, Option<Thing>),
    Position(Thing, Position),
}

/// Which third of the picture, as far as it was said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Position {
    /// 0 left, 1 center, 2 right.
    pub(super) column: Option<u16>,
    /// 0 top, 1 middle, 2 bottom.
    pub(super) row: Option<u16>,
}

/// Reads an answer; `None` if it does not have the form, empty lists apart.
pub(super) fn read(scoring: Scoring, text: &str, lexicon: &Lexicon) -> Option<Reading> {
    match scoring {
        Scoring::Number => number(text, lexicon).map(Reading::Number),
        Scoring::Facts => Some(naming::words(text))
            .filter(|words| !words.is_empty())
            .map(Reading::Words),
        Scoring::CodeFacts => fenced(text).map(|code| Reading::Words(naming::words(&code))),
        Scoring::Json => document(text).map(Reading::Json),
        Scoring::None => None,
        _ => read_in_words(scoring, &lexicon.read(text)),
    }
}

/// Answers that are about scenes, or a word.
fn read_in_words(scoring: Scoring, tags: &[Tag]) -> Option<Reading> {
    match scoring {
        Scoring::Caption => Some(Reading::Caption(caption(tags))).filter(|_| !tags.is_empty()),
        Scoring::Counts => {
            let counts = counts(tags);
            (!counts.is_empty() || says_nothing(tags)).then_some(Reading::Counts(counts))
        }
        Scoring::Attributes => {
            let things = things(tags);
            (!things.is_empty() || says_nothing(tags)).then_some(Reading::Attributes(things))
        }
        Scoring::Spatial => {
            let statements = statements(tags);
            (!statements.is_empty() || says_nothing(tags)).then_some(Reading::Spatial(statements))
        }
        Scoring::SceneContext => {
            let setting = setting(tags);
            (!setting.is_empty()).then_some(Reading::SceneContext(setting))
        }
        Scoring::Direct => {
            let words: Vec<String> = words(tags).collect();
            (!words.is_empty()).then_some(Reading::Direct(words))
        }
        Scoring::Number | Scoring::Facts | Scoring::CodeFacts | Scoring::Json | Scoring::None => {
            None
        }
    }
}

/// In digits, else in words.
fn number(text: &str, lexicon: &Lexicon) -> Option<f64> {
    let in_words = || {
        let tags = lexicon.read(text);
        tags.iter().rev().find_map(|tag| match tag {
            Tag::Number(number) => Some(f64::from(*number)),
            _ => None,
        })
    };
    last_number(text).or_else(in_words)
}

/// As a program reads it: the whole answer, or what stands in its fenced block. Nobody looks for a document among words.
fn document(text: &str) -> Option<Json> {
    Json::parse(text).or_else(|| Json::parse(&fenced(text)?))
}

/// The words of a short answer, one by one: `right of` answers a question about `right`.
pub(super) fn words(tags: &[Tag]) -> impl Iterator<Item = String> {
    let split = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    tags.iter()
        .map(Tag::text)
        .flat_map(split)
        .filter(|word| !word.is_empty())
}

impl Setting {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.times.is_empty() && self.weathers.is_empty()
    }

    fn add(&mut self, tag: &Tag) {
        match tag {
            Tag::Place(word) => self.places.insert(word.clone()),
            Tag::Time(word) => self.times.insert(word.clone()),
            Tag::Weather(word) => self.weathers.insert(word.clone()),
            _ => false,
        };
    }
}

/// `` ``, `{}`, `none`, `no objects`, `nothing`.
fn says_nothing(tags: &[Tag]) -> bool {
    let is_filler = |tag: &Tag| match tag {
        Tag::Stop | Tag::Close | Tag::Comma | Tag::Number(0) => true,
        Tag::Word(word) => ["none", "nothing", "object"].contains(&word.as_str()),
        _ => false,
    };
    tags.iter().all(is_filler)
}

fn is_break(tag: &Tag) -> bool {
    matches!(tag, Tag::Comma | Tag::Stop | Tag::Close)
}

fn caption(tags: &[Tag]) -> Caption {
    let mut caption = Caption::default();
    let (mut count, mut color) = (None, None);
    for tag in tags {
        caption.setting.add(tag);
        match tag {
            Tag::Number(number) => count = Some(*number),
            Tag::Article => count = Some(1),
            Tag::Color(word) => color = Some(word.clone()),
            Tag::Kind(kind) => caption.groups.push(Group {
                count: count.take(),
                color: color.take(),
                kind: kind.clone(),
            }),
            Tag::Size(_) | Tag::Word(_) => {}
            _ => (count, color) = (None, None),
        }
    }
    caption
}

/// `ball: 2`, `"ball": 2`, `2 red balls`, `a ball`, `object: ball, count: 2`. A kind named twice is added up, a count of 0 says
/// nothing.
fn counts(tags: &[Tag]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    let mut waiting = None;
    for entry in tags.split(is_break) {
        let name = name(entry).or_else(|| waiting.take());
        match (name, count(entry)) {
            (Some(name), Some(count)) if count > 0 => {
                let sum: &mut u32 = counts.entry(name).or_default();
                *sum = sum.saturating_add(count);
            }
            (Some(_), Some(_)) => {}
            (name, _) => waiting = name,
        }
    }
    counts
}

fn count(entry: &[Tag]) -> Option<u32> {
    let number = entry.iter().find_map(|tag| match tag {
        Tag::Number(number) => Some(*number),
        _ => None,
    });
    number.or_else(|| entry.contains(&Tag::Article).then_some(1))
}

/// A kind, else the last word that is not about the form of the answer.
fn name(entry: &[Tag]) -> Option<String> {
    let kind = entry.iter().find_map(|tag| match tag {
        Tag::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    let word = || {
        entry.iter().rev().find_map(|tag| match tag {
            Tag::Word(word) if !FORM.contains(&word.as_str()) => Some(word.clone()),
            _ => None,
        })
    };
    kind.or_else(word)
}

/// Words that an answer may put around its facts, in the singular.
const FORM: &[&str] = &[
    "amount", "are", "color", "colour", "contain", "count", "has", "here", "i", "image", "in",
    "is", "item", "it", "json", "kind", "label", "list", "name", "number", "object", "of",
    "picture", "quantity", "see", "shape", "show", "size", "the", "there", "total", "type",
    "visible", "with", "x",
];

/// `small red ball`, `2 small red balls`, `The ball is small and red`, JSON objects with `size`, `color` and a kind.
fn things(tags: &[Tag]) -> Vec<Thing> {
    let is_keyed = tags.contains(&Tag::Close)
        && tags
            .iter()
            .any(|tag| matches!(tag, Tag::Word(word) if KEYS.contains(&word.as_str())));
    let mut things = Things::default();
    for entry in tags.split(|tag| {
        if is_keyed {
            *tag == Tag::Close
        } else {
            is_break(tag)
        }
    }) {
        things.read(entry);
    }
    things.read
}

const KEYS: [&str; 3] = ["size", "color", "colour"];

/// Things read so far, and attributes that wait for the next.
#[derive(Default)]
struct Things {
    read: Vec<Thing>,
    color: Option<String>,
    size: Option<String>,
}

impl Things {
    fn read(&mut self, entry: &[Tag]) {
        let mut number = 1;
        let mut kinds: Vec<&String> = Vec::new();
        for tag in entry {
            match tag {
                Tag::Number(count) => number = *count,
                Tag::Color(word) => self.color = Some(word.clone()),
                Tag::Size(word) => self.size = Some(word.clone()),
                Tag::Kind(kind) => kinds.push(kind),
                _ => {}
            }
        }
        let has_attribute = self.color.is_some() || self.size.is_some();
        match kinds.last() {
            Some(kind) => self.add((*kind).clone(), number),
            None if has_attribute => match name(entry) {
                Some(unknown) => self.add(unknown, number),
                None => self.complete_last(),
            },
            None => {}
        }
    }

    /// Repeated as often as was said, within reason.
    fn add(&mut self, kind: String, number: u32) {
        let thing = Thing {
            kind,
            color: self.color.take(),
            size: self.size.take(),
        };
        self.read
            .extend((0..number.min(100)).map(|_| thing.clone()));
    }

    /// `The ball is small` — `and red`.
    fn complete_last(&mut self) {
        if let Some(last) = self.read.last_mut() {
            if last.color.is_none() {
                last.color = self.color.take();
            }
            if last.size.is_none() {
                last.size = self.size.take();
            }
        }
    }
}

/// `The red ball is left of the blue box and above the car.`, `The red ball is at the top left.`
fn statements(tags: &[Tag]) -> Vec<Statement> {
    let sentences = tags.split(|tag| matches!(tag, Tag::Stop | Tag::Close));
    sentences.flat_map(sentence).collect()
}

fn sentence(tags: &[Tag]) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut thing = Thing::default();
    let (mut subject, mut relation) = (None, None);
    for tag in tags {
        match tag {
            Tag::Color(word) => thing.color = Some(word.clone()),
            Tag::Size(word) => thing.size = Some(word.clone()),
            Tag::Relation(said) => relation = Some(*said),
            Tag::Kind(kind) => {
                thing.kind.clone_from(kind);
                let named = Some(std::mem::take(&mut thing));
                match relation.take() {
                    Some(relation) => {
                        statements.push(Statement::Relation(subject.clone(), relation, named));
                    }
                    None => subject = named,
                }
            }
            _ => {}
        }
    }
    if let Some(relation) = relation {
        statements.push(Statement::Relation(subject.clone(), relation, None));
    }
    if statements.is_empty() {
        let stated = subject.zip(position(tags));
        statements.extend(stated.map(|(subject, position)| Statement::Position(subject, position)));
    }
    statements
}

fn position(tags: &[Tag]) -> Option<Position> {
    let mut position = Position::default();
    for tag in tags {
        let Tag::Word(word) = tag else { continue };
        match word.as_str() {
            "top" | "upper" => position.row = Some(0),
            "bottom" | "lower" => position.row = Some(2),
            "left" => position.column = Some(0),
            "right" => position.column = Some(2),
            "middle" => position.row = position.row.or(Some(1)),
            "center" | "centre" => position.column = position.column.or(Some(1)),
            _ => {}
        }
    }
    Some(position).filter(|position| *position != Position::default())
}

/// `place: beach, time: night`, or the words of a setting anywhere. What follows a key and is unknown is a wrong word, not none.
fn setting(tags: &[Tag]) -> Setting {
    let mut setting = Setting::default();
    for entry in tags.split(is_break) {
        match key(entry) {
            Some((key, value)) => setting.add_keyed(key, value),
            None => entry.iter().for_each(|tag| setting.add(tag)),
        }
    }
    setting
}

/// An entry that begins with a key.
fn key(entry: &[Tag]) -> Option<(&str, &[Tag])> {
    match entry.split_first()? {
        (Tag::Word(key), value) if !value.is_empty() => match key.as_str() {
            "place" | "time" | "weather" => Some((key, value)),
            _ => None,
        },
        _ => None,
    }
}

impl Setting {
    fn add_keyed(&mut self, key: &str, value: &[Tag]) {
        let mut all = Self::default();
        value.iter().for_each(|tag| all.add(tag));
        let (own, named) = match key {
            "place" => (&mut self.places, all.places),
            "time" => (&mut self.times, all.times),
            _ => (&mut self.weathers, all.weathers),
        };
        if named.is_empty() {
            own.insert(words(value).collect::<Vec<_>>().join(" "));
        } else {
            own.extend(named);
        }
    }
}
