//! What an import came to, as a document.

use serde::{Deserialize, Serialize};

/// `tokwatt.import/1`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Import {
    /// Name of the document.
    pub schema: String,
    /// Whose records.
    pub device: String,
    /// Of which life of its spool.
    pub epoch: u64,
    /// Records in the export.
    pub records: u64,
    /// Of these, those that were new.
    pub stored: u64,
    /// Of the new ones, those that cannot be used. They are kept.
    pub set_aside: Vec<SetAside>,
    /// Runs that they finished.
    pub finished_runs: u64,
    /// Everything of the epoch up to this record is committed.
    pub through: u64,
}

/// A record that cannot be used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SetAside {
    /// Its place.
    pub seq: u64,
    /// Why.
    pub problem: String,
}

impl Import {
    pub(super) const SCHEMA: &str = "tokwatt.import/1";
}
