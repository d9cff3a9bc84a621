//! The worker's side: holds the model, reads orders, answers; ends with its input.
//!
//! A thread of its own reads orders, so that a cancellation arrives while tokens are made. When the input ends in the
//! middle of something, nobody is left to hear the answer, and llama.cpp cannot be interrupted inside a computation: the
//! process kills itself, which also skips C++ destructors under running threads. That is how a worker never outlives an
//! agent, however the agent died. (The kernel's parent-death signal will not do: it fires when the *thread* that
//! started the worker ends.)

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, Write},
    ops::ControlFlow,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};
use tokwatt_embedded::{Answer, Engine, EngineError, Finish, LoadOptions, Sampling};

use super::protocol::{
    Ask, Command, Done, Failed, Load, Loaded, Order, Outcome, Reply, Speaker, Token, Turn,
    put_frame, read_frame,
};
use crate::clock::monotonic_ns;

/// Serves the agent that started this process, over what were its standard input and output.
///
/// Both are moved away first: whatever llama.cpp prints then goes to standard error, and cannot get between frames.
///
/// # Errors
/// The pipes broke.
pub fn serve_inherited() -> io::Result<()> {
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let output = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    serve(input, output)
}

/// Answers what `input` asks on `output`, until `input` ends.
///
/// # Errors
/// The pipes broke.
pub fn serve(input: OwnedFd, output: OwnedFd) -> io::Result<()> {
    let line = Arc::new(Line::default());
    // One load or question at a time is sent; a cancellation does not pass through here.
    let (sender, orders) = mpsc::sync_channel(1);
    let reader = line.clone();
    thread::Builder::new()
        .name("orders".into())
        .spawn(move || reader.read(File::from(input), &sender))?;
    let mut worker = Worker {
        engine: None,
        output: Replies {
            pipe: output.into(),
            frame: Vec::new(),
        },
        line,
    };
    for (request, order) in orders {
        worker.carry_out(request, order)?;
        worker.line.pending.fetch_sub(1, Ordering::SeqCst);
    }
    Ok(())
}

/// What the thread that reads and the thread that works share.
#[derive(Default)]
struct Line {
    /// Orders read and not yet carried out.
    pending: AtomicUsize,
    /// The last request that was given up.
    cancelled: AtomicU64,
}

struct Worker {
    engine: Option<Engine>,
    output: Replies,
    line: Arc<Line>,
}

struct Replies {
    pipe: File,
    frame: Vec<u8>,
}

impl Line {
    fn read(&self, input: File, orders: &mpsc::SyncSender<(u64, Order)>) {
        let mut input = BufReader::new(input);
        while let Ok(Some(Command { request, order })) = read_frame(&mut input) {
            match order {
                Some(Order::Cancel(_)) => self.cancelled.store(request, Ordering::SeqCst),
                Some(order) => {
                    self.pending.fetch_add(1, Ordering::SeqCst);
                    if orders.send((request, order)).is_err() {
                        return;
                    }
                }
                None => {}
            }
        }
        if self.pending.load(Ordering::SeqCst) > 0 {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    }
}

impl Worker {
    fn carry_out(&mut self, request: u64, order: Order) -> io::Result<()> {
        let outcome = match order {
            Order::Load(load) => self.load(load),
            Order::Ask(ask) => self.ask(request, &ask)?,
            Order::Cancel(_) => return Ok(()),
        };
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(failed(&error)));
        self.output.send(request, outcome)
    }

    fn load(&mut self, load: Load) -> Result<Outcome, EngineError> {
        // The old one goes first: two may not fit.
        self.engine = None;
        let options = options(load)?;
        let engine = Engine::load(&options)?;
        let loaded = loaded(&options, &engine);
        self.engine = Some(engine);
        Ok(Outcome::Loaded(loaded))
    }

    fn ask(&mut self, request: u64, ask: &Ask) -> io::Result<Result<Outcome, EngineError>> {
        let Some(engine) = &mut self.engine else {
            let message = "no model is loaded".to_owned();
            let is_about_the_question = false;
            return Ok(Ok(Outcome::Failed(Failed {
                is_about_the_question,
                message,
            })));
        };
        let mut broken = None;
        let history: Vec<_> = ask.history.iter().map(turn).collect();
        let answer = engine.ask(&question(ask, &history), |id, bytes| {
            if self.line.cancelled.load(Ordering::Relaxed) == request {
                return ControlFlow::Break(());
            }
            let token = Token {
                id,
                bytes: bytes.to_vec(),
                written_ns: ask.has_stamps.then(monotonic_ns),
            };
            match self.output.send(request, Outcome::Token(token)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        match broken {
            Some(error) => Err(error),
            None => Ok(answer.map(|answer| Outcome::Done(done(&answer)))),
        }
    }
}

impl Replies {
    /// One write a frame: a token is on its way before the next one is computed.
    fn send(&mut self, request: u64, outcome: Outcome) -> io::Result<()> {
        self.frame.clear();
        let outcome = Some(outcome);
        put_frame(&Reply { request, outcome }, &mut self.frame)?;
        self.pipe.write_all(&self.frame)
    }
}

fn options(load: Load) -> Result<LoadOptions, EngineError> {
    let (model, mmproj) = if load.model.is_empty() {
        shipped(&load.precision, &path(load.shipped_folder))?
    } else {
        (path(load.model), path(load.mmproj))
    };
    Ok(LoadOptions {
        model,
        mmproj,
        precision: Some(load.precision).filter(|precision| !precision.is_empty()),
        threads: load.threads,
        context: load.context,
        gpu_layers: load.gpu_layers,
    })
}

#[cfg(feature = "tiny-model")]
fn shipped(precision: &str, folder: &Path) -> Result<(PathBuf, PathBuf), EngineError> {
    let unpacked = tokwatt_embedded::shipped::unpack(precision, folder)?;
    Ok((unpacked.model, unpacked.mmproj))
}

#[cfg(not(feature = "tiny-model"))]
fn shipped(_: &str, _: &Path) -> Result<(PathBuf, PathBuf), EngineError> {
    Err(EngineError::NotShipped)
}

fn turn(turn: &Turn) -> tokwatt_embedded::Turn<'_> {
    tokwatt_embedded::Turn {
        speaker: match turn.speaker() {
            Speaker::System => tokwatt_embedded::Speaker::System,
            Speaker::User => tokwatt_embedded::Speaker::User,
            Speaker::Assistant => tokwatt_embedded::Speaker::Assistant,
        },
        text: &turn.text,
    }
}

fn question<'a>(
    ask: &'a Ask,
    history: &'a [tokwatt_embedded::Turn<'a>],
) -> tokwatt_embedded::Ask<'a> {
    tokwatt_embedded::Ask {
        history,
        picture: Some(ask.picture.as_slice()).filter(|picture| !picture.is_empty()),
        prompt: &ask.prompt,
        max_tokens: ask.max_tokens,
        is_fixed_length: ask.is_fixed_length,
        sampling: match ask.seeded {
            None => Sampling::Greedy,
            Some(seeded) => Sampling::Seeded {
                temperature: seeded.temperature,
                seed: seeded.seed,
            },
        },
    }
}

fn loaded(options: &LoadOptions, engine: &Engine) -> Loaded {
    let description = engine.describe().clone();
    Loaded {
        model: bytes(&options.model),
        mmproj: bytes(&options.mmproj),
        engine: description.engine,
        name: description.name,
        precision: description.precision,
        mmproj_precision: description.mmproj_precision,
        facts: description.facts,
        flags: description.flags,
    }
}

fn done(answer: &Answer) -> Done {
    Done {
        is_truncated: answer.finish == Finish::Length,
        prompt_tokens: answer.prompt_tokens,
        image_tokens: answer.image_tokens,
        completion_tokens: answer.completion_tokens,
        image_encode_us: answer.image_encode.map(micros),
        prefill_us: micros(answer.prefill),
        decode_us: micros(answer.decode),
    }
}

/// The whole chain of reasons in one line.
fn failed(error: &EngineError) -> Failed {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        message = format!("{message}: {reason}");
        source = reason.source();
    }
    Failed {
        is_about_the_question: error.is_about_the_question(),
        message,
    }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
