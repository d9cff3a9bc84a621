//! A copy of the database, made while it is written, and what a copy holds.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{StoreError, database::database_in, migrations::APPLICATION_ID};

/// What a database holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holdings {
    /// Devices that said hello.
    pub n_devices: i64,
    /// Runs, in whatever state.
    pub n_runs: i64,
    /// Records.
    pub n_records: i64,
    /// How far each life of each device's spool was delivered, by device and epoch.
    pub streams: Vec<Delivered>,
}

/// How far one life of a device's spool was delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// Whose.
    pub device: String,
    /// Which life.
    pub epoch: i64,
    /// Everything up to here is in.
    pub through: i64,
}

/// Writes the database of the data folder as it is now to a new file. Deliveries go on meanwhile: what they commit is not in the copy.
///
/// The copy has not reached the disk when this returns.
///
/// # Errors
/// There is no tokwatt database, or no room.
pub fn copy(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let source = open(&database_in(folder))?;
    // One snapshot, however long it takes, while page by page would begin again after each commit of the collector.
    let name = file.to_str().ok_or_else(|| StoreError::NotWritable {
        path: file.to_owned(),
        source: "its name is not UTF-8".into(),
    })?;
    source.execute("VACUUM INTO ?1", params![name])?;
    Ok(())
}

/// What a database that nobody writes holds, after every page of it was looked at.
///
/// # Errors
/// It is damaged, or not ours.
pub fn verify(file: &Path) -> Result<Holdings, StoreError> {
    let copy = open(file)?;
    let damaged = |verdict| StoreError::Damaged {
        path: file.to_owned(),
        verdict,
    };
    let verdict: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    let n_orphans: i64 =
        copy.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })?;
    if n_orphans > 0 {
        return Err(damaged(format!("{n_orphans} rows belong to nothing")));
    }
    Ok(holdings(&copy)?)
}

/// What the database of a data folder holds now.
///
/// # Errors
/// There is no tokwatt database.
pub fn holdings_in(folder: &Path) -> Result<Holdings, StoreError> {
    Ok(holdings(&open(&database_in(folder))?)?)
}

fn holdings(connection: &Connection) -> rusqlite::Result<Holdings> {
    let count = |table: &str| {
        let query = format!("SELECT count(*) FROM {table}");
        connection.query_row(&query, [], |row| row.get(0))
    };
    // In one snapshot, so that they are of one moment.
    connection.execute_batch("BEGIN")?;
    let holdings = Holdings {
        n_devices: count("device")?,
        n_runs: count("run")?,
        n_records: count("record")?,
        streams: streams(connection)?,
    };
    connection.execute_batch("COMMIT")?;
    Ok(holdings)
}

fn streams(connection: &Connection) -> rusqlite::Result<Vec<Delivered>> {
    let mut statement =
        connection.prepare("SELECT device, epoch, through FROM stream ORDER BY device, epoch")?;
    let streams = statement.query_map([], |row| {
        Ok(Delivered {
            device: row.get(0)?,
            epoch: row.get(1)?,
            through: row.get(2)?,
        })
    })?;
    streams.collect()
}

/// Opens what is there and ours, and makes nothing.
fn open(file: &Path) -> Result<Connection, StoreError> {
    let explain = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotADatabase {
            path: file.to_owned(),
        },
        _ => StoreError::from(error),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(explain)?;
    connection.execute_batch(PRAGMAS).map_err(explain)?;
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0));
    let application: i64 = application.map_err(explain)?;
    if application != APPLICATION_ID {
        return Err(StoreError::NotOurs {
            path: file.to_owned(),
        });
    }
    Ok(connection)
}

/// Not `query_only`: it would forbid the copy, too.
const PRAGMAS: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA mmap_size = 0;";
