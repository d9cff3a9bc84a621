//! A question as the body of a request.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokwatt_domain::workload::{CachePolicy, Sampling};

use crate::{
    backend::Question,
    workload::turn::{Speaker, Turn},
};

/// What this server is asked in, as far as servers differ.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Dialect {
    /// The model's name.
    pub(super) model: String,
    /// What makes it answer cold.
    pub(super) cold: Cold,
    /// Which counts it streams.
    pub(super) counts: StreamedCounts,
}

/// What keeps a server from reusing what it computed for an earlier question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cold {
    /// It reuses nothing anyway.
    Always,
    /// `cache_prompt: false` of llama.cpp.
    NoCachePrompt,
    /// `cache_salt` of vLLM: what is kept is kept for questions with the same salt.
    Salt,
    /// Its cache is not to be cleared: random words before everything else, so that no beginning is met again.
    Nonce,
}

/// Which counts a server adds to a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StreamedCounts {
    /// It takes no `stream_options`.
    None,
    /// At the end.
    Total,
    /// With every event.
    Running,
}

impl Dialect {
    /// The body of the request, complete.
    pub(super) fn body(&self, question: &Question) -> Bytes {
        let is_cold = question.cache == CachePolicy::Cold;
        let nonce = (is_cold && self.cold == Cold::Nonce).then(random_word);
        let mut body = Map::new();
        let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        set("model", json!(self.model));
        set("messages", messages(question, nonce));
        set("max_tokens", json!(question.max_tokens));
        let (temperature, seed) = match question.sampling {
            Sampling::Greedy => (0.0, 0),
            Sampling::Seeded { temperature, seed } => (temperature, seed),
        };
        set("temperature", json!(temperature));
        set("seed", json!(seed));
        set("stream", json!(question.is_streaming));
        match self.counts {
            _ if !question.is_streaming => {}
            StreamedCounts::None => {}
            StreamedCounts::Total => set("stream_options", json!({"include_usage": true})),
            StreamedCounts::Running => set(
                "stream_options",
                json!({"include_usage": true, "continuous_usage_stats": true}),
            ),
        }
        if question.is_fixed_length {
            set("ignore_eos", json!(true));
        }
        match (self.cold, is_cold) {
            (Cold::NoCachePrompt, is_cold) => set("cache_prompt", json!(!is_cold)),
            (Cold::Salt, true) => set("cache_salt", json!(random_word())),
            _ => {}
        }
        Value::Object(body).to_string().into()
    }
}

impl Cold {
    /// How it is called among an engine's flags.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "no cache",
            Self::NoCachePrompt => "cache_prompt=false",
            Self::Salt => "cache_salt",
            Self::Nonce => "nonce",
        }
    }
}

fn messages(question: &Question, nonce: Option<String>) -> Value {
    let mut messages: Vec<Value> = question.history.iter().map(said_before).collect();
    messages.push(json!({"role": "user", "content": asked(question)}));
    if let Some(nonce) = nonce {
        let first = &mut messages[0]["content"];
        let nonce = format!("[{nonce}]\n");
        match first {
            Value::String(text) => text.insert_str(0, &nonce),
            parts => {
                let nonce = json!({"type": "text", "text": nonce});
                parts
                    .as_array_mut()
                    .expect("text or parts")
                    .insert(0, nonce);
            }
        }
    }
    messages.into()
}

fn said_before(turn: &Turn) -> Value {
    let role = match turn.speaker {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    };
    json!({"role": role, "content": turn.text})
}

/// The picture first, as the embedded engine has it; a question without one is a plain text, which every server takes.
fn asked(question: &Question) -> Value {
    let Some(picture) = &question.picture else {
        return json!(question.prompt);
    };
    json!([
        {"type": "image_url", "image_url": {"url": data_url(picture)}},
        {"type": "text", "text": question.prompt},
    ])
}

fn data_url(picture: &[u8]) -> String {
    let mut url = format!("data:{};base64,", mime(picture));
    STANDARD.encode_string(picture, &mut url);
    url
}

/// By what its bytes begin with; a file's name may say anything.
fn mime(picture: &[u8]) -> &'static str {
    match picture {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        _ => "image/png",
    }
}

/// 64 random bits: no two questions begin alike.
fn random_word() -> String {
    let word = getrandom::u64().expect("the kernel has random bytes");
    format!("{word:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0];

    fn dialect(cold: Cold, counts: StreamedCounts) -> Dialect {
        Dialect {
            model: "a/b".to_owned(),
            cold,
            counts,
        }
    }

    fn body(dialect: &Dialect, question: &Question) -> Value {
        serde_json::from_slice(&dialect.body(question)).unwrap()
    }

    fn question() -> Question {
        Question::new("How many?".to_owned(), Some(JPEG.into()), 64)
    }

    #[test]
    fn a_question_is_one_message_with_its_picture_first() {
        let body = body(&dialect(Cold::Always, StreamedCounts::Total), &question());
        let want = json!({
            "model": "a/b",
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4A=="}},
                {"type": "text", "text": "How many?"},
            ]}],
            "max_tokens": 64,
            "temperature": 0.0,
            "seed": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        assert_eq!(body, want);
    }

    #[test]
    fn a_conversation_keeps_its_turns_and_a_text_stays_a_text() {
        let turn = |speaker, text: &str| Turn {
            speaker,
            text: text.to_owned(),
        };
        let question = Question {
            history: vec![
                turn(Speaker::System, "Be brief."),
                turn(Speaker::User, "Hi"),
                turn(Speaker::Assistant, "Yes?"),
            ],
            sampling: Sampling::Seeded {
                temperature: 0.5,
                seed: 7,
            },
            is_fixed_length: true,
            is_streaming: false,
            ..Question::new("Why?".to_owned(), None, 8)
        };
        let body = body(&dialect(Cold::Always, StreamedCounts::Running), &question);
        let want = json!({
            "model": "a/b",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "Why?"},
            ],
            "max_tokens": 8,
            "temperature": 0.5,
            "seed": 7,
            "stream": false,
            "ignore_eos": true,
        });
        assert_eq!(body, want);
    }

    #[test]
    fn a_cold_question_shares_no_beginning_and_a_warm_one_is_as_it_was_asked() {
        let warm = Question {
            cache: CachePolicy::Warm,
            ..question()
        };
        let nonce = dialect(Cold::Nonce, StreamedCounts::Total);
        let first = |question: &Question| {
            let body = body(&nonce, question);
            body["messages"][0]["content"][0].clone()
        };
        assert_eq!(first(&question())["type"], "text");
        assert_ne!(first(&question()), first(&question()));
        assert_eq!(first(&warm)["type"], "image_url");
        let text = Question::new("Why?".to_owned(), None, 8);
        let asked = body(&nonce, &text)["messages"][0]["content"].clone();
        assert!(asked.as_str().unwrap().ends_with("]\nWhy?"), "{asked}");

        let salt = dialect(Cold::Salt, StreamedCounts::Running);
        let salted = |question: &Question| body(&salt, question)["cache_salt"].clone();
        assert_ne!(salted(&question()), salted(&question()));
        assert_eq!(salted(&warm), Value::Null);

        let llama = dialect(Cold::NoCachePrompt, StreamedCounts::Total);
        assert_eq!(body(&llama, &question())["cache_prompt"], false);
        assert_eq!(body(&llama, &warm)["cache_prompt"], true);
    }

    #[test]
    fn a_picture_is_what_its_bytes_say() {
        assert_eq!(mime(b"\x89PNG\r\n\x1a\n"), "image/png");
        assert_eq!(mime(JPEG), "image/jpeg");
        assert_eq!(mime(b"RIFF\0\0\0\0WEBPVP8 "), "image/webp");
    }
}
