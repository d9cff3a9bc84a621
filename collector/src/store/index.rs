//! The index of figures: written with each cell, and read as of one moment.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{CellRow, StoreError};

/// The index as of one moment.
#[derive(Debug)]
pub struct FigureIndex<'c> {
    moment: Transaction<'c>,
}

/// A cell in the index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IndexedRow {
    /// Its place in the index.
    pub number: i64,
    /// When it last changed, in changes of any cell.
    pub revision: i64,
    /// Device, identity and configuration as JSON; absent for one of which no run counts any more.
    pub name: Option<String>,
    /// What ranking reads of its runs.
    pub runs: Vec<u8>,
}

impl<'c> FigureIndex<'c> {
    pub(super) fn of(connection: &'c Connection) -> rusqlite::Result<Self> {
        let moment = connection.unchecked_transaction()?;
        Ok(Self { moment })
    }

    /// Cells that changed after a revision, in the order of their changes.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn changed_after(&self, revision: i64) -> Result<Vec<IndexedRow>, StoreError> {
        let mut statement = self.moment.prepare_cached(
            "SELECT number, revision, name, runs FROM indexed_cell LEFT JOIN cell ON cell.key = indexed_cell.cell
             WHERE revision > ?1 ORDER BY revision",
        )?;
        let rows = statement.query_map(params![revision], |row| {
            Ok(IndexedRow {
                number: row.get(0)?,
                revision: row.get(1)?,
                name: row.get(2)?,
                runs: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Packed figures of a metric, with the cell's position in `cells`, whose numbers grow.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn figures(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), StoreError> {
        let [Some(first), Some(last)] = [cells.first(), cells.last()] else {
            return Ok(());
        };
        let n_spanned = usize::try_from(last - first).unwrap_or(usize::MAX);
        match n_spanned / cells.len() < SPARSE {
            true => self.scan(metric, cells, take)?,
            false => self.look_up(metric, cells, take)?,
        }
        Ok(())
    }

    /// Names of cells, each as JSON.
    ///
    /// # Errors
    /// The database cannot be read, or one of them is no more.
    pub fn names(&self, cells: &[i64]) -> Result<Vec<String>, StoreError> {
        let mut statement = self.moment.prepare_cached(
            "SELECT name FROM indexed_cell JOIN cell ON cell.key = indexed_cell.cell WHERE number = ?1",
        )?;
        let names = cells
            .iter()
            .map(|number| statement.query_row(params![number], |row| row.get(0)));
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether any cell has figures of a metric.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has(&self, metric: &str) -> Result<bool, StoreError> {
        let mut statement = self
            .moment
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM figure WHERE metric = ?1)")?;
        Ok(statement.query_row(params![metric], |row| row.get(0))?)
    }

    /// Reads what lies between, too.
    fn scan(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> rusqlite::Result<()> {
        let mut statement = self.moment.prepare_cached(
            "SELECT cell, packed FROM figure WHERE metric = ?1 AND cell BETWEEN ?2 AND ?3 ORDER BY cell",
        )?;
        let mut rows = statement.query(params![metric, cells.first(), cells.last()])?;
        let mut wanted = cells.iter().enumerate().peekable();
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            while wanted.next_if(|(_, wanted)| **wanted < number).is_some() {}
            if let Some((position, _)) = wanted.next_if(|(_, wanted)| **wanted == number) {
                take(position, row.get_ref(1)?.as_blob()?);
            }
        }
        Ok(())
    }

    fn look_up(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> rusqlite::Result<()> {
        let mut statement = self
            .moment
            .prepare_cached("SELECT packed FROM figure WHERE metric = ?1 AND cell = ?2")?;
        for (position, number) in cells.iter().enumerate() {
            let mut rows = statement.query(params![metric, number])?;
            if let Some(row) = rows.next()? {
                take(position, row.get_ref(0)?.as_blob()?);
            }
        }
        Ok(())
    }
}

/// Replaces what is indexed of a cell.
pub(super) fn put(connection: &Connection, cell: &CellRow) -> rusqlite::Result<()> {
    let before = connection
        .prepare_cached("SELECT metrics FROM indexed_cell WHERE cell = ?1")?
        .query_row(params![cell.key], |row| row.get(0))
        .optional()?;
    let number: i64 = connection
        .prepare_cached(
            "INSERT INTO indexed_cell (cell, revision, runs, metrics)
             VALUES (?1, (SELECT coalesce(max(revision), 0) + 1 FROM indexed_cell), ?2, ?3)
             ON CONFLICT (cell) DO UPDATE SET revision = excluded.revision, runs = excluded.runs, metrics = excluded.metrics
             RETURNING number",
        )?
        .query_row(params![cell.key, cell.runs, list(&cell.figures)], |row| {
            row.get(0)
        })?;
    let mut put = connection.prepare_cached(
        "INSERT INTO figure (metric, cell, packed) VALUES (?1, ?2, ?3)
         ON CONFLICT (metric, cell) DO UPDATE SET packed = excluded.packed",
    )?;
    for (metric, packed) in &cell.figures {
        put.execute(params![metric, number, packed])?;
    }
    let mut forget =
        connection.prepare_cached("DELETE FROM figure WHERE metric = ?1 AND cell = ?2")?;
    for metric in listed(before) {
        if !cell.figures.contains_key(&metric) {
            forget.execute(params![metric, number])?;
        }
    }
    Ok(())
}

fn list(figures: &BTreeMap<String, Vec<u8>>) -> String {
    let metrics: Vec<&str> = figures.keys().map(String::as_str).collect();
    serde_json::Value::from(metrics).to_string()
}

/// Written by us as a list of texts.
fn listed(metrics: Option<String>) -> Vec<String> {
    metrics
        .and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default()
}

/// Leaves a cell without runs and figures.
pub(super) fn remove(connection: &Connection, key: [u8; 32]) -> rusqlite::Result<()> {
    let gone = CellRow {
        key,
        ..CellRow::default()
    };
    let is_there: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM indexed_cell WHERE cell = ?1)",
        params![key],
        |row| row.get(0),
    )?;
    if is_there {
        put(connection, &gone)
    } else {
        Ok(())
    }
}

/// Leaves all cells without runs and figures. Their places stay, so that whoever has read the index hears that they are empty.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM figure", [])?;
    // One by one, since two rows never have the same revision, not even in between.
    let mut statement =
        connection.prepare("SELECT number FROM indexed_cell ORDER BY revision DESC")?;
    let numbers: Vec<i64> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut empty = connection.prepare(
        "UPDATE indexed_cell SET runs = x'', metrics = '[]',
             revision = (SELECT max(revision) + 1 FROM indexed_cell) WHERE number = ?1",
    )?;
    for number in numbers {
        empty.execute(params![number])?;
    }
    Ok(())
}

/// The runs and figures of all cells, by the cell's key; those without runs are not there.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<BTreeMap<[u8; 32], Indexed>> {
    let mut indexed: BTreeMap<[u8; 32], Indexed> = BTreeMap::new();
    let mut keys: BTreeMap<i64, [u8; 32]> = BTreeMap::new();
    let mut statement = connection.prepare_cached("SELECT number, cell, runs FROM indexed_cell")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = row.get(1)?;
        keys.insert(row.get(0)?, key);
        indexed.entry(key).or_default().0 = row.get(2)?;
    }
    let mut statement = connection.prepare_cached("SELECT cell, metric, packed FROM figure")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(key) = keys.get(&row.get(0)?) {
            let figures = &mut indexed.entry(*key).or_default().1;
            figures.insert(row.get(1)?, row.get(2)?);
        }
    }
    Ok(indexed)
}

/// A cell's packed runs, and its packed figures by metric.
pub(super) type Indexed = (Vec<u8>, BTreeMap<String, Vec<u8>>);

/// So many cells between two that are wanted are passed over as fast as the next is looked up.
const SPARSE: usize = 8;
