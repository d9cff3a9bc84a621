//! What older and newer versions left or send: an old database goes on, a newer agent's records are kept for a newer collector.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokwatt_collector::{
    check,
    store::{Place, State, Store, database_in},
    vitals::Vitals,
};
use tokwatt_domain::ids::RunId;
use tokwatt_proto::v1;

use crate::agent::{Agent, Running, block_on, deliver, questions, runs, spool};

/// A data folder as the collector of version 0.1.0 left it.
fn of_version_0_1(folder: &Path) {
    let database = rusqlite::Connection::open(folder.join("collector.sqlite")).unwrap();
    database
        .execute_batch(include_str!("fixtures/schema_1/collector.sql"))
        .unwrap();
}

async fn board(addr: std::net::SocketAddr, metric: &str) -> String {
    let question = v1::RankRequest {
        metric: metric.to_owned(),
        ..v1::RankRequest::default()
    };
    let board = questions(addr).await.rank(question).await.unwrap();
    String::from_utf8(board.into_inner().json).unwrap()
}

#[test]
fn a_database_of_schema_1_gives_the_same_boards_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    of_version_0_1(folder.path());
    let collector = Running::start(folder.path());
    block_on(async {
        assert_eq!(
            board(collector.addr, "decode_tps").await,
            include_str!("fixtures/schema_1/decode_tps.json")
        );
        assert_eq!(
            board(collector.addr, "j_per_output_token@module").await,
            include_str!("fixtures/schema_1/j_per_output_token@module.json")
        );
        // And it goes on: the same spool once more, and a new run.
        deliver(collector.addr, "fast", 1, &spool("fast", 11, 1, 3)).await;
        deliver(collector.addr, "new", 1, &spool("new", 41, 1, 3)).await;
    });
    collector.stop();
    let store = Store::look_at(folder.path()).unwrap();
    let found = block_on(check::check(&store)).unwrap();
    assert_eq!(found.findings, []);
    // What came again under a second epoch was not counted then.
    let accounts = block_on(store.stream_accounts()).unwrap();
    let slow = accounts.iter().find(|account| account.epoch == 2).unwrap();
    assert_eq!((slow.through, slow.stored, slow.held), (14, 2, 12));
    assert_eq!(found.set_aside.len(), 2);
}

/// Records as a later version may write them: one of a kind that we do not know, and the others with fields that we do not know.
fn of_a_later_agent() -> Vec<Vec<u8>> {
    let mut spool = spool("lab-1", 1, 2, 5);
    for record in &mut spool {
        // Field 1000, of one byte.
        record.extend([0xc2, 0x3e, 0x01, 0x00]);
    }
    spool.insert(2, vec![0x9a, 0x06, 0x01, 0x00]);
    spool
}

#[test]
fn what_a_newer_agent_tells_is_kept_byte_for_byte_and_used_as_far_as_it_is_known() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let spool = of_a_later_agent();
    block_on(async {
        let hello = v1::Hello {
            schema: tokwatt_proto::SCHEMA,
            device: "lab-1".to_owned(),
            epoch: 1,
            agent_version: "9.0.0".to_owned(),
        };
        let (mut agent, _) = Agent::say(collector.addr, hello).await.unwrap();
        agent.send(1, &spool).await;
        agent.ack_through(spool.len() as u64).await;
        let runs = runs(collector.addr).await;
        let lines = runs["runs"].as_array().unwrap().iter();
        let states: Vec<&str> = lines.map(|run| run["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["complete"; 2], "{runs}");
        let note = runs["notes"][0].as_str().unwrap();
        assert!(
            note.contains("kind 99") && note.contains("update"),
            "{note}"
        );
    });
    collector.stop();
    let store = Store::look_at(folder.path()).unwrap();
    block_on(async {
        let unread = store.unread_records(Place::default()).await.unwrap();
        assert_eq!(unread.len(), 1);
        assert_eq!(unread[0].bytes, spool[2]);
        let of_run = store.records_of(RunId([1; 16])).await.unwrap();
        assert_eq!(of_run[0], spool[1]);
    });
}

#[test]
fn what_an_older_collector_could_not_read_is_used_once_it_can_be() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    let spool = spool("lab-1", 1, 2, 5);
    block_on(async {
        deliver(collector.addr, "lab-1", 1, &spool).await;
        runs(collector.addr).await;
    });
    collector.stop();
    let run = RunId([1; 16]);
    let (before, cells) = block_on(async {
        let store = Store::look_at(folder.path()).unwrap();
        let row = store.run_with_records(run).await.unwrap().unwrap().0;
        (row, store.cells().await.unwrap())
    });
    // As a collector leaves it that does not know this kind of record.
    let database = rusqlite::Connection::open(folder.path().join("collector.sqlite")).unwrap();
    database
        .execute_batch(
            "UPDATE record SET run = NULL, problem = 'of kind 3' WHERE seq = 3;
             UPDATE run SET state = 'unreadable', problem = 'segment 0 is missing', report = NULL, cell = NULL
             WHERE substr(hex(id), 1, 2) = '01';
             DELETE FROM cell;",
        )
        .unwrap();
    drop(database);
    let vitals = Arc::new(Vitals::new(&database_in(folder.path())));
    let store = Arc::new(Store::open_counted(folder.path(), &vitals).unwrap());
    let found = block_on(check::check(&store)).unwrap();
    let checks: Vec<&str> = found.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["runs", "cells"], "{:?}", found.findings);

    let rebuilt = block_on(check::rebuild(&store, &vitals)).unwrap();
    assert_eq!((rebuilt.readmitted, rebuilt.cells), (1, 1));
    let found = block_on(check::check(&store)).unwrap();
    assert_eq!(found.findings, []);
    let (after, _) = block_on(store.run_with_records(run)).unwrap().unwrap();
    assert_eq!(
        (after.state, &after.report),
        (State::Complete, &before.report)
    );
    assert_eq!(block_on(store.cells()).unwrap(), cells);
}
