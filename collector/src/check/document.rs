//! What a check found: `tokwatt.check/1`.

use std::fmt;

use serde::Serialize;
use tokwatt_domain::gap::Part;
use tokwatt_proto::Account;

use crate::store::{Place, RawSamples, RunRow, SetAside, State, StoredRecord, StreamAccount};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Name of the document.
    pub schema: &'static str,
    /// Lives of spools.
    pub streams: StreamCounts,
    /// Runs by how far they have come.
    pub runs: RunCounts,
    /// Of all complete runs.
    pub requests: Balance,
    /// Of all complete runs.
    pub samples: Balance,
    /// Records that were read.
    pub n_records: u64,
    /// Cells that were made again.
    pub n_cells: usize,
    /// Kept and not used: no finding, for they are accounted for and stand in nobody's way.
    pub set_aside: Vec<SetAsideRecord>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Which check: `file`, `streams`, `records`, `accounts`, `runs`, `reports`, `cells`, `imports`.
    pub check: &'static str,
    /// With what.
    pub subject: String,
    /// What.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Records of all streams: delivered = stored + held + declared.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamCounts {
    /// How many streams.
    pub n: usize,
    /// Acknowledged records.
    pub delivered: i64,
    /// As they came.
    pub stored: i64,
    /// Stored once, under another epoch.
    pub held: i64,
    /// Replaced by a declared gap.
    pub declared: i64,
}

/// Runs by how far they have come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunCounts {
    /// All of them.
    pub n: usize,
    /// Not all of it is here.
    pub open: usize,
    /// Not measured yet.
    pub finished: usize,
    /// Measured.
    pub complete: usize,
    /// No report can be made.
    pub unreadable: usize,
    /// Complete, and cannot be measured again, for raw samples are kept no longer.
    pub without_raw_samples: usize,
}

/// expected = stored + declared.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Balance {
    /// As the segments' ends say.
    pub expected: u64,
    /// In records.
    pub stored: u64,
    /// In gaps.
    pub declared: u64,
}

/// A record that is kept and not used.
#[derive(Clone, Debug, Serialize)]
pub struct SetAsideRecord {
    /// Whose.
    pub device: String,
    /// In which life of its spool.
    pub epoch: i64,
    /// Its position.
    pub seq: i64,
    /// Why.
    pub problem: String,
}

impl Check {
    pub(super) fn new() -> Self {
        Self {
            schema: "tokwatt.check/1",
            streams: StreamCounts::default(),
            runs: RunCounts::default(),
            requests: Balance::default(),
            samples: Balance::default(),
            n_records: 0,
            n_cells: 0,
            set_aside: Vec::new(),
            findings: Vec::new(),
        }
    }

    pub(super) fn find(
        &mut self,
        check: &'static str,
        subject: impl fmt::Display,
        problem: String,
        remedy: &'static str,
    ) {
        self.findings.push(Finding {
            check,
            subject: subject.to_string(),
            problem,
            remedy,
        });
    }

    pub(super) fn find_in_record(&mut self, record: &StoredRecord, problem: &str) {
        let Place { device, epoch, seq } = &record.place;
        let subject = format!("record {seq} of epoch {epoch} of `{device}`");
        self.find("records", subject, problem.to_owned(), super::RESTORE);
    }

    pub(super) fn add(&mut self, account: &Account) {
        let balance = match account.part {
            Part::Requests => &mut self.requests,
            Part::Samples(_) => &mut self.samples,
        };
        balance.expected += account.expected.unwrap_or_default();
        balance.stored += account.stored;
        balance.declared += account.declared;
    }
}

impl StreamCounts {
    pub(super) fn add(&mut self, stream: &StreamAccount) {
        self.n += 1;
        self.delivered += stream.through;
        self.stored += stream.stored;
        self.held += stream.held;
        self.declared += stream.declared;
    }
}

impl RunCounts {
    pub(super) fn count(&mut self, row: &RunRow) {
        self.n += 1;
        *match row.state {
            State::Open => &mut self.open,
            State::Finished => &mut self.finished,
            State::Complete => &mut self.complete,
            State::Unreadable => &mut self.unreadable,
        } += 1;
        let is_thinned = row.raw_samples != RawSamples::Kept;
        self.without_raw_samples += usize::from(is_thinned);
    }
}

impl SetAsideRecord {
    pub(super) fn new(record: SetAside) -> Self {
        Self {
            device: record.device,
            epoch: record.epoch,
            seq: record.seq,
            problem: record.problem,
        }
    }
}
