//! Any server of the OpenAI interface: vLLM, llama.cpp's server, SGLang, TensorRT-LLM, transformers, LM Studio.
//!
//! The server is somebody else's: loading is waiting until it has generated a token, unloading is nothing, and its
//! processes are not ours to look at. One question is one chat completion; answers are streamed unless the
//! question says otherwise. In the order of the flow: `server` finds out who it is and how it is asked, `request` is a
//! question as JSON, `asking` sends it and hears the answer out, `events` makes events of bytes, `answer` makes pieces,
//! counts and an end of events, `refusal` says what went wrong.
//!
//! Nothing is asked twice while it is measured. A server that asks to be spared for a while (429) is a failed
//! request that says so: a repetition would hide the refusal, and put the wait into somebody's latency.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use tokwatt_domain::{run::FailureClass, time::Stamp};

use super::{
    Arrival, Backend, BackendError, ModelCard, Question,
    http::{Client, Endpoint, TrustError},
};
use crate::clock::Clock;

/// What the parts of an answer mean.
mod answer;
/// One question on its way.
mod asking;
/// Server-sent events out of bytes.
mod events;
/// What a server's refusals mean.
pub(super) mod refusal;
/// A question as JSON.
mod request;
/// Who the server is, and whether it is ready.
mod server;

use asking::Asking;
use request::Dialect;
use server::Ready;

/// Which server, and what is asked of it.
#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// Where it is, and how to be let in.
    pub endpoint: Endpoint,
    /// The model's name there; absent for the only one.
    pub model: Option<String>,
    /// What the precision of its weights is called; absent for what the server says.
    pub precision: Option<String>,
    /// Whether it has to see.
    pub has_pictures: bool,
    /// Whether answers are to come in pieces.
    pub is_streaming: bool,
    /// How long to wait for it.
    pub patience: Patience,
}

/// How long a server is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until somebody listens.
    pub listening: Duration,
    /// From then on until it has generated a token.
    pub ready: Duration,
    /// Until one that was there is there again; once, and after that it is only looked at.
    pub back: Duration,
}

/// A server, found ready or not.
pub struct OpenAiBackend {
    shared: Arc<Shared>,
}

/// What the backend and the questions under way have in common.
struct Shared {
    client: Client,
    settings: OpenAiSettings,
    ready: Mutex<State>,
    /// One piece is looked at after the other, with the sockets looked at in between.
    turns: tokio::sync::Mutex<()>,
    /// Kinds of failure that were told already.
    told: Mutex<BTreeSet<FailureClass>>,
}

/// Where we are with the server.
enum State {
    /// It was not looked for yet.
    New,
    /// It answers.
    Ready(Arc<Ready>),
    /// It answered once.
    Lost,
    /// It was looked for in vain.
    Gone,
}

impl Patience {
    /// For a server that is somebody else's: it should be there, and may still be loading.
    pub const SOMEBODY_ELSES: Self = Self {
        listening: Duration::ZERO,
        ready: Duration::from_secs(600),
        // Its owner may be starting it again.
        back: Duration::from_secs(30),
    };
}

impl OpenAiBackend {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The server is to be spoken to under TLS, and there is no authority to believe.
    pub fn new(settings: OpenAiSettings, clock: Arc<dyn Clock>) -> Result<Self, TrustError> {
        let client = Client::new(settings.endpoint.clone(), clock)?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                settings,
                ready: Mutex::new(State::New),
                turns: tokio::sync::Mutex::default(),
                told: Mutex::default(),
            }),
        })
    }
}

#[async_trait]
impl Backend for OpenAiBackend {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        let mut settings = self.shared.settings.clone();
        match &*self.shared.state() {
            State::Ready(ready) => return Ok(ready.card.clone()),
            State::Lost => settings.patience.listening = settings.patience.back,
            State::Gone => settings.patience.listening = Duration::ZERO,
            State::New => {}
        }
        let found = server::find(&self.shared.client, &settings).await;
        let found = found.map_err(|error| {
            self.shared.give_up();
            self.shared.redacted(error)
        })?;
        let card = found.card.clone();
        *self.shared.state() = State::Ready(Arc::new(found));
        Ok(card)
    }

    /// The model is its owner's: it stays where it is, and an idle baseline without it is not to be had.
    async fn unload(&self) -> Result<(), BackendError> {
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
                if let Err(error) = arrival {
                    shared.note(error);
                }
            })
            .boxed()
    }

    fn process(&self) -> Option<u32> {
        None
    }

    fn first_token(&self) -> Option<Stamp> {
        match &*self.shared.state() {
            State::Ready(ready) => Some(ready.first_token),
            State::New | State::Lost | State::Gone => None,
        }
    }
}

impl Shared {
    /// How questions are asked.
    fn dialect(&self) -> Result<Dialect, BackendError> {
        match &*self.state() {
            State::Ready(ready) => Ok(ready.dialect.clone()),
            State::New | State::Lost | State::Gone => Err(BackendError::Engine {
                class: FailureClass::Crashed,
                message: format!("{} was not found ready", self.settings.endpoint.url),
            }),
        }
    }

    /// Each kind of failure is told once; all are in the results.
    fn note(&self, error: &BackendError) {
        let class = match error {
            BackendError::Request { class, .. } => *class,
            BackendError::Engine { class, .. } => {
                self.lose();
                *class
            }
            BackendError::Setup { .. } | BackendError::Absent { .. } => {
                self.lose();
                FailureClass::Refused
            }
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(class) {
            tracing::warn!(%error, "a question failed; more of its kind are only counted");
        }
    }

    /// Servers repeat what they were shown.
    fn redacted(&self, error: BackendError) -> BackendError {
        error.map_message(|message| self.client.redact(&message))
    }

    fn lose(&self) {
        *self.state() = State::Lost;
    }

    fn give_up(&self) {
        let mut state = self.state();
        if matches!(*state, State::Lost) {
            *state = State::Gone;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
