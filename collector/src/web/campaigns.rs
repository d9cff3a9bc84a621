//! Campaigns: a list, and each as it goes, with the button that ends it.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Path, State},
    response::{Html, Redirect},
};
use maud::{Markup, html};
use tokwatt_domain::{
    campaign::{CampaignView, JobProgress, JobState, JobView, Work},
    ids::Name,
};

use super::{
    admittance::{Operated, Visitor},
    fleet::counted,
    live::live,
    names::{name, path, plain},
    page::{Section, answer, date, device_link, run_link, scrolling},
    problem::Problem,
    site::Site,
};

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Html<String>, Problem> {
    let campaigns = site.dispatch.list().await?.campaigns;
    let body = html! {
        h1 { "Campaigns" }
        @if campaigns.is_empty() {
            p { "No campaigns yet. An operator makes one with:" }
            pre { code { "tokwatt-collector campaign create -f FILE" } }
        } @else {
            (scrolling("Campaigns", html! {
                table {
                    caption { "Campaigns, the latest first" }
                    thead { tr {
                        th scope="col" { "Campaign" } th scope="col" { "Suite" } th scope="col" { "Created" }
                        th scope="col" { "Deadline" } th scope="col" { "State" } th scope="col" { "Jobs" }
                    } }
                    tbody {
                        @for line in &campaigns {
                            tr {
                                th scope="row" { a href=(address(&line.name)) { (name(line.name.as_str())) } }
                                td { (name(line.suite.as_str())) }
                                td { (date(Some(line.created.0))) }
                                td { (date(line.deadline.map(|deadline| deadline.0))) }
                                td { @if line.is_over { "over" } @else { "under way" } }
                                td {
                                    @for (state, n) in &line.n_jobs { (n) " " (state) " " }
                                }
                            }
                        }
                    }
                }
            }))
        }
    };
    Ok(answer(&visitor, Section::Campaigns, "Campaigns", body))
}

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(asked): Path<String>,
) -> Result<Html<String>, Problem> {
    let view = site.dispatch.show(&asked).await?;
    let campaign = &view.campaign;
    let title = format!("Campaign {}", campaign.name);
    let source = format!("{}/live", address(&campaign.name));
    let content = standing(&view);
    let body = html! {
        h1 { (title) }
        dl.facts {
            dt { "Suite" } dd { (name(campaign.work.suite.as_str())) }
            @for (word, words) in asked_for(&campaign.work) { dt { (word) } dd { (words) } }
            dt { "Created" } dd { (date(Some(view.created.0))) }
            dt { "Deadline" } dd { (date(campaign.deadline.map(|deadline| deadline.0))) }
        }
        @if view.is_over { (content) } @else { (live(&source, content)) }
        @if !view.is_over && visitor.peer.may_operate().is_ok() {
            details {
                summary { "Cancel this campaign" }
                form method="post" action={ (address(&campaign.name)) "/cancel" } {
                    input type="hidden" name="token" value=(visitor.form_token);
                    p { "What has not begun is not begun; what is running is ended. What was measured stays." }
                    button type="submit" { "Cancel " (name(campaign.name.as_str())) }
                }
            }
        }
    };
    Ok(answer(&visitor, Section::Campaigns, &title, body))
}

pub(super) async fn cancel(
    State(site): State<Arc<Site>>,
    Path(asked): Path<String>,
    Operated(peer): Operated,
) -> Result<Redirect, Problem> {
    let view = site.dispatch.cancel(&asked).await?;
    tracing::info!(campaign = %view.campaign.name, by = %peer, "campaign cancelled from the dashboard");
    Ok(Redirect::to(&address(&view.campaign.name)))
}

/// All that changes.
pub(super) fn standing(view: &CampaignView) -> Markup {
    html! {
        p.summary role="status" { (summary(view)) }
        (scrolling("Devices", html! {
            table {
                caption { "Where each device stands" }
                thead { tr {
                    th scope="col" { "Device" } th scope="col" { "State" } th scope="col" { "Attempt" }
                    th scope="col" { "Cell" } th.number scope="col" { "Run" } th scope="col" { "Requests" }
                    th.number scope="col" { "Left" } th.number scope="col" { "tok/s" } th scope="col" { "Power" }
                    th scope="col" { "Measured" }
                } }
                tbody { @for job in &view.jobs { (row(view, job)) } }
            }
        }))
    }
}

/// `1 of 3 jobs over`.
pub(super) fn summary(view: &CampaignView) -> Markup {
    let jobs = view.jobs.iter();
    let n_over = jobs.clone().filter(|job| job.state.is_over()).count();
    let n_wrong = jobs.filter(|job| is_wrong(job.state)).count();
    html! {
        (n_over) " of " (counted(view.jobs.len(), "job", "jobs")) " over"
        @if n_wrong > 0 { ", " (n_wrong) " of them not done" }
        @if view.is_over { ": the campaign is over" }
    }
}

/// Where a campaign is shown.
pub(super) fn address(campaign: &Name) -> String {
    path(&["campaigns", campaign.as_str()])
}

fn row(view: &CampaignView, job: &JobView) -> Markup {
    let progress = job.progress.as_ref();
    html! {
        tr id={ "job-" (job.job) } {
            th.whole scope="row" { (device_link(job.device.as_str())) }
            td {
                span.state.{ (job.state) } { (job.state) }
                @if job.state == JobState::Leased && !job.is_attending { ", not connected now" }
                @if let Some(reason) = &job.reason { span.why { (plain(reason)) } }
            }
            td { @if job.attempt == 0 { "–" } @else { (job.attempt) " of " (view.campaign.attempts) } }
            td {
                @if let Some(progress) = progress {
                    (plain(&progress.stage))
                    @if progress.is_simulated { " " span.mark { "simulated" } }
                } @else { "–" }
            }
            td.number { @if let Some(JobProgress { run, runs, .. }) = progress { (run) "/" (runs) } @else { "–" } }
            td { (requests(job)) }
            td.number { (progress.and_then(|progress| left(progress.left_s?)).unwrap_or_else(dash)) }
            td.number { @if let Some(rate) = progress.and_then(|progress| progress.output_tps) { (format!("{rate:.1}")) } @else { "–" } }
            td {
                @if let Some(progress) = progress {
                    @for power in &progress.power {
                        span.power { (format!("{:.1} W", power.power.0)) " " (power.scope) } " "
                    }
                    @if progress.power.is_empty() { "–" }
                } @else { "–" }
            }
            td {
                @for run in &job.runs { (run_link(&run.to_string())) " " }
                @if job.runs.is_empty() { "–" }
            }
        }
    }
}

fn requests(job: &JobView) -> Markup {
    let label = format!("Requests of {} that have ended", job.device);
    html! {
        @match &job.progress {
            Some(progress) if progress.total > 0 => {
                progress aria-label=(label) value=(progress.done) max=(progress.total) {}
                " " (progress.done) "/" (progress.total)
            }
            _ => { "–" }
        }
    }
}

fn asked_for(work: &Work) -> Vec<(&'static str, String)> {
    let names = |names: &[Name]| {
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        names.join(", ")
    };
    let loads: Vec<String> = work.concurrency.iter().map(u32::to_string).collect();
    let all = [
        ("Models", names(&work.models)),
        ("Servers", names(&work.servers)),
        ("Precisions", names(&work.precisions)),
        ("Requests in flight", loads.join(", ")),
        ("Repetitions", work.repetitions.to_string()),
        (
            "Pictures of each task",
            work.limit
                .map_or_else(String::new, |limit| limit.to_string()),
        ),
    ];
    let said = all.into_iter().filter(|(_, words)| !words.is_empty());
    said.collect()
}

fn is_wrong(state: JobState) -> bool {
    state.is_over() && state != JobState::Done
}

fn left(seconds: f64) -> Option<String> {
    let left = Duration::try_from_secs_f64(seconds.ceil()).ok()?;
    Some(humantime::format_duration(left).to_string())
}

fn dash() -> String {
    "–".to_owned()
}
