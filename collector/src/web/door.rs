//! Who is let in: host, path and method of a request, before anything is made.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use axum::body::Body;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
};
use tower::ServiceExt;

use super::{Front, admittance::LetIn, is_of_this_machine, probes::Probe};

/// What is answered.
pub(super) type Answer = Response<Body>;

/// Looks at the head of a request and has its answer made. Whoever was not let in asks once on a connection.
pub(super) async fn answer(request: Request<Incoming>, addr: SocketAddr, front: &Front) -> Answer {
    let mut answer = answer_to(request, addr, front).await;
    if answer.extensions().get::<LetIn>().is_none() {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

async fn answer_to(request: Request<Incoming>, addr: SocketAddr, front: &Front) -> Answer {
    let authority = request.uri().authority().map(|name| name.as_str());
    if !is_for(addr, authority, request.headers()) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            &format!("this is {addr}: ask it by that address, or as localhost\n"),
        );
    }
    let Some(probe) = Probe::at(request.uri().path()) else {
        let answered: Result<Answer, Infallible> = front.pages.clone().oneshot(request).await;
        return answered.unwrap_or_else(|never| match never {});
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return answer;
    }
    front.probes.answer(probe).await
}

/// An answer in plain text.
pub(super) fn text(status: StatusCode, body: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

/// An answer that no browser keeps, or takes for something else.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let length = HeaderValue::from(body.len());
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Said here, so that HEAD says it, too.
    headers.insert(header::CONTENT_LENGTH, length);
    answer
}

/// Whether whoever asked meant this address: `Host` stands there once, and so does the target's own host, if it has one.
fn is_for(addr: SocketAddr, authority: Option<&str>, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let host = host.to_str().unwrap_or_default();
    is_ours(addr, host) && authority.is_none_or(|authority| is_ours(addr, authority))
}

fn is_ours(addr: SocketAddr, host: &str) -> bool {
    // `[::1]:80` has colons of its own.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, Some(HTTP_PORT)),
    };
    let ip = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name)
        .parse::<IpAddr>();
    let is_this_machine = match ip {
        Ok(ip) => is_of_this_machine(ip),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    };
    is_this_machine && port == Some(addr.port())
}

/// What a host without a port means.
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_this_machine_and_port_is_meant() {
        check(&["127.0.0.1:7480"], true);
        check(&["localhost:7480"], true);
        check(&["LocalHost:7480"], true);
        check(&["[::1]:7480"], true);
        check(&[], false);
        check(&["localhost:7480", "localhost:7480"], false);
        check(&["localhost"], false);
        check(&["localhost:7481"], false);
        check(&["evil.example:7480"], false);
        check(&["localhost.evil.example:7480"], false);
        check(&["127.0.0.1.evil.example:7480"], false);
        check(&["192.168.1.2:7480"], false);
        check(&["[::1]"], false);
        check(&["::1:7480:"], false);
        check(&[""], false);

        #[track_caller]
        fn check(hosts: &[&str], want: bool) {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
            }
            let addr = SocketAddr::from(([127, 0, 0, 1], 7480));
            assert_eq!(is_for(addr, None, &headers), want, "{hosts:?}");
        }
    }

    #[test]
    fn a_target_that_names_another_host_is_not_for_us() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost:7480"));
        let addr = SocketAddr::from(([127, 0, 0, 1], 7480));
        assert!(is_for(addr, Some("localhost:7480"), &headers));
        assert!(!is_for(addr, Some("evil.example:7480"), &headers));
    }
}
