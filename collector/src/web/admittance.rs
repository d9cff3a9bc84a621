//! Who asks for a page: somebody with a certificate, or a browser with the cookie of a session. What changes something must come from
//! a form of ours besides.

use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    extract::{FromRequest, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, Uri,
    header::{COOKIE, HOST, ORIGIN},
};
use serde::Deserialize;

use super::{patience::Patience, problem::Problem, site::Site};
use crate::{enrol::standing, peer::Peer};

/// Who was let in; among the extensions of the request.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) peer: Peer,
    /// What their forms bring back.
    pub(super) form_token: String,
}

/// Among the extensions of the answer: somebody was let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct LetIn;

/// A form of ours, sent by somebody who may change what everybody sees.
pub(super) struct Operated(pub(super) Peer);

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// Looks who asks, before any page is made.
pub(super) async fn admit(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let name = site.cookie();
    let session = name.and_then(|name| cookie(request.headers(), &name));
    let session = session.map(str::to_owned);
    let visitor = match visitor(&site, peer, session).await {
        Ok(visitor) => visitor,
        Err(problem) => return problem.into_response(),
    };
    if let Err(problem) = is_from_here(&request) {
        return problem.into_response();
    }
    if let Some(patience) = request.extensions().get::<Patience>() {
        patience.extend(PAGE_TIME);
    }
    request.extensions_mut().insert(visitor);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(LetIn);
    response
}

async fn visitor(
    site: &Site,
    peer: Option<Peer>,
    session: Option<String>,
) -> Result<Visitor, Problem> {
    let (peer, form_token) = match peer {
        Some(Peer::Certified(own)) => {
            let form_token = site.sessions.form_token(&own.serial);
            (Peer::Certified(own), form_token)
        }
        Some(other) => (other, String::new()),
        None => {
            let session = session.ok_or_else(Problem::nobody)?;
            let peer = site.sessions.peer(&session).ok_or_else(Problem::nobody)?;
            let peer = still(site, peer).await?;
            (peer, site.sessions.form_token(session.as_bytes()))
        }
    };
    peer.may_ask()
        .map_err(|status| Problem::forbidden(status.message()))?;
    Ok(Visitor { peer, form_token })
}

/// A session goes by the certificate of whoever asked for it, and no longer than that.
async fn still(site: &Site, peer: Peer) -> Result<Peer, Problem> {
    let Peer::Certified(certified) = peer else {
        return Ok(peer);
    };
    let serials = vec![certified.serial.clone()];
    let rows = site.store.certificates(serials).await?;
    let row = rows.first().and_then(Option::as_ref);
    standing(certified, row, site.clock.wall()).map_err(|why| Problem::forbidden(&why))
}

/// What changes something comes from a page of the same origin, by the browser's word.
fn is_from_here(request: &Request) -> Result<(), Problem> {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        return Ok(());
    }
    let headers = request.headers();
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://"));
    match (origin, host(headers, request.uri())) {
        (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Problem::forbidden(
            "this was not sent from a page of this collector: open the page, and press the button there",
        )),
    }
}

fn host<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Option<&'r str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| headers.get(HOST)?.to_str().ok())
}

fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    let cookies = headers.get_all(COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, _)| *own == name).map(|(_, value)| value)
}

impl FromRequest<Arc<Site>> for Operated {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Problem> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let Visitor { peer, form_token } = visitor.ok_or_else(Problem::nobody)?;
        peer.may_operate()
            .map_err(|status| Problem::forbidden(status.message()))?;
        let form = Form::<Token>::from_request(request, site).await;
        let is_ours = form.is_ok_and(|Form(Token { token })| token == form_token);
        if !is_ours {
            return Err(Problem::forbidden(
                "the form is not of this session, or older than it: open the page anew, and press the button there",
            ));
        }
        Ok(Self(peer))
    }
}

/// For one answer, also a large download over a slow link.
const PAGE_TIME: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_a_page_of_ours_changes_anything() {
        check("GET", "127.0.0.1:7480", None, true);
        check(
            "POST",
            "127.0.0.1:7480",
            Some("http://127.0.0.1:7480"),
            true,
        );
        check(
            "POST",
            "127.0.0.1:7480",
            Some("http://127.0.0.1:7481"),
            false,
        );
        check("POST", "127.0.0.1:7480", Some("http://evil.example"), false);
        check("POST", "127.0.0.1:7480", Some("null"), false);
        check("POST", "127.0.0.1:7480", None, false);
        check("DELETE", "127.0.0.1:7480", None, false);

        #[track_caller]
        fn check(method: &str, host: &str, origin: Option<&str>, want: bool) {
            let mut request = Request::builder()
                .method(method)
                .uri("/x")
                .header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let request = request.body(Body::empty()).unwrap();
            let is_let_in = is_from_here(&request).is_ok();
            assert_eq!(is_let_in, want, "{method} {origin:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; tokwatt-1=no".parse().unwrap());
        headers.append(COOKIE, "tokwatt-2=yes; b=2".parse().unwrap());
        assert_eq!(cookie(&headers, "tokwatt-2"), Some("yes"));
        assert_eq!(cookie(&headers, "tokwatt"), None);
    }
}
