//! Connections: opened before a question is sent, kept, stamped where bytes come off, under TLS, with a key.

use std::{fs, path::PathBuf, pin::pin, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{
    StreamExt,
    future::{Either, select},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::json;
use tokwatt_agent::backend::{
    Arrival, Backend, Event,
    http::{ApiKey, Client, Moment},
};

use crate::{
    Counting, Failed, answer, answering, arrivals, eventually, failed, failure, question, ready,
    scripted::{
        Act, DONE, Gate, Scripted, answered, finished, good, piece, said, stream_end, stream_head,
        streamed, whole,
    },
    settings, with,
};

#[tokio::test]
async fn a_connection_serves_question_after_question() {
    let server = Scripted::start(|_| None);
    let backend = ready(&server).await;
    for _ in 0..5 {
        assert_eq!(answer(&backend).await.0, "yes it is");
    }
    assert_eq!(server.n_connections(), 1);
    let (one, other) = tokio::join!(answer(&backend), answer(&backend));
    assert_eq!(one, other);
    assert_eq!(server.n_connections(), 2);
}

/// It says nothing of it, so the next question meets a connection that is no more.
#[tokio::test]
async fn a_server_that_closes_after_every_answer_is_asked_all_the_same() {
    let server = Scripted::start(|request| {
        let mut acts = good(request);
        acts.push(Act::Close);
        Some(acts)
    });
    let backend = ready(&server).await;
    for _ in 0..20 {
        assert_eq!(answer(&backend).await.0, "yes it is");
    }
    assert_eq!(server.questions().len(), 20);
}

#[tokio::test]
async fn what_one_read_brought_has_one_stamp_and_the_next_read_another() {
    let gate = Gate::new();
    let together = [said("a"), said("b"), said("c")].concat();
    let (cut, rest) = together.split_at(together.len() - 10);
    let acts = vec![
        stream_head(),
        piece(cut),
        Act::Wait(gate.clone()),
        piece(rest),
        Act::Wait(gate.clone()),
        piece(&[finished("stop").as_str(), DONE].concat()),
        stream_end(),
    ];
    let (_server, backend) = answering(acts).await;
    let mut asking = backend.ask(question());
    let mut next = async || asking.next().await.unwrap().unwrap();
    let sent = next().await;
    assert_eq!(sent.event, Event::Sent);
    let (a, b) = (next().await, next().await);
    assert!(sent.at < a.at);
    assert_eq!(a.at, b.at, "they came in one read");
    gate.open();
    let c = next().await;
    assert!(b.at < c.at, "its last bytes came in another");
    gate.open();
    let done = next().await;
    assert!(matches!(done, Arrival { at, event: Event::Done(_) } if at > c.at));
}

/// Nobody reads while nobody waits, so that a stamp is never that of bytes which came later.
#[tokio::test]
async fn nothing_is_read_ahead() {
    let (gate, written) = (Gate::new(), Gate::new());
    let acts = vec![
        stream_head(),
        piece(&said("a")),
        Act::Wait(gate.clone()),
        piece(&said("b")),
        Act::Open(written.clone()),
        piece(&finished("stop")),
        stream_end(),
    ];
    let (_server, backend) = answering(acts).await;
    let mut asking = backend.ask(question());
    for _ in 0..2 {
        asking.next().await.unwrap().unwrap();
    }
    gate.open();
    // The server has written it; whoever runs meanwhile could read it.
    tokio::task::spawn_blocking(move || written.pass())
        .await
        .unwrap();
    let before = backend_now(&backend).await;
    let b = asking.next().await.unwrap().unwrap();
    assert!(b.at > before);
}

/// A look at the client's clock, through a question of its own.
async fn backend_now(backend: &impl Backend) -> tokwatt_domain::time::Stamp {
    let first = backend.ask(question()).next().await.unwrap().unwrap();
    first.at
}

#[tokio::test]
async fn a_question_is_sent_when_its_connection_is_open_and_not_before() {
    let authority = Authority::new();
    let gate = Gate::new();
    let server = Scripted::start_tls(authority.server(), Some(gate.clone()));
    let client = Client::new(authority.endpoint(&server), Counting::shared()).unwrap();
    let mut exchange = client.get("/health");
    let connected = async {
        eventually("the connection", || server.n_connections() == 1).await;
    };
    let opening = pin!(exchange.next());
    let Either::Right(((), opening)) = select(opening, pin!(connected)).await else {
        panic!("sent before TLS is there");
    };
    gate.open();
    assert!(matches!(opening.await, Some(Ok(Moment::Sent(_)))));
    assert!(
        server.requests().is_empty(),
        "and nothing of it has gone out"
    );
}

#[tokio::test]
async fn connections_are_opened_ahead() {
    let server = Scripted::start(|_| None);
    let client = Client::new(settings(&server.url()).endpoint, Counting::shared()).unwrap();
    client.open_ahead(3).await.unwrap();
    eventually("three connections", || server.n_connections() == 3).await;
    let answer = client
        .get("/health")
        .answer(1 << 10, Duration::from_secs(30));
    assert!(answer.await.unwrap().head.status.is_success());
    assert_eq!(server.n_connections(), 3);
}

#[tokio::test]
async fn an_answer_is_bounded_in_bytes_and_in_time() {
    let never = Gate::new();
    let hold = never.clone();
    let server = Scripted::start(move |request| match request.path.as_str() {
        "/long" => Some(whole("200 OK", "", &"x".repeat(2000))),
        "/late" => Some(vec![Act::Wait(hold.clone())]),
        _ => None,
    });
    let client = Client::new(settings(&server.url()).endpoint, Counting::shared()).unwrap();
    let long = client
        .get("/long")
        .answer(1000, Duration::from_secs(30))
        .await;
    let long = long.unwrap_err().to_string();
    assert!(long.contains("more than 1000 bytes"), "{long}");
    let late = client
        .get("/late")
        .answer(1000, Duration::from_millis(20))
        .await;
    let late = late.unwrap_err().to_string();
    assert!(late.contains("within 20ms"), "{late}");
    never.open();
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_ends_it_and_says_what_to_do() {
    let authority = Authority::new();
    let server = Scripted::start_tls(authority.server(), None);
    let mut stranger = authority.settings(&server);
    let other = Authority::new();
    stranger.endpoint.ca_file = Some(other.file.clone());
    let (class, message) = failed(with(stranger).load().await.unwrap_err());
    assert_eq!(class, Failed::Setup);
    assert!(
        message.contains("--ca-file") && message.contains("certificate"),
        "{message}"
    );
    assert!(server.requests().is_empty(), "a stranger is asked nothing");
}

#[tokio::test]
async fn a_certificate_for_somebody_else_does_not_verify() {
    let authority = Authority::new();
    let server = Scripted::start_tls(authority.server(), None);
    let mut wrong = authority.settings(&server);
    wrong.endpoint.url = format!("https://127.0.0.1:{}", server.port())
        .parse()
        .unwrap();
    let (class, message) = failed(with(wrong).load().await.unwrap_err());
    assert_eq!(class, Failed::Setup);
    assert!(message.contains("not valid for name"), "{message}");
}

#[tokio::test]
async fn an_authority_that_is_named_is_believed() {
    let authority = Authority::new();
    let server = Scripted::start_tls(authority.server(), None);
    let backend = with(authority.settings(&server));
    backend.load().await.unwrap();
    assert_eq!(answer(&backend).await.0, "yes it is");
    let all = arrivals(&backend, question()).await;
    let stamps: Vec<_> = all
        .iter()
        .map(|arrival| arrival.as_ref().unwrap().at)
        .collect();
    assert!(stamps.is_sorted() && stamps[0] < stamps[1], "{stamps:?}");
    assert_eq!(server.n_connections(), 1);
}

#[tokio::test]
async fn a_file_without_an_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("empty.pem", ""), ("noise.pem", "hello")] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let mut endpoint = settings("https://127.0.0.1:1").endpoint;
        endpoint.ca_file = Some(path);
        let error = Client::new(endpoint, Counting::shared())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("--ca-file") && error.contains(name),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_key_is_shown_to_its_server_and_repeated_to_nobody() {
    let server = Scripted::start(|request| {
        let is_let_in = request.headers["authorization"] == "Bearer sk-secret";
        (request.is_question() && !request.is_first() || !is_let_in).then(|| {
            let words = json!({"error": {"message": "Incorrect API key provided: sk-secret"}});
            answered("401 Unauthorized", &words)
        })
    });
    let mut let_in = settings(&server.url());
    let_in.endpoint.key = Some(ApiKey::from_variable("TOKWATT_API_KEY", "sk-secret").unwrap());
    assert!(!format!("{let_in:?}").contains("secret"));
    let backend = with(let_in);
    backend.load().await.unwrap();
    let (class, message) = failure(&backend).await;
    assert_eq!(class, Failed::Setup);
    assert!(
        !message.contains("secret") && message.contains("TOKWATT_API_KEY"),
        "{message}"
    );
}

#[tokio::test]
async fn a_key_is_not_repeated_from_an_error_inside_an_answer_either() {
    // The second one is cut within the key.
    for filler in ["", &"x".repeat(300 - "no quota  for sk-sec".len())] {
        let error = json!({"error": {"message": format!("no quota {filler} for sk-secret")}});
        let server = Scripted::start(move |request| {
            let is_measured = request.is_question() && !request.is_first();
            is_measured.then(|| streamed(&[&crate::scripted::event(&error)]))
        });
        let mut let_in = settings(&server.url());
        let_in.endpoint.key = Some(ApiKey::from_variable("TOKWATT_API_KEY", "sk-secret").unwrap());
        let backend = with(let_in);
        backend.load().await.unwrap();
        let (_, message) = failure(&backend).await;
        assert!(
            message.contains("no quota") && message.contains("for (the API key)"),
            "{message}"
        );
        assert!(!message.contains("sk-"), "{message}");
    }
}

/// Who vouches for a server called `localhost`.
struct Authority {
    _folder: tempfile::TempDir,
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = parameters.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authority.pem");
        let text = STANDARD.encode(own.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        fs::write(&file, pem).unwrap();
        Self {
            _folder: folder,
            file,
            issuer: Issuer::new(parameters, key),
        }
    }

    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    fn settings(&self, server: &Scripted) -> tokwatt_agent::backend::openai::OpenAiSettings {
        let mut settings = settings(&format!("https://localhost:{}", server.port()));
        settings.endpoint.ca_file = Some(self.file.clone());
        settings
    }

    fn endpoint(&self, server: &Scripted) -> tokwatt_agent::backend::http::Endpoint {
        self.settings(server).endpoint
    }
}
