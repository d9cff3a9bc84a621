//! The embedded engine through its worker process, as the runner uses it: a real process, a real model.

#![cfg(all(feature = "embedded", feature = "tiny-model"))]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokwatt_agent::{
    backend::{
        Arrival, Backend, BackendError, Event, Finish, Question,
        embedded::{CONTEXT_DEFAULT, EmbeddedBackend, EmbeddedSettings, Weights},
    },
    clock::SystemClock,
    workload::turn::{Speaker, Turn},
};
use tokwatt_domain::run::{CountSource, FailureClass};

const CAPTION: &str = "Describe this image in one sentence.";

struct Bench {
    data: TempDir,
    backend: EmbeddedBackend,
}

fn settings(data: &Path, weights: Weights) -> EmbeddedSettings {
    EmbeddedSettings {
        worker: Some(env!("CARGO_BIN_EXE_tokwatt-agent").into()),
        weights,
        data: data.to_owned(),
        threads: Some(1),
        context: CONTEXT_DEFAULT,
        gpu_layers: 0,
    }
}

fn with(settings: EmbeddedSettings) -> EmbeddedBackend {
    EmbeddedBackend::new(settings, Arc::new(SystemClock::start()))
}

fn shipped() -> Bench {
    let data = tempfile::tempdir().expect("a folder for this test");
    let precision = "q8_0".to_owned();
    let backend = with(settings(data.path(), Weights::Shipped { precision }));
    Bench { data, backend }
}

fn embedded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("embedded")
        .join(name)
}

fn question() -> Question {
    let picture =
        fs::read(embedded("tests/pictures/scene_0000.png")).expect("a picture of these tests");
    Question::new(CAPTION.to_owned(), Some(picture.into()), 96)
}

async fn arrivals(
    backend: &EmbeddedBackend,
    question: Question,
) -> Vec<Result<Arrival, BackendError>> {
    backend.ask(question).collect().await
}

async fn answer(backend: &EmbeddedBackend) -> (String, Finish) {
    answer_to(backend, question()).await
}

async fn answer_to(backend: &EmbeddedBackend, question: Question) -> (String, Finish) {
    let mut text = Vec::new();
    for arrival in arrivals(backend, question).await {
        match arrival.expect("an answer").event {
            Event::Sent => assert!(text.is_empty(), "sent comes first"),
            Event::Chunk { bytes, .. } => text.extend(bytes),
            Event::Done(finish) => return (String::from_utf8_lossy(&text).into_owned(), finish),
        }
    }
    panic!("no end");
}

fn pid(backend: &EmbeddedBackend) -> Pid {
    let pid = backend.process().expect("a worker");
    Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0")
}

/// Processes end in their own time.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} never came");
}

#[tokio::test]
async fn a_question_is_answered_with_counts_and_times() {
    let bench = shipped();
    let card = bench.backend.load().await.unwrap();
    assert_eq!(
        (card.model.as_str(), card.precision.as_str()),
        ("tiny-vlm", "q8_0")
    );
    assert_eq!(card.engine_flags["engine_slots"], "1");
    assert!(card.facts["note"].contains("drawn scenes only"));
    assert!(card.load_time.is_some());
    let digest = "62fb11e38f828ae8728c6e5d4c7b3724d46b8ba105a442949cf4fff2e9f332a6";
    assert_eq!(
        card.digest.map(|digest| digest.to_string()).as_deref(),
        Some(digest)
    );
    assert!(card.mmproj_digest.is_some());
    assert!(bench.data.path().join("digests.json").exists());

    let (text, finish) = answer(&bench.backend).await;
    assert_eq!(
        text,
        " A rainy snowy field at night with two white stars, one green car and one white star."
    );
    let tokens = finish.tokens.unwrap();
    assert_eq!(
        (tokens.prompt, tokens.completion, tokens.source),
        (93, 20, CountSource::Engine)
    );
    assert!(!finish.is_truncated);
    assert!(finish.image_encode.unwrap() < finish.engine_times.unwrap().prefill);
}

#[tokio::test]
async fn an_answer_of_fixed_length_has_every_token() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let fixed = Question {
        max_tokens: 60,
        is_fixed_length: true,
        ..question()
    };
    let (_, finish) = answer_to(&bench.backend, fixed).await;
    assert_eq!(finish.tokens.unwrap().completion, 60);
    assert!(finish.is_truncated);
}

#[tokio::test]
async fn a_question_is_asked_with_what_was_said_before_and_without_a_picture() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let turn = |speaker, text: &str| Turn {
        speaker,
        text: text.to_owned(),
    };
    let alone = Question {
        picture: None,
        ..question()
    };
    let later = Question {
        history: vec![
            turn(Speaker::System, "Answer in one sentence."),
            turn(Speaker::User, "What is in this image?"),
            turn(Speaker::Assistant, "A beach with two balls."),
        ],
        ..alone.clone()
    };
    let prompt = async |question| {
        let (_, finish) = answer_to(&bench.backend, question).await;
        assert_eq!(finish.image_encode, None);
        finish.tokens.unwrap().prompt
    };
    let (alone, later) = (prompt(alone).await, prompt(later).await);
    assert!(later > alone + 20, "{alone} tokens alone, {later} later");
}

#[tokio::test]
async fn stamps_never_run_backwards() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let arrivals = arrivals(&bench.backend, question()).await;
    let stamps: Vec<_> = arrivals
        .iter()
        .map(|arrival| arrival.as_ref().unwrap().at)
        .collect();
    assert!(stamps.is_sorted() && stamps.len() == 21, "{stamps:?}");
}

#[tokio::test]
async fn a_model_in_memory_is_not_loaded_again_and_unloading_ends_the_worker() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let worker = pid(&bench.backend);
    assert_eq!(bench.backend.load().await.unwrap().load_time, None);
    assert_eq!(pid(&bench.backend), worker);
    bench.backend.unload().await.unwrap();
    assert_eq!(bench.backend.process(), None);
    assert!(
        test_kill_process(worker).is_err(),
        "it has ended and was waited for"
    );
    bench.backend.load().await.unwrap();
    assert_ne!(pid(&bench.backend), worker);
}

#[tokio::test]
async fn questions_queue_for_the_one_slot() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let answers = tokio::join!(
        answer(&bench.backend),
        answer(&bench.backend),
        answer(&bench.backend)
    );
    assert_eq!(answers.0.0, answers.1.0);
    assert_eq!(answers.0.0, answers.2.0);
}

#[tokio::test]
async fn a_question_that_is_given_up_does_not_spoil_the_next() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let worker = pid(&bench.backend);
    for n_arrivals in [1, 2, 5] {
        let stream = bench.backend.ask(question());
        assert_eq!(stream.take(n_arrivals).count().await, n_arrivals);
        assert_eq!(
            answer(&bench.backend).await.1.tokens.unwrap().completion,
            20
        );
    }
    assert_eq!(pid(&bench.backend), worker);
}

#[tokio::test]
async fn a_bad_picture_fails_its_question_only() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    huge.extend([20_000_u32.to_be_bytes(), 20_000_u32.to_be_bytes()].concat());
    huge.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    let bad = Question {
        picture: Some(huge.into()),
        ..question()
    };
    match arrivals(&bench.backend, bad).await.pop() {
        Some(Err(BackendError::Request {
            class: FailureClass::Refused,
            message,
        })) => {
            assert!(message.contains("20000×20000 px"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    answer(&bench.backend).await;
}

#[tokio::test]
async fn a_crash_is_a_failed_question_with_last_words_and_the_agent_lives() {
    for (signal, name) in [(Signal::ABORT, "SIGABRT"), (Signal::KILL, "SIGKILL")] {
        let bench = shipped();
        bench.backend.load().await.unwrap();
        kill_process(pid(&bench.backend), signal).unwrap();
        match arrivals(&bench.backend, question()).await.pop() {
            Some(Err(BackendError::Engine {
                class: FailureClass::Crashed,
                message,
            })) => {
                assert!(message.contains(name), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.backend.process(), None);
        bench.backend.load().await.unwrap();
        answer(&bench.backend).await;
    }
}

/// A projector whose last layer has another shape than what comes before it: llama.cpp asserts, and aborts.
#[tokio::test]
async fn a_file_that_makes_llama_cpp_abort_is_told_in_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(embedded("model/tiny-vlm-mmproj-f32.gguf")).unwrap();
    let name = b"mm.model.fc.weight";
    let place = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let shape = place + name.len() + 4;
    bytes[shape..shape + 8].copy_from_slice(&768_u64.to_le_bytes());
    bytes[shape + 8..shape + 16].copy_from_slice(&128_u64.to_le_bytes());
    let mmproj = folder.path().join("damaged.gguf");
    fs::write(&mmproj, bytes).unwrap();
    let weights = Weights::files(&embedded("model/tiny-vlm-f32.gguf"), &mmproj, None);
    match with(settings(folder.path(), weights)).load().await {
        Err(BackendError::Engine {
            class: FailureClass::Crashed,
            message,
        }) => {
            assert!(
                message.contains("SIGABRT") && message.contains("GGML_ASSERT"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_loaded_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let model = embedded("model/tiny-vlm-f32.gguf");
    let mmproj = embedded("model/tiny-vlm-mmproj-f32.gguf");
    let other = embedded("tests/fixtures/other-mmproj.gguf");
    let cut = folder.path().join("cut.gguf");
    fs::write(&cut, &fs::read(&model).unwrap()[..2_000_000]).unwrap();
    let refused = [
        (
            Weights::files(&cut, &mmproj, None),
            "cut.gguf`: it is truncated",
        ),
        (Weights::files(&model, &model, None), "not a projector"),
        (
            Weights::files(&model, &other, None),
            "mismatch between text model (n_embd = 192) and mmproj (n_embd = 64)",
        ),
        (
            Weights::files(&model, &mmproj, Some("q4_0")),
            "tiny-vlm-q4_0.gguf",
        ),
        (
            Weights::Shipped {
                precision: "f12".to_owned(),
            },
            "f32, f16, bf16, q8_0",
        ),
    ];
    for (weights, words) in refused {
        match with(settings(folder.path(), weights)).load().await {
            Err(BackendError::Setup { message }) => assert!(message.contains(words), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    let weights = Weights::files(&model, &mmproj, Some("q8_0"));
    let backend = with(settings(folder.path(), weights));
    assert_eq!(backend.load().await.unwrap().precision, "q8_0");
}

#[tokio::test]
async fn a_worker_that_is_none_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for (worker, words) in [
        ("/nowhere/agent", "/nowhere/agent"),
        ("/bin/false", "exit status: 1"),
    ] {
        let mut settings = settings(
            folder.path(),
            Weights::Shipped {
                precision: "f32".to_owned(),
            },
        );
        settings.worker = Some(worker.into());
        match with(settings).load().await {
            Err(BackendError::Setup { message }) => {
                assert!(
                    message.contains(words) && message.contains("engine.worker"),
                    "{message}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_question_to_nobody_says_so() {
    let last = arrivals(&shipped().backend, question()).await.pop();
    assert!(
        matches!(last, Some(Err(BackendError::Engine { .. }))),
        "{last:?}"
    );
}

#[tokio::test]
async fn a_worker_ends_with_the_agent_even_in_the_middle_of_an_answer() {
    let bench = shipped();
    bench.backend.load().await.unwrap();
    let worker = pid(&bench.backend);
    let mut stream = bench.backend.ask(question());
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    // What remains of an agent that was killed: nothing holds the pipe.
    drop(stream);
    drop(bench.backend);
    eventually("the worker's end", || test_kill_process(worker).is_err());
}

#[test]
fn the_end_of_its_input_ends_the_worker() {
    let status = Command::new(env!("CARGO_BIN_EXE_tokwatt-agent"))
        .arg("engine-worker")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}
