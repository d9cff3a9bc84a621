//! Everything that a database holds, read by SQLite itself, so that two of them can be compared.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fmt::Write,
    hash::{Hash, Hasher},
    path::Path,
};

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

/// All rows of all tables, by the device that they are of; those of none under an empty name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rows(BTreeMap<String, Vec<String>>);

impl Rows {
    /// Of a file that is open elsewhere in this process.
    ///
    /// # Errors
    /// SQLite finds it corrupt, or a row that points to nothing.
    pub(crate) fn read_sound(path: &Path) -> Result<Self, String> {
        let read = || {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let verdict: String =
                connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            let n_strays: i64 = connection.query_row(
                "SELECT count(*) FROM pragma_foreign_key_check",
                [],
                |row| row.get(0),
            )?;
            Ok((verdict, n_strays, Self::of(&connection)?))
        };
        let (verdict, n_strays, rows) =
            read().map_err(|error: rusqlite::Error| error.to_string())?;
        match (verdict.as_str(), n_strays) {
            ("ok", 0) => Ok(rows),
            ("ok", _) => Err(format!("{n_strays} rows point to nothing")),
            _ => Err(verdict),
        }
    }

    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut rows = Self::default();
        let mut tables = connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?;
        let tables = tables.query_map([], |row| row.get(0))?;
        for table in tables.collect::<rusqlite::Result<Vec<String>>>()? {
            rows.add_table(connection, &table)?;
        }
        for rows in rows.0.values_mut() {
            rows.sort_unstable();
        }
        Ok(rows)
    }

    fn add_table(&mut self, connection: &Connection, table: &str) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let owner = match table {
            "device" => "id",
            _ => "device",
        };
        let owner = columns.iter().position(|column| *column == owner);
        let n_columns = columns.len();
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let owner = owner.map(|owner| row.get(owner)).transpose()?;
            let text = text(table, row, n_columns)?;
            self.0
                .entry(owner.unwrap_or_default())
                .or_default()
                .push(text);
        }
        Ok(())
    }

    /// Those of one table.
    pub(crate) fn table(&self, name: &str) -> Vec<&str> {
        let rows = self.0.values().flatten().map(String::as_str);
        let of_table = |row: &&str| row.split('|').next() == Some(name);
        rows.filter(of_table).collect()
    }

    /// Whether each device's rows are those of one or the other.
    pub(crate) fn is_mixture_of(&self, one: &Self, other: &Self) -> bool {
        let rows = |of: &'_ Self, device: &str| of.0.get(device).cloned().unwrap_or_default();
        let devices = [self, one, other]
            .into_iter()
            .flat_map(|rows| rows.0.keys());
        { devices }.all(|device| {
            let found = rows(self, device);
            found == rows(one, device) || found == rows(other, device)
        })
    }
}

/// A row in a line: what is long is told by its hash.
fn text(table: &str, row: &Row<'_>, n_columns: usize) -> rusqlite::Result<String> {
    let mut text = table.to_owned();
    for column in 0..n_columns {
        let written = match row.get_ref(column)? {
            ValueRef::Null => write!(text, "|"),
            ValueRef::Integer(number) => write!(text, "|{number}"),
            ValueRef::Real(number) => write!(text, "|{number}"),
            ValueRef::Text(bytes) if bytes.len() <= 40 => {
                write!(text, "|{}", String::from_utf8_lossy(bytes))
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                write!(text, "|{} bytes {:016x}", bytes.len(), hash(bytes))
            }
        };
        written.expect("a text takes any other");
    }
    Ok(text)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
