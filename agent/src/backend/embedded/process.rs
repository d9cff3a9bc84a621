//! The agent's side of one worker process: three threads, for its input, its output and its last words.
//!
//! Reading is done by a thread of its own, because it stamps: a wake-up of the runtime, which may be busy, would count as
//! the engine's time. The worker has a process group of its own, so that a person's Ctrl-C reaches the agent only.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc as blocking},
    thread,
    time::Duration,
};

use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokwatt_domain::{run::FailureClass, time::Stamp};

use super::protocol::{self, Frames, Reply, put_frame};
use crate::{
    backend::out_of_memory::{KillCounter, wants_memory},
    clock::Clock,
};

/// A worker process. Dropping it ends the process, in the middle of whatever it is doing.
pub struct Worker {
    pid: u32,
    child: Arc<Mutex<Child>>,
    commands: blocking::SyncSender<Vec<u8>>,
    arrivals: mpsc::Receiver<Arrived>,
}

/// What came from a worker.
#[derive(Debug)]
pub enum Arrived {
    /// A message, with when its last byte came off the pipe.
    Reply(Stamp, Reply),
    /// The end; nothing comes after it.
    Ended(Death),
}

/// How a worker ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Death {
    /// By an exit code of its own, or by a signal.
    pub is_crash: bool,
    /// Which kind of failure that is.
    pub class: FailureClass,
    /// How it ended.
    pub how: String,
    /// The last that it wrote to standard error.
    pub last_words: String,
}

impl Worker {
    /// Starts `program engine-worker`.
    ///
    /// # Errors
    /// There is no such program, or it cannot be started.
    pub fn spawn(program: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let kills = KillCounter::now();
        let mut child = Command::new(program)
            .arg("engine-worker")
            // An assertion would start a debugger to print a backtrace, if there is one.
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (input, output, errors) = pipes(&mut child);
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (commands, queue) = blocking::sync_channel(COMMANDS_MAX);
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let listener = Listener {
            output,
            errors,
            child: child.clone(),
            kills,
            clock,
            sender,
        };
        start_thread("engine-input", move || write_all(input, &queue))?;
        start_thread("engine-output", move || listener.listen())?;
        Ok(Self {
            pid,
            child,
            commands,
            arrivals,
        })
    }

    /// Sends one command; whether it arrives shows in the replies.
    ///
    /// # Errors
    /// The worker has not taken what was sent before.
    pub fn send(&self, frame: Vec<u8>) -> io::Result<()> {
        match self.commands.try_send(frame) {
            // A worker that is gone says so where replies are read.
            Ok(()) | Err(blocking::TrySendError::Disconnected(_)) => Ok(()),
            Err(blocking::TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The next thing that comes from it.
    pub async fn receive(&mut self) -> Arrived {
        let gone = || Arrived::Ended(Death::unknown("some time ago".to_owned()));
        self.arrivals.recv().await.unwrap_or_else(gone)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it at once, if it will not by itself.
    pub fn kill(&self) {
        // Whoever holds the lock for long waits for its end, which has begun.
        if let Ok(mut child) = self.child.try_lock()
            && let Err(error) = child.kill()
        {
            tracing::warn!(%error, pid = self.pid, "cannot kill the engine's worker");
        }
    }

    /// Lets it end by itself, or kills it after so long, and tells how it ended.
    pub async fn close(mut self, patience: Duration) -> Death {
        // The writing thread ends with its queue and closes the worker's input.
        self.commands = blocking::sync_channel(0).0;
        if let Ok(death) = timeout(patience, self.end()).await {
            return death;
        }
        self.kill();
        self.end().await
    }

    async fn end(&mut self) -> Death {
        loop {
            if let Arrived::Ended(death) = self.receive().await {
                return death;
            }
        }
    }
}

/// Encodes a command as a frame.
///
/// # Errors
/// It is longer than a frame may be.
pub fn frame(request: u64, order: protocol::Order) -> io::Result<Vec<u8>> {
    let order = Some(order);
    let command = protocol::Command { request, order };
    let mut bytes = Vec::with_capacity(command.encoded_len() + 4);
    put_frame(&command, &mut bytes)?;
    Ok(bytes)
}

struct Listener {
    output: ChildStdout,
    errors: ChildStderr,
    child: Arc<Mutex<Child>>,
    kills: KillCounter,
    clock: Arc<dyn Clock>,
    sender: mpsc::Sender<Arrived>,
}

impl Listener {
    fn listen(mut self) {
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let heard = words.clone();
        let errors = self.errors;
        let ear = start_thread("engine-errors", move || keep_last_words(errors, &heard));
        let broken = forward(&mut self.output, self.clock.as_ref(), &self.sender).err();
        // Its output is closed: it is ending, or it sent what is no message.
        let mut child = lock(&self.child);
        if broken.is_some() && child.kill().is_err() {
            tracing::warn!("cannot kill the engine's worker");
        }
        let status = child.wait();
        drop(child);
        if ear.is_ok_and(|ear| ear.join().is_err()) {
            tracing::warn!("the engine's last words are lost");
        }
        let words = lock(&words).make_contiguous().to_vec();
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        let death = match (broken, status) {
            (Some(error), _) => {
                Death::unknown(format!("after sending what is no message: {error}"))
            }
            (None, Err(error)) => Death::unknown(format!("nobody knows how: {error}")),
            (None, Ok(status)) => Death::new(status, words, self.kills.has_risen()),
        };
        // Nobody may listen any more, which is fine.
        drop(self.sender.blocking_send(Arrived::Ended(death)));
    }
}

impl Death {
    fn new(status: ExitStatus, last_words: String, has_oom_kill: bool) -> Self {
        let is_killed = status.signal() == Some(KILL);
        let class = if wants_memory(&last_words) || (is_killed && has_oom_kill) {
            FailureClass::OutOfMemory
        } else {
            FailureClass::Crashed
        };
        Self {
            is_crash: status.signal().is_some(),
            class,
            how: status.to_string(),
            last_words,
        }
    }

    fn unknown(how: String) -> Self {
        Self {
            is_crash: true,
            class: FailureClass::Crashed,
            how,
            last_words: String::new(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine's worker ended ({})", self.how)?;
        if self.last_words.is_empty() {
            return f.write_str(" without a word");
        }
        write!(f, ", its last words: {}", self.last_words)
    }
}

fn pipes(child: &mut Child) -> (ChildStdin, ChildStdout, ChildStderr) {
    let asked = "all three pipes were asked for";
    (
        child.stdin.take().expect(asked),
        child.stdout.take().expect(asked),
        child.stderr.take().expect(asked),
    )
}

fn write_all(mut input: ChildStdin, queue: &blocking::Receiver<Vec<u8>>) {
    for frame in queue {
        // A worker that does not read any more is ending, which the listener notices.
        if input.write_all(&frame).is_err() {
            return;
        }
    }
}

/// Stamps each batch of bytes as it comes off the pipe, before anything is parsed.
fn forward(
    output: &mut ChildStdout,
    clock: &dyn Clock,
    sender: &mpsc::Sender<Arrived>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let n_bytes = output.read(&mut buffer)?;
        let at = clock.now();
        if n_bytes == 0 {
            return Ok(());
        }
        frames.push(&buffer[..n_bytes]);
        while let Some(reply) = frames.take()? {
            if sender.blocking_send(Arrived::Reply(at, reply)).is_err() {
                return Ok(());
            }
        }
    }
}

fn keep_last_words(mut errors: ChildStderr, words: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(n_bytes @ 1..) = errors.read(&mut buffer) {
        let mut words = lock(words);
        words.extend(&buffer[..n_bytes]);
        let surplus = words.len().saturating_sub(LAST_WORDS_BYTES);
        words.drain(..surplus);
    }
}

fn start_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const KILL: i32 = 9;
/// A question and its cancellation, and the same of one that was given up before.
const COMMANDS_MAX: usize = 4;
/// Some seconds of tokens: a bound, should nobody listen.
const ARRIVALS_MAX: usize = 4096;
const READ_BYTES: usize = 64 * 1024;
const LAST_WORDS_BYTES: usize = 4096;
