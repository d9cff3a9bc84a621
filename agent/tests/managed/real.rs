//! llama.cpp's own server, managed: the wheel `xllamacpp`.

use std::path::PathBuf;

use tokwatt_agent::backend::{Event, page_cache::Cached};

use super::*;

/// The Python with the server, which `tests/prepare` installs; without it these tests say that they did nothing, and fail in CI.
#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
pub(crate) fn python() -> Option<String> {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = agent.join("../target/peers/xllamacpp/bin/python");
    if python.is_file() {
        return Some(python.display().to_string());
    }
    let is_ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!is_ci, "no llama.cpp server");
    eprintln!("skipped: no llama.cpp server; `tests/prepare` installs it");
    None
}

pub(crate) fn model(name: &str) -> PathBuf {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    agent.join("embedded/model").join(name)
}

pub(crate) fn command(python: &str, model: &Path, mmproj: &Path) -> String {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = agent.join("../tests/harness/llama_server.py");
    format!(
        "{python} {} {} --mmproj {} --port PORT",
        script.display(),
        model.display(),
        mmproj.display()
    )
}

fn shipped(python: &str) -> Bench {
    Bench::of(&command(
        python,
        &model("tiny-vlm-q8_0.gguf"),
        &model("tiny-vlm-mmproj-f32.gguf"),
    ))
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

async fn answer(bench: &Bench) -> String {
    let mut text = Vec::new();
    for arrival in bench.ask(question()).await {
        if let Event::Chunk { bytes, .. } = arrival.unwrap().event {
            text.extend(bytes);
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_server_is_started_asked_and_stopped() {
    let Some(python) = python() else { return };
    let bench = shipped(&python);
    assert_eq!(bench.backend.process(), None);
    let card = bench.backend.load().await.unwrap();
    assert!(card.load_time.unwrap() > Duration::from_millis(50));
    assert!(card.engine_flags["server_command"].contains("llama_server.py"));
    let digest = "62fb11e38f828ae8728c6e5d4c7b3724d46b8ba105a442949cf4fff2e9f332a6";
    assert_eq!(card.digest.unwrap().to_string(), digest);
    assert!(card.mmproj_digest.is_some());
    let pid = bench.pid();
    let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap();
    assert!(cmdline.contains("llama_server.py"), "{cmdline}");
    assert!(!answer(&bench).await.is_empty());
    // What is loaded is not loaded again.
    assert_eq!(bench.backend.load().await.unwrap().load_time, None);
    assert_eq!(bench.pid(), pid);
    bench.backend.unload().await.unwrap();
    assert!(!is_alive(pid));
    assert_eq!(bench.backend.process(), None);
    let log = bench.log();
    assert!(log.contains("listening on http://127.0.0.1:"), "{log}");
    assert!(log.ends_with("--- tokwatt: stopped\n"), "{log}");
    // And is loaded again when it is wanted again.
    assert!(bench.backend.load().await.unwrap().load_time.is_some());
}

/// Stopped first, so that the question is under way when it is killed.
#[tokio::test]
async fn a_server_killed_in_the_middle_is_a_crash_of_that_question_and_is_started_again() {
    let Some(python) = python() else { return };
    let bench = shipped(&python);
    bench.backend.load().await.unwrap();
    let pid = bench.pid();
    kill_process(pid, Signal::STOP).unwrap();
    let asking = bench.ask(question());
    let killing = async {
        // After the question has been sent: it is the other future that is polled first.
        tokio::task::yield_now().await;
        kill_process(pid, Signal::KILL).unwrap();
    };
    let (arrivals, ()) = tokio::join!(asking, killing);
    let error = arrivals.into_iter().find_map(Result::err).unwrap();
    check_engine(
        &error,
        FailureClass::Crashed,
        &["the server ended (by signal 9)", "logs/server.log"],
    );
    assert_eq!(bench.backend.process(), None);
    assert!(bench.backend.load().await.unwrap().load_time.is_some());
    assert_ne!(bench.pid(), pid);
    assert!(!answer(&bench).await.is_empty());
}

#[tokio::test]
async fn a_model_that_is_not_there_is_a_crash_with_llama_cpps_own_words() {
    let Some(python) = python() else { return };
    let absent = Path::new("/nowhere/model.gguf");
    let command = command(&python, absent, &model("tiny-vlm-mmproj-f32.gguf"));
    let error = Bench::of(&command).backend.load().await.unwrap_err();
    let want = [
        "while it was starting",
        "exit code 1",
        "Failed to init server",
    ];
    check_engine(&error, FailureClass::Crashed, &want);
}

/// Too little for the interpreter and the model, enough to begin.
#[tokio::test]
async fn a_server_without_memory_for_its_model_is_one_that_had_none() {
    let Some(python) = python() else { return };
    let hog = shell(&format!(
        "ulimit -v 400000; exec {python} -c \"print(1); weights = bytearray(10 ** 9)\""
    ));
    let error = Bench::of(&hog).backend.load().await.unwrap_err();
    check_engine(&error, FailureClass::OutOfMemory, &["MemoryError"]);
}

/// While it runs it has the weights mapped, so that nobody can drop them.
#[tokio::test]
async fn the_weights_that_a_server_loads_are_those_that_its_command_names() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = |name: &str| {
        let path = folder.path().join(name);
        fs::copy(model(name), &path).unwrap();
        path
    };
    let files = ["tiny-vlm-f32.gguf", "tiny-vlm-mmproj-f32.gguf"].map(copy);
    let bench = Bench::of(&command(&python, &files[0], &files[1]));
    assert_eq!(bench.backend.weights(), files);
    assert_eq!(Cached::drop(&files).resident, Some(0.0));
    bench.backend.load().await.unwrap();
    assert!(Cached::look(&files).resident.unwrap() > 0.9);
}
