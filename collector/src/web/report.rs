//! The report as an archive: the same folder that `report OUT` writes.

use std::{collections::BTreeMap, io, sync::Arc};

use axum::{
    Extension,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use maud::html;
use tar::{Builder, Header};

use super::{
    admittance::Visitor,
    page::{Section, answer},
    problem::Problem,
    question::{Asked, form},
    site::Site,
};
use crate::report::Material;

/// `/report`.
pub(super) async fn show(
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Problem> {
    let asked = Asked::read(&pairs, &[])?;
    let body = html! {
        h1 { "Report" }
        p {
            "Everything that was measured as a page with its pictures, which needs no network and no other file, with each picture as SVG and PNG, "
            "all figures as CSV, and the rankings as text. Drawing it takes some seconds."
        }
        (form("/report.tar", &asked, &html! {}))
        p.hint { "The same in a terminal: " code { "tokwatt-collector report OUT" } }
    };
    Ok(answer(&visitor, Section::Report, "Report", body))
}

/// `/report.tar?where=task=caption`.
pub(super) async fn download(
    State(site): State<Arc<Site>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(&pairs, &[])?;
    let (conditions, provenance) = (asked.conditions()?, asked.provenance()?);
    let material = Material::gather(&site.query, conditions, provenance).await?;
    let drawn = tokio::task::spawn_blocking(move || {
        let files = material.files().map_err(io::Error::other)?;
        archive(&files)
    });
    let drawn = drawn.await.map_err(|error| Problem::failed(&error))?;
    let content = drawn.map_err(|error| Problem::failed(&error))?;
    let headers = [
        (CONTENT_TYPE, "application/x-tar"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"tokwatt-report.tar\"",
        ),
    ];
    Ok((headers, content).into_response())
}

/// All in one folder, with nothing in it that differs from one day to the next.
fn archive(files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{FOLDER}/{path}"), content.as_slice())?;
    }
    archive.into_inner()
}

const FOLDER: &str = "tokwatt-report";
