//! `run`: delivers what waits in the spool, until stopped.

use std::{io::Write, sync::Arc};

use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;
use tokwatt_service::ServiceManager;
use tracing::Instrument;

use super::{Exit, General, runtime, stop};
use crate::{
    clock::{Clock, SystemClock},
    device::HostRoot,
    enrol::Renewal,
    runner::QuietGate,
    settings::Given,
    spool::Spool,
    uplink::{Address, LinkState, Uplink},
};

#[derive(Args)]
pub(super) struct RunArgs {
    /// Whom to deliver to; without it the collector where this device is enrolled
    #[arg(long, env = "TOKWATT_COLLECTOR", value_name = "URL")]
    collector: Option<String>,
    /// End as soon as everything is delivered
    #[arg(long)]
    until_empty: bool,
}

pub(super) fn run(general: General, args: RunArgs) -> anyhow::Result<Exit> {
    let given = Given {
        collector: args.collector,
        ..Given::default()
    };
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
    let spool = Arc::new(spool);
    let before = spool.status()?.waiting_records;
    let device = super::named(&HostRoot::at(&settings.host_root.value), &settings).id;
    runtime()?.block_on(async {
        let tasks = TaskTracker::new();
        let stop = stop::on_signal(&tasks)?;
        let (state, mut link) = watch::channel(LinkState::Connecting);
        let quiet = QuietGate::default();
        let hurry = Arc::<Notify>::default();
        if let Some(renewal) = Renewal::of(&address, &quiet, &hurry) {
            let span = tracing::info_span!("renewal", %device);
            tasks.spawn(renewal.run(stop.clone()).instrument(span));
        }
        let span = tracing::info_span!("uplink", %device);
        let uplink = Uplink {
            address,
            device,
            spool: spool.clone(),
            quiet,
            grown: Arc::default(),
            hurry,
            state,
        };
        let delivery = tasks.spawn(uplink.run(stop.clone()).instrument(span));
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
