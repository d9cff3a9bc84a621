//! Whether a bundle is what it says: every byte by its hash, and everything that is made from the records made again. Without a
//! collector.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read},
    path::{Component, Path},
};

use ruzstd::decoding::StreamingDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::ids::Digest;

use super::bundle::{
    INFLATED_BYTES_MAX, MANIFEST, MANIFEST_SCHEMA, Manifest, ManifestImport, RECORDS, REPORT,
    SOURCE, chain, derived, of_read, read_again,
};

/// `tokwatt.verify/1`: what was looked at, and what is wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verify {
    /// Name of the document.
    pub schema: String,
    /// Which run.
    pub run: String,
    /// Where it ran.
    pub device: String,
    /// Every file, in the order of the archive.
    pub files: Vec<Verified>,
    /// What does not agree; empty if the bundle is what it says.
    pub differences: Vec<String>,
}

/// A file of the bundle.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verified {
    /// Its path.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: String,
    /// Whether it was also made again from what was received.
    pub is_made_again: bool,
}

/// No bundle, or one that is not looked into.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be opened or read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// Not zstd.
    #[error("it is no run bundle: it is not compressed by zstd (or cut off at its beginning)")]
    NoZstd,
    /// It ends in the middle, or is damaged.
    #[error("it is cut off or damaged ({0}): copy it again")]
    Damaged(String),
    /// Beyond the limits.
    #[error("it unpacks to more than {0}: no run is that long, and it is not looked into")]
    TooLong(&'static str),
    /// A path that leads out of a folder.
    #[error(
        "it has a file `{0}`, whose path leads elsewhere: it was not made by tokwatt, do not unpack it"
    )]
    Path(String),
    /// A link, a device, a folder.
    #[error("`{0}` in it is no plain file: it was not made by tokwatt, do not unpack it")]
    Kind(String),
    /// Two files of one name.
    #[error("it has `{0}` twice: it was not made by tokwatt, do not unpack it")]
    Twice(String),
    /// No manifest, or another one.
    #[error("it has no {MANIFEST} that is one of {MANIFEST_SCHEMA}: {0}")]
    Manifest(String),
}

/// What a bundle holds, read within limits.
type Files = BTreeMap<String, Vec<u8>>;

/// Looks at all of it.
///
/// # Errors
/// It is no bundle. What is wrong with one is a difference, not an error.
pub fn verify(path: &Path) -> Result<Verify, VerifyError> {
    let file = File::open(path).map_err(VerifyError::Io)?;
    let (order, files) = unpack(BufReader::new(file))?;
    let manifest = manifest(&files)?;
    let mut differences = Vec::new();
    compare(&manifest, &files, &order, &mut differences);
    let again = made_again(&manifest, &files, &mut differences);
    // Of what makes no run nobody knows what belongs to it.
    if !again.is_empty() {
        strangers(&manifest, &order, &again, &mut differences);
    }
    for (path, bytes) in &again {
        let is_same = files.get(path).is_some_and(|found| found == bytes);
        if !is_same {
            let come_to = match manifest.import.is_some() {
                true => "the file in it comes to",
                false => "the records come to",
            };
            differences.push(format!("`{path}` is not what {come_to}"));
        }
    }
    let verified = |path: &String| {
        let bytes = files.get(path)?;
        Some(Verified {
            path: path.clone(),
            bytes: bytes.len() as u64,
            sha256: Digest(Sha256::digest(bytes).into()).to_string(),
            is_made_again: again
                .iter()
                .any(|(made, found)| made == path && found == bytes),
        })
    };
    Ok(Verify {
        schema: "tokwatt.verify/1".to_owned(),
        run: manifest.run.clone(),
        device: manifest.device.clone(),
        files: order.iter().filter_map(verified).collect(),
        differences,
    })
}

/// Nothing is written anywhere, and no more is held than the limits say.
fn unpack(input: impl Read) -> Result<(Vec<String>, Files), VerifyError> {
    let decoder = StreamingDecoder::new(input).map_err(|_| VerifyError::NoZstd)?;
    let mut archive = tar::Archive::new(Limited {
        input: decoder,
        left: INFLATED_BYTES_MAX,
    });
    let mut files = Files::new();
    let mut order = Vec::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !is_plain(&name) {
            return Err(VerifyError::Path(name));
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(VerifyError::Kind(name));
        }
        if order.len() == FILES_MAX {
            return Err(VerifyError::TooLong("100,000 files"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        if files.insert(name.clone(), bytes).is_some() {
            return Err(VerifyError::Twice(name));
        }
        order.push(name);
    }
    Ok((order, files))
}

/// Relative, of names alone.
fn is_plain(name: &str) -> bool {
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains(['\\', '\0']) && Path::new(name).components().all(is_name)
}

fn damaged(error: io::Error) -> VerifyError {
    match error.get_ref().is_some_and(|inner| inner.is::<Beyond>()) {
        true => VerifyError::TooLong("512 MiB"),
        // tar wraps what its reader says.
        false if error.to_string().contains(BEYOND) => VerifyError::TooLong("512 MiB"),
        false => VerifyError::Damaged(error.to_string()),
    }
}

fn manifest(files: &Files) -> Result<Manifest, VerifyError> {
    let none = |why: &str| VerifyError::Manifest(why.to_owned());
    let bytes = files.get(MANIFEST).ok_or_else(|| none("there is none"))?;
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| none(&error.to_string()))?;
    match manifest.schema == MANIFEST_SCHEMA {
        true => Ok(manifest),
        false => Err(none(&format!("it is {}", manifest.schema))),
    }
}

/// Each file against the manifest, and the other way round.
fn compare(manifest: &Manifest, files: &Files, order: &[String], differences: &mut Vec<String>) {
    let mut listed = BTreeSet::new();
    for file in &manifest.files {
        let path = &file.path;
        if !listed.insert(path.as_str()) {
            differences.push(format!("the manifest lists `{path}` twice"));
        }
        let Some(bytes) = files.get(path) else {
            differences.push(format!("`{path}` is missing"));
            continue;
        };
        let found = Digest(Sha256::digest(bytes).into());
        if found != file.sha256 || bytes.len() as u64 != file.bytes {
            differences.push(format!(
                "`{path}` has {} bytes of SHA-256 {found}, the manifest says {} of {}",
                bytes.len(),
                file.bytes,
                file.sha256
            ));
        }
    }
    for path in order.iter().filter(|path| *path != MANIFEST) {
        if !listed.contains(path.as_str()) {
            differences.push(format!("`{path}` is not in the manifest"));
        }
    }
}

/// What the received bytes come to.
fn made_again(
    manifest: &Manifest,
    files: &Files,
    differences: &mut Vec<String>,
) -> Vec<(String, Vec<u8>)> {
    let made = match &manifest.import {
        Some(import) => from_source(manifest, import, files, differences),
        None => {
            let records: Vec<Vec<u8>> = files
                .range(RECORDS.to_owned()..)
                .take_while(|(path, _)| path.starts_with(RECORDS))
                .map(|(_, bytes)| bytes.clone())
                .collect();
            let made = derived(&records).map_err(|error| chain(&error));
            made.inspect(|made| is_of_run(manifest, made, differences))
        }
    };
    made.unwrap_or_else(|problem| {
        differences.push(problem);
        Vec::new()
    })
}

/// The manifest names the run that the records are of.
fn is_of_run(manifest: &Manifest, made: &[(String, Vec<u8>)], differences: &mut Vec<String>) {
    let report = made.iter().find(|(path, _)| path == REPORT);
    let report =
        report.and_then(|(_, bytes)| serde_json::from_slice::<serde_json::Value>(bytes).ok());
    let of = |key: &str| {
        report
            .as_ref()
            .and_then(|report| report[key].as_str().map(str::to_owned))
    };
    let (run, device) = (of("run"), of("device"));
    if run.as_deref() != Some(&manifest.run) || device.as_deref() != Some(&manifest.device) {
        differences.push(format!(
            "the manifest is of run {} of `{}`, the records are of another",
            manifest.run, manifest.device
        ));
    }
}

/// What nobody received and nothing is made from has no place in a bundle, whatever the manifest says.
fn strangers(
    manifest: &Manifest,
    order: &[String],
    again: &[(String, Vec<u8>)],
    differences: &mut Vec<String>,
) {
    let is_received = |path: &str| match manifest.import {
        Some(_) => path == SOURCE,
        None => path.starts_with(RECORDS),
    };
    let is_made = |path: &str| again.iter().any(|(made, _)| made == path);
    for path in order {
        if path != MANIFEST && !is_received(path) && !is_made(path) {
            differences.push(format!(
                "`{path}` is nothing that a bundle of such a run has"
            ));
        }
    }
}

fn from_source(
    manifest: &Manifest,
    import: &ManifestImport,
    files: &Files,
    differences: &mut Vec<String>,
) -> Result<Vec<(String, Vec<u8>)>, String> {
    let bytes = files
        .get(SOURCE)
        .ok_or_else(|| format!("`{SOURCE}` is missing"))?;
    let (tool, run) = read_again(&manifest.run, import, bytes)?;
    for (what, said, found) in [
        ("device", &manifest.device, run.report.device.as_str()),
        ("tool", &import.tool, tool.as_str()),
    ] {
        if said != found {
            differences.push(format!(
                "the manifest says {what} `{said}`, the file in it is of `{found}`"
            ));
        }
    }
    of_read(&run).map_err(|error| error.to_string())
}

/// Ends a bomb before it fills the memory.
struct Limited<R> {
    input: R,
    left: u64,
}

/// More than is read.
#[derive(Debug, thiserror::Error)]
#[error("{BEYOND}")]
struct Beyond;

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::other(Beyond))?;
        Ok(n)
    }
}

/// Records of the longest run.
const FILES_MAX: usize = 100_000;

const BEYOND: &str = "more than a bundle unpacks to";
