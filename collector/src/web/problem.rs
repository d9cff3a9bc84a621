//! Pages for what did not work: what it was, and what to do next.

use std::error::Error;

use axum::response::{Html, IntoResponse, Response};
use hyper::StatusCode;
use maud::html;

use super::{
    names::{lines, plain},
    page::page,
};
use crate::{dispatch::CampaignError, query::QueryError, store::StoreError};

/// What a page could not be made for.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    text: String,
    /// What to type.
    command: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            command: None,
        }
    }

    /// No session, or one that has ended.
    pub(super) fn nobody() -> Self {
        Self {
            command: Some("tokwatt-collector dashboard"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "You are not let in yet",
                "These pages are for whoever may ask the collector. On the machine where it runs, type this; it opens the dashboard by a link \
                 that is good once. With --data DIR it finds a collector whose data folder is elsewhere.",
            )
        }
    }

    /// A link that was used, is too old, or never was one.
    pub(super) fn used_link() -> Self {
        Self {
            command: Some("tokwatt-collector dashboard"),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "This link is not good any more",
                "A link lets one browser in, once, within two minutes. If nobody you know has used it, somebody else has. Make another one:",
            )
        }
    }

    /// Somebody who is known, and may not.
    pub(super) fn forbidden(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "You may not do that", plain(why))
    }

    /// A word in the address that cannot be.
    pub(super) fn bad_request(why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This question cannot be answered",
            plain(why),
        )
    }

    /// There is no such thing.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing here", plain(what))
    }

    /// As much as can be done is being done.
    pub(super) fn busy(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Too much at once", why)
    }

    /// A failure of ours.
    pub(super) fn failed(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(%error, source = ?error.source(), "a page could not be made");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The page could not be made",
            format!(
                "{}: the collector's log says more",
                plain(&error.to_string())
            ),
        )
    }
}

/// An address at which nothing is.
pub(super) async fn nowhere() -> Problem {
    Problem::not_found(
        "No page has this address. For people there is the dashboard, from the first page on; for programs /healthz, /readyz and /metrics",
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = html! {
            h1 { (self.title) }
            p.problem { (lines(&self.text)) }
            @if let Some(command) = self.command {
                pre { code { (command) } }
            }
        };
        let page = page(None, None, self.title, body);
        (self.status, Html(page.into_string())).into_response()
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::NoSuchRun(_) | QueryError::Imported(_) => {
                Self::not_found(&error.to_string())
            }
            ours if ours.is_ours() => Self::failed(&error),
            _ => Self::bad_request(&error.to_string()),
        }
    }
}

impl From<CampaignError> for Problem {
    fn from(error: CampaignError) -> Self {
        match &error {
            CampaignError::Unknown { .. } => Self::not_found(&error.to_string()),
            CampaignError::Store(_) => Self::failed(&error),
            _ => Self::bad_request(&error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::failed(&error)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::failed(&error)
    }
}
