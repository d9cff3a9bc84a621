//! `tegrastats` as a child: its lines with the time of their arrival, its last words, its end.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::{ChildStderr, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokwatt_domain::time::Stamp;

use crate::{
    clock::Clock,
    guard::{Guard, Guarded},
};

/// How to start it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: `tegrastats`, or anything that prints the same lines.
    pub program: PathBuf,
    /// Time between its lines, which it does not quite keep.
    pub interval: Duration,
    /// What ends it with the agent.
    pub guard: Guard,
}

/// What there was to hear.
pub(super) enum Heard {
    /// Nothing for as long as we cared to wait.
    Nothing,
    /// Whole lines that arrived together, and when.
    Lines { at: Stamp, lines: Vec<String> },
    /// More of a line than any line has; the rest of it is passed over, too.
    Overlong,
    /// It has ended, in its own words.
    End(String),
}

/// A running `tegrastats`.
pub(super) struct Child {
    program: String,
    guarded: Guarded,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    /// The beginning of a line whose end has not come.
    unfinished: Vec<u8>,
    /// The beginning of the line that is arriving has been thrown away.
    is_headless: bool,
    last_words: Vec<u8>,
}

impl Child {
    /// `by_line`: with a standard output that is not buffered by the block.
    pub(super) fn start(settings: &Settings, by_line: bool) -> io::Result<Self> {
        let mut command = match by_line {
            true => Command::new("stdbuf"),
            false => Command::new(&settings.program),
        };
        if by_line {
            command.arg("-oL").arg(&settings.program);
        }
        let interval = settings.interval.as_millis().max(1);
        command
            .args(["--interval", &interval.to_string()])
            .env("LC_ALL", "C");
        let pipes = [Stdio::piped(), Stdio::piped()];
        let mut guarded = settings.guard.start(&command, pipes)?;
        let stdout = guarded.child().stdout.take();
        Ok(Self {
            program: settings.program.display().to_string(),
            stdout: stdout.expect("it was asked for just now"),
            stderr: guarded.child().stderr.take(),
            guarded,
            unfinished: Vec::new(),
            is_headless: false,
            last_words: Vec::new(),
        })
    }

    /// Waits up to `patience` for its next words.
    pub(super) fn listen(&mut self, clock: &dyn Clock, patience: Duration) -> Heard {
        let (output, complaint) = match self.wait(patience) {
            Ok(ready) => ready,
            Err(error) => {
                return Heard::End(format!("cannot wait for `{}`: {error}", self.program));
            }
        };
        if complaint {
            self.keep_last_words();
        }
        if !output {
            return Heard::Nothing;
        }
        let mut bytes = [0; READ_BYTES];
        let read = self.stdout.read(&mut bytes);
        let at = clock.now();
        match read {
            Ok(0) => self.end(),
            Ok(n) => self.lines(at, &bytes[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Heard::Nothing,
            Err(error) => Heard::End(format!("cannot read from `{}`: {error}", self.program)),
        }
    }

    /// Whether there is output, whether there is something on standard error.
    fn wait(&self, patience: Duration) -> io::Result<(bool, bool)> {
        let mut pipes = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        pipes.extend(
            self.stderr
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut pipes, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |pipe: &PollFd<'_>| !pipe.revents().is_empty();
        Ok((is_ready(&pipes[0]), pipes.get(1).is_some_and(is_ready)))
    }

    /// A line is whole when its end has come: a figure cut short still looks like a figure.
    fn lines(&mut self, at: Stamp, bytes: &[u8]) -> Heard {
        self.unfinished.extend_from_slice(bytes);
        let Some(end) = self.unfinished.iter().rposition(|&byte| byte == b'\n') else {
            if self.unfinished.len() <= LINE_BYTES_MAX {
                return Heard::Nothing;
            }
            self.unfinished.clear();
            let is_news = !std::mem::replace(&mut self.is_headless, true);
            return if is_news {
                Heard::Overlong
            } else {
                Heard::Nothing
            };
        };
        let whole: Vec<u8> = self.unfinished.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        let lines = text.lines().skip(usize::from(self.is_headless));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        self.is_headless = false;
        if lines.is_empty() {
            return Heard::Nothing;
        }
        Heard::Lines { at, lines }
    }

    fn end(&mut self) -> Heard {
        while self.stderr.is_some() && self.keep_last_words() {}
        let status = self.guarded.end();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let words = String::from_utf8_lossy(&self.last_words);
        let words = match words.trim() {
            "" => "it said nothing on standard error",
            words => words,
        };
        Heard::End(format!("`{}` ended ({status}): {words}", self.program))
    }

    /// Returns whether there may be more.
    fn keep_last_words(&mut self) -> bool {
        let mut bytes = [0; READ_BYTES];
        let read = self.stderr.as_mut().map(|pipe| pipe.read(&mut bytes));
        let Some(Ok(n @ 1..)) = read else {
            self.stderr = None;
            return false;
        };
        self.last_words.extend_from_slice(&bytes[..n]);
        let excess = self.last_words.len().saturating_sub(LAST_WORDS_BYTES);
        self.last_words.drain(..excess);
        true
    }
}

/// A line has about 700 bytes.
const READ_BYTES: usize = 8192;

/// Longer than this without an end is no line.
const LINE_BYTES_MAX: usize = 1 << 16;

/// Enough for the message that matters.
const LAST_WORDS_BYTES: usize = 500;
