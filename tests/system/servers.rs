//! A real server beside the engine that we bring: the same model, the same questions, the same answers.
//!
//! `tests/prepare` installs it. Without it these tests are skipped, aloud, and in CI they fail.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use tokwatt_harness::{LlamaServer, agent, leave_out};

use crate::{bench, document, keeps_to_its_schema, text};

fn server(options: &[&str]) -> Option<LlamaServer> {
    let started = LlamaServer::start(options).unwrap();
    if started.is_none() {
        leave_out(
            "no llama.cpp server: `tests/run` installs the wheel xllamacpp into target/peers",
        );
    }
    started
}

/// An answer and its prompt and completion tokens, by task and picture.
type Answers = BTreeMap<(String, String), (String, u64, u64)>;

/// What a bench asked and heard; its document and its bundle.
fn asked(folder: &Path, name: &str, arguments: &[&str]) -> (Value, Answers) {
    let out = folder.join(name);
    let mut all = vec!["--power", "none", "--repeat", "1", "--precision", "f32"];
    all.extend(["--out", out.to_str().unwrap()]);
    all.extend(arguments);
    let bench = document(&bench(&folder.join(format!("{name}-data")), &all));
    let mut answers = Answers::new();
    for entry in fs::read_dir(out.join("traces")).unwrap() {
        let trace: Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let task = trace["header"]["cell"]["task"].as_str().unwrap();
        for segment in trace["segments"].as_array().unwrap() {
            for request in segment["requests"].as_array().unwrap() {
                let item = request["item"].as_str().unwrap().to_owned();
                let answer = request["answer"].as_str().unwrap().to_owned();
                let count = |kind: &str| request["tokens"][kind].as_u64().unwrap();
                let heard = (answer, count("prompt"), count("completion"));
                answers.insert((task.to_owned(), item), heard);
            }
        }
    }
    (bench, answers)
}

#[test]
fn a_server_and_the_embedded_engine_give_the_same_answers_and_count_the_same_tokens() {
    let Some(server) = server(&["--alias", "tiny-vlm"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let pictures = ["--limit", "50"];
    let (_, embedded) = asked(folder.path(), "embedded", &pictures);
    let openai = ["--backend", "openai", "--url", server.url()];
    let (document, served) = asked(folder.path(), "served", &[&pictures[..], &openai].concat());
    keeps_to_its_schema(&document);
    let run = &document["runs"][0];
    assert_eq!(run["cell"]["model"], "tiny-vlm");
    assert_eq!(run["cell"]["backend"], "openai");
    assert_eq!(run["cell"]["engine_flags"]["engine_slots"], "1");
    assert!(run["metrics"]["ttft"]["p50"].is_number(), "{run}");
    assert!(run["metrics"]["prefill_tps_server"].is_number(), "{run}");

    assert_eq!(embedded.len(), 5 * 50);
    let pairs = || embedded.iter().map(|(key, answer)| (answer, &served[key]));
    let same: Vec<_> = pairs().filter(|(one, other)| one.0 == other.0).collect();
    assert!(
        same.len() * 100 >= 98 * embedded.len(),
        "{} of {} answers are the same",
        same.len(),
        embedded.len()
    );
    for (one, other) in same {
        assert_eq!(one, other);
    }
    assert!(
        pairs().all(|(one, other)| one.1 == other.1),
        "prompt tokens"
    );
}

#[test]
fn an_answer_in_one_piece_is_the_same_answer_with_its_latency_only() {
    let Some(server) = server(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let openai = ["--backend", "openai", "--url", server.url(), "--limit", "4"];
    let (_, streamed) = asked(folder.path(), "streamed", &openai);
    let whole = [&openai[..], &["--no-stream"]].concat();
    let (document, whole) = asked(folder.path(), "whole", &whole);
    assert_eq!(whole, streamed);
    keeps_to_its_schema(&document);
    for run in document["runs"].as_array().unwrap() {
        assert_eq!(run["cell"]["is_streaming"], false);
        assert!(
            run["metrics"]["request_latency"]["p50"].is_number(),
            "{run}"
        );
        assert!(
            run["metrics"]["ttft"].is_null() && run["reasons"]["ttft"].is_string(),
            "{run}"
        );
    }
}

#[test]
fn a_key_is_in_nothing_that_is_written() {
    let Some(server) = server(&["--api-key", "sk-made-up-secret"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "bench",
        "--backend",
        "openai",
        "--url",
        server.url(),
        "--power",
        "none",
    ];
    let stranger = agent(folder.path()).args(arguments).output().unwrap();
    assert_eq!(stranger.status.code(), Some(2));
    let words = String::from_utf8_lossy(&stranger.stderr);
    assert!(
        words.contains("401") && words.contains("--api-key-file"),
        "{words}"
    );

    let data = folder.path().join("data");
    let out = folder.path().join("bundle");
    let known = agent(&data)
        .env("TOKWATT_API_KEY", "sk-made-up-secret")
        .env("TOKWATT_LOG", "trace")
        .args(arguments)
        .args([
            "--repeat",
            "1",
            "--limit",
            "1",
            "--out",
            out.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    text(&known);
    for stream in [&known.stdout, &known.stderr] {
        assert!(!holds(stream), "{}", String::from_utf8_lossy(stream));
    }
    let mut n_files = 0;
    for folder in [data, out.join("traces"), out] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert!(!holds(&fs::read(&path).unwrap()), "{}", path.display());
                n_files += 1;
            }
        }
    }
    assert!(n_files >= 8, "{n_files}");
}

fn holds(bytes: &[u8]) -> bool {
    let secret = b"made-up-secret";
    bytes.windows(secret.len()).any(|window| window == secret)
}

#[test]
fn what_people_get_wrong_about_servers_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], words: &[&str]| {
        let output = bench(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for words in words {
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    };
    let openai = ["--backend", "openai", "--power", "none"];
    let with = |more: &[&'static str]| [&openai[..], more].concat();
    check(&openai, &["--url", "backend.url"]);
    check(
        &with(&["--url", "localhost:8000"]),
        &["--url", "http://127.0.0.1:8000"],
    );
    check(
        &with(&["--url", "http://me:secret@lab"]),
        &["--api-key-file"],
    );
    check(
        &with(&["--url", "http://127.0.0.1:1"]),
        &["http://127.0.0.1:1", "running"],
    );
    check(
        &with(&["--url", "http://lab", "--ca-file", "x"]),
        &["--ca-file", "https"],
    );
    check(
        &with(&["--url", "http://lab", "--api-key-file", "/nowhere/key"]),
        &["/nowhere/key"],
    );
    check(
        &with(&["--url", "http://lab", "--mmproj", "x"]),
        &["--mmproj"],
    );
    check(
        &with(&["--url", "http://lab", "--precision", "f16,q8_0"]),
        &["--precision"],
    );
    check(&["--url", "http://lab"], &["--url", "--backend openai"]);
}
