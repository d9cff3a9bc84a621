//! What server families stream, as it came off the socket, or as their documentation has it: `tests/fixtures/streams`.

use std::{fs, path::Path, time::Duration};

use tokwatt_agent::backend::{Arrival, Event, Finish};
use tokwatt_domain::run::{ChunkKind, CountSource, EngineTimes, TokenCounts};

use crate::{answering, arrivals, question, scripted::Act};

/// The picture is laid out in another way for these two than for llama.cpp.
const TEXT: &str = " A cloudy beach at night with two blue trees and one black ball.";

fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/streams");
    fs::read(folder.join(name)).unwrap()
}

/// What comes of a recorded answer that comes in these writes.
async fn heard(writes: impl IntoIterator<Item = &[u8]>) -> Heard {
    let mut acts: Vec<Act> = writes
        .into_iter()
        .map(|bytes| Act::Write(bytes.to_vec()))
        .collect();
    // One of them has no length and ends with its connection.
    acts.push(Act::Close);
    let (_server, backend) = answering(acts).await;
    let mut heard = Heard::default();
    for arrival in arrivals(&backend, question()).await {
        heard.add(arrival.unwrap());
    }
    heard
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Heard {
    text: String,
    thought: String,
    /// Of each piece.
    tokens: Vec<Option<u32>>,
    finish: Option<Finish>,
}

impl Heard {
    fn add(&mut self, arrival: Arrival) {
        match arrival.event {
            Event::Sent => {}
            Event::Chunk {
                kind,
                bytes,
                tokens,
            } => {
                let text = String::from_utf8(bytes).unwrap();
                match kind {
                    ChunkKind::Content => self.text += &text,
                    ChunkKind::Reasoning => self.thought += &text,
                }
                self.tokens.push(tokens);
            }
            Event::Done(finish) => self.finish = Some(finish),
        }
    }

    fn counts(&self) -> Option<TokenCounts> {
        self.finish.unwrap().tokens
    }
}

fn by_usage(prompt: u32, cached: Option<u32>, completion: u32) -> Option<TokenCounts> {
    Some(TokenCounts {
        prompt,
        cached,
        completion,
        source: CountSource::Usage,
    })
}

#[tokio::test]
async fn llama_cpp_counts_times_and_says_what_was_cached() {
    let stream = recorded("llama.cpp-xllamacpp-2026.10.11549.http");
    let heard = heard([&stream[..]]).await;
    assert_eq!(
        heard.text,
        " A cloudy beach at night with two blue balls and one black ball."
    );
    assert_eq!(
        heard.tokens, [None; 14],
        "a piece a token, and nobody says so"
    );
    assert_eq!(heard.counts(), by_usage(93, Some(0), 15));
    let times = heard.finish.unwrap().engine_times;
    let want = EngineTimes {
        prefill: Duration::from_micros(37_167),
        decode: Duration::from_micros(5300),
    };
    assert_eq!(times, Some(want));
}

#[tokio::test]
async fn vllm_counts_at_the_end_or_all_the_time() {
    let total = heard([&recorded("vllm-0.32.0.http")[..]]).await;
    assert_eq!(total.text, TEXT);
    assert_eq!(total.tokens, [None; 14]);
    assert_eq!(total.counts(), by_usage(53, None, 15));
    let running = heard([&recorded("vllm-0.32.0-continuous.http")[..]]).await;
    assert_eq!(running.text, TEXT);
    assert_eq!(running.tokens, [Some(1); 14]);
    assert_eq!(running.counts(), total.counts());
}

#[tokio::test]
async fn transformers_counts_with_the_finish_reason_and_never_says_done() {
    let heard = heard([&recorded("transformers-5.19.0.http")[..]]).await;
    assert_eq!(heard.text, TEXT);
    assert_eq!(heard.counts(), by_usage(53, None, 15));
}

#[tokio::test]
async fn sglang_reasons_before_it_answers() {
    let heard = heard([&recorded("sglang-from-documentation.http")[..]]).await;
    assert_eq!(heard.thought, "Two blue, one black.");
    assert_eq!(heard.text, "Three balls.");
    assert_eq!(heard.counts(), by_usage(120, Some(64), 11));
}

#[tokio::test]
async fn tensorrt_llm_bundles_tokens() {
    let heard = heard([&recorded("tensorrt-llm-from-documentation.http")[..]]).await;
    assert_eq!(heard.text, "Three balls.");
    assert_eq!(heard.tokens.len(), 2);
    assert_eq!(heard.counts(), by_usage(120, None, 6));
}

#[tokio::test]
async fn ollama_reasons_in_a_field_of_its_own() {
    let heard = heard([&recorded("ollama-v1-from-documentation.http")[..]]).await;
    assert_eq!(heard.thought, "Two blue, one black.");
    assert_eq!(heard.text, "Three balls.");
    assert!(heard.finish.unwrap().is_truncated);
    assert_eq!(heard.counts(), by_usage(120, None, 11));
}

/// Networks cut where they like.
#[tokio::test]
async fn however_a_recorded_stream_is_cut_it_says_the_same() {
    let names = [
        "llama.cpp-xllamacpp-2026.10.11549.http",
        "vllm-0.32.0-continuous.http",
        "transformers-5.19.0.http",
        "sglang-from-documentation.http",
    ];
    for name in names {
        let stream = recorded(name);
        let whole = heard([&stream[..]]).await;
        for size in [1, 7, 97, 1000] {
            assert_eq!(
                heard(stream.chunks(size)).await,
                whole,
                "{name} in pieces of {size}"
            );
        }
    }
}
