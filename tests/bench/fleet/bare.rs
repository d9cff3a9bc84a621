//! The floor under every acknowledged run: the same bytes in group commits of SQLite, without anything around them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    time::Instant,
};

use anyhow::ensure;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokwatt_domain::ids::{DeviceId, RunId};
use tokwatt_harness::SampleRun;
use tokwatt_proto::delivery::BATCH_BYTES_MAX;

use super::{
    load::{ASKERS, RUNS_EACH},
    process::Usage,
};

/// Who waits, and where for.
type Ask = (usize, mpsc::SyncSender<()>);

/// What came of it.
#[derive(Deserialize, Serialize)]
pub(crate) struct Committed {
    pub(crate) per_second: f64,
    /// For each run.
    pub(crate) cpu_us: f64,
    pub(crate) runs_in_commit: f64,
}

impl Committed {
    /// By a process of its own.
    pub(crate) fn measure(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let ended = command.arg("bare").arg(folder).output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "the bare commits ended: {said}");
        Ok(serde_json::from_slice(&ended.stdout)?)
    }
}

/// Where that process finds the run.
pub(crate) fn sample_in(folder: &Path) -> PathBuf {
    folder.join("sample")
}

/// As many runs as the collector is brought, which one thread commits for as many askers, each waiting for the commit of a batch.
pub(crate) fn commit(folder: &Path) -> anyhow::Result<()> {
    let run = SampleRun::read(&sample_in(folder))?.run(&DeviceId::parse("bare")?, RunId([1; 16]));
    let bytes: usize = run.iter().map(Vec::len).sum();
    let runs_in_batch = (BATCH_BYTES_MAX / bytes).max(1);
    let batches_each = (RUNS_EACH as usize).div_ceil(runs_in_batch);
    let folder = tempfile::tempdir_in(folder)?;
    let connection = Connection::open(folder.path().join("bare.sqlite"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE record (device TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, received BLOB NOT NULL,
             PRIMARY KEY (device, epoch, seq)) STRICT;",
    )?;
    let (asks, waiting) = mpsc::sync_channel::<Ask>(ASKERS);
    let before = Usage::of(std::process::id())?;
    let begun = now();
    let (done, n_commits) = std::thread::scope(|scope| {
        for asker in 0..ASKERS {
            let asks = asks.clone();
            scope.spawn(move || {
                for _ in 0..batches_each {
                    let (answer, committed) = mpsc::sync_channel(1);
                    // Whoever commits says why it ended.
                    if asks.send((asker, answer)).is_err() || committed.recv().is_err() {
                        break;
                    }
                }
            });
        }
        drop(asks);
        commit_all(&connection, waiting, &run, runs_in_batch)
    })?;
    let per_second = f64::from(done) / begun.elapsed().as_secs_f64();
    let used = Usage::of(std::process::id())?.cpu - before.cpu;
    let committed = Committed {
        per_second,
        cpu_us: used.as_secs_f64() * 1e6 / f64::from(done),
        runs_in_commit: f64::from(done) / f64::from(n_commits),
    };
    serde_json::to_writer(std::io::stdout(), &committed)?;
    Ok(())
}

fn commit_all(
    connection: &Connection,
    waiting: mpsc::Receiver<Ask>,
    run: &[Vec<u8>],
    runs_in_batch: usize,
) -> anyhow::Result<(u32, u32)> {
    let mut done = 0;
    let mut n_commits = 0;
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for (asker, _) in &group {
            let mut insert =
                connection.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4)")?;
            for _ in 0..runs_in_batch {
                for (place, bytes) in run.iter().enumerate() {
                    let seq = i64::from(done) * 1_000 + i64::try_from(place)?;
                    insert.execute(params![format!("device-{asker}"), 1, seq, bytes])?;
                }
                done += 1;
            }
        }
        connection.execute_batch("COMMIT")?;
        n_commits += 1;
        for (_, answer) in group {
            // Its asker may have stopped waiting.
            let _gone = answer.send(());
        }
    }
    Ok((done, n_commits))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}
