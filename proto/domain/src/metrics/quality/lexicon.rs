//! Which words mean which fact: a text becomes a row of tags, with plurals, synonyms and case taken away.
//!
//! The tables are part of what a score means: `quality::fingerprint` goes into a suite's digest.

use std::collections::{BTreeMap, BTreeSet};

use crate::workload::SceneTruth;

/// A piece of an answer with a meaning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tag {
    /// `two`, `2`.
    Number(u32),
    /// `a`, `an`.
    Article,
    Kind(String),
    Color(String),
    Size(String),
    Place(String),
    Time(String),
    Weather(String),
    Relation(Relation),
    /// Any other word.
    Word(String),
    /// `,` or `and`.
    Comma,
    /// `.`, `;`, `{`, `[` or the end of a line.
    Stop,
    /// `}`.
    Close,
}

/// Where one thing is from another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Relation {
    LeftOf,
    RightOf,
    Above,
    Below,
}

/// Words of the tables, and those that truths bring along.
#[derive(Clone, Debug, Default)]
pub(super) struct Lexicon {
    phrases: BTreeMap<String, Tag>,
    /// First words of phrases of several: most words are none, and need not be put together with those that follow.
    openings: BTreeSet<String>,
}

impl Lexicon {
    /// The tables, and the words of these truths that they lack.
    pub(super) fn of<'a>(truths: impl Iterator<Item = &'a SceneTruth>) -> Self {
        let mut lexicon = Self::default();
        for (tag, words) in TABLE {
            for (phrase, canonical) in *words {
                lexicon.insert((*phrase).to_owned(), tag(canonical));
            }
        }
        for truth in truths {
            lexicon.learn(truth);
        }
        lexicon
    }

    /// The row of tags that a text is.
    pub(super) fn read(&self, text: &str) -> Vec<Tag> {
        let pieces = pieces(text);
        let mut tags = Vec::new();
        let mut rest = pieces.as_slice();
        while let Some(first) = rest.first() {
            let (tag, length) = self.longest(rest).unwrap_or_else(|| (first.tag(), 1));
            tags.push(tag);
            rest = &rest[length..];
        }
        tags
    }

    /// The one word under which a fact of a truth is compared.
    pub(super) fn canonical(&self, text: &str) -> String {
        let tags = self.read(text);
        let words: Vec<String> = tags
            .iter()
            .map(Tag::text)
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ")
    }

    fn learn(&mut self, truth: &SceneTruth) {
        self.add(&truth.place, Tag::Place);
        self.add(&truth.time, Tag::Time);
        self.add(&truth.weather, Tag::Weather);
        for object in &truth.objects {
            self.add(&object.kind, Tag::Kind);
            self.add(&object.color, Tag::Color);
            self.add(&object.size, Tag::Size);
        }
    }

    fn add(&mut self, phrase: &str, tag: fn(String) -> Tag) {
        let words: Vec<String> = pieces(phrase).iter().map(Piece::singular).collect();
        let phrase = words.join(" ");
        if !phrase.is_empty() && !self.phrases.contains_key(&phrase) {
            self.insert(phrase.clone(), tag(phrase));
        }
    }

    fn insert(&mut self, phrase: String, tag: Tag) {
        if let Some((opening, _)) = phrase.split_once(' ') {
            self.openings.insert(opening.to_owned());
        }
        self.phrases.insert(phrase, tag);
    }

    /// The meaning of the longest phrase at the front, and how many pieces it takes.
    fn longest(&self, pieces: &[Piece]) -> Option<(Tag, usize)> {
        let longest = match self.openings.contains(pieces.first()?.text()) {
            true => LONGEST_PHRASE.min(pieces.len()),
            false => 1,
        };
        (1..=longest).rev().find_map(|length| {
            let (last, front) = pieces[..length].split_last()?;
            let front: String = front
                .iter()
                .map(|piece| format!("{} ", piece.text()))
                .collect();
            let found = last
                .forms()
                .into_iter()
                .find_map(|form| self.phrases.get(&format!("{front}{form}")));
            found.map(|tag| (tag.clone(), length))
        })
    }
}

impl Tag {
    /// As it is compared in short answers.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Kind(word)
            | Self::Color(word)
            | Self::Size(word)
            | Self::Place(word)
            | Self::Time(word)
            | Self::Weather(word)
            | Self::Word(word) => word.clone(),
            Self::Relation(relation) => relation.text().to_owned(),
            Self::Article | Self::Comma | Self::Stop | Self::Close => String::new(),
        }
    }
}

impl Relation {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// Most words of a phrase in the tables.
const LONGEST_PHRASE: usize = 4;

/// A word, or what stands between words and separates.
#[derive(Clone, Debug)]
enum Piece {
    Word(String),
    Break(Tag),
}

impl Piece {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Break(_) => "\0",
        }
    }

    /// What it is when it means nothing known.
    fn tag(&self) -> Tag {
        match self {
            Self::Break(tag) => tag.clone(),
            Self::Word(word) => word
                .parse()
                .map_or_else(|_| Tag::Word(self.singular()), Tag::Number),
        }
    }

    /// As it stands, and without the endings of a plural.
    fn forms(&self) -> Vec<String> {
        let word = self.text();
        let cut = |ending: &str, instead: &str| {
            let stem = word.strip_suffix(ending).filter(|stem| stem.len() >= 2)?;
            Some(format!("{stem}{instead}"))
        };
        let forms = [cut("s", ""), cut("es", ""), cut("ies", "y")];
        std::iter::once(word.to_owned())
            .chain(forms.into_iter().flatten())
            .collect()
    }

    /// The likely singular of a word that no table knows.
    fn singular(&self) -> String {
        let word = self.text();
        let is_plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
        word[..word.len() - usize::from(is_plural)].to_owned()
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut word = String::new();
    for letter in text.chars().chain(std::iter::once(' ')) {
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            pieces.push(Piece::Word(std::mem::take(&mut word)));
        }
        pieces.extend(separator(letter).map(Piece::Break));
    }
    pieces
}

fn separator(letter: char) -> Option<Tag> {
    match letter {
        ',' => Some(Tag::Comma),
        '.' | ';' | '\n' | '{' | '[' => Some(Tag::Stop),
        '}' => Some(Tag::Close),
        _ => None,
    }
}

/// A phrase and what it means.
type Words = &'static [(&'static str, &'static str)];

/// Makes a tag of a canonical word.
type MakeTag = fn(&str) -> Tag;

/// Everything that fixes what a text is read as, as one text.
pub(super) fn table_text() -> String {
    let rows = TABLE.iter().flat_map(|(tag, words)| {
        let row =
            move |(phrase, canonical): &(&str, &str)| format!("{phrase}={:?}\n", tag(canonical));
        words.iter().map(row)
    });
    rows.collect()
}

fn number(word: &str) -> Tag {
    Tag::Number(word.parse().expect("the table's numbers are digits"))
}

fn relation(word: &str) -> Tag {
    Tag::Relation(match word {
        "left of" => Relation::LeftOf,
        "right of" => Relation::RightOf,
        "above" => Relation::Above,
        _ => Relation::Below,
    })
}

const TABLE: &[(MakeTag, Words)] = &[
    (|word| Tag::Kind(word.to_owned()), KINDS),
    (|word| Tag::Color(word.to_owned()), COLORS),
    (|word| Tag::Size(word.to_owned()), SIZES),
    (|word| Tag::Place(word.to_owned()), PLACES),
    (|word| Tag::Time(word.to_owned()), TIMES),
    (|word| Tag::Weather(word.to_owned()), WEATHERS),
    (relation, RELATIONS),
    (number, NUMBERS),
    (|_| Tag::Article, &[("a", ""), ("an", "")]),
    (|_| Tag::Comma, &[("and", "")]),
    // Else the day in it would be an answer.
    (
        |word| Tag::Word(word.to_owned()),
        &[("time of day", "time")],
    ),
];

#[rustfmt::skip]
const KINDS: Words = &[
    ("ball", "ball"), ("sphere", "ball"),
    ("box", "box"), ("cube", "box"), ("crate", "box"),
    ("car", "car"), ("automobile", "car"), ("vehicle", "car"),
    ("cone", "cone"), ("traffic cone", "cone"),
    ("heart", "heart"),
    ("house", "house"), ("home", "house"), ("building", "house"),
    ("ring", "ring"), ("hoop", "ring"), ("torus", "ring"),
    ("star", "star"),
    ("tree", "tree"),
];

#[rustfmt::skip]
const COLORS: Words = &[
    ("red", "red"), ("green", "green"), ("blue", "blue"), ("yellow", "yellow"), ("orange", "orange"),
    ("purple", "purple"), ("violet", "purple"), ("white", "white"), ("black", "black"), ("gray", "gray"), ("grey", "gray"),
    ("brown", "brown"), ("pink", "pink"),
];

#[rustfmt::skip]
const SIZES: Words = &[
    ("small", "small"), ("little", "small"), ("tiny", "small"),
    ("large", "large"), ("big", "large"), ("huge", "large"),
];

#[rustfmt::skip]
const PLACES: Words = &[
    ("beach", "beach"), ("seaside", "beach"), ("shore", "beach"),
    ("desert", "desert"),
    ("field", "field"), ("grassy field", "field"), ("meadow", "field"), ("grassland", "field"),
    ("room", "room"),
    ("snow", "snow"), ("snowy field", "snow"), ("snow field", "snow"), ("snowy", "snow"), ("snowy landscape", "snow"),
    ("street", "street"), ("road", "street"),
];

#[rustfmt::skip]
const TIMES: Words = &[
    ("day", "day"), ("daytime", "day"), ("during the day", "day"), ("daylight", "day"),
    ("sunset", "sunset"), ("dusk", "sunset"),
    ("night", "night"), ("nighttime", "night"), ("at night", "night"),
];

#[rustfmt::skip]
const WEATHERS: Words = &[
    ("clear", "clear"), ("sunny", "clear"), ("clear sky", "clear"),
    ("cloudy", "cloudy"), ("overcast", "cloudy"), ("cloud", "cloudy"),
    ("rainy", "rainy"), ("rain", "rainy"), ("raining", "rainy"),
    ("indoors", "indoors"), ("indoor", "indoors"), ("inside", "indoors"),
];

#[rustfmt::skip]
const RELATIONS: Words = &[
    ("left of", "left of"), ("left side of", "left of"),
    ("right of", "right of"), ("right side of", "right of"),
    ("above", "above"), ("over", "above"), ("higher than", "above"),
    ("below", "below"), ("under", "below"), ("underneath", "below"), ("beneath", "below"), ("lower than", "below"),
];

#[rustfmt::skip]
const NUMBERS: Words = &[
    ("zero", "0"), ("no", "0"), ("one", "1"), ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"),
    ("seven", "7"), ("eight", "8"), ("nine", "9"), ("ten", "10"), ("eleven", "11"), ("twelve", "12"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Tag> {
        Lexicon::of(std::iter::empty()).read(text)
    }

    fn kind(word: &str) -> Tag {
        Tag::Kind(word.to_owned())
    }

    #[test]
    fn plurals_synonyms_and_case_are_one_word() {
        for text in ["box", "Boxes", "CUBES", "crate"] {
            assert_eq!(read(text), [kind("box")], "{text}");
        }
        assert_eq!(read("traffic cones"), [kind("cone")]);
    }

    #[test]
    fn the_longer_phrase_wins() {
        assert_eq!(
            read("a snowy field"),
            [Tag::Article, Tag::Place("snow".to_owned())]
        );
        assert_eq!(read("field"), [Tag::Place("field".to_owned())]);
        assert_eq!(read("left of"), [Tag::Relation(Relation::LeftOf)]);
        assert_eq!(read("left"), [Tag::Word("left".to_owned())]);
    }

    #[test]
    fn phrases_do_not_reach_over_a_stop() {
        let tags = read("snow. Field");
        assert_eq!(tags[1], Tag::Stop);
        assert_eq!(tags[2], Tag::Place("field".to_owned()));
    }

    #[test]
    fn numbers_are_words_or_digits() {
        assert_eq!(
            read("two 2 99999999999"),
            [
                Tag::Number(2),
                Tag::Number(2),
                Tag::Word("99999999999".to_owned())
            ]
        );
    }

    #[test]
    fn truths_bring_their_own_words() {
        let truth = SceneTruth {
            place: "parking lot".to_owned(),
            time: "dawn".to_owned(),
            weather: "foggy".to_owned(),
            objects: Vec::new(),
        };
        let lexicon = Lexicon::of(std::iter::once(&truth));
        assert_eq!(
            lexicon.read("Parking lots"),
            [Tag::Place("parking lot".to_owned())]
        );
        assert_eq!(lexicon.canonical("Parking Lot"), "parking lot");
        assert_eq!(lexicon.canonical("cubes"), "box");
    }

    #[test]
    fn letters_beyond_ascii_are_letters() {
        assert_eq!(read("Bälle"), [Tag::Word("bälle".to_owned())]);
        assert_eq!(read("ŝ"), [Tag::Word("ŝ".to_owned())]);
    }
}
