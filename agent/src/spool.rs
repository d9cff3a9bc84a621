//! The durable outbox: what was measured stays here until the collector has committed it.
//!
//! # Format
//!
//! One SQLite file, `spool.db`, in the agent's data folder; `PRAGMA user_version` is the format number, 3 today.
//!
//! - `life(epoch, next_seq, acknowledged, origin)`: one row. The epoch is the wall time in µs at which the file was made, so that a spool made
//!   anew never continues another one's sequence; `next_seq` outlives the records, so that no number is used twice. The collector
//!   has everything up to `acknowledged`, which is not sent again. `origin` is the first epoch for this collector: it stays when a
//!   new life begins because the collector has lost records, so that whoever has the earlier life open goes on with the new one.
//! - `record(seq, bytes)`: encoded `Record`s in order. A row is deleted when the collector has acknowledged it, never before; those
//!   of the run under way stay until it is finished, so that an agent that was killed can go on with it.
//! - `bench(description, next, run, first_seq)`: one row while a bench is under way, and after its agent was killed. `description` says
//!   what was asked for, `next` is the number of the first run that is not finished, in the bench's order from 0; `run` and `first_seq`
//!   are the id of the run under way and the place of its first record, NULL between runs.
//! - `finished(number, bytes)`: the `RunFinished` records of that bench, in order, for its report; they outlive their delivery.
//!
//! Format 1 had neither `acknowledged` nor the last two tables, format 2 no `origin`; both are brought up to date when they are opened.
//!
//! Appending is one transaction with `synchronous = FULL`: when it returns, the disk has it. Deleting is not that
//! careful, since a record that comes back to life is delivered twice and admitted once.
//!
//! `spool.reserve` beside it is room that is given up when the disk is full, so that what is small and must be written then fits:
//! the end of a run, what is acknowledged.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tokwatt_domain::{
    ids::{Epoch, Seq},
    time::WallTime,
};

mod bench;
mod room;
#[cfg(test)]
mod size;

use room::{Ballast, Claim, is_disk_full};

pub use bench::{BenchLock, OpenRun, Unfinished};
pub use room::Room;

/// The outbox: append, read after, acknowledge through. Delivered at least once, in order.
pub struct Spool {
    path: PathBuf,
    epoch: AtomicU64,
    origin: Epoch,
    bytes_max: u64,
    ballast: Ballast,
    connection: Mutex<Connection>,
}

/// A record with its place in the outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spooled {
    /// Its place.
    pub seq: Seq,
    /// The encoded record.
    pub bytes: Vec<u8>,
}

/// What waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub struct SpoolStatus {
    /// This life of the spool.
    pub epoch: Epoch,
    /// Records that the collector has not acknowledged.
    pub waiting_records: u64,
    /// Their size.
    pub waiting_bytes: u64,
    /// Last number given out; 0 if none was.
    pub last: Seq,
}

/// The disk failed, or holds what cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Full, by the limit set for it.
    #[error(
        "the spool `{}` is full: its limit is {bytes_max} bytes; deliver what waits with `tokwatt-agent run`, or, if nothing waits, raise `spool.bytes_max` and go on with `bench --resume`", path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// Full, by its disk.
    #[error(
        "the disk of the spool `{}` is full; make room on it, and go on with `bench --resume`", path.display()
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Another agent measures with it.
    #[error("another bench is under way in `{}`; wait for its end, or choose another folder with --data", folder.display())]
    Busy {
        /// The data folder.
        folder: PathBuf,
    },
    /// Another agent began it anew since it was opened.
    #[error("the spool `{}` was begun anew when this device was enrolled: start this command again", path.display())]
    BegunAnew {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer agent.
    #[error("the spool `{}` has format {found}, this agent knows {FORMAT}; use the newer agent", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// The folder cannot be made.
    #[error("cannot make the data folder `{}`; choose another with --data or TOKWATT_DATA", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite could not do it.
    #[error("cannot {doing} the spool `{}`", path.display())]
    Database {
        /// What was attempted.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<rusqlite::Error>,
    },
}

impl Spool {
    /// Opens the spool in `folder`, or begins one whose epoch is `now`.
    ///
    /// # Errors
    /// The folder cannot be made or written, or the file is no spool that this agent can read.
    pub fn open(folder: &Path, now: WallTime, bytes_max: u64) -> Result<Self, SpoolError> {
        std::fs::create_dir_all(folder).map_err(|source| SpoolError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join("spool.db");
        let ballast = Ballast::of(folder);
        match Self::open_file(&path, now, bytes_max) {
            Err(error) if error.is_full() && ballast.give_up() => {
                Self::open_file(&path, now, bytes_max)
            }
            opened => {
                ballast.take();
                opened
            }
        }
    }

    fn open_file(path: &Path, now: WallTime, bytes_max: u64) -> Result<Self, SpoolError> {
        let path = path.to_owned();
        let in_database = |doing| {
            let path = path.clone();
            move |source| SpoolError::of(doing, &path, source)
        };
        let mut connection = Connection::open(&path).map_err(in_database("open"))?;
        connection
            .execute_batch(PRAGMAS)
            .map_err(in_database("set up"))?;
        let found: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(in_database("read the format of"))?;
        if found > FORMAT {
            return Err(SpoolError::Newer { path, found });
        }
        let (epoch, origin) = begin_life(&mut connection, now).map_err(in_database("set up"))?;
        Ok(Self {
            ballast: Ballast::of(path.parent().unwrap_or(Path::new(""))),
            path,
            epoch: AtomicU64::new(epoch.0),
            origin,
            bytes_max,
            connection: Mutex::new(connection),
        })
    }

    /// Appends all of them or none, and leaves room for the end of a run; on disk when it returns. Returns the last one's place.
    ///
    /// # Errors
    /// The limit is reached, or the disk failed; then nothing was appended.
    pub fn append(&self, records: &[Vec<u8>]) -> Result<Seq, SpoolError> {
        self.append_with(records, Claim::Record, |_, _| Ok(()))
    }

    /// Appends, and does something else in the same transaction; that is told the last one's place.
    fn append_with(
        &self,
        records: &[Vec<u8>],
        claim: Claim,
        also: impl Fn(&Transaction<'_>, Seq) -> rusqlite::Result<()>,
    ) -> Result<Seq, SpoolError> {
        let kept = self.kept_bytes()?;
        let added: u64 = records.iter().map(|bytes| bytes.len() as u64).sum();
        let kept_back = self.bytes_max - self.limit(claim);
        self.check_limit(kept.saturating_add(added).saturating_add(kept_back))?;
        let append = |transaction: &Transaction<'_>| {
            let last = insert(transaction, records)?;
            also(transaction, last)?;
            Ok(last)
        };
        match claim {
            Claim::End => self.change("append to", append),
            Claim::Record => self.try_to_change("append to", append),
        }
    }

    /// Records after `seq` that wait, in order, as many as fit into `bytes_max`, at least one if there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn after(&self, seq: Seq, bytes_max: usize) -> Result<Vec<Spooled>, SpoolError> {
        let connection = self.connection();
        let acknowledged = self.acknowledged(&connection)?;
        select_after(&connection, seq.max(acknowledged), bytes_max).map_err(self.failed("read"))
    }

    /// Hands out everything that waits as it is at this moment, one by one and in order, behind the place of the last record that does
    /// not wait any more.
    ///
    /// # Errors
    /// The file cannot be read, or whoever uses the records failed.
    pub fn with_waiting<T, E: From<SpoolError>>(
        &self,
        work: impl FnOnce(Seq, &mut dyn Iterator<Item = Result<Spooled, SpoolError>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection();
        let failed = self.failed("read");
        let snapshot = connection.transaction().map_err(&failed)?;
        let after = self.acknowledged(&snapshot)?;
        let mut statement = snapshot
            .prepare("SELECT seq, bytes FROM record WHERE seq > ?1 ORDER BY seq")
            .map_err(&failed)?;
        let rows = statement.query_map([to_sql(after.0)], |row| {
            Ok(Spooled {
                seq: Seq(from_sql(row.get(0)?)),
                bytes: row.get(1)?,
            })
        });
        let mut rows = rows.map_err(&failed)?.map(|row| row.map_err(&failed));
        work(after, &mut rows)
    }

    /// The collector has everything up to and including `seq`; drops it here, but for the run under way.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn acknowledge(&self, seq: Seq) -> Result<(), SpoolError> {
        let changed = self.change("acknowledge in", |transaction| {
            let changed = transaction.execute(
                "UPDATE life SET acknowledged = max(acknowledged, min(?1, next_seq - 1)) WHERE epoch = ?2",
                [to_sql(seq.0), to_sql(self.epoch().0)],
            )?;
            drop_acknowledged(transaction)?;
            Ok(changed)
        })?;
        if changed == 0 {
            return Err(self.begun_anew());
        }
        Ok(())
    }

    /// Begins a new life, in which what waits has the first places: for a collector that knows nothing of what was acknowledged
    /// before. Nothing may be under way.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin_anew(self, now: WallTime) -> Result<(), SpoolError> {
        self.change("begin anew", |transaction| {
            transaction.execute(
                "UPDATE record SET seq = seq - (SELECT acknowledged FROM life)",
                [],
            )?;
            transaction.execute(
                "UPDATE life SET epoch = max(epoch + 1, ?1), next_seq = next_seq - acknowledged, acknowledged = 0",
                [now.0],
            )?;
            transaction.execute("UPDATE life SET origin = epoch", [])?;
            Ok(())
        })
    }

    /// Begins a new life for a collector that has less than it acknowledged: nothing after `through`. Everything that is still here
    /// has the first places of it and waits, also what is acknowledged of the run under way. Returns how many records the collector
    /// has lost for good.
    ///
    /// # Errors
    /// The file cannot be written, or somebody else began a new life meanwhile.
    pub fn begin_again(&self, through: Seq) -> Result<u64, SpoolError> {
        let before = self.epoch();
        let begun = self.change("begin anew", |transaction| {
            let gone: Option<i64> = transaction
                .query_row(
                    "SELECT coalesce((SELECT min(seq) FROM record), next_seq) - 1 FROM life WHERE epoch = ?1",
                    [to_sql(before.0)],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(gone) = gone else { return Ok(None) };
            transaction.execute("UPDATE record SET seq = seq - ?1", [gone])?;
            transaction.execute("UPDATE bench SET first_seq = first_seq - ?1", [gone])?;
            transaction.execute(
                "UPDATE life SET epoch = epoch + 1, next_seq = next_seq - ?1, acknowledged = 0",
                [gone],
            )?;
            Ok(Some(gone))
        })?;
        let gone = begun.ok_or_else(|| self.begun_anew())?;
        self.epoch.store(before.0 + 1, Ordering::Relaxed);
        Ok(from_sql(gone).saturating_sub(through.0))
    }

    /// Goes on with the life that is in the file, if it is for the same collector; the last place in it that the collector has.
    ///
    /// # Errors
    /// The file cannot be read, or was begun anew for another collector.
    pub fn go_on(&self) -> Result<Seq, SpoolError> {
        let life: Option<(i64, i64)> = self
            .connection()
            .query_row(
                "SELECT epoch, acknowledged FROM life WHERE origin = ?1",
                [to_sql(self.origin.0)],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(self.failed("read"))?;
        let (epoch, acknowledged) = life.ok_or_else(|| self.begun_anew())?;
        self.epoch.store(from_sql(epoch), Ordering::Relaxed);
        Ok(Seq(from_sql(acknowledged)))
    }

    /// What waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn status(&self) -> Result<SpoolStatus, SpoolError> {
        self.connection()
            .query_row(
                "SELECT count(seq), coalesce(sum(length(bytes)), 0), next_seq - 1 FROM life LEFT JOIN record ON seq > acknowledged",
                [],
                |row| {
                    Ok(SpoolStatus {
                        epoch: self.epoch(),
                        waiting_records: from_sql(row.get(0)?),
                        waiting_bytes: from_sql(row.get(1)?),
                        last: Seq(from_sql(row.get(2)?)),
                    })
                },
            )
            .map_err(self.failed("read"))
    }

    /// Last number given out; 0 if none was. Unlike [`status`](Self::status) it does not look at what waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last(&self) -> Result<Seq, SpoolError> {
        self.connection()
            .query_row("SELECT next_seq - 1 FROM life", [], |row| row.get(0))
            .map(|last| Seq(from_sql(last)))
            .map_err(self.failed("read"))
    }

    /// This life of the spool.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last place that the collector has; of the life that was opened.
    fn acknowledged(&self, connection: &Connection) -> Result<Seq, SpoolError> {
        let select = "SELECT acknowledged FROM life WHERE epoch = ?1";
        let found = connection
            .query_row(select, [to_sql(self.epoch().0)], |row| row.get(0))
            .optional();
        let found = found.map_err(self.failed("read"))?;
        found
            .map(|acknowledged| Seq(from_sql(acknowledged)))
            .ok_or_else(|| self.begun_anew())
    }

    fn begun_anew(&self) -> SpoolError {
        SpoolError::BegunAnew {
            path: self.path.clone(),
        }
    }

    /// Of everything on disk, whether it waits or not.
    fn kept_bytes(&self) -> Result<u64, SpoolError> {
        let sum = "SELECT coalesce(sum(length(bytes)), 0) FROM record";
        let bytes = self.connection().query_row(sum, [], |row| row.get(0));
        bytes.map(from_sql).map_err(self.failed("read"))
    }

    /// All of it or nothing; if the disk is full, with the room that is kept back for it.
    fn change<T>(
        &self,
        doing: &'static str,
        change: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        match self.try_to_change(doing, &change) {
            Err(SpoolError::DiskFull { .. }) if self.ballast.give_up() => {
                self.try_to_change(doing, change)
            }
            changed => changed,
        }
    }

    fn try_to_change<T>(
        &self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SpoolError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        transaction
            .and_then(|transaction| {
                let changed = change(&transaction)?;
                transaction.commit()?;
                Ok(changed)
            })
            .map_err(self.failed(doing))
    }

    fn check_limit(&self, bytes: u64) -> Result<(), SpoolError> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        Err(SpoolError::Full {
            path: self.path.clone(),
            bytes_max: self.bytes_max,
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("no holder panics")
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> SpoolError + '_ {
        move |source| SpoolError::of(doing, &self.path, source)
    }
}

impl SpoolError {
    fn of(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match is_disk_full(&source) {
            true => Self::DiskFull { path },
            false => Self::Database {
                doing,
                path,
                source: Box::new(source),
            },
        }
    }
}

/// Its epoch, and its origin.
fn begin_life(connection: &mut Connection, now: WallTime) -> rusqlite::Result<(Epoch, Epoch)> {
    let life = |row: &Row<'_>| Ok((Epoch(from_sql(row.get(0)?)), Epoch(from_sql(row.get(1)?))));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another agent may have brought it up to date since it was opened.
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found == FORMAT {
        // Nothing to write: a full disk keeps nobody from what is there.
        return transaction.query_row(SELECT_LIFE, [], life);
    }
    if found == 1 {
        transaction.execute_batch(FROM_FORMAT_1)?;
    }
    if found == 1 || found == 2 {
        transaction.execute_batch(FROM_FORMAT_2)?;
    }
    transaction.execute_batch(TABLES)?;
    transaction.execute(
        "INSERT INTO life (epoch, next_seq, origin) SELECT ?1, 1, ?1 WHERE NOT EXISTS (SELECT 1 FROM life)",
        [now.0],
    )?;
    let found = transaction.query_row(SELECT_LIFE, [], life)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()?;
    Ok(found)
}

fn insert(transaction: &Transaction<'_>, records: &[Vec<u8>]) -> rusqlite::Result<Seq> {
    let mut next: i64 = transaction.query_row("SELECT next_seq FROM life", [], |row| row.get(0))?;
    for bytes in records {
        transaction
            .prepare_cached("INSERT INTO record (seq, bytes) VALUES (?1, ?2)")?
            .execute(params![next, bytes])?;
        next += 1;
    }
    transaction.execute("UPDATE life SET next_seq = ?1", [next])?;
    Ok(Seq(from_sql(next - 1)))
}

fn drop_acknowledged(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM record WHERE seq <= (SELECT acknowledged FROM life)
             AND NOT EXISTS (SELECT 1 FROM bench WHERE seq >= first_seq)",
        )?
        .execute([])
        .map(|_| ())
}

fn select_after(
    connection: &Connection,
    seq: Seq,
    bytes_max: usize,
) -> rusqlite::Result<Vec<Spooled>> {
    let mut statement =
        connection.prepare_cached("SELECT seq, bytes FROM record WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([to_sql(seq.0)])?;
    let mut found = Vec::new();
    let mut total = 0;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(1)?;
        total += bytes.len();
        if total > bytes_max && !found.is_empty() {
            break;
        }
        found.push(Spooled {
            seq: Seq(from_sql(row.get(0)?)),
            bytes,
        });
    }
    Ok(found)
}

/// SQLite's integers are signed; ours never reach their upper half.
fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Raise it when a file of an older agent can no longer be read as it is.
const FORMAT: i64 = 3;

const SELECT_LIFE: &str = "SELECT epoch, origin FROM life";

const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
";

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS life (epoch INTEGER NOT NULL, next_seq INTEGER NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0, origin INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS bench (description TEXT NOT NULL, next INTEGER NOT NULL, run BLOB, first_seq INTEGER);
    CREATE TABLE IF NOT EXISTS finished (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
";

const FROM_FORMAT_1: &str = "ALTER TABLE life ADD COLUMN acknowledged INTEGER NOT NULL DEFAULT 0;";

const FROM_FORMAT_2: &str = "ALTER TABLE life ADD COLUMN origin INTEGER NOT NULL DEFAULT 0; UPDATE life SET origin = epoch;";

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokwatt_domain::ids::RunId;

    use super::*;

    fn open(folder: &Path) -> Spool {
        Spool::open(folder, WallTime(1_000), 1 << 20).unwrap()
    }

    #[test]
    fn numbers_go_on_after_everything_was_acknowledged_and_the_agent_restarted() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        assert_eq!(
            spool.append(&[b"a".to_vec(), b"b".to_vec()]).unwrap(),
            Seq(2)
        );
        spool.acknowledge(Seq(2)).unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), WallTime(2_000), 1 << 20).unwrap();
        assert_eq!(spool.epoch(), Epoch(1_000));
        assert_eq!(spool.append(&[b"c".to_vec()]).unwrap(), Seq(3));
    }

    #[test]
    fn a_full_spool_refuses_the_whole_append_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 10).unwrap();
        spool.append(&[vec![0; 6]]).unwrap();
        let refused = spool.append(&[vec![0; 3], vec![0; 3]]).unwrap_err();
        assert!(refused.to_string().contains("spool.bytes_max"), "{refused}");
        assert_eq!(spool.status().unwrap().waiting_records, 1);
    }

    #[test]
    fn room_runs_out_before_an_append_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 160).unwrap();
        spool.append(&[vec![0; 150]]).unwrap();
        spool.check_room().unwrap();
        spool.append(&[vec![0; 1]]).unwrap();
        let refused = spool.check_room();
        assert!(matches!(refused, Err(SpoolError::Full { .. })));
        spool.append(&[vec![0; 7]]).unwrap();
        // The rest is for the end of a run, whatever else asks.
        assert!(spool.append(&[vec![0; 1]]).is_err());
        spool.close_run(1, vec![0; 2]).unwrap();
    }

    #[test]
    fn a_file_of_a_newer_agent_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()));
        let connection = Connection::open(folder.path().join("spool.db")).unwrap();
        connection
            .pragma_update(None, "user_version", FORMAT + 1)
            .unwrap();
        let refused = Spool::open(folder.path(), WallTime(1), 10);
        assert!(matches!(refused, Err(SpoolError::Newer { .. })));
    }

    #[test]
    fn a_file_of_format_1_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("spool.db")).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE life (epoch INTEGER NOT NULL, next_seq INTEGER NOT NULL);
                 CREATE TABLE record (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
                 INSERT INTO life VALUES (77, 9);
                 INSERT INTO record VALUES (7, x'aa'), (8, x'bb');
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(connection);
        for _ in 0..2 {
            let spool = open(folder.path());
            assert_eq!(spool.epoch(), Epoch(77));
            let status = spool.status().unwrap();
            assert_eq!((status.waiting_records, status.last), (2, Seq(8)));
        }
        let spool = open(folder.path());
        spool.acknowledge(Seq(7)).unwrap();
        assert_eq!(spool.append(&[b"c".to_vec()]).unwrap(), Seq(9));
        let waiting = spool.after(Seq(0), usize::MAX).unwrap();
        let seqs: Vec<u64> = waiting.iter().map(|spooled| spooled.seq.0).collect();
        assert_eq!(seqs, [8, 9]);
    }

    #[test]
    fn what_is_no_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("spool.db"), vec![b'x'; 4096]).unwrap();
        let Err(error) = Spool::open(folder.path(), WallTime(1), 10) else {
            panic!("opened")
        };
        assert!(error.to_string().contains("spool.db"), "{error}");
    }

    #[test]
    fn what_waits_has_the_first_places_of_a_new_life() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.append(&[vec![1], vec![2], vec![3], vec![4]]).unwrap();
        spool.acknowledge(Seq(2)).unwrap();
        let stale = open(folder.path());
        spool.begin_anew(WallTime(5)).unwrap();
        let spool = open(folder.path());
        // Higher than the earlier one, whatever the clock says.
        assert_eq!(spool.epoch(), Epoch(1_001));
        let waiting = spool.after(Seq(0), usize::MAX).unwrap();
        let waiting: Vec<(u64, u8)> = waiting
            .iter()
            .map(|spooled| (spooled.seq.0, spooled.bytes[0]))
            .collect();
        assert_eq!(waiting, [(1, 3), (2, 4)]);
        assert_eq!(spool.append(&[vec![5]]).unwrap(), Seq(3));
        // Whoever has the earlier life open neither delivers nor deletes by its numbers.
        let refused = stale.acknowledge(Seq(4));
        assert!(matches!(refused, Err(SpoolError::BegunAnew { .. })));
        let refused = stale.after(Seq(0), 1);
        assert!(matches!(refused, Err(SpoolError::BegunAnew { .. })));
        let refused = stale.go_on();
        assert!(matches!(refused, Err(SpoolError::BegunAnew { .. })));
        assert_eq!(spool.status().unwrap().waiting_records, 3);
    }

    #[test]
    fn what_is_kept_waits_again_for_a_collector_that_has_lost_it_and_who_had_it_open_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.append(&[vec![1], vec![2]]).unwrap();
        spool.begin_bench("").unwrap();
        let run = RunId([5; 16]);
        spool.open_run(run, vec![3]).unwrap();
        spool.append(&[vec![4]]).unwrap();
        spool.acknowledge(Seq(3)).unwrap();
        let other = open(folder.path());
        assert_eq!(spool.begin_again(Seq(1)).unwrap(), 1, "lost is record 2");
        assert_eq!(spool.epoch(), Epoch(1_001));
        let refused = other.begin_again(Seq(1));
        assert!(matches!(refused, Err(SpoolError::BegunAnew { .. })));
        assert_eq!(other.go_on().unwrap(), Seq(0));
        for spool in [&spool, &other] {
            let waiting = spool.after(Seq(0), usize::MAX).unwrap();
            let waiting: Vec<(u64, u8)> = waiting
                .iter()
                .map(|spooled| (spooled.seq.0, spooled.bytes[0]))
                .collect();
            assert_eq!(waiting, [(1, 3), (2, 4)]);
        }
        let first = Seq(1);
        let open_run = spool.unfinished().unwrap().unwrap().open;
        assert_eq!(open_run, Some(OpenRun { run, first }));
        other.close_run(1, vec![5]).unwrap();
        other.acknowledge(Seq(3)).unwrap();
        assert_eq!(spool.begin_again(Seq(0)).unwrap(), 3);
        assert_eq!(spool.append(&[vec![6]]).unwrap(), Seq(1));
    }

    #[test]
    fn everything_that_waits_is_handed_out_as_it_is_at_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.append(&[vec![1], vec![2], vec![3]]).unwrap();
        spool.acknowledge(Seq(1)).unwrap();
        let other = open(folder.path());
        let found: Result<_, SpoolError> = spool.with_waiting(|after, waiting| {
            other.acknowledge(Seq(3))?;
            other.append(&[vec![4]])?;
            let seqs: Result<Vec<u64>, _> = waiting.map(|row| Ok(row?.seq.0)).collect();
            seqs.map(|seqs| (after.0, seqs))
        });
        assert_eq!(found.unwrap(), (1, vec![2, 3]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<Vec<u8>>),
        Acknowledge(u64),
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            proptest::collection::vec(bytes, 0..4).prop_map(Step::Append),
            (0_u64..30).prop_map(Step::Acknowledge),
            Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn behaves_like_a_queue(steps in proptest::collection::vec(step(), 0..24)) {
            let folder = tempfile::tempdir().unwrap();
            let mut spool = open(folder.path());
            let mut model: VecDeque<Spooled> = VecDeque::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Append(records) => {
                        spool.append(&records).unwrap();
                        for bytes in records {
                            model.push_back(Spooled { seq: Seq(next), bytes });
                            next += 1;
                        }
                    }
                    Step::Acknowledge(seq) => {
                        spool.acknowledge(Seq(seq)).unwrap();
                        model.retain(|spooled| spooled.seq.0 > seq);
                    }
                    Step::Reopen => spool = open(folder.path()),
                }
                let kept = spool.after(Seq(0), usize::MAX).unwrap();
                prop_assert_eq!(&kept, &Vec::from(model.clone()));
            }
        }
    }
}
