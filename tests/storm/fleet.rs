//! A collector, some devices, and the relay between them.

use std::{path::PathBuf, process::Command, sync::Arc};

use tempfile::TempDir;
use tokwatt_collector::store::database_in;
use tokwatt_harness::{CollectorProcess, Random, seed, serve};

use crate::{
    A_LONG_TIME, all_are_complete_and_equal, books_balance, check,
    device::Device,
    eventually,
    ledger::{Findings, Ledger},
    relay::{Manner, Relay},
    small_disk::SmallDisk,
};

/// Real programs that deliver to each other.
pub(crate) struct Fleet {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) devices: Vec<Device>,
    /// Where the collector's data is, if not in the folder.
    pub(crate) disk: Option<SmallDisk>,
    collector: Option<CollectorProcess>,
    relay: Relay,
    folder: TempDir,
}

impl Fleet {
    pub(crate) fn begin(hosts: &[&str], manner: Manner) -> Self {
        Self::begin_on(None, hosts, manner)
    }

    pub(crate) fn begin_on(disk: Option<SmallDisk>, hosts: &[&str], manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::default();
        let relay = Relay::start(&ledger, manner, Random::new(seed()));
        let device = |host: &&str| Device::begin(host, folder.path().join(host), &relay.url);
        let mut fleet = Self {
            devices: hosts.iter().map(device).collect(),
            ledger,
            disk,
            collector: None,
            relay,
            folder,
        };
        fleet.revive();
        fleet
    }

    /// More runs for every device.
    pub(crate) fn measure(&mut self, n_runs: usize, random: &mut Random) {
        for device in &mut self.devices {
            device.measure(n_runs, random);
        }
    }

    /// Starts the collector if it is dead.
    pub(crate) fn revive(&mut self) {
        if self.collector.is_none() {
            let serve = self.where_its_data_is(serve(&self.data()));
            let collector = CollectorProcess::start_as(serve, &self.data()).unwrap();
            self.relay.lead_to(collector.url());
            self.collector = Some(collector);
        }
    }

    /// kill -9.
    pub(crate) fn kill_collector(&mut self) {
        self.collector.take().unwrap().kill().unwrap();
    }

    /// Waits until everything is delivered and measured, and stops the collector.
    #[track_caller]
    pub(crate) fn calm_down(&mut self) {
        eventually("everything is acknowledged", A_LONG_TIME, || {
            self.waiting() == 0
        });
        let n_runs = self.devices.iter().map(|device| device.n_runs).sum();
        let collector = self.collector.take().unwrap();
        all_are_complete_and_equal(&collector, n_runs);
        collector.stop().unwrap();
        books_balance(self.where_its_data_is(check(&self.data())));
    }

    fn where_its_data_is(&self, command: Command) -> Command {
        match &self.disk {
            None => command,
            Some(disk) => disk.inside(&command),
        }
    }

    pub(crate) fn collector(&self) -> &CollectorProcess {
        self.collector.as_ref().unwrap()
    }

    /// The collector's folder.
    pub(crate) fn data(&self) -> PathBuf {
        let home = self.disk.as_ref().map_or(self.folder.path(), SmallDisk::at);
        home.join("collector")
    }

    /// Records that are not acknowledged.
    pub(crate) fn waiting(&self) -> u64 {
        self.devices.iter().map(Device::waiting).sum()
    }

    /// Of a collector that does not run.
    pub(crate) fn findings(&self) -> Findings {
        let database = database_in(&self.data());
        match &self.disk {
            None => self.ledger.check(&self.devices, &database),
            Some(disk) => self
                .ledger
                .check(&self.devices, &disk.brought_out(&database)),
        }
    }
}
