//! The first page: which devices there are, what they do now, and what came in last.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, extract::State, response::Html};
use maud::{Markup, html};
use tokwatt_domain::{
    campaign::{CampaignLine, CampaignView, JobState},
    ids::DeviceId,
};

use super::{
    admittance::Visitor,
    campaigns,
    live::live,
    names::{name, plain},
    page::{Section, answer, device_link, minute, scrolling},
    problem::Problem,
    runs,
    site::Site,
};
use crate::{query::Device, report};

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, Problem> {
    let body = html! {
        h1 { "Fleet" }
        (live("/live", standing(&site).await?))
    };
    Ok(answer(&visitor, Section::Fleet, "Fleet", body))
}

/// All that changes.
pub(super) async fn standing(site: &Site) -> Result<Markup, Problem> {
    let devices = site.query.devices().await?.devices;
    let under_way = under_way(site).await?;
    let latest = site.query.latest_runs(None, 0, LATEST).await?;
    let doing = doing(&under_way);
    let attending: Vec<bool> = devices
        .iter()
        .map(|device| attends(site, &device.device))
        .collect();
    let n_attending = attending.iter().filter(|attends| **attends).count();
    Ok(html! {
        p.summary role="status" {
            (counted(devices.len(), "device", "devices")) ", " (n_attending) " attending; "
            (counted(under_way.len(), "campaign", "campaigns")) " under way"
        }
        @if devices.is_empty() {
            p { "No device has delivered anything yet. On a device, this makes it one:" }
            pre { code { "tokwatt-agent bench --collector URL" } }
        } @else {
            h2 { "Devices" }
            (scrolling("Devices", html! {
                table {
                    caption.unseen { "Devices" }
                    thead { tr {
                        th scope="col" { "Device" } th scope="col" { "Kind" } th scope="col" { "Now" }
                        th scope="col" { "Last run" } th.number scope="col" { "Runs" } th.number scope="col" { "Cells" }
                        th scope="col" { "Agent" } th scope="col" { "Labels" }
                    } }
                    tbody {
                        @for (device, attends) in devices.iter().zip(&attending) {
                            (row(device, *attends, doing.get(device.device.as_str())))
                        }
                    }
                }
            }))
        }
        @if !under_way.is_empty() {
            h2 { "Under way" }
            ul.plain {
                @for view in &under_way {
                    li id={ "campaign-" (view.campaign.name) } {
                        a href=(campaigns::address(&view.campaign.name)) { (name(view.campaign.name.as_str())) }
                        " – " (campaigns::summary(view))
                    }
                }
            }
        }
        h2 { "Latest runs" }
        (runs::table("Latest runs", &latest))
    })
}

fn row(device: &Device, attends: bool, doing: Option<&String>) -> Markup {
    let kind = device.profile.as_ref().map(|profile| profile.kind);
    html! {
        tr id={ "device-" (device.device) } {
            th.whole scope="row" { (device_link(&device.device)) }
            td { @if let Some(kind) = kind { (kind) } @else { "–" } }
            td {
                @if let Some(doing) = doing { (plain(doing)) }
                @else if attends { "attends, idle" }
                @else { "not connected" }
            }
            td { (minute(device.last_started)) }
            td.number { (device.n_runs) }
            td.number { (device.n_cells) }
            td { (name(&device.agent_version)) }
            td {
                @for (label, value) in &device.labels {
                    span.label { (name(label)) "=" (name(value)) } " "
                }
                @if device.labels.is_empty() { "–" }
            }
        }
    }
}

async fn under_way(site: &Site) -> Result<Vec<CampaignView>, Problem> {
    let campaigns = site.dispatch.list().await?.campaigns;
    let is_under_way = |line: &&CampaignLine| !line.is_over;
    let mut views = Vec::new();
    for line in campaigns.iter().filter(is_under_way).take(UNDER_WAY) {
        views.push(site.dispatch.show(line.name.as_str()).await?);
    }
    Ok(views)
}

/// What a campaign has each device do now.
fn doing(under_way: &[CampaignView]) -> BTreeMap<&str, String> {
    let jobs = under_way
        .iter()
        .flat_map(|view| view.jobs.iter().map(move |job| (view, job)));
    let in_hand = jobs.filter(|(_, job)| job.state == JobState::Leased);
    in_hand
        .map(|(view, job)| {
            let text = format!("{}: {}", view.campaign.name, report::job(view, job));
            (job.device.as_str(), text)
        })
        .collect()
}

fn attends(site: &Site, device: &str) -> bool {
    DeviceId::parse(device).is_ok_and(|device| site.dispatch.attends(&device))
}

/// `1 device`, `2 devices`.
pub(super) fn counted(n: usize, one: &str, several: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {several}"),
    }
}

/// A screen.
const LATEST: usize = 20;

/// More are in the list of campaigns.
const UNDER_WAY: usize = 10;
