//! The engine is another process: whatever happens to it is a result, never the agent's end.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;
use tokwatt_harness::agent;

use crate::{bench, document, keeps_to_its_schema};

#[test]
fn the_document_keeps_to_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let bench = document(&bench(
        folder.path(),
        &[
            "--power",
            "none",
            "--limit",
            "2",
            "--repeat",
            "2",
            "--precision",
            "f32,bf16",
            "--concurrency",
            "1,2",
        ],
    ));
    keeps_to_its_schema(&bench);
    assert_eq!(bench["runs"].as_array().unwrap().len(), 2 * 2 * 2 * 5);
}

#[test]
fn the_same_seed_gets_the_same_answers_at_every_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    document(&bench(
        folder.path(),
        &[
            "--power",
            "none",
            "--limit",
            "4",
            "--repeat",
            "2",
            "--precision",
            "f32",
            "--out",
            out.to_str().unwrap(),
        ],
    ));
    let mut answers: Vec<(String, u64, Vec<String>)> = Vec::new();
    for entry in fs::read_dir(out.join("traces")).unwrap() {
        let trace: Value =
            serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let task = trace["header"]["cell"]["task"].as_str().unwrap().to_owned();
        let requests = trace["segments"][0]["requests"].as_array().unwrap();
        let said = requests
            .iter()
            .map(|request| request["answer"].as_str().unwrap().to_owned())
            .collect();
        answers.push((task, trace["header"]["repetition"].as_u64().unwrap(), said));
    }
    answers.sort();
    assert_eq!(answers.len(), 10);
    for pair in answers.chunks(2) {
        assert_eq!(pair[0].0, pair[1].0);
        assert_eq!(pair[0].2, pair[1].2, "{}", pair[0].0);
        assert!(pair[0].2.iter().all(|answer| !answer.is_empty()));
    }
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&out)
        .status()
        .unwrap();
    assert!(sums.success());
}

#[test]
fn an_engine_killed_in_the_middle_is_a_failed_request_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = agent(folder.path())
        .args([
            "bench",
            "--format",
            "json",
            "--power",
            "none",
            "--limit",
            "60",
            "--repeat",
            "1",
            "--precision",
            "f32",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().starts_with("run 2/"))
        .unwrap()
        .unwrap();
    let worker = worker_of(child.id());
    // A death during warm-up fails no measured request, so until the engine has worked ten times as long as warm-up takes.
    let before = cpu_ticks(worker);
    while cpu_ticks(worker) < before + 30 {
        std::thread::yield_now();
    }
    let killed = Command::new("kill")
        .args(["-KILL", &worker.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest = std::thread::spawn(move || lines.for_each(drop));
    let output = child.wait_with_output().unwrap();
    rest.join().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "a failed request is found wrong, not a failure to run"
    );
    let bench: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = bench["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 5);
    let sum = |key: &str| -> u64 {
        runs.iter()
            .filter_map(|run| run["requests"][key].as_u64())
            .sum()
    };
    let crashed: u64 = runs
        .iter()
        .filter_map(|run| run["requests"]["failed"]["crashed"].as_u64())
        .sum();
    assert_eq!(sum("issued"), 300);
    assert!(crashed >= 1, "{runs:?}");
    assert_eq!(sum("succeeded") + crashed, 300);
}

/// The engine's process.
pub(crate) fn worker_of(agent: u32) -> u32 {
    let found = Command::new("pgrep")
        .args(["-P", &agent.to_string(), "-f", "engine-worker"])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    found.trim().parse().unwrap()
}

/// CPU time of a process in hundredths of a second: fields 14 and 15 of its stat file.
pub(crate) fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
