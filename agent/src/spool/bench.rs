//! The bench under way: what of it is finished, and the records of the run in hand, so that an agent that was killed goes on.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    thread,
};

use rusqlite::{OptionalExtension, params};
use rustix::{
    fs::{FlockOperation, flock},
    io::{Errno, retry_on_intr},
};
use tokio::sync::oneshot;
use tokwatt_domain::ids::{RunId, Seq};

use super::{Claim, Spool, SpoolError, Spooled, drop_acknowledged, from_sql, select_after, to_sql};

/// A bench that is under way, or whose agent was killed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unfinished {
    /// What was asked for, in the words of whoever began it.
    pub description: String,
    /// Number of the first run that is not finished, from 0.
    pub next: u64,
    /// That run, if it has begun.
    pub open: Option<OpenRun>,
}

/// A run without its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenRun {
    /// Which.
    pub run: RunId,
    /// Place of its first record.
    pub first: Seq,
}

/// Nobody else measures with this data folder while this lives; the kernel lets go of it, however its holder ended.
pub struct BenchLock(#[expect(dead_code, reason = "held, not read")] File);

impl BenchLock {
    /// Takes it.
    ///
    /// # Errors
    /// Another agent has it, or the file cannot be made.
    pub fn take(folder: &Path) -> Result<Self, SpoolError> {
        Self::lock(folder, FlockOperation::NonBlockingLockExclusive)
    }

    /// Waits until nobody has it. The wait has a thread of its own and does nothing, for somebody measures meanwhile.
    ///
    /// # Errors
    /// The file cannot be made.
    pub async fn wait(folder: &Path) -> Result<Self, SpoolError> {
        let (tell, told) = oneshot::channel();
        let failed = |source| SpoolError::Folder {
            path: folder.to_owned(),
            source,
        };
        let its_folder = folder.to_owned();
        thread::Builder::new()
            .name("bench lock".to_owned())
            .spawn(move || drop(tell.send(Self::lock(&its_folder, FlockOperation::LockExclusive))))
            .map_err(failed)?;
        told.await
            .map_err(|error| failed(io::Error::other(error)))?
    }

    fn lock(folder: &Path, operation: FlockOperation) -> Result<Self, SpoolError> {
        let path = folder.join("bench.lock");
        let failed = |source: io::Error| SpoolError::Folder {
            path: path.clone(),
            source,
        };
        // Not cut short: that would write to the disk while somebody measures.
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed)?;
        match retry_on_intr(|| flock(&file, operation)) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(SpoolError::Busy {
                folder: folder.to_owned(),
            }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

impl Unfinished {
    /// Whether there is anything to go on with: not if it was interrupted before its first run.
    pub fn has_measured(&self) -> bool {
        self.next > 0 || self.open.is_some()
    }
}

impl Spool {
    /// The bench under way, if there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unfinished(&self) -> Result<Option<Unfinished>, SpoolError> {
        self.connection()
            .query_row(
                "SELECT description, next, run, first_seq FROM bench",
                [],
                |row| {
                    let (run, first): (Option<[u8; 16]>, Option<i64>) = (row.get(2)?, row.get(3)?);
                    let open = run.zip(first).map(|(run, first)| OpenRun {
                        run: RunId(run),
                        first: Seq(from_sql(first)),
                    });
                    Ok(Unfinished {
                        description: row.get(0)?,
                        next: from_sql(row.get(1)?),
                        open,
                    })
                },
            )
            .optional()
            .map_err(self.failed("read"))
    }

    /// A bench begins; whatever was under way is no more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin_bench(&self, description: &str) -> Result<(), SpoolError> {
        self.change("begin a bench in", |transaction| {
            transaction.execute_batch("DELETE FROM bench; DELETE FROM finished;")?;
            transaction.execute(
                "INSERT INTO bench (description, next) VALUES (?1, 0)",
                [description],
            )?;
            drop_acknowledged(transaction)
        })
    }

    /// Its next run begins with this record.
    ///
    /// # Errors
    /// The limit is reached, or the disk failed; then nothing was appended.
    pub fn open_run(&self, run: RunId, record: Vec<u8>) -> Result<(), SpoolError> {
        self.append_with(&[record], Claim::Record, |transaction, seq| {
            transaction.execute(
                "UPDATE bench SET run = ?1, first_seq = ?2",
                params![run.0, to_sql(seq.0)],
            )?;
            Ok(())
        })?;
        Ok(())
    }

    /// The run ends with this record, and the next one is number `next`. What the collector has of it is dropped.
    ///
    /// # Errors
    /// The limit is reached, or the disk failed; then nothing was appended.
    pub fn close_run(&self, next: u64, record: Vec<u8>) -> Result<(), SpoolError> {
        let kept = record.clone();
        self.append_with(&[record], Claim::End, |transaction, _| {
            transaction.execute("INSERT INTO finished (bytes) VALUES (?1)", [&kept])?;
            transaction.execute(
                "UPDATE bench SET next = ?1, run = NULL, first_seq = NULL",
                [to_sql(next)],
            )?;
            drop_acknowledged(transaction)
        })?;
        Ok(())
    }

    /// The bench is over.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end_bench(&self) -> Result<(), SpoolError> {
        self.change("end a bench in", |transaction| {
            transaction.execute_batch("DELETE FROM bench; DELETE FROM finished;")?;
            drop_acknowledged(transaction)
        })
    }

    /// The last records of the bench's finished runs, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn finished_runs(&self) -> Result<Vec<Vec<u8>>, SpoolError> {
        let connection = self.connection();
        let read = || {
            let mut statement = connection.prepare("SELECT bytes FROM finished ORDER BY number")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<Vec<u8>>>>()
        };
        read().map_err(self.failed("read"))
    }

    /// Records from a place on, whether they wait or not, as many as fit into `bytes_max`, at least one if there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_from(&self, first: Seq, bytes_max: usize) -> Result<Vec<Spooled>, SpoolError> {
        let before = Seq(first.0.saturating_sub(1));
        select_after(&self.connection(), before, bytes_max).map_err(self.failed("read"))
    }
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::time::WallTime;

    use super::*;

    fn open(folder: &Path) -> Spool {
        Spool::open(folder, WallTime(1), 1 << 20).unwrap()
    }

    fn seqs(spooled: &[Spooled]) -> Vec<u64> {
        spooled.iter().map(|spooled| spooled.seq.0).collect()
    }

    fn kept(spool: &Spool) -> Vec<u64> {
        seqs(&spool.kept_from(Seq(0), usize::MAX).unwrap())
    }

    #[test]
    fn what_the_collector_has_of_the_run_under_way_is_kept_and_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.append(&[b"device".to_vec()]).unwrap();
        spool.begin_bench("two runs").unwrap();
        spool.open_run(RunId([5; 16]), b"opened".to_vec()).unwrap();
        spool.append(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
        spool.acknowledge(Seq(3)).unwrap();
        drop(spool);

        let spool = open(folder.path());
        let unfinished = spool.unfinished().unwrap().unwrap();
        assert_eq!(unfinished.description, "two runs");
        let want = OpenRun {
            run: RunId([5; 16]),
            first: Seq(2),
        };
        assert_eq!((unfinished.next, unfinished.open), (0, Some(want)));
        assert_eq!(kept(&spool), [2, 3, 4]);
        assert_eq!(seqs(&spool.after(Seq(0), usize::MAX).unwrap()), [4]);
        let status = spool.status().unwrap();
        assert_eq!((status.waiting_records, status.waiting_bytes), (1, 3));

        spool.close_run(1, b"finished".to_vec()).unwrap();
        assert_eq!(kept(&spool), [4, 5]);
        let unfinished = spool.unfinished().unwrap().unwrap();
        assert_eq!((unfinished.next, unfinished.open), (1, None));
        spool.acknowledge(Seq(5)).unwrap();
        assert_eq!(spool.finished_runs().unwrap(), [b"finished".to_vec()]);
        spool.end_bench().unwrap();
        assert_eq!(spool.unfinished().unwrap(), None);
        assert_eq!(spool.finished_runs().unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_kept_for_a_run_under_way_counts_against_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(1), 10).unwrap();
        spool.begin_bench("").unwrap();
        spool.open_run(RunId([5; 16]), vec![0; 8]).unwrap();
        spool.acknowledge(Seq(1)).unwrap();
        assert!(matches!(
            spool.append(&[vec![0; 3]]),
            Err(SpoolError::Full { .. })
        ));
    }

    #[test]
    fn a_bench_that_begins_lets_go_of_the_last_ones_records() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.begin_bench("one").unwrap();
        spool.open_run(RunId([5; 16]), b"opened".to_vec()).unwrap();
        spool.acknowledge(Seq(1)).unwrap();
        spool.begin_bench("other").unwrap();
        assert_eq!(kept(&spool), [0; 0]);
        assert_eq!(spool.unfinished().unwrap().unwrap().description, "other");
    }

    #[test]
    fn one_bench_at_a_time_measures_with_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = BenchLock::take(folder.path()).unwrap();
        let Err(refused) = BenchLock::take(folder.path()) else {
            panic!("taken twice");
        };
        assert!(refused.to_string().contains("another bench is under way"));
        drop(lock);
        BenchLock::take(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_a_bench_gets_its_place_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let lock = BenchLock::take(folder.path()).unwrap();
        let mut waiting = std::pin::pin!(BenchLock::wait(folder.path()));
        let is_there = futures::FutureExt::now_or_never(waiting.as_mut()).is_some();
        assert!(!is_there);
        drop(lock);
        let lock = waiting.await.unwrap();
        assert!(BenchLock::take(folder.path()).is_err());
        drop(lock);
    }
}
