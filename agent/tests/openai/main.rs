//! A server of the OpenAI interface, from the socket up: a scripted one that does everything right or wrong.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; the lint sees only functions marked as such"
)]

/// The server.
mod scripted;

/// Every way in which a server can fail: classed, bounded, told.
mod bad_input;

/// Connections, their reuse, their stamps, TLS, keys.
mod connection;

/// Waiting for a server, and finding out who it is.
mod readiness;

/// What server families stream, as it came off the socket.
mod streams;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use tokwatt_agent::{
    backend::{
        Arrival, Backend, BackendError, Event, Finish, Question,
        http::Endpoint,
        openai::{OpenAiBackend, OpenAiSettings, Patience},
    },
    clock::Clock,
};
use tokwatt_domain::{
    run::FailureClass,
    time::{Stamp, WallTime},
};

use scripted::{Act, Request, Scripted};

/// Counts how often it was asked, so that equal stamps are one look at the clock.
#[derive(Default)]
struct Counting(AtomicU64);

impl Counting {
    fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::default())
    }
}

impl Clock for Counting {
    fn now(&self) -> Stamp {
        Stamp(1 + self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }
}

fn settings(url: &str) -> OpenAiSettings {
    OpenAiSettings {
        endpoint: Endpoint {
            url: url.parse().unwrap(),
            key: None,
            ca_file: None,
        },
        model: None,
        precision: None,
        has_pictures: false,
        is_streaming: true,
        patience: Patience {
            listening: Duration::ZERO,
            ready: Duration::from_secs(60),
            back: Duration::ZERO,
        },
    }
}

fn with(settings: OpenAiSettings) -> OpenAiBackend {
    OpenAiBackend::new(settings, Counting::shared()).unwrap()
}

/// A client of a scripted server, loaded.
async fn ready(server: &Scripted) -> OpenAiBackend {
    let backend = with(settings(&server.url()));
    backend.load().await.unwrap();
    backend
}

/// A server whose measured questions get these answers, and a client that found it ready.
async fn answering(acts: Vec<Act>) -> (Scripted, OpenAiBackend) {
    let script = move |request: &Request| {
        let is_measured = request.is_question() && !request.is_first();
        is_measured.then(|| acts.clone())
    };
    let server = Scripted::start(script);
    let backend = ready(&server).await;
    (server, backend)
}

fn question() -> Question {
    Question::new("Is it so?".to_owned(), None, 16)
}

/// Everything that comes, within the time that a test may take.
async fn arrivals(
    backend: &OpenAiBackend,
    question: Question,
) -> Vec<Result<Arrival, BackendError>> {
    let asking = backend.ask(question).collect();
    let within = tokio::time::timeout(Duration::from_secs(30), asking).await;
    within.expect("bounded in time")
}

/// The text and the end of a good answer.
async fn answer(backend: &OpenAiBackend) -> (String, Finish) {
    let mut text = Vec::new();
    for arrival in arrivals(backend, question()).await {
        match arrival.unwrap().event {
            Event::Sent => text.clear(),
            Event::Chunk { bytes, .. } => text.extend(bytes),
            Event::Done(finish) => return (String::from_utf8(text).unwrap(), finish),
        }
    }
    panic!("no end");
}

/// How a question failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failed {
    /// This one only.
    Question(FailureClass),
    /// The server has to be looked for again.
    Server(FailureClass),
    /// A person has to change something.
    Setup,
    /// Nobody answers.
    Nobody,
}

async fn failure(backend: &OpenAiBackend) -> (Failed, String) {
    match arrivals(backend, question()).await.pop() {
        Some(Err(error)) => failed(error),
        other => panic!("{other:?}"),
    }
}

fn failed(error: BackendError) -> (Failed, String) {
    match error {
        BackendError::Request { class, message } => (Failed::Question(class), message),
        BackendError::Engine { class, message } => (Failed::Server(class), message),
        BackendError::Setup { message } => (Failed::Setup, message),
        BackendError::Absent { message } => (Failed::Nobody, message),
    }
}

/// What another thread does comes in its own time.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} never came");
}
