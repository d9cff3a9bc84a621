//! `campaign create`, `list`, `show`, `watch` and `cancel`.

mod file;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tokwatt_domain::campaign::{CampaignView, CampaignsView};
use tokwatt_proto::{
    control::{self, CAMPAIGN_FILE},
    v1::{self, campaigns_client::CampaignsClient},
};
use tonic::transport::Channel;

use super::{
    client::{ANSWER_BYTES_MAX, Address},
    output::Output,
    runs::Format,
};
use crate::{
    clock::{Clock, SystemClock},
    report,
};

#[derive(Debug, Subcommand)]
pub(super) enum Campaign {
    /// Gives a suite to every device that the file's selector matches
    Create(Create),
    /// Campaigns, the latest first
    List(List),
    /// One campaign, and where each device stands
    Show(Named),
    /// The same until it is over: bars on a terminal, lines elsewhere; ends with 0 if every job is done, else with 1
    Watch(watch::Watch),
    /// Ends what is not over; what was measured is kept
    Cancel(Named),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Campaign file; configs/campaigns has one with comments
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Named {
    /// Name of the campaign
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

pub(super) fn campaign(arguments: &Campaign, output: &mut Output<'_>) -> anyhow::Result<()> {
    match arguments {
        Campaign::Create(arguments) => create(arguments, output),
        Campaign::List(arguments) => list(arguments, output),
        Campaign::Show(arguments) => show(arguments, output),
        Campaign::Cancel(arguments) => cancel(arguments, output),
        Campaign::Watch(arguments) => watch::watch(arguments, output),
    }
}

fn create(arguments: &Create, output: &mut Output<'_>) -> anyhow::Result<()> {
    let campaign = file::read(&arguments.file, SystemClock.wall())?;
    let request = v1::CreateCampaignRequest {
        campaign: Some(control::write(CAMPAIGN_FILE, &campaign)),
    };
    let answer = arguments
        .address
        .document::<CampaignView>(async |channel| client(channel).create(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => {
            let watch = format!(
                "`tokwatt-collector campaign watch {}` shows it until it is over\n",
                campaign.name
            );
            report::campaign(&answer.document) + &watch
        }
    };
    Ok(output.print(&text)?)
}

fn list(arguments: &List, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::ListCampaignsRequest {};
    let answer = arguments
        .address
        .document::<CampaignsView>(async |channel| client(channel).list(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::campaigns(&answer.document),
    };
    Ok(output.print(&text)?)
}

fn show(arguments: &Named, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::ShowCampaignRequest {
        name: arguments.name.clone(),
    };
    let answer = arguments
        .address
        .document::<CampaignView>(async |channel| client(channel).show(request).await)?;
    print(arguments.format, &answer.json, &answer.document, output)
}

fn cancel(arguments: &Named, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::CancelCampaignRequest {
        name: arguments.name.clone(),
    };
    let answer = arguments
        .address
        .document::<CampaignView>(async |channel| client(channel).cancel(request).await)?;
    print(arguments.format, &answer.json, &answer.document, output)
}

fn client(channel: Channel) -> CampaignsClient<Channel> {
    CampaignsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn print(
    format: Format,
    json: &str,
    view: &CampaignView,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    match format {
        Format::Json => output.print(json)?,
        Format::Table => output.print(&report::campaign(view))?,
    }
    Ok(())
}
