//! What people read: tables that fit, rows that can be told apart, words that say what became of things.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use tokwatt_harness::{CollectorProcess, agent};

use crate::text;

#[test]
fn tables_fit_into_110_columns_and_tell_sizes_and_loads_apart() {
    let folder = tempfile::tempdir().unwrap();
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let bench = agent(&folder.path().join("agent"))
        .args(["bench", "--limit", "2", "--repeat", "1", "--power", "none"])
        .args(["--quick", "--size", "96,256", "--concurrency", "1,2"])
        .args(["--collector", collector.url()])
        .output()
        .unwrap();
    let bench = text(&bench);
    fits(table(&bench, "precision"));
    let row = |load: &str, px: &str| {
        let is_it = |line: &str| {
            line.split_whitespace()
                .take(4)
                .eq(["f32", "caption_brief", load, px])
        };
        bench.lines().filter(|line| is_it(line)).count()
    };
    for (load, px) in [
        ("closed(1)", "96"),
        ("closed(1)", "256"),
        ("closed(2)", "256"),
    ] {
        assert_eq!(row(load, px), 1, "{bench}");
    }
    fits(&text(&collector.ask(&["devices", "list"]).unwrap()));
}

#[test]
fn a_delivery_that_is_stopped_says_what_waits_and_one_that_ends_what_went() {
    let folder = tempfile::tempdir().unwrap();
    let bench = agent(folder.path())
        .args(["bench", "--limit", "1", "--repeat", "1", "--power", "none"])
        .output()
        .unwrap();
    text(&bench);
    let mut run = agent(folder.path())
        .args(["run", "--until-empty", "--collector", "http://127.0.0.1:1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap()).lines();
    let first = stderr.next().unwrap().unwrap();
    assert!(first.contains("will be tried again"), "{first}");
    let pid = run.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let mut said = String::new();
    run.stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("records wait safely"), "{said}");

    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let delivered = agent(folder.path())
        .args(["run", "--until-empty", "--collector", collector.url()])
        .output()
        .unwrap();
    assert!(text(&delivered).contains("records delivered to"));
}

/// From the line with the headings to the first that is no row.
fn table<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(heading).unwrap();
    let end = text[start..].find("score:").unwrap();
    &text[start..start + end]
}

#[track_caller]
fn fits(table: &str) {
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 110, "{table}");
}
