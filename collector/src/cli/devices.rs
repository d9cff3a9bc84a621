//! `devices list`.

use clap::{Args, Subcommand};
use tokwatt_proto::v1;

use super::{client::Address, output::Output, runs::Format};
use crate::{query, report};

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    /// Devices that delivered, by name
    List(List),
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

pub(super) fn devices(arguments: &Devices, output: &mut Output<'_>) -> anyhow::Result<()> {
    let Devices::List(arguments) = arguments;
    let request = v1::ListDevicesRequest {};
    let answer = arguments
        .address
        .ask::<query::Devices, _>(async |mut client| client.list_devices(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::devices(&answer.document),
    };
    Ok(output.print(&text)?)
}
