//! Answers as documents: `tokwatt.runs/1`, `tokwatt.run/1`, `tokwatt.devices/1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    device::DeviceProfile,
    metrics::{Flag, RunReport},
    power::Provenance,
    run::RunHeader,
};
use tokwatt_proto::Record;

use super::QueryError;
use crate::{
    rank::Condition,
    store::{CertificateRow, DeviceRow, ImportRow, ImportedRow, Opening, RunRow, SetAside},
};

/// `tokwatt.runs/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Runs {
    /// Name of the document.
    pub schema: String,
    /// Latest start first.
    pub runs: Vec<RunLine>,
    /// What is not shown, and what could not be used.
    pub notes: Vec<String>,
}

/// A run in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunLine {
    /// Its id.
    pub run: String,
    /// Where it ran.
    pub device: String,
    /// `open`, `finished` (delivered and not measured yet), `complete` or `unreadable`.
    pub state: String,
    /// When it started, by the agent's wall clock, in µs since 1970.
    pub started: Option<i64>,
    /// What was run, in short.
    pub cell: Option<String>,
    /// Which repetition of it.
    pub repetition: Option<u32>,
    /// How its figures came to be.
    pub provenance: Option<String>,
    /// Sent requests.
    pub n_requests: Option<u32>,
    /// Of these, successes.
    pub n_succeeded: Option<u32>,
    /// Whether the agent's report is the same as ours, to the last bit; absent before the run is complete.
    pub agrees: Option<bool>,
    /// What makes its figures doubtful.
    pub flags: Vec<String>,
    /// Why it is unreadable.
    pub problem: Option<String>,
    /// Its raw power samples: `kept`, `going` or `gone`, since they are kept for so long only; it cannot be measured again then. `none`: it is
    /// from another tool's file.
    pub raw_samples: String,
    /// What conditions look at.
    #[serde(skip)]
    report: Option<RunReport>,
}

/// `tokwatt.run/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunDetail {
    /// Name of the document.
    pub schema: String,
    /// Its line in the list.
    #[serde(flatten)]
    pub line: RunLine,
    /// Keys in which the agent's report differs from ours.
    pub differs: Vec<String>,
    /// What was known before its first request.
    pub header: Option<RunHeader>,
    /// Our report.
    pub report: Option<RunReport>,
    /// What its cell comes to over all repetitions: number of runs, spread of every figure.
    pub cell_rollup: Option<serde_json::Value>,
    /// The file of another tool that it is from, if it is from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RunSource>,
}

/// The file of another tool that a run is from.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunSource {
    /// What it was called.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
    /// Where in the file.
    pub place: String,
    /// Which tool wrote it.
    pub tool: String,
    /// Of the tool, if the file says it.
    pub version: Option<String>,
    /// When it was imported, in µs since 1970.
    pub imported: i64,
    /// Who did it.
    pub imported_by: String,
    /// What was said about it.
    pub labels: serde_json::Value,
    /// Every value with its definition, unit and name in the file, also those without a definition here.
    pub values: serde_json::Value,
}

/// `tokwatt.devices/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Devices {
    /// Name of the document.
    pub schema: String,
    /// By name.
    pub devices: Vec<Device>,
}

/// A device and what it delivered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Device {
    /// Its name.
    pub device: String,
    /// Of the agent that last said hello.
    pub agent_version: String,
    /// Runs, in whatever state.
    pub n_runs: u32,
    /// Configurations among its measured runs.
    pub n_cells: u32,
    /// Records that could not be used.
    pub n_set_aside: u32,
    /// Start of its latest run, in µs since 1970.
    pub last_started: Option<i64>,
    /// How far each life of its spool was delivered.
    pub streams: Vec<Stream>,
    /// As it described itself.
    pub profile: Option<DeviceProfile>,
    /// What people call it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its latest certificate, if it is enrolled.
    #[serde(default)]
    pub certificate: Option<Certificate>,
}

/// A device's certificate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Certificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it was issued, in µs since 1970.
    pub issued: i64,
    /// Its end, in µs since 1970.
    pub not_after: i64,
    /// Why it was revoked, if it was.
    pub revoked: Option<String>,
}

/// How far one life of a spool was delivered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stream {
    /// Which life.
    pub epoch: i64,
    /// Everything up to here is committed.
    pub through: i64,
    /// Of these, records that are stored once, under another epoch.
    pub held: i64,
}

impl Runs {
    pub(super) fn new(runs: Vec<RunLine>, n_more: usize, set_aside: &[SetAside]) -> Self {
        let mut notes = Vec::new();
        if n_more > 0 {
            notes.push(format!("{n_more} older not shown: --limit shows more"));
        }
        notes.extend(set_aside.iter().take(SET_ASIDE_MAX).map(|record| {
            format!(
                "record {} of epoch {} of `{}` is kept and not used: {}",
                record.seq, record.epoch, record.device, record.problem
            )
        }));
        let n_unsaid = set_aside.len().saturating_sub(SET_ASIDE_MAX);
        if n_unsaid > 0 {
            notes.push(format!("{n_unsaid} more records are kept and not used"));
        }
        Self {
            schema: "tokwatt.runs/1".to_owned(),
            runs,
            notes,
        }
    }
}

impl RunLine {
    pub(super) fn new(row: &RunRow) -> Result<Self, QueryError> {
        let header = header(row)?;
        let report: Option<RunReport> = parse(row.report.as_deref())?;
        let flags = report
            .iter()
            .flat_map(|report| report.flags.iter().map(named));
        let differs = (!row.differs.is_empty()).then(|| "report_differs".to_owned());
        let is_stated = header
            .as_ref()
            .is_some_and(|header| header.requests_provenance >= Provenance::Imported);
        let requests = report.as_ref().and_then(RunReport::stated_requests);
        let uncounted = (!row.counts).then(|| "attempt_does_not_count".to_owned());
        Ok(Self {
            run: row.run.to_string(),
            device: row.device.clone(),
            state: row.state.as_str().to_owned(),
            started: header.as_ref().map(|header| header.started.0),
            cell: header.as_ref().map(|header| header.cell.label()),
            repetition: header.as_ref().map(|header| header.repetition),
            provenance: header
                .as_ref()
                .map(|header| header.requests_provenance.to_string()),
            n_requests: requests.map(|requests| requests.issued),
            n_succeeded: requests.map(|requests| requests.succeeded),
            agrees: report.as_ref().map(|_| row.differs.is_empty()),
            flags: flags.chain(differs).chain(uncounted).collect(),
            problem: row.problem.clone(),
            raw_samples: match is_stated {
                true => "none".to_owned(),
                false => row.raw_samples.as_str().to_owned(),
            },
            report,
        })
    }

    /// Whether all conditions hold; a run that is not measured meets none.
    pub(super) fn meets(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| {
            self.report
                .as_ref()
                .is_some_and(|report| condition.holds(report))
        })
    }
}

impl RunDetail {
    pub(super) fn new(
        row: &RunRow,
        rollup: Option<&str>,
        imported: Option<&(ImportRow, ImportedRow)>,
    ) -> Result<Self, QueryError> {
        let line = RunLine::new(row)?;
        Ok(Self {
            schema: "tokwatt.run/1".to_owned(),
            differs: row.differs.clone(),
            header: header(row)?,
            report: line.report.clone(),
            cell_rollup: parse(rollup)?,
            source: imported.map(RunSource::new).transpose()?,
            line,
        })
    }
}

impl RunSource {
    fn new((import, run): &(ImportRow, ImportedRow)) -> Result<Self, serde_json::Error> {
        Ok(Self {
            file: import.name.clone(),
            sha256: import.sha256.to_string(),
            place: run.place.clone(),
            tool: import.tool.clone(),
            version: run.version.clone(),
            imported: import.imported.0,
            imported_by: import.by.clone(),
            labels: serde_json::from_str(&import.labels)?,
            values: serde_json::from_str(&run.figures)?,
        })
    }
}

impl Devices {
    pub(super) fn new(devices: Vec<Device>) -> Self {
        Self {
            schema: "tokwatt.devices/1".to_owned(),
            devices,
        }
    }
}

impl Device {
    pub(super) fn new(row: &DeviceRow) -> Result<Self, serde_json::Error> {
        let stream = |stream: &crate::store::StreamRow| Stream {
            epoch: stream.epoch,
            through: stream.through,
            held: stream.held,
        };
        Ok(Self {
            device: row.device.clone(),
            agent_version: row.agent_version.clone(),
            n_runs: row.n_runs,
            n_cells: row.n_cells,
            n_set_aside: row.n_set_aside,
            last_started: row.last_started_us,
            streams: row.streams.iter().map(stream).collect(),
            profile: parse(row.profile.as_deref())?,
            labels: row.labels.clone(),
            certificate: row.certificate.as_ref().map(Certificate::new),
        })
    }
}

impl Certificate {
    fn new(row: &CertificateRow) -> Self {
        Self {
            serial: row
                .serial
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            issued: row.issued_us,
            not_after: row.not_after_us,
            revoked: row.revoked_why.clone(),
        }
    }
}

fn named(flag: &Flag) -> String {
    flag.id.clone()
}

/// What was known before the first request; nothing if it cannot be read: whoever measures the run says why, and every other run is shown.
fn header(row: &RunRow) -> Result<Option<RunHeader>, QueryError> {
    match &row.opening {
        None => Ok(None),
        Some(Opening::Imported(json)) => Ok(parse(Some(json))?),
        Some(Opening::Record(bytes)) => match Record::decode(bytes) {
            Ok(Record::RunOpened(header)) => Ok(Some(*header)),
            _ => Ok(None),
        },
    }
}

fn parse<'a, T: Deserialize<'a>>(json: Option<&'a str>) -> Result<Option<T>, serde_json::Error> {
    json.map(serde_json::from_str).transpose()
}

/// Enough to see what is going on; the log has each of them.
const SET_ASIDE_MAX: usize = 10;
