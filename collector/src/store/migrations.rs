//! Brings a database file to the schema that this program knows, one migration after the other.

use std::{cmp::Ordering, path::Path};

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// Marks an empty file as ours; a file of another program is left alone.
pub(super) fn stamp(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], first)?;
    if tables == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.commit()
}

/// Applies what is missing, all of it or nothing.
///
/// # Errors
/// The file belongs to another program or to a newer collector.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i64 =
        transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(StoreError::NotOurs {
            path: path.to_owned(),
        });
    }
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let missing = MIGRATIONS.get(found..).ok_or_else(|| StoreError::Newer {
        path: path.to_owned(),
        found,
        known: MIGRATIONS.len(),
    })?;
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()?;
    Ok(())
}

/// Whether the file is one of ours, of the schema that we know.
///
/// # Errors
/// It belongs to another program, to a newer collector, or to an older one and was not migrated yet.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(StoreError::NotOurs {
            path: path.to_owned(),
        });
    }
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let path = path.to_owned();
    match found.cmp(&SCHEMA) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(StoreError::Older {
            path,
            found,
            known: SCHEMA,
        }),
        Ordering::Greater => Err(StoreError::Newer {
            path,
            found: usize::try_from(found).unwrap_or(usize::MAX),
            known: MIGRATIONS.len(),
        }),
    }
}

fn first(row: &rusqlite::Row<'_>) -> rusqlite::Result<i64> {
    row.get(0)
}

/// In the order in which they are applied; `user_version` counts those that were. Never edited once released.
const MIGRATIONS: [&str; SCHEMA as usize] = [
    include_str!("../../migrations/sqlite/0001_delivered_and_measured.sql"),
    include_str!("../../migrations/sqlite/0002_identities.sql"),
    include_str!("../../migrations/sqlite/0003_campaigns.sql"),
    include_str!("../../migrations/sqlite/0004_accounts.sql"),
    include_str!("../../migrations/sqlite/0005_index_of_figures.sql"),
    include_str!("../../migrations/sqlite/0006_imported.sql"),
    include_str!("../../migrations/sqlite/0007_agents_report.sql"),
    include_str!("../../migrations/sqlite/0008_by_device.sql"),
    include_str!("../../migrations/sqlite/0009_opening.sql"),
];

/// What `user_version` is when all are applied.
const SCHEMA: u32 = 9;

/// `tokw` in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x746f_6b77;

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    #[test]
    fn an_empty_file_and_a_current_one_come_to_the_same_schema() {
        let mut connection = Connection::open_in_memory().unwrap();
        for _ in 0..2 {
            stamp(&mut connection).unwrap();
            migrate(&mut connection, Path::new("x")).unwrap();
            assert_eq!(
                tables(&connection),
                [
                    "campaign",
                    "cell",
                    "certificate",
                    "device",
                    "device_label",
                    "figure",
                    "import",
                    "import_part",
                    "import_run",
                    "indexed_cell",
                    "job",
                    "job_run",
                    "offer",
                    "record",
                    "run",
                    "stale_cell",
                    "stream",
                    "token",
                ]
            );
        }
    }

    #[test]
    fn rows_survive_a_second_opening() {
        let mut connection = Connection::open_in_memory().unwrap();
        stamp(&mut connection).unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        connection
            .execute("INSERT INTO device VALUES ('lab-1', '1.0.0', NULL)", [])
            .unwrap();
        stamp(&mut connection).unwrap();
        migrate(&mut connection, Path::new("x")).unwrap();
        let devices: i64 = connection
            .query_row("SELECT count(*) FROM device", [], first)
            .unwrap();
        assert_eq!(devices, 1);
    }

    #[test]
    fn a_newer_schema_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        stamp(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }));
        assert!(tables(&connection).is_empty());
    }

    #[test]
    fn another_programs_database_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE song (name)")
            .unwrap();
        stamp(&mut connection).unwrap();
        let error = migrate(&mut connection, Path::new("x")).unwrap_err();
        assert!(matches!(error, StoreError::NotOurs { .. }));
        assert_eq!(tables(&connection), ["song"]);
    }
}
