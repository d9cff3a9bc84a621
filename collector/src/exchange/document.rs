//! What an import came to, as a document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokwatt_domain::metrics::Flag;

use super::foreign::{Labels, Value};
use crate::store::ImportRow;

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

/// `tokwatt.results/1`: a result file of another tool, and what could be read from it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Results {
    /// Name of the document.
    pub schema: String,
    /// What the file was called.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
    /// How long it is.
    pub bytes: u64,
    /// Which tool wrote it.
    pub tool: String,
    /// When it was imported, in µs since 1970.
    pub imported: i64,
    /// Who did it.
    pub imported_by: String,
    /// Whether it was imported by this call, and not before.
    pub is_new: bool,
    /// What was said about it.
    pub labels: Labels,
    /// In the order of the file.
    pub runs: Vec<ResultsRun>,
    /// What to know.
    pub notes: Vec<String>,
}

/// A run of a file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ResultsRun {
    /// Its id, by which `runs show` finds it.
    pub run: String,
    /// Where in the file.
    pub place: String,
    /// Of the tool, if the file says it.
    pub version: Option<String>,
    /// Where it was measured.
    pub device: String,
    /// What was asked.
    pub model: String,
    /// Of its weights.
    pub precision: String,
    /// Which engine answered.
    pub engine: String,
    /// What it was asked for.
    pub task: String,
    /// How requests were offered.
    pub load: String,
    /// `imported`, or `estimated` where the file says so.
    pub provenance: String,
    /// Every value that could be read.
    pub values: Vec<Value>,
    /// What makes them doubtful.
    pub flags: Vec<Flag>,
    /// Why something is absent.
    pub reasons: BTreeMap<String, String>,
}

impl Results {
    pub(super) fn new(
        import: &ImportRow,
        is_new: bool,
        labels: Labels,
        runs: Vec<ResultsRun>,
        notes: Vec<String>,
    ) -> Self {
        Self {
            schema: "tokwatt.results/1".to_owned(),
            file: import.name.clone(),
            sha256: import.sha256.to_string(),
            bytes: import.n_bytes,
            tool: import.tool.clone(),
            imported: import.imported.0,
            imported_by: import.by.clone(),
            is_new,
            labels,
            runs,
            notes,
        }
    }
}
