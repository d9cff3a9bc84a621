//! Opens the database file: which SQLite, which pragmas, who else has it, and what to say when it will not open.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Params, ffi};

use super::{StoreError, migrations};

/// The collector's files in its data folder.
#[derive(Clone, Debug)]
pub(super) struct Database {
    path: PathBuf,
}

impl Database {
    /// Takes the folder for this process and returns the one connection that may write, its schema up to date.
    pub(super) fn open(folder: &Path) -> Result<(Self, File, Connection), StoreError> {
        let version = rusqlite::version_number();
        if version < OLDEST_SQLITE {
            return Err(StoreError::OldSqlite(version));
        }
        let lock = lock(folder)?;
        let database = Self {
            path: database_in(folder),
        };
        let connection = database.writer()?;
        Ok((database, lock, connection))
    }

    /// The file as it is, whoever has it; nothing in it is changed.
    pub(super) fn look_at(folder: &Path) -> Result<Self, StoreError> {
        let database = Self {
            path: folder.join(FILE_NAME),
        };
        if !database.path.is_file() {
            return Err(StoreError::NoDatabase {
                folder: folder.to_owned(),
            });
        }
        let connection = database.reader()?;
        migrations::check(&connection, &database.path).map_err(|error| match error {
            StoreError::Sqlite(error) => database.explain(error),
            error => error,
        })?;
        Ok(database)
    }

    /// A connection that cannot write.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.execute_batch(READER_PRAGMAS)?;
        Ok(connection)
    }

    /// A second connection that may write, beside the one that does.
    pub(super) fn beside(&self) -> Result<Connection, StoreError> {
        let connection = Connection::open(&self.path)?;
        connection.execute_batch(WRITER_PRAGMAS)?;
        Ok(connection)
    }

    fn writer(&self) -> Result<Connection, StoreError> {
        // A clean close removes the write-ahead log; one that is left tells of a crash.
        let was_unclean =
            fs::metadata(self.path.with_extension("sqlite-wal")).is_ok_and(|log| log.len() > 0);
        let opened = Connection::open(&self.path).and_then(|mut connection| {
            connection.execute_batch(WRITER_PRAGMAS)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            migrations::stamp(&mut connection)?;
            Ok(connection)
        });
        let mut connection = opened.map_err(|error| self.explain(error))?;
        if was_unclean {
            self.check(&connection)?;
        }
        migrations::migrate(&mut connection, &self.path)?;
        Ok(connection)
    }

    fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        tracing::info!("the last stop was not clean, checking the database");
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged {
            path: self.path.clone(),
            verdict,
        })
    }

    fn explain(&self, error: rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreError::NotADatabase { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::NotWritable {
                    path,
                    source: error.into(),
                }
            }
            _ => error.into(),
        }
    }
}

/// Executes a statement that comes again and again; it is parsed once.
pub(super) fn execute(
    connection: &Connection,
    statement: &str,
    values: impl Params,
) -> rusqlite::Result<usize> {
    connection.prepare_cached(statement)?.execute(values)
}

/// Whether SQLite could not for want of room on the disk. Its shared memory is a file, too, and has an error of its own.
pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
    let shared_memory = ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_error().map(|error| error.extended_code) == Some(shared_memory)
}

/// The file of the database in a data folder.
pub fn database_in(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// Two collectors on one folder would each believe that they alone write.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let not_writable = |source: std::io::Error| StoreError::NotWritable {
        path: folder.to_owned(),
        source: source.into(),
    };
    fs::create_dir_all(folder).map_err(not_writable)?;
    let lock = File::create(folder.join("collector.lock")).map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(not_writable(error)),
    }
}

/// Before 3.51.3 two connections that write and checkpoint at once could corrupt the file (sqlite.org, "WAL-reset bug").
const OLDEST_SQLITE: i32 = 3_051_003;

/// Statements that stay parsed: all of admission, and those of measuring that take turns with them.
const STATEMENTS_MAX: usize = 64;

const FILE_NAME: &str = "collector.sqlite";

/// Pages of 16 KiB, since a record is some KB or more; a file that was made with others keeps them.
/// FULL: an acknowledged record survives a power cut. Memory mapping stays off: corruption was reported with it.
/// 16 MiB hold the page of an index to which each of 1,000 devices writes in turn. What is noted in case a task fails stays in memory:
/// beyond 64 KiB that would be a file.
const WRITER_PRAGMAS: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA page_size = 16384;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA wal_autocheckpoint = 1000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;
    PRAGMA mmap_size = 0;";

const READER_PRAGMAS: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA query_only = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA mmap_size = 0;";
