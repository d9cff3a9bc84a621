//! Result files of other tools: their bytes, and the runs that they tell of.

use std::{
    fs::File,
    io::{Read, Seek},
};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokwatt_domain::{
    ids::{DeviceId, Digest, RunId},
    time::WallTime,
};

use super::StoreError;

/// A file to be kept, with what was read from it.
#[derive(Clone, Debug)]
pub struct NewImport {
    /// The file.
    pub import: ImportRow,
    /// In the order of the file.
    pub runs: Vec<NewImportedRun>,
}

/// A file that was imported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportRow {
    /// Of its bytes.
    pub sha256: Digest,
    /// What it was called.
    pub name: String,
    /// Which tool wrote it.
    pub tool: String,
    /// What was said about it, as JSON.
    pub labels: String,
    /// When.
    pub imported: WallTime,
    /// By whom.
    pub by: String,
    /// How long it is.
    pub n_bytes: u64,
}

/// A run of a file to be kept.
#[derive(Clone, Debug)]
pub struct NewImportedRun {
    /// Where it was measured.
    pub device: DeviceId,
    /// When it began.
    pub started: WallTime,
    /// RunHeader as JSON.
    pub header: String,
    /// Of what makes it the same run as one of another file.
    pub content: Digest,
    /// What else there is.
    pub row: ImportedRow,
}

/// A run of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportedRow {
    /// Its name.
    pub run: RunId,
    /// Where in the file.
    pub place: String,
    /// Of the tool, if the file says it.
    pub version: Option<String>,
    /// Every value, as JSON.
    pub figures: String,
    /// RunReport as JSON.
    pub report: String,
}

/// What became of a file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeptImport {
    /// Whether it was not here already.
    pub is_new: bool,
    /// Its runs that are not kept, since they are here.
    pub twice: Vec<Twice>,
}

/// A run that is here already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Twice {
    /// Which one of the new file.
    pub run: RunId,
    /// The one that counts.
    pub first: RunId,
    /// The file that the first is of.
    pub name: String,
}

/// Keeps a file and those of its runs that are not here yet, to be measured like those that were delivered.
pub(super) fn put_import(
    connection: &Connection,
    new: &NewImport,
    file: &mut File,
) -> Result<KeptImport, StoreError> {
    let import = &new.import;
    let n_bytes = i64::try_from(import.n_bytes).unwrap_or(i64::MAX);
    let n_new = connection.execute(
        "INSERT INTO import VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        params![
            import.sha256.0,
            import.name,
            import.tool,
            import.labels,
            import.imported.0,
            import.by,
            n_bytes
        ],
    )?;
    if n_new == 0 {
        return Ok(KeptImport::default());
    }
    put_bytes(connection, import.sha256, file)?;
    let mut twice = Vec::new();
    for (number, run) in (0_i64..).zip(&new.runs) {
        match first_of(connection, run.content)? {
            Some((first, name)) => twice.push(Twice {
                run: run.row.run,
                first,
                name,
            }),
            None => put_run(connection, import.sha256, number, run)?,
        }
    }
    Ok(KeptImport {
        is_new: true,
        twice,
    })
}

/// The run that says the same, and the file that it is of.
fn first_of(connection: &Connection, content: Digest) -> rusqlite::Result<Option<(RunId, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT import_run.run, import.name FROM import_run JOIN import USING (sha256) WHERE content = ?1",
    )?;
    let found = statement.query_row(params![content.0], |row| {
        Ok((RunId(row.get(0)?), row.get(1)?))
    });
    found.optional()
}

fn put_bytes(connection: &Connection, sha256: Digest, file: &mut File) -> Result<(), StoreError> {
    file.rewind().map_err(StoreError::File)?;
    let mut statement = connection.prepare_cached("INSERT INTO import_part VALUES (?1, ?2, ?3)")?;
    for place in 0_i64.. {
        let mut bytes = Vec::new();
        let piece = file.by_ref().take(PART_BYTES).read_to_end(&mut bytes);
        if piece.map_err(StoreError::File)? == 0 {
            break;
        }
        statement.execute(params![sha256.0, place, bytes])?;
    }
    Ok(())
}

fn put_run(
    connection: &Connection,
    sha256: Digest,
    number: i64,
    run: &NewImportedRun,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO device (id, agent_version) VALUES (?1, 'none') ON CONFLICT DO NOTHING",
        params![run.device.as_str()],
    )?;
    connection.execute(
        "INSERT INTO run (id, device, state, started_us, header) VALUES (?1, ?2, 'finished', ?3, ?4)",
        params![run.row.run.0, run.device.as_str(), run.started.0, run.header],
    )?;
    connection.execute(
        "INSERT INTO import_run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            run.row.run.0,
            sha256.0,
            number,
            run.row.place,
            run.row.version,
            run.row.figures,
            run.row.report,
            run.content.0
        ],
    )?;
    Ok(())
}

/// A file with its runs.
pub(super) fn import(
    connection: &Connection,
    sha256: Digest,
) -> rusqlite::Result<Option<(ImportRow, Vec<ImportedRow>)>> {
    let found = connection.query_row(
        &format!("{SELECT_IMPORT} WHERE sha256 = ?1"),
        params![sha256.0],
        import_row,
    );
    let Some(import) = found.optional()? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT run, place, version, figures, report FROM import_run WHERE sha256 = ?1 ORDER BY number",
    )?;
    let runs = statement.query_map(params![sha256.0], imported_row)?;
    Ok(Some((import, runs.collect::<Result<_, _>>()?)))
}

/// The file that a run is from, if it is from one.
pub(super) fn imported(
    connection: &Connection,
    run: RunId,
) -> rusqlite::Result<Option<(ImportRow, ImportedRow)>> {
    let found = connection.query_row(
        "SELECT run, place, version, figures, report, sha256 FROM import_run WHERE run = ?1",
        params![run.0],
        |row| Ok((imported_row(row)?, Digest(row.get(5)?))),
    );
    let Some((imported, sha256)) = found.optional()? else {
        return Ok(None);
    };
    let import = connection.query_row(
        &format!("{SELECT_IMPORT} WHERE sha256 = ?1"),
        params![sha256.0],
        import_row,
    )?;
    Ok(Some((import, imported)))
}

/// All files, by digest.
pub(super) fn imports(connection: &Connection) -> rusqlite::Result<Vec<ImportRow>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT_IMPORT} ORDER BY sha256"))?;
    let imports = statement.query_map([], import_row)?;
    imports.collect()
}

/// A piece of a file; `None` behind the last.
pub(super) fn import_part(
    connection: &Connection,
    sha256: Digest,
    place: i64,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let part = connection.query_row(
        "SELECT bytes FROM import_part WHERE sha256 = ?1 AND place = ?2",
        params![sha256.0, place],
        |row| row.get(0),
    );
    part.optional()
}

fn import_row(row: &Row<'_>) -> rusqlite::Result<ImportRow> {
    Ok(ImportRow {
        sha256: Digest(row.get(0)?),
        name: row.get(1)?,
        tool: row.get(2)?,
        labels: row.get(3)?,
        imported: WallTime(row.get(4)?),
        by: row.get(5)?,
        n_bytes: u64::try_from(row.get::<_, i64>(6)?).unwrap_or_default(),
    })
}

fn imported_row(row: &Row<'_>) -> rusqlite::Result<ImportedRow> {
    Ok(ImportedRow {
        run: RunId(row.get(0)?),
        place: row.get(1)?,
        version: row.get(2)?,
        figures: row.get(3)?,
        report: row.get(4)?,
    })
}

const SELECT_IMPORT: &str =
    "SELECT sha256, name, tool, labels, imported_us, imported_by, n_bytes FROM import";

/// So much of a file is in memory at a time.
const PART_BYTES: u64 = 1 << 20;
