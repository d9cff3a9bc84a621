//! Folds the write-ahead log into the database beside the writing: what a delivery waits for is its own commit.
//!
//! The log begins anew with the first commit that finds all of it folded in. Where commits follow each other without a pause the thread
//! never gets to its end; so once the log is long, whoever commits folds in the rest as soon as that is little.

use std::{
    ffi::c_int,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, ErrorCode, hooks::Wal, wal::CheckpointMode};
use tokio::sync::watch;

use super::{
    StoreError,
    database::{Database, is_disk_full},
};

/// A thread with a connection of its own.
#[derive(Debug)]
pub(super) struct Checkpointer {
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts with what `writer` commits next; tells `failed` if the disk or the file fails under it.
    pub(super) fn start(
        database: &Database,
        writer: &mut Connection,
        failed: watch::Sender<Option<String>>,
    ) -> Result<Self, StoreError> {
        let own = database.beside()?;
        let page: i64 = own.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let (due, asked) = mpsc::sync_channel(1);
        let folded_in = Arc::<AtomicI32>::default();
        let known = Arc::clone(&folded_in);
        let mut n_before = 0;
        writer.wal_hook(Some(move |log: &mut Wal, n_pages: c_int| {
            if n_pages < n_before {
                // The log began anew.
                known.store(0, Ordering::Relaxed);
            }
            n_before = n_pages;
            let bytes = |n_pages: c_int| i64::from(n_pages) * page;
            match fold(bytes(n_pages), bytes(known.load(Ordering::Relaxed))) {
                Fold::Later => {}
                Fold::Beside => {
                    // It may have been asked already.
                    let _asked = due.try_send(());
                }
                Fold::Now => {
                    // The commit stands, whatever becomes of this.
                    let _later = log.checkpoint_v2(CheckpointMode::PASSIVE);
                }
            }
            Ok(())
        }))?;
        let thread = thread::Builder::new()
            .name("store-checkpointer".to_owned())
            .spawn(move || fold_in(&own, &asked, &folded_in, &failed))
            .map_err(|error| StoreError::Stopped(error.to_string()))?;
        Ok(Self { thread })
    }

    /// Ends with its connection closed: `writer` closes last, and removes the log.
    pub(super) fn stop(self, writer: &mut Connection) {
        let unhooked = writer.wal_hook(None::<fn(&mut Wal, c_int) -> rusqlite::Result<()>>);
        if unhooked.is_ok() && self.thread.join().is_err() {
            tracing::error!("the checkpointing thread of the store ended with a panic");
        }
    }
}

/// Who folds in what a commit left, and when.
#[derive(Debug, Eq, PartialEq)]
enum Fold {
    Later,
    Beside,
    Now,
}

/// With so many bytes of pages in the log, of which so many are folded in as far as is known.
fn fold(log: i64, folded_in: i64) -> Fold {
    // More than there are is said late, of a log that has begun anew.
    let is_of_this_log = folded_in <= log;
    let rest = log - if is_of_this_log { folded_in } else { 0 };
    let is_long = log >= LOG_LONG;
    if log >= LOG_MAX || is_long && rest <= REST_LITTLE {
        Fold::Now
    } else if is_long || rest >= ENOUGH {
        Fold::Beside
    } else {
        Fold::Later
    }
}

/// A full disk and a log that somebody else folds in are no failures: all of it stays in the log, and the next commit asks again.
fn fold_in(
    own: &Connection,
    asked: &mpsc::Receiver<()>,
    folded_in: &AtomicI32,
    failed: &watch::Sender<Option<String>>,
) {
    for () in asked {
        match own.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
            Ok((_, n_pages)) => folded_in.store(n_pages, Ordering::Relaxed),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            Err(error) if is_disk_full(&error) => {}
            Err(error) => {
                tracing::error!(%error, "the database cannot be trusted any more, stopping");
                failed.send_replace(Some(error.to_string()));
                return;
            }
        }
    }
}

/// So many new bytes in the log are folded in.
const ENOUGH: i64 = 16_000_000;

/// From so many on, the log should begin anew.
const LOG_LONG: i64 = 3 * ENOUGH;

/// So many delay a commit by little.
const REST_LITTLE: i64 = ENOUGH / 4;

/// With so many, commits wait, however much it is.
const LOG_MAX: i64 = 6 * ENOUGH;

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Commits about so many bytes, and comes back with what is in the database then, and with whether a close leaves the log.
    #[track_caller]
    fn committed(bytes: i64) -> (i64, bool) {
        let folder = TempDir::new().unwrap();
        let (database, _lock, mut writer) = Database::open(folder.path()).unwrap();
        // Otherwise SQLite would do it by itself.
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let (failed, failure) = watch::channel(None);
        let checkpointer = Checkpointer::start(&database, &mut writer, failed).unwrap();
        let n_rows = bytes / 8_000;
        writer
            .execute_batch(&format!(
                "CREATE TABLE noise (bytes BLOB);
                 WITH RECURSIVE row (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM row WHERE n < {n_rows})
                 INSERT INTO noise SELECT randomblob(8000) FROM row"
            ))
            .unwrap();
        // What it was asked for is done before it ends.
        checkpointer.stop(&mut writer);
        let path = super::super::database_in(folder.path());
        let folded_in = fs::metadata(&path).unwrap().len();
        drop(writer);
        assert_eq!(*failure.borrow(), None);
        let log = path.with_extension("sqlite-wal");
        (i64::try_from(folded_in).unwrap(), log.exists())
    }

    #[test]
    fn a_long_log_is_folded_in_and_a_short_one_left_alone() {
        let (folded_in, is_left) = committed(ENOUGH + 1_000_000);
        assert!(folded_in > ENOUGH && !is_left, "{folded_in} bytes");
        let (folded_in, is_left) = committed(ENOUGH / 2);
        assert!(folded_in < 1_000_000 && !is_left, "{folded_in} bytes");
    }

    #[track_caller]
    fn check(log: i64, folded_in: i64, want: Fold) {
        assert_eq!(fold(log, folded_in), want);
    }

    #[test]
    fn whoever_commits_folds_in_what_is_little_of_a_long_log() {
        let longer = LOG_LONG + ENOUGH / 2;
        check(ENOUGH - 1, 0, Fold::Later);
        check(ENOUGH, 0, Fold::Beside);
        check(LOG_LONG - 1, LOG_LONG - 1, Fold::Later);
        check(LOG_LONG, LOG_LONG - ENOUGH, Fold::Beside);
        check(longer, longer - REST_LITTLE - 1, Fold::Beside);
        check(longer, longer - REST_LITTLE, Fold::Now);
        check(LOG_MAX, 0, Fold::Now);
    }

    #[test]
    fn what_is_said_late_of_an_earlier_log_does_not_count() {
        check(ENOUGH, LOG_LONG, Fold::Beside);
        check(ENOUGH - 1, LOG_LONG, Fold::Later);
        check(LOG_LONG, LOG_LONG + 1, Fold::Beside);
    }
}
