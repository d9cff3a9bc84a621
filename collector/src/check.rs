//! Whether the database is what it says: the file, the books, every record, every report, the cache of cells.
//!
//! Read-only and beside a running collector, if need be; each run is looked at as of one moment. [`rebuild`] makes anew what can be
//! made anew, and needs the folder for itself.

mod accounts;
mod document;
mod imports;
mod published;
mod rebuild;

use tokwatt_domain::ids::DeviceId;
use tokwatt_proto::{Record, accounts as accounts_of};

use crate::{
    ingest::content,
    rollup::{self, RollupError},
    store::{Content, Opening, Place, RawSamples, RunRow, State, Store, StoreError, StoredRecord},
};

pub use self::{
    document::{Balance, Check, Finding, RunCounts, SetAsideRecord, StreamCounts},
    published::{Judged, PublishedCheck, Verdict, check_published},
    rebuild::{Rebuilt, rebuild},
};

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store could not.
    #[error("cannot read the database")]
    Store(#[from] StoreError),
    /// The roll-up could not.
    #[error("cannot roll up")]
    Rollup(#[from] RollupError),
}

/// Looks at everything.
///
/// # Errors
/// The database cannot be read. What is wrong with it is a finding, not an error.
pub async fn check(store: &Store) -> Result<Check, CheckError> {
    let mut check = Check::new();
    for damage in store.damages().await? {
        check.find("file", "the database", damage, RESTORE);
    }
    accounts::of_streams(store, &mut check).await?;
    records_of_no_run(store, &mut check).await?;
    imports::of_files(store, &mut check).await?;
    for run in store.run_ids().await? {
        if let Some((_, imported)) = store.imported(run).await? {
            if let Some((row, _)) = store.run_with_records(run).await? {
                imports::look_at_run(&mut check, &row, &imported);
            }
            continue;
        }
        if let Some((row, records)) = store.run_with_records(run).await? {
            look_at_run(&mut check, &row, &records);
        }
    }
    look_at_cells(store, &mut check).await?;
    for record in store.set_aside().await? {
        check.set_aside.push(SetAsideRecord::new(record));
    }
    Ok(check)
}

async fn records_of_no_run(store: &Store, check: &mut Check) -> Result<(), CheckError> {
    let mut after = Place::default();
    loop {
        let records = store.records_of_no_run(after).await?;
        let Some(last) = records.last() else {
            return Ok(());
        };
        after = last.place.clone();
        for record in &records {
            check.n_records += 1;
            match Record::decode(&record.bytes) {
                Ok(record) if record.run().is_none() => {}
                Ok(_) => check.find_in_record(record, "it is of a run, and its row of none"),
                Err(error) => check.find_in_record(record, &error.to_string()),
            }
        }
    }
}

fn look_at_run(check: &mut Check, row: &RunRow, stored: &[StoredRecord]) {
    check.runs.count(row);
    check.n_records += stored.len() as u64;
    let mut records = Vec::new();
    for record in stored {
        match Record::decode(&record.bytes) {
            Ok(decoded) => {
                if let Some(problem) = contradiction(row, record, &decoded) {
                    check.find_in_record(record, &problem);
                }
                records.push(decoded);
            }
            Err(error) => check.find_in_record(record, &error.to_string()),
        }
    }
    match row.state {
        State::Open | State::Finished => {}
        State::Unreadable => {
            let problem = row.problem.clone().unwrap_or_default();
            check.find("runs", named(row), problem, READ_AGAIN);
        }
        State::Complete => look_at_complete_run(check, row, records),
    }
}

fn look_at_complete_run(check: &mut Check, row: &RunRow, records: Vec<Record>) {
    for account in accounts_of(&records) {
        check.add(&account);
        if !account.is_balanced() {
            let problem = accounts::imbalance(&account);
            check.find("accounts", named(row), problem, RESTORE);
        }
    }
    if row.raw_samples != RawSamples::Kept {
        return;
    }
    match rollup::report_of(records) {
        Ok(report) if Some(&report) == row.report.as_ref() => {}
        Ok(_) => check.find(
            "reports",
            named(row),
            "its report is not what its trace comes to".to_owned(),
            REBUILD,
        ),
        Err(problem) => check.find("reports", named(row), problem, RESTORE),
    }
}

/// Where a record says something else than its row and its run's.
fn contradiction(row: &RunRow, stored: &StoredRecord, record: &Record) -> Option<String> {
    if record.run() != Some(row.run) {
        return Some(format!("its row says that it is of run {}", row.run));
    }
    if stored.place.device != row.device {
        return Some(format!("its run is of device `{}`", row.device));
    }
    let is_gap = matches!(record, Record::Gap { .. });
    if stored.is_replaced && !is_gap {
        return Some("it should have been replaced by a gap".to_owned());
    }
    let device = DeviceId::parse(&row.device).ok()?;
    match content(&device, &stored.bytes) {
        Content::Opened(_) => {
            let opening = Opening::Record(stored.bytes.clone());
            (row.opening != Some(opening))
                .then(|| "its run was opened by another record".to_owned())
        }
        Content::Finished { .. } => {
            (row.state == State::Open).then(|| "its run is not marked as finished".to_owned())
        }
        Content::Unusable(problem) => Some(problem),
        Content::Device { .. } | Content::Part { .. } => None,
    }
}

async fn look_at_cells(store: &Store, check: &mut Check) -> Result<(), CheckError> {
    let (reports, cells, stale) = store.reports_and_cells().await?;
    // Which of its runs count has changed since it was made: it is about to be made anew.
    let is_stale = |cell: &crate::store::CellRow| stale.iter().any(|stale| stale.key == cell.key);
    let made = match rollup::cells_of(reports) {
        Ok(made) => made,
        Err(error) => {
            check.find("reports", "a stored report", chain(&error), REBUILD);
            return Ok(());
        }
    };
    check.n_cells = cells.len();
    let is_odd = |cell: &&crate::store::CellRow| !made.contains(cell) && !is_stale(cell);
    for cell in cells.iter().filter(is_odd) {
        let problem = "its cache is not what the reports come to".to_owned();
        check.find("cells", &cell.name, problem, REBUILD);
    }
    for cell in made.iter().filter(|cell| !cells.contains(cell)) {
        let is_known = cells.iter().any(|known| known.key == cell.key);
        if !is_known && !is_stale(cell) {
            let problem = "it is not in the cache".to_owned();
            check.find("cells", &cell.name, problem, REBUILD);
        }
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn named(row: &RunRow) -> String {
    format!("run {} of `{}`", row.run, row.device)
}

const RESTORE: &str = "restore a backup: what was acknowledged is on no device any more";
const REBUILD: &str = "stop the collector and run `check --rebuild`";
const READ_AGAIN: &str = "see `runs show`; if a newer agent wrote it, update the collector, stop it, and run `check --rebuild`";
