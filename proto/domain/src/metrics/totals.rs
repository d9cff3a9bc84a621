//! The sums over a run from which every ratio is made, so that runs and tasks add up before they are divided.
//!
//! Durations are summed in nanoseconds and counts as integers: exact, and the same in any order of requests.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    metrics::{goodput, latency},
    run::{CountSource, RequestTrace, RunTrace, Segment, TokenCounts},
    workload::CachePolicy,
};

/// Total id to its value, and to why it is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// What could be summed. Ids:
    ///
    /// - of all requests: `runs` (1, so that means per run add up), `requests`, `window_s`, `window_min`, `drain_s` (from the
    ///   first end after a segment's last send to the end of its window);
    /// - of successes: `successes`, `truncated`, `images` (where each request asks about one picture), `latency_s`,
    ///   `completion_tokens`, `prompt_tokens`, `total_tokens`;
    /// - of successes that have the time below the line of their ratio: `ttft_s` and `uncached_prompt_tokens` Σ(P − C);
    ///   `decode_s` Σ(L − ttft) and `decode_tokens` Σ(N − k₁); `server_decode_s`, `server_decode_tokens`, `server_prefill_s`,
    ///   `server_prefill_tokens`;
    /// - with limits: `good_requests`, successes that keep to all of them;
    /// - from elsewhere: `correct_answers`, `bad_outputs`, `energy_j@SCOPE`.
    pub values: BTreeMap<String, f64>,
    /// Why the others are absent.
    pub reasons: BTreeMap<String, String>,
}

/// Sums over a run's requests and windows.
pub fn totals(trace: &RunTrace) -> Totals {
    let mut totals = Totals::default();
    totals.add_windows(&trace.segments);
    let requests: Vec<&RequestTrace> = requests(trace).collect();
    let successes: Vec<&RequestTrace> = successes(trace).collect();
    let truncated = successes
        .iter()
        .filter(|request| request.is_truncated())
        .count();
    totals.set_count("requests", requests.len());
    totals.set_count("successes", successes.len());
    match trace.header.has_pictures {
        true => totals.set_count("images", successes.len()),
        false => totals.miss("images", NO_PICTURE),
    }
    totals.set_count("truncated", truncated);
    totals.set_time(
        "latency_s",
        successes
            .iter()
            .map(|request| latency::request_latency(request)),
    );
    totals.add_tokens(trace, &successes);
    match goodput::good_requests(trace, &totals) {
        Ok(count) => totals.set_count("good_requests", count),
        Err(reason) => totals.miss("good_requests", reason),
    }
    totals
}

/// Why figures about pictures are absent.
pub(crate) const NO_PICTURE: &str = "no question of this task is about a picture";

/// Requests of all segments.
pub(crate) fn requests(trace: &RunTrace) -> impl Iterator<Item = &RequestTrace> {
    trace.segments.iter().flat_map(|segment| &segment.requests)
}

/// Those that succeeded.
pub(crate) fn successes(trace: &RunTrace) -> impl Iterator<Item = &RequestTrace> {
    requests(trace).filter(|request| request.outcome.is_success())
}

/// W: Σ of the segments' windows.
pub(crate) fn window(trace: &RunTrace) -> Duration {
    trace
        .segments
        .iter()
        .map(|segment| segment.window.length())
        .sum()
}

/// Exact below 2⁵³.
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

impl Totals {
    /// Adds one.
    pub fn set(&mut self, id: &str, value: f64) {
        self.values.insert(id.to_owned(), value);
    }

    /// Says why it is absent.
    pub fn miss(&mut self, id: &str, reason: impl Into<String>) {
        self.reasons.insert(id.to_owned(), reason.into());
    }

    /// One total divided by another.
    ///
    /// # Errors
    /// Why the ratio is absent.
    pub fn ratio(&self, numerator: &str, denominator: &str) -> Result<f64, String> {
        let divisor = self.get(denominator)?;
        super::dictionary::divide(self.get(numerator)?, divisor)
            .ok_or_else(|| format!("`{denominator}` is {divisor}"))
    }

    /// One of them.
    ///
    /// # Errors
    /// Why it is absent.
    pub fn get(&self, id: &str) -> Result<f64, String> {
        let reason = || self.reasons.get(id).cloned();
        let value = self.values.get(id).copied();
        value.ok_or_else(|| reason().unwrap_or_else(|| format!("no `{id}`")))
    }

    fn set_count(&mut self, id: &str, count: usize) {
        self.set(id, number(count as u64));
    }

    fn set_time(&mut self, id: &str, times: impl Iterator<Item = Duration>) {
        self.set(id, times.sum::<Duration>().as_secs_f64());
    }

    fn add_windows(&mut self, segments: &[Segment]) {
        let window: Duration = segments.iter().map(|segment| segment.window.length()).sum();
        self.set("runs", 1.0);
        self.set("window_s", window.as_secs_f64());
        self.set("window_min", window.as_secs_f64() / 60.0);
        self.set_time("drain_s", segments.iter().map(drain));
    }

    fn add_tokens(&mut self, trace: &RunTrace, successes: &[&RequestTrace]) {
        let identity = &trace.header.cell.identity;
        let counts = match counts(successes) {
            Ok(counts) => counts,
            Err(reason) => return self.miss_tokens(&reason),
        };
        let completion: u64 = counts
            .iter()
            .map(|counts| u64::from(counts.completion))
            .sum();
        let prompt: u64 = counts.iter().map(|counts| u64::from(counts.prompt)).sum();
        self.set("completion_tokens", number(completion));
        self.set("prompt_tokens", number(prompt));
        self.set("total_tokens", number(prompt + completion));
        if identity.is_streaming {
            self.add_decode(successes);
            self.add_prefill(identity.cache_policy, successes);
        } else {
            self.miss_all(&STREAMED, "answers are not streamed");
        }
        self.add_server_times(identity.cache_policy, successes);
    }

    fn add_decode(&mut self, successes: &[&RequestTrace]) {
        let parts: Vec<latency::Decode> = successes
            .iter()
            .filter_map(|request| latency::decode(request))
            .collect();
        if parts.is_empty() {
            return self.miss_all(&DECODE, "no answer had two tokens in two pieces");
        }
        let tokens: u64 = parts.iter().map(|part| u64::from(part.tokens)).sum();
        self.set("decode_tokens", number(tokens));
        self.set_time("decode_s", parts.iter().map(|part| part.time));
    }

    fn add_prefill(&mut self, policy: CachePolicy, successes: &[&RequestTrace]) {
        let timed: Vec<(&RequestTrace, Duration)> = successes
            .iter()
            .filter_map(|request| Some((*request, latency::ttft(request)?)))
            .collect();
        self.set_time("ttft_s", timed.iter().map(|(_, ttft)| *ttft));
        match uncached(policy, timed.iter().map(|(request, _)| *request)) {
            Some(tokens) => self.set("uncached_prompt_tokens", number(tokens)),
            None => self.miss("uncached_prompt_tokens", CACHE_UNKNOWN),
        }
    }

    fn add_server_times(&mut self, policy: CachePolicy, successes: &[&RequestTrace]) {
        let timed = || {
            successes
                .iter()
                .filter(|request| request.engine_times.is_some())
        };
        if timed().next().is_none() {
            return self.miss_all(&SERVER, "the engine reports no times of its own");
        }
        let times = || timed().filter_map(|request| request.engine_times);
        self.set_time("server_decode_s", times().map(|times| times.decode));
        self.set_time("server_prefill_s", times().map(|times| times.prefill));
        let completion = timed().filter_map(|request| request.tokens);
        let completion: u64 = completion.map(|tokens| u64::from(tokens.completion)).sum();
        self.set("server_decode_tokens", number(completion));
        match uncached(policy, timed().copied()) {
            Some(tokens) => self.set("server_prefill_tokens", number(tokens)),
            None => self.miss("server_prefill_tokens", CACHE_UNKNOWN),
        }
    }

    fn miss_tokens(&mut self, reason: &str) {
        self.miss_all(
            &["completion_tokens", "prompt_tokens", "total_tokens"],
            reason,
        );
        self.miss_all(&STREAMED, reason);
        self.miss_all(&SERVER, reason);
    }

    fn miss_all(&mut self, ids: &[&str], reason: &str) {
        for id in ids {
            self.miss(id, reason);
        }
    }
}

impl RequestTrace {
    /// Whether the answer reached its token limit.
    pub fn is_truncated(&self) -> bool {
        self.outcome == crate::run::Outcome::Length
    }
}

const DECODE: [&str; 2] = ["decode_tokens", "decode_s"];
const STREAMED: [&str; 4] = [
    "decode_tokens",
    "decode_s",
    "uncached_prompt_tokens",
    "ttft_s",
];
const SERVER: [&str; 4] = [
    "server_decode_tokens",
    "server_decode_s",
    "server_prefill_tokens",
    "server_prefill_s",
];
const CACHE_UNKNOWN: &str = "how many prompt tokens came from a cache is not known";

/// Every success has its counts, from one source.
fn counts(successes: &[&RequestTrace]) -> Result<Vec<TokenCounts>, String> {
    let counts: Vec<TokenCounts> = successes
        .iter()
        .filter_map(|request| request.tokens)
        .collect();
    let missing = successes.len() - counts.len();
    if missing > 0 {
        return Err(format!(
            "{missing} of {} answers have no token count",
            successes.len()
        ));
    }
    let mut sources: Vec<CountSource> = counts.iter().map(|counts| counts.source).collect();
    sources.sort();
    sources.dedup();
    match sources.len() {
        0 => Err("no request succeeded".to_owned()),
        1 => Ok(counts),
        _ => Err("token counts come from more than one source".to_owned()),
    }
}

/// Σ(P − C); an unknown C is 0 under policy cold, else nothing is known.
fn uncached<'a>(
    policy: CachePolicy,
    requests: impl Iterator<Item = &'a RequestTrace>,
) -> Option<u64> {
    let unknown = (policy == CachePolicy::Cold).then_some(0);
    let tokens = requests.filter_map(|request| request.tokens);
    tokens
        .map(|tokens| {
            let cached = tokens.cached.or(unknown)?;
            Some(u64::from(tokens.prompt.saturating_sub(cached)))
        })
        .sum()
}

/// From the first end after the last send to the end of the window: no longer at full load. An end at the very time of the last send
/// made room for it.
fn drain(segment: &Segment) -> Duration {
    let last_send = segment.requests.iter().map(|request| request.sent).max();
    let ends = segment.requests.iter().map(|request| request.ended);
    ends.filter(|end| Some(*end) > last_send)
        .min()
        .map_or(Duration::ZERO, |end| segment.window.to.since(end))
}
