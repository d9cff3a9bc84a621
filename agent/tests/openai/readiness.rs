//! Waiting for a server until it has generated a token, and finding out who it is.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokwatt_agent::backend::{
    Backend, ModelCard,
    openai::{OpenAiBackend, OpenAiSettings},
};
use tokwatt_domain::run::FailureClass;

use crate::{
    Counting, Failed, answer, failed, failure, ready,
    scripted::{
        Act, DONE, Gate, Request, Scripted, answered, finished, good, said, streamed, whole,
    },
    settings, with,
};

/// What a server says at which path.
type Pages = &'static [(&'static str, &'static str)];

/// A server that says these things of itself.
fn server_of(pages: Pages) -> Scripted {
    Scripted::start(move |request| {
        let page = pages.iter().find(|(path, _)| request.path == *path)?;
        Some(whole("200 OK", "server: uvicorn\r\n", page.1))
    })
}

async fn card(pages: Pages, change: impl FnOnce(&mut OpenAiSettings)) -> ModelCard {
    let server = server_of(pages);
    let mut settings = settings(&server.url());
    change(&mut settings);
    with(settings).load().await.unwrap()
}

async fn refused(server: &Scripted, change: impl FnOnce(&mut OpenAiSettings)) -> String {
    let mut settings = settings(&server.url());
    change(&mut settings);
    let (class, message) = failed(with(settings).load().await.unwrap_err());
    assert_eq!(class, Failed::Setup, "{message}");
    message
}

const LLAMA_MODELS: &str = r#"{"data": [{"id": "/models/tiny-vlm-f32.gguf", "owned_by": "llamacpp",
    "meta": {"n_params": 1402560, "n_ctx_train": 2048, "ftype": "all F32"}}]}"#;

#[tokio::test]
async fn a_llama_cpp_server_tells_build_slots_context_and_precision() {
    const PROPS: &str = r#"{"total_slots": 4, "build_info": "b7000-abc", "model_ftype": "Q4_K - Medium",
        "default_generation_settings": {"n_ctx": 2048}, "modalities": {"vision": true, "audio": false}}"#;
    let pages: Pages = &[("/v1/models", LLAMA_MODELS), ("/props", PROPS)];
    let card = card(pages, |settings| settings.has_pictures = true).await;
    assert_eq!(card.engine, "llama.cpp server b7000-abc");
    assert_eq!(
        (card.model.as_str(), card.precision.as_str()),
        ("tiny-vlm-f32", "q4_k_m")
    );
    let flag = |name: &str| card.engine_flags[name].as_str();
    assert_eq!((flag("engine_slots"), flag("context")), ("4", "2048"));
    assert_eq!(flag("cold_cache"), "cache_prompt=false");
    assert_eq!(card.facts["n_params"], "1402560");
    assert_eq!(card.load_time, None, "it was there before");
}

#[tokio::test]
async fn a_vllm_server_tells_its_version_and_is_asked_for_running_counts_and_with_a_salt() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => Some(answered(
            "200 OK",
            &json!({"data": [{"id": "Qwen/Qwen2.5-VL-7B", "owned_by": "vllm", "max_model_len": 8192}]}),
        )),
        "/version" => Some(answered("200 OK", &json!({"version": "0.32.0"}))),
        _ => None,
    });
    let mut labelled = settings(&server.url());
    labelled.precision = Some("bf16".to_owned());
    let backend = with(labelled);
    let card = backend.load().await.unwrap();
    assert_eq!(card.engine, "vLLM 0.32.0");
    assert_eq!(
        (card.model.as_str(), card.precision.as_str()),
        ("Qwen/Qwen2.5-VL-7B", "bf16")
    );
    assert_eq!(card.engine_flags["context"], "8192");
    answer(&backend).await;
    let asked = server.questions()[0].json();
    assert_eq!(asked["stream_options"]["continuous_usage_stats"], true);
    assert!(asked["cache_salt"].is_string(), "{asked}");
}

#[tokio::test]
async fn other_families_are_known_by_what_they_say() {
    let sglang = card(
        &[
            (
                "/v1/models",
                r#"{"data": [{"id": "m", "owned_by": "sglang"}]}"#,
            ),
            (
                "/get_server_info",
                r#"{"version": "0.5.1", "max_running_requests": 48, "dtype": "bfloat16", "quantization": null}"#,
            ),
        ],
        |_| (),
    );
    let sglang = sglang.await;
    assert_eq!(sglang.engine, "SGLang 0.5.1");
    assert_eq!(sglang.engine_flags["engine_slots"], "48");
    assert!(!sglang.engine_flags.contains_key("quantization"));
    let tensor_rt = card(
        &[
            (
                "/v1/models",
                r#"{"data": [{"id": "m", "owned_by": "tensorrt_llm"}]}"#,
            ),
            ("/version", r#"{"version": "1.2.0"}"#),
        ],
        |_| (),
    );
    assert_eq!(tensor_rt.await.engine, "TensorRT-LLM 1.2.0");
    // It lists what it has in memory and on disk, and loads what it is asked for.
    let transformers = card(
        &[
            ("/v1/models", r#"{"data": []}"#),
            (
                "/openapi.json",
                r#"{"paths": {"/load_model": {}, "/v1/responses": {}}}"#,
            ),
        ],
        |settings| settings.model = Some("./model".to_owned()),
    );
    let transformers = transformers.await;
    assert_eq!(transformers.engine, "transformers serve");
    assert_eq!(transformers.engine_flags["cold_cache"], "no cache");
    let other = card(&[("/v1/models", r#"{"data": [{"id": "m"}]}"#)], |_| ()).await;
    assert_eq!(other.engine, "unknown server (uvicorn)");
    assert_eq!(
        (other.precision.as_str(), &*other.engine_flags["cold_cache"]),
        ("unknown", "nonce")
    );
}

#[tokio::test]
async fn transformers_without_a_list_of_models_serves_the_one_that_is_named() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => Some(answered("500 Internal Server Error", &json!({}))),
        "/openapi.json" => Some(answered(
            "200 OK",
            &json!({"paths": {"/load_model": {}, "/v1/responses": {}}}),
        )),
        _ => None,
    });
    let mut named = settings(&server.url());
    named.model = Some("./tiny".to_owned());
    assert_eq!(with(named).load().await.unwrap().model, "./tiny");
    let message = refused(&server, |_| ()).await;
    assert!(message.contains("--model NAME"), "{message}");
}

#[tokio::test]
async fn a_model_is_the_one_that_is_named_or_the_only_one() {
    let one = server_of(&[(
        "/v1/models",
        r#"{"data": [{"id": "a", "aliases": ["also-a"]}]}"#,
    )]);
    let message = refused(&one, |settings| settings.model = Some("b".to_owned())).await;
    assert!(
        message.contains("`b`") && message.contains("it serves a"),
        "{message}"
    );
    let mut by_alias = settings(&one.url());
    by_alias.model = Some("also-a".to_owned());
    assert_eq!(with(by_alias).load().await.unwrap().model, "also-a");
    let two = server_of(&[("/v1/models", r#"{"data": [{"id": "a"}, {"id": "b"}]}"#)]);
    let message = refused(&two, |_| ()).await;
    assert!(
        message.contains("--model") && message.contains("a, b"),
        "{message}"
    );
    let none = server_of(&[("/v1/models", r#"{"data": []}"#)]);
    assert!(refused(&none, |_| ()).await.contains("--model"));
    let noise = server_of(&[("/v1/models", "<html>")]);
    assert!(refused(&noise, |_| ()).await.contains("list of models"));
}

#[tokio::test]
async fn a_server_that_cannot_see_is_not_asked_about_pictures() {
    let pages: Pages = &[
        (
            "/v1/models",
            r#"{"data": [{"id": "m", "owned_by": "llamacpp"}]}"#,
        ),
        ("/props", r#"{"modalities": {"vision": false}}"#),
    ];
    let blind = server_of(pages);
    let message = refused(&blind, |settings| settings.has_pictures = true).await;
    assert!(
        message.contains("without vision") && message.contains("--mmproj"),
        "{message}"
    );
    with(settings(&blind.url())).load().await.unwrap();
}

fn is_about_picture(request: &Request) -> bool {
    let content = &request.json()["messages"][0]["content"];
    content.to_string().contains("data:image/png;base64,")
}

#[tokio::test]
async fn the_first_token_is_stamped_before_a_picture_is_shown() {
    let clock = Counting::shared();
    let shown = Arc::new(Mutex::new(None));
    let (seen, now) = (shown.clone(), clock.clone());
    let server = Scripted::start(move |request| {
        if request.is_question() && is_about_picture(request) {
            *seen.lock().unwrap() = Some(now.now());
        }
        None
    });
    let mut settings = settings(&server.url());
    settings.has_pictures = true;
    let backend = OpenAiBackend::new(settings, clock).unwrap();
    assert_eq!(backend.first_token(), None);
    backend.load().await.unwrap();
    let (first_token, shown) = (backend.first_token(), *shown.lock().unwrap());
    assert!(
        first_token.is_some() && first_token < shown,
        "{first_token:?} {shown:?}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_say_whether_it_sees_is_shown_something() {
    let blind = Scripted::start(move |request| {
        let words = json!({"error": {"message": "m is not a multimodal model"}});
        is_about_picture(request).then(|| answered("400 Bad Request", &words))
    });
    let message = refused(&blind, |settings| settings.has_pictures = true).await;
    assert!(
        message.contains("does `m` see?") && message.contains("not a multimodal"),
        "{message}"
    );
    with(settings(&blind.url())).load().await.unwrap();
    let seeing = Scripted::start(|_| None);
    let mut pictures = settings(&seeing.url());
    pictures.has_pictures = true;
    with(pictures).load().await.unwrap();
    assert_eq!(
        seeing
            .requests()
            .iter()
            .filter(|request| is_about_picture(request))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_server_that_is_loading_is_waited_for() {
    let n_looks = AtomicUsize::new(0);
    let server = Scripted::start(move |request| {
        let loading = json!({"error": {"code": 503, "message": "Loading model"}});
        let refuse = || Some(answered("503 Service Unavailable", &loading));
        // Healthy before it can list its models, and that before it can say a word.
        match (
            n_looks.fetch_add(1, Ordering::SeqCst),
            request.path.as_str(),
        ) {
            (0..2, "/health") | (2..6, "/v1/models") => refuse(),
            (6..12, _) if request.is_question() => refuse(),
            _ => None,
        }
    });
    let backend = ready(&server).await;
    assert_eq!(answer(&backend).await.0, "yes it is");
    assert!(
        server
            .requests()
            .iter()
            .filter(|request| request.is_first())
            .count()
            >= 2
    );
}

#[tokio::test]
async fn no_memory_for_the_first_answer_is_a_result() {
    let full = json!({"error": {"message": "CUDA out of memory. Tried to allocate 2 GiB"}});
    for (status, words) in [
        ("500 Internal Server Error", "500"),
        ("200 OK", "as servers"),
    ] {
        let full = answered(status, &full);
        let server = Scripted::start(move |request| request.is_question().then(|| full.clone()));
        let (class, message) = failed(with(settings(&server.url())).load().await.unwrap_err());
        assert_eq!(class, Failed::Server(FailureClass::OutOfMemory));
        assert!(
            message.contains("Tried to allocate") && message.contains(words),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_gets_ready_is_given_up_with_its_words() {
    let server = Scripted::start(|request| {
        let loading = json!({"error": {"code": 503, "message": "Loading model"}});
        (request.path == "/health").then(|| answered("503 Service Unavailable", &loading))
    });
    let mut settings = settings(&server.url());
    settings.patience.ready = Duration::from_millis(120);
    let (class, message) = failed(with(settings).load().await.unwrap_err());
    assert_eq!(class, Failed::Nobody);
    assert!(
        message.contains("not ready") && message.contains("Loading model"),
        "{message}"
    );
}

#[tokio::test]
async fn what_is_no_such_server_is_called_so() {
    let server = Scripted::start(|request| {
        request
            .path
            .starts_with("/v1")
            .then(|| answered("404 Not Found", &Value::Null))
    });
    let message = refused(&server, |_| ()).await;
    assert!(
        message.contains("/v1/models") && message.contains("--url"),
        "{message}"
    );
    let server = Scripted::start(|_| {
        Some(vec![
            Act::Write(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            Act::Close,
        ])
    });
    let message = refused(&server, |_| ()).await;
    assert!(
        message.contains("something else than HTTP/1.1"),
        "{message}"
    );
    let server = Scripted::start(|_| Some(whole("302 Found", "location: /login\r\n", "")));
    let message = refused(&server, |_| ()).await;
    assert!(message.contains("`/login`"), "{message}");
}

#[tokio::test]
async fn a_server_that_wants_a_key_is_told_how_to_get_one() {
    let server = Scripted::start(|request| {
        let words = json!({"error": "Unauthorized"});
        (request.path != "/health").then(|| answered("401 Unauthorized", &words))
    });
    let message = refused(&server, |_| ()).await;
    assert!(
        message.contains("401") && message.contains("--api-key-file"),
        "{message}"
    );
}

#[tokio::test]
async fn a_vllm_server_that_refuses_a_salt_is_asked_with_random_words_and_for_the_same_counts() {
    let server = Scripted::start(|request| match request.path.as_str() {
        "/v1/models" => Some(answered(
            "200 OK",
            &json!({"data": [{"id": "a/b", "owned_by": "vllm"}]}),
        )),
        "/version" => Some(answered("200 OK", &json!({"version": "0.9.2"}))),
        _ => {
            let is_salted = request.is_question() && request.json()["cache_salt"].is_string();
            let words = "Parameter 'cache_salt' is not supported with this instance of vLLM";
            is_salted.then(|| answered("400 Bad Request", &json!({"message": words})))
        }
    });
    let backend = with(settings(&server.url()));
    let card = backend.load().await.unwrap();
    assert_eq!(card.engine_flags["cold_cache"], "nonce");
    assert!(!card.engine_flags.contains_key("stream_options"));
    answer(&backend).await;
    let asked = server.questions()[0].json();
    assert_eq!(asked["stream_options"]["continuous_usage_stats"], true);
    assert!(asked["cache_salt"].is_null(), "{asked}");
}

/// What a server does that knows no field but the oldest ones.
fn is_too_new(request: &Request) -> bool {
    request.json()["stream_options"].is_object()
}

#[tokio::test]
async fn a_server_that_refuses_stream_options_is_asked_without_and_the_card_says_so() {
    for status in ["400 Bad Request", "422 Unprocessable Entity"] {
        let timings = json!({"choices": [], "timings":
            {"cache_n": 1, "prompt_n": 8, "prompt_ms": 2.5, "predicted_n": 3, "predicted_ms": 4.0}});
        let server = Scripted::start(move |request| {
            if request.is_question() && is_too_new(request) {
                return Some(answered(
                    status,
                    &json!({"error": "unknown field: stream_options"}),
                ));
            }
            let said = [
                said("yes it is"),
                finished("stop"),
                crate::scripted::event(&timings),
                DONE.to_owned(),
            ];
            request
                .is_question()
                .then(|| streamed(&said.each_ref().map(String::as_str)))
        });
        let backend = with(settings(&server.url()));
        let card = backend.load().await.unwrap();
        assert_eq!(card.engine_flags["stream_options"], "refused");
        let (_, finish) = answer(&backend).await;
        let tokens = finish.tokens.unwrap();
        assert_eq!(
            (tokens.prompt, tokens.cached, tokens.completion),
            (9, Some(1), 3)
        );
        assert_eq!(tokens.source, tokwatt_domain::run::CountSource::Timings);
        assert_eq!(
            finish.engine_times.unwrap().prefill,
            Duration::from_micros(2500)
        );
        assert_eq!(
            server.questions().len(),
            1,
            "no measured question is asked twice"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_ready_is_not_looked_at_again() {
    let server = Scripted::start(|_| None);
    let backend = ready(&server).await;
    let n_requests = server.requests().len();
    backend.load().await.unwrap();
    backend.unload().await.unwrap();
    backend.load().await.unwrap();
    assert_eq!(server.requests().len(), n_requests);
}

/// A bench has many runs left when a server dies, and none of them should wait for it again.
#[tokio::test]
async fn a_server_that_is_gone_is_waited_for_once() {
    let server = Scripted::start(|request| {
        (request.is_question() && !request.is_first()).then(|| vec![Act::Die])
    });
    let mut waiting = settings(&server.url());
    waiting.patience.back = Duration::from_secs(30);
    let backend = with(waiting);
    backend.load().await.unwrap();
    failure(&backend).await;
    // From here on nobody answers, so that only time passes.
    tokio::time::pause();
    for seconds in [30, 0, 0] {
        let began = tokio::time::Instant::now();
        assert_eq!(failed(backend.load().await.unwrap_err()).0, Failed::Nobody);
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

/// Its health is said to be good, and its first token takes as long as it takes.
#[tokio::test]
async fn ready_is_who_has_generated_a_token() {
    let gate = Gate::new();
    let wait = gate.clone();
    let server = Scripted::start(move |request| {
        let mut acts = vec![Act::Wait(wait.clone())];
        acts.extend(good(request));
        request.is_question().then_some(acts)
    });
    let backend = with(settings(&server.url()));
    let load = backend.load();
    let opened = async {
        crate::eventually("the first question", || {
            server.requests().iter().any(Request::is_first)
        })
        .await;
        gate.open();
    };
    let (card, ()) = tokio::join!(load, opened);
    assert_eq!(card.unwrap().model, "m");
}
