//! Who answers: the engines on this device.
//!
//! A backend turns a question into bytes and bytes into events. It never decides when something happened: its
//! reader takes the runner's [`Clock`](crate::clock::Clock) and stamps a batch of bytes as it comes off the socket or
//! pipe, before anything is parsed. That is the one stamp METRICS.md allows, and parsing after it costs no latency.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokwatt_domain::{
    ids::Digest,
    run::{ChunkKind, EngineTimes, FailureClass, TokenCounts},
    time::Stamp,
    workload::{CachePolicy, Sampling},
};

use crate::workload::turn::Turn;

/// The engine that we bring, in a worker process of its own.
pub mod embedded;

/// HTTP/1.1 to one server, stamped at the socket.
pub mod http;

/// Any server of the OpenAI interface.
pub mod openai;

/// Ollama, by its native interface.
pub mod ollama;

/// What a server tells of itself while it answers.
pub mod server_metrics;

/// A server that we start and stop, whatever it speaks.
pub mod managed;

/// How much of the weights is in the page cache, and how to get it out.
pub mod page_cache;

/// Whether it was want of memory that ended a process.
mod out_of_memory;

/// An engine that answers questions about pictures.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Brings the model into memory and says what answers. Idempotent: a model in memory is not loaded again.
    async fn load(&self) -> Result<ModelCard, BackendError>;

    /// Takes the model out of memory, so that an idle baseline can be measured without it.
    async fn unload(&self) -> Result<(), BackendError>;

    /// Asks. The first arrival is [`Event::Sent`], the last one [`Event::Done`] or an error; dropping the stream
    /// abandons the request. [`Event::Sent`] comes again, and replaces the first, where a server had closed the
    /// connection before it was asked on it.
    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>>;

    /// The process whose tree holds the model, where it is one of ours.
    fn process(&self) -> Option<u32>;

    /// Whether `load` returns with the first generated token, so that its time is the whole load time; a model that is merely in
    /// memory has its first question yet to answer.
    fn answers_when_loaded(&self) -> bool {
        false
    }

    /// When the first token came that `load` waited for, where it did: it may have had more to ask before it returned.
    fn first_token(&self) -> Option<Stamp> {
        None
    }

    /// Whether what it answers says anything about what it was asked; else nothing is scored.
    fn answers_mean_something(&self) -> bool {
        true
    }

    /// The files and folders that a load reads the weights from, as far as it is known where they lie on this machine.
    fn weights(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// One question about at most one picture.
#[derive(Clone, Debug)]
pub struct Question {
    /// What was said before it; empty where it begins the conversation.
    pub history: Vec<Turn>,
    /// What is asked.
    pub prompt: String,
    /// The picture's file, PNG or JPEG.
    pub picture: Option<Arc<[u8]>>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// Whether the answer is to have all of them: an engine that can then does not end it by itself.
    pub is_fixed_length: bool,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Whether the engine may reuse what it computed for an earlier question.
    pub cache: CachePolicy,
    /// Whether the answer is to come in pieces, as they are made.
    pub is_streaming: bool,
}

/// What answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModelCard {
    /// Engine and version, with the revision of llama.cpp or the server's own words.
    pub engine: String,
    /// Settings that change speed or answers.
    pub engine_flags: BTreeMap<String, String>,
    /// Model family: the file's `general.name`, else its file name; a server's model name.
    pub model: String,
    /// Precision class of the weights, lower case: `f32`, `q8_0`.
    pub precision: String,
    /// What the weights file says of itself: architecture, parameters, quantisation.
    pub facts: BTreeMap<String, String>,
    /// SHA-256 of the weights.
    pub digest: Option<Digest>,
    /// SHA-256 of the projector.
    pub mmproj_digest: Option<Digest>,
    /// Precision of the projector.
    pub mmproj_precision: Option<String>,
    /// From the load call until the engine said it was ready, without the time for digests; absent if it was loaded before.
    pub load_time: Option<Duration>,
}

/// Something that came back, and when its bytes did.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// When.
    pub at: Stamp,
    /// What.
    pub event: Event,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The question is encoded; the next thing is its first byte on the way out.
    Sent,
    /// A piece of the answer, never empty.
    Chunk {
        /// What it carries.
        kind: ChunkKind,
        /// Its bytes; a character may be split over two chunks.
        bytes: Vec<u8>,
        /// Tokens in it, where known.
        tokens: Option<u32>,
    },
    /// The end of a successful answer.
    Done(Finish),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Finish {
    /// Whether the token limit ended it.
    pub is_truncated: bool,
    /// Token counts, if anybody counted.
    pub tokens: Option<TokenCounts>,
    /// Time to encode the picture, by the engine's word.
    pub image_encode: Option<Duration>,
    /// The engine's own times.
    pub engine_times: Option<EngineTimes>,
}

impl Question {
    /// A question that begins a conversation, streamed, with nothing reused and the likeliest tokens.
    pub fn new(prompt: String, picture: Option<Arc<[u8]>>, max_tokens: u32) -> Self {
        Self {
            history: Vec::new(),
            prompt,
            picture,
            max_tokens,
            is_fixed_length: false,
            sampling: Sampling::Greedy,
            cache: CachePolicy::Cold,
            is_streaming: true,
        }
    }
}

/// Why an engine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This question failed; the next one may be asked.
    #[error("{}: {message}", class.as_str())]
    Request {
        /// Which kind of failure.
        class: FailureClass,
        /// In the engine's words.
        message: String,
    },
    /// The engine is gone; it has to be loaded again.
    #[error("{}: {message}", class.as_str())]
    Engine {
        /// Which kind of failure.
        class: FailureClass,
        /// Its last words.
        message: String,
    },
    /// It cannot be started as it is set up: a person has to change something.
    #[error("{message}")]
    Setup {
        /// What is wrong with what, and what to do.
        message: String,
    },
    /// Nobody answers, or not yet. It may come by itself.
    #[error("{message}")]
    Absent {
        /// Who does not, and what to do.
        message: String,
    },
}

impl BackendError {
    /// The same error in other words.
    #[must_use]
    pub fn map_message(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Request { class, message } => Self::Request {
                class,
                message: change(message),
            },
            Self::Engine { class, message } => Self::Engine {
                class,
                message: change(message),
            },
            Self::Setup { message } => Self::Setup {
                message: change(message),
            },
            Self::Absent { message } => Self::Absent {
                message: change(message),
            },
        }
    }
}
