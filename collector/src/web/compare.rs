//! Two sides against each other: `/compare?left=device=orin-1&right=device=thor-1&where=task=caption_brief`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State},
    response::{Html, IntoResponse, Response},
};
use hyper::StatusCode;
use maud::{Markup, html};
use tokwatt_domain::{power::Provenance, spelling::advice};

use super::{
    admittance::Visitor,
    boards::provenances,
    document::{document, title},
    names::{lines, plain},
    page::{Section, page},
    problem::Problem,
    site::Site,
};
use crate::{
    compare::{Question, split},
    query::QueryError,
    rank::{Choices, Condition, Key, parse_provenance},
    report::{self, Page},
};

/// In the words of the command line.
#[derive(Debug, Default)]
struct Asked {
    left: Vec<String>,
    right: Vec<String>,
    conditions: Vec<String>,
    metrics: Vec<String>,
    provenance: String,
}

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(&pairs)?;
    let provenance = parse_provenance(&asked.provenance).map_err(QueryError::from)?;
    let choices = site.query.choices(provenance).await?;
    let form = form(&asked, provenance, &choices);
    if asked.left.is_empty() && asked.right.is_empty() {
        let body = html! {
            h1 { "Compare" }
            p { "Everything but what the two sides name has to match. Each figure of B is divided by that of A, with its interval and a verdict." }
            (form)
        };
        let page = page(Some(&visitor), Some(Section::Compare), "Compare", body);
        return Ok(Html(page.into_string()).into_response());
    }
    let (status, title, answer) = match answer(&site, &asked).await {
        Ok(page) => (StatusCode::OK, title(&page), document(&page)),
        Err(error) if error.is_ours() => return Err(error.into()),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            "Compare".to_owned(),
            html! { p.problem { (lines(&error.to_string())) } },
        ),
    };
    let body = html! { h1 { (title) } (form) (answer) };
    let page = page(Some(&visitor), Some(Section::Compare), &title, body);
    Ok((status, Html(page.into_string())).into_response())
}

async fn answer(site: &Site, asked: &Asked) -> Result<Page, QueryError> {
    let question = Question::parse(&asked.left, &asked.right, &asked.metrics, &asked.provenance)?;
    let conditions = asked.conditions.iter().map(|text| Condition::parse(text));
    let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
    let comparison = site.query.compare(&question, &conditions).await?;
    Ok(report::comparison(&comparison))
}

impl Asked {
    /// What is left empty in a form is not asked for.
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            match key.as_str() {
                "left" => asked.left.extend(split(value)),
                "right" => asked.right.extend(split(value)),
                "where" => asked.conditions.push(value.clone()),
                "metric" => asked.metrics.push(value.clone()),
                "provenance" => asked.provenance.clone_from(value),
                other => {
                    let advice = advice(other, &["left", "right", "where", "metric", "provenance"]);
                    return Err(Problem::bad_request(&format!(
                        "unknown filter `{other}` in the address, {advice}"
                    )));
                }
            }
        }
        Ok(asked)
    }
}

fn form(asked: &Asked, provenance: Provenance, choices: &Choices) -> Markup {
    html! {
        form.filters method="get" action="/compare" aria-label="Sides" {
            (side("left", "A", &asked.left, choices))
            (side("right", "B", &asked.right, choices))
            @for key in WHERE {
                @if choices.values(key).len() > 1 {
                    div.field {
                        label for=(key.as_str()) { (key.as_str()) }
                        select id=(key.as_str()) name="where" {
                            option value="" { "any" }
                            @for value in choices.values(key) { (option(key, value, &asked.conditions)) }
                        }
                    }
                }
            }
            (provenances(provenance))
            button type="submit" { "Compare" }
        }
    }
}

/// All that a side can be, by what it is a choice of.
fn side(name: &str, label: &str, chosen: &[String], choices: &Choices) -> Markup {
    let joined = chosen.join(",");
    let is_listed = SIDES.iter().any(|key| {
        let mut values = choices.values(*key).iter();
        values.any(|value| format!("{}={value}", key.as_str()) == joined)
    });
    html! {
        div.field {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" { "choose" }
                @if !joined.is_empty() && !is_listed { option value=(joined) selected { (plain(&joined)) } }
                @for key in SIDES {
                    @if choices.values(key).len() > 1 {
                        optgroup label=(key.as_str()) {
                            @for value in choices.values(key) { (option(key, value, chosen)) }
                        }
                    }
                }
            }
        }
    }
}

fn option(key: Key, value: &str, chosen: &[String]) -> Markup {
    let condition = format!("{}={value}", key.as_str());
    html! {
        option value=(condition) selected[chosen.contains(&condition)] { (plain(&report::shortened(value))) }
    }
}

/// What people compare.
const SIDES: [Key; 6] = [
    Key::Device,
    Key::Model,
    Key::Precision,
    Key::Engine,
    Key::PowerMode,
    Key::Load,
];

/// What they leave out.
const WHERE: [Key; 5] = [
    Key::Task,
    Key::Device,
    Key::Model,
    Key::Precision,
    Key::ImagePx,
];
