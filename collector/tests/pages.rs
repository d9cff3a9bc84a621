//! The dashboard's pages over HTTP: who is let in, what they may, and that other people's words are only words.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokwatt_domain::{ids::RunId, run::RunTrace};
use tokwatt_proto::{
    Record,
    identity::Role,
    v1::{self, dashboard_client::DashboardClient},
};
use tonic::{Code, body::Body, codegen::http, transport::Channel};
use tower::ServiceExt;

use crate::{
    agent::{Agent, records, spool, trace_with_power},
    lab::{Lab, PATIENCE, local},
};

/// A browser's part of the protocol.
struct Visitor {
    addr: SocketAddr,
    cookie: String,
}

/// Status, head and body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Visitor {
    fn stranger(lab: &Lab) -> Self {
        Self {
            addr: lab.http,
            cookie: String::new(),
        }
    }

    /// Whoever uses a link that was made over this channel.
    async fn let_in(lab: &Lab, channel: Channel) -> Self {
        let mut visitor = Self::stranger(lab);
        let link = link(channel).await;
        let entered = visitor.get(&link);
        assert_eq!(entered.status, 303, "{}", entered.body);
        let cookie = entered.header("set-cookie").unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        visitor.cookie = cookie.split(';').next().unwrap().to_owned();
        visitor
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    fn post(&self, path: &str, origin: &str, body: &str) -> Answer {
        let head = format!(
            "{origin}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.ask("POST", path, &head, body)
    }

    fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> Answer {
        let mut stream = self.say(method, path, head, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn say(&self, method: &str, path: &str, head: &str, body: &str) -> TcpStream {
        let Self { addr, cookie } = self;
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nCookie: {cookie}\r\n{head}\r\n{body}"
        )
        .unwrap();
        stream
    }

    fn own_origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.addr)
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// A page without what a choice stands for, which a form gives back as it is, and nobody sees.
fn shown(page: &str) -> String {
    let (first, rest) = page.split_once("value=\"").unwrap_or((page, ""));
    let rest = rest.split("value=\"");
    let rest = rest.map(|part| part.split_once('"').map_or("", |(_, shown)| shown));
    [first].into_iter().chain(rest).collect()
}

/// Path of a link.
async fn link(channel: Channel) -> String {
    let opened = DashboardClient::new(channel).open(v1::OpenRequest {}).await;
    let url = opened.unwrap().into_inner().url;
    let (_, path) = url.split_once("/enter").unwrap();
    format!("/enter{path}")
}

fn with_lab(test: impl AsyncFnOnce(&Lab)) {
    let lab = Lab::start();
    tokio::runtime::Runtime::new().unwrap().block_on(test(&lab));
    lab.stop();
}

#[test]
fn strangers_are_told_what_to_type_and_see_nothing() {
    with_lab(async |lab| {
        let stranger = Visitor::stranger(lab);
        for path in [
            "/",
            "/runs",
            "/boards",
            "/live",
            "/devices/x",
            "/campaigns/x/live",
        ] {
            let answer = stranger.get(path);
            assert_eq!(answer.status, 401, "{path}");
            assert!(
                answer.body.contains("tokwatt-collector dashboard"),
                "{path}"
            );
            assert_eq!(answer.header("connection"), Some("close"), "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        }
        assert_eq!(stranger.get("/enter?link=guess").status, 401);
        assert_eq!(stranger.get("/enter").status, 401);
        assert_eq!(
            stranger
                .post("/campaigns/x/cancel", &stranger.own_origin(), "token=x")
                .status,
            401
        );
    });
}

#[test]
fn looking_ahead_does_not_use_a_link_up() {
    with_lab(async |lab| {
        let stranger = Visitor::stranger(lab);
        let link = link(local(&lab.socket()).await).await;
        assert_eq!(stranger.ask("HEAD", &link, "", "").status, 204);
        assert_eq!(stranger.get(&link).status, 303);
        assert_eq!(stranger.get(&link).status, 401);
    });
}

#[test]
fn what_changes_something_takes_a_form_of_ours_and_an_operator() {
    with_lab(async |lab| {
        let operator = Visitor::let_in(lab, local(&lab.socket()).await).await;
        let viewer = lab.member(Role::Viewer, "anna").await;
        let viewer = Visitor::let_in(lab, lab.channel(&viewer).await).await;
        assert_eq!(
            (operator.get("/").status, viewer.get("/").status),
            (200, 200)
        );
        let path = "/campaigns/none/cancel";
        let own = operator.own_origin();
        for (origin, body) in [
            ("", "token=x"),
            ("Origin: null\r\n", "token=x"),
            ("Origin: http://evil.example\r\n", "token=x"),
            (&*own, "token=x"),
            (&*own, ""),
        ] {
            assert_eq!(
                operator.post(path, origin, body).status,
                403,
                "{origin}{body}"
            );
        }
        let refused = viewer.post(path, &own, "token=x");
        assert_eq!(refused.status, 403);
        assert!(refused.body.contains("an operator may"), "{}", refused.body);
    });
}

#[test]
fn a_session_ends_with_the_certificate_that_it_goes_by() {
    with_lab(async |lab| {
        let viewer = lab.member(Role::Viewer, "anna").await;
        let viewer = Visitor::let_in(lab, lab.channel(&viewer).await).await;
        assert_eq!(viewer.get("/").status, 200);
        lab.revoke(Role::Viewer, "anna", "left").await.unwrap();
        let refused = viewer.get("/");
        assert_eq!(refused.status, 403);
        assert!(
            refused.body.contains("was revoked: left"),
            "{}",
            refused.body
        );
    });
}

#[test]
fn a_device_has_no_link() {
    with_lab(async |lab| {
        let device = lab.member(Role::Device, "orin-1").await;
        let mut client = DashboardClient::new(lab.channel(&device).await);
        let refused = client.open(v1::OpenRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    });
}

/// Status and body of a page over mutual TLS.
async fn page(channel: Channel, path: &str) -> (u16, String) {
    let request = http::Request::builder()
        .uri(path)
        .body(Body::empty())
        .unwrap();
    let answer = channel.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
    let body = body.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn from_elsewhere_pages_go_by_certificate() {
    with_lab(async |lab| {
        let viewer = lab.member(Role::Viewer, "anna").await;
        let (status, body) = page(lab.channel(&viewer).await, "/").await;
        assert_eq!(status, 200);
        assert!(body.contains("viewer `anna`"), "{body}");
        let device = lab.member(Role::Device, "orin-1").await;
        let (status, body) = page(lab.channel(&device).await, "/").await;
        assert_eq!(status, 403);
        assert!(body.contains("may not ask"), "{body}");
        let (status, _) = page(lab.channel(&viewer).await, "/metrics").await;
        assert_eq!(status, 404, "they are for this machine");
    });
}

/// Somebody who may look at a run of `orin-1` that is delivered and measured.
async fn measured(lab: &Lab, trace: &RunTrace) -> Visitor {
    let member = lab.member(Role::Device, "orin-1").await;
    let mut delivered = vec![spool("orin-1", 1, 0, 1).remove(0)];
    delivered.extend(records(trace).iter().map(Record::encode));
    let (mut agent, _): (Agent, _) = lab.deliver(&member, "orin-1").await.unwrap();
    agent.send(1, &delivered).await;
    agent
        .ack_through(u64::try_from(delivered.len()).unwrap())
        .await;
    let visitor = Visitor::let_in(lab, local(&lab.socket()).await).await;
    while !visitor.get("/runs").body.contains("complete") {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    visitor
}

#[test]
fn a_trace_is_sent_piece_by_piece_and_to_its_end() {
    with_lab(async |lab| {
        let run = RunId([7; 16]);
        let visitor = measured(lab, &trace_with_power("orin-1", run, 1, 20)).await;
        let answer = visitor.get(&format!("/runs/{run}/trace.jsonl"));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-length"), None);
        for words in ["{\"schema\":\"tokwatt.trace/1\"", "\"end\":\"complete\"}\n"] {
            assert!(answer.body.contains(words), "{words}");
        }
    });
}

#[test]
fn words_of_others_are_only_words() {
    const EVIL: &str = "<script>alert(1)</script>\"'>\n\u{202e}gnp";
    with_lab(async |lab| {
        let mut trace = trace_with_power("orin-1", RunId([7; 16]), 1, 20);
        let cell = &mut trace.header.cell;
        for name in [
            &mut cell.identity.suite,
            &mut cell.identity.task,
            &mut cell.identity.model,
            &mut cell.identity.precision,
            &mut cell.configuration.engine,
            &mut cell.configuration.os,
        ] {
            EVIL.clone_into(name);
        }
        let flags = &mut cell.configuration.engine_flags;
        flags.insert(EVIL.to_owned(), EVIL.to_owned());
        let segment = &mut trace.segments[0];
        segment.power[0].sensor.source = EVIL.to_owned();
        segment.power[0].sensor.rails[0].name = EVIL.to_owned();
        for request in &mut segment.requests {
            request.item = EVIL.to_owned();
            request.answer = EVIL.to_owned();
        }
        let visitor = measured(lab, &trace).await;
        let run = RunId([7; 16]).to_string();
        for path in [
            "/".to_owned(),
            "/boards?metric=decode_tps".to_owned(),
            "/boards?metric=decode_tps&where=model%3D%3Cscript%3E".to_owned(),
            "/boards?metric=%3Cscript%3E".to_owned(),
            "/boards?%3Cscript%3E=1".to_owned(),
            "/devices/orin-1".to_owned(),
            "/devices/%3Cscript%3E".to_owned(),
            "/runs".to_owned(),
            format!("/runs/{run}"),
            "/runs/%3Cscript%3E".to_owned(),
            "/campaigns/%3Cscript%3E".to_owned(),
        ] {
            let answer = visitor.get(&path);
            let body = answer.body.to_lowercase();
            assert!(answer.status < 500, "{path}: {}", answer.status);
            assert!(!body.contains("<script>"), "{path}: {body}");
            assert!(body.contains("&lt;script&gt;"), "{path}: {body}");
            assert!(!shown(&body).contains('\u{202e}'), "{path}: {body}");
        }
    });
}

#[test]
fn live_parts_end_when_the_collector_stops_and_nobody_takes_all_of_them() {
    let lab = Lab::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let visitors = runtime.block_on(async {
        let mut visitors = vec![Visitor::let_in(&lab, local(&lab.socket()).await).await];
        for name in ["anna", "ben", "cem"] {
            let viewer = lab.member(Role::Viewer, name).await;
            visitors.push(Visitor::let_in(&lab, lab.channel(&viewer).await).await);
        }
        visitors
    });
    let follow = |visitor: &Visitor| {
        let mut stream = visitor.say("GET", "/live", "", "");
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (String::from_utf8_lossy(&head).into_owned(), stream)
    };
    let mut following = Vec::new();
    for (visitor, seats) in visitors.iter().zip([8, 8, 8, 0]) {
        let before = following.len();
        let refused = loop {
            let (head, stream) = follow(visitor);
            if head != "HTTP/1.1 200" {
                break head;
            }
            following.push(stream);
        };
        let taken = following.len() - before;
        assert_eq!((taken, &*refused), (seats, "HTTP/1.1 503"));
    }
    drop(following.pop());
    lab.stop();
    for mut stream in following {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

/// Between two looks at a page.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
