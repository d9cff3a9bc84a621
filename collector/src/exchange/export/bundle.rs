//! A run as one file, with everything to check it by: `NAME.tokwatt-run.tar.zst`.
//!
//! # Format
//!
//! A tar archive (names and contents, nothing of the machine that made it) compressed by zstd:
//!
//! ```text
//! manifest.json       `tokwatt.bundle/1`: which run, and size and SHA-256 of every other file
//! header.json         what was known before the run: device, cell, configuration
//! report.json         what it came to
//! requests.jsonl      every request as it was seen, an object on each line
//! power.csv           every reading of every rail
//! records/000001 …    the bytes that the agent delivered, in order: all files above but the manifest are made from them
//! source              of a run from another tool's file: that file, in place of header, requests, power and records
//! figures.json        of such a run: every value with its definition
//! ```
//!
//! The same run gives the same bytes.

use std::io::{self, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{ids::Digest, run::RunTrace, time::WallTime};
use tokwatt_proto::{ContractError, Record};

use super::{
    rows,
    sink::{Sink, SinkError, TableForm},
};
use crate::{
    exchange::foreign::{self, ForeignRun, Labels, Source, Tool},
    rollup,
    store::{ImportRow, ImportedRow},
};

/// `tokwatt.bundle/1`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Manifest {
    pub(super) schema: String,
    pub(super) run: String,
    pub(super) device: String,
    /// Of a run from another tool's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) import: Option<ManifestImport>,
    /// In the order of the archive.
    pub(super) files: Vec<ManifestFile>,
}

/// What it takes to read the source again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct ManifestImport {
    pub(super) name: String,
    pub(super) tool: String,
    pub(super) labels: Labels,
    pub(super) imported: i64,
}

/// A file of the archive.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct ManifestFile {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
}

/// What is in a bundle.
pub(super) struct Bundle {
    manifest: Manifest,
    files: Vec<(String, Vec<u8>)>,
}

/// A run cannot be bundled.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A record that cannot be read.
    #[error("a record of the run cannot be read")]
    Record(#[from] ContractError),
    /// Its records, or its source, make no run.
    #[error("what was received makes no run: {0}")]
    NoRun(String),
    /// A document that cannot be written.
    #[error("cannot write a document of the bundle")]
    Document(#[from] serde_json::Error),
    /// More than anybody would unpack.
    #[error(
        "the run takes more than 256 MiB as a bundle: export its requests and its power as Parquet instead"
    )]
    TooLong,
    /// The archive cannot be written.
    #[error("cannot write the bundle")]
    Io(#[from] io::Error),
}

/// Of what an agent delivered.
pub(super) fn of_records(records: Vec<Vec<u8>>) -> Result<Bundle, BundleError> {
    let mut files = derived(&records)?;
    let trace = rollup::trace_of(&records).map_err(BundleError::NoRun)?;
    let numbered = (1..).zip(records);
    files
        .extend(numbered.map(|(number, bytes): (u32, _)| (format!("{RECORDS}{number:06}"), bytes)));
    let run = trace.header.run.to_string();
    Ok(Bundle::new(
        run,
        trace.header.device.to_string(),
        None,
        files,
    ))
}

/// Of a run of another tool's file.
pub(super) fn of_import(
    import: &ImportRow,
    run: &ImportedRow,
    bytes: Vec<u8>,
) -> Result<Bundle, BundleError> {
    let about = ManifestImport {
        name: import.name.clone(),
        tool: import.tool.clone(),
        labels: serde_json::from_str(&import.labels)?,
        imported: import.imported.0,
    };
    // As it is read today, which may be more than when it was imported.
    let run = run.run.to_string();
    let (_, read) = read_again(&run, &about, &bytes).map_err(BundleError::NoRun)?;
    let mut files = of_read(&read)?;
    files.push((SOURCE.to_owned(), bytes));
    let device = read.report.device.to_string();
    Ok(Bundle::new(run, device, Some(about), files))
}

/// A run as its source tells of it.
pub(super) fn read_again(
    run: &str,
    import: &ManifestImport,
    bytes: &[u8],
) -> Result<(Tool, ForeignRun), String> {
    let source = Source {
        name: &import.name,
        sha256: Digest(Sha256::digest(bytes).into()),
        labels: &import.labels,
        imported: WallTime(import.imported),
    };
    let read = foreign::read(bytes, None, &source);
    let contents = read.map_err(|error| format!("`{SOURCE}`: {}", chain(&error)))?;
    let mut runs = contents.runs.into_iter();
    let found = runs.find(|found| found.report.run.to_string() == run);
    let found = found.ok_or_else(|| format!("`{SOURCE}` has no run {run}"))?;
    Ok((contents.tool, found))
}

/// Everything that is made from the source.
pub(super) fn of_read(run: &ForeignRun) -> Result<Vec<(String, Vec<u8>)>, serde_json::Error> {
    Ok(vec![
        (REPORT.to_owned(), serde_json::to_vec(&run.report)?),
        (FIGURES.to_owned(), serde_json::to_vec(&run.values)?),
    ])
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Everything that is made from the records, in the order of the archive.
pub(super) fn derived(records: &[Vec<u8>]) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let trace = rollup::trace_of(records).map_err(BundleError::NoRun)?;
    let decoded = records
        .iter()
        .map(|bytes| Record::decode(bytes))
        .collect::<Result<_, _>>()?;
    let report = rollup::report_of(decoded).map_err(BundleError::NoRun)?;
    Ok(vec![
        (HEADER.to_owned(), serde_json::to_vec(&trace.header)?),
        (REPORT.to_owned(), report.into_bytes()),
        (REQUESTS.to_owned(), request_lines(&trace)?),
        (POWER.to_owned(), power_table(&trace)?),
    ])
}

fn request_lines(trace: &RunTrace) -> Result<Vec<u8>, BundleError> {
    let mut lines = Vec::new();
    let requests = trace.segments.iter().flat_map(|segment| &segment.requests);
    for request in requests {
        serde_json::to_writer(&mut lines, request)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn power_table(trace: &RunTrace) -> Result<Vec<u8>, BundleError> {
    let written = || {
        let columns = rows::power_columns();
        let mut sink = Sink::new(TableForm::Csv, "power", &columns, Vec::new())?;
        for row in rows::power(trace) {
            sink.row(row)?;
        }
        sink.finish()
    };
    written().map_err(|error: SinkError| BundleError::Io(io::Error::other(error)))
}

impl Bundle {
    fn new(
        run: String,
        device: String,
        import: Option<ManifestImport>,
        files: Vec<(String, Vec<u8>)>,
    ) -> Self {
        let described = files.iter().map(|(path, bytes)| ManifestFile {
            path: path.clone(),
            bytes: bytes.len() as u64,
            sha256: Digest(Sha256::digest(bytes).into()),
        });
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            run,
            device,
            import,
            files: described.collect(),
        };
        Self { manifest, files }
    }

    /// What its file is called.
    pub(super) fn name(&self) -> String {
        let run = self.manifest.run.get(..12).unwrap_or(&self.manifest.run);
        format!("{}-{run}.tokwatt-run.tar.zst", self.manifest.device)
    }

    /// The archive, compressed.
    pub(super) fn write(&self, mut out: impl Write) -> Result<(), BundleError> {
        let n_bytes: usize = self.files.iter().map(|(_, bytes)| bytes.len()).sum();
        if n_bytes as u64 > INFLATED_BYTES_MAX / 2 {
            return Err(BundleError::TooLong);
        }
        let mut archive = tar::Builder::new(Vec::new());
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        append(&mut archive, MANIFEST, &manifest)?;
        for (path, bytes) in &self.files {
            append(&mut archive, path, bytes)?;
        }
        let archive = archive.into_inner()?;
        let compressed = compress_to_vec(archive.as_slice(), CompressionLevel::Fastest);
        Ok(out.write_all(&compressed)?)
    }
}

/// Nothing of the machine or the hour gets in.
fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, bytes)
}

/// More is not unpacked, and half of it not packed: it is held in memory.
pub(super) const INFLATED_BYTES_MAX: u64 = 512 << 20;

pub(super) const MANIFEST_SCHEMA: &str = "tokwatt.bundle/1";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const HEADER: &str = "header.json";
pub(super) const REPORT: &str = "report.json";
pub(super) const REQUESTS: &str = "requests.jsonl";
pub(super) const POWER: &str = "power.csv";
pub(super) const RECORDS: &str = "records/";
pub(super) const SOURCE: &str = "source";
pub(super) const FIGURES: &str = "figures.json";
