//! `serve`: the collector itself, until it is stopped.

use std::{net::SocketAddr, path::PathBuf, process, thread};

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokwatt_service::ServiceManager;

use super::output::Output;
use crate::{
    server::{Collector, STOP},
    settings::{Http, Overrides, Settings},
};

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Settings file; `config default` prints one
    #[arg(long, value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port to listen on; of this machine only, unless the collector has an identity. Port 0: any
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address and port to enrol at, if the collector has an identity. Port 0: any
    #[arg(long, value_name = "ADDR")]
    enrol_listen: Option<SocketAddr>,
    /// Address and port for the dashboard, /healthz, /readyz and /metrics, of this machine only, e.g. 127.0.0.1:7480; or off
    #[arg(long, value_name = "ADDR")]
    http: Option<Http>,
    /// Folder of the database
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn serve(arguments: &Serve, output: &mut Output<'_>) -> anyhow::Result<()> {
    let overrides = Overrides {
        listen: arguments.listen,
        enrol_listen: arguments.enrol_listen,
        http: arguments.http,
        data: arguments.data.clone(),
    };
    let settings = Settings::resolve(arguments.config.as_deref(), &overrides)?.settings;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    raise_descriptor_limit();
    let outcome = runtime.block_on(async {
        let collector = Collector::bind(&settings).await?;
        let stop = stop_signal()?;
        announce(&collector, &settings, output)?;
        until_stopped(collector, stop).await
    });
    // A connection that outlived the deadline must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// Every connection takes a descriptor; the usual limit of 1,024 is for programs that wait by `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "cannot raise the limit of open files: it is the limit of connections, too");
    }
}

fn announce(
    collector: &Collector,
    settings: &Settings,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let data = settings.data.display();
    let scheme = match collector.enrol_addr {
        Some(_) => "https",
        None => "http",
    };
    output.print(&format!("listening on {scheme}://{}", collector.addr))?;
    if let Some(http) = collector.http {
        output.print(&format!(
            "dashboard on http://{http} (`tokwatt-collector dashboard --data {data}` opens it; health and metrics are there, too)"
        ))?;
    }
    let Some(enrol_addr) = collector.enrol_addr else {
        tracing::info!(%data, "serving in plain text, to this machine only; `tokwatt-collector init` makes an identity for others");
        return Ok(());
    };
    output.print(&format!("enrolling on https://{enrol_addr}"))?;
    if enrol_addr.ip().is_loopback() && !collector.addr.ip().is_loopback() {
        tracing::warn!(%enrol_addr, "only this machine can enrol: --enrol-listen takes an address for others");
    }
    tracing::info!(%data, "serving whoever has a certificate");
    Ok(())
}

/// Serves, and tells the service manager how that goes.
async fn until_stopped(collector: Collector, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut manager = ServiceManager::from_environment();
    manager.ready();
    let stopping = CancellationToken::new();
    let running = collector.run(stopping.clone().cancelled_owned());
    tokio::pin!(running, stop);
    loop {
        tokio::select! {
            outcome = &mut running => return Ok(outcome?),
            () = &mut stop, if !stopping.is_cancelled() => {
                tracing::info!("stopping");
                manager.stopping();
                end_at_the_latest()?;
                stopping.cancel();
            }
            () = manager.ping_due() => manager.alive(),
        }
    }
}

/// Resolves at SIGTERM or Ctrl-C. The handlers stand before the address is printed.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A disk that does not answer, or another program that has locked the database, can hold up its closing for ever, and every
/// thread that waits for it. What is not acknowledged then comes again.
fn end_at_the_latest() -> std::io::Result<()> {
    let end = || {
        thread::sleep(STOP);
        tracing::error!(after = ?STOP, "stopped while the database was still busy; what was acknowledged is safe");
        process::exit(FOUND_WRONG)
    };
    let thread = thread::Builder::new().name("stop".to_owned());
    // Nobody waits for it: it ends with the process, or ends it.
    drop(thread.spawn(end)?);
    Ok(())
}

const FOUND_WRONG: i32 = 1;
