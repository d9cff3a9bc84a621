//! Ollama by its native interface: a model is loaded and unloaded, and its answers come with Ollama's own times.
//!
//! In the order of the flow: `model` is what Ollama says of a model, `request` a question as JSON, `asking` sends it and hears the answer
//! out, `answer` makes pieces, counts and an end of its lines.
//!
//! Ollama answers as many requests at a time as it was started for, one unless told otherwise, and does not say how many that are: the
//! others wait, and their wait is latency.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use hyper::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use tokwatt_domain::run::FailureClass;

use super::{
    Arrival, Backend, BackendError, ModelCard, Question,
    http::{Answer, Client, Endpoint, Exchange, Head, HttpError, TrustError},
    openai::refusal,
};
use crate::clock::Clock;

/// Lines of an answer, and what they mean.
mod answer;
/// One question on its way.
mod asking;
/// What Ollama says of a model.
mod model;
/// What Ollama is asked.
mod request;

use asking::Asking;
use model::{Running, Shown};

/// Which Ollama, and what is asked of it.
#[derive(Clone, Debug)]
pub struct OllamaSettings {
    /// Where it is, and how to be let in.
    pub endpoint: Endpoint,
    /// The model's name there, with its tag or without.
    pub model: String,
    /// What the precision of its weights is called; absent for what Ollama says.
    pub precision: Option<String>,
    /// Most tokens of a prompt and its answer.
    pub context: u32,
    /// Whether it has to see.
    pub has_pictures: bool,
    /// Whether answers are wanted that have all their tokens.
    pub has_fixed_length: bool,
    /// Most requests that are under way at a time.
    pub concurrency: u32,
}

/// A model of an Ollama, in memory or not.
pub struct OllamaBackend {
    shared: Arc<Shared>,
}

/// What the backend and the questions under way have in common.
struct Shared {
    client: Client,
    settings: OllamaSettings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    has_told_of_a_load: AtomicBool,
    /// One piece is looked at after the other, with the sockets looked at in between.
    turns: tokio::sync::Mutex<()>,
}

/// Where we are with the model.
enum State {
    /// Nobody was asked yet.
    New,
    /// It is in memory.
    Loaded(Box<ModelCard>),
    /// It was, and Ollama or the process that computes was lost.
    Lost,
}

/// `/api/version`.
#[derive(Deserialize)]
struct Version {
    version: String,
}

impl OllamaBackend {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// Ollama is to be spoken to under TLS, and there is no authority to believe.
    pub fn new(settings: OllamaSettings, clock: Arc<dyn Clock>) -> Result<Self, TrustError> {
        Ok(Self {
            shared: Arc::new(Shared {
                client: Client::new(settings.endpoint.clone(), clock.clone())?,
                settings,
                clock,
                state: Mutex::new(State::New),
                has_told_of_a_load: AtomicBool::new(false),
                turns: tokio::sync::Mutex::default(),
            }),
        })
    }
}

#[async_trait]
impl Backend for OllamaBackend {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        let patience = match &*self.shared.state() {
            State::Loaded(card) => {
                return Ok(ModelCard {
                    load_time: None,
                    ..ModelCard::clone(card)
                });
            }
            State::New => Duration::ZERO,
            // Whoever owns it may be starting it again.
            State::Lost => RESTART_TIME,
        };
        let card = self.shared.load(patience).await;
        let card = card.map_err(|error| self.shared.redacted(error))?;
        *self.shared.state() = State::Loaded(Box::new(card.clone()));
        Ok(card)
    }

    /// Also a model that somebody else left in memory: without that there is no idle baseline. An Ollama that is gone has unloaded it.
    async fn unload(&self) -> Result<(), BackendError> {
        if let Err(error) = self.shared.unload().await {
            tracing::warn!(error = error.words(), "the model cannot be unloaded");
        }
        *self.shared.state() = State::New;
        Ok(())
    }

    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>> {
        let shared = self.shared.clone();
        let asking = Asking::new(shared.clone(), question);
        let arrivals = stream::unfold(asking, |mut asking| async {
            asking.next().await.map(|arrival| (arrival, asking))
        });
        arrivals
            .inspect(move |arrival| {
                if let Err(BackendError::Engine { .. }) = arrival {
                    *shared.state() = State::Lost;
                }
            })
            .boxed()
    }

    fn process(&self) -> Option<u32> {
        None
    }
}

impl Shared {
    async fn load(&self, patience: Duration) -> Result<ModelCard, BackendError> {
        let version = self.version(patience).await?;
        let shown = self.shown().await?;
        if let Some(can) = shown.blind().filter(|_| self.settings.has_pictures) {
            return Err(setup(format!(
                "the model `{}` does not see, it can: {can}; ask one that can do `vision`, or no pictures",
                self.settings.model
            )));
        }
        let asked = self.clock.now();
        let body = request::load(&self.settings.model, self.settings.context);
        let answer = self.client.post(GENERATE, body);
        let answer = answer.answer(BODY_BYTES_MAX, LOAD_TIME).await?;
        self.check(&answer)?;
        let precision = self.settings.precision.as_deref();
        let mut card = shown.card(&self.settings.model, &version, precision);
        card.load_time = Some(answer.at.since(asked));
        self.running()
            .await?
            .add_to(&mut card, &self.settings.model);
        self.add_flags(&mut card);
        Ok(card)
    }

    /// Waits for Ollama, and asks who it is.
    async fn version(&self, patience: Duration) -> Result<String, BackendError> {
        let begun = self.clock.now();
        loop {
            match self.look(self.client.get("/api/version")).await {
                Ok(answer) => {
                    self.check(&answer)?;
                    let version: Version = read(&answer, "/api/version")?;
                    return Ok(refusal::excerpt(version.version.as_bytes()));
                }
                Err(HttpError::Refused { .. } | HttpError::Closed { .. })
                    if self.clock.now().since(begun) < patience =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(
                    error @ (HttpError::Refused { .. }
                    | HttpError::Unreachable { .. }
                    | HttpError::Closed { .. }
                    | HttpError::Late { .. }),
                ) => {
                    let message = error.words();
                    return Err(BackendError::Absent { message });
                }
                Err(error) => return Err(setup(error.words())),
            }
        }
    }

    async fn shown(&self) -> Result<Shown, BackendError> {
        let model = &self.settings.model;
        let body: Bytes = serde_json::json!({"model": model}).to_string().into();
        let answer = self.look(self.client.post("/api/show", body)).await?;
        if answer.head.status == StatusCode::NOT_FOUND {
            return Err(setup(format!(
                "Ollama at {} does not have the model `{model}`: ollama pull {model}",
                self.client.endpoint().url
            )));
        }
        self.check(&answer)?;
        read(&answer, "/api/show")
    }

    async fn running(&self) -> Result<Running, BackendError> {
        let answer = self.look(self.client.get("/api/ps")).await?;
        self.check(&answer)?;
        read(&answer, "/api/ps")
    }

    async fn unload(&self) -> Result<(), HttpError> {
        let body = request::unload(&self.settings.model);
        let answer = self.look(self.client.post(GENERATE, body)).await?;
        if !answer.head.status.is_success() {
            // It does not have the model at all, which loading will tell.
            return Ok(());
        }
        let begun = self.clock.now();
        while self.clock.now().since(begun) < UNLOAD_TIME {
            match self.running().await {
                Ok(running) if running.has(&self.settings.model) => {}
                _ => return Ok(()),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        tracing::warn!(limit = ?UNLOAD_TIME, "Ollama does not let go of the model");
        Ok(())
    }

    async fn look(&self, asked: Exchange) -> Result<Answer, HttpError> {
        asked.answer(BODY_BYTES_MAX, LOOK_TIME).await
    }

    fn add_flags(&self, card: &mut ModelCard) {
        let mut flag = |name: &str, value: &str| {
            let value = value.to_owned();
            card.engine_flags.insert(name.to_owned(), value);
        };
        flag("cold_cache", "nonce");
        if self.settings.concurrency > 1 {
            flag(
                "slots",
                "OLLAMA_NUM_PARALLEL, which is not told, 1 by default",
            );
        }
        if self.settings.has_fixed_length {
            flag(
                "fixed_length",
                "not kept: an answer may end before its limit",
            );
        }
        if !self.client.endpoint().url.is_loopback() {
            flag("server", "remote");
        }
    }

    fn check(&self, answer: &Answer) -> Result<(), BackendError> {
        if answer.head.status.is_success() {
            return Ok(());
        }
        let words = self.client.redact(&String::from_utf8_lossy(&answer.body));
        Err(self.refused(&answer.head, &words))
    }

    /// A status that is no success.
    fn refused(&self, head: &Head, words: &str) -> BackendError {
        let endpoint = self.client.endpoint();
        let error = refusal::by_status(head, words, endpoint, &self.settings.model);
        match (answer::class(words), error) {
            (Some(class), BackendError::Request { message, .. }) => {
                BackendError::Engine { class, message }
            }
            (_, error) => error,
        }
    }

    /// Servers repeat what they were shown.
    fn redacted(&self, error: BackendError) -> BackendError {
        error.map_message(|message| self.client.redact(&message))
    }

    /// A question should find the model in memory.
    fn note_load(&self, load: Duration) {
        if load > LOAD_NOTED && !self.has_told_of_a_load.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?load,
                "Ollama loaded the model again to answer a question: is somebody else using it?"
            );
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<T: DeserializeOwned>(answer: &Answer, path: &str) -> Result<T, BackendError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        setup(format!(
            "{path} is not answered as Ollama does: {error}: {}; is that the address of an Ollama?",
            refusal::excerpt(&answer.body)
        ))
    })
}

/// An error in Ollama's words: where the process that computes is gone, the model has to be loaded again.
fn failure(said: &str) -> BackendError {
    let message = format!("Ollama says: {}", refusal::excerpt(said.as_bytes()));
    match answer::class(said) {
        Some(class) => BackendError::Engine { class, message },
        None => BackendError::Request {
            class: FailureClass::Http,
            message,
        },
    }
}

fn protocol(message: String) -> BackendError {
    let class = FailureClass::Protocol;
    BackendError::Request { class, message }
}

fn setup(message: String) -> BackendError {
    BackendError::Setup { message }
}

/// Where Ollama listens unless it is told otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:11434";

const GENERATE: &str = "/api/generate";

/// Lists and recipes of models are long, but not so long.
const BODY_BYTES_MAX: usize = 4 << 20;

/// What is not a load takes milliseconds.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// From a slow disk a large model takes minutes; Ollama itself gives up after five.
const LOAD_TIME: Duration = Duration::from_secs(600);

/// An Ollama that was there is given so long to come back.
const RESTART_TIME: Duration = Duration::from_secs(30);

/// Freeing gigabytes takes a while.
const UNLOAD_TIME: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Finding a model in memory takes milliseconds, too.
const LOAD_NOTED: Duration = Duration::from_millis(500);
