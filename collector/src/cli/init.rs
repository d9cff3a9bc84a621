//! `init`: an identity for the collector, so that it can tell who is who.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use tokwatt_proto::identity::Site;

use super::output::Output;
use crate::{
    clock::{Clock, SystemClock},
    enrol::Identity,
    settings::{Overrides, Settings},
};

#[derive(Args, Debug)]
pub(super) struct Init {
    /// Settings file; `config default` prints one
    #[arg(long, value_name = "FILE", env = "TOKWATT_COLLECTOR_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder of the collector
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Name of the site, in every certificate: 1 to 63 of [a-z0-9.-] [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Name or IP address by which devices reach this server; may be repeated [default: this machine's name]
    #[arg(long, value_name = "HOST")]
    address: Vec<String>,
}

pub(super) fn init(arguments: &Init, output: &mut Output<'_>) -> anyhow::Result<()> {
    let overrides = Overrides {
        data: arguments.data.clone(),
        ..Overrides::default()
    };
    let settings = Settings::resolve(arguments.config.as_deref(), &overrides)?.settings;
    let site = match &arguments.site {
        Some(site) => Site::parse(site).with_context(|| format!("--site {site}"))?,
        None => Site::parse(&as_site(&host()?))
            .context("this machine's name is no name for a site: choose one with --site")?,
    };
    let addresses = match arguments.address.as_slice() {
        [] => vec![host()?],
        addresses => addresses.to_vec(),
    };
    let folder = settings.identity();
    let identity = Identity::create(&folder, site, addresses, SystemClock.wall())?;
    let data = match &arguments.data {
        Some(data) => format!(" --data {}", data.display()),
        None => String::new(),
    };
    Ok(output.print(&format!(
        "made the authority of site {} in {}\n\
         devices reach it as {}\n\
         keep a copy of that folder where nobody else can read it: whoever has it can let devices in, and without it none can be renewed\n\
         \n\
         next: tokwatt-collector serve{data} --listen 0.0.0.0:{} --enrol-listen 0.0.0.0:{}\n\
         then: tokwatt-collector token create{data} --role device",
        identity.site(),
        folder.display(),
        identity.addresses().join(", "),
        settings.listen.port(),
        settings.enrol_listen.port(),
    ))?)
}

fn host() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .context("cannot tell this machine's name: say --site and --address")?;
    Ok(name.trim().to_owned())
}

fn as_site(host: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
    let host = host.to_ascii_lowercase();
    let plain = host.chars().map(|c| if is_allowed(c) { c } else { '-' });
    plain.take(63).collect()
}
