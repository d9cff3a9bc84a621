//! The job in hand, kept in the data folder as `job.json`, so that it survives kill -9 and a reboot.
//!
//! It is written anew at the few turns of a job, none of them within a measured window: to a temporary file, which is synced and takes
//! the old one's place, so that there is always a whole one. It is there from when the job is assigned until the collector has settled
//! the job.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tokwatt_domain::{
    campaign::{JobRef, JobSpec},
    ids::RunId,
};

/// A job that this device has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InHand {
    /// Which lease of which job.
    pub job: JobRef,
    /// What to do.
    pub spec: JobSpec,
    /// Whether there has been something to go on with.
    pub has_begun: bool,
    /// How often it was started without getting any further.
    pub starts: u32,
    /// How far it had come when it was started last.
    pub reached: Reached,
    /// How it ended, if it has.
    pub end: Option<Ended>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Reached {
    /// Runs that are finished.
    pub runs: u64,
    /// Requests that are kept of the next one.
    pub requests: u64,
}

/// How a job ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// How.
    pub how: JobEnd,
    /// Why it did not go well.
    pub reason: String,
    /// What it measured, in order.
    pub runs: Vec<RunId>,
}

/// In one word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEnd {
    /// Everything was asked.
    Done,
    /// It cannot be done here.
    Refused,
    /// It did not go well, and might the next time.
    Failed,
    /// The collector or a person at the device ended it.
    Cancelled,
}

/// Where the job in hand is kept.
#[derive(Clone, Debug)]
pub struct JobFile {
    path: PathBuf,
}

impl InHand {
    /// One that was just assigned.
    pub fn new(job: JobRef, spec: JobSpec) -> Self {
        Self {
            job,
            spec,
            has_begun: false,
            starts: 0,
            reached: Reached::default(),
            end: None,
        }
    }
}

impl Ended {
    /// Without a run.
    pub fn without_runs(how: JobEnd, reason: impl Into<String>) -> Self {
        Self {
            how,
            reason: reason.into(),
            runs: Vec::new(),
        }
    }
}

impl JobFile {
    /// In this data folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join("job.json"),
        }
    }

    /// The job in hand, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub fn read(&self) -> io::Result<Option<InHand>> {
        match fs::read(&self.path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// On disk when it returns.
    ///
    /// # Errors
    /// The disk failed; then the one that was there still is.
    pub fn write(&self, job: &InHand) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(job)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.sync_folder()
    }

    /// None is in hand any more.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Ok(()) => self.sync_folder(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::ids::{JobId, Name};

    use super::*;

    fn job() -> InHand {
        let spec = serde_json::json!({"campaign": "c", "work": {"suite": "edge-vision"}});
        let job = JobRef {
            job: JobId([3; 16]),
            attempt: 2,
        };
        InHand::new(job, serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_job_is_there_until_it_is_removed_and_a_write_that_was_cut_short_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = JobFile::in_folder(folder.path());
        assert_eq!(file.read().unwrap(), None);
        let mut job = job();
        file.write(&job).unwrap();
        assert_eq!(file.read().unwrap().as_ref(), Some(&job));
        fs::write(folder.path().join("job.json.new"), "{").unwrap();
        assert_eq!(file.read().unwrap().as_ref(), Some(&job));
        job.has_begun = true;
        job.end = Some(Ended {
            how: JobEnd::Done,
            reason: String::new(),
            runs: vec![RunId([4; 16])],
        });
        file.write(&job).unwrap();
        assert_eq!(file.read().unwrap().as_ref(), Some(&job));
        assert_eq!(job.spec.campaign, Name::parse("c").unwrap());
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn what_is_no_job_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job.json"), "{\"job\": 1}").unwrap();
        assert!(JobFile::in_folder(folder.path()).read().is_err());
    }
}
