//! The delivering part of an agent, as it is shipped, in this process: for many of them at once, and for looking at one closely.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    runner::QuietGate,
    spool::Spool,
    uplink::{Address, LinkState, Uplink},
};
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    time::WallTime,
};
use tokwatt_harness::Random;

use crate::{sample, site::Site};

/// A device that is enrolled, and its spool.
pub(crate) struct Delivering {
    device: DeviceId,
    spool: Arc<Spool>,
    grown: Arc<Notify>,
    pub(crate) state: watch::Receiver<LinkState>,
}

impl Delivering {
    pub(crate) async fn begin(site: &Site, device: DeviceId, tasks: &TaskTracker) -> Self {
        let data = site.enrol(&device).await;
        let spool = Arc::new(Spool::open(&data, WallTime(1), u64::MAX).unwrap());
        let grown = Arc::<Notify>::default();
        let (sender, state) = watch::channel(LinkState::Connecting);
        let uplink = Uplink {
            address: Address::in_force(Some(&format!("https://{}", site.address())), &data)
                .unwrap()
                .unwrap(),
            device: device.clone(),
            spool: spool.clone(),
            quiet: QuietGate::in_folder(&data).unwrap(),
            grown: grown.clone(),
            hurry: Arc::default(),
            state: sender,
        };
        tasks.spawn(uplink.run(CancellationToken::new()));
        spool.append(&[sample().device(&device)]).unwrap();
        Self {
            device,
            spool,
            grown,
            state,
        }
    }

    /// Runs of so many bytes together; returns how many.
    pub(crate) fn measure(&self, bytes: usize, random: &mut Random) -> usize {
        let mut records = Vec::new();
        let mut n_runs = 0;
        while records.iter().map(Vec::len).sum::<usize>() < bytes {
            let name = RunId(random.bytes(16).try_into().unwrap());
            records.extend(sample().run(&self.device, name));
            n_runs += 1;
        }
        self.spool.append(&records).unwrap();
        self.grown.notify_one();
        n_runs
    }

    /// How long it takes until the collector has another record.
    pub(crate) async fn time_of_one(&mut self) -> Duration {
        let begun = Instant::now();
        let through = self.spool.append(&[sample().device(&self.device)]).unwrap();
        self.grown.notify_one();
        let is_there = |state: &LinkState| *state == LinkState::Delivered { through };
        self.state.wait_for(is_there).await.unwrap();
        begun.elapsed()
    }

    fn is_connected(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Delivered { .. })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_connected() && self.spool.status().unwrap().waiting_records == 0
    }
}
