//! A server that we start: its command under a guard, ready when it has answered, stopped when its model is unloaded.
//!
//! How it is asked is the inner backend's matter; here is only its life. So whatever speaks a protocol that we have can be managed, and a
//! death is told with how the process ended and its last lines, not as a connection that broke.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tokwatt_domain::run::FailureClass;

use super::{Arrival, Backend, BackendError, ModelCard, Question, embedded::digest};
use crate::{clock::Clock, guard::Guard};

/// What to start, from one text.
pub mod command;

/// What it prints.
mod log;
/// One process of it.
mod process;

pub use command::{CommandError, ServerCommand};

use process::{Death, Server};

/// How to run a server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// What it is called, for its log.
    pub name: String,
    /// What to start.
    pub command: ServerCommand,
    /// Where it will listen: `127.0.0.1:8080`.
    pub address: String,
    /// What its load reads; empty for what its arguments name.
    pub weights: Vec<PathBuf>,
    /// Folder for what is kept between runs: its log, digests.
    pub data: PathBuf,
    /// How long it may take until its first answer.
    pub ready_within: Duration,
    /// How long it may take to end when it is asked to, before it is killed.
    pub stop_within: Duration,
    /// What ends it with the agent.
    pub guard: Guard,
}

/// Makes the backend that asks a server which has just been started: one that knows nothing of the one before it, and has no
/// connections to it. Its `load` waits for the first answer.
pub type Inner = Box<dyn Fn() -> Result<Arc<dyn Backend>, BackendError> + Send + Sync>;

/// A server that is started to load its model and stopped to unload it.
pub struct ManagedBackend {
    settings: ServerSettings,
    inner: Inner,
    clock: Arc<dyn Clock>,
    slot: Arc<Slot>,
}

/// The one server, if it has been started.
#[derive(Default)]
struct Slot {
    server: Mutex<Option<Server>>,
    /// How it is asked; the last one's way while there is none.
    asked_by: std::sync::Mutex<Option<Arc<dyn Backend>>>,
    /// Its process, 0 for none.
    pid: AtomicU32,
}

impl ServerSettings {
    /// The file that keeps what it prints.
    pub fn log(&self) -> PathBuf {
        let name = format!("{}.log", self.name);
        self.data.join("logs").join(name)
    }
}

impl ManagedBackend {
    /// Starts nothing yet.
    pub fn new(settings: ServerSettings, inner: Inner, clock: Arc<dyn Clock>) -> Self {
        let guard = settings.guard.clone().with_grace(settings.stop_within);
        Self {
            settings: ServerSettings { guard, ..settings },
            inner,
            clock,
            slot: Arc::default(),
        }
    }

    async fn start(&self, slot: &mut Option<Server>) -> Result<ModelCard, BackendError> {
        self.check_address().await?;
        let inner = (self.inner)()?;
        self.slot.be_asked_by(inner.clone());
        let asked = self.clock.now();
        let log = self.settings.log();
        let started = Server::start(&self.settings.command, &self.settings.guard, &log);
        let started = started.map_err(|error| {
            setup(format!(
                "cannot start the server `{}` with its log {}: {error}",
                self.settings.command,
                log.display()
            ))
        })?;
        // From here on in its slot: whoever gives up waiting has it stopped by the next load or unload.
        let server = slot.insert(started);
        let card = self.wait(server, &*inner).await?;
        let first_token = inner.first_token().unwrap_or_else(|| self.clock.now());
        let load_time = first_token.since(asked);
        server.is_ready = true;
        server.write_log();
        self.slot.set_pid(server.pid());
        // The load is over: reading the files before would have warmed them up for it.
        let card = self.with_digests(card).await;
        Ok(self.described(card, Some(load_time)))
    }

    /// Of the one model and the one projector that the server loads, if they are GGUF files.
    async fn with_digests(&self, card: ModelCard) -> ModelCard {
        let files = self.weights().into_iter();
        let files = files.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
        let (projectors, models): (Vec<_>, Vec<_>) = files.partition(|path| is_projector(path));
        let data = &self.settings.data;
        let mut digests = [card.digest, card.mmproj_digest];
        for (known, files) in digests.iter_mut().zip([models, projectors]) {
            if let ([file], None) = (&*files, &known) {
                *known = digest(data, file.clone()).await;
            }
        }
        let [digest, mmproj_digest] = digests;
        ModelCard {
            digest,
            mmproj_digest,
            ..card
        }
    }

    fn described(&self, card: ModelCard, load_time: Option<Duration>) -> ModelCard {
        let mut engine_flags = card.engine_flags;
        let command = self.settings.command.to_string();
        engine_flags.insert("server_command".to_owned(), command);
        ModelCard {
            engine_flags,
            load_time,
            ..card
        }
    }

    /// We must not measure a stranger.
    async fn check_address(&self) -> Result<(), BackendError> {
        let address = &self.settings.address;
        match timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Err(setup(format!(
                "another server answers at {address} already: stop it, or give the one to be started another port"
            ))),
            _ => Ok(()),
        }
    }

    /// Waits for the first answer, with an eye on the process and on the clock.
    async fn wait(
        &self,
        server: &mut Server,
        inner: &dyn Backend,
    ) -> Result<ModelCard, BackendError> {
        let ready = timeout(self.settings.ready_within, async {
            tokio::select! {
                card = self.first_answer(inner) => card.map_err(Ok),
                death = server.end() => Err(Err(death)),
            }
        });
        match ready.await {
            Ok(Ok(card)) => Ok(card),
            Ok(Err(Err(death))) => Err(died(death, "while it was starting, ")),
            // It may have died of what it was asked.
            Ok(Err(Ok(error))) => Err(match server.death_soon().await {
                Some(death) => died(death, "while it was starting, "),
                None => error,
            }),
            Err(_) => Err(BackendError::Engine {
                class: FailureClass::Timeout,
                message: format!(
                    "the server had not answered within {:?} (--server-ready-within); {}",
                    self.settings.ready_within,
                    server.last_words()
                ),
            }),
        }
    }

    /// The inner backend's word that somebody answers. It is asked as soon as somebody listens, and again if it loses patience; not if
    /// there is no memory for an answer.
    async fn first_answer(&self, inner: &dyn Backend) -> Result<ModelCard, BackendError> {
        loop {
            let connecting = TcpStream::connect(&self.settings.address);
            if let Ok(Ok(_)) = timeout(CONNECT_PATIENCE, connecting).await {
                match inner.load().await {
                    Err(
                        BackendError::Request { class, .. } | BackendError::Engine { class, .. },
                    ) if class != FailureClass::OutOfMemory => {}
                    answer => return answer,
                }
            }
            tokio::time::sleep(CONNECT_PERIOD).await;
        }
    }

    async fn stop(&self, server: Server) -> Result<(), BackendError> {
        self.slot.set_pid(None);
        let server_name = &self.settings.name;
        match server.stop().await {
            Ok(false) => Ok(()),
            Ok(true) => {
                tracing::warn!(
                    server = server_name,
                    limit = ?self.settings.stop_within,
                    "the server did not end when it was asked to and had to be killed"
                );
                Ok(())
            }
            Err(error) => Err(setup(format!(
                "cannot tell whether the server `{server_name}` has ended: {error}; look for it before the next bench"
            ))),
        }
    }
}

#[async_trait]
impl Backend for ManagedBackend {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        let mut slot = self.slot.server.lock().await;
        if let Some(server) = slot.as_mut().filter(|server| server.is_ready)
            && server.death().await.is_none()
        {
            server.write_log();
            let inner = self.slot.asked_by();
            let inner = inner.ok_or_else(|| setup(NOT_STARTED.to_owned()))?;
            // One that answers no more may be about to die; waiting for a dead one would be in vain.
            let card = tokio::select! {
                card = inner.load() => Some(card?),
                _ = server.end() => None,
            };
            if let Some(card) = card {
                return Ok(self.described(card, None));
            }
        }
        if let Some(server) = slot.take() {
            self.stop(server).await?;
        }
        self.start(&mut slot).await
    }

    async fn unload(&self) -> Result<(), BackendError> {
        let mut slot = self.slot.server.lock().await;
        match slot.take() {
            Some(server) => self.stop(server).await,
            None => Ok(()),
        }
    }

    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>> {
        let slot = self.slot.clone();
        let Some(inner) = slot.asked_by() else {
            let error = setup(NOT_STARTED.to_owned());
            return futures::stream::iter([Err(error)]).boxed();
        };
        inner
            .ask(question)
            .then(move |arrival| {
                let slot = slot.clone();
                async move {
                    match arrival {
                        Ok(arrival) => Ok(arrival),
                        Err(error) => Err(slot.explain(error).await),
                    }
                }
            })
            .boxed()
    }

    fn process(&self) -> Option<u32> {
        Some(self.slot.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    fn answers_when_loaded(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<PathBuf> {
        match &*self.settings.weights {
            [] => self.settings.command.weights(),
            named => named.to_vec(),
        }
    }
}

impl Slot {
    fn set_pid(&self, pid: Option<u32>) {
        self.pid.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    fn be_asked_by(&self, inner: Arc<dyn Backend>) {
        *self.asked_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
    }

    fn asked_by(&self) -> Option<Arc<dyn Backend>> {
        let inner = self.asked_by.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clone()
    }

    /// A request that failed because the server is gone failed of that.
    async fn explain(&self, error: BackendError) -> BackendError {
        let mut slot = self.server.lock().await;
        let Some(server) = slot.as_mut() else {
            return error;
        };
        let death = match breaks_off(&error) {
            true => server.death_soon().await,
            false => server.death().await,
        };
        match death {
            Some(death) => {
                self.set_pid(None);
                died(death, "")
            }
            None => error,
        }
    }
}

/// A picture projector, by the name that llama.cpp's converter gives it.
fn is_projector(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.to_ascii_lowercase().contains("mmproj")
}

/// Whether a server that died may look like this from outside; one that answers with an error lives.
fn breaks_off(error: &BackendError) -> bool {
    match error {
        BackendError::Request { class, .. } | BackendError::Engine { class, .. } => matches!(
            class,
            FailureClass::Refused | FailureClass::Crashed | FailureClass::Protocol
        ),
        BackendError::Setup { .. } | BackendError::Absent { .. } => true,
    }
}

fn died(death: Death, when: &str) -> BackendError {
    let message = format!("{when}{death}");
    match death.class {
        Some(class) => BackendError::Engine { class, message },
        None => setup(message),
    }
}

fn setup(message: String) -> BackendError {
    BackendError::Setup { message }
}

/// How long a server may take until its first answer, if nobody says otherwise: vLLM compiles for minutes.
pub const READY_WITHIN_DEFAULT: Duration = Duration::from_secs(600);

/// How long a server may take to end, if nobody says otherwise: vLLM takes seconds to let go of a GPU.
pub const STOP_WITHIN_DEFAULT: Duration = Duration::from_secs(15);
/// What is on this machine answers at once or not at all.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// How much later than it could we may notice that somebody listens.
const CONNECT_PERIOD: Duration = Duration::from_millis(10);
const NOT_STARTED: &str = "the server has not been started yet";
