//! A server that we start, with real processes: how it gets ready, answers, ends, and the many ways in which it dies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod real;

use std::{fs, net::TcpListener, path::Path, sync::Arc, task::Poll, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokwatt_agent::{
    backend::{
        Arrival, Backend, BackendError, ModelCard, Question,
        http::Endpoint,
        managed::{Inner, ManagedBackend, ServerSettings},
        openai::{OpenAiBackend, OpenAiSettings, Patience},
    },
    clock::SystemClock,
    guard::Guard,
};
use tokwatt_domain::run::FailureClass;

/// A server to be started, and its folder.
struct Bench {
    folder: TempDir,
    backend: ManagedBackend,
    port: u16,
}

impl Bench {
    /// `command` with `PORT` in place of a free port.
    fn of(command: &str) -> Self {
        Self::with(command, |settings| settings)
    }

    fn with(command: &str, change: impl Fn(ServerSettings) -> ServerSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let settings = ServerSettings {
            name: "server".to_owned(),
            command: command.replace("PORT", &port.to_string()).parse().unwrap(),
            address: address.clone(),
            weights: Vec::new(),
            data: folder.path().to_owned(),
            ready_within: Duration::from_secs(120),
            stop_within: Duration::from_secs(10),
            guard: Guard::at(Path::new(env!("CARGO_BIN_EXE_tokwatt-agent"))),
        };
        let settings = change(settings);
        let clock = Arc::new(SystemClock::start());
        let inner = asked_at(&address, settings.ready_within, clock.clone());
        let backend = ManagedBackend::new(settings, inner, clock);
        Self {
            folder,
            backend,
            port,
        }
    }

    async fn ask(&self, question: Question) -> Vec<Result<Arrival, BackendError>> {
        self.backend.ask(question).collect().await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("logs/server.log")).unwrap()
    }

    fn pid(&self) -> Pid {
        let pid = self.backend.process().expect("a server that runs");
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }
}

/// By the OpenAI interface.
fn asked_at(address: &str, patience: Duration, clock: Arc<SystemClock>) -> Inner {
    let settings = OpenAiSettings {
        endpoint: Endpoint {
            url: format!("http://{address}").parse().unwrap(),
            key: None,
            ca_file: None,
        },
        model: None,
        precision: None,
        has_pictures: true,
        is_streaming: true,
        patience: Patience {
            listening: patience,
            ready: patience,
            back: patience,
        },
    };
    Box::new(move || {
        let backend = OpenAiBackend::new(settings.clone(), clock.clone()).unwrap();
        Ok(Arc::new(backend))
    })
}

/// Nobody else takes it before it is used, as long as the kernel hands out ports in turn.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Drives a load that never ends until something holds.
async fn give_up_when(
    mut loading: BoxFuture<'_, Result<ModelCard, BackendError>>,
    holds: impl Fn() -> bool,
) {
    std::future::poll_fn(|context| {
        assert!(loading.poll_unpin(context).is_pending());
        match holds() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

fn question() -> Question {
    Question::new("Describe this image in one sentence.".to_owned(), None, 8)
}

fn shell(script: &str) -> String {
    format!("sh -c '{script}'")
}

#[track_caller]
fn check_engine(error: &BackendError, want: FailureClass, words: &[&str]) {
    let BackendError::Engine { class, message } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*class, want, "{message}");
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

#[track_caller]
fn check_setup(error: &BackendError, words: &[&str]) {
    let BackendError::Setup { message } = error else {
        panic!("{error:?}");
    };
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

#[tokio::test]
async fn a_server_that_ends_while_it_starts_is_a_crash_with_its_last_lines() {
    let script = "echo reading the model; echo no such tensor >&2; exit 3";
    let bench = Bench::of(&shell(script));
    let error = bench.backend.load().await.unwrap_err();
    let want = [
        "while it was starting",
        "exit code 3",
        "reading the model\nno such tensor",
        "logs/server.log",
    ];
    check_engine(&error, FailureClass::Crashed, &want);
    assert!(bench.log().contains("no such tensor"));
    assert_eq!(bench.backend.process(), None);
}

#[tokio::test]
async fn a_server_that_says_that_there_is_no_memory_had_none() {
    let script = "echo torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB; exit 1";
    let bench = Bench::of(&shell(script));
    let error = bench.backend.load().await.unwrap_err();
    check_engine(&error, FailureClass::OutOfMemory, &["Tried to allocate"]);
}

/// It reads a line that has no end, into memory that it may not have.
#[tokio::test]
async fn a_server_beyond_its_limit_of_memory_is_one_that_had_none() {
    let bench = Bench::of(&shell("ulimit -v 200000; LC_ALL=C exec tail /dev/zero"));
    let error = bench.backend.load().await.unwrap_err();
    check_engine(&error, FailureClass::OutOfMemory, &["memory exhausted"]);
}

#[tokio::test]
async fn a_server_killed_while_the_kernel_killed_nobody_for_memory_is_a_crash() {
    let bench = Bench::of(&shell("kill -KILL $$"));
    let error = bench.backend.load().await.unwrap_err();
    check_engine(
        &error,
        FailureClass::Crashed,
        &["by signal 9", "it printed nothing"],
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_mistake_of_a_person() {
    let bench = Bench::of("/nowhere/llama-server --port PORT");
    let error = bench.backend.load().await.unwrap_err();
    check_setup(&error, &["cannot start `/nowhere/llama-server`"]);
}

/// Listening is done by this test, so that nobody ever answers.
#[tokio::test]
async fn a_server_that_listens_and_never_answers_has_its_time() {
    let bench = Bench::with(&shell("echo loading; exec sleep 3600"), |settings| {
        let ready_within = Duration::from_millis(1500);
        ServerSettings {
            ready_within,
            ..settings
        }
    });
    let mut loading = bench.backend.load();
    let mut listener = None;
    let error = std::future::poll_fn(|context| {
        let polled = loading.poll_unpin(context);
        // It has looked whether the port is free at its first poll or later, and found that nobody listens.
        if listener.is_none() && bench.folder.path().join("logs/server.log").exists() {
            listener = TcpListener::bind(("127.0.0.1", bench.port)).ok();
        }
        polled
    })
    .await
    .unwrap_err();
    assert!(listener.is_some());
    check_engine(
        &error,
        FailureClass::Timeout,
        &["1.5s", "--server-ready-within", "loading"],
    );
    drop(loading);
    bench.backend.unload().await.unwrap();
    assert!(bench.log().contains("--- tokwatt: stopped\n"));
}

#[tokio::test]
async fn a_stranger_is_not_measured() {
    let bench = Bench::of(&shell("echo started; exec sleep 3600"));
    let stranger = TcpListener::bind(("127.0.0.1", bench.port)).unwrap();
    let error = bench.backend.load().await.unwrap_err();
    check_setup(&error, &["another server answers at 127.0.0.1:", "stop it"]);
    drop(stranger);
    assert!(
        !bench.folder.path().join("logs/server.log").exists(),
        "it was started"
    );
}

#[tokio::test]
async fn whoever_gives_up_waiting_leaves_nothing_behind() {
    let witness = tempfile::tempdir().unwrap();
    let path = witness.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 3600", path.display());
    let bench = Bench::of(&shell(&script));
    let read = || fs::read_to_string(&path).unwrap_or_default();
    give_up_when(bench.backend.load(), || read().ends_with('\n')).await;
    bench.backend.unload().await.unwrap();
    let pid = read().trim().parse().unwrap();
    assert!(test_kill_process(Pid::from_raw(pid).unwrap()).is_err());
    let log = bench.log();
    assert!(log.ends_with("--- tokwatt: stopped\n"), "{log}");
}

#[tokio::test]
async fn a_server_that_will_not_end_is_killed_and_the_log_says_so() {
    let witness = tempfile::tempdir().unwrap();
    let path = witness.path().join("pid");
    let script = format!(
        "trap \"\" TERM; echo $$ > {}; while :; do sleep 1; done",
        path.display()
    );
    let bench = Bench::with(&shell(&script), |settings| ServerSettings {
        stop_within: Duration::from_millis(200),
        ..settings
    });
    let read = || fs::read_to_string(&path).unwrap_or_default();
    give_up_when(bench.backend.load(), || read().ends_with('\n')).await;
    bench.backend.unload().await.unwrap();
    let log = bench.log();
    assert!(log.contains("so it was killed"), "{log}");
    let pid = read().trim().parse().unwrap();
    assert!(test_kill_process(Pid::from_raw(pid).unwrap()).is_err());
}

#[tokio::test]
async fn a_secret_of_the_command_is_not_in_the_log() {
    let bench = Bench::of("sh -c 'exit 1' --api-key sk-secret");
    bench.backend.load().await.unwrap_err();
    let log = bench.log();
    assert!(
        log.contains("--api-key …") && !log.contains("sk-secret"),
        "{log}"
    );
}
