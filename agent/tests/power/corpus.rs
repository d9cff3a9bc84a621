//! Lines that real devices printed, with the readings that are certain in them.

use proptest::prelude::*;
use serde_json::Value;
use tokwatt_agent::decode::{Kind, decode};

const CORPUS: &str = include_str!("../../../tests/fixtures/power.jsonl");

/// How much of an entry is expected.
enum Expect {
    /// All keys and no other.
    Whole,
    /// These keys at least: its author shortened the text.
    Part,
}

fn entries(kind: &str) -> Vec<Value> {
    let entries = CORPUS
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["kind"] == kind).collect()
}

/// Decodes every entry of a kind; there are `n`.
#[track_caller]
fn check(corpus_kind: &str, kind: Kind, expect: &Expect, n: usize) {
    let entries = entries(corpus_kind);
    assert_eq!(entries.len(), n, "{corpus_kind}");
    for entry in &entries {
        let got = decode(kind, entry["raw"].as_str().unwrap()).unwrap();
        match expect {
            Expect::Whole => assert_eq!(got, entry["expect"], "{}", entry["id"]),
            Expect::Part => check_part(entry, &got),
        }
    }
}

/// `c102` ends in a cut line: the rail that was cut is not expected, whatever it reads.
#[track_caller]
fn check_part(entry: &Value, got: &Value) {
    for (key, want) in entry["expect"].as_object().unwrap() {
        match (want, &got[key]) {
            (Value::Object(want), got) => {
                want.iter().for_each(|(name, want)| {
                    assert_eq!(&got[name], want, "{} {name}", entry["id"])
                });
            }
            (want, got) => assert_eq!(got, want, "{} {key}", entry["id"]),
        }
    }
}

#[test]
fn every_line_of_tegrastats_reads_as_expected() {
    check("tegrastats", Kind::Tegrastats, &Expect::Whole, 61);
}

#[test]
fn a_shortened_line_of_tegrastats_reads_as_far_as_it_goes() {
    check("tegrastats-fragment", Kind::Tegrastats, &Expect::Part, 7);
}

#[test]
fn every_release_and_power_mode_reads_as_expected() {
    check("nvpmodel", Kind::Nvpmodel, &Expect::Whole, 7);
    check("release", Kind::Release, &Expect::Whole, 10);
    check("dgx-release", Kind::DgxRelease, &Expect::Whole, 5);
}

#[test]
fn every_board_name_reads_as_expected() {
    check("model", Kind::Model, &Expect::Whole, 13);
    check("compatible", Kind::Compatible, &Expect::Whole, 2);
}

#[test]
fn an_unknown_kind_is_named_with_the_choices() {
    let message = "tegrastat".parse::<Kind>().unwrap_err().to_string();
    assert!(
        message.starts_with("cannot decode `tegrastat`, there are: tegrastats, "),
        "{message}"
    );
}

proptest! {
    /// Real texts with a piece cut out and noise put in: a file being written, a pager's colours, a patched tool.
    #[test]
    fn no_damaged_text_panics(entry in 0..156_usize, cut in 0..400_usize, length in 0..40_usize, noise in ".{0,10}") {
        let entry: Value = serde_json::from_str(CORPUS.lines().nth(entry).unwrap()).unwrap();
        let text: Vec<char> = entry["raw"].as_str().unwrap().chars().collect();
        let (before, rest) = text.split_at(cut.min(text.len()));
        let after = rest.iter().skip(length);
        let damaged: String = before.iter().copied().chain(noise.chars()).chain(after.copied()).collect();
        for kind in [Kind::Tegrastats, Kind::Nvpmodel, Kind::Release, Kind::DgxRelease, Kind::Model, Kind::Compatible] {
            drop(decode(kind, &damaged));
        }
    }
}

#[test]
fn other_text_is_refused_by_every_kind_but_a_free_one() {
    for kind in [
        Kind::Tegrastats,
        Kind::Nvpmodel,
        Kind::Release,
        Kind::DgxRelease,
        Kind::Compatible,
    ] {
        assert!(decode(kind, "command not found").is_err(), "{kind:?}");
    }
}
