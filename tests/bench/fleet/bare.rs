//! The floor under every acknowledged run: the same bytes in group commits of SQLite, without anything around them.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

use super::process::Usage;

/// What came of it.
pub(crate) struct Committed {
    pub(crate) per_second: f64,
    /// For each run.
    pub(crate) cpu_us: f64,
}

/// Runs a second that one thread commits for as many askers as the collector has, each waiting for its commit.
pub(crate) fn runs(folder: &Path, run: &[Vec<u8>], time: Duration) -> anyhow::Result<Committed> {
    let connection = Connection::open(folder.join("bare.sqlite"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE record (device TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, received BLOB NOT NULL,
             PRIMARY KEY (device, epoch, seq)) STRICT;",
    )?;
    let (asks, waiting) = mpsc::sync_channel::<(usize, mpsc::Sender<()>)>(super::load::ASKERS);
    let before = Usage::of(std::process::id())?;
    let begun = now();
    let done = std::thread::scope(|scope| {
        for asker in 0..super::load::ASKERS {
            let asks = asks.clone();
            scope.spawn(move || {
                let (answer, committed) = mpsc::channel();
                while begun.elapsed() < time {
                    asks.send((asker, answer.clone())).unwrap();
                    committed.recv().unwrap();
                }
            });
        }
        drop(asks);
        commit_all(&connection, &waiting, run)
    })?;
    let per_second = f64::from(done) / begun.elapsed().as_secs_f64();
    let used = Usage::of(std::process::id())?.cpu - before.cpu;
    Ok(Committed {
        per_second,
        cpu_us: used.as_secs_f64() * 1e6 / f64::from(done),
    })
}

fn commit_all(
    connection: &Connection,
    waiting: &mpsc::Receiver<(usize, mpsc::Sender<()>)>,
    run: &[Vec<u8>],
) -> anyhow::Result<u32> {
    let mut done = 0;
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for (asker, _) in &group {
            let mut insert =
                connection.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3, ?4)")?;
            for (place, bytes) in run.iter().enumerate() {
                let seq = i64::from(done) * 1_000 + i64::try_from(place)?;
                insert.execute(params![format!("device-{asker}"), 1, seq, bytes])?;
            }
            done += 1;
        }
        connection.execute_batch("COMMIT")?;
        for (_, answer) in group {
            // Its asker may have stopped waiting.
            let _gone = answer.send(());
        }
    }
    Ok(done)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}
