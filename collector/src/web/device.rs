//! A device: what it is, what could not be learnt about it and why, how a figure went over its runs, and what it drew last.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Html,
};
use maud::{Markup, html};
use serde::Deserialize;
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    power::Provenance,
    spelling::advice,
};

use super::{
    admittance::Visitor,
    history,
    names::{name, path, plain, url},
    page::{Section, answer, date, mark_named, run_link},
    power,
    problem::Problem,
    run, runs,
    site::Site,
};
use crate::query::{Device, RunDetail};

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    metric: String,
}

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(asked_device): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    let devices = site.query.devices().await?.devices;
    let found = devices.iter().find(|device| device.device == asked_device);
    let device = found.ok_or_else(|| unknown(&asked_device, &devices))?;
    let id = DeviceId::parse(&device.device).map_err(|error| Problem::failed(&error))?;
    let latest = site.query.latest_runs(Some(&id), 0, LOOKED_AT).await?;
    let mark = latest.first().and_then(|run| run.line.provenance.clone());
    let drawn = drawn(&latest);
    let title = match mark
        .as_deref()
        .filter(|name| *name != Provenance::Measured.as_str())
    {
        Some(other) => format!("Device {} ({other})", device.device),
        None => format!("Device {}", device.device),
    };
    let shown = &latest[..latest.len().min(SHOWN)];
    let body = html! {
        h1 { (title) }
        (facts(device, site.dispatch.attends(&id)))
        (learnt(device))
        h2 #history { "History" }
        (history::history(&latest, &asked.metric, &path(&["devices", &device.device]))?)
        h2 #power { "Power of its latest run" }
        @match drawn {
            Some((run, id)) => {
                p { (run_link(&run.line.run)) " " (mark_named(run.line.provenance.as_deref())) ", " (date(run.line.started)) }
                @match run::trace(&site, id).await? {
                    Ok(trace) => { (power::over_time(&trace)) }
                    Err(why) => { p { (plain(&why)) } }
                }
            }
            None => { p { "None of its runs has power." } }
        }
        h2 #runs { "Latest runs" }
        (runs::table("Latest runs", shown))
        p { a href=(url("/runs", [("device", device.device.as_str())])) { "All runs of this device" } }
    };
    Ok(answer(&visitor, Section::Fleet, &title, body))
}

fn facts(device: &Device, attends: bool) -> Markup {
    let kind = device.profile.as_ref().map(|profile| profile.kind);
    html! {
        dl.facts {
            @if let Some(kind) = kind { dt { "Kind" } dd { (kind) } }
            dt { "Now" } dd { @if attends { "attends" } @else { "not connected" } }
            dt { "Last run" } dd { (date(device.last_started)) }
            dt { "Runs" } dd { (device.n_runs) " in " (device.n_cells) " cells" }
            dt { "Agent" } dd { (name(&device.agent_version)) }
            @for (label, value) in &device.labels { dt { "Label " (name(label)) } dd { (name(value)) } }
            @if let Some(certificate) = &device.certificate {
                dt { "Certificate" }
                dd {
                    @match &certificate.revoked {
                        Some(why) => { "revoked: " (plain(why)) }
                        None => { "until " (date(Some(certificate.not_after))) }
                    }
                }
            }
            @if device.n_set_aside > 0 { dt { "Unused records" } dd { (device.n_set_aside) } }
        }
    }
}

/// What it found out about itself, and what not.
fn learnt(device: &Device) -> Markup {
    let Some(profile) = &device.profile else {
        return html! { p { "It has not described itself yet." } };
    };
    html! {
        h2 #facts { "What it is" }
        (pairs(&profile.facts))
        h2 #reasons { "What could not be learnt" }
        @if profile.reasons.is_empty() { p { "Nothing was looked for in vain." } }
        (pairs(&profile.reasons))
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> Markup {
    html! {
        @if !pairs.is_empty() {
            dl.many {
                @for (key, value) in pairs { div { dt { (name(key)) } dd { (name(value)) } } }
            }
        }
    }
}

/// The latest run of which there is power.
fn drawn(latest: &[RunDetail]) -> Option<(&RunDetail, RunId)> {
    let has_power = |run: &&RunDetail| {
        let report = run.report.as_ref();
        report.is_some_and(|report| !report.power.is_empty())
    };
    let run = latest.iter().find(has_power)?;
    Some((run, RunId::parse(&run.line.run).ok()?))
}

fn unknown(asked: &str, devices: &[Device]) -> Problem {
    let known: Vec<&str> = devices
        .iter()
        .map(|device| device.device.as_str())
        .collect();
    Problem::not_found(&format!("No device `{asked}`: {}", advice(asked, &known)))
}

/// For the history.
const LOOKED_AT: usize = 500;

/// As a table.
const SHOWN: usize = 20;
