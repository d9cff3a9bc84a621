//! What was made of a run: its report, where it differs from the agent's, and its line in the cache.

use rusqlite::{Connection, params};
use tokwatt_domain::ids::RunId;

use super::StoreError;

/// A run's report and its place in the cache.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which run.
    pub run: RunId,
    /// Our RunReport as JSON.
    pub report: String,
    /// Keys in which the agent's report differs.
    pub differs: Vec<String>,
    /// Its cell.
    pub cell: CellRow,
    /// What this repetition came to, as JSON.
    pub figures: String,
}

/// A configuration that was run.
#[derive(Clone, Debug)]
pub struct CellRow {
    /// SHA-256 of `keys`.
    pub key: [u8; 32],
    /// On which device.
    pub device: String,
    /// Identity and configuration as a JSON object of key to text.
    pub keys: String,
}

/// A repetition with its cell, as the ranking reads them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RepetitionRow {
    /// Which run.
    pub run: RunId,
    /// Keys of its cell, as in [`CellRow::keys`].
    pub keys: String,
    /// What it came to, as JSON.
    pub figures: String,
}

/// Moves a run from finished to measured.
pub(super) fn put_measured(
    connection: &Connection,
    measured: &Measured,
) -> Result<(), StoreError> {
    let differs = serde_json::Value::from(measured.differs.clone()).to_string();
    let changed = connection.execute(
        "UPDATE run SET state = 'measured', report = ?2, differs = ?3
         WHERE id = ?1 AND state = 'finished'",
        params![measured.run.0, measured.report, differs],
    )?;
    if changed == 0 {
        return Ok(());
    }
    put_repetition(connection, measured.run, &measured.cell, &measured.figures)
}

/// Moves a run from finished to unreadable.
pub(super) fn put_unreadable(
    connection: &Connection,
    run: RunId,
    problem: &str,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE run SET state = 'unreadable', problem = ?2 WHERE id = ?1 AND state = 'finished'",
        params![run.0, problem],
    )?;
    Ok(())
}

/// Empties the cache and fills it.
pub(super) fn replace_cells(
    connection: &Connection,
    rows: &[(RunId, CellRow, String)],
) -> Result<(), StoreError> {
    connection.execute_batch("DELETE FROM repetition; DELETE FROM cell;")?;
    rows.iter()
        .try_for_each(|(run, cell, figures)| put_repetition(connection, *run, cell, figures))
}

fn put_repetition(
    connection: &Connection,
    run: RunId,
    cell: &CellRow,
    figures: &str,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO cell (key, device, keys) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![cell.key, cell.device, cell.keys],
    )?;
    connection.execute(
        "INSERT INTO repetition (run, cell, figures) VALUES (?1, ?2, ?3)",
        params![run.0, cell.key, figures],
    )?;
    Ok(())
}
