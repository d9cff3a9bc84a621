//! An answer: lines of JSON, each a piece of it, the last one with counts and times.

use std::time::Duration;

use serde::Deserialize;
use tokwatt_domain::run::{ChunkKind, CountSource, EngineTimes, FailureClass, TokenCounts};

use super::{failure, protocol};
use crate::backend::{BackendError, Event, Finish, openai::refusal};

/// Cuts what comes off the socket into lines.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

/// What has come of an answer.
#[derive(Default)]
pub(super) struct Answer {
    finish: Option<Finish>,
    /// How long Ollama loaded the model before it answered.
    pub(super) load: Duration,
}

/// A line of an answer. What is absent is absent: Ollama leaves out what is 0.
#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    error: Option<serde_json::Value>,
    load_duration: Option<u64>,
    prompt_eval_count: Option<u32>,
    prompt_eval_duration: Option<u64>,
    eval_count: Option<u32>,
    eval_duration: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
    #[serde(default)]
    thinking: String,
}

impl Lines {
    /// The lines that are complete now.
    ///
    /// # Errors
    /// One has no end.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, BackendError> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.rest.len() + part.len() > LINE_BYTES_MAX {
                return Err(protocol(format!(
                    "a line of its answer has more than {LINE_BYTES_MAX} bytes"
                )));
            }
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.rest));
            }
        }
        Ok(lines)
    }

    /// What came behind the last line's end: a whole answer in one piece has no other.
    pub(super) fn end(self) -> Vec<u8> {
        self.rest
    }
}

impl Answer {
    /// What a line carries: at most some thinking and some content.
    ///
    /// # Errors
    /// It is an error in Ollama's words, or no line of an answer.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Vec<Event>, BackendError> {
        if line.trim_ascii().is_empty() || self.is_over() {
            return Ok(Vec::new());
        }
        let read: Line = serde_json::from_slice(line).map_err(|error| {
            let said = refusal::excerpt(line);
            protocol(format!(
                "a line of its answer cannot be read: {error}: {said}"
            ))
        })?;
        if let Some(error) = &read.error {
            let said = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            return Err(failure(&said));
        }
        let mut events = Vec::new();
        if let Some(message) = &read.message {
            events.extend(chunk(ChunkKind::Reasoning, &message.thinking));
            events.extend(chunk(ChunkKind::Content, &message.content));
        }
        if read.done {
            self.load = Duration::from_nanos(read.load_duration.unwrap_or(0));
            self.finish = Some(read.finish()?);
        }
        Ok(events)
    }

    pub(super) fn is_over(&self) -> bool {
        self.finish.is_some()
    }

    /// How it ended.
    ///
    /// # Errors
    /// It did not.
    pub(super) fn finish(&self) -> Result<Finish, BackendError> {
        let unfinished = || protocol("its answer ended before its last line".to_owned());
        self.finish.ok_or_else(unfinished)
    }
}

impl Line {
    fn finish(&self) -> Result<Finish, BackendError> {
        // Versions before it said so ended with `stop` where they did not end at the limit, which the counts do not tell.
        let is_truncated = match self.done_reason.as_deref() {
            Some("length") => true,
            Some("stop") | None => false,
            Some(other) => {
                let other = refusal::excerpt(other.as_bytes());
                return Err(protocol(format!("its answer ended with `{other}`")));
            }
        };
        Ok(Finish {
            is_truncated,
            tokens: self.tokens(),
            // It is part of reading the prompt.
            image_encode: None,
            engine_times: self.times(),
        })
    }

    /// An absent prompt count means that all of it came from a cache: how many that were is not told.
    fn tokens(&self) -> Option<TokenCounts> {
        Some(TokenCounts {
            prompt: self.prompt_eval_count?,
            cached: None,
            completion: self.eval_count?,
            source: CountSource::Usage,
        })
    }

    fn times(&self) -> Option<EngineTimes> {
        Some(EngineTimes {
            prefill: Duration::from_nanos(self.prompt_eval_duration?),
            decode: Duration::from_nanos(self.eval_duration?),
        })
    }
}

fn chunk(kind: ChunkKind, text: &str) -> Option<Event> {
    (!text.is_empty()).then(|| Event::Chunk {
        kind,
        bytes: text.as_bytes().to_vec(),
        // A line has as many tokens as make whole characters.
        tokens: None,
    })
}

/// What an error inside an answer is counted as: Ollama outlives the process that computes.
pub(super) fn class(said: &str) -> Option<FailureClass> {
    let said = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if has(OF_MEMORY) {
        return Some(FailureClass::OutOfMemory);
    }
    has(OF_DEATH).then_some(FailureClass::Crashed)
}

const OF_MEMORY: &[&str] = &[
    "out of memory",
    "more system memory",
    "failed to allocate",
    "cudamalloc failed",
];

const OF_DEATH: &[&str] = &[
    "runner process",
    "error was encountered while running the model",
    "unexpectedly stopped",
];

/// A line is a token or a few; an answer that is not streamed is one line.
const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(events: &[Event]) -> Vec<(ChunkKind, &str)> {
        let said = events.iter().map(|event| match event {
            Event::Chunk { kind, bytes, .. } => (*kind, std::str::from_utf8(bytes).unwrap()),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    #[track_caller]
    fn check_finish(line: &str, want: Finish) {
        let mut answer = Answer::default();
        assert_eq!(answer.read(line.as_bytes()).unwrap(), []);
        assert_eq!(answer.finish().unwrap(), want);
    }

    const BARE: Finish = Finish {
        is_truncated: false,
        tokens: None,
        image_encode: None,
        engine_times: None,
    };

    #[test]
    fn thinking_and_content_are_told_apart() {
        let mut answer = Answer::default();
        let line = br#"{"model":"q","created_at":"2025-10-30T09:00:00Z","message":{"role":"assistant","content":"A","thinking":"Hm"},"done":false}"#;
        let events = answer.read(line).unwrap();
        assert_eq!(
            said(&events),
            [(ChunkKind::Reasoning, "Hm"), (ChunkKind::Content, "A")]
        );
        let empty = br#"{"message":{"role":"assistant","content":""},"done":false}"#;
        assert_eq!(answer.read(empty).unwrap(), []);
        assert!(!answer.is_over());
    }

    #[test]
    fn the_last_line_has_counts_and_times_in_nanoseconds() {
        check_finish(
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":5000000000,"load_duration":1000000,"prompt_eval_count":580,"prompt_eval_duration":900000000,"eval_count":64,"eval_duration":1600000000}"#,
            Finish {
                is_truncated: true,
                tokens: Some(TokenCounts {
                    prompt: 580,
                    cached: None,
                    completion: 64,
                    source: CountSource::Usage,
                }),
                image_encode: None,
                engine_times: Some(EngineTimes {
                    prefill: Duration::from_millis(900),
                    decode: Duration::from_millis(1600),
                }),
            },
        );
    }

    #[test]
    fn what_is_left_out_is_absent_and_not_nought() {
        check_finish(
            r#"{"done":true,"done_reason":"stop","eval_count":3,"eval_duration":5}"#,
            BARE,
        );
        check_finish(r#"{"done":true}"#, BARE);
    }

    #[track_caller]
    fn check_error(line: &str, want: (bool, FailureClass), words: &str) {
        let error = Answer::default().read(line.as_bytes()).unwrap_err();
        let (is_engine, class) = match &error {
            BackendError::Request { class, .. } => (false, *class),
            BackendError::Engine { class, .. } => (true, *class),
            BackendError::Setup { .. } | BackendError::Absent { .. } => panic!("{error}"),
        };
        assert_eq!((is_engine, class), want, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn an_error_within_a_stream_has_its_class() {
        check_error(r#"{"error":"boom"}"#, (false, FailureClass::Http), "boom");
        check_error(
            r#"{"error":"CUDA error: out of memory"}"#,
            (true, FailureClass::OutOfMemory),
            "out of memory",
        );
        check_error(
            r#"{"error":"an error was encountered while running the model: unexpected EOF"}"#,
            (true, FailureClass::Crashed),
            "unexpected EOF",
        );
        check_error(
            r#"{"error":{"code":1}}"#,
            (false, FailureClass::Http),
            r#"{"code":1}"#,
        );
    }

    #[test]
    fn what_is_no_line_of_an_answer_is_refused_with_its_words() {
        let protocol = (false, FailureClass::Protocol);
        check_error("<html>", protocol, "<html>");
        check_error(
            r#"{"done":true,"prompt_eval_count":-1,"eval_count":1}"#,
            protocol,
            "-1",
        );
        check_error(
            r#"{"done":true,"done_reason":"load"}"#,
            protocol,
            "ended with `load`",
        );
        let unfinished = Answer::default().finish().unwrap_err().to_string();
        assert!(
            unfinished.contains("ended before its last line"),
            "{unfinished}"
        );
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 64 * 1024];
        let n_taken = (0..100).take_while(|_| lines.read(&piece).is_ok()).count();
        assert_eq!(n_taken, LINE_BYTES_MAX / piece.len());
        assert!(lines.rest.capacity() <= 2 * LINE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(text in "[ab\n]{0,60}", cuts in prop::collection::vec(0..60_usize, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for pair in cuts.windows(2) {
                got.extend(lines.read(&bytes[pair[0]..pair[1]]).unwrap());
            }
            got.push(lines.end());
            prop_assert_eq!(got.concat(), bytes);
            prop_assert_eq!(got.len(), text.matches('\n').count() + 1);
        }
    }
}
