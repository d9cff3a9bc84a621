//! The collector as a service: who watches it, how it stops, how it comes back.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Code;

use crate::{
    agent::{Agent, spool},
    command_line::Server,
};

/// The answer to a request that is written out: status, headers and body as they came.
fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Status and body.
fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let answer = raw(
        addr,
        &format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n"),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Waits until a page satisfies.
#[track_caller]
fn eventually(addr: SocketAddr, path: &str, is_enough: impl Fn(u16, &str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let (status, body) = get(addr, path);
        if is_enough(status, &body) {
            return body;
        }
        assert!(began.elapsed() < PATIENCE, "{path} stays {status}: {body}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// As long as it lives, nothing can be committed.
fn lock_database(data: &Path) -> Connection {
    let other = Connection::open(data.join("collector.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn watchers_hear_that_it_lives_is_ready_and_what_it_has_done() {
    let folder = TempDir::new().unwrap();
    let server = Server::watched(folder.path());
    assert_eq!(get(server.http(), "/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(get(server.http(), "/readyz"), (200, "ready\n".to_owned()));
    server.deliver("lab-1", 1, 2, 5);
    let n_records = spool("lab-1", 1, 2, 5).len();
    let figures = eventually(server.http(), "/metrics", |_, figures| {
        figures.contains("\ntokwatt_runs{state=\"complete\"} 2\n")
            && figures.contains("\ntokwatt_devices_connected 0\n")
    });
    for line in [
        &*format!("tokwatt_records_admitted_total {n_records}"),
        "tokwatt_runs_finished_total 2",
        "tokwatt_runs{state=\"finished\"} 0",
        "tokwatt_acknowledgement_seconds_count 1",
        "tokwatt_batches_waiting 0",
        "tokwatt_commits_total{outcome=\"full\"} 0",
    ] {
        assert!(
            figures.lines().any(|found| found == line),
            "`{line}` is not in:\n{figures}"
        );
    }
    for name in [
        "tokwatt_database_bytes",
        "tokwatt_disk_free_bytes",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        let line = figures
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let value: f64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(value > 0.0, "{name}");
    }
}

/// What a query asks for, and by which labels.
fn asked_by(target: &serde_json::Value) -> (String, Vec<String>) {
    let query = target["expr"].as_str().unwrap();
    let legend = target["legendFormat"].as_str().unwrap();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |word: &&str| word.starts_with("tokwatt_") || word.starts_with("process_");
    let names: Vec<&str> = query.split(|c| !is_word(c)).filter(is_name).collect();
    assert_eq!(names.len(), 1, "{query}");
    let labels = ["state", "outcome", "end", "reason"]
        .into_iter()
        .filter_map(|label| {
            let chosen = query.split_once(&format!("{label}=\""));
            let value = chosen.map(|(_, rest)| rest.split('"').next().unwrap());
            let is_named = legend.contains(&format!("{{{{{label}}}}}"));
            match value {
                Some(value) => Some(format!("{label}=\"{value}\"")),
                None => is_named.then(|| format!("{label}=\"")),
            }
        });
    (names[0].to_owned(), labels.collect())
}

#[test]
fn the_dashboard_for_grafana_asks_for_all_that_is_shown_and_for_nothing_else() {
    let folder = TempDir::new().unwrap();
    let server = Server::watched(folder.path());
    let (_, figures) = get(server.http(), "/metrics");
    let dashboard = include_str!("../../configs/grafana/tokwatt.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let mut asked = BTreeSet::new();
    for target in panels.flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let (name, labels) = asked_by(target);
        let of_name = |line: &&str| {
            line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{"))
        };
        let series: Vec<&str> = figures.lines().filter(of_name).collect();
        if name != "tokwatt_jobs" {
            assert!(!series.is_empty(), "`{name}` is not in:\n{figures}");
            for label in labels {
                let has_label = series.iter().any(|line| line.contains(&label));
                assert!(has_label, "`{label}` of `{name}` is not in: {series:?}");
            }
        }
        asked.insert(
            name.trim_end_matches("_bucket")
                .trim_end_matches("_info")
                .to_owned(),
        );
    }
    let types = figures
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut shown: BTreeSet<String> = types
        .map(|line| {
            line.split(' ')
                .next()
                .unwrap()
                .trim_end_matches("_info")
                .to_owned()
        })
        .collect();
    // Of jobs there is one only when there are campaigns.
    shown.insert("tokwatt_jobs".to_owned());
    assert_eq!(asked, shown);
}

#[test]
fn a_database_that_does_not_answer_is_not_ready_and_says_so() {
    let folder = TempDir::new().unwrap();
    let server = Server::watched(folder.path());
    let other = lock_database(folder.path());
    let (status, body) = get(server.http(), "/readyz");
    assert_eq!(status, 503);
    assert!(
        body.contains("not ready: the database has not answered for 2 s"),
        "{body}"
    );
    assert_eq!(get(server.http(), "/healthz").0, 200);
    drop(other);
    eventually(server.http(), "/readyz", |status, _| status == 200);
}

#[test]
fn what_is_not_a_question_to_this_address_is_refused() {
    let folder = TempDir::new().unwrap();
    let server = Server::watched(folder.path());
    let addr = server.http();
    let check = |request: &str, status: &str, words: &[&str]| {
        let answer = raw(addr, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        for word in words {
            assert!(answer.contains(word), "`{word}` is not in: {answer}");
        }
    };
    let port = addr.port();
    check(
        &format!("GET /metrics HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"),
        "421",
        &["ask it by that address"],
    );
    check("GET /metrics HTTP/1.1\r\n\r\n", "421", &[]);
    check(
        &format!("GET http://evil.example/metrics HTTP/1.1\r\nHost: {addr}\r\n\r\n"),
        "421",
        &[],
    );
    check(
        &format!("POST /metrics HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\n\r\nhi"),
        "405",
        &["allow: GET, HEAD"],
    );
    check(
        &format!("GET /metricss HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
        "404",
        &["/healthz, /readyz and /metrics"],
    );
    check(
        &format!(
            "GET /healthz HTTP/1.1\r\nHost: {addr}\r\nX: {}\r\n\r\n",
            "x".repeat(20_000)
        ),
        "431",
        &[],
    );
    check("what?\r\n\r\n", "400", &[]);
    let head = raw(
        addr,
        &format!("HEAD /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n"),
    );
    assert!(
        head.starts_with("HTTP/1.1 200 ")
            && head.contains("content-length: 6\r\n")
            && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn a_stop_is_seen_by_watchers_and_what_was_received_is_committed_and_acknowledged() {
    let folder = TempDir::new().unwrap();
    let (mut server, other, runtime, mut agent) = locked(folder.path());
    server.ask_to_stop();
    eventually(server.http(), "/readyz", |status, body| {
        status == 503 && body.contains("not ready: it is stopping")
    });
    assert_eq!(get(server.http(), "/healthz").0, 200);
    drop(other);
    let last = runtime.block_on(async {
        let through = agent.ack().await.unwrap().through;
        assert_eq!(through, spool("lab-1", 1, 1, 5).len() as u64);
        agent.ack().await.unwrap_err()
    });
    assert_eq!(
        (last.code(), last.message()),
        (
            Code::Unavailable,
            "the collector is stopping, connect again"
        )
    );
    drop((agent, runtime));
    assert_eq!(server.wait(), Some(0));
}

/// A log that is left tells the next start of a crash, and has it look through the whole file, however large. Who closes first is
/// decided anew each time: with the readers last, seven stops of ten left the log.
#[test]
fn a_stop_closes_the_database() {
    let folder = TempDir::new().unwrap();
    for _ in 0..8 {
        let mut server = Server::watched(folder.path());
        server.ask_to_stop();
        assert_eq!(server.wait(), Some(0));
        assert!(!folder.path().join("collector.sqlite-wal").exists());
    }
}

/// A frozen agent: its connection is open and nobody reads it.
#[test]
fn a_stream_that_does_not_go_away_does_not_hold_up_a_stop() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::watched(folder.path());
    let frozen = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _agent = frozen
        .block_on(Agent::connect(server.addr(), "lab-1", 1))
        .unwrap();
    let began = Instant::now();
    server.ask_to_stop();
    assert_eq!(server.wait(), Some(0));
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

/// A collector whose database is locked, and an agent whose batch waits for it.
fn locked(data: &Path) -> (Server, Connection, tokio::runtime::Runtime, Agent) {
    let server = Server::watched(data);
    let runtime = runtime();
    let agent = runtime
        .block_on(Agent::connect(server.addr(), "lab-1", 1))
        .unwrap()
        .0;
    let other = lock_database(data);
    runtime.block_on(agent.send(1, &spool("lab-1", 1, 1, 5)));
    eventually(server.http(), "/metrics", |_, figures| {
        figures.contains("\ntokwatt_batches_waiting 1\n")
    });
    (server, other, runtime, agent)
}

#[test]
fn a_database_that_does_not_answer_does_not_hold_up_a_stop() {
    let folder = TempDir::new().unwrap();
    let (mut server, _other, _runtime, _agent) = locked(folder.path());
    let began = Instant::now();
    server.ask_to_stop();
    assert_eq!(server.wait(), Some(0));
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

/// Nobody waits for what the database has been asked to do, but it cannot be closed before that is done.
#[test]
fn a_database_that_cannot_be_closed_does_not_hold_up_a_stop() {
    let folder = TempDir::new().unwrap();
    let (mut server, _other, runtime, agent) = locked(folder.path());
    // In this order: it is cut off, and has not said that it is done.
    drop(runtime);
    drop(agent);
    eventually(server.http(), "/metrics", |_, figures| {
        figures.contains("\ntokwatt_devices_connected 0\n")
    });
    let began = Instant::now();
    server.ask_to_stop();
    assert_eq!(server.wait(), Some(1));
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

#[test]
fn a_port_for_watchers_that_is_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let server = Server::watched(&folder.path().join("one"));
    let other = folder.path().join("two");
    let address = server.http().to_string();
    crate::command_line::refuses_for_now(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            &address,
            "--data",
            other.to_str().unwrap(),
        ],
        &[&address, "in use", "--http off"],
    );
    assert!(!fs::exists(&other).unwrap());
}

/// For what happens at once, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ten seconds, and what this test needs to see it.
const STOP: Duration = Duration::from_millis(10_900);
