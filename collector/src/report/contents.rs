//! `report.json`: the names of a report's files, by which a folder is known to be a report.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a folder consists of, but for this itself.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Contents {
    schema: String,
    /// Their paths.
    pub(crate) files: BTreeSet<String>,
}

impl Contents {
    /// Where it stands in the folder.
    pub(crate) const PATH: &str = "report.json";

    /// Of such files.
    pub(crate) fn of(files: BTreeSet<String>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            files,
        }
    }

    /// As it is written.
    pub(crate) fn text(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec_pretty(self)
    }

    /// Reads one; anything else is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let contents = serde_json::from_slice::<Self>(text).ok();
        contents.filter(|contents| contents.schema == SCHEMA)
    }
}

const SCHEMA: &str = "tokwatt.report/1";
