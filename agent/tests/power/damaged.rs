//! Real texts, damaged by hands, pagers, cut pipes and patched tools: nothing panics, nothing is invented.
//!
//! `just fuzz` runs the same properties for as many cases as there is time for.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use tokwatt_agent::{
    decode::{KINDS, Kind, decode},
    power::{
        PowerSource, Taken,
        meter::{Meter, Settings},
    },
};

use crate::{corpus, meter::Hand};

/// What happens to a text.
#[derive(Clone, Debug)]
enum Harm {
    Delete(Index),
    Repeat(Index),
    Swap(Index, Index),
    Join(Index),
    Replace(Index, String),
    Unit(&'static str, &'static str),
    Cut(Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let index = any::<Index>;
    let odd = prop_oneof![
        Just("999999999999999999999999999999".to_owned()),
        Just("-0".to_owned()),
        Just("NaN".to_owned()),
        Just("1e9".to_owned()),
        Just("٣mW/٣mW".to_owned()),
        Just("VDD_IN".to_owned()),
        Just("\u{1b}[1m5000mW/5000mW\u{1b}[0m".to_owned()),
        "\\PC{0,12}",
    ];
    prop_oneof![
        index().prop_map(Harm::Delete),
        index().prop_map(Harm::Repeat),
        (index(), index()).prop_map(|(one, other)| Harm::Swap(one, other)),
        index().prop_map(Harm::Join),
        (index(), odd).prop_map(|(at, word)| Harm::Replace(at, word)),
        prop::sample::select(UNITS.to_vec()).prop_map(|(from, to)| Harm::Unit(from, to)),
        index().prop_map(Harm::Cut),
    ]
}

/// Units that other tools, releases or languages print.
const UNITS: [(&str, &str); 8] = [
    ("mW", "W"),
    ("mW", ""),
    ("MB", "GiB"),
    ("C", "F"),
    ("%", "‰"),
    (".", ","),
    ("/", " / "),
    (",", ", "),
];

impl Harm {
    /// Words with the blanks and line ends behind them stay together, so that tables stay tables.
    fn befall(&self, text: &str) -> String {
        let mut words: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
        if words.is_empty() {
            return String::new();
        }
        let n = words.len();
        match self {
            Self::Delete(at) => {
                words.remove(at.index(n));
            }
            Self::Repeat(at) => words.insert(at.index(n), words[at.index(n)]),
            Self::Swap(one, other) => words.swap(one.index(n), other.index(n)),
            Self::Join(at) => words[at.index(n)] = words[at.index(n)].trim_end(),
            Self::Replace(at, word) => words[at.index(n)] = word,
            Self::Unit(from, to) => return text.replace(from, to),
            Self::Cut(at) => {
                let length = at.index(text.chars().count() + 1);
                return text.chars().take(length).collect();
            }
        }
        words.concat()
    }
}

fn damaged(kinds: &'static [&'static str]) -> impl Strategy<Value = (Kind, String)> {
    let entries: Vec<(Kind, String)> = kinds
        .iter()
        .flat_map(|kind| corpus::entries(kind))
        .map(|entry| {
            let kind = entry["kind"].as_str().unwrap().parse().unwrap();
            (kind, entry["raw"].as_str().unwrap().to_owned())
        })
        .collect();
    let entry = prop::sample::select(entries);
    (entry, prop::collection::vec(harm(), 0..8)).prop_map(|((kind, text), harms)| {
        let befall = |text: String, harm: &Harm| harm.befall(&text);
        (kind, harms.iter().fold(text, befall))
    })
}

/// Numbers that stand in a text.
fn numbers(text: &str) -> Vec<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
    let words = text.split(|c| !is_part(c));
    let parts = words.flat_map(|word| [word, word.trim_start_matches('-')]);
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// Every figure that was read stands in the text, and so does every name and word.
#[track_caller]
fn check_nothing_is_invented(value: &Value, text: &str, numbers: &[f64]) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            assert!(numbers.contains(&number), "{number} is not in {text:?}");
        }
        Value::String(word) => {
            let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
            let is_there = without_blanks(text).contains(&without_blanks(word));
            assert!(is_there, "{word:?} is not in {text:?}");
        }
        Value::Array(values) => {
            for value in values {
                check_nothing_is_invented(value, text, numbers);
            }
        }
        Value::Object(values) => {
            for value in values.values() {
                check_nothing_is_invented(value, text, numbers);
            }
        }
    }
}

/// Each rail stands in the line beside its figures, each temperature at its own.
#[track_caller]
fn check_rails(line: &Value, text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let own_name = |key: &str| key.split_once('#').map_or(key, |(name, _)| name).to_owned();
    for (rail, figures) in line["rails_mw"].as_object().into_iter().flatten() {
        let figures: Vec<i64> = figures
            .as_array()
            .unwrap()
            .iter()
            .map(|figure| figure.as_i64().unwrap())
            .collect();
        let read = |word: &str| -> Option<Vec<i64>> {
            let figures = word
                .split('/')
                .map(|figure| figure.trim_end_matches("mW").parse().ok());
            figures.collect()
        };
        let is_there = words
            .windows(2)
            .any(|pair| pair[0] == own_name(rail) && read(pair[1]).as_ref() == Some(&figures));
        assert!(is_there, "{rail} {figures:?} is not in {text:?}");
    }
    for (place, celsius) in line["temps_c"].as_object().into_iter().flatten() {
        let is_it = |word: &&str| {
            let reading = word
                .strip_prefix(&own_name(place))
                .and_then(|rest| rest.strip_prefix('@'));
            let now = reading.and_then(|reading| reading.split(['C', '/']).next());
            now.and_then(|now| now.parse::<f64>().ok()) == celsius.as_f64()
        };
        assert!(
            words.iter().any(is_it),
            "{place} {celsius} is not in {text:?}"
        );
    }
}

/// Kinds whose figures are printed as they are read, not converted.
const VERBATIM: &[&str] = &[
    "tegrastats",
    "tegrastats-fragment",
    "nvpmodel",
    "nvidia-smi",
    "nvidia-smi-csv",
    "nvml-probe",
    "dgx-release",
];

proptest! {
    #[test]
    fn a_damaged_text_is_read_as_far_as_it_goes_and_nothing_is_invented((kind, text) in damaged(VERBATIM)) {
        if let Ok(value) = decode(kind, &text) {
            check_nothing_is_invented(&value, &text, &numbers(&text));
        }
    }

    #[test]
    fn a_damaged_line_of_tegrastats_has_no_rail_that_it_does_not_show((kind, text) in damaged(&["tegrastats"])) {
        if let Ok(line) = decode(kind, &text) {
            check_rails(&line, &text);
        }
    }

    #[test]
    fn no_kind_panics_at_the_damaged_text_of_another((_, text) in damaged(VERBATIM)) {
        for (_, kind) in KINDS {
            drop(decode(kind, &text));
        }
    }

    #[test]
    fn blanks_of_any_width_and_kind_change_nothing(
        (kind, text) in damaged(&["tegrastats"]), blanks in prop::collection::vec("[ \t]{1,5}", 1..9)
    ) {
        let words = text.split_whitespace().enumerate();
        let wide: String = words.map(|(n, word)| format!("{word}{}", blanks[n % blanks.len()])).collect();
        prop_assert_eq!(decode(kind, &wide).ok(), decode(kind, &text).ok());
    }

    /// Rows that are right, rows that are not, and pieces of either, in chunks that end anywhere.
    #[test]
    fn a_meters_file_gives_rows_in_order_and_only_those_that_it_has(
        pieces in prop::collection::vec(
            prop_oneof![
                (1..60_000_u32, 0..9_000_u32).prop_map(|(ms, watts)| format!("{}.{:03},{watts}.25\n", 1000 + ms / 1000, ms % 1000)),
                prop::sample::select(vec!["1001", ",", ".", "5\r\n", "\n", "unix_s,power_w\n", "\u{feff}", "-", "1e3", "\"1002\",\"7\"\n", "12,5,3\n"])
                    .prop_map(str::to_owned),
                "\\PC{1,8}",
            ],
            0..40,
        )
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meter.csv");
        fs::write(&path, "unix_s,power_w\n").unwrap();
        let clock = Hand::default();
        let settings = Settings::csv(path.to_str().unwrap()).unwrap();
        let mut meter = Meter::open(&settings, &clock).unwrap();
        clock.put(30_000);
        let mut taken: Vec<Taken> = Vec::new();
        for piece in &pieces {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(piece.as_bytes()).unwrap();
            // What is wrong is counted by the sampler.
            meter.read(&clock, &mut taken).unwrap_or_default();
        }
        let numbers = numbers(&pieces.concat());
        for pair in taken.windows(2) {
            prop_assert!(pair[0].sample.at < pair[1].sample.at);
        }
        for taken in &taken {
            prop_assert!(taken.sample.at.0 <= 30_000_000_000);
            let watts = taken.sample.values[0] as f64 / 1e6;
            prop_assert!(numbers.iter().any(|number| (number - watts).abs() < 1e-6), "{watts} in {pieces:?}");
        }
    }
}
