//! The commands about loading and swapping, as a person runs them.

#![cfg(all(feature = "embedded", feature = "tiny-model"))]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;
use tokwatt_proto::documents::{BENCH_SCHEMA, SWAP_SCHEMA};

use crate::{
    free_port,
    real::{command, model, python},
};

/// On the disk of the build: a temp folder may be memory, which nothing can be dropped from.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn agent(data: &Path, arguments: &[&str]) -> Output {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_tokwatt-agent"));
    agent.arg("--data").arg(data).args(arguments);
    agent.output().unwrap()
}

/// The document of a command that went well, and is as its schema says.
#[track_caller]
fn document(schema: &str, data: &Path, arguments: &[&str]) -> Value {
    let output = agent(data, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let document = serde_json::from_slice(&output.stdout).unwrap();
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    document
}

#[track_caller]
fn check_refused(arguments: &[&str], want: &str) {
    let output = agent(folder().path(), arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains(want), "{words}");
}

/// Copies of one's own, so that nobody else reads them.
fn files(folder: &Path) -> [PathBuf; 2] {
    ["tiny-vlm-q8_0.gguf", "tiny-vlm-mmproj-f32.gguf"].map(|name| {
        let path = folder.join(name);
        fs::copy(model(name), &path).unwrap();
        path
    })
}

const QUICK: [&str; 10] = [
    "--limit", "1", "--repeat", "1", "--quick", "--power", "none", "--format", "json", "--suite",
];

#[test]
fn a_bench_loads_cold_and_warm_as_often_as_asked_and_then_once_more() {
    let folder = folder();
    let [model, mmproj] = files(folder.path());
    let own = [
        "--model",
        model.to_str().unwrap(),
        "--mmproj",
        mmproj.to_str().unwrap(),
    ];
    let arguments = [
        &["bench", "--load-times", "2"],
        &own[..],
        &QUICK,
        &["edge-vision"],
    ]
    .concat();
    let document = document(BENCH_SCHEMA, folder.path(), &arguments);
    let run = &document["runs"][0];
    let loads: Vec<(&str, f64)> = run["loads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|load| {
            (
                load["kind"].as_str().unwrap(),
                load["resident"].as_f64().unwrap(),
            )
        })
        .collect();
    let (cold, warm) = (("cold", 0.0), ("warm", 1.0));
    assert_eq!(loads, [cold, warm, cold, warm, warm]);
    assert!(run["metrics"]["load_time.cold"].as_f64().unwrap() > 0.0);
    assert!(run["metrics"]["load_time.warm"].as_f64().unwrap() > 0.0);
    assert!(run["metrics"]["load_time.swap"].is_null());
}

#[test]
fn a_bench_of_a_model_that_is_not_loaded_twice_says_what_was_cached_and_touches_nothing() {
    let folder = folder();
    let [model, mmproj] = files(folder.path());
    let own = [
        "--model",
        model.to_str().unwrap(),
        "--mmproj",
        mmproj.to_str().unwrap(),
    ];
    let arguments = [&["bench"], &own[..], &QUICK, &["edge-vision"]].concat();
    let document = document(BENCH_SCHEMA, folder.path(), &arguments);
    let loads = document["runs"][0]["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 1);
    // Copied just now.
    assert_eq!(
        (&loads[0]["kind"], &loads[0]["resident"]),
        (&"warm".into(), &1.0.into())
    );
}

#[test]
fn two_precisions_take_turns_and_the_switches_are_costed() {
    let folder = folder();
    let [model, mmproj] = files(folder.path());
    let arguments = [
        "swap",
        "--a",
        model.to_str().unwrap(),
        "--mmproj-a",
        mmproj.to_str().unwrap(),
        "--b",
        "f32",
        "--limit",
        "1",
        "--power",
        "none",
        "--format",
        "json",
    ];
    let document = document(SWAP_SCHEMA, folder.path(), &arguments);
    let kinds: Vec<String> = document["switches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", row["from"], row["to"], row["load_kind"]))
        .map(|row| row.replace('"', ""))
        .collect();
    assert_eq!(kinds, ["null a cold", "a b swap", "b a swap", "a b swap"]);
    for model in document["models"].as_array().unwrap() {
        assert_eq!(
            (&model["asked"], &model["succeeded"]),
            (&10.into(), &10.into())
        );
        assert!(
            model["needed_bytes"].as_u64().unwrap() > 5_000_000,
            "{model}"
        );
    }
    assert_eq!(document["break_even"].as_array().unwrap().len(), 2);
    assert_eq!(document["together"]["fits"], true);
    assert_eq!(document["keep_loaded"].as_array().unwrap().len(), 0);
    assert_eq!(
        document["reasons"]["keep_loaded"],
        document["reasons"]["power"]
    );
}

/// A larger model takes longer for a request and to load, and draws more while it is loaded.
#[test]
fn on_a_made_up_machine_a_swap_has_its_energy_and_keeping_its_price() {
    let folder = folder();
    let arguments = [
        "swap",
        "--simulate",
        "thor",
        "--a",
        "made-up-2b",
        "--b",
        "made-up-7b",
        "--quick",
        "--limit",
        "1",
        "--format",
        "json",
    ];
    let document = document(SWAP_SCHEMA, folder.path(), &arguments);
    for row in document["break_even"].as_array().unwrap() {
        match row["go"].as_str() {
            Some("a") => assert!(row["requests"]["after"].as_u64() >= Some(1), "{row}"),
            _ => assert_eq!(row["requests"], "never", "{row}"),
        }
    }
    let scopes = |list: &str| {
        let rows = document[list].as_array().unwrap().iter();
        let scopes = rows.filter_map(|row| row["scope"].as_str());
        std::collections::BTreeSet::from_iter(scopes.map(str::to_owned))
    };
    assert!(!scopes("keep_loaded").is_empty());
    assert_eq!(scopes("keep_loaded"), scopes("break_even"));
    for row in document["keep_loaded"].as_array().unwrap() {
        let number = |key: &str| row[key].as_f64().unwrap();
        let reload = number("load_j") - number("idle_unloaded_w") * number("load_s");
        let want = reload / (number("idle_loaded_w") - number("idle_unloaded_w"));
        let got = row["keep"]["within"]["seconds"].as_f64().unwrap();
        assert!((got / want - 1.0).abs() < 1e-9, "{row}");
    }
}

#[test]
fn two_real_servers_take_turns() {
    let Some(python) = python() else { return };
    let folder = folder();
    let server = |name: &str| {
        let mmproj = model("tiny-vlm-mmproj-f32.gguf");
        let command = command(&python, &model(name), &mmproj);
        command.replace("PORT", &free_port().to_string())
    };
    let (a, b) = (server("tiny-vlm-f32.gguf"), server("tiny-vlm-q8_0.gguf"));
    let arguments = [
        "swap",
        "--backend",
        "openai",
        "--a",
        &a,
        "--b",
        &b,
        "--limit",
        "1",
        "--power",
        "none",
        "--format",
        "json",
    ];
    let document = document(SWAP_SCHEMA, folder.path(), &arguments);
    let switches = document["switches"].as_array().unwrap();
    assert_eq!(switches.len(), 4);
    assert!(
        switches.iter().all(|row| row["resident"].is_number()),
        "{switches:#?}"
    );
    for model in document["models"].as_array().unwrap() {
        assert_eq!(model["succeeded"], 10);
        let command = model["engine_flags"]["server_command"].as_str().unwrap();
        assert!(command.contains("llama_server.py"), "{command}");
    }
    let log = fs::read_dir(folder.path().join("logs"))
        .unwrap()
        .next()
        .unwrap();
    let log = fs::read_to_string(log.unwrap().path()).unwrap();
    assert_eq!(log.matches("--- tokwatt: stopped\n").count(), 4);
}

#[test]
fn a_bench_starts_its_server_by_name_and_stops_it() {
    let Some(python) = python() else { return };
    let folder = folder();
    let command = command(
        &python,
        &model("tiny-vlm-q8_0.gguf"),
        &model("tiny-vlm-mmproj-f32.gguf"),
    );
    let config = folder.path().join("agent.toml");
    let port = free_port().to_string();
    let entry = format!(
        "[[server]]\nname = \"tiny\"\ncommand = '{}'\n",
        command.replace("PORT", &port)
    );
    fs::write(&config, entry).unwrap();
    let named = [
        "--config",
        config.to_str().unwrap(),
        "bench",
        "--backend",
        "openai",
        "--server",
        "tiny",
    ];
    let arguments = [&named[..], &QUICK, &["edge-vision"]].concat();
    let document = document(BENCH_SCHEMA, folder.path(), &arguments);
    let run = &document["runs"][0];
    assert_eq!(run["requests"]["succeeded"], 1);
    assert_eq!(run["loads"].as_array().unwrap().len(), 1);
    assert!(run["metrics"]["memory_peak.process_tree"].as_f64().unwrap() > 1e7);
    let log = fs::read_to_string(folder.path().join("logs/tiny.log")).unwrap();
    assert!(log.ends_with("--- tokwatt: stopped\n"), "{log}");
}

#[test]
fn a_server_that_dies_at_its_start_is_a_failed_run_with_its_words() {
    let folder = folder();
    let server = [
        "bench",
        "--backend",
        "openai",
        "--server",
        "sh -c 'echo no such tensor; exit 3' --port 9",
    ];
    let arguments = [&server[..], &QUICK, &["edge-vision"]].concat();
    let output = agent(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let why = document["runs"][0]["reasons"]["run"].as_str().unwrap();
    assert!(why.starts_with("crashed: while it was starting"), "{why}");
    assert!(why.contains("no such tensor"), "{why}");
}

#[test]
fn what_cannot_be_started_is_refused_with_what_to_do() {
    check_refused(
        &["bench", "--server", "./serve --port 9"],
        "add --backend openai",
    );
    let openai = ["bench", "--backend", "openai", "--server"];
    let refused = |text: &str, want| check_refused(&[&openai[..], &[text]].concat(), want);
    refused("vllm serve m", "no `--port N`");
    refused("vllm serve 'm --port 9", "not balanced");
    refused("gemma", "no server is called `gemma`");
    check_refused(&["swap", "--a", "f32", "--b", "b.gguf"], "--mmproj-b");
    check_refused(&["swap", "--a", "f33", "--b", "f32"], "f33");
    check_refused(
        &["swap", "--a", "f32", "--b", "f32", "--url-a", "http://h"],
        "--backend openai",
    );
}
