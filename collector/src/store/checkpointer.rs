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
            match fold(n_pages, known.load(Ordering::Relaxed)) {
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

/// With so many pages in the log, of which so many are folded in as far as is known.
fn fold(n_pages: c_int, folded_in: c_int) -> Fold {
    // More than there are is said late, of a log that has begun anew.
    let is_of_this_log = folded_in <= n_pages;
    let rest = n_pages - if is_of_this_log { folded_in } else { 0 };
    let is_long = n_pages >= LOG_LONG;
    if n_pages >= LOG_MAX || is_long && rest <= REST_LITTLE {
        Fold::Now
    } else if is_long || rest >= PAGES {
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

/// So many new pages in the log are folded in: 16 MB.
const PAGES: c_int = 4_000;

/// From so many on, the log should begin anew.
const LOG_LONG: c_int = 3 * PAGES;

/// So many, 4 MB, delay a commit by little.
const REST_LITTLE: c_int = PAGES / 4;

/// With so many, commits wait, however much it is.
const LOG_MAX: c_int = 6 * PAGES;

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Commits about so many pages, and comes back with what is in the database then, and with what a close leaves of the log.
    #[track_caller]
    fn committed(n_pages: u64) -> (u64, bool) {
        let folder = TempDir::new().unwrap();
        let (database, _lock, mut writer) = Database::open(folder.path()).unwrap();
        // Otherwise SQLite would do it by itself.
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let (failed, failure) = watch::channel(None);
        let checkpointer = Checkpointer::start(&database, &mut writer, failed).unwrap();
        writer
            .execute_batch(&format!(
                "CREATE TABLE noise (bytes BLOB);
                 WITH RECURSIVE page (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM page WHERE n < {n_pages})
                 INSERT INTO noise SELECT randomblob(4000) FROM page"
            ))
            .unwrap();
        // What it was asked for is done before it ends.
        checkpointer.stop(&mut writer);
        let path = super::super::database_in(folder.path());
        let pages = fs::metadata(&path).unwrap().len() / 4096;
        drop(writer);
        assert_eq!(*failure.borrow(), None);
        (pages, path.with_extension("sqlite-wal").exists())
    }

    #[test]
    fn a_long_log_is_folded_in_and_a_short_one_left_alone() {
        let pages = u64::from(PAGES.unsigned_abs());
        let (folded_in, is_left) = committed(pages + 100);
        assert!(folded_in > pages && !is_left, "{folded_in} pages");
        let (folded_in, is_left) = committed(pages / 2);
        assert!(folded_in < 100 && !is_left, "{folded_in} pages");
    }

    #[track_caller]
    fn check(n_pages: c_int, folded_in: c_int, want: Fold) {
        assert_eq!(fold(n_pages, folded_in), want);
    }

    #[test]
    fn whoever_commits_folds_in_what_is_little_of_a_long_log() {
        let longer = LOG_LONG + 2_000;
        check(PAGES - 1, 0, Fold::Later);
        check(PAGES, 0, Fold::Beside);
        check(LOG_LONG - 1, LOG_LONG - 1, Fold::Later);
        check(LOG_LONG, LOG_LONG - PAGES, Fold::Beside);
        check(longer, longer - REST_LITTLE - 1, Fold::Beside);
        check(longer, longer - REST_LITTLE, Fold::Now);
        check(LOG_MAX, 0, Fold::Now);
    }

    #[test]
    fn what_is_said_late_of_an_earlier_log_does_not_count() {
        check(PAGES, LOG_LONG, Fold::Beside);
        check(PAGES - 1, LOG_LONG, Fold::Later);
        check(LOG_LONG, LOG_LONG + 1, Fold::Beside);
    }
}
