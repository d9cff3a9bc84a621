//! The Ollama backend against a double of Ollama: Ollama itself is not to be had here, and the double is built from its documented
//! behaviour.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use std::{process::Stdio, sync::Arc};

use futures::StreamExt;
use serde_json::{Value, json};
use tokwatt_agent::{
    backend::{
        Arrival, Backend, BackendError, Event, Finish, Question,
        http::{ApiKey, Endpoint},
        ollama::{OllamaBackend, OllamaSettings},
    },
    clock::SystemClock,
};
use tokwatt_domain::run::{ChunkKind, CountSource, FailureClass, TokenCounts};

use fake::Fake;

fn settings(url: &str, model: &str) -> OllamaSettings {
    OllamaSettings {
        endpoint: Endpoint {
            url: url.parse().unwrap(),
            key: None,
            ca_file: None,
        },
        model: model.to_owned(),
        precision: None,
        context: 4096,
        has_pictures: true,
        has_fixed_length: false,
        concurrency: 1,
    }
}

fn backend(settings: OllamaSettings) -> OllamaBackend {
    OllamaBackend::new(settings, Arc::new(SystemClock::start())).unwrap()
}

fn question(prompt: &str) -> Question {
    Question::new(prompt.to_owned(), None, 64)
}

async fn hear(backend: &OllamaBackend, question: Question) -> Vec<Result<Arrival, BackendError>> {
    backend.ask(question).collect().await
}

/// A successful answer in pieces, and its end.
async fn answer(backend: &OllamaBackend, question: Question) -> (Vec<(ChunkKind, String)>, Finish) {
    let arrivals = hear(backend, question).await;
    let events: Vec<Event> = arrivals
        .into_iter()
        .map(|arrival| arrival.unwrap().event)
        .collect();
    assert_eq!(events[0], Event::Sent);
    let Some(Event::Done(finish)) = events.last() else {
        panic!("{events:?}");
    };
    let pieces = events.iter().filter_map(|event| match event {
        Event::Chunk { kind, bytes, .. } => {
            Some((*kind, String::from_utf8(bytes.clone()).unwrap()))
        }
        _ => None,
    });
    (pieces.collect(), *finish)
}

async fn error(backend: &OllamaBackend, prompt: &str) -> BackendError {
    let arrivals = hear(backend, question(prompt)).await;
    arrivals.into_iter().find_map(Result::err).unwrap()
}

#[tokio::test]
async fn loading_brings_the_model_into_memory_and_says_what_it_is() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    let card = backend.load().await.unwrap();
    assert_eq!(fake.loaded().as_deref(), Some("llava"));
    assert_eq!(card.engine, "Ollama 0.12.3");
    assert_eq!(
        (card.model.as_str(), card.precision.as_str()),
        ("llava", "q4_k_m")
    );
    assert_eq!(card.digest.unwrap().to_string(), "a".repeat(64));
    assert_eq!(card.mmproj_digest.unwrap().to_string(), "b".repeat(64));
    assert_eq!(card.facts["parameters"], "7241732096");
    assert_eq!(card.facts["gpu_memory_bytes"], "4500000");
    assert!(
        card.facts["note"].starts_with("75 % of the model is in the GPU's memory"),
        "{card:?}"
    );
    assert_eq!(card.engine_flags["context"], "4096");
    assert!(card.load_time.is_some());
    let again = backend.load().await.unwrap();
    assert_eq!((again.load_time, fake.n_loads()), (None, 1));
}

#[tokio::test]
async fn unloading_waits_until_the_model_is_gone_whoever_loaded_it() {
    let fake = Fake::start().await;
    let somebody = backend(settings(&fake.url, "llava"));
    somebody.load().await.unwrap();
    let backend = backend(settings(&fake.url, "llava"));
    backend.unload().await.unwrap();
    assert_eq!(fake.loaded(), None);
    assert_eq!(fake.asked("/api/generate").last().unwrap()["keep_alive"], 0);
    backend.load().await.unwrap();
    assert_eq!(fake.n_loads(), 2);
}

#[tokio::test]
async fn an_answer_comes_in_pieces_with_the_servers_counts_and_times() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    backend.load().await.unwrap();
    let asked = Question::new(
        "What is it?".to_owned(),
        Some(b"\x89PNG".as_slice().into()),
        64,
    );
    let (pieces, finish) = answer(&backend, asked).await;
    let content = |text: &str| (ChunkKind::Content, text.to_owned());
    assert_eq!(pieces, [content("a "), content("red "), content("ball")]);
    let counts = TokenCounts {
        prompt: 596,
        cached: None,
        completion: 4,
        source: CountSource::Usage,
    };
    assert_eq!((finish.tokens, finish.is_truncated), (Some(counts), false));
    let times = finish.engine_times.unwrap();
    assert_eq!(
        (times.prefill.as_millis(), times.decode.as_millis()),
        (40, 30)
    );
    let sent = &fake.asked("/api/chat")[0];
    assert_eq!(
        sent["messages"].as_array().unwrap().last().unwrap()["images"],
        json!(["iVBORw=="])
    );
    // With the context with which it was loaded: another one loads it again.
    assert_eq!(fake.n_loads(), 1);
}

#[tokio::test]
async fn thinking_limits_and_whole_answers_are_what_they_are() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    backend.load().await.unwrap();
    let (pieces, _) = answer(&backend, question("think first")).await;
    assert_eq!(pieces[0], (ChunkKind::Reasoning, "Hm".to_owned()));
    let short = Question {
        max_tokens: 2,
        ..question("be short")
    };
    assert!(answer(&backend, short).await.1.is_truncated);
    let whole = Question {
        is_streaming: false,
        ..question("at once")
    };
    let (pieces, finish) = answer(&backend, whole).await;
    assert_eq!(pieces, [(ChunkKind::Content, "a red ball".to_owned())]);
    assert_eq!(finish.tokens.unwrap().completion, 4);
}

#[tokio::test]
async fn a_prompt_from_the_cache_has_no_count_rather_than_nought() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    backend.load().await.unwrap();
    let (_, finish) = answer(&backend, question("cached")).await;
    assert_eq!(finish.tokens, None);
    assert!(finish.engine_times.is_some());
}

#[track_caller]
fn check_setup(error: &BackendError, words: &str) {
    assert!(matches!(error, BackendError::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn what_a_person_has_to_change_is_said_with_how() {
    let fake = Fake::start().await;
    let load = |settings| async { backend(settings).load().await.unwrap_err() };
    check_setup(
        &load(settings(&fake.url, "absent:7b")).await,
        "does not have the model `absent:7b`: ollama pull absent:7b",
    );
    check_setup(
        &load(settings(&fake.url, "blind")).await,
        "the model `blind` does not see, it can: completion, tools",
    );
    let text = OllamaSettings {
        has_pictures: false,
        ..settings(&fake.url, "blind")
    };
    assert!(backend(text).load().await.is_ok());
    // A port that nobody listens on any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let nobody = backend(settings(&url, "llava"));
    let error = nobody.load().await.unwrap_err();
    assert!(matches!(error, BackendError::Absent { .. }), "{error:?}");
    assert!(error.to_string().contains("nobody answers at"), "{error}");
    nobody.unload().await.unwrap();
}

#[track_caller]
fn check_engine(error: &BackendError, want: FailureClass) {
    let BackendError::Engine { class, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*class, want, "{error}");
}

#[track_caller]
fn check_request(error: &BackendError, want: FailureClass, words: &str) {
    let BackendError::Request { class, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*class, want, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_a_result() {
    let fake = Fake::start().await;
    let error = backend(settings(&fake.url, "huge"))
        .load()
        .await
        .unwrap_err();
    check_engine(&error, FailureClass::OutOfMemory);
}

#[tokio::test]
async fn every_way_to_fail_has_its_class_and_the_next_question_is_answered() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    backend.load().await.unwrap();
    check_request(
        &error(&backend, "refuse it").await,
        FailureClass::Http,
        "missing data",
    );
    check_request(
        &error(&backend, "no room").await,
        FailureClass::Http,
        "server busy",
    );
    check_request(
        &error(&backend, "garbage").await,
        FailureClass::Protocol,
        "<html>",
    );
    check_request(
        &error(&backend, "endless").await,
        FailureClass::Protocol,
        "more than 1048576 bytes",
    );
    assert_eq!(answer(&backend, question("and now?")).await.0.len(), 3);
    assert_eq!(fake.n_loads(), 1);
}

#[tokio::test]
async fn a_key_is_not_repeated_from_what_ollama_says() {
    let fake = Fake::start().await;
    let mut let_in = settings(&fake.url, "llava");
    let_in.endpoint.key = Some(ApiKey::from_variable("TOKWATT_API_KEY", "missing").unwrap());
    let backend = backend(let_in);
    backend.load().await.unwrap();
    check_request(
        &error(&backend, "refuse it").await,
        FailureClass::Http,
        "this model is (the API key) data",
    );
}

#[tokio::test]
async fn after_a_crash_the_model_is_loaded_again() {
    let fake = Fake::start().await;
    let backend = backend(settings(&fake.url, "llava"));
    backend.load().await.unwrap();
    for (prompt, n_loads) in [("crash", 2), ("die", 2)] {
        check_engine(&error(&backend, prompt).await, FailureClass::Crashed);
        let card = backend.load().await.unwrap();
        assert!(card.load_time.is_some());
        assert_eq!(fake.n_loads(), n_loads, "{prompt}");
    }
}

#[tokio::test]
async fn what_nobody_can_know_or_keep_stands_among_the_flags() {
    let fake = Fake::start().await;
    let asked = OllamaSettings {
        concurrency: 4,
        has_fixed_length: true,
        ..settings(&fake.url, "llava")
    };
    let card = backend(asked).load().await.unwrap();
    assert!(card.engine_flags["slots"].starts_with("OLLAMA_NUM_PARALLEL"));
    assert!(card.engine_flags["fixed_length"].starts_with("not kept"));
    assert_eq!(card.engine_flags["cold_cache"], "nonce");
}

/// The agent as it is started; its exit code, document and messages.
async fn bench(arguments: &[&str]) -> (Option<i32>, String, String) {
    let data = tempfile::tempdir().unwrap();
    let mut agent = tokio::process::Command::new(env!("CARGO_BIN_EXE_tokwatt-agent"));
    agent
        .arg("--data")
        .arg(data.path())
        .args(["bench", "--backend", "ollama"]);
    agent.args([
        "--power", "none", "--format", "json", "--limit", "1", "--repeat", "1",
    ]);
    let output = agent
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn a_bench_measures_what_ollama_answers() {
    let fake = Fake::start().await;
    let arguments = ["--url", &fake.url, "--model", "llava", "--concurrency", "2"];
    let (code, document, messages) = bench(&arguments).await;
    assert_eq!(code, Some(0), "{messages}");
    let document: Value = serde_json::from_str(&document).unwrap();
    let run = &document["runs"][0];
    assert_eq!(
        (&run["cell"]["backend"], &run["cell"]["precision"]),
        (&json!("ollama"), &json!("q4_k_m"))
    );
    assert_eq!(run["requests"]["succeeded"], run["requests"]["issued"]);
    assert_eq!(run["metrics"]["image_tokens"], 576.0);
    // With pictures and without them the same words were counted: no random ones.
    let mut counted = fake.asked("/api/chat");
    counted.retain(|asked| {
        let first = asked["messages"][0]["content"].as_str().unwrap();
        !first.starts_with('[')
    });
    assert!(
        counted
            .iter()
            .all(|asked| asked["options"]["num_predict"] == 1)
    );
    let (with, without): (Vec<Value>, Vec<Value>) = counted
        .into_iter()
        .partition(|asked| asked["messages"][0]["images"].is_array());
    assert!(!with.is_empty() && !without.is_empty());
    let words = |asked: &Value| asked["messages"][0]["content"].clone();
    assert!(
        with.iter()
            .all(|with| without.iter().any(|without| words(without) == words(with)))
    );
    assert!(run["metrics"]["decode_tps_server"].is_number());
    // Taken out before the baselines, loaded once, taken out at the end.
    assert_eq!((fake.n_loads(), fake.loaded()), (1, None));
}

#[tokio::test]
async fn a_bench_without_a_model_says_what_is_missing() {
    let (code, _, messages) = bench(&[]).await;
    assert_eq!(code, Some(2));
    assert!(
        messages.contains("which model? Name it with --model"),
        "{messages}"
    );
}
