//! The engine that we bring: llama.cpp in a worker process of its own, because an assertion in it aborts.
//!
//! One slot, first in, first out: questions wait for each other here, and the wait counts as latency, because a question
//! is stamped as sent when it is asked. A question that is given up is cancelled at its next token; the next one waits
//! until the engine has let go of it, and if that takes too long, the worker is killed and loaded again.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::Mutex;

use super::{Arrival, Backend, BackendError, ModelCard, Question};
use crate::clock::Clock;

/// What agent and worker say to each other.
pub mod protocol;

/// The agent's side of one worker process.
pub mod process;

/// The worker's side.
#[cfg(feature = "embedded")]
pub mod worker;

/// One question on its way through the worker.
mod exchange;
/// Which files to load, and their digests.
mod weights;

pub use weights::{SHIPPED, Weights};

use exchange::Exchange;
use process::{Arrived, Death, Worker};
use protocol::{Failed, Load, Loaded, Order, Outcome, Reply};
pub(super) use weights::digest;

/// How to run the embedded engine.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The program that has the engine and is started as `PROGRAM engine-worker`; absent for this one.
    pub worker: Option<PathBuf>,
    /// What to load.
    pub weights: Weights,
    /// Folder for what is kept between runs: the shipped model's files, digests.
    pub data: PathBuf,
    /// Threads that compute; absent for all cores but one, which is left to stamp and to sample.
    pub threads: Option<u32>,
    /// Most tokens of a prompt and its answer; no more than the model was trained for.
    pub context: u32,
    /// Layers kept on the GPU; 0 is the processor alone.
    pub gpu_layers: u32,
}

/// The embedded engine, loaded or not.
pub struct EmbeddedBackend {
    settings: EmbeddedSettings,
    clock: Arc<dyn Clock>,
    slot: Arc<Slot>,
}

/// The one place in which a model may be.
struct Slot {
    /// Fair: who asks first is answered first.
    engine: Arc<Mutex<Option<Engine>>>,
    /// The worker, 0 for none.
    pid: AtomicU32,
    next_request: AtomicU64,
}

/// A worker with a model in its memory.
struct Engine {
    worker: Worker,
    card: ModelCard,
    /// A question that was given up and may still be computed.
    abandoned: Option<u64>,
}

impl EmbeddedBackend {
    /// Starts nothing yet.
    pub fn new(settings: EmbeddedSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            slot: Arc::new(Slot {
                engine: Arc::default(),
                pid: AtomicU32::new(0),
                next_request: AtomicU64::new(1),
            }),
        }
    }

    async fn start(&self) -> Result<Engine, BackendError> {
        let asked = self.clock.now();
        let program = self.settings.program()?;
        let mut worker = Worker::spawn(&program, self.clock.clone()).map_err(|error| {
            let program = program.display();
            setup(format!(
                "cannot start the engine's worker `{program}`: {error}; {SET_WORKER}"
            ))
        })?;
        let load = process::frame(LOAD, Order::Load(self.settings.load()));
        load.and_then(|frame| worker.send(frame))
            .map_err(|error| setup(format!("cannot ask the engine to load: {error}")))?;
        match worker.receive().await {
            Arrived::Reply(
                at,
                Reply {
                    outcome: Some(Outcome::Loaded(loaded)),
                    ..
                },
            ) => Ok(Engine {
                worker,
                card: self.card(loaded, at.since(asked)).await,
                abandoned: None,
            }),
            Arrived::Reply(
                _,
                Reply {
                    outcome: Some(Outcome::Failed(failed)),
                    ..
                },
            ) => Err(refused(failed, worker.close(UNLOAD_TIME).await)),
            Arrived::Reply(..) => Err(setup(
                "the engine's worker answers a load with something else".into(),
            )),
            Arrived::Ended(death) => Err(died_loading(&death)),
        }
    }

    /// Digests are computed now, when the load is over: reading the files before would warm them up for it.
    async fn card(&self, loaded: Loaded, load_time: Duration) -> ModelCard {
        let (model, mmproj) = (path(loaded.model), path(loaded.mmproj));
        let file_name = model.file_stem().unwrap_or_default();
        let file_name = file_name.to_string_lossy().into_owned();
        let mut facts = loaded.facts;
        if matches!(self.settings.weights, Weights::Shipped { .. }) {
            facts.insert("note".into(), REFERENCE_LOAD.into());
        }
        let mut engine_flags = loaded.flags;
        engine_flags.insert("engine_slots".into(), "1".into());
        ModelCard {
            engine: loaded.engine,
            engine_flags,
            model: loaded.name.unwrap_or(file_name),
            precision: loaded.precision.unwrap_or_else(|| "unknown".into()),
            facts,
            digest: digest(&self.settings.data, model).await,
            mmproj_digest: digest(&self.settings.data, mmproj).await,
            mmproj_precision: loaded.mmproj_precision,
            load_time: Some(load_time),
        }
    }
}

#[async_trait]
impl Backend for EmbeddedBackend {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        let mut slot = self.slot.engine.lock().await;
        if let Some(engine) = &*slot {
            return Ok(ModelCard {
                load_time: None,
                ..engine.card.clone()
            });
        }
        let engine = self.start().await?;
        self.slot.pid.store(engine.worker.pid(), Ordering::Relaxed);
        let card = engine.card.clone();
        *slot = Some(engine);
        Ok(card)
    }

    async fn unload(&self) -> Result<(), BackendError> {
        let mut slot = self.slot.engine.lock().await;
        if let Some(engine) = slot.take() {
            self.slot.pid.store(0, Ordering::Relaxed);
            let death = engine.worker.close(UNLOAD_TIME).await;
            tracing::debug!(how = death.how, "the engine is unloaded");
        }
        Ok(())
    }

    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>> {
        let request = self.slot.next_request.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange::new(self.slot.clone(), request, question, self.clock.as_ref());
        stream::unfold(exchange, |mut exchange| async {
            exchange.next().await.map(|arrival| (arrival, exchange))
        })
        .boxed()
    }

    fn process(&self) -> Option<u32> {
        Some(self.slot.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    fn weights(&self) -> Vec<PathBuf> {
        match &self.settings.weights {
            Weights::Shipped { precision } => shipped(precision, &self.settings.models()),
            Weights::Files { model, mmproj, .. } => vec![model.clone(), mmproj.clone()],
        }
    }
}

impl EmbeddedSettings {
    fn program(&self) -> Result<PathBuf, BackendError> {
        if let Some(program) = &self.worker {
            return Ok(program.clone());
        }
        if !cfg!(feature = "embedded") {
            return Err(setup(format!(
                "this agent was built without the embedded engine; use `--backend openai`, or {SET_WORKER}"
            )));
        }
        std::env::current_exe().map_err(|error| {
            setup(format!(
                "cannot find this program to start it as a worker: {error}; {SET_WORKER}"
            ))
        })
    }

    /// Where the shipped model is unpacked.
    fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    fn load(&self) -> Load {
        let (model, mmproj, precision) = match &self.weights {
            Weights::Shipped { precision } => (Vec::new(), Vec::new(), precision.clone()),
            Weights::Files {
                model,
                mmproj,
                precision,
            } => (
                bytes(model),
                bytes(mmproj),
                precision.clone().unwrap_or_default(),
            ),
        };
        Load {
            model,
            mmproj,
            shipped_folder: bytes(&self.models()),
            precision,
            threads: self.threads.unwrap_or_else(all_but_one),
            context: self.context,
            gpu_layers: self.gpu_layers,
        }
    }
}

/// Where the shipped model's files are after its first load.
#[cfg(all(feature = "embedded", feature = "tiny-model"))]
fn shipped(precision: &str, folder: &Path) -> Vec<PathBuf> {
    tokwatt_embedded::shipped::places(precision, folder)
        .map_or_else(Vec::new, |places| vec![places.model, places.mmproj])
}

/// Another program brings it.
#[cfg(not(all(feature = "embedded", feature = "tiny-model")))]
fn shipped(_precision: &str, _folder: &Path) -> Vec<PathBuf> {
    Vec::new()
}

fn all_but_one() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    u32::try_from(cores)
        .unwrap_or(u32::MAX)
        .saturating_sub(1)
        .max(1)
}

/// llama.cpp gives its reasons on standard error only.
fn refused(failed: Failed, death: Death) -> BackendError {
    if death.last_words.is_empty() {
        return setup(failed.message);
    }
    setup(format!(
        "{}; the engine said: {}",
        failed.message, death.last_words
    ))
}

fn died_loading(death: &Death) -> BackendError {
    if death.is_crash {
        let (class, message) = (death.class, format!("while it was loading, {death}"));
        return BackendError::Engine { class, message };
    }
    // It chose to end: an agent without the engine, or another program.
    setup(format!("{death}; {SET_WORKER}"))
}

fn setup(message: String) -> BackendError {
    BackendError::Setup { message }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Most tokens of a prompt and its answer, unless set otherwise.
pub const CONTEXT_DEFAULT: u32 = 4096;

/// Number of the load among a worker's requests.
const LOAD: u64 = 0;
/// A worker ends by itself within milliseconds; freeing gigabytes takes longer.
const UNLOAD_TIME: Duration = Duration::from_secs(10);
const SET_WORKER: &str = "set engine.worker to an agent that has the engine";
const REFERENCE_LOAD: &str =
    "reference load: knows drawn scenes only; its quality says nothing about other models";
