//! The pages as one service: which there are, and what holds for all of them.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    middleware::{from_fn_with_state, map_response},
    response::Response,
    routing::{get, post},
};
use hyper::header::{self, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::{
    admittance::admit,
    assets, boards, campaigns, compare, device, download, fleet,
    live::{self, Followers},
    opening, problem, recommend, report, run, runs,
    sessions::Sessions,
};
use crate::{clock::Clock, dispatch::Dispatch, query::Query, report::Drawing, store::Store};

/// What pages are made from.
pub struct Site {
    /// Answers.
    pub query: Query,
    /// Campaigns, and who attends.
    pub dispatch: Arc<Dispatch>,
    /// Whose certificates are good.
    pub store: Arc<Store>,
    /// By which they are.
    pub clock: Arc<dyn Clock>,
    /// Who was let in on this machine.
    pub sessions: Arc<Sessions>,
    /// Where browsers of this machine find the pages, if anywhere.
    pub http: Option<SocketAddr>,
    /// Set when the collector takes no more deliveries.
    pub stopping: CancellationToken,
    /// How many may follow live parts.
    pub followers: Followers,
    /// How many reports are drawn at a time.
    pub drawing: Drawing,
    /// Where a file is made that is sent.
    pub folder: PathBuf,
}

impl Site {
    /// All pages. Whoever carries a request here says in its extensions who asks, a `Peer`; where nobody says, it is asked for the cookie
    /// of a session.
    pub fn pages(self: &Arc<Self>) -> Router {
        let inside = Router::new()
            .route("/", get(fleet::show))
            .route("/live", get(live::fleet))
            .route("/boards", get(boards::show))
            .route("/boards/{format}", get(boards::download))
            .route("/compare", get(compare::show))
            .route("/recommend", get(recommend::show))
            .route("/report", get(report::show))
            .route("/report.tar", get(report::download))
            .route("/devices/{device}", get(device::show))
            .route("/runs", get(runs::list))
            .route("/runs/{run}", get(run::show))
            .route("/runs/{run}/run.json", get(download::run))
            .route("/runs/{run}/trace.jsonl", get(download::trace))
            .route("/campaigns", get(campaigns::list))
            .route("/campaigns/{name}", get(campaigns::show))
            .route("/campaigns/{name}/live", get(live::campaign))
            .route("/campaigns/{name}/cancel", post(campaigns::cancel))
            .route_layer(from_fn_with_state(Arc::clone(self), admit));
        Router::new()
            .route("/enter", get(opening::enter))
            .merge(assets::routes())
            .merge(inside)
            .fallback(problem::nowhere)
            .layer(map_response(guarded))
            .with_state(Arc::clone(self))
    }

    /// Name of the cookie of a session. Cookies know no ports, so that two collectors of one machine have two names.
    pub(super) fn cookie(&self) -> Option<String> {
        self.http.map(|http| format!("tokwatt-{}", http.port()))
    }
}

/// What browsers are told about every answer: to fetch nothing from elsewhere, run nothing that is not a file of ours, keep no page, and
/// show it in nobody's frame.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let may_be_kept = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(may_be_kept);
    response
}

const GUARDS: [(header::HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: a form would be sent from the origin `null` then.
    (header::REFERRER_POLICY, "same-origin"),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];
