//! A question as the body of `/api/chat`.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokwatt_domain::workload::{CachePolicy, Sampling};

use crate::{
    backend::Question,
    workload::turn::{Speaker, Turn},
};

/// The body of the request, complete. `context` has to be the same in every one: another makes Ollama load the model again.
pub(super) fn body(model: &str, context: u32, question: &Question) -> Bytes {
    let (temperature, seed) = match question.sampling {
        Sampling::Greedy => (0.0, 0),
        Sampling::Seeded { temperature, seed } => (temperature, seed),
    };
    let body = json!({
        "model": model,
        "messages": messages(question),
        "stream": question.is_streaming,
        "keep_alive": KEEP_ALIVE,
        "options": {
            "num_predict": question.max_tokens,
            "temperature": temperature,
            "seed": seed,
            "num_ctx": context,
        },
    });
    body.to_string().into()
}

/// Brings the model into memory: a prompt that is not there.
pub(super) fn load(model: &str, context: u32) -> Bytes {
    let options = json!({"num_ctx": context});
    let body =
        json!({"model": model, "stream": false, "keep_alive": KEEP_ALIVE, "options": options});
    body.to_string().into()
}

/// Takes it out.
pub(super) fn unload(model: &str) -> Bytes {
    json!({"model": model, "stream": false, "keep_alive": 0})
        .to_string()
        .into()
}

fn messages(question: &Question) -> Vec<Value> {
    let mut messages: Vec<Value> = question.history.iter().map(said_before).collect();
    messages.push(asked(question));
    if question.cache == CachePolicy::Cold {
        begin_anew(&mut messages, question);
    }
    messages
}

fn said_before(turn: &Turn) -> Value {
    let role = match turn.speaker {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    };
    json!({"role": role, "content": turn.text})
}

/// Bare base64: a data URL is refused. Ollama puts pictures before the text of their message.
fn asked(question: &Question) -> Value {
    let mut asked = json!({"role": "user", "content": question.prompt});
    if let Some(picture) = &question.picture {
        asked["images"] = json!([STANDARD.encode(picture)]);
    }
    asked
}

/// Random words before everything else, a picture included, so that no beginning is met again: what Ollama keeps of a prompt cannot be
/// cleared.
fn begin_anew(messages: &mut Vec<Value>, question: &Question) {
    let nonce = format!(
        "[{:016x}]",
        getrandom::u64().expect("the kernel has random bytes")
    );
    let is_picture_first = question.history.is_empty() && question.picture.is_some();
    match &mut messages[0]["content"] {
        Value::String(text) if !is_picture_first => text.insert_str(0, &format!("{nonce}\n")),
        _ => messages.insert(0, json!({"role": "system", "content": nonce})),
    }
}

/// Longer than any wait between two questions; should nobody unload it, Ollama does by itself.
const KEEP_ALIVE: &str = "30m";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(question: &Question) -> Value {
        serde_json::from_slice(&body("llava:7b", 4096, question)).unwrap()
    }

    fn warm(prompt: &str, picture: Option<&[u8]>) -> Question {
        Question {
            cache: CachePolicy::Warm,
            ..Question::new(prompt.to_owned(), picture.map(Into::into), 64)
        }
    }

    #[test]
    fn a_question_is_one_message_with_its_picture_in_bare_base64() {
        let want = json!({
            "model": "llava:7b",
            "messages": [{"role": "user", "content": "How many?", "images": ["/9j/4A=="]}],
            "stream": true,
            "keep_alive": "30m",
            "options": {"num_predict": 64, "temperature": 0.0, "seed": 0, "num_ctx": 4096},
        });
        assert_eq!(
            read(&warm("How many?", Some(&[0xff, 0xd8, 0xff, 0xe0]))),
            want
        );
    }

    #[test]
    fn a_conversation_keeps_its_turns() {
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
            is_streaming: false,
            ..warm("Why?", None)
        };
        let body = read(&question);
        let want = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Why?"},
        ]);
        assert_eq!(body["messages"], want);
        assert_eq!(
            (&body["options"]["temperature"], &body["options"]["seed"]),
            (&json!(0.5), &json!(7))
        );
        assert_eq!(body["stream"], false);
    }

    #[test]
    fn a_cold_question_shares_no_beginning_and_changes_nothing_else() {
        let cold = |question: Question| Question {
            cache: CachePolicy::Cold,
            ..question
        };
        let first = |question: &Question| read(question)["messages"][0].clone();
        let seen = cold(warm("How many?", Some(b"\x89PNG")));
        assert_eq!(first(&seen)["role"], "system");
        assert_ne!(first(&seen), first(&seen));
        assert_eq!(read(&seen)["messages"][1]["content"], "How many?");
        let text = cold(warm("Why?", None));
        let said = first(&text)["content"].clone();
        assert!(said.as_str().unwrap().ends_with("]\nWhy?"), "{said}");
        assert_eq!(read(&text)["messages"].as_array().unwrap().len(), 1);
    }
}
