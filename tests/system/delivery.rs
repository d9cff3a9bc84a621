//! From the agent's spool to the collector's boards: once, whatever happens in between.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, agent};

use crate::{bench, document, text};

const SMALL: &[&str] = &[
    "--power",
    "none",
    "--limit",
    "2",
    "--repeat",
    "1",
    "--precision",
    "q8_0",
];

fn runs(collector: &CollectorProcess) -> Vec<Value> {
    let answer = collector
        .ask(&["runs", "list", "--format", "json"])
        .unwrap();
    let listed: Value = serde_json::from_str(&text(&answer)).unwrap();
    listed["runs"].as_array().unwrap().clone()
}

fn waiting(data: &Path) -> u64 {
    let status = agent(data)
        .args(["spool", "status", "--format", "json"])
        .output()
        .unwrap();
    let status: Value = serde_json::from_str(&text(&status)).unwrap();
    status["waiting_records"].as_u64().unwrap()
}

#[test]
fn what_is_measured_is_ranked_by_the_collector_which_comes_to_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let mut arguments = vec!["--power", "none", "--limit", "20", "--repeat", "3"];
    arguments.extend(["--precision", "f32,q8_0", "--collector", collector.url()]);
    let bench = document(&bench(folder.path(), &arguments));
    assert_eq!(bench["runs"].as_array().unwrap().len(), 2 * 3 * 5);
    assert_eq!(waiting(folder.path()), 0);

    let runs = runs(&collector);
    assert_eq!(runs.len(), 30);
    for run in &runs {
        assert_eq!(run["state"], "complete", "{run}");
        assert_eq!(
            run["agrees"], true,
            "the collector measured something else: {run}"
        );
    }
    let board = collector
        .ask(&[
            "rank",
            "--metric",
            "decode_tps",
            "--by",
            "precision",
            "--format",
            "json",
        ])
        .unwrap();
    let board: Value = serde_json::from_str(&text(&board)).unwrap();
    let rows = board["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{board}");
    for row in rows {
        assert_eq!(row["n_runs"], 3, "{row}");
        assert_eq!(row["n_requests"], 300, "{row}");
        let blocked = !row["flags"].as_array().unwrap().is_empty() && row["place"].is_null();
        assert!(row["place"].is_u64() || blocked, "{row}");
    }
    collector.stop().unwrap();
}

#[test]
fn a_collector_that_is_away_gets_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = ["--collector", "http://127.0.0.1:9"];
    let output = bench(folder.path(), &[SMALL, &nobody].concat());
    document(&output);
    assert!(waiting(folder.path()) > 0);

    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let delivery = agent(folder.path())
        .args(["run", "--until-empty", "--collector", collector.url()])
        .output()
        .unwrap();
    text(&delivery);
    assert_eq!(waiting(folder.path()), 0);
    assert_eq!(runs(&collector).len(), 5);
}

#[test]
fn a_collector_that_was_killed_has_everything_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("collector");
    for round in 1..=3 {
        let collector = CollectorProcess::start(&data).unwrap();
        document(&bench(
            folder.path(),
            &[SMALL, &["--collector", collector.url()]].concat(),
        ));
        assert_eq!(waiting(folder.path()), 0);
        collector.kill().unwrap();
        let collector = CollectorProcess::start(&data).unwrap();
        assert_eq!(runs(&collector).len(), 5 * round);
        collector.stop().unwrap();
    }
}

/// 2,500 questions: seconds for each of five runs.
const LARGE: &[&str] = &[
    "bench",
    "--format",
    "json",
    "--power",
    "none",
    "--repeat",
    "1",
    "--precision",
    "q8_0",
];

/// A large bench whose first run has begun: the device and the run's opening are in the spool, its first segment is not.
fn begin_large(data: &Path) -> Child {
    let before = waiting(data);
    let mut child = agent(data)
        .args(LARGE)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while waiting(data) < before + 2 {
        assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
    }
    child
}

fn deliver(data: &Path, collector: &CollectorProcess) {
    let arguments = ["run", "--until-empty", "--collector", collector.url()];
    let delivery = agent(data).args(arguments).output().unwrap();
    text(&delivery);
    assert_eq!(waiting(data), 0);
}

#[test]
fn an_agent_killed_in_the_middle_delivers_what_it_had_committed_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    document(&bench(data, SMALL));
    let mut child = begin_large(data);
    child.kill().unwrap();
    child.wait().unwrap();

    let collector = CollectorProcess::start(&data.join("collector")).unwrap();
    deliver(data, &collector);
    let first = runs(&collector);
    let of_state = |state| first.iter().filter(|run| run["state"] == state).count();
    assert_eq!(
        (first.len(), of_state("complete"), of_state("open")),
        (6, 5, 1)
    );

    // Life goes on with another bench once the killed one is given up, and what is there is not admitted again.
    let refused = bench(data, SMALL);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("0 runs of it are finished"), "{said}");
    document(&bench(data, &[SMALL, &["--abandon"]].concat()));
    deliver(data, &collector);
    let second = runs(&collector);
    assert_eq!(second.len(), 11);
    for run in first.iter().filter(|run| run["state"] == "complete") {
        assert_eq!(
            second.iter().filter(|other| *other == run).count(),
            1,
            "{run}"
        );
    }
    let given_up = second.iter().filter(|run| {
        let flags = run["flags"].as_array().unwrap();
        flags.contains(&"cancelled".into())
    });
    assert_eq!(given_up.count(), 1);
}

#[test]
fn ctrl_c_ends_a_bench_with_what_was_measured_and_a_run_marked_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let child = begin_large(data);
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("what was measured is kept"), "{said}");
    let bench: Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = bench["runs"].as_array().unwrap();
    assert_eq!(measured.len(), 1, "the other runs were not begun");
    let requests = &measured[0]["requests"];
    assert!(requests["issued"].as_u64().unwrap() < 500, "{requests}");

    let collector = CollectorProcess::start(&data.join("collector")).unwrap();
    deliver(data, &collector);
    let runs = runs(&collector);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["agrees"], true, "{}", runs[0]);
    assert_eq!(runs[0]["n_requests"], requests["issued"]);
    let flags = runs[0]["flags"].as_array().unwrap();
    assert!(flags.contains(&"cancelled".into()), "{}", runs[0]);
}

/// In this device's outbox they would be delivered under its name, and set aside there.
#[test]
fn results_of_a_recorded_device_wait_apart_and_are_delivered_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host/agx-orin");
    let bench = agent(&data)
        .args([
            "bench",
            "--limit",
            "1",
            "--repeat",
            "1",
            "--power",
            "none",
            "--host-root",
        ])
        .arg(&root)
        .output()
        .unwrap();
    let bench = text(&bench);
    assert_eq!(waiting(&data), 0);

    let (_, how) = bench
        .split_once("deliver them with: tokwatt-agent --data '")
        .unwrap();
    let (apart, _) = how.split_once('\'').unwrap();
    assert!(
        how.contains(&format!(
            "--host-root '{}' run --collector URL",
            root.display()
        )),
        "{how}"
    );
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let run = agent(Path::new(apart))
        .args([
            "run",
            "--until-empty",
            "--collector",
            collector.url(),
            "--host-root",
        ])
        .arg(&root)
        .output()
        .unwrap();
    text(&run);
    let devices = text(&collector.ask(&["devices", "list"]).unwrap());
    assert!(devices.contains("agx-orin-"), "{devices}");
    assert_eq!(runs(&collector).len(), 5);
}
