//! What the parts of an answer mean: pieces of text, counts, the engine's own times, how it ended.
//!
//! Pure: bytes of JSON in, pieces and an end out. What is no piece of the answer is none here either: a delta with a
//! role only, an empty one, progress reports, the record of usage, the event that has nothing but a finish reason.
//!
//! Counts are believed in this order: the usage record, then llama.cpp's timings. A record that says that a text of some
//! length has no tokens does not count, and is as good as none; a negative one, or one beyond all measure, makes
//! the answer a failure, because nothing else in it can be believed either. Where every event so far had a running count (vLLM's
//! `continuous_usage_stats`), a piece has as many tokens as the count has risen since the piece before.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokwatt_domain::run::{ChunkKind, CountSource, EngineTimes, FailureClass, TokenCounts};

use super::{events::ServerEvent, refusal};
use crate::backend::{BackendError, Finish};

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    ending: Option<Ending>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    /// The running count at the latest piece; absent from the first event on that has none.
    running: Option<i64>,
    has_text: bool,
    is_over: bool,
}

/// A piece of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    pub(super) kind: ChunkKind,
    pub(super) text: String,
    pub(super) tokens: Option<u32>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Stop,
    Length,
}

/// An event's data, or a whole answer in one piece.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default, deserialize_with = "or_empty")]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// Nobody else's word depends on it, so it may be anything.
    timings: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: i64,
    /// In a stream.
    delta: Option<Message>,
    /// In one piece.
    message: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: i64,
    #[serde(default)]
    completion_tokens: i64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<i64>,
}

/// llama.cpp's own record.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Timings {
    cache_n: Option<i64>,
    prompt_n: i64,
    prompt_ms: f64,
    predicted_n: i64,
    predicted_ms: f64,
}

impl Answer {
    /// Nothing has come yet.
    pub(super) fn new() -> Self {
        Self {
            ending: None,
            usage: None,
            timings: None,
            running: Some(0),
            has_text: false,
            is_over: false,
        }
    }

    /// Whether the server has said that nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The pieces of text in an event.
    pub(super) fn read_event(&mut self, event: &ServerEvent) -> Result<Vec<Piece>, BackendError> {
        let data = event.data.trim_ascii();
        if event.name == b"error" {
            return Err(refusal::within(data));
        }
        match data {
            b"[DONE]" => {
                self.is_over = true;
                Ok(Vec::new())
            }
            b"" => Ok(Vec::new()),
            data => self.read(data),
        }
    }

    /// The pieces of text in JSON: of an event, or of an answer that is not streamed.
    pub(super) fn read(&mut self, json: &[u8]) -> Result<Vec<Piece>, BackendError> {
        let part: Part = serde_json::from_slice(json).map_err(|error| {
            protocol(format!(
                "an answer that is no chat completion ({error}): {}",
                refusal::excerpt(json)
            ))
        })?;
        if part.error.as_ref().is_some_and(|error| !error.is_null()) {
            return Err(refusal::within(json));
        }
        if let Some(usage) = part.usage {
            usage.check()?;
        }
        let tokens = self.tokens(&part);
        let mut pieces = Vec::new();
        for choice in part.choices.into_iter().filter(|choice| choice.index == 0) {
            // Older SGLang has an empty one in its first event.
            let reason = choice.finish_reason.filter(|reason| !reason.is_empty());
            if let Some(reason) = &reason {
                self.ending = Some(Ending::parse(reason)?);
            }
            let said = choice.delta.or(choice.message);
            pieces.extend(said.into_iter().flat_map(Message::pieces));
        }
        if let Some(first) = pieces.first_mut() {
            first.tokens = tokens;
            self.has_text = true;
            self.running = part.usage.map(|usage| usage.completion_tokens);
        }
        self.usage = part.usage.or(self.usage);
        let timings = part.timings.and_then(Timings::read);
        self.timings = timings.or(self.timings);
        Ok(pieces)
    }

    /// The answer has ended, and so has its connection's word on it.
    pub(super) fn finish(&self) -> Result<Finish, BackendError> {
        let Some(ending) = self.ending else {
            let so_far = if self.has_text {
                ""
            } else {
                ", and without a word"
            };
            return Err(protocol(format!(
                "the answer ended without a finish reason{so_far}"
            )));
        };
        Ok(Finish {
            is_truncated: ending == Ending::Length,
            tokens: self.counts()?,
            image_encode: None,
            engine_times: self.timings.and_then(Timings::times),
        })
    }

    /// By how much the running count has risen.
    fn tokens(&self, part: &Part) -> Option<u32> {
        let risen = part.usage?.completion_tokens - self.running?;
        u32::try_from(risen).ok().filter(|risen| *risen > 0)
    }

    fn counts(&self) -> Result<Option<TokenCounts>, BackendError> {
        let usage = self
            .usage
            .filter(|usage| self.is_possible(usage.completion_tokens));
        if let Some(usage) = usage.filter(|usage| usage.prompt_tokens > 0) {
            let by_timings = self.timings.and_then(|timings| timings.cache_n);
            let cached = usage.cached().or(by_timings);
            return counts(
                usage.prompt_tokens,
                cached,
                usage.completion_tokens,
                CountSource::Usage,
            )
            .map(Some);
        }
        let timings = self
            .timings
            .filter(|timings| self.is_possible(timings.predicted_n));
        timings
            .map(|timings| {
                let prompt = timings
                    .prompt_n
                    .saturating_add(timings.cache_n.unwrap_or(0));
                counts(
                    prompt,
                    timings.cache_n,
                    timings.predicted_n,
                    CountSource::Timings,
                )
            })
            .transpose()
    }

    /// A text has tokens.
    fn is_possible(&self, completion: i64) -> bool {
        completion != 0 || !self.has_text
    }
}

impl Ending {
    fn parse(reason: &str) -> Result<Self, BackendError> {
        match reason {
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" => Ok(Self::Stop),
            "length" | "max_tokens" | "model_length" => Ok(Self::Length),
            "content_filter" => Err(request(
                FailureClass::Refused,
                "the server's content filter ended the answer".to_owned(),
            )),
            "abort" | "cancelled" | "error" => Err(request(
                FailureClass::Refused,
                format!("the server gave the answer up (`{reason}`); its log says why"),
            )),
            _ => Err(protocol(format!(
                "the answer ended for a reason that no answer to a question has: `{}`",
                refusal::excerpt(reason.as_bytes())
            ))),
        }
    }
}

impl Message {
    /// Thinking comes before what is said.
    fn pieces(self) -> impl Iterator<Item = Piece> {
        let piece = |kind| {
            move |text: String| Piece {
                kind,
                text,
                tokens: None,
            }
        };
        let some = |text: &String| !text.is_empty();
        let thought = self.reasoning_content.filter(some);
        let thought = thought.or(self.reasoning.filter(some));
        let said = self.content.filter(some);
        thought
            .map(piece(ChunkKind::Reasoning))
            .into_iter()
            .chain(said.map(piece(ChunkKind::Content)))
    }
}

impl Usage {
    fn cached(&self) -> Option<i64> {
        self.prompt_tokens_details?.cached_tokens
    }

    /// At once, so that a running count that is wrong ends the answer where it went wrong.
    fn check(&self) -> Result<(), BackendError> {
        let cached = self.cached();
        counts(
            self.prompt_tokens,
            cached,
            self.completion_tokens,
            CountSource::Usage,
        )
        .map(drop)
    }
}

impl Timings {
    /// Absent where it is not complete.
    fn read(timings: Value) -> Option<Self> {
        serde_json::from_value(timings).ok()
    }

    fn times(self) -> Option<EngineTimes> {
        let time = |milliseconds: f64| Duration::try_from_secs_f64(milliseconds / 1e3).ok();
        Some(EngineTimes {
            prefill: time(self.prompt_ms)?,
            decode: time(self.predicted_ms)?,
        })
    }
}

/// Some servers say `null` for an empty list.
pub(super) fn or_empty<'de, D, T>(list: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(list).map(Option::unwrap_or_default)
}

fn counts(
    prompt: i64,
    cached: Option<i64>,
    completion: i64,
    source: CountSource,
) -> Result<TokenCounts, BackendError> {
    let count = |name: &str, count: i64| match u32::try_from(count) {
        Ok(count) if count <= TOKENS_MAX => Ok(count),
        _ => Err(protocol(format!(
            "the server counted {count} {name} tokens: its counts cannot be believed"
        ))),
    };
    let cached = cached.map(|cached| count("cached", cached)).transpose()?;
    let counts = TokenCounts {
        prompt: count("prompt", prompt)?,
        cached,
        completion: count("completion", completion)?,
        source,
    };
    match cached {
        Some(cached) if cached > counts.prompt => Err(protocol(format!(
            "the server counted {cached} cached tokens of {prompt} prompt tokens: its counts cannot be believed"
        ))),
        _ => Ok(counts),
    }
}

fn protocol(message: String) -> BackendError {
    request(FailureClass::Protocol, message)
}

fn request(class: FailureClass, message: String) -> BackendError {
    BackendError::Request { class, message }
}

/// Far more than any model's context.
const TOKENS_MAX: u32 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// What events with this data come to: pieces with their tokens, and the end.
    fn heard(events: &[&str]) -> (Vec<(ChunkKind, String, Option<u32>)>, Finish) {
        let mut answer = Answer::new();
        let mut pieces = Vec::new();
        for data in events {
            let event = ServerEvent {
                name: Vec::new(),
                data: data.as_bytes().to_vec(),
            };
            let read = answer.read_event(&event).unwrap().into_iter();
            pieces.extend(read.map(|piece| (piece.kind, piece.text, piece.tokens)));
        }
        (pieces, answer.finish().unwrap())
    }

    fn said(text: &str, running: Option<u32>) -> String {
        let usage = match running {
            Some(count) => format!(r#"{{"prompt_tokens": 5, "completion_tokens": {count}}}"#),
            None => "null".to_owned(),
        };
        format!(r#"{{"choices": [{{"delta": {{"content": "{text}"}}}}], "usage": {usage}}}"#)
    }

    const STOP: &str = r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#;

    fn tokens(events: &[String]) -> Vec<Option<u32>> {
        let mut events: Vec<&str> = events.iter().map(String::as_str).collect();
        events.push(STOP);
        let (pieces, _) = heard(&events);
        pieces.into_iter().map(|(_, _, tokens)| tokens).collect()
    }

    #[test]
    fn a_piece_has_the_tokens_by_which_a_running_count_has_risen() {
        let events = [
            said("", Some(0)),
            said("a", Some(1)),
            said("", Some(2)),
            said("b", Some(4)),
        ];
        assert_eq!(
            tokens(&events),
            [Some(1), Some(3)],
            "what was held back comes with the next"
        );
        let events = [said("a", Some(2)), said("b", Some(2)), said("c", Some(1))];
        assert_eq!(
            tokens(&events),
            [Some(2), None, None],
            "a count that does not rise tells nothing"
        );
    }

    #[test]
    fn a_count_that_is_not_on_every_event_is_none_of_its_own() {
        assert_eq!(tokens(&[said("a", None), said("b", Some(2))]), [None, None]);
    }

    #[test]
    fn thinking_comes_before_what_is_said_and_once() {
        let both = r#"{"choices": [{"delta": {"content": "c", "reasoning_content": "r", "reasoning": "r"}}]}"#;
        let (pieces, _) = heard(&[both, STOP]);
        let want = [
            (ChunkKind::Reasoning, "r".to_owned(), None),
            (ChunkKind::Content, "c".to_owned(), None),
        ];
        assert_eq!(pieces, want);
    }

    #[test]
    fn only_the_first_choice_is_an_answer() {
        let other =
            r#"{"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "length"}]}"#;
        let (pieces, finish) = heard(&[other, STOP, "[DONE]", " "]);
        assert!(pieces.is_empty() && !finish.is_truncated);
    }

    #[test]
    fn an_empty_finish_reason_is_none() {
        let role = r#"{"choices": [{"delta": {"role": "assistant"}, "finish_reason": ""}]}"#;
        let (pieces, finish) = heard(&[role, &said("a", None), STOP]);
        assert!(pieces.len() == 1 && !finish.is_truncated);
        let mut answer = Answer::new();
        answer.read(role.as_bytes()).unwrap();
        answer.finish().unwrap_err();
    }

    #[test]
    fn what_is_null_or_incomplete_beside_an_answer_does_not_fail_it() {
        for timings in [
            "null",
            "[]",
            r#"{"prompt_n": 5}"#,
            r#"{"prompt_n": 5, "prompt_ms": null, "predicted_n": 3, "predicted_ms": null}"#,
        ] {
            let end = format!(r#"{{"choices": null, "timings": {timings}}}"#);
            let (_, finish) = heard(&[STOP, &end]);
            assert_eq!((finish.tokens, finish.engine_times), (None, None));
        }
    }

    #[test]
    fn usage_is_believed_before_timings_and_timings_before_nothing() {
        let timings = r#""timings": {"cache_n": 2, "prompt_n": 5, "prompt_ms": 1, "predicted_n": 3, "predicted_ms": -1}"#;
        let usage = r#""usage": {"prompt_tokens": 7, "completion_tokens": 4}"#;
        let end = |records: &str| format!(r#"{{"choices": [], {records}}}"#);
        let (_, both) = heard(&[STOP, &end(&format!("{usage}, {timings}"))]);
        let counts = both.tokens.unwrap();
        assert_eq!(
            (counts.prompt, counts.cached, counts.completion),
            (7, Some(2), 4)
        );
        assert_eq!(counts.source, CountSource::Usage);
        assert_eq!(both.engine_times, None, "no time is negative");
        let (_, timed) = heard(&[STOP, &end(timings)]);
        let counts = timed.tokens.unwrap();
        assert_eq!(
            (counts.prompt, counts.cached, counts.completion),
            (7, Some(2), 3)
        );
        assert_eq!(counts.source, CountSource::Timings);
        assert_eq!(heard(&[STOP]).1.tokens, None);
    }
}
