//! Lines that real devices printed, with the readings that are certain in them.

use proptest::prelude::*;
use serde_json::Value;
use tokwatt_agent::decode::{KINDS, Kind, decode};

const CORPUS: &str = include_str!("../../../tests/fixtures/power.jsonl");

/// How much of an entry is expected.
enum Expect {
    /// All keys and no other.
    Whole,
    /// These keys at least: its author shortened the text.
    Part,
}

pub(crate) fn entries(kind: &str) -> Vec<Value> {
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
    check("dmi", Kind::Dmi, &Expect::Part, 8);
    check("bios", Kind::Bios, &Expect::Part, 1);
    check("lspci", Kind::Lspci, &Expect::Whole, 2);
}

#[test]
fn every_answer_of_nvidias_tools_reads_as_expected() {
    check("nvidia-smi", Kind::NvidiaSmi, &Expect::Part, 13);
    check("nvidia-smi-csv", Kind::NvidiaSmiCsv, &Expect::Part, 8);
    check("nvidia-smi-q", Kind::NvidiaSmiQ, &Expect::Part, 1);
    check("nvml-probe", Kind::NvmlProbe, &Expect::Part, 3);
    check("jetson_clocks", Kind::JetsonClocks, &Expect::Part, 5);
}

#[test]
fn every_answer_of_the_system_reads_as_expected() {
    check("meminfo", Kind::Meminfo, &Expect::Part, 1);
    check("lm-sensors", Kind::LmSensors, &Expect::Part, 6);
    check("dpkg", Kind::Dpkg, &Expect::Whole, 2);
    check("environment", Kind::Environment, &Expect::Part, 1);
}

/// Whatever is added to the corpus is read by the kind of its name, or fails here.
#[test]
fn no_entry_of_the_corpus_is_left_out() {
    for line in CORPUS.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let kind: Kind = entry["kind"].as_str().unwrap().parse().unwrap();
        let got = decode(kind, entry["raw"].as_str().unwrap()).unwrap();
        check_part(&entry, &got);
        for (key, want) in entry["expect"].as_object().unwrap() {
            assert!(
                want.is_null() || got.get(key).is_some(),
                "{} {key}",
                entry["id"]
            );
        }
    }
}

/// Derived: the same texts as a Windows editor or a serial console would hand them on.
#[test]
fn line_ends_and_blanks_around_a_text_change_nothing() {
    for line in CORPUS.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let kind: Kind = entry["kind"].as_str().unwrap().parse().unwrap();
        let raw = entry["raw"].as_str().unwrap();
        let noisy = format!("{}\r\n\r\n", raw.replace('\n', "\r\n"));
        assert_eq!(decode(kind, &noisy), decode(kind, raw), "{}", entry["id"]);
    }
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
        for (_, kind) in KINDS {
            drop(decode(kind, &damaged));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for (_, kind) in KINDS {
            drop(decode(kind, &String::from_utf8_lossy(&bytes)));
        }
    }

    /// Marks that the decoders split at, in any order, with figures too large for any type.
    #[test]
    fn no_heap_of_marks_panics(
        marks in proptest::collection::vec(
            proptest::sample::select(vec![
                "|", "/", ":", " : ", "=", "->", "[", "]", "(", ",", "\n", "\r", "\t", " ", "  ", "%", "@", "W", "C", "MiB", "N/A", "-",
                "99999999999999999999999999", "1e999", "-1", "0", "1.5", "NaN", "inf", "nvml", "GPU ", "cpu1:", "$ ", "Package:", "ii",
                "NV Power Mode:", "Driver Version:", "SOC family:", "ina3221", "curr1", "in4", "VDD", "µ", "：", "# R", "tegra", "_",
            ]),
            0..80,
        )
    ) {
        for (_, kind) in KINDS {
            drop(decode(kind, &marks.concat()));
        }
    }
}

#[test]
fn other_text_is_refused_by_every_kind_but_a_free_one() {
    // A board's name can be anything; bare lines of firmware names and of CSV are names.
    let free = [Kind::Model, Kind::Dmi, Kind::NvidiaSmiCsv];
    for (_, kind) in KINDS {
        let refuses = decode(kind, "command not found").is_err();
        assert_eq!(refuses, !free.contains(&kind), "{kind:?}");
    }
}

/// The longest text that the command line hands on, made of what each kind repeats most.
#[test]
fn the_longest_text_is_read_in_bounded_time() {
    let limit = std::time::Duration::from_secs(120);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for piece in [
            "a: 1\n",
            "| 0 a b | c | d |\n",
            "x, 1.5 W\n",
            "a=1\n",
            "nvml=1\n",
            "cpu1: a\n",
            "sys_vendor x\n",
            "a b\n",
        ] {
            let text = piece.repeat((1 << 20) / piece.len());
            for (_, kind) in KINDS.into_iter().filter(|(_, kind)| !kind.is_by_line()) {
                drop(decode(kind, &text));
            }
        }
        done.send(()).unwrap();
    });
    finished.recv_timeout(limit).unwrap();
}
