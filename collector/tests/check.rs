//! `check` and retention: the books balance, what is wrong is found, and what can be made anew is.

use std::{collections::BTreeSet, path::Path, process::Command};

use tempfile::TempDir;
use tokwatt_collector::{
    check::{self, Balance, Check},
    retention,
    store::Store,
};
use tokwatt_domain::{
    gap::{Gap, GapCause, Part},
    ids::RunId,
    time::WallTime,
};
use tokwatt_proto::{Record, v1};

use crate::agent::{
    Running, block_on, deliver, questions, records, runs, spool, store_in, trace_with_power,
};

/// A run with power, and its records as a spool has them.
fn powered(run: u8, repetition: u32) -> Vec<Vec<u8>> {
    let trace = trace_with_power("lab-1", RunId([run; 16]), repetition, 5);
    records(&trace).iter().map(Record::encode).collect()
}

/// Two runs with power, one that was thinned, poison in between, and all of it once more under another epoch.
fn filled(folder: &Path) -> Vec<Vec<u8>> {
    let mut records = spool("lab-1", 1, 1, 5);
    records.extend(powered(2, 2));
    records.extend([
        b"\xff\xff not a record".to_vec(),
        Vec::new(),
        vec![0; 4_000],
    ]);
    records.extend(thinned());
    let collector = Running::start(folder);
    block_on(async {
        deliver(collector.addr, "lab-1", 1, &records).await;
        deliver(collector.addr, "lab-1", 2, &records).await;
        runs(collector.addr).await;
    });
    collector.stop();
    records
}

/// As an agent tells of a run whose disk was full.
fn thinned() -> Vec<Vec<u8>> {
    let mut trace = trace_with_power("lab-1", RunId([3; 16]), 3, 5);
    let samples = &mut trace.segments[0].power[0].samples;
    let n = samples.len();
    *samples = samples.iter().step_by(100).cloned().collect();
    let count = u32::try_from(n - samples.len()).unwrap();
    trace.segments[0].gaps = vec![Gap {
        part: Part::Samples(0),
        count,
        cause: GapCause::Thinned,
        note: String::new(),
    }];
    records(&trace).iter().map(Record::encode).collect()
}

fn look_at(folder: &Path) -> Check {
    let store = Store::look_at(folder).unwrap();
    block_on(check::check(&store)).unwrap()
}

fn database(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("collector.sqlite")).unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tokwatt-collector"))
        .args(["check", "--data", folder.to_str().unwrap()])
        .args(arguments)
        .env_remove("TOKWATT_COLLECTOR_CONFIG")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn the_books_of_what_was_delivered_balance_to_the_last_sample() {
    let folder = TempDir::new().unwrap();
    let records = filled(folder.path());
    let found = look_at(folder.path());
    assert_eq!(found.findings, []);
    assert_eq!(found.streams.n, 2);
    assert_eq!(
        found.streams.delivered,
        2 * i64::try_from(records.len()).unwrap()
    );
    // Stored again are the device and the poison, which belong to no run.
    assert_eq!(
        found.streams.held,
        i64::try_from(records.len()).unwrap() - 4
    );
    assert_eq!(found.set_aside.len(), 6);
    assert_eq!((found.runs.n, found.runs.complete), (3, 3));
    assert_eq!(
        found.requests,
        Balance {
            expected: 60,
            stored: 60,
            declared: 0
        }
    );
    let samples = found.samples;
    assert_eq!(samples.expected, samples.stored + samples.declared);
    assert!(samples.declared > 200, "{samples:?}");
}

#[test]
fn a_run_with_declared_gaps_is_measured_and_says_so() {
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    let collector = Running::start(folder.path());
    let run = block_on(async {
        let request = v1::ShowRunRequest {
            run: "030303".to_owned(),
        };
        let run = questions(collector.addr).await.show_run(request).await;
        run.unwrap().into_inner().json
    });
    collector.stop();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    assert_eq!(
        (&run["state"], &run["agrees"]),
        (&"complete".into(), &true.into())
    );
    let flags = run["flags"].as_array().unwrap();
    assert!(flags.contains(&"missing_samples".into()), "{flags:?}");
}

#[test]
fn a_check_beside_a_collector_that_serves_says_what_it_looked_at() {
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    let collector = Running::start(folder.path());
    let (code, said) = command(folder.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("nothing is wrong"), "{said}");
    assert!(said.contains("is kept and not used"), "{said}");
    let (code, said) = command(folder.path(), &["--rebuild"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another collector uses"), "{said}");
    collector.stop();
    let (code, said) = command(folder.path(), &["--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &found["schema"]),
        (Some(0), &"tokwatt.check/1".into())
    );
    let (code, said) = command(&folder.path().join("elsewhere"), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no database in"), "{said}");
}

/// Damages the database, looks, and returns which checks found something.
#[track_caller]
fn finds(damage: &str, want: &[&str]) {
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    database(folder.path()).execute_batch(damage).unwrap();
    let found = look_at(folder.path());
    let checks: BTreeSet<&str> = found.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(
        checks,
        BTreeSet::from_iter(want.iter().copied()),
        "{:?}",
        found.findings
    );
    let (code, said) = command(folder.path(), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("to do: "), "{said}");
}

#[test]
fn a_record_that_was_lost_is_found_in_its_stream_and_its_run() {
    finds(
        "DELETE FROM record WHERE epoch = 1 AND seq = 3",
        &["streams", "accounts", "reports"],
    );
}

#[test]
fn a_record_that_was_altered_is_found() {
    finds(
        "UPDATE record SET received = x'ffff' WHERE epoch = 1 AND seq = 2",
        &["records", "reports"],
    );
    finds(
        "UPDATE record SET run = x'02020202020202020202020202020202' WHERE epoch = 1 AND seq = 3",
        &["accounts", "reports", "records"],
    );
}

#[test]
fn a_run_that_has_its_end_and_is_open_is_found() {
    let damage = "UPDATE run SET state = 'open' WHERE id = x'02020202020202020202020202020202'";
    finds(damage, &["records", "cells"]);
}

#[test]
fn a_declared_gap_that_is_taken_away_is_found() {
    finds(
        "DELETE FROM record WHERE run = x'03030303030303030303030303030303' AND substr(hex(received), 1, 2) = '42';
         UPDATE stream SET held = held + 1 WHERE epoch = 1;",
        &["accounts", "reports"],
    );
}

#[test]
fn reports_and_cells_that_were_altered_are_found_and_made_anew() {
    let damage = "UPDATE run SET report = replace(report, '\"issued\":20', '\"issued\":21') WHERE id = x'02020202020202020202020202020202';
                  UPDATE cell SET rollup = '{}';
                  UPDATE figure SET packed = x'01' WHERE metric = 'ttft';
                  UPDATE indexed_cell SET runs = x'', metrics = '[]';
                  UPDATE run SET header = '{}' WHERE 0";
    finds(damage, &["reports", "cells"]);
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    let store = Store::look_at(folder.path()).unwrap();
    let books = block_on(store.reports_and_cells()).unwrap();
    database(folder.path()).execute_batch(damage).unwrap();
    let (code, said) = command(folder.path(), &["--rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cells made anew"), "{said}");
    assert_eq!(block_on(store.reports_and_cells()).unwrap(), books);
}

#[test]
fn a_figure_that_was_altered_or_lost_in_the_index_is_found() {
    finds(
        "UPDATE figure SET packed = x'01' WHERE metric = 'ttft'",
        &["cells"],
    );
    finds("DELETE FROM figure WHERE metric = 'ttft'", &["cells"]);
}

#[test]
fn raw_samples_give_way_to_declared_gaps_and_nothing_else_does() {
    let folder = TempDir::new().unwrap();
    let spool = filled(folder.path());
    let day = 86_400_000_000_i64;
    let measured = |store: &Store| block_on(store.reports_and_cells()).unwrap();
    let store = store_in(folder.path());
    let books = measured(&store);
    let samples = block_on(check::check(&store)).unwrap().samples;
    let now = WallTime(i64::MAX / 2);
    let early = WallTime(0);
    assert_eq!(block_on(retention::thin(&store, 30, early)).unwrap(), 0);
    assert_eq!(block_on(retention::thin(&store, 30, now)).unwrap(), 3);
    let later = WallTime(now.0 + day);
    assert_eq!(block_on(retention::thin(&store, 30, later)).unwrap(), 0);

    let found = block_on(check::check(&store)).unwrap();
    assert_eq!(found.findings, []);
    assert_eq!(found.samples.expected, samples.expected);
    assert_eq!(
        (found.samples.stored, found.samples.declared),
        (0, samples.expected)
    );
    assert_eq!(found.runs.without_raw_samples, 3);
    assert_eq!(measured(&store), books);
    drop(store);

    // A spool that comes again is recognised, under its epoch and under another.
    let collector = Running::start(folder.path());
    block_on(async {
        let (mut agent, _) = crate::agent::Agent::connect(collector.addr, "lab-1", 1)
            .await
            .unwrap();
        agent.send(1, &spool).await;
        agent.ack().await.unwrap();
        deliver(collector.addr, "lab-1", 3, &spool).await;
        let request = v1::ShowRunRequest {
            run: "020202".to_owned(),
        };
        let run = questions(collector.addr).await.show_run(request).await;
        let run: serde_json::Value =
            serde_json::from_slice(&run.unwrap().into_inner().json).unwrap();
        assert_eq!(
            (&run["raw_samples"], &run["state"]),
            (&"gone".into(), &"complete".into())
        );
    });
    collector.stop();
    let found = look_at(folder.path());
    assert_eq!(found.findings, []);
    assert_eq!(found.runs.n, 3);

    // What cannot be measured again is left as it is by a rebuild.
    let (code, said) = command(folder.path(), &["--rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    let store = Store::look_at(folder.path()).unwrap();
    assert_eq!(measured(&store), books);
}

#[test]
fn a_batch_of_poison_between_good_ones_is_shown_and_in_nobodys_way() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let good = spool("lab-1", 1, 1, 5);
    let poison: Vec<Vec<u8>> = (0..40_u8)
        .map(|n| vec![0xff; usize::from(n) * 50])
        .collect();
    let more: Vec<Vec<u8>> = powered(2, 2);
    let n = |records: &[Vec<u8>]| u64::try_from(records.len()).unwrap();
    block_on(async {
        let (mut agent, _) = crate::agent::Agent::connect(collector.addr, "lab-1", 1)
            .await
            .unwrap();
        let mut first = 1;
        for batch in [&good, &poison, &more] {
            agent.send(first, batch).await;
            first += n(batch);
        }
        agent.ack_through(first - 1).await;
        let runs = runs(collector.addr).await;
        let states: Vec<&serde_json::Value> = runs["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| &run["state"])
            .collect();
        assert_eq!(states, ["complete"; 2], "{runs}");
        let devices = v1::ListDevicesRequest {};
        let devices = questions(collector.addr).await.list_devices(devices).await;
        let devices: serde_json::Value =
            serde_json::from_slice(&devices.unwrap().into_inner().json).unwrap();
        assert_eq!(devices["devices"][0]["n_set_aside"], 40);
    });
    let (code, said) = command(folder.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("set aside 40") && said.contains("20 more"),
        "{said}"
    );
    collector.stop();
}
