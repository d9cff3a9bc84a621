//! Every request of a run: when, how long, how many tokens, how it ended, and the answer.

use std::time::Duration;

use maud::{Markup, html};
use tokwatt_domain::{
    metrics::latency,
    run::{Outcome, RequestTrace, RunTrace},
    time::Stamp,
};

use crate::{
    report,
    web::{
        names::{lines, name, path, plain},
        page::scrolling,
        runs::turning,
    },
};

pub(super) fn requests(trace: &RunTrace, run: &str, page: usize) -> Markup {
    let all: Vec<&RequestTrace> = trace
        .segments
        .iter()
        .flat_map(|segment| &segment.requests)
        .collect();
    let Some(first) = all.first() else {
        return html! { p { "No request is kept." } };
    };
    let begin = first.sent;
    let page = page.clamp(1, all.len().div_ceil(ON_A_PAGE));
    let shown = all.chunks(ON_A_PAGE).nth(page - 1).unwrap_or_default();
    html! {
        p { (all.len()) " requests; times count from the first one's sending." }
        (scrolling("Requests", html! {
            table.requests {
                caption.unseen { "Requests" }
                thead { tr {
                    th.number scope="col" { "No." } th scope="col" { "Item" } th.number scope="col" { "Sent (s)" }
                    th.number scope="col" { "First token (ms)" } th.number scope="col" { "All (ms)" }
                    th.number scope="col" { "Prompt" } th.number scope="col" { "Tokens" } th.number scope="col" { "tok/s" }
                    th scope="col" { "End" } th scope="col" { "Answer" }
                } }
                tbody { @for request in shown { (row(request, begin)) } }
            }
        }))
        (turning(&path(&["runs", run]), &[], page, page * ON_A_PAGE < all.len()))
    }
}

fn row(request: &RequestTrace, begin: Stamp) -> Markup {
    let tokens = request.tokens;
    let speed = latency::tpot(request).filter(|seconds| *seconds > 0.0);
    html! {
        tr id={ "request-" (request.index) } {
            th.number scope="row" { (request.index) }
            td.whole { (name(&request.item)) }
            td.number { (report::short(request.sent.since(begin).as_secs_f64())) }
            td.number { (latency::ttft(request).map_or_else(dash, milliseconds)) }
            td.number { (milliseconds(latency::request_latency(request))) }
            td.number {
                @if let Some(tokens) = tokens {
                    (tokens.prompt)
                    @if let Some(cached) = tokens.cached.filter(|cached| *cached > 0) { " (" (cached) " cached)" }
                } @else { "–" }
            }
            td.number { @if let Some(tokens) = tokens { (tokens.completion) } @else { "–" } }
            td.number { (speed.map_or_else(dash, |seconds| report::short(1.0 / seconds))) }
            td {
                @match &request.outcome {
                    Outcome::Stop => { "stop" }
                    Outcome::Length => { "length" }
                    Outcome::Failed { class, message } => {
                        strong { (class.as_str()) } " " (plain(message))
                    }
                }
            }
            td.answer { (answer(&request.answer)) }
        }
    }
}

fn answer(text: &str) -> Markup {
    let text = lines(text);
    let start: String = text.chars().take(SHOWN_CHARS).collect();
    html! {
        @if start.len() < text.len() {
            details { summary { (start) "…" } div.text dir="auto" { (text) } }
        } @else {
            div.text dir="auto" { (text) }
        }
    }
}

fn milliseconds(length: Duration) -> String {
    report::short(length.as_secs_f64() * 1e3)
}

fn dash() -> String {
    "–".to_owned()
}

/// A few screens.
const ON_A_PAGE: usize = 50;

/// Of an answer, before it is opened.
const SHOWN_CHARS: usize = 120;
