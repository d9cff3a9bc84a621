//! `devices list`, `devices show`, `devices label` and `devices revoke`.

use std::collections::HashMap;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use tokwatt_proto::{
    identity::Role,
    v1::{self, admin_client::AdminClient},
};

use super::{
    client::{Address, Answer},
    output::Output,
    runs::Format,
    token::role,
};
use crate::{query, report};

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    /// Devices that enrolled or delivered, by name
    List(List),
    /// One device: what it is, what it delivered, its labels, its certificate
    Show(Show),
    /// Sets labels of a device, by which campaigns choose, or takes them away
    Label(Label),
    /// Shuts a device out, at once and for ever: every certificate of its name, and connections that are open
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its name
    #[arg(value_name = "NAME")]
    device: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Label {
    /// Its name
    #[arg(value_name = "NAME")]
    device: String,
    /// Labels to set
    #[arg(value_name = "LABEL=VALUE", value_parser = label_and_value, required_unless_present = "remove")]
    set: Vec<(String, String)>,
    /// Label to take away; may be repeated
    #[arg(long, value_name = "LABEL")]
    remove: Vec<String>,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// What the name is of: device, viewer or operator
    #[arg(long, value_name = "ROLE", value_parser = role, default_value = "device")]
    role: Role,
    /// Why, for people; it is told to whoever still comes with the certificate
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    address: Address,
}

pub(super) fn devices(arguments: &Devices, output: &mut Output<'_>) -> anyhow::Result<()> {
    match arguments {
        Devices::List(arguments) => list(arguments, output),
        Devices::Show(arguments) => show(arguments, output),
        Devices::Label(arguments) => label(arguments, output),
        Devices::Revoke(arguments) => revoke(arguments, output),
    }
}

fn list(arguments: &List, output: &mut Output<'_>) -> anyhow::Result<()> {
    let answer = all(&arguments.address)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::devices(&answer.document),
    };
    Ok(output.print(&text)?)
}

fn show(arguments: &Show, output: &mut Output<'_>) -> anyhow::Result<()> {
    let answer = all(&arguments.address)?;
    let mut devices = answer.document.devices.iter();
    let device = devices
        .find(|device| device.device == arguments.device)
        .ok_or_else(|| {
            anyhow!(
                "there is no device `{}`: `tokwatt-collector devices list` shows them",
                arguments.device
            )
        })?;
    let text = match arguments.format {
        Format::Json => serde_json::to_string(device)?,
        Format::Table => report::device(device),
    };
    Ok(output.print(&text)?)
}

fn label(arguments: &Label, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::LabelDeviceRequest {
        device: arguments.device.clone(),
        set: arguments.set.iter().cloned().collect::<HashMap<_, _>>(),
        remove: arguments.remove.clone(),
    };
    arguments
        .address
        .call(async |channel| AdminClient::new(channel).label_device(request).await)?;
    Ok(output.print(&format!("device {} is labelled", arguments.device))?)
}

fn revoke(arguments: &Revoke, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::RevokeRequest {
        role: v1::Role::from(arguments.role).into(),
        name: arguments.name.clone(),
        reason: arguments.reason.clone(),
    };
    let revoked = arguments
        .address
        .call(async |channel| AdminClient::new(channel).revoke(request).await)?;
    Ok(output.print(&format!(
        "{} {} is shut out; certificates revoked: {}",
        arguments.role,
        arguments.name,
        revoked.into_inner().certificates
    ))?)
}

fn all(address: &Address) -> anyhow::Result<Answer<query::Devices>> {
    let request = v1::ListDevicesRequest {};
    address.ask(async |mut client| client.list_devices(request).await)
}

fn label_and_value(text: &str) -> Result<(String, String), String> {
    let (label, value) = text
        .split_once('=')
        .ok_or_else(|| "a label is set by LABEL=VALUE".to_owned())?;
    Ok((label.to_owned(), value.to_owned()))
}
