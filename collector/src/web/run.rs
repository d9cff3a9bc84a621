//! A run: what was run, what it came to, what is doubtful or absent and why, power over time, and every request with its answer.

mod figures;
mod requests;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Html,
};
use maud::{Markup, html};
use serde::Deserialize;
use tokwatt_domain::{
    ids::RunId,
    metrics::{Flag, RunReport},
    power::Provenance,
    run::{RunHeader, RunTrace},
};

use super::{
    admittance::Visitor,
    names::{lines, name, path, plain},
    page::{Section, answer, date, device_link},
    power,
    problem::Problem,
    site::Site,
};
use crate::{query::RunDetail, report};

#[derive(Deserialize)]
pub(super) struct Asked {
    /// Of the requests, from 1.
    #[serde(default)]
    page: Option<usize>,
}

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(asked_run): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    let run = site.query.run(&asked_run).await?;
    let trace = match RunId::parse(&run.line.run) {
        Ok(id) => trace(&site, id).await?,
        Err(error) => Err(error.to_string()),
    };
    let title = title(&run);
    let body = html! {
        h1 { (title) }
        (what_is_wrong(&run))
        (facts(&run))
        p.downloads {
            "Raw: "
            a href=(path(&["runs", &run.line.run, "run.json"])) download { "run and report (JSON)" } ", "
            a href=(path(&["runs", &run.line.run, "trace.jsonl"])) download { "every request and sample (JSON Lines)" }
        }
        @if let Some(report) = &run.report { (figures::figures(report)) (doubts(report)) }
        h2 #power { "Power over time" }
        @match &trace {
            Ok(trace) => { (power::over_time(trace)) }
            Err(why) => { p { (plain(why)) } }
        }
        h2 #requests { "Requests" }
        @match &trace {
            Ok(trace) => { (requests::requests(trace, &run.line.run, asked.page.unwrap_or(1))) }
            Err(why) => { p { (plain(why)) } }
        }
    };
    Ok(answer(&visitor, Section::Runs, &title, body))
}

/// The trace, or why there is none.
pub(super) async fn trace(site: &Site, run: RunId) -> Result<Result<RunTrace, String>, Problem> {
    match site.query.trace(run).await {
        Ok(trace) => Ok(Ok(trace)),
        Err(error) if error.is_without_trace() => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// What is not measured says so here, too.
fn title(run: &RunDetail) -> String {
    let end = report::run_end(&run.line.run);
    let provenance = run.line.provenance.as_deref();
    match provenance.filter(|name| *name != Provenance::Measured.as_str()) {
        Some(other) => format!("Run {end} on {} ({other}, not measured)", run.line.device),
        None => format!("Run {end} on {}", run.line.device),
    }
}

fn what_is_wrong(run: &RunDetail) -> Markup {
    let line = &run.line;
    let is_uncounted = line
        .flags
        .iter()
        .any(|flag| flag == "attempt_does_not_count");
    html! {
        @if let Some(problem) = &line.problem { p.problem { "It cannot be used: " (plain(problem)) } }
        @if is_uncounted { p.problem { "It stands on no board: of its job another attempt counts, or none." } }
        @if line.raw_samples != "kept" {
            p.problem { "Its raw power samples are kept no longer (retention): it cannot be measured again." }
        }
        @if !run.differs.is_empty() {
            p.problem { "The agent's own report differs from ours in: " (plain(&run.differs.join(", "))) }
        }
    }
}

fn facts(run: &RunDetail) -> Markup {
    let line = &run.line;
    html! {
        dl.facts {
            dt { "Run" } dd { code.id { (line.run) } }
            dt { "Device" } dd { (device_link(&line.device)) }
            dt { "State" } dd { (line.state) }
            dt { "Started" } dd { (date(line.started)) }
            @if let Some(header) = &run.header {
                @for (word, words) in told(header) { dt { (word) } dd { (name(&words)) } }
            }
            @if let Some(report) = &run.report {
                dt { "Answered" }
                dd {
                    @match report.stated_requests() {
                        Some(requests) => { (requests.succeeded) " of " (requests.issued) " requests" }
                        None => { "how many is not stated" }
                    }
                    @if let Some(window_s) = report.stated_window_s() { " in " (report::short(window_s)) " s" }
                    @for (class, n) in &report.requests.failed { ", " (n) " " (name(class)) }
                }
                dt { "Figures" }
                dd {
                    (report.provenance.requests)
                    @match report.provenance.power {
                        Some(power) if power != report.provenance.requests => { ", power " (power) }
                        Some(_) => {}
                        None => { ", no power" }
                    }
                }
            }
        }
    }
}

fn told(header: &RunHeader) -> Vec<(&'static str, String)> {
    let identity = &header.cell.identity;
    let configuration = &header.cell.configuration;
    let flags = configuration.engine_flags.iter();
    let flags: Vec<String> = flags
        .map(|(flag, value)| format!("{flag}={value}"))
        .collect();
    let all = [
        ("Suite", identity.suite.clone()),
        ("Cell", header.cell.label()),
        ("Repetition", header.repetition.to_string()),
        ("Model", identity.model.clone()),
        ("Precision", identity.precision.clone()),
        ("Engine", configuration.engine.clone()),
        ("Engine settings", flags.join(" ")),
        (
            "Power mode",
            configuration.power_mode.clone().unwrap_or_default(),
        ),
        ("System", configuration.os.clone()),
    ];
    let said = all.into_iter().filter(|(_, words)| !words.is_empty());
    said.collect()
}

/// Flags, and what is absent.
fn doubts(report: &RunReport) -> Markup {
    html! {
        @if !report.flags.is_empty() {
            h2 #flags { "Flags" }
            ul.notes {
                @for flag in &report.flags { li { (doubt(flag)) } }
            }
        }
        @if !report.reasons.is_empty() {
            details {
                summary { "What is absent, and why (" (report.reasons.len()) ")" }
                dl.facts {
                    @for (key, reason) in &report.reasons { dt { (name(key)) } dd { (lines(reason)) } }
                }
            }
        }
    }
}

fn doubt(flag: &Flag) -> Markup {
    html! {
        span.flag { (name(&flag.id)) } " "
        @if flag.blocking { strong { "keeps figures off the boards" } ": " }
        @if let Some(meaning) = report::meaning(&flag.id) { (meaning) "; " }
        (plain(&flag.detail))
    }
}
