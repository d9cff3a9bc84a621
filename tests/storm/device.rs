//! A device that delivers: a spool full of real runs, and the agent that is shipped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokwatt_agent::{
    device::{HostRoot, keep_name, probe},
    spool::Spool,
};
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    time::WallTime,
};
use tokwatt_harness::{Random, agent};

use crate::{process::Process, sample};

/// A device and everything that it was ever given to deliver, in order; the first record has sequence number 1.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) given: Vec<Vec<u8>>,
    pub(crate) n_runs: usize,
    spool: Spool,
    data: PathBuf,
    root: PathBuf,
    collector: String,
    agent: Option<Process>,
}

impl Device {
    /// One with that recorded host tree, its data in `data`, whose agent delivers to `collector`.
    pub(crate) fn begin(host: &str, data: PathBuf, collector: &str) -> Self {
        let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host");
        let root = hosts.join(host);
        fs::create_dir_all(&data).unwrap();
        keep_name(&HostRoot::at(&root), &data).unwrap();
        let id = probe(&HostRoot::at(&root), &data).id;
        let mut device = Self {
            given: Vec::new(),
            n_runs: 0,
            spool: Spool::open(&data, WallTime(1), u64::MAX).unwrap(),
            data,
            root,
            id,
            collector: collector.to_owned(),
            agent: None,
        };
        device.give(vec![sample().device(&device.id)]);
        device.start();
        device
    }

    /// More runs to deliver, each in a transaction of its own, as a bench writes them.
    pub(crate) fn measure(&mut self, n_runs: usize, random: &mut Random) {
        for _ in 0..n_runs {
            let name = RunId(random.bytes(16).try_into().unwrap());
            self.give(sample().run(&self.id, name));
        }
        self.n_runs += n_runs;
    }

    fn give(&mut self, records: Vec<Vec<u8>>) {
        self.spool.append(&records).unwrap();
        self.given.extend(records);
    }

    /// kill -9, and the service manager starts it again.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let agent = self.agent.take().unwrap();
        assert!(agent.kill(), "the agent of {} ended by itself", self.id);
        self.start();
    }

    /// What its agent complained of.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.spool.status().unwrap().waiting_records
    }

    /// The agent as the service starts it.
    fn start(&mut self) {
        let mut command = agent(&self.data);
        command
            .args(["run", "--collector", &self.collector, "--host-root"])
            .arg(&self.root);
        self.agent = Some(Process::start(&mut command, &self.log_file()));
    }

    fn log_file(&self) -> PathBuf {
        self.data.join("agent.log")
    }
}
