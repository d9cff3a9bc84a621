//! `run`: delivers what waits in the spool, and does what campaigns ask for, until stopped.

use std::{ffi::OsString, io::Write, path::Path, sync::Arc};

use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_domain::device::DeviceProfile;
use tokwatt_service::ServiceManager;
use tracing::Instrument;

use super::{Exit, General, gate, runtime, stop};
use crate::{
    attend::{Attend, child::BenchRunner, hand::JobFile, offer::offer},
    clock::{Clock, SystemClock},
    device::HostRoot,
    enrol::Renewal,
    runner::QuietGate,
    settings::{Given, Settings},
    spool::Spool,
    uplink::{Address, Backoff, LinkState, Uplink, connect},
};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Whom to deliver to, and whose campaigns to do; without it the collector where this device is enrolled
    #[arg(long, env = "TOKWATT_COLLECTOR", value_name = "URL")]
    collector: Option<String>,
    /// End as soon as everything is delivered, and do nothing for campaigns
    #[arg(long)]
    until_empty: bool,
}

/// What delivering and attending share.
struct Service {
    settings: Arc<Settings>,
    /// Where a bench finds the same settings.
    general: Vec<OsString>,
    address: Address,
    device: DeviceProfile,
    spool: Arc<Spool>,
    quiet: QuietGate,
    tasks: TaskTracker,
}

pub(super) fn run(general: General, args: RunArgs) -> anyhow::Result<Exit> {
    let given = Given {
        collector: args.collector,
        ..Given::default()
    };
    let config = general.config.clone();
    let settings = general.settings(given)?;
    let given = settings.collector.value.as_deref();
    let address = Address::in_force(given, &settings.data.value).context("--collector")?;
    let Some(address) = address else {
        bail!(
            "no collector to deliver to: enrol this device (`tokwatt-agent enrol --help`), or name one on this machine with --collector URL or `collector.url` in the configuration"
        );
    };
    let url = address.to_string();
    let now = SystemClock::start().wall();
    let spool = Spool::open(&settings.data.value, now, settings.spool_bytes_max.value)?;
    let service = Service {
        general: as_flags(config.as_deref(), &settings),
        address,
        device: super::named(&HostRoot::at(&settings.host_root.value), &settings),
        spool: Arc::new(spool),
        quiet: gate(&settings)?,
        tasks: TaskTracker::new(),
        settings: Arc::new(settings),
    };
    let spool = service.spool.clone();
    let before = spool.status()?.waiting_records;
    runtime()?.block_on(async {
        let stop = stop::on_signal(&service.tasks)?;
        let (delivery, mut link) = service.deliver(&stop);
        let attending = service.attend(&stop, args.until_empty);
        let mut manager = ServiceManager::from_environment();
        manager.ready();
        loop {
            if args.until_empty && spool.status()?.waiting_records == 0 {
                stop.cancel();
            }
            tokio::select! {
                // First, because the link's end follows from it.
                biased;
                () = stop.cancelled() => break,
                () = manager.ping_due() => manager.alive(),
                // Fails when the uplink has ended, which it does when stopped.
                changed = link.changed() => match changed {
                    Ok(()) => manager.status(&link.borrow_and_update().to_string()),
                    Err(_) => break,
                },
            }
        }
        manager.stopping();
        if let Some(attending) = attending {
            attending.await?;
        }
        delivery.await?;
        let waiting = spool.status()?.waiting_records;
        say(before, waiting, &url)?;
        Ok(if waiting == 0 {
            Exit::Done
        } else {
            Exit::FoundWrong
        })
    })
}

impl Service {
    /// Delivers, and keeps the identity good that this takes.
    fn deliver(
        &self,
        stop: &CancellationToken,
    ) -> (tokio::task::JoinHandle<()>, watch::Receiver<LinkState>) {
        let (state, link) = watch::channel(LinkState::Connecting);
        let hurry = Arc::<Notify>::default();
        let device = &self.device.id;
        if let Some(renewal) = Renewal::of(&self.address, &self.quiet, &hurry) {
            let span = tracing::info_span!("renewal", %device);
            let renewing = renewal.run(stop.clone()).instrument(span);
            self.tasks.spawn(renewing);
        }
        let span = tracing::info_span!("uplink", %device);
        let uplink = Uplink {
            address: self.address.clone(),
            device: device.clone(),
            spool: self.spool.clone(),
            quiet: self.quiet.clone(),
            grown: Arc::default(),
            hurry,
            state,
        };
        let delivery = uplink.run(stop.clone()).instrument(span);
        (self.tasks.spawn(delivery), link)
    }

    /// Waits for jobs, if that is wanted.
    fn attend(
        &self,
        stop: &CancellationToken,
        until_empty: bool,
    ) -> Option<tokio::task::JoinHandle<()>> {
        if until_empty || !self.settings.campaigns.value {
            return None;
        }
        let (settings, kind) = (self.settings.clone(), self.device.kind);
        let address = self.address.clone();
        let attend = Attend {
            device: self.device.id.clone(),
            connect: Box::new(move || {
                let address = address.clone();
                Box::pin(async move { Ok(connect(&address).await?) })
            }),
            offer: Arc::new(move || offer(&settings, kind)),
            runner: Box::new(BenchRunner {
                // Also when the file has been replaced by an upgrade.
                program: "/proc/self/exe".into(),
                general: self.general.clone(),
                settings: self.settings.clone(),
                kind,
                spool: self.spool.clone(),
                quiet: self.quiet.clone(),
                tasks: self.tasks.clone(),
            }),
            file: JobFile::in_folder(&self.settings.data.value),
            quiet: self.quiet.clone(),
            clock: Arc::new(SystemClock::start()),
            backoff: Backoff::new(),
        };
        let span = tracing::info_span!("attend", device = %self.device.id);
        Some(self.tasks.spawn(attend.run(stop.clone()).instrument(span)))
    }
}

/// The configuration, data folder and host root that are in force.
fn as_flags(config: Option<&Path>, settings: &Settings) -> Vec<OsString> {
    let config = config.map(|config| ["--config".into(), config.into()]);
    let data = ["--data".into(), settings.data.value.clone().into()];
    let root = [
        "--host-root".into(),
        settings.host_root.value.clone().into(),
    ];
    let all = config.into_iter().chain([data, root]);
    all.flatten().collect()
}

/// What became of what waited.
fn say(before: u64, waiting: u64, url: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match (before, waiting) {
        (0, 0) => writeln!(out, "nothing waits for {url}")?,
        (_, 0) => writeln!(out, "{before} records delivered to {url}")?,
        _ => writeln!(
            out,
            "{waiting} records wait safely for {url}; the same command goes on with them"
        )?,
    }
    Ok(())
}
