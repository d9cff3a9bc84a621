//! Full disks on either side: said, survived, and nothing lost.

use std::process::{Command, Output};

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, Random, agent, seed, tell};

use crate::{
    A_LONG_TIME, LIST_RUNS, all_are_complete_and_equal, books_balance, check, eventually,
    fleet::Fleet, ledger::Findings, relay::Manner, small_disk::SmallDisk, turn,
};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_collector_whose_disk_is_full_says_so_answers_and_goes_on_when_there_is_room() {
    let _turn = turn();
    let Some(disk) = SmallDisk::new(2 * MIB) else {
        return;
    };
    let manner = Manner::Loses { one_in: u64::MAX };
    let mut fleet = Fleet::begin_on(Some(disk), &["agx-orin", "thor"], manner);
    let mut random = Random::new(seed());
    eventually("the disk is full", A_LONG_TIME, || {
        fleet.measure(10, &mut random);
        let has_heard = |log: String| log.contains("the collector's disk is full, try again later");
        fleet.devices.iter().all(|device| has_heard(device.log()))
    });

    let at_first = runs_or_fail(fleet.collector()).len();
    assert!(at_first > 0);
    fleet.kill_collector();
    fleet.revive();
    assert_eq!(runs_or_fail(fleet.collector()).len(), at_first);

    fleet.disk.as_mut().unwrap().resize(256 * MIB);
    fleet.calm_down();
    let findings = fleet.findings();
    let (n_records, _) = fleet.ledger.totals();
    tell(&format!(
        "{n_records} records, {at_first} runs when full: {findings:?}"
    ));
    assert_eq!(findings, Findings::default());
}

#[track_caller]
fn runs_or_fail(collector: &CollectorProcess) -> Vec<Value> {
    let answer = collector.ask(&LIST_RUNS).unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{said}");
    let listed: Value = serde_json::from_slice(&answer.stdout).unwrap();
    listed["runs"].as_array().unwrap().clone()
}

#[test]
fn an_agent_whose_disk_is_full_says_so_keeps_what_it_measured_and_goes_on_when_there_is_room() {
    let _turn = turn();
    let Some(mut disk) = SmallDisk::new(512 * MIB) else {
        return;
    };
    let data = disk.at().join("agent");
    let bench = |limit, more: &[&str]| {
        let mut bench = agent(&data);
        bench
            .args(["bench", "--format", "json", "--power", "none"])
            .args(["--precision", "q8_0", "--limit", limit, "--repeat", "3"])
            .args(more);
        bench
    };
    // Unpacks the model, and says how much there is besides results.
    run(disk.inside(&bench("1", &[])));
    let used = used_bytes(&disk);
    disk.resize(used + 200 * 1024);

    let stopped = disk.inside(&bench("20", &[])).output().unwrap();
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert_ne!(stopped.status.code(), Some(0), "it fits: {said}");
    assert!(said.contains("full"), "{said}");
    assert!(said.contains("--resume"), "{said}");

    disk.resize(512 * MIB);
    let document = run(disk.inside(&bench("20", &["--resume"])));
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 15);
    for run in runs {
        assert_eq!(run["requests"]["issued"], 20, "{run}");
    }

    let folder = tempfile::tempdir().unwrap();
    let collector = CollectorProcess::start(folder.path()).unwrap();
    let mut delivery = agent(&data);
    delivery.args(["run", "--until-empty", "--collector", collector.url()]);
    run(disk.inside(&delivery));
    all_are_complete_and_equal(&collector, 15 + 15);
    collector.stop().unwrap();
    books_balance(check(folder.path()));
}

#[track_caller]
fn run(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

fn used_bytes(disk: &SmallDisk) -> u64 {
    let mut df = Command::new("df");
    df.args(["--output=used", "--block-size=1"]).arg(disk.at());
    let said = String::from_utf8(run(disk.inside(&df)).stdout).unwrap();
    said.lines().last().unwrap().trim().parse().unwrap()
}
