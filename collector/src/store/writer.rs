//! The one thread that writes: what waits together is committed together, and answered after the commit.
//!
//! A commit costs about the same for one task as for many. So where a fleet delivers, commits keep a distance from each other, and what
//! comes in between goes together, unless it is much. A task that comes after a pause is committed at once, and where few deliver, every one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    StoreError,
    checkpointer::Checkpointer,
    database::{Database, execute, is_disk_full},
};
use crate::vitals::{Commit, Vitals};

/// Hands work to the writing thread.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    bytes_waiting: Arc<AtomicUsize>,
    failure: watch::Receiver<Option<String>>,
    /// To be woken when enough waits: who delivers next can get ready while that is committed.
    thread: Option<Thread>,
    /// Where there is no such thread: whoever hands in work does it.
    own: Option<Arc<Mutex<Desk>>>,
}

/// Where work waits and is done.
#[derive(Debug)]
struct Desk {
    connection: Connection,
    waiting: mpsc::Receiver<Job>,
    bytes_waiting: Arc<AtomicUsize>,
    failed: watch::Sender<Option<String>>,
    vitals: Arc<Vitals>,
}

/// A part of a transaction.
struct Job {
    /// Of what is to be written, where that may be much.
    bytes: usize,
    work: Box<dyn Work>,
}

/// What a job does, whatever comes of it.
trait Work: Send {
    /// Keeps what came of it. May be called again if that was undone.
    fn perform(&mut self, connection: &Connection, alone: Alone);

    /// Why it could not, if it could not.
    fn error(&self) -> Option<&StoreError>;

    /// Called when the commit is decided.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

/// Whether what a task does can be undone by itself. For that SQLite notes what each page was before, for every task anew, so it is
/// only asked where one failed.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Alone {
    No,
    Yes,
}

/// A task, and who waits for it.
struct Asked<F, T> {
    task: F,
    outcome: Option<Result<T, StoreError>>,
    asker: oneshot::Sender<Result<T, StoreError>>,
}

impl Writer {
    /// Starts the thread; it ends, and closes the connection, when the last `Writer` is gone.
    pub(super) fn start(
        database: &Database,
        connection: Connection,
        vitals: Arc<Vitals>,
    ) -> Result<(Self, thread::JoinHandle<()>), StoreError> {
        let (writer, mut desk) = Self::new(connection, vitals);
        let checkpointer =
            Checkpointer::start(database, &mut desk.connection, desk.failed.clone())?;
        let work = move || {
            desk.write_until_closed();
            checkpointer.stop(&mut desk.connection);
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(work)
            .map_err(|error| StoreError::Stopped(error.to_string()))?;
        let writer = Self {
            thread: Some(thread.thread().clone()),
            ..writer
        };
        Ok((writer, thread))
    }

    /// Without a thread: each task is done where it is handed in, when the others that wait have had a chance to be handed in, too.
    pub(super) fn inline(connection: Connection, vitals: Arc<Vitals>) -> Self {
        let (writer, desk) = Self::new(connection, vitals);
        Self {
            own: Some(Arc::new(Mutex::new(desk))),
            ..writer
        }
    }

    fn new(connection: Connection, vitals: Arc<Vitals>) -> (Self, Desk) {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let (failed, failure) = watch::channel(None);
        let bytes_waiting = Arc::<AtomicUsize>::default();
        let desk = Desk {
            connection,
            waiting,
            bytes_waiting: Arc::clone(&bytes_waiting),
            failed,
            vitals,
        };
        let writer = Self {
            jobs,
            bytes_waiting,
            failure,
            thread: None,
            own: None,
        };
        (writer, desk)
    }

    pub(super) fn is_inline(&self) -> bool {
        self.own.is_some()
    }

    /// Runs `task` in a transaction; its result comes back once that is committed. A task that fails leaves nothing
    /// behind and does not disturb those committed with it: for that, all of them may be undone and run again.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        task: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_in_turn(|| (0, task)).await
    }

    /// The same, with a task that is made when there is a place for it, and the bytes that it writes.
    pub(super) async fn write_in_turn<T, F>(
        &self,
        make: impl FnOnce() -> (usize, F),
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let place = self.jobs.reserve().await.map_err(|_| self.stopped())?;
        let (bytes, task) = make();
        let (asker, answer) = oneshot::channel();
        let work = Box::new(Asked {
            task,
            outcome: None,
            asker,
        });
        // Counted before it is handed over: it is taken off when it is taken.
        let bytes_waiting = bytes + self.bytes_waiting.fetch_add(bytes, Ordering::Relaxed);
        place.send(Job { bytes, work });
        let is_enough = bytes_waiting >= GROUP_BYTES || self.jobs.capacity() <= WAITING_MAX / 4;
        if is_enough && let Some(thread) = &self.thread {
            thread.unpark();
        }
        if let Some(desk) = &self.own {
            tokio::task::yield_now().await;
            let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
            desk.write_waiting();
        }
        answer.await.map_err(|_| self.stopped())?
    }

    /// Resolves with the reason when the database failed in a way that only a restart can mend.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let reason = failure
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone());
        match reason {
            Ok(reason) => reason.unwrap_or_default(),
            // The thread ended in good order: there will be no failure.
            Err(_) => std::future::pending().await,
        }
    }

    fn stopped(&self) -> StoreError {
        StoreError::Stopped(self.failure.borrow().clone().unwrap_or_default())
    }
}

impl Desk {
    /// Works until nobody can ask any more.
    fn write_until_closed(&mut self) {
        let mut began = None;
        while let Some(first) = self.waiting.blocking_recv() {
            let since = began.map(|began: Instant| began.elapsed());
            let wait = patience(self.vitals.n_devices_connected(), since);
            if !wait.is_zero() {
                thread::park_timeout(wait);
            }
            began = Some(Instant::now());
            if self.write_group(first).is_err() {
                return;
            }
        }
    }

    fn write_waiting(&mut self) {
        while let Ok(first) = self.waiting.try_recv() {
            // What is not done is dropped, and whoever waits for it hears why.
            if self.failed.borrow().is_none() {
                self.write_group(first).ok();
            }
        }
    }

    /// An error is fatal: after a failed fsync the page cache may hold what the disk does not, and only opening the file anew tells.
    fn write_group(&mut self, first: Job) -> Result<(), String> {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = self.waiting.try_recv()
        {
            group.push(next);
        }
        let bytes = group.iter().map(|job| job.bytes).sum();
        self.bytes_waiting.fetch_sub(bytes, Ordering::Relaxed);
        let committed = commit(&self.connection, group, &self.vitals);
        if let Err(reason) = &committed {
            tracing::error!(reason, "the database cannot be trusted any more, stopping");
            self.failed.send_replace(Some(reason.clone()));
        }
        committed
    }
}

impl<F, T> Work for Asked<F, T>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn perform(&mut self, connection: &Connection, alone: Alone) {
        let task = &mut self.task;
        self.outcome = Some(match alone {
            // It was rolled back: there is no transaction to be a part of.
            _ if connection.is_autocommit() => Err(StoreError::Full),
            Alone::No => task(connection),
            Alone::Yes => in_savepoint(connection, task),
        });
    }

    fn error(&self) -> Option<&StoreError> {
        self.outcome.as_ref()?.as_ref().err()
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let Some(outcome) = self.outcome else { return };
        // Who asked may have gone away; what it asked for is done all the same.
        drop(
            self.asker
                .send(outcome.and_then(|value| commit.map(|()| value))),
        );
    }
}

fn commit(connection: &Connection, mut group: Vec<Job>, vitals: &Vitals) -> Result<(), String> {
    let began = Instant::now();
    let mut before = connection.total_changes();
    begin(connection)?;
    let mut breakage = perform(connection, &mut group, Alone::No);
    let is_failed = group.iter().any(|job| job.work.error().is_some());
    if is_failed && breakage.is_none() && !connection.is_autocommit() {
        execute(connection, "ROLLBACK", []).map_err(|error| error.to_string())?;
        before = connection.total_changes();
        begin(connection)?;
        breakage = perform(connection, &mut group, Alone::Yes);
    }
    let decision = match breakage {
        Some(reason) => Decision::Fatal(reason),
        None => decide(connection),
    };
    let is_change = connection.total_changes() != before;
    if is_change || decision != Decision::Committed {
        vitals.transaction_ended(decision.outcome(), began.elapsed());
    }
    for job in group {
        job.work.answer(match &decision {
            Decision::Committed => Ok(()),
            Decision::Full => Err(StoreError::Full),
            Decision::Fatal(reason) => Err(StoreError::Stopped(reason.clone())),
        });
    }
    match decision {
        Decision::Fatal(reason) => Err(reason),
        Decision::Committed | Decision::Full => Ok(()),
    }
}

/// Returns the reason if the disk or the file failed under one of them.
fn perform(connection: &Connection, group: &mut [Job], alone: Alone) -> Option<String> {
    for job in group.iter_mut() {
        job.work.perform(connection, alone);
    }
    let mut errors = group.iter().filter_map(|job| job.work.error());
    errors.find_map(StoreError::breakage)
}

/// How long the first of a group waits for others, so long after the latest commit began.
fn patience(n_devices: i64, since: Option<Duration>) -> Duration {
    match since {
        Some(since) if n_devices >= FLEET_MIN => DISTANCE.saturating_sub(since),
        _ => Duration::ZERO,
    }
}

/// Waits as long as somebody else writes: a person with a database tool, for we hold the folder. If the disk is full nothing is begun,
/// and every task hears of it.
fn begin(connection: &Connection) -> Result<(), String> {
    while let Err(error) = execute(connection, "BEGIN IMMEDIATE", []) {
        if is_disk_full(&error) {
            return Ok(());
        }
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
            return Err(error.to_string());
        }
        tracing::warn!("another program has locked the database, deliveries wait");
    }
    Ok(())
}

#[derive(Eq, PartialEq)]
enum Decision {
    Committed,
    Full,
    Fatal(String),
}

impl Decision {
    fn outcome(&self) -> Commit {
        match self {
            Self::Committed => Commit::Committed,
            Self::Full => Commit::Full,
            Self::Fatal(_) => Commit::Failed,
        }
    }
}

fn decide(connection: &Connection) -> Decision {
    // A full disk makes SQLite roll back the whole transaction by itself; there is nothing left to commit then.
    if connection.is_autocommit() {
        return Decision::Full;
    }
    let Err(error) = execute(connection, "COMMIT", []) else {
        return Decision::Committed;
    };
    if !is_disk_full(&error) {
        return Decision::Fatal(error.to_string());
    }
    if connection.is_autocommit() || execute(connection, "ROLLBACK", []).is_ok() {
        return Decision::Full;
    }
    Decision::Fatal(error.to_string())
}

fn in_savepoint<T>(
    connection: &Connection,
    task: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    execute(connection, "SAVEPOINT task", [])?;
    let outcome = task(connection);
    if !connection.is_autocommit() {
        if outcome.is_err() {
            execute(connection, "ROLLBACK TO task", [])?;
        }
        execute(connection, "RELEASE task", [])?;
    }
    outcome
}

/// Enough to keep the disk busy while a commit runs; beyond it, streams wait.
const WAITING_MAX: usize = 64;

/// Most tasks in one commit, so that the first of them does not wait long.
const GROUP_MAX: usize = 64;

/// So much together is worth a commit: its fsync is little beside it.
const GROUP_BYTES: usize = 1024 * 1024;

/// Between the beginnings of two commits: an acknowledgement within 50 ms is soon enough, and a fleet of 1,000 agents with a message a
/// second each needs a fortieth of the commits.
const DISTANCE: Duration = Duration::from_millis(40);

/// So many deliveries must be open: below it, tasks come one after the other rather than together.
const FLEET_MIN: i64 = 16;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::future;
    use tempfile::TempDir;

    use super::*;

    #[track_caller]
    fn check(n_devices: i64, since_ms: Option<u64>, want_ms: u64) {
        let since = since_ms.map(Duration::from_millis);
        assert_eq!(patience(n_devices, since), Duration::from_millis(want_ms));
    }

    #[test]
    fn a_few_devices_wait_for_nobody() {
        check(FLEET_MIN - 1, Some(0), 0);
        check(0, None, 0);
    }

    #[test]
    fn a_fleet_waits_only_where_commits_follow_each_other() {
        check(FLEET_MIN, None, 0);
        check(FLEET_MIN, Some(0), 40);
        check(FLEET_MIN, Some(4), 36);
        check(FLEET_MIN, Some(40), 0);
        check(FLEET_MIN, Some(u64::MAX), 0);
    }

    /// Commits tasks together, each of which puts its number into a table, if it is negative twice, which is once too often. Returns how
    /// often each was run, what came of it, and the table.
    fn together(numbers: &[i64]) -> (Vec<usize>, Vec<bool>, Vec<i64>) {
        let folder = TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("sqlite")).unwrap();
        connection
            .execute_batch("CREATE TABLE put (number INTEGER NOT NULL UNIQUE)")
            .unwrap();
        let vitals = Arc::new(Vitals::new(Path::new("/nowhere/collector.sqlite")));
        let writer = Writer::inline(connection, vitals);
        let n_runs = Arc::new(Mutex::new(vec![0; numbers.len()]));
        let put = numbers.iter().copied().enumerate().map(|(place, number)| {
            let n_runs = Arc::clone(&n_runs);
            writer.write(move |connection| {
                n_runs.lock().unwrap()[place] += 1;
                for _ in 0..if number < 0 { 2 } else { 1 } {
                    execute(connection, "INSERT INTO put VALUES (?1)", [number])?;
                }
                Ok(())
            })
        });
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            let outcomes = future::join_all(put).await;
            let stored = writer.write(|connection| {
                let mut statement = connection.prepare("SELECT number FROM put ORDER BY rowid")?;
                let numbers = statement.query_map([], |row| row.get(0))?;
                Ok(numbers.collect::<rusqlite::Result<Vec<i64>>>()?)
            });
            let stored = stored.await.unwrap();
            let n_runs = n_runs.lock().unwrap().clone();
            (n_runs, outcomes.iter().map(Result::is_ok).collect(), stored)
        })
    }

    #[test]
    fn of_tasks_that_are_committed_together_only_the_one_that_fails_leaves_nothing() {
        let (n_runs, outcomes, stored) = together(&[1, -2, 3]);
        assert_eq!(n_runs, [2, 2, 2], "all of them were together");
        assert_eq!(outcomes, [true, false, true]);
        assert_eq!(stored, [1, 3]);
    }

    #[test]
    fn tasks_of_which_none_fails_run_once() {
        let (n_runs, outcomes, stored) = together(&[1, 2, 3]);
        assert_eq!(n_runs, [1, 1, 1]);
        assert_eq!(outcomes, [true, true, true]);
        assert_eq!(stored, [1, 2, 3]);
    }
}
