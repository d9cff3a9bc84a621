//! The best for a use case: `/recommend?use_case=real-time-stream&provenance=simulated`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use hyper::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use tokwatt_domain::power::{Provenance, Scope};

use super::{
    admittance::Visitor,
    boards::provenances,
    document::{document, title},
    names::{lines, url},
    page::{Section, page},
    problem::Problem,
    site::Site,
};
use crate::{
    query::QueryError,
    rank::parse_provenance,
    recommend::{RecommendError, SHIPPED, Shipped, UseCase, shipped},
    report::{self, Page},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    use_case: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    provenance: String,
}

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let provenance = parse_provenance(&asked.provenance).map_err(QueryError::from)?;
    let form = form(&asked, provenance);
    if asked.use_case.is_empty() {
        let body = html! { h1 { "Recommend" } (form) (built_in(provenance)?) };
        let page = page(Some(&visitor), Some(Section::Recommend), "Recommend", body);
        return Ok(Html(page.into_string()).into_response());
    }
    let known = shipped(&asked.use_case).map_err(|advice| {
        let name = &asked.use_case;
        Problem::bad_request(&format!("unknown use case `{name}`, {advice}"))
    })?;
    let (status, title, answer) = match answer(&site, known, &asked.scope, provenance).await {
        Ok(page) => (StatusCode::OK, title(&page), document(&page)),
        Err(error) if error.is_ours() => return Err(error.into()),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            "Recommend".to_owned(),
            html! { p.problem { (lines(&error.to_string())) } },
        ),
    };
    let body = html! { h1 { (title) } (form) (answer) };
    let page = page(Some(&visitor), Some(Section::Recommend), &title, body);
    Ok((status, Html(page.into_string())).into_response())
}

async fn answer(
    site: &Site,
    shipped: Shipped,
    scope: &str,
    provenance: Provenance,
) -> Result<Page, QueryError> {
    let use_case = UseCase::parse(shipped.text).and_then(|case| case.with(&[], scope, &[], &[]));
    let use_case = use_case.map_err(RecommendError::from)?;
    let recommendation = site.query.recommend(&use_case, provenance).await?;
    Ok(report::recommendation(&recommendation))
}

/// What there is, and what each is for.
fn built_in(provenance: Provenance) -> Result<Markup, Problem> {
    let cases = SHIPPED.map(|shipped| UseCase::parse(shipped.text));
    let cases = cases.into_iter().collect::<Result<Vec<_>, _>>();
    let cases = cases.map_err(|error| Problem::failed(&error))?;
    let address = |case: &UseCase| {
        let pairs = [
            ("use_case", case.name.as_str()),
            ("provenance", provenance.as_str()),
        ];
        url("/recommend", pairs)
    };
    Ok(html! {
        dl.facts {
            @for case in &cases { dt { a href=(address(case)) { (case.name) } } dd { (case.question) } }
        }
        p { "A use case of your own is a file in the form of those in configs/rankings, for " code { "tokwatt-collector recommend FILE" } "." }
    })
}

fn form(asked: &Asked, provenance: Provenance) -> Markup {
    html! {
        form.filters method="get" action="/recommend" aria-label="Use case" {
            div.field {
                label for="use_case" { "Use case" }
                select #use_case name="use_case" {
                    @for shipped in SHIPPED {
                        option value=(shipped.name) selected[shipped.name == asked.use_case] { (shipped.name) }
                    }
                }
            }
            div.field {
                label for="scope" { "Power scope" }
                select #scope name="scope" {
                    option value="" { "the only one there is" }
                    @for scope in Scope::ALL {
                        option value=(scope) selected[scope.as_str() == asked.scope] { (scope) }
                    }
                }
            }
            (provenances(provenance))
            button type="submit" { "Recommend" }
        }
    }
}
