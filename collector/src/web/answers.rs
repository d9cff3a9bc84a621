//! Comparisons and recommendations: a form whose words stand in the address, and the answer as the command line has it.

use std::sync::Arc;

use super::{
    admittance::Visitor,
    names::plain,
    page::{Section, answer, scrolling},
    problem::Problem,
    question::{Asked, field, form},
    site::Site,
};
use crate::{
    compare::Question,
    query::QueryError,
    recommend::{RecommendError, SHIPPED, UseCase, shipped},
    report,
};
use axum::{
    Extension,
    extract::{Query, State},
    response::Html,
};
use maud::{Markup, html};

/// `/compare?left=device=a&right=device=b&where=task=caption`.
pub(super) async fn compare(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Problem> {
    let asked = Asked::read(&pairs, &["left", "right"])?;
    let sides = html! {
        (field("left", "A", asked.first("left"), "device=orin-1"))
        (field("right", "B", asked.first("right"), "device=thor-1"))
    };
    let is_asked = !asked.first("left").is_empty() && !asked.first("right").is_empty();
    let found = match is_asked {
        true => Some(compared(&site, &asked).await?),
        false => None,
    };
    let body = html! {
        h1 { "Compare" }
        (form("/compare", &asked, &sides))
        @match &found {
            Some(page) => { (document(page)) }
            None => {
                p.hint {
                    "Two sides, each by what only it is: " code { "precision=f16" } " and " code { "precision=bf16" }
                    ". Everything else has to be the same on both, and is paired cell by cell and picture by picture."
                }
            }
        }
    };
    Ok(answer(&visitor, Section::Compare, "Compare", body))
}

/// `/recommend?use_case=real-time-stream`.
pub(super) async fn recommend(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Problem> {
    let asked = Asked::read(&pairs, &["use_case", "scope"])?;
    let name = asked.first("use_case");
    let choice = html! {
        div.field {
            label for="use_case" { "Use case" }
            select #use_case name="use_case" {
                @for shipped in SHIPPED {
                    option value=(shipped.name) selected[shipped.name == name] { (shipped.name) }
                }
            }
        }
        (field("scope", "Power scope", asked.first("scope"), "module"))
    };
    let found = match name.is_empty() {
        true => None,
        false => Some(recommended(&site, &asked).await?),
    };
    let body = html! {
        h1 { "Recommend" }
        (form("/recommend", &asked, &choice))
        @match &found {
            Some(page) => { (document(page)) }
            None => { p.hint { "Which device and model are best for what you want to do, what comes next, and what was excluded and why." } }
        }
        p.hint { "A use case of your own is a file: " code { "tokwatt-collector recommend FILE" } }
    };
    Ok(answer(&visitor, Section::Recommend, "Recommend", body))
}

async fn compared(site: &Site, asked: &Asked) -> Result<report::Page, Problem> {
    let [left, right] = ["left", "right"].map(|side| asked.parts(side));
    let question = Question::parse(&left, &right, &[], asked.first("provenance"));
    let question = question.map_err(QueryError::from)?;
    let conditions = asked.conditions()?;
    let comparison = site.query.compare(&question, &conditions).await?;
    Ok(report::comparison(&comparison))
}

async fn recommended(site: &Site, asked: &Asked) -> Result<report::Page, Problem> {
    let name = asked.first("use_case");
    let file = shipped(name)
        .map_err(|advice| Problem::bad_request(&format!("unknown use case `{name}`, {advice}")))?;
    let wheres = asked.list("where");
    let use_case = UseCase::parse(file.text)
        .and_then(|case| case.with(&wheres, asked.first("scope"), &[], &[]))
        .map_err(|error| QueryError::from(RecommendError::from(error)))?;
    let provenance = asked.provenance()?;
    let recommendation = site.query.recommend(&use_case, provenance).await?;
    Ok(report::recommendation(&recommendation))
}

/// As the command line prints it.
fn document(page: &report::Page) -> Markup {
    html! {
        h2 { (plain(&page.title)) }
        @if !page.facts.is_empty() {
            dl.facts {
                @for (label, words) in &page.facts { dt { (plain(label)) } dd { (plain(words)) } }
            }
        }
        @for section in &page.sections {
            @if !section.heading.is_empty() { h3 { (plain(&section.heading)) } }
            @if !section.grid.rows.is_empty() { (grid(page, section)) }
            (notes(&section.below))
        }
        (notes(&page.notes))
    }
}

fn grid(page: &report::Page, section: &report::PageSection) -> Markup {
    let caption = match section.heading.is_empty() {
        true => &page.title,
        false => &section.heading,
    };
    let columns = || section.grid.head.iter().map(|name| name.strip_prefix('#'));
    scrolling(
        caption,
        html! {
            table {
                caption.unseen { (plain(caption)) }
                thead { tr {
                    @for name in &section.grid.head {
                        th.number[name.starts_with('#')] scope="col" { (plain(name.strip_prefix('#').unwrap_or(name))) }
                    }
                } }
                tbody {
                    @for row in &section.grid.rows {
                        tr {
                            @for (number, text) in columns().zip(row) {
                                td.number[number.is_some()] { (plain(text)) }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            ul.notes { @for note in notes { li { (plain(note)) } } }
        }
    }
}
