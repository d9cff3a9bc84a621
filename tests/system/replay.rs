//! A spool that is delivered again and again: after lost acknowledgements, through several connections at once, and once more under the
//! epochs of its copies. The collector comes to what it comes to after one delivery.
//!
//! `TOKWATT_REPLAYS` is the number of records that are sent.

use std::{path::Path, sync::Arc};

use futures::future::join_all;
use rusqlite::{Connection, OpenFlags, types::Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokwatt_domain::ids::DeviceId;
use tokwatt_harness::{CollectorProcess, Random, eventually, number_from, seed, tell};
use tokwatt_proto::{
    SCHEMA,
    v1::{self, ingest_client::IngestClient, upload::Kind},
};
use tonic::{Status, transport::Endpoint};

use crate::made_up::{MadeUp, short_run};

#[test]
fn a_spool_that_is_delivered_again_and_again_leaves_every_row_as_after_one_delivery() {
    let spool = spool();
    let once = rows(&spool, 1, 0, EVERYTHING);
    let again = rows(
        &spool,
        1,
        number_from("TOKWATT_REPLAYS", 12_000) / 2,
        EVERYTHING,
    );
    assert_same(&once, &again);
}

/// What a copy brings is known by its bytes. What belongs to no run is kept for each of them.
#[test]
fn a_spool_and_its_copies_leave_every_result_as_after_one_delivery() {
    let spool = spool();
    let once = rows(&spool, 1, 0, RESULTS);
    let again = rows(
        &spool,
        3,
        number_from("TOKWATT_REPLAYS", 12_000) / 2,
        RESULTS,
    );
    assert_same(&once, &again);
}

#[track_caller]
fn assert_same(once: &[(String, Vec<String>)], again: &[(String, Vec<String>)]) {
    for ((question, once), (_, again)) in once.iter().zip(again) {
        let extra = again.iter().filter(|row| !once.contains(row)).count();
        assert!(
            once == again,
            "{question}: {} rows after one delivery, {} after many, {extra} of them others",
            once.len(),
            again.len()
        );
    }
}

/// Runs, and a record among them that nobody can read.
fn spool() -> Arc<Vec<Vec<u8>>> {
    let device = DeviceId::parse(DEVICE).unwrap();
    let mut made_up = MadeUp::new(device, seed(), std::time::Duration::from_millis(100));
    let mut records = Vec::new();
    for number in 0..N_RUNS {
        records.extend(short_run(&mut made_up, 1 + number % 3));
    }
    records.insert(records.len() / 2, b"no record".to_vec());
    Arc::new(records)
}

/// What a collector answers to these questions after `n_epochs` copies of a spool were delivered, with so many records sent before the
/// last delivery, and two kills meanwhile.
fn rows(
    spool: &Arc<Vec<Vec<u8>>>,
    n_epochs: u64,
    n_replays: usize,
    questions: &[&str],
) -> Vec<(String, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut random = Random::new(seed());
    let mut collector = CollectorProcess::start(folder.path()).unwrap();
    let (mut n_sent, mut n_visits) = (0, 0);
    for third in 1..=3 {
        while n_sent < n_replays * third / 3 {
            let visits: Vec<Visit> = (0..=random.below(3))
                .map(|_| Visit::any(n_epochs, &mut random))
                .collect();
            n_visits += visits.len();
            let visits = visits
                .into_iter()
                .map(|visit| visit.pay(collector.url(), spool));
            n_sent += runtime
                .block_on(join_all(visits))
                .into_iter()
                .sum::<usize>();
        }
        if third < 3 && n_replays > 0 {
            collector.kill().unwrap();
            collector = CollectorProcess::start(folder.path()).unwrap();
        }
    }
    for epoch in 1..=n_epochs {
        runtime
            .block_on(deliver_all(collector.url(), epoch, spool))
            .unwrap();
    }
    // With the connections that are left in it.
    drop(runtime);
    let database = folder.path().join("collector.sqlite");
    eventually("all runs are measured", || {
        ask(
            &database,
            "SELECT count(*) FROM run WHERE state = 'complete'",
        ) == [N_RUNS.to_string()]
    });
    collector.stop().unwrap();
    let set_aside = ask(
        &database,
        "SELECT count(*) FROM record WHERE problem IS NOT NULL",
    );
    assert_eq!(set_aside, [n_epochs.to_string()]);
    let n_twice = ask(&database, TWICE);
    assert_eq!(n_twice, ["0"], "duplicates");
    tell(&format!(
        "replay: {n_sent} records sent in {n_visits} connections under {n_epochs} epochs, {} kept, 0 duplicates",
        spool.len()
    ));
    let answer = |question: &&str| ((*question).to_owned(), ask(&database, question));
    questions.iter().map(answer).collect()
}

fn ask(database: &Path, question: &str) -> Vec<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).unwrap();
    let mut statement = connection.prepare(question).unwrap();
    let n_columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let values = (0..n_columns).map(|column| row.get::<_, Value>(column));
        let texts = values.map(|value| value.map(text));
        Ok(texts.collect::<rusqlite::Result<Vec<String>>>()?.join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A connection of an agent that did not hear all that it was told.
struct Visit {
    epoch: u64,
    /// Of what the collector has, sends so many of a thousand once more.
    back: u64,
    /// Batches whose acknowledgement is waited for.
    n_heard: u64,
    /// Batches after them, whose is not.
    n_unheard: u64,
    random: Random,
}

impl Visit {
    fn any(n_epochs: u64, random: &mut Random) -> Self {
        Self {
            epoch: 1 + random.below(n_epochs),
            back: *random.pick(&[0, 10, 100, 500, 1_000]),
            n_heard: random.below(12),
            n_unheard: random.below(8),
            random: Random::new(random.number()),
        }
    }

    /// Sends and vanishes; how many records it sent.
    async fn pay(mut self, url: &str, spool: &[Vec<u8>]) -> usize {
        let mut link = Link::open(url, self.epoch).await.unwrap();
        let again = link.through * self.back / 1_000;
        let first = usize::try_from(link.through - again).unwrap();
        let mut next = first;
        for number in 0..self.n_heard + self.n_unheard {
            let batch = &spool[next.min(spool.len())..];
            let batch = &batch[..batch.len().min(1 + self.random.index(40))];
            if batch.is_empty() {
                break;
            }
            link.send(self.epoch, next, batch).await;
            next += batch.len();
            if number < self.n_heard {
                link.hear().await.unwrap();
            }
        }
        next - first
    }
}

/// All of it, until the last acknowledgement.
async fn deliver_all(url: &str, epoch: u64, spool: &[Vec<u8>]) -> Result<(), Status> {
    let mut link = Link::open(url, epoch).await?;
    let mut next = 0;
    for batch in spool.chunks(50) {
        link.send(epoch, next, batch).await;
        link.hear().await?;
        next += batch.len();
    }
    assert_eq!(link.through, spool.len() as u64);
    Ok(())
}

struct Link {
    uploads: mpsc::Sender<v1::Upload>,
    acks: tonic::Streaming<v1::Ack>,
    through: u64,
}

impl Link {
    async fn open(url: &str, epoch: u64) -> Result<Self, Status> {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap();
        let mut client = IngestClient::new(channel.connect().await.unwrap());
        let (uploads, queue) = mpsc::channel(32);
        let hello = v1::Hello {
            schema: SCHEMA,
            device: DEVICE.to_owned(),
            epoch,
            agent_version: "0.1.0".to_owned(),
        };
        let kind = Some(Kind::Hello(hello));
        uploads.send(v1::Upload { kind }).await.unwrap();
        let acks = client.deliver(ReceiverStream::new(queue)).await?;
        let mut link = Self {
            uploads,
            acks: acks.into_inner(),
            through: 0,
        };
        link.hear().await?;
        Ok(link)
    }

    async fn send(&self, epoch: u64, first: usize, records: &[Vec<u8>]) {
        let records = (first as u64 + 1..).zip(records);
        let records = records.map(|(seq, record)| v1::Envelope {
            epoch,
            seq,
            record: record.clone().into(),
        });
        let records = records.collect();
        let kind = Some(Kind::Batch(v1::Batch { records }));
        self.uploads.send(v1::Upload { kind }).await.unwrap();
    }

    async fn hear(&mut self) -> Result<(), Status> {
        let ack = self.acks.message().await?;
        self.through = ack.expect("it answers what it is sent").through;
        Ok(())
    }
}

const DEVICE: &str = "lab-1";

const N_RUNS: u32 = 40;

/// But for the time at which it was measured.
const EVERYTHING: &[&str] = &[
    "SELECT * FROM device",
    "SELECT * FROM stream",
    "SELECT * FROM record ORDER BY device, epoch, seq",
    RUNS,
    CELLS,
];

const RESULTS: &[&str] = &[
    "SELECT device, run, problem, received FROM record WHERE run IS NOT NULL ORDER BY run, received",
    RUNS,
    CELLS,
];

const RUNS: &str = "SELECT id, device, state, started_us, header, report, differs, cell, problem FROM run ORDER BY id";

const CELLS: &str = "SELECT * FROM cell ORDER BY key";

const TWICE: &str = "SELECT count(*) - count(DISTINCT received) FROM record WHERE run IS NOT NULL";
