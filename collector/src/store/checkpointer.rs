//! Folds the write-ahead log into the database beside the writing: what a delivery waits for is its own commit.
//!
//! The log begins anew with the first commit that finds all of it folded in. Where commits follow each other without a pause that may not
//! happen, and the log grows; so the rest of a long log is folded in by whoever commits, which is little work then.

use std::{
    ffi::c_int,
    sync::mpsc,
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
        let mut asked_at = 0;
        writer.wal_hook(Some(move |log: &mut Wal, n_pages: c_int| {
            // Fewer than before: the log began anew.
            if n_pages < asked_at {
                asked_at = 0;
            }
            if n_pages - asked_at >= PAGES {
                asked_at = n_pages;
                // It may be at it, and have been asked already.
                let _asked = due.try_send(());
            }
            if n_pages >= PAGES_MAX {
                // The commit stands, whatever becomes of this.
                let _later = log.checkpoint_v2(CheckpointMode::PASSIVE);
            }
            Ok(())
        }))?;
        let thread = thread::Builder::new()
            .name("store-checkpointer".to_owned())
            .spawn(move || fold_in(&own, &asked, &failed))
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

/// A full disk and a log that somebody else folds in are no failures: all of it stays in the log, and the next commit asks again.
fn fold_in(own: &Connection, asked: &mpsc::Receiver<()>, failed: &watch::Sender<Option<String>>) {
    for () in asked {
        let Err(error) = own.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) else {
            continue;
        };
        let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
        if !is_busy && !is_disk_full(&error) {
            tracing::error!(%error, "the database cannot be trusted any more, stopping");
            failed.send_replace(Some(error.to_string()));
            return;
        }
    }
}

/// So many new pages in the log are folded in: 16 MB.
const PAGES: c_int = 4_000;

/// With so many, the next commit folds in the rest.
const PAGES_MAX: c_int = 4 * PAGES;

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
        writer
            .pragma_update(None, "wal_autocheckpoint", 0)
            .unwrap();
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
}
