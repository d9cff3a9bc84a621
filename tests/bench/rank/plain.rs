//! The same questions in plain SQL over the stored reports, as somebody would ask them who has the file and SQLite.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::questions::Question;

/// A connection of its own, with SQLite's own settings.
pub(crate) struct Plain(Connection);

impl Plain {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Ok(Self(Connection::open_with_flags(path, flags)?))
    }

    /// How many rows the answer has; `None` where there is nothing to ask.
    pub(crate) fn ask(&self, question: &Question) -> anyhow::Result<Option<usize>> {
        let Some(sql) = question.sql() else {
            return Ok(None);
        };
        let mut statement = self.0.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut n = 0;
        while rows.next()?.is_some() {
            n += 1;
        }
        Ok(Some(n))
    }
}
