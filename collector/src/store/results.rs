//! What was made of a run: its report, where it differs from the agent's, and the cache of its cell.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tokwatt_domain::{ids::RunId, time::WallTime};

use super::{StoreError, database::execute, index};

/// Reports of some runs of a cell, and the cell with these runs in it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of the same cell.
    pub runs: Vec<MeasuredRun>,
    /// Their cell.
    pub cell: CellRow,
    /// When.
    pub at: WallTime,
}

/// A run's report.
#[derive(Clone, Debug)]
pub struct MeasuredRun {
    /// Which run.
    pub run: RunId,
    /// Our RunReport as JSON.
    pub report: String,
    /// Keys in which the agent's report differs.
    pub differs: Vec<String>,
}

/// A configuration that was run, and what its repetitions come to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CellRow {
    /// SHA-256 of `name`.
    pub key: [u8; 32],
    /// On which device.
    pub device: String,
    /// Device, identity and configuration as JSON.
    pub name: String,
    /// Number of runs and the spread of every figure, as JSON.
    pub rollup: String,
    /// What ranking reads of its runs, packed.
    pub runs: Vec<u8>,
    /// Metric to the figures of its runs, packed.
    pub figures: BTreeMap<String, Vec<u8>>,
}

/// A cell of which other runs count than when it was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StaleCell {
    /// Its key.
    pub key: [u8; 32],
    /// How often that changed.
    pub n_changes: u32,
}

/// Moves runs from finished to complete.
pub(super) fn put_measured(connection: &Connection, measured: &Measured) -> Result<(), StoreError> {
    let mut n_new = 0;
    for run in &measured.runs {
        n_new += put_report(connection, measured, run)?;
    }
    if n_new == 0 {
        return Ok(());
    }
    put_cell(connection, &measured.cell)?;
    // A run that was complete already may be in the cell twice.
    let is_doubtful = n_new < measured.runs.len();
    // Whether a job's run counts may have been settled since the cell was computed.
    for run in &measured.runs {
        execute(
            connection,
            "INSERT INTO stale_cell (cell, n_changes) SELECT cell, 1 FROM run WHERE id = ?1 AND (job IS NOT NULL OR ?2)
             ON CONFLICT (cell) DO UPDATE SET n_changes = n_changes + 1",
            params![run.run.0, is_doubtful],
        )?;
    }
    Ok(())
}

/// How many runs that changed: one or none.
fn put_report(
    connection: &Connection,
    measured: &Measured,
    run: &MeasuredRun,
) -> Result<usize, StoreError> {
    let differs = serde_json::Value::from(run.differs.clone()).to_string();
    let changed = execute(
        connection,
        "UPDATE run SET state = 'complete', report = ?2, differs = ?3, cell = ?4,
             measured_us = coalesce(measured_us, ?5)
         WHERE id = ?1 AND state = 'finished'",
        params![
            run.run.0,
            run.report,
            differs,
            measured.cell.key,
            measured.at.0
        ],
    )?;
    Ok(changed)
}

/// Replaces a stale cell, or removes it if none of its runs counts.
pub(super) fn refresh_cell(
    connection: &Connection,
    stale: &StaleCell,
    cell: Option<&CellRow>,
) -> Result<(), StoreError> {
    match cell {
        Some(cell) => put_cell(connection, cell)?,
        None => {
            connection.execute("DELETE FROM cell WHERE key = ?1", params![stale.key])?;
            index::remove(connection, stale.key)?;
        }
    }
    execute(
        connection,
        "DELETE FROM stale_cell WHERE cell = ?1 AND n_changes = ?2",
        params![stale.key, stale.n_changes],
    )?;
    Ok(())
}

/// Moves a run from finished to unreadable.
pub(super) fn put_unreadable(
    connection: &Connection,
    run: RunId,
    problem: &str,
) -> Result<(), StoreError> {
    execute(
        connection,
        "UPDATE run SET state = 'unreadable', problem = ?2 WHERE id = ?1 AND state = 'finished'",
        params![run.0, problem],
    )?;
    Ok(())
}

/// Moves all runs from complete or unreadable to finished, but for those that cannot be measured again: so they will be.
pub(super) fn measure_again(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE run SET state = 'finished', problem = NULL, report = NULL, cell = NULL
         WHERE state IN ('complete', 'unreadable') AND raw_samples = 'kept'",
        [],
    )?;
    Ok(())
}

/// Empties the caches and fills them.
pub(super) fn replace_cells(connection: &Connection, cells: &[CellRow]) -> Result<(), StoreError> {
    connection.execute("DELETE FROM cell", [])?;
    index::clear(connection)?;
    cells.iter().try_for_each(|cell| put_cell(connection, cell))
}

fn put_cell(connection: &Connection, cell: &CellRow) -> Result<(), StoreError> {
    execute(
        connection,
        "INSERT INTO cell (key, device, name, rollup) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE SET rollup = excluded.rollup",
        params![cell.key, cell.device, cell.name, cell.rollup],
    )?;
    index::put(connection, cell)?;
    Ok(())
}
