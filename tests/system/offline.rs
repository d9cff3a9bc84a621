//! Days without a collector: what they leave in the spool fits, and comes when the collector is back.
//!
//! `TOKWATT_OFFLINE_HOURS` is how long the agent measures alone; a week has 168.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    clock::{Clock, SystemClock},
    runner::QuietGate,
    spool::Spool,
    uplink::{Address, LinkState, Uplink},
};
use tokwatt_domain::{
    ids::DeviceId,
    run::{RunEnd, RunTrace, Segment},
    time::{Stamp, WallTime},
};
use tokwatt_harness::{CollectorProcess, agent, eventually, number_from, program, seed, tell};
use tokwatt_proto::record::Record;

use crate::{
    made_up::{MadeUp, end, short_run},
    text,
};

/// All that was measured, and what the agent and the collector have of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Amount {
    n_records: u64,
    n_requests: u64,
    n_samples: u64,
}

/// Where they go.
#[derive(Debug, Default)]
struct Bytes {
    power: usize,
    requests: usize,
    others: usize,
}

/// An hour in small, and what a week would take from it.
#[test]
fn a_week_at_100_hz_on_six_rails_fits_into_a_gibibyte_and_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("agent");
    let hours = number_from("TOKWATT_OFFLINE_HOURS", 1);
    let clock = SystemClock::start();
    let kept = measure_alone(&data, hours);
    let seconds = clock.now().since(Stamp(0)).as_secs_f64();

    let status = agent(&data)
        .args(["spool", "status", "--format", "json"])
        .output()
        .unwrap();
    let status: Value = serde_json::from_str(&text(&status)).unwrap();
    assert_eq!(status["waiting_records"], kept.n_records, "{status}");
    let bytes = status["waiting_bytes"].as_u64().unwrap();
    let on_disk = std::fs::metadata(data.join("spool.db")).unwrap().len();
    let a_week = |bytes: u64| bytes * HOURS_OF_A_WEEK / hours as u64;
    tell(&format!(
        "offline: {hours} h at 100 Hz on 6 rails: {} records, {} requests, {} samples, {bytes} bytes, {on_disk} on disk, in {seconds:.0} s; a week takes {} bytes, {} on disk",
        kept.n_records,
        kept.n_requests,
        kept.n_samples,
        a_week(bytes),
        a_week(on_disk),
    ));
    assert!(
        a_week(on_disk) < 1 << 30,
        "{} bytes on disk",
        a_week(on_disk)
    );

    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let delivery = agent(&data)
        .args(["run", "--until-empty", "--collector", collector.url()])
        .output()
        .unwrap();
    text(&delivery);
    let database = folder.path().join("collector/collector.sqlite");
    eventually("all runs are measured", || {
        count(
            &database,
            "SELECT count(*) FROM run WHERE state <> 'complete'",
        ) == 0
    });
    let listed = collector
        .ask(&["runs", "list", "--format", "json"])
        .unwrap();
    let listed: Value = serde_json::from_str(&text(&listed)).unwrap();
    for run in listed["runs"].as_array().unwrap() {
        assert_eq!(run["agrees"], true, "{run}");
    }
    collector.stop().unwrap();
    assert_eq!(stored(&database), kept, "nothing was declared lost");
    let check = std::process::Command::new(program("tokwatt-collector"))
        .args(["check", "--data"])
        .arg(folder.path().join("collector"))
        .output()
        .unwrap();
    text(&check);
}

/// Runs of an hour, minute by minute into the spool as a runner puts them there.
fn measure_alone(data: &Path, hours: usize) -> Amount {
    let mut made_up = MadeUp::new(device(data), seed(), Duration::from_millis(10));
    let spool = Spool::open(data, WallTime(1_790_000_000_000_000), 1 << 30).unwrap();
    let mut kept = Amount::default();
    let mut bytes_of = Bytes::default();
    spool.begin_bench("a week").unwrap();
    for hour in 0..hours {
        spool.check_room().unwrap();
        let header = made_up.header();
        let run = header.run;
        let opened = Record::RunOpened(Box::new(header.clone()));
        spool.open_run(run, opened.encode()).unwrap();
        let mut segments: Vec<Segment> = Vec::new();
        let mut n_asked = 0;
        for index in 0..60 {
            let segment = made_up.segment(Duration::from_secs(60), n_asked);
            n_asked += u32::try_from(segment.requests.len()).unwrap();
            let records = Record::segment(run, index, &segment);
            let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
            spool.append(&encoded).unwrap();
            for (record, bytes) in records.iter().zip(&encoded) {
                let kind = match record {
                    Record::Requests { .. } => &mut bytes_of.requests,
                    Record::Power { .. } => &mut bytes_of.power,
                    _ => &mut bytes_of.others,
                };
                *kind += bytes.len();
            }
            kept.n_records += records.len() as u64;
            kept.n_samples += segment.power[0].samples.len() as u64;
            segments.push(segment);
        }
        let trace = RunTrace {
            header,
            segments,
            resumptions: Vec::new(),
            end: RunEnd::Complete,
        };
        spool
            .close_run(hour as u64 + 1, end(&trace).encode())
            .unwrap();
        kept.n_records += 2;
        kept.n_requests += u64::from(n_asked);
    }
    spool.end_bench().unwrap();
    tell(&format!("offline: {bytes_of:?}"));
    kept
}

/// Who the agent says it is.
fn device(data: &Path) -> DeviceId {
    let probe = agent(data).args(["probe", "--format", "json"]).output();
    let probe: Value = serde_json::from_str(&text(&probe.unwrap())).unwrap();
    DeviceId::parse(probe["id"].as_str().unwrap()).unwrap()
}

/// What the collector has of runs, counted in the bytes that it received.
fn stored(database: &Path) -> Amount {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).unwrap();
    let mut statement = connection
        .prepare("SELECT received FROM record WHERE run IS NOT NULL AND problem IS NULL")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut stored = Amount::default();
    while let Some(row) = rows.next().unwrap() {
        let received: Vec<u8> = row.get(0).unwrap();
        stored.n_records += 1;
        match Record::decode(&received).unwrap() {
            Record::Requests { requests, .. } => stored.n_requests += requests.len() as u64,
            Record::Power { trace, .. } => stored.n_samples += trace.samples.len() as u64,
            _ => {}
        }
    }
    stored
}

fn count(database: &Path, question: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).unwrap();
    connection
        .query_row(question, [], |row| row.get(0))
        .unwrap()
}

/// In paused time, which passes at once while everybody waits.
#[test]
fn a_collector_that_is_away_for_a_week_is_tried_all_the_time_and_then_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let device = DeviceId::parse("lab-1").unwrap();
    let spool = Spool::open(folder.path(), WallTime(1), 1 << 30).unwrap();
    let mut made_up = MadeUp::new(device.clone(), seed(), Duration::from_millis(100));
    for _ in 0..20 {
        spool.append(&short_run(&mut made_up, 2)).unwrap();
    }
    let spool = Arc::new(spool);
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    let there = collector.url().trim_start_matches("http://").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        // A port that is ours and at which nobody listens.
        let door = TcpSocket::new_v4().unwrap();
        door.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("http://{}", door.local_addr().unwrap());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let hurry = Arc::new(Notify::new());
        let (state, link) = watch::channel(LinkState::Connecting);
        let uplink = Uplink {
            address: Address::plain(&address.parse().unwrap()).unwrap(),
            device,
            spool: spool.clone(),
            quiet: QuietGate::default(),
            grown: Arc::default(),
            hurry: hurry.clone(),
            state,
        };
        tasks.spawn(uplink.run(stop.clone()));
        let mut n_tries = 0;
        // Ends with the week: as long as it tries, there is a next time.
        let trying = count_failures(link.clone(), &mut n_tries);
        assert!(
            tokio::time::timeout(WEEK, trying).await.is_err(),
            "it gave up"
        );
        tell(&format!("offline: tried {n_tries} times in a week"));
        // Waits of 0 to 60 s, 30 on average.
        assert!((15_000..30_000).contains(&n_tries), "{n_tries}");

        // The collector is back.
        tokio::time::resume();
        tasks.spawn(pass_on(door.listen(64).unwrap(), there, tasks.clone()));
        hurry.notify_one();
        let last = spool.status().unwrap().last;
        let delivered = LinkState::Delivered { through: last };
        let mut link = link;
        link.wait_for(|state| *state == delivered).await.unwrap();
        stop.cancel();
    });
    assert_eq!(spool.status().unwrap().waiting_records, 0);
    drop(runtime);
    let listed = text(&collector.ask(&["runs", "list"]).unwrap());
    assert_eq!(listed.matches("lab-1").count(), 20, "{listed}");
}

/// Until nobody tries any more.
async fn count_failures(mut link: watch::Receiver<LinkState>, n_failures: &mut u32) {
    while link.changed().await.is_ok() {
        if let LinkState::Down { .. } = &*link.borrow_and_update() {
            *n_failures += 1;
        }
    }
}

/// Lets everybody through to another address.
async fn pass_on(listener: TcpListener, there: String, tasks: TaskTracker) {
    while let Ok((mut here, _)) = listener.accept().await {
        let there = there.clone();
        tasks.spawn(async move {
            let mut there = TcpStream::connect(there).await.unwrap();
            tokio::io::copy_bidirectional(&mut here, &mut there).await
        });
    }
}

const HOURS_OF_A_WEEK: u64 = 7 * 24;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
