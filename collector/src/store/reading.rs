//! What readers ask of the database.

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokwatt_domain::ids::{DeviceId, RunId};
use tokwatt_proto::identity::Role;

use super::{CellRow, CertificateRow, Labels, RawSamples, StaleCell, identities, index};

/// A run as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRow {
    /// Its name.
    pub run: RunId,
    /// Where it ran.
    pub device: String,
    /// How far it has come.
    pub state: State,
    /// What says how it began, once it is here.
    pub opening: Option<Opening>,
    /// Our RunReport as JSON, once it is complete.
    pub report: Option<String>,
    /// Keys in which the two differ.
    pub differs: Vec<String>,
    /// Why it is unreadable.
    pub problem: Option<String>,
    /// Whether it may stand on a board: false if it was made for a job of which another attempt counts, or none.
    pub counts: bool,
    /// What became of its raw power samples.
    pub raw_samples: RawSamples,
}

/// What says how a run began.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opening {
    /// A record of its device, as it was received.
    Record(Vec<u8>),
    /// RunHeader as JSON, of a run from another tool's file.
    Imported(String),
}

/// A measured run, as the ranking reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportRow {
    /// Our RunReport as JSON.
    pub report: String,
    /// Whether the agent's differs.
    pub differs: bool,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Not all of it is here.
    Open,
    /// All of it is here, and not measured yet.
    Finished,
    /// All of it is here, and its report is made from its trace.
    Complete,
    /// No report can be made from what was delivered.
    Unreadable,
}

/// A device and what it delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRow {
    /// Its name.
    pub device: String,
    /// Of the agent that last said hello.
    pub agent_version: String,
    /// DeviceProfile as JSON, once it was delivered.
    pub profile: Option<String>,
    /// Runs, in whatever state.
    pub n_runs: u32,
    /// Cells among its measured runs.
    pub n_cells: u32,
    /// Records that could not be used.
    pub n_set_aside: u32,
    /// Start of its latest run, in µs since 1970.
    pub last_started_us: Option<i64>,
    /// How far each life of its spool was delivered.
    pub streams: Vec<StreamRow>,
    /// What people call it.
    pub labels: Labels,
    /// Its latest certificate, if it is enrolled.
    pub certificate: Option<CertificateRow>,
}

/// How far one life of a spool was delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamRow {
    /// Which life.
    pub epoch: i64,
    /// Everything up to here is committed.
    pub through: i64,
    /// Of these, records that are stored once, under another epoch.
    pub held: i64,
}

/// A record that could not be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetAside {
    /// Whose.
    pub device: String,
    /// In which life of its spool.
    pub epoch: i64,
    /// Its position.
    pub seq: i64,
    /// Why.
    pub problem: String,
}

impl State {
    /// In the order in which a run comes to them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Finished, Self::Complete, Self::Unreadable];

    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Finished => "finished",
            Self::Complete => "complete",
            Self::Unreadable => "unreadable",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "finished" => Self::Finished,
            "complete" => Self::Complete,
            "unreadable" => Self::Unreadable,
            _ => Self::Open,
        }
    }
}

pub(super) fn unmeasured(connection: &Connection) -> rusqlite::Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM run WHERE state = 'finished' ORDER BY device, started_us, id",
    )?;
    let runs = statement.query_map([], |row| row.get(0).map(RunId))?;
    runs.collect()
}

/// States without a run are there, too.
pub(super) fn runs_by_state(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM run WHERE state = ?1")?;
    let mut count = |state: State| {
        let n = statement.query_row(params![state.as_str()], |row| row.get(0))?;
        Ok((state.as_str().to_owned(), n))
    };
    State::ALL.into_iter().map(&mut count).collect()
}

/// States without a job are left out.
pub(super) fn jobs_by_state(connection: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection
        .prepare_cached("SELECT state, count(*) FROM job GROUP BY state ORDER BY state")?;
    let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    counts.collect()
}

/// Which migration the file is at.
pub(super) fn schema(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn records_of(connection: &Connection, run: RunId) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = connection.prepare_cached(
        "SELECT received FROM record WHERE run = ?1 AND problem IS NULL ORDER BY epoch, seq",
    )?;
    let records = statement.query_map(params![run.0], |row| row.get(0))?;
    records.collect()
}

pub(super) fn fold_runs<T>(
    connection: &Connection,
    start: T,
    next: impl FnMut(T, RunRow) -> T,
) -> rusqlite::Result<T> {
    let mut statement =
        connection.prepare_cached(&format!("{SELECT_RUN} ORDER BY started_us DESC, id DESC"))?;
    let mut runs = statement.query_map([], run_row)?;
    let mut next = next;
    runs.try_fold(start, |so_far, run| Ok(next(so_far, run?)))
}

pub(super) fn latest_runs(
    connection: &Connection,
    device: Option<&DeviceId>,
    left_out: usize,
    most: usize,
) -> rusqlite::Result<Vec<RunRow>> {
    let of = device.map_or("", |_| "WHERE device = ?1");
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RUN} {of} ORDER BY started_us DESC, id DESC LIMIT ?2 OFFSET ?3"
    ))?;
    let device = device.map(DeviceId::as_str);
    let [most, left_out] = [most, left_out].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let runs = statement.query_map(params![device, most, left_out], run_row)?;
    runs.collect()
}

pub(super) fn runs_named(connection: &Connection, part: &str) -> rusqlite::Result<Vec<RunRow>> {
    let begin_so = runs_that_begin(connection, part)?;
    if !begin_so.is_empty() {
        return Ok(begin_so);
    }
    // Every id is looked at, in the index that holds nothing else.
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RUN} WHERE id IN (SELECT id FROM run WHERE hex(id) LIKE '%' || ?1) ORDER BY id"
    ))?;
    let runs = statement.query_map([part], run_row)?;
    runs.collect()
}

fn runs_that_begin(connection: &Connection, so: &str) -> rusqlite::Result<Vec<RunRow>> {
    // All ids that begin so lie next to each other.
    let bounds = [format!("{so:0<32}"), format!("{so:f<32}")];
    let [Ok(first), Ok(last)] = bounds.map(|bound| RunId::parse(&bound)) else {
        return Ok(Vec::new());
    };
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT_RUN} WHERE id BETWEEN ?1 AND ?2 ORDER BY id"
    ))?;
    let runs = statement.query_map(params![first.0, last.0], run_row)?;
    runs.collect()
}

pub(super) fn run_row_of(connection: &Connection, run: RunId) -> rusqlite::Result<Option<RunRow>> {
    let row = connection.query_row(
        &format!("{SELECT_RUN} WHERE id = ?1"),
        params![run.0],
        run_row,
    );
    row.optional()
}

pub(super) fn devices(connection: &Connection) -> rusqlite::Result<Vec<DeviceRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, agent_version, profile,
             (SELECT count(*) FROM run WHERE run.device = device.id),
             (SELECT count(*) FROM cell WHERE cell.device = device.id),
             (SELECT count(*) FROM record WHERE record.device = device.id AND problem IS NOT NULL),
             (SELECT max(started_us) FROM run WHERE run.device = device.id)
         FROM device ORDER BY id",
    )?;
    let devices = statement.query_map([], |row| {
        let device: String = row.get(0)?;
        Ok(DeviceRow {
            streams: streams(connection, &device)?,
            labels: identities::labels(connection, &device)?,
            certificate: identities::latest_certificate(connection, Role::Device, &device)?,
            device,
            agent_version: row.get(1)?,
            profile: row.get(2)?,
            n_runs: row.get(3)?,
            n_cells: row.get(4)?,
            n_set_aside: row.get(5)?,
            last_started_us: row.get(6)?,
        })
    })?;
    devices.collect()
}

pub(super) fn set_aside(connection: &Connection) -> rusqlite::Result<Vec<SetAside>> {
    let mut statement = connection.prepare_cached(
        "SELECT device, epoch, seq, problem FROM record WHERE problem IS NOT NULL
         ORDER BY device, epoch, seq",
    )?;
    let records = statement.query_map([], |row| {
        Ok(SetAside {
            device: row.get(0)?,
            epoch: row.get(1)?,
            seq: row.get(2)?,
            problem: row.get(3)?,
        })
    })?;
    records.collect()
}

pub(super) fn reports(connection: &Connection) -> rusqlite::Result<Vec<ReportRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT report, differs <> '[]' FROM run
         WHERE state = 'complete' AND id NOT IN (SELECT run FROM uncounted_run) ORDER BY id",
    )?;
    let reports = statement.query_map([], report_row)?;
    reports.collect()
}

fn report_row(row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    Ok(ReportRow {
        report: row.get(0)?,
        differs: row.get(1)?,
    })
}

pub(super) fn reports_of_cell(
    connection: &Connection,
    key: [u8; 32],
) -> rusqlite::Result<Vec<ReportRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT report, differs <> '[]' FROM run
         WHERE cell = ?1 AND id NOT IN (SELECT run FROM uncounted_run) ORDER BY id",
    )?;
    let reports = statement.query_map(params![key], report_row)?;
    reports.collect()
}

pub(super) fn cells(connection: &Connection) -> rusqlite::Result<Vec<CellRow>> {
    let mut indexed = index::all(connection)?;
    let mut statement =
        connection.prepare_cached("SELECT key, device, name, rollup FROM cell ORDER BY key")?;
    let cells = statement.query_map([], |row| {
        let key = row.get(0)?;
        let (runs, figures) = indexed.remove(&key).unwrap_or_default();
        Ok(CellRow {
            key,
            device: row.get(1)?,
            name: row.get(2)?,
            rollup: row.get(3)?,
            runs,
            figures,
        })
    })?;
    cells.collect()
}

pub(super) fn stale_cells(connection: &Connection) -> rusqlite::Result<Vec<StaleCell>> {
    let mut statement =
        connection.prepare_cached("SELECT cell, n_changes FROM stale_cell ORDER BY cell")?;
    let cells = statement.query_map([], |row| {
        Ok(StaleCell {
            key: row.get(0)?,
            n_changes: row.get(1)?,
        })
    })?;
    cells.collect()
}

pub(super) fn cell_of(connection: &Connection, run: RunId) -> rusqlite::Result<Option<String>> {
    let rollup = connection.query_row(
        "SELECT cell.rollup FROM run JOIN cell ON cell.key = run.cell WHERE run.id = ?1",
        params![run.0],
        |row| row.get(0),
    );
    rollup.optional()
}

fn streams(connection: &Connection, device: &str) -> rusqlite::Result<Vec<StreamRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT epoch, through, held FROM stream WHERE device = ?1 ORDER BY epoch",
    )?;
    let streams = statement.query_map(params![device], |row| {
        Ok(StreamRow {
            epoch: row.get(0)?,
            through: row.get(1)?,
            held: row.get(2)?,
        })
    })?;
    streams.collect()
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let state: String = row.get(2)?;
    let differs: Option<String> = row.get(6)?;
    let imported: Option<String> = row.get(3)?;
    let record: Option<Vec<u8>> = row.get(4)?;
    Ok(RunRow {
        run: RunId(row.get(0)?),
        device: row.get(1)?,
        state: State::parse(&state),
        opening: record
            .map(Opening::Record)
            .or(imported.map(Opening::Imported)),
        report: row.get(5)?,
        // Written by us as a list of texts.
        differs: differs
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or_default(),
        problem: row.get(7)?,
        counts: row.get(8)?,
        raw_samples: RawSamples::parse(&row.get::<_, String>(9)?),
    })
}

const SELECT_RUN: &str = "SELECT id, device, state, header,
         (SELECT received FROM record
          WHERE record.device = run.device AND epoch = opened_epoch AND seq = opened_seq),
         report, differs, problem,
         id NOT IN (SELECT run FROM uncounted_run), raw_samples FROM run";
