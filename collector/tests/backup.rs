//! A backup that is made while deliveries go on, and served.

use std::{path::Path, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agent::{Agent, spool},
    command_line::{Server, refuses, run},
};

fn back_up(data: &Path, destination: &Path) -> Output {
    run(&[
        "backup",
        destination.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--format",
        "json",
    ])
}

#[track_caller]
fn document(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const BOARD: [&str; 5] = ["rank", "--metric", "decode_tps", "--format", "json"];

#[test]
fn a_backup_serves_the_same_boards_byte_for_byte_while_the_original_goes_on() {
    let folder = TempDir::new().unwrap();
    let [data, copy] = ["data", "backups/copy"].map(|name| folder.path().join(name));
    let original = Server::watched(&data);
    original.deliver("fast", 1, 3, 3);
    original.deliver("slow", 11, 3, 9);
    let questions = [&BOARD[..], &["runs", "list"], &["devices", "list"]];
    let before = questions.map(|question| original.ask(question));

    // Another device goes on delivering, from before the backup begins until after it ends.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let addr = original.addr();
    let (is_under_way, mut under_way) = tokio::sync::watch::channel(0);
    let delivering = runtime.spawn(async move {
        let (mut agent, _) = Agent::connect(addr, "busy", 1).await.unwrap();
        let profile = spool("busy", 0, 0, 5);
        let mut seq = 0;
        while !is_under_way.is_closed() {
            seq += 1;
            agent.send(seq, &profile).await;
            agent.ack_through(seq).await;
            is_under_way.send_replace(seq);
        }
        seq
    });
    runtime
        .block_on(under_way.wait_for(|seq| *seq > 3))
        .unwrap();
    let made = document(&back_up(&data, &copy));
    let after = *under_way.borrow();
    drop(under_way);
    let last = runtime.block_on(delivering).unwrap();
    assert!(last >= after, "it went on");
    original.deliver("late", 31, 1, 5);

    assert_eq!(made["schema"], "tokwatt.backup/1");
    let streams = made["streams"].as_array().unwrap();
    let through = |device: &str| {
        let stream = streams.iter().find(|stream| stream["device"] == device);
        stream.map(|stream| stream["through"].as_u64().unwrap())
    };
    assert_eq!(through("fast"), Some(spool("fast", 1, 3, 3).len() as u64));
    assert_eq!(through("late"), None);
    assert!(
        (3..=after + 1).contains(&through("busy").unwrap()),
        "{made}"
    );

    let books = run(&["check", "--data", copy.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&books.stdout);
    assert_eq!(books.status.code(), Some(0), "{said}");
    let restored = Server::watched(&copy);
    let board = restored.ask(&BOARD);
    assert_eq!(board, before[0]);
    assert_eq!(restored.ask(&["runs", "list"]), before[1]);
    let devices = restored.ask(&["devices", "list"]);
    assert!(
        devices.contains("busy") && !devices.contains("late"),
        "{devices}"
    );
    // It takes deliveries, too: a device goes on where the backup is.
    restored.deliver("late", 31, 1, 5);
}

#[test]
fn a_backup_is_made_of_a_collector_that_is_not_running_or_was_killed() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::watched(&data);
    server.deliver("lab-1", 1, 2, 5);
    let board = server.ask(&BOARD);
    server.kill();
    let copy = folder.path().join("copy");
    let made = document(&back_up(&data, &copy));
    assert_eq!(made["runs"], 2);
    assert_eq!(Server::watched(&copy).ask(&BOARD), board);
}

#[test]
fn a_folder_of_backups_keeps_the_latest() {
    let folder = TempDir::new().unwrap();
    let [data, into] = ["data", "backups"].map(|name| folder.path().join(name));
    drop(Server::watched(&data));
    let arguments = [
        "backup",
        "--into",
        into.to_str().unwrap(),
        "--keep",
        "1",
        "--data",
        data.to_str().unwrap(),
    ];
    let names = || {
        let entries = std::fs::read_dir(&into).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    let first = run(&arguments);
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(
        text.contains("every page looked at") && text.contains("0 runs, 0 records"),
        "{text}"
    );
    let kept = names();
    assert_eq!(kept.len(), 1);
    // Until the clock shows another second, the name is taken.
    while names() == kept {
        run(&arguments);
    }
    assert_eq!(names().len(), 1);
}

#[test]
fn what_cannot_be_backed_up_is_named() {
    let folder = TempDir::new().unwrap();
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    refuses(
        &["backup", "copy", "--data", nowhere],
        &["no database", nowhere, "--data"],
    );
    refuses(&["backup"], &["DEST", "--into"]);
    refuses(&["backup", "copy", "--keep", "3"], &["--into"]);
    assert!(!Path::new(nowhere).exists());
}
