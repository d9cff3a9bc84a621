//! What must hold when everything goes wrong at once: programs that are killed, disks that are full, a database that stands still,
//! strangers at the door. Real programs throughout.
//!
//! Each of these wants the machine for itself, so they take turns. What was drawn is drawn again with the same `TOKWATT_SEED`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delivering;
mod device;
mod disk;
mod fleet;
mod kills;
mod ledger;
mod overload;
mod process;
mod relay;
mod site;
mod small_disk;
mod strangers;

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use tokwatt_harness::{CollectorProcess, SampleRun, program};

/// Held by the storm that rages.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run of 20 questions; measured once.
fn sample() -> &'static SampleRun {
    static SAMPLE: OnceLock<SampleRun> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        SampleRun::measure(folder.path(), 20).unwrap()
    })
}

/// Waits for `what`, which must come `within`.
#[track_caller]
fn eventually(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// All runs, as a person would ask for them; none if the collector does not answer.
fn runs(collector: &CollectorProcess) -> Vec<Value> {
    let answer = collector.ask(&LIST_RUNS);
    let listed: Option<Value> = serde_json::from_slice(&answer.unwrap().stdout).ok();
    listed
        .and_then(|listed| listed["runs"].as_array().cloned())
        .unwrap_or_default()
}

/// Waits until the collector has so many runs, each complete and come to the figures of its agent.
#[track_caller]
fn all_are_complete_and_equal(collector: &CollectorProcess, n_runs: usize) {
    let each = u32::try_from(n_runs).unwrap() * LONGEST_OF_A_RUN;
    eventually("every run is measured", A_LONG_TIME + each, || {
        let runs = runs(collector);
        let is_lost = |run: &&Value| run["state"] == "unreadable";
        assert_eq!(runs.iter().find(is_lost), None);
        runs.len() == n_runs && runs.iter().all(|run| run["state"] == "complete")
    });
    let differing: Vec<Value> = runs(collector)
        .into_iter()
        .filter(|run| run["agrees"] != true)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// What an operator types to see whether the database is sound, and everything expected is stored or declared missing.
fn check(data: &Path) -> Command {
    let mut check = Command::new(program("tokwatt-collector"));
    check.args(["check", "--data"]).arg(data);
    check
}

#[track_caller]
fn books_balance(mut check: Command) {
    let output = check.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

const LIST_RUNS: [&str; 6] = ["runs", "list", "--limit", "1000000", "--format", "json"];

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// One is measured after the other.
const LONGEST_OF_A_RUN: Duration = Duration::from_millis(100);

/// For what takes a moment on an idle machine; a busy one may be that much slower.
const A_LONG_TIME: Duration = Duration::from_secs(120);
