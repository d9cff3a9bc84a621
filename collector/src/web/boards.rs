//! Boards: who is better, by filters that stand in the address.

mod asked;
mod filters;
mod interval;
mod table;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use hyper::{
    StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE},
};
use maud::{Markup, html};
use tokwatt_domain::{leaderboard::Board, power::Provenance};

use self::asked::Asked;
pub(super) use self::filters::provenances;
use super::{
    admittance::Visitor,
    fleet::counted,
    names::{name, plain},
    page::{Section, answer, page},
    problem::Problem,
    site::Site,
};
use crate::{
    query::QueryError,
    rank::{Question, RankError, parse_provenance},
    report,
};

pub(super) async fn show(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(&pairs)?;
    if asked.metric.is_empty() {
        let settled = settled(&site, asked).await?;
        return Ok(Redirect::to(&settled.address()).into_response());
    }
    let provenance = parse_provenance(&asked.provenance);
    let provenance = provenance.map_err(QueryError::from)?;
    let choices = site.query.choices(provenance).await?;
    let filters = filters::form(&asked, provenance, &choices);
    match board(&site, &asked).await? {
        Ok(board) => {
            let elsewhere = match board.rows.is_empty() {
                true => elsewhere(&site, provenance).await?,
                false => Vec::new(),
            };
            let title = report::title(&board);
            let body = html! {
                h1 { (plain(&title)) }
                (filters)
                (nothing(&board, &elsewhere))
                (table::board(&board))
                p.downloads {
                    "This board as "
                    a href=(asked.download("csv")) download { "CSV" } ", "
                    a href=(asked.download("json")) download { "JSON" } ", "
                    a href=(asked.download("md")) download { "Markdown" }
                }
            };
            Ok(answer(&visitor, Section::Boards, &title, body).into_response())
        }
        Err(error) => {
            let body = html! {
                h1 { "Which board?" }
                (ways_out(&asked, &error))
                (filters)
            };
            let page = page(Some(&visitor), Some(Section::Boards), "Which board?", body);
            Ok((status(&error), Html(page.into_string())).into_response())
        }
    }
}

/// A board as a file.
pub(super) async fn download(
    State(site): State<Arc<Site>>,
    Path(format): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(&pairs)?;
    let board = board(&site, &asked).await?.map_err(QueryError::from)?;
    let (content_type, content) = match format.as_str() {
        "board.csv" => ("text/csv; charset=utf-8", report::csv(&board)),
        "board.json" => ("application/json", serde_json::to_string(&board)?),
        "board.md" => ("text/markdown; charset=utf-8", report::markdown(&board)),
        _ => {
            return Err(Problem::not_found(
                "A board is there as board.csv, board.json and board.md",
            ));
        }
    };
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{format}\""),
        ),
    ];
    Ok((headers, content).into_response())
}

async fn board(site: &Site, asked: &Asked) -> Result<Result<Board, RankError>, Problem> {
    let question = match asked.question() {
        Ok(question) => question,
        Err(error) => return Ok(Err(error)),
    };
    match site.query.board(&question).await {
        Ok(board) => Ok(Ok(board)),
        Err(QueryError::Rank(error)) => Ok(Err(error)),
        Err(error) => Err(error.into()),
    }
}

/// A question that has an answer, for who has not asked one yet: what must be one value is the first one that there is. It stands in the
/// address, where it can be changed.
async fn settled(site: &Site, asked: Asked) -> Result<Asked, Problem> {
    let mut asked = asked.or_default();
    for _ in 0..SETTLING_MAX {
        match board(site, &asked).await? {
            Err(RankError::Several { several, .. }) => {
                for several in several {
                    let first = several.values.into_iter().next().unwrap_or_default();
                    asked = asked.with_condition(several.key, &first);
                }
            }
            Err(RankError::NeedsScope { metric, scopes }) => {
                let scope = scopes.first().map(|scope| format!("{metric}@{scope}"));
                asked.metric = scope.unwrap_or_default();
            }
            _ => break,
        }
    }
    Ok(asked)
}

/// Other provenances of which there is something.
async fn elsewhere(site: &Site, but: Provenance) -> Result<Vec<(Provenance, usize)>, Problem> {
    let mut found = Vec::new();
    for provenance in filters::PROVENANCES {
        if provenance != but {
            let n = site.query.choices(provenance).await?.n_cells;
            found.extend((n > 0).then_some((provenance, n)));
        }
    }
    Ok(found)
}

fn nothing(board: &Board, elsewhere: &[(Provenance, usize)]) -> Markup {
    html! {
        @if board.rows.is_empty() {
            p { "Nothing that is " (board.provenance) " stands on this board." }
            @if !elsewhere.is_empty() {
                ul {
                    @for (provenance, n) in elsewhere {
                        li {
                            a href=(Asked::of(*provenance).address()) {
                                (counted(*n, "configuration", "configurations")) " " (provenance)
                            }
                            @if *provenance != Provenance::Measured { ": on boards of their own, never beside what is measured" }
                        }
                    }
                }
            }
        }
    }
}

/// What to ask instead, as links.
fn ways_out(asked: &Asked, error: &RankError) -> Markup {
    html! {
        @match error {
            RankError::Several { several, .. } => {
                p.hint { "These runs cannot stand on one board, since what was asked of them differs. Choose, or make rows of it:" }
                dl.facts {
                    @for several in several {
                        dt { (several.key.as_str()) }
                        dd {
                            ul.choices {
                                @for value in &several.values {
                                    li { a href=(asked.clone().with_condition(several.key, value).address()) { (name(&report::shortened(value))) } }
                                }
                                li { a href=(asked.clone().with_rows_by(several.key).address()) { "make rows of it" } }
                            }
                        }
                    }
                }
            }
            RankError::NeedsScope { metric, scopes } => {
                p.hint { (metric) " is there for several power scopes, which are never compared. Choose one:" }
                ul.choices {
                    @for scope in scopes {
                        li { a href=(asked.clone().with_metric(&format!("{metric}@{scope}")).address()) { (metric) "@" (scope) } }
                    }
                }
            }
            RankError::NoSuchValue { key, value, there_are } => {
                p.problem { "No run has " (key) "=" (name(value)) ". There are:" }
                ul.choices {
                    @for there_is in there_are {
                        li { a href=(asked.clone().with_value(key, there_is).address()) { (name(&report::shortened(there_is))) } }
                    }
                }
            }
            other => { p.problem { (plain(&other.to_string())) } }
        }
    }
}

/// A step on the way to a board is no failure.
fn status(error: &RankError) -> StatusCode {
    match error {
        RankError::Several { .. } | RankError::NeedsScope { .. } => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl Asked {
    fn question(&self) -> Result<Question, RankError> {
        Question::parse(
            &self.metric,
            &self.by,
            &self.conditions,
            &self.provenance,
            self.is_strict,
        )
    }
}

/// One for each kind of error that has a first way out, and some.
const SETTLING_MAX: usize = 6;
