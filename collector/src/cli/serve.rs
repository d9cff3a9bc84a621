//! `serve`: the collector itself, until it is stopped.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Output;
use crate::{
    server::Collector,
    settings::{Overrides, Settings},
};

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Settings file; `config default` prints one
    #[arg(long, value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port to listen on, of this machine only; port 0: any
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder of the database
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn serve(arguments: &Serve, output: &mut Output<'_>) -> anyhow::Result<()> {
    let overrides = Overrides {
        listen: arguments.listen,
        data: arguments.data.clone(),
    };
    let settings = Settings::resolve(arguments.config.as_deref(), &overrides)?.settings;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let collector = Collector::bind(&settings).await?;
        let stopped = stopped()?;
        output.print(&format!("listening on http://{}", collector.addr))?;
        tracing::info!(data = %settings.data.display(), "serving in plain text, to this machine only");
        Ok(collector.run(stopped).await?)
    });
    // A connection that outlived the deadline must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// Resolves at SIGTERM or Ctrl-C. The handlers stand before the address is printed.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
