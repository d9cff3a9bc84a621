//! What a run consists of, as files: its document, and its trace as JSON Lines.
//!
//! `trace.jsonl` has one object a line: `schema` and `header` first, then for each segment its `window`, each `request`, each sensor's
//! `power`, `memory`, `gauge` and `gap`, with the `segment` that they are of; resumptions and the `end` last.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use tokwatt_domain::{
    ids::RunId,
    run::{RunTrace, Segment},
};

use super::{problem::Problem, site::Site};

/// `tokwatt.run/1`.
pub(super) async fn run(
    State(site): State<Arc<Site>>,
    Path(asked): Path<String>,
) -> Result<Response, Problem> {
    let run = site.query.run(&asked).await?;
    let content = serde_json::to_string(&run)?;
    Ok(file(
        &format!("run-{}.json", run.line.run),
        "application/json",
        content,
    ))
}

/// `tokwatt.trace/1`.
pub(super) async fn trace(
    State(site): State<Arc<Site>>,
    Path(asked): Path<String>,
) -> Result<Response, Problem> {
    let name = site.query.run(&asked).await?.line.run;
    let run = RunId::parse(&name).map_err(|error| Problem::failed(&error))?;
    let trace = super::run::trace(&site, run).await?;
    let trace = trace.map_err(|why| Problem::not_found(&why))?;
    let content = lines(&trace)?;
    Ok(file(
        &format!("trace-{name}.jsonl"),
        "application/jsonl",
        content,
    ))
}

/// The name is of letters, digits, dashes and dots.
fn file(name: &str, content_type: &'static str, content: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    (headers, content).into_response()
}

fn lines(trace: &RunTrace) -> Result<String, serde_json::Error> {
    let mut lines = vec![json!({ "schema": "tokwatt.trace/1", "header": trace.header })];
    for (number, segment) in trace.segments.iter().enumerate() {
        lines.extend(of_segment(number, segment)?);
    }
    lines.push(json!({ "resumptions": trace.resumptions, "end": trace.end }));
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

fn of_segment(
    number: usize,
    segment: &Segment,
) -> Result<Vec<serde_json::Value>, serde_json::Error> {
    let mut lines = vec![json!({ "segment": number, "window": segment.window })];
    let parts = [
        ("request", values(&segment.requests)?),
        ("power", values(&segment.power)?),
        ("memory", values(&segment.memory)?),
        ("gauge", values(&segment.gauges)?),
        ("gap", values(&segment.gaps)?),
    ];
    for (kind, values) in parts {
        let line = |value| json!({ "segment": number, kind: value });
        lines.extend(values.into_iter().map(line));
    }
    Ok(lines)
}

fn values(parts: &[impl Serialize]) -> Result<Vec<serde_json::Value>, serde_json::Error> {
    parts.iter().map(serde_json::to_value).collect()
}
