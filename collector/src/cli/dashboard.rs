//! `dashboard`: a link into the pages that a browser shows, good once.

use std::process::{Command, Stdio};

use clap::Args;
use tokwatt_proto::v1::{self, dashboard_client::DashboardClient};

use super::{client::Address, output::Output};

#[derive(Args, Debug)]
pub(super) struct Dashboard {
    /// Print the link and open nothing
    #[arg(long)]
    no_open: bool,
    #[command(flatten)]
    address: Address,
}

pub(super) fn dashboard(arguments: &Dashboard, output: &mut Output<'_>) -> anyhow::Result<()> {
    let link = arguments.address.call(async |channel| {
        let opened = DashboardClient::new(channel)
            .open(v1::OpenRequest {})
            .await?;
        Ok(opened.into_inner())
    })?;
    output.print(&link.url)?;
    let is_opened = !arguments.no_open && has_display() && open(&link.url);
    output.print(&format!(
        "{}; it lets one browser in, once, within {} s",
        match is_opened {
            true => "opened in the browser of this machine",
            false => "open it in a browser on the machine where the collector runs",
        },
        link.seconds
    ))?;
    Ok(())
}

fn has_display() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// Whether there was something to open it with; it is used up before anybody else could see it among the arguments and type it.
fn open(url: &str) -> bool {
    let opening = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    opening.is_ok_and(|status| status.success())
}
