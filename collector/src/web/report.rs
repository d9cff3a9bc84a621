//! The report as an archive: the same folder that `report OUT` writes.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use maud::{Markup, html};
use tar::{Builder, Header};
use tokwatt_domain::{power::Provenance, spelling::advice};

use super::{
    admittance::Visitor,
    page::{Section, answer},
    patience::Patience,
    problem::Problem,
    site::Site,
};
use crate::{
    query::QueryError,
    rank::{Condition, PROVENANCES, RankError, parse_provenance},
    report::{Contents, Material},
};

/// `/report`.
pub(super) async fn show(
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Problem> {
    let asked = Asked::read(&pairs)?;
    let body = html! {
        h1 { "Report" }
        p {
            "Everything that was measured as a page with its pictures, which needs no network and no other file, with each picture as SVG and PNG, "
            "all figures as CSV, and the rankings as text. Drawing it takes some seconds."
        }
        (form(&asked))
        p.hint { "The same in a terminal: " code { "tokwatt-collector report OUT" } }
    };
    Ok(answer(&visitor, Section::Report, "Report", body))
}

/// `/report.tar?where=task=caption`.
pub(super) async fn download(
    State(site): State<Arc<Site>>,
    patience: Option<Extension<Patience>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(&pairs)?;
    let seat = site
        .drawing
        .take()
        .map_err(|busy| Problem::busy(&busy.to_string()))?;
    if let Some(Extension(patience)) = patience {
        patience.extend(REPORT_TIME);
    }
    let material = Material::gather(&site.query, asked.conditions, asked.provenance).await?;
    let drawn = tokio::task::spawn_blocking(move || {
        // Drawing goes on if nobody waits for it any more.
        let _seat = seat;
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
    let contents = Contents::of(files.keys().cloned().collect()).text()?;
    let files = files
        .iter()
        .map(|(path, content)| (path.as_str(), &content[..]));
    for (path, content) in files.chain([(Contents::PATH, &contents[..])]) {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{FOLDER}/{path}"), content)?;
    }
    archive.into_inner()
}

/// What a report is made from.
struct Asked {
    conditions: Vec<Condition>,
    provenance: Provenance,
}

impl Asked {
    /// Reads an address. What is left empty in the form is not asked for.
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut conditions = Vec::new();
        let mut provenance = Provenance::Measured;
        for (name, value) in pairs.iter().filter(|(_, value)| !value.trim().is_empty()) {
            let read: Result<(), RankError> = match name.as_str() {
                "where" => Condition::parse(value.trim()).map(|one| conditions.push(one)),
                "provenance" => parse_provenance(value).map(|one| provenance = one),
                other => {
                    let advice = advice(other, &["where", "provenance"]);
                    let problem = format!("unknown word `{other}` in the address, {advice}");
                    return Err(Problem::bad_request(&problem));
                }
            };
            read.map_err(QueryError::from)?;
        }
        Ok(Self {
            conditions,
            provenance,
        })
    }
}

fn form(asked: &Asked) -> Markup {
    html! {
        form.filters method="get" action="/report.tar" aria-label="What it is made from" {
            div.field {
                label for="provenance" { "Figures" }
                select #provenance name="provenance" {
                    @for provenance in PROVENANCES {
                        option value=(provenance) selected[provenance == asked.provenance] { (provenance) }
                    }
                }
            }
            div.field {
                label for="where" { "Only where" }
                input #where name="where" placeholder="task=caption_brief"
                    value=[asked.conditions.first().map(|one| format!("{}={}", one.key.as_str(), one.value))];
            }
            button { "Download" }
        }
    }
}

const FOLDER: &str = "tokwatt-report";

/// Hundreds of pictures are drawn, and sent over a slow link.
const REPORT_TIME: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_is_a_folder_that_a_later_report_may_replace() {
        let files = ["index.html", "figures/one.svg"];
        let files = files.map(|path| (path.to_owned(), path.as_bytes().to_vec()));
        let archive = archive(&BTreeMap::from(files)).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path, content);
        }
        let contents = found.remove("tokwatt-report/report.json").unwrap();
        let contents = Contents::parse(&contents).unwrap();
        let named = contents
            .files
            .iter()
            .map(|path| format!("tokwatt-report/{path}"));
        assert!(named.eq(found.into_keys()));
    }
}
