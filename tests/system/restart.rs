//! A collector that is restarted while agents deliver: all come back, and nothing is lost or doubled.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use tokwatt_agent::spool::Spool;
use tokwatt_domain::{
    device::{DeviceKind, DeviceProfile},
    ids::{DeviceId, Seq},
    time::WallTime,
};
use tokwatt_harness::{CollectorProcess, agent};
use tokwatt_proto::Record;

/// An agent's process and its spool, which this test fills beside it.
struct Busy {
    device: DeviceId,
    spool: Spool,
    process: Child,
}

impl Busy {
    fn start(folder: PathBuf, number: i64, url: &str) -> Self {
        let begun = WallTime(1_790_000_000_000_000 + number);
        let spool = Spool::open(&folder, begun, u64::MAX >> 1).unwrap();
        let device = device_in(&folder);
        let process = agent(&folder)
            .args(["run", "--collector", url])
            .env("TOKWATT_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            device,
            spool,
            process,
        }
    }

    /// Puts in some more; each record is another.
    fn fill(&self, round: u32) {
        let records: Vec<Vec<u8>> = (0..RECORDS)
            .map(|number| record(&self.device, &format!("{round}.{number}")))
            .collect();
        self.spool.append(&records).unwrap();
    }

    fn waiting(&self) -> u64 {
        self.spool.status().unwrap().waiting_records
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Both fail if it has ended, which the test has seen then.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// What an agent with this data folder calls itself.
fn device_in(folder: &Path) -> DeviceId {
    let probe = agent(folder).args(["probe", "--format", "json"]).output();
    let profile: Value = serde_json::from_slice(&probe.unwrap().stdout).unwrap();
    DeviceId::parse(profile["id"].as_str().unwrap()).unwrap()
}

fn record(device: &DeviceId, number: &str) -> Vec<u8> {
    let profile = DeviceProfile {
        id: device.clone(),
        kind: DeviceKind::Generic,
        facts: BTreeMap::from([("number".to_owned(), number.to_owned())]),
        reasons: BTreeMap::new(),
    };
    Record::Device(profile).encode()
}

/// Waits until it is so, and says how long that took.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

fn figure(collector: &CollectorProcess, name: &str) -> u64 {
    let (_, figures) = collector.page("/metrics").unwrap();
    let line = figures
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap().parse().unwrap()
}

/// Stops it as an operator does, and starts another one in its place.
fn restart(collector: CollectorProcess, data: &Path) -> CollectorProcess {
    let listen = collector.url().trim_start_matches("http://").to_owned();
    let began = Instant::now();
    collector.stop().unwrap();
    let stopped = began.elapsed();
    assert!(
        stopped < Duration::from_secs(10),
        "stopping took {stopped:?}"
    );
    let began = Instant::now();
    let collector = CollectorProcess::start_watched(data, &listen).unwrap();
    eventually("it is ready", || {
        collector.page("/readyz").unwrap().0 == 200
    });
    let ready = began.elapsed();
    assert!(
        ready < Duration::from_secs(2),
        "it was ready after {ready:?}"
    );
    let back = eventually("all agents are back", || {
        figure(&collector, "tokwatt_devices_connected") == AGENTS
    });
    assert!(back < Duration::from_secs(30), "agents took {back:?}");
    said(&format!(
        "stopped in {stopped:?}, ready in {ready:?}, all back in {back:?}"
    ));
    collector
}

#[test]
fn a_restart_under_load_loses_nothing_doubles_nothing_and_takes_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("collector");
    let first = CollectorProcess::start_watched(&data, "127.0.0.1:0").unwrap();
    let agents: Vec<Busy> = (0..i64::try_from(AGENTS).unwrap())
        .map(|number| {
            let home = folder.path().join(format!("agent-{number}"));
            Busy::start(home, number, first.url())
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let collector = thread::scope(|scope| {
        let filler = scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                agents.iter().for_each(|agent| agent.fill(round));
                round += 1;
            }
        });
        let mut collector = first;
        for _ in 0..3 {
            eventually("deliveries are under way", || {
                figure(&collector, "tokwatt_records_admitted_total") > AGENTS * u64::from(RECORDS)
            });
            collector = restart(collector, &data);
        }
        is_over.store(true, Ordering::Relaxed);
        filler.join().unwrap();
        collector
    });
    eventually("everything is delivered", || {
        agents.iter().all(|agent| agent.waiting() == 0)
    });
    assert_eq!(figure(&collector, "tokwatt_records_set_aside_total"), 0);
    collector.stop().unwrap();

    let database = rusqlite::Connection::open(data.join("collector.sqlite")).unwrap();
    let held = |epoch: u64| -> [i64; 4] {
        let query = "SELECT count(*), count(DISTINCT received), max(seq),
                (SELECT through FROM stream WHERE stream.epoch = record.epoch)
            FROM record WHERE epoch = ?1";
        let row = database.query_row(query, [i64::try_from(epoch).unwrap()], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        });
        row.unwrap()
    };
    for agent in &agents {
        let Seq(last) = agent.spool.status().unwrap().last;
        let last = i64::try_from(last).unwrap();
        let held = held(agent.spool.epoch().0);
        assert_eq!(held, [last; 4], "records, different ones, last, watermark");
    }
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs it by hand")]
fn said(text: &str) {
    eprintln!("{text}");
}

const AGENTS: u64 = 6;

/// In a transaction of a spool.
const RECORDS: u32 = 20;

/// For what takes seconds, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
