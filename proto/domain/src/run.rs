//! What happened: the cell that was run, its raw trace, and the report made from it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    campaign::JobRef,
    gap::Gap,
    ids::{DeviceId, Digest, RunId},
    power::{PowerTrace, Provenance, Scope},
    time::{Stamp, WallTime, Window},
    units::Watts,
    workload::{CachePolicy, Limits, Load, Sampling, Scoring, Truth},
};

/// One configuration of the workload on one device.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Cell {
    /// What must match for two runs to be compared.
    #[serde(flatten)]
    pub identity: Identity,
    /// What is printed beside a figure and never merged within a row.
    #[serde(flatten)]
    pub configuration: Configuration,
}

/// What must match within a board.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Identity {
    /// Name of the suite.
    pub suite: String,
    /// What it consists of: prompts, pictures, limits, scoring.
    pub suite_digest: Digest,
    /// Name of the task within the suite.
    pub task: String,
    /// Side of the square pictures in pixels; absent for own folders of mixed sizes.
    pub image_px: Option<u32>,
    /// Model family as named by its file's metadata or by the server.
    pub model: String,
    /// Precision class of the weights: `f32`, `f16`, `bf16`, `q8_0`, …
    pub precision: String,
    /// Most tokens an answer may have.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// How requests are offered.
    pub load: Load,
    /// Whether caches may be reused.
    pub cache_policy: CachePolicy,
    /// Whether answers are streamed.
    pub is_streaming: bool,
}

/// What is printed, never merged within a row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Configuration {
    /// `embedded`, `openai`, `ollama`.
    pub backend: String,
    /// Engine with its version.
    pub engine: String,
    /// Settings that change speed or answers: threads, slots, context, CPU features.
    pub engine_flags: BTreeMap<String, String>,
    /// SHA-256 of the weights file, where there is one.
    pub model_digest: Option<Digest>,
    /// SHA-256 of the picture projector's file, where there is one.
    pub mmproj_digest: Option<Digest>,
    /// Precision of the projector.
    pub mmproj_precision: Option<String>,
    /// What the weights file says of itself: architecture, parameters, quantisation.
    pub model_facts: BTreeMap<String, String>,
    /// Power mode in force, where the device has such.
    pub power_mode: Option<String>,
    /// Operating system and kernel.
    pub os: String,
}

/// What is known about a run before its first request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunHeader {
    /// Its name.
    pub run: RunId,
    /// Where it ran.
    pub device: DeviceId,
    /// What was run.
    pub cell: Cell,
    /// Which repetition of the cell, from 1.
    pub repetition: u32,
    /// When it started, by the wall clock.
    pub started: WallTime,
    /// How answers are scored.
    pub scoring: Option<Scoring>,
    /// Whether each question is about a picture; every one was before there were others.
    #[serde(default = "always")]
    pub has_pictures: bool,
    /// How the requests' figures came to be.
    pub requests_provenance: Provenance,
    /// Whether idle baselines were shortened: such runs' energy is shown and not ranked.
    pub is_quick: bool,
    /// Idle power measured before the group of cells.
    pub idle: Vec<IdleBaseline>,
    /// How long loading the model took, if this run's group loaded it.
    pub load_time: Option<LoadTime>,
    /// Loads before that one, done for their times alone, in order; records of agents before it have none.
    #[serde(default)]
    pub load_trials: Vec<LoadTime>,
    /// Prompt tokens that a picture of this size takes, measured once per model and size.
    pub image_tokens: Option<u32>,
    /// What came of asking the same question again before the runs; absent where that was not done.
    #[serde(default)]
    pub cache_probe: Option<CacheProbe>,
    /// What a request has to keep to, to count for goodput, if anybody said.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// The lease of a job that it was run for; absent where a person asked.
    #[serde(default)]
    pub job: Option<JobRef>,
    /// What could not be measured, and why: metric id or `power` to the reason. `settle`: what came of waiting for steady
    /// conditions; absent where neither temperature nor power can tell.
    pub reasons: BTreeMap<String, String>,
}

/// The same questions asked twice under policy cold, before the runs: what the second time shows of a prefix cache.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CacheProbe {
    /// Prompt tokens of a question asked again, if anybody counted.
    pub prompt_tokens: Option<u32>,
    /// Of these taken from a cache, by the engine's word; absent if it does not say.
    pub cached_tokens: Option<u32>,
    /// Only where the engine does not say: time to first token of a question that was new, and of the same when it was asked again.
    pub first_tokens: Vec<(Duration, Duration)>,
}

/// Mean power while nothing was asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct IdleBaseline {
    /// By which instrument.
    pub source: String,
    /// Of what.
    pub scope: Scope,
    /// With or without a model in memory.
    pub state: IdleState,
    /// Mean over `length`.
    pub power: Watts,
    /// How far sampling may have led the mean astray; records of agents before it have none.
    #[serde(default)]
    pub bound: Option<Watts>,
    /// How long it was watched.
    pub length: Duration,
    /// End of that time.
    pub ended: Stamp,
}

/// Whether the model was in memory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleState {
    /// No model loaded.
    Unloaded,
    /// The model to be measured loaded, nothing asked.
    Loaded,
}

/// From the load call to the first generated token, download excluded.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LoadTime {
    /// How long.
    pub duration: Duration,
    /// What state the machine was in.
    pub kind: LoadKind,
    /// Share of the weights' pages that were in the page cache before the load, 0 to 1; absent where nobody could tell, and in
    /// records of agents before it.
    #[serde(default)]
    pub resident: Option<f64>,
}

/// What was in memory before a load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// The weights were not in the page cache.
    Cold,
    /// The weights were, or may have been, in the page cache.
    Warm,
    /// Another model was in memory and had to go first.
    Swap,
}

/// Everything observed during a run; the only input of its report.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunTrace {
    /// What was known before.
    pub header: RunHeader,
    /// Stretches of at most 500 requests or 60 s, each drained before the next.
    pub segments: Vec<Segment>,
    /// Where the agent was killed in between and went on, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumptions: Vec<Resumption>,
    /// How it ended.
    pub end: RunEnd,
}

/// An agent that was killed, or a machine that was switched off, went on with a run. What was in hand at the time is not known and
/// was asked again; the monotonic clock went on from the last stamp that was kept, as if no time had passed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Resumption {
    /// The first segment after it, by its position in the run.
    pub segment: u32,
    /// When, by the wall clock.
    pub at: WallTime,
    /// Idle power measured anew.
    pub idle: Vec<IdleBaseline>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// All requests were asked.
    Complete,
    /// A person stopped it; kept and not ranked.
    Cancelled,
    /// The engine died and did not come back; the rest was not asked.
    Aborted,
}

/// A stretch of a run between two commits: nothing touches the disk inside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Segment {
    /// First send to end of the last request.
    pub window: Window,
    /// In order of sending.
    pub requests: Vec<RequestTrace>,
    /// One trace for each sensor and scope.
    pub power: Vec<PowerTrace>,
    /// Memory in use meanwhile.
    pub memory: Vec<MemoryTrace>,
    /// The conditions meanwhile: clocks, temperatures, limits.
    #[serde(default)]
    pub gauges: Vec<GaugeTrace>,
    /// What of it is not kept, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// Memory in use, seen from one side.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct MemoryTrace {
    /// Whose.
    pub scope: MemoryScope,
    /// Before the model was loaded, in bytes.
    pub baseline_bytes: u64,
    /// Sorted by time: when and how many bytes.
    pub samples: Vec<(Stamp, u64)>,
}

/// Whose memory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryScope {
    /// Σ proportional set size over the engine's processes.
    ProcessTree,
    /// MemTotal − MemAvailable.
    System,
    /// NVML: of the engine's processes on all GPUs, with nothing before the load; of everybody, where the driver does not tell
    /// whose it is.
    Gpu,
}

/// One condition under which a segment ran: just before its window, about every second within, and just after.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GaugeTrace {
    /// What is shown, and in which unit.
    pub kind: GaugeKind,
    /// Of what: `gpu`, `tj-thermal`, `cpu policy0`; once for each kind.
    pub name: String,
    /// Sorted by time: when and how much, in the kind's unit. A reading that failed is no sample.
    pub samples: Vec<(Stamp, i64)>,
}

/// What a gauge shows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GaugeKind {
    /// A clock in Hz; those of the GPU have names that begin with `gpu`.
    Clock,
    /// A temperature in m°C.
    Temperature,
    /// A limit on the clocks: 0 while it does not limit; else the state of a thermal limit, or a bit mask of reasons that do.
    Throttle,
    /// Over-current events since some start; only rises.
    Overcurrent,
    /// Use of a processor in ‰; those of the GPU have names that begin with `gpu`.
    Utilisation,
    /// Processes on the GPU that are neither ours nor the engine's.
    ForeignGpuProcess,
    /// Wall clock minus monotonic clock in µs: only its steps mean something.
    WallOffset,
    /// By the server's word, part of its KV cache in use, in ‰.
    KvCacheUse,
    /// By the server's word, requests that it computes.
    RequestsRunning,
    /// By the server's word, requests that wait for it.
    RequestsQueued,
    /// By the server's word, requests that had to make room and begin again, since some start; only rises.
    Preemptions,
    /// By the server's word, prompt tokens that it read since some start; only rises.
    PromptTokens,
    /// By the server's word, tokens that it generated since some start; only rises.
    GeneratedTokens,
    /// By the server's word, prompt tokens that it looked up in its prefix cache since some start; only rises.
    PrefixCacheQueries,
    /// By the server's word, those of them that it found; only rises.
    PrefixCacheHits,
}

/// One request and what came back.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RequestTrace {
    /// Position in the run, from 0.
    pub index: u32,
    /// Which picture or prompt of the suite.
    pub item: String,
    /// When it should have been sent; open loop only.
    pub scheduled: Option<Stamp>,
    /// Its body was encoded, no byte of it written yet.
    pub sent: Stamp,
    /// What came, stamped as it came off the socket or pipe.
    pub chunks: Vec<Chunk>,
    /// Its end, whatever it was.
    pub ended: Stamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Token counts, if anybody counted.
    pub tokens: Option<TokenCounts>,
    /// Time the engine or server says it took to encode the picture.
    pub image_encode: Option<Duration>,
    /// The engine's own times.
    pub engine_times: Option<EngineTimes>,
    /// The answer.
    pub answer: String,
    /// What is known about the picture or question.
    pub truth: Option<Truth>,
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Chunk {
    /// When it arrived.
    pub at: Stamp,
    /// What it carried.
    pub kind: ChunkKind,
    /// Tokens in it, where known; 1 otherwise.
    pub tokens: Option<u32>,
}

/// What a chunk carried; empty ones are not recorded.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkKind {
    /// Part of the answer.
    Content,
    /// Thinking before it.
    Reasoning,
}

/// How a request ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The model ended its answer.
    Stop,
    /// The answer reached its token limit: a success, counted as truncated.
    Length,
    /// No answer.
    Failed {
        /// Which kind of failure.
        class: FailureClass,
        /// In the engine's or server's words.
        message: String,
    },
}

/// Kinds of failure; each is a result and stays in the run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// No end within the limit.
    Timeout,
    /// A status that is no success.
    Http,
    /// Nobody listens, or a clear no.
    Refused,
    /// Killed or failed for want of memory.
    OutOfMemory,
    /// The engine died.
    Crashed,
    /// It answered in a form that its interface does not have.
    Protocol,
    /// A person stopped it.
    Cancelled,
}

/// Token counts of one request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenCounts {
    /// P: prompt tokens, image tokens included.
    pub prompt: u32,
    /// C: of these taken from a cache, where known.
    pub cached: Option<u32>,
    /// N: completion tokens, reasoning and the token that ends the answer included, as servers count them.
    pub completion: u32,
    /// Who counted.
    pub source: CountSource,
}

/// Who counted tokens, in order of trust.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// The server's usage record.
    Usage,
    /// The server's timing record.
    Timings,
    /// The embedded engine.
    Engine,
    /// A tokenizer here.
    Tokenizer,
}

/// The engine's own times, kept apart from ours.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EngineTimes {
    /// Reading the prompt, picture included.
    pub prefill: Duration,
    /// Generating.
    pub decode: Duration,
}

impl Cell {
    /// How the cell is called in lists: `caption_brief 96px f32 closed(1)`.
    pub fn label(&self) -> String {
        let identity = &self.identity;
        let size = identity
            .image_px
            .map(|px| format!(" {px}px"))
            .unwrap_or_default();
        format!(
            "{}{size} {} {}",
            identity.task, identity.precision, identity.load
        )
    }
}

impl Outcome {
    /// Whether the stream ended with stop or length.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Stop | Self::Length)
    }
}

impl RequestTrace {
    /// Where latency counts from: the scheduled time in open loop, else the send.
    pub fn origin(&self) -> Stamp {
        self.scheduled.unwrap_or(self.sent)
    }
}

impl FailureClass {
    /// The name under which it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Http => "http",
            Self::Refused => "refused",
            Self::OutOfMemory => "out_of_memory",
            Self::Crashed => "crashed",
            Self::Protocol => "protocol",
            Self::Cancelled => "cancelled",
        }
    }
}

impl LoadKind {
    /// The kind of a load that nothing had to make room for, by the share of the weights' pages that was cached.
    ///
    /// Cold is a claim, so it takes a look that says so; everything else is the weaker word.
    pub fn of_cached(resident: Option<f64>) -> Self {
        match resident {
            Some(share) if share <= COLD_RESIDENT_MOST => Self::Cold,
            _ => Self::Warm,
        }
    }

    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Swap => "swap",
        }
    }
}

impl MemoryScope {
    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcessTree => "process_tree",
            Self::System => "system",
            Self::Gpu => "gpu",
        }
    }
}

impl GaugeKind {
    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Temperature => "temperature",
            Self::Throttle => "throttle",
            Self::Overcurrent => "overcurrent",
            Self::Utilisation => "utilisation",
            Self::ForeignGpuProcess => "foreign_gpu_process",
            Self::WallOffset => "wall_offset",
            Self::KvCacheUse => "kv_cache_use",
            Self::RequestsRunning => "requests_running",
            Self::RequestsQueued => "requests_queued",
            Self::Preemptions => "preemptions",
            Self::PromptTokens => "prompt_tokens",
            Self::GeneratedTokens => "generated_tokens",
            Self::PrefixCacheQueries => "prefix_cache_queries",
            Self::PrefixCacheHits => "prefix_cache_hits",
        }
    }
}

fn always() -> bool {
    true
}

/// A load is cold if no more of the weights than this is in the page cache: a file's header is read by whoever looks at it.
pub const COLD_RESIDENT_MOST: f64 = 0.01;
