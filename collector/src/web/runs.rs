//! Runs, the latest first, with the figures that people look for first.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    extract::{Query, State},
    response::Html,
};
use maud::{Markup, html};
use serde::Deserialize;
use tokwatt_domain::{
    ids::DeviceId,
    metrics::{MetricValue, Percentile, RunReport},
};

use super::{
    admittance::Visitor,
    names::{name, url},
    page::{Section, answer, device_link, mark_named, minute, run_link, scrolling},
    problem::Problem,
    site::Site,
};
use crate::{query::RunDetail, report};

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    device: String,
    /// From 1.
    #[serde(default)]
    page: Option<usize>,
}

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Problem> {
    let device = match asked.device.as_str() {
        "" => None,
        text => {
            let device = DeviceId::parse(text);
            Some(device.map_err(|error| Problem::bad_request(&error.to_string()))?)
        }
    };
    let page = asked.page.unwrap_or(1).max(1);
    let left_out = (page - 1).saturating_mul(ON_A_PAGE);
    let mut runs = site
        .query
        .latest_runs(device.as_ref(), left_out, ON_A_PAGE + 1)
        .await?;
    let has_more = runs.len() > ON_A_PAGE;
    runs.truncate(ON_A_PAGE);
    let title = match &device {
        Some(device) => format!("Runs of {device}"),
        None => "Runs".to_owned(),
    };
    let body = html! {
        h1 { (title) }
        (table(&title, &runs))
        (turning("/runs", &[("device", &asked.device)], page, has_more))
    };
    Ok(answer(&visitor, Section::Runs, &title, body))
}

/// Runs as a table.
pub(super) fn table(caption: &str, runs: &[RunDetail]) -> Markup {
    if runs.is_empty() {
        return html! { p { "No runs yet." } };
    }
    scrolling(
        caption,
        html! {
            table {
                caption.unseen { (caption) }
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "Started" } th scope="col" { "Device" }
                    th scope="col" { "Model" } th scope="col" { "Cell and repetition" }
                    th scope="col" { "State, answered" }
                    th.number scope="col" { "tok/s" } th.number scope="col" { "First token" }
                    th.number scope="col" { "J/token" } th scope="col" { "Flags" }
                } }
                tbody { @for run in runs { (row(run)) } }
            }
        },
    )
}

fn row(run: &RunDetail) -> Markup {
    let line = &run.line;
    let model = run
        .header
        .as_ref()
        .map(|header| &header.cell.identity.model);
    html! {
        tr id={ "run-" (line.run) } {
            th scope="row" { (run_link(&line.run)) " " (mark_named(line.provenance.as_deref())) }
            td { (minute(line.started)) }
            td.whole { (device_link(&line.device)) }
            td.whole { @if let Some(model) = model { (name(model)) } @else { "–" } }
            td {
                @if let Some(cell) = &line.cell { (name(cell)) } @else { "–" }
                @if let Some(n) = line.repetition { " no. " (n) }
            }
            td {
                (line.state)
                @if let (Some(n), Some(of)) = (line.n_succeeded, line.n_requests) { " " (n) "/" (of) }
            }
            td.number { (or_dash(run.report.as_ref().and_then(speed))) }
            td.number { (or_dash(run.report.as_ref().and_then(first_token))) }
            td.number { @if let Some(energy) = run.report.as_ref().and_then(energy) { (energy) } @else { "–" } }
            td { (flags(&line.flags)) }
        }
    }
}

/// Flags by name, each once; what they mean stands on the run's page.
fn flags(flags: &[String]) -> Markup {
    let flags: BTreeSet<&String> = flags.iter().collect();
    html! {
        @for flag in &flags { span.flag { (name(flag)) } " " }
        @if flags.is_empty() { "–" }
    }
}

/// Links to the pages before and after.
pub(super) fn turning(path: &str, others: &[(&str, &str)], page: usize, has_more: bool) -> Markup {
    let at = |page: usize| {
        let number = page.to_string();
        let others = others
            .iter()
            .copied()
            .filter(|(_, value)| !value.is_empty());
        url(path, others.chain([("page", number.as_str())]))
    };
    html! {
        @if page > 1 || has_more {
            nav.turning aria-label="More" {
                @if page > 1 { a rel="prev" href=(at(page - 1)) { "← before" } }
                span { "page " (page) }
                @if has_more { a rel="next" href=(at(page + 1)) { "after →" } }
            }
        }
    }
}

fn speed(report: &RunReport) -> Option<String> {
    median(report, "decode_tps").map(report::short)
}

fn first_token(report: &RunReport) -> Option<String> {
    let seconds = median(report, "ttft")?;
    let scale = report::Scale::of("s", std::iter::once(seconds));
    Some(format!("{} {}", scale.show(seconds), scale.unit))
}

/// With its scope, since scopes are never compared.
fn energy(report: &RunReport) -> Option<Markup> {
    let power = report.power.first()?;
    let joules = power.j_per_output_token?;
    Some(html! { (report::short(joules)) " " span.scope { "@" (power.scope) } })
}

fn median(report: &RunReport, id: &str) -> Option<f64> {
    match report.metrics.get(id)?.as_ref()? {
        MetricValue::Number(value) => Some(*value),
        MetricValue::Distribution(distribution) => match distribution.p50? {
            Percentile::Value(value) => Some(value),
            Percentile::Failed(_) => None,
        },
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// A few screens.
const ON_A_PAGE: usize = 50;
