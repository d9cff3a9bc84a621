//! A run that was really measured, once, and goes out again under as many names as a test needs.

use std::{path::Path, process::Stdio};

use anyhow::{Context, ensure};
use tokwatt_agent::spool::Spool;
use tokwatt_domain::{
    ids::{DeviceId, RunId, Seq},
    time::WallTime,
};
use tokwatt_proto::Record;

use crate::agent;

/// A device's description and a whole run, as an agent keeps them.
pub struct SampleRun(Vec<Record>);

impl SampleRun {
    /// Measures so many questions with the built-in model on this machine.
    ///
    /// # Errors
    /// The agent cannot, or kept something else than a finished run.
    pub fn measure(folder: &Path, n_questions: u32) -> anyhow::Result<Self> {
        let limit = n_questions.to_string();
        let status = agent(folder)
            .args(["bench", "--quick", "--repeat", "1", "--power", "none"])
            .args(["--precision", "q8_0", "--limit", &limit])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot start the agent")?;
        ensure!(status.success(), "the bench ended with {status}");
        Self::read(folder)
    }

    /// What was measured into the folder before.
    ///
    /// # Errors
    /// Nothing was.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let spool = Spool::open(folder, WallTime(0), u64::MAX)?;
        let spooled = spool.after(Seq(0), usize::MAX)?;
        let records = spooled.iter().map(|spooled| Record::decode(&spooled.bytes));
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        let is_finish = |record: &Record| matches!(record, Record::RunFinished { .. });
        let finish = records.iter().position(is_finish);
        records.truncate(finish.context("no run was finished")? + 1);
        Ok(Self(records))
    }

    /// The description of a device of that name.
    pub fn device(&self, device: &DeviceId) -> Vec<u8> {
        let is_description = |record: &&Record| matches!(record, Record::Device(_));
        let described = self.0.iter().find(is_description);
        let described = described.expect("a bench begins with the device");
        renamed(described.clone(), device, RunId([0; 16])).encode()
    }

    /// The run of a device of that name, under a name of its own.
    pub fn run(&self, device: &DeviceId, run: RunId) -> Vec<Vec<u8>> {
        let of_run = self.0.iter().filter(|record| record.run().is_some());
        of_run
            .map(|record| renamed(record.clone(), device, run).encode())
            .collect()
    }
}

fn renamed(mut record: Record, device: &DeviceId, name: RunId) -> Record {
    match &mut record {
        Record::Device(profile) => profile.id = device.clone(),
        Record::RunOpened(header) => {
            header.device = device.clone();
            header.run = name;
        }
        Record::RunFinished { run, report, .. } => {
            *run = name;
            report.run = name;
            report.device = device.clone();
        }
        Record::Requests { run, .. }
        | Record::Power { run, .. }
        | Record::Gap { run, .. }
        | Record::SegmentClosed { run, .. }
        | Record::RunResumed { run, .. } => *run = name,
    }
    record
}
