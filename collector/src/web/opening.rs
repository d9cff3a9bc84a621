//! The way in for a browser: a link made over gRPC for whoever may ask, and the page that turns it into a session.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Redirect, Response},
};
use hyper::{Method, StatusCode, header::SET_COOKIE};
use serde::Deserialize;
use tokwatt_proto::v1::{self, dashboard_server::DashboardServer};
use tonic::{Request, Status};

use super::{
    problem::Problem,
    sessions::{LINK_LIFE, SESSION_LIFE, Sessions},
    site::Site,
};
use crate::peer::Peer;

/// The gRPC service Dashboard.
pub struct Opening {
    sessions: Arc<Sessions>,
    /// Where pages are, if anywhere.
    http: Option<SocketAddr>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    link: String,
}

impl Opening {
    /// The service, for pages at `http`.
    pub fn service(sessions: Arc<Sessions>, http: Option<SocketAddr>) -> DashboardServer<Self> {
        DashboardServer::new(Self { sessions, http })
    }
}

#[tonic::async_trait]
impl v1::dashboard_server::Dashboard for Opening {
    async fn open(
        &self,
        request: Request<v1::OpenRequest>,
    ) -> Result<tonic::Response<v1::OpenResponse>, Status> {
        let peer = Peer::of(&request)?;
        peer.may_ask()?;
        let Some(http) = self.http else {
            return Err(Status::failed_precondition(
                "this collector answers no browser: start it with `serve --http 127.0.0.1:7480`, or set `http` in its settings",
            ));
        };
        tracing::info!(by = %peer, "link to the dashboard made");
        let link = self.sessions.link(peer);
        let link = link.map_err(|error| Status::internal(error.to_string()))?;
        Ok(tonic::Response::new(v1::OpenResponse {
            url: format!("http://{http}/enter?link={link}"),
            seconds: u32::try_from(LINK_LIFE.as_secs()).unwrap_or(u32::MAX),
        }))
    }
}

/// Uses a link up. Only by GET: what looks ahead at an address asks HEAD.
pub(super) async fn enter(
    State(site): State<Arc<Site>>,
    method: Method,
    link: Result<Query<Link>, QueryRejection>,
) -> Result<Response, Problem> {
    if method != Method::GET {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some((Query(Link { link }), name)) = link.ok().zip(site.cookie()) else {
        return Err(Problem::used_link());
    };
    let session = site.sessions.enter(&link);
    let session = session.map_err(|error| Problem::failed(&error))?;
    let session = session.ok_or_else(Problem::used_link)?;
    tracing::info!("somebody came in by a link");
    let cookie = format!(
        "{name}={session}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict",
        SESSION_LIFE.as_secs()
    );
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}
