//! The books: how much of each stream is where, records with their places, and raw samples that give way to declared gaps.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use tokwatt_domain::ids::RunId;

use super::StoreError;

/// Everything of one life of a spool, by what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamAccount {
    /// Whose.
    pub device: String,
    /// Which life.
    pub epoch: i64,
    /// The watermark: so many were delivered.
    pub through: i64,
    /// Stored as they came, set aside or not.
    pub stored: i64,
    /// The same bytes are stored under another epoch.
    pub held: i64,
    /// Replaced by a declared gap.
    pub declared: i64,
    /// The last position that is stored.
    pub last: i64,
}

/// Where a record stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// Whose.
    pub device: String,
    /// In which life of its spool.
    pub epoch: i64,
    /// Its position.
    pub seq: i64,
}

/// A record as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredRecord {
    /// Where.
    pub place: Place,
    /// The run that it is part of.
    pub run: Option<RunId>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether they are a gap in the place of what was received.
    pub is_replaced: bool,
}

/// Bytes in the place of others.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Whose.
    pub place: Place,
    /// An encoded gap.
    pub gap: Vec<u8>,
}

/// What became of a run's raw power samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RawSamples {
    /// All that was delivered is here.
    Kept,
    /// Some of it is replaced by declared gaps, the rest will be.
    Going,
    /// All of it is replaced by declared gaps.
    Gone,
}

impl StreamAccount {
    /// Whether each delivered record is accounted for, once.
    pub fn is_balanced(&self) -> bool {
        self.through == self.stored + self.held + self.declared && self.last <= self.through
    }
}

impl RawSamples {
    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Going => "going",
            Self::Gone => "gone",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "going" => Self::Going,
            "gone" => Self::Gone,
            _ => Self::Kept,
        }
    }
}

/// What a replaced record is recognised by.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn stream_accounts(connection: &Connection) -> rusqlite::Result<Vec<StreamAccount>> {
    let mut statement = connection.prepare_cached(
        "SELECT stream.device, stream.epoch, through, held,
             count(seq) - count(replaced), count(replaced), coalesce(max(seq), 0)
         FROM stream LEFT JOIN record ON record.device = stream.device AND record.epoch = stream.epoch
         GROUP BY stream.device, stream.epoch ORDER BY stream.device, stream.epoch",
    )?;
    let accounts = statement.query_map([], |row| {
        Ok(StreamAccount {
            device: row.get(0)?,
            epoch: row.get(1)?,
            through: row.get(2)?,
            held: row.get(3)?,
            stored: row.get(4)?,
            declared: row.get(5)?,
            last: row.get(6)?,
        })
    })?;
    accounts.collect()
}

/// Records of a run that count, in the order of delivery.
pub(super) fn stored_records_of(
    connection: &Connection,
    run: RunId,
) -> rusqlite::Result<Vec<StoredRecord>> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RECORD} WHERE run = ?1 AND problem IS NULL ORDER BY epoch, seq"
    ))?;
    let records = statement.query_map(params![run.0], stored_record)?;
    records.collect()
}

/// Records of no run that count, after a place, at most [`PAGE`].
pub(super) fn records_of_no_run(
    connection: &Connection,
    after: &Place,
) -> rusqlite::Result<Vec<StoredRecord>> {
    page(connection, "run IS NULL AND problem IS NULL", after)
}

/// Records that nobody could read when they came, after a place, at most [`PAGE`].
pub(super) fn unread_records(
    connection: &Connection,
    after: &Place,
) -> rusqlite::Result<Vec<StoredRecord>> {
    page(connection, "run IS NULL AND problem IS NOT NULL", after)
}

/// All runs, by id.
pub(super) fn run_ids(connection: &Connection) -> rusqlite::Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached("SELECT id FROM run ORDER BY id")?;
    let runs = statement.query_map([], |row| row.get(0).map(RunId))?;
    runs.collect()
}

/// What SQLite finds wrong with its file, and rows that refer to none: records of no run that is there, too.
pub(super) fn damages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let verdicts = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut damages: Vec<String> = verdicts.collect::<rusqlite::Result<_>>()?;
    damages.retain(|verdict| verdict != "ok");
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let strays = statement.query_map([], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!("a row of `{table}` refers to none of `{parent}`"))
    })?;
    damages.extend(strays.collect::<rusqlite::Result<Vec<_>>>()?);
    let mut statement = connection.prepare(
        "SELECT run, count(*) FROM record
         WHERE run IS NOT NULL AND problem IS NULL AND run NOT IN (SELECT id FROM run) GROUP BY run",
    )?;
    let orphans = statement.query_map([], |row| {
        let (run, n_records): (_, i64) = (RunId(row.get(0)?), row.get(1)?);
        Ok(format!(
            "{n_records} records are of run {run}, which is not there"
        ))
    })?;
    damages.extend(orphans.collect::<rusqlite::Result<Vec<_>>>()?);
    Ok(damages)
}

/// Runs whose raw samples have been kept for long enough, oldest first. What an older collector measured counts from `now` on.
pub(super) fn runs_to_thin(
    connection: &Connection,
    now_us: i64,
    measured_before_us: i64,
) -> Result<Vec<RunId>, StoreError> {
    connection.execute(
        "UPDATE run SET measured_us = ?1 WHERE state = 'complete' AND raw_samples <> 'gone' AND measured_us IS NULL",
        [now_us],
    )?;
    let mut statement = connection.prepare_cached(
        "SELECT id FROM run WHERE state = 'complete' AND raw_samples <> 'gone' AND measured_us < ?1
             AND id NOT IN (SELECT run FROM import_run)
         ORDER BY measured_us, id",
    )?;
    let runs = statement.query_map([measured_before_us], |row| row.get(0).map(RunId))?;
    Ok(runs.collect::<rusqlite::Result<_>>()?)
}

/// Puts gaps in the place of some of a run's records.
pub(super) fn replace(
    connection: &Connection,
    run: RunId,
    replacements: &[Replacement],
    then: RawSamples,
) -> Result<(), StoreError> {
    for Replacement { place, gap } in replacements {
        let whose = params![place.device, place.epoch, place.seq];
        let received: Option<Vec<u8>> = connection
            .query_row(
                "SELECT received FROM record WHERE device = ?1 AND epoch = ?2 AND seq = ?3 AND replaced IS NULL",
                whose,
                |row| row.get(0),
            )
            .optional()?;
        let Some(received) = received else { continue };
        connection.execute(
            "UPDATE record SET received = ?4, replaced = ?5 WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
            params![place.device, place.epoch, place.seq, gap, digest(&received)],
        )?;
    }
    connection.execute(
        "UPDATE run SET raw_samples = ?2 WHERE id = ?1",
        params![run.0, then.as_str()],
    )?;
    Ok(())
}

fn page(
    connection: &Connection,
    condition: &str,
    after: &Place,
) -> rusqlite::Result<Vec<StoredRecord>> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RECORD} WHERE {condition} AND (device, epoch, seq) > (?1, ?2, ?3)
         ORDER BY device, epoch, seq LIMIT {PAGE}"
    ))?;
    let records =
        statement.query_map(params![after.device, after.epoch, after.seq], stored_record)?;
    records.collect()
}

fn stored_record(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord {
        place: Place {
            device: row.get(0)?,
            epoch: row.get(1)?,
            seq: row.get(2)?,
        },
        run: row.get::<_, Option<[u8; 16]>>(3)?.map(RunId),
        bytes: row.get(4)?,
        is_replaced: row.get(5)?,
    })
}

const SELECT_RECORD: &str =
    "SELECT device, epoch, seq, run, received, replaced IS NOT NULL FROM record";

/// Some MiB at a time.
const PAGE: usize = 100;
