//! What must hold end to end: real programs, a real model, real SQLite, real gRPC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod delivery;
mod doctor;
mod energy;
mod engine;
mod enrol;
mod made_up;
mod offline;
mod power_modes;
mod replay;
mod restart;
mod resume;
mod sensors;
mod servers;
mod service;
mod simulate;
mod tables;
mod target;
mod wall_clock;

use std::{path::Path, process::Output};

use serde_json::Value;
use tokwatt_harness::agent;

/// `bench --format json` with the tiny model and what else is asked for.
fn bench(data: &Path, arguments: &[&str]) -> Output {
    agent(data)
        .args(["bench", "--format", "json"])
        .args(arguments)
        .output()
        .unwrap()
}

/// The document of a bench that went well.
#[track_caller]
fn document(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn keeps_to_its_schema(bench: &Value) {
    let schema: Value = serde_json::from_str(tokwatt_proto::documents::BENCH_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(bench)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Says aloud that a test was left out, and why.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
