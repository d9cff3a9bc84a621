//! One server process under its guard: started, watched, stopped, and how it died.

use std::{
    fmt, fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use tokwatt_domain::run::FailureClass;

use super::{ServerCommand, log::ServerLog};
use crate::{
    backend::out_of_memory::{KillCounter, wants_memory},
    guard::{Guard, Guarded},
};

/// A server that was started. Dropping it stops it and waits for that.
pub(super) struct Server {
    program: String,
    guarded: Guarded,
    /// The server itself, the guard's child; absent for a moment, and where /proc does not say.
    pid: Option<u32>,
    log: ServerLog,
    kills: KillCounter,
    death: Option<Death>,
    /// Whether it has answered.
    pub(super) is_ready: bool,
}

/// How a server ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Death {
    /// Which kind of failure that is; absent where there was nothing to start.
    pub(super) class: Option<FailureClass>,
    how: String,
    last_lines: String,
    log: PathBuf,
}

impl Server {
    /// Starts it, with what it prints appended to `log`.
    ///
    /// # Errors
    /// The log or the guard cannot be started.
    pub(super) fn start(command: &ServerCommand, guard: &Guard, log: &Path) -> io::Result<Self> {
        let kills = KillCounter::now();
        let (log, outputs) = ServerLog::start(log, command.secrets())?;
        log.note(&format!("starting {command}"));
        Ok(Self {
            program: command.program().to_owned(),
            guarded: guard.start(&command.to_command(), outputs)?,
            pid: None,
            log,
            kills,
            death: None,
            is_ready: false,
        })
    }

    /// The server's process, as soon as the guard has started it.
    pub(super) fn pid(&mut self) -> Option<u32> {
        self.pid = self.pid.or_else(|| child_of(self.guarded.id()));
        self.pid
    }

    /// How it ended, if it has.
    pub(super) async fn death(&mut self) -> Option<Death> {
        if self.death.is_none()
            && let Some(status) = self.guarded.try_wait().transpose()
        {
            self.log.ended().await;
            self.death = Some(self.judge(status));
        }
        self.death.clone()
    }

    /// Waits until it ends.
    pub(super) async fn end(&mut self) -> Death {
        loop {
            if let Some(death) = self.death().await {
                return death;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    /// How it ended, if it is about to: a request that broke off is heard of before the process is gone.
    pub(super) async fn death_soon(&mut self) -> Option<Death> {
        tokio::time::timeout(DEATH_PATIENCE, self.end()).await.ok()
    }

    /// Asks it to end, and ends it if it does not; says whether that was needed.
    pub(super) async fn stop(mut self) -> io::Result<bool> {
        let ended = tokio::task::spawn_blocking(move || {
            let status = self.guarded.end();
            (self, status)
        });
        let (mut server, status) = ended.await.map_err(io::Error::other)?;
        server.log.ended().await;
        let had_to_be_killed = server.death.is_none() && signal(status?) == Some(KILL);
        server.log.note(match had_to_be_killed {
            true => "stopped; it did not end when it was asked to, so it was killed",
            false => "stopped",
        });
        server.log.write_out();
        Ok(had_to_be_killed)
    }

    /// Brings the log's file up to date.
    pub(super) fn write_log(&self) {
        self.log.write_out();
    }

    /// What it printed last, and where the rest is.
    pub(super) fn last_words(&self) -> String {
        last_words(&self.log.last_lines(), &self.log.path())
    }

    fn judge(&self, status: io::Result<ExitStatus>) -> Death {
        let last_lines = self.log.last_lines();
        let has_no_program = last_lines.contains(&format!("cannot start `{}`", self.program));
        let (how, class) = match status {
            Err(error) => (format!("nobody knows how: {error}"), FailureClass::Crashed),
            Ok(status) => {
                // Of several processes, the one that died first spoke first.
                let words = match self.is_ready && status.success() {
                    true => last_lines.clone(),
                    false => self.log.last_text(),
                };
                let class = class_of(status, self.kills.has_risen(), &words);
                (how(status), class)
            }
        };
        Death {
            class: Some(class).filter(|_| !has_no_program),
            how,
            last_lines,
            log: self.log.path(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = last_words(&self.last_lines, &self.log);
        write!(f, "the server ended ({}); {words}", self.how)
    }
}

fn last_words(lines: &str, log: &Path) -> String {
    let log = log.display();
    match lines {
        "" => format!("it printed nothing; its log is {log}"),
        lines => format!("its log is {log} and ends so:\n{lines}"),
    }
}

/// There was no memory if the last words say so, or if the server was killed, or gave up, while the kernel killed somebody for want of
/// it: what was killed may have been a child of the server.
fn class_of(status: ExitStatus, has_oom_kill: bool, words: &str) -> FailureClass {
    let is_victim = match signal(status) {
        Some(signal) => signal == KILL,
        None => !status.success(),
    };
    match wants_memory(words) || (is_victim && has_oom_kill) {
        true => FailureClass::OutOfMemory,
        false => FailureClass::Crashed,
    }
}

/// The guard's exit code is the command's, or 128 and a signal's number.
fn how(status: ExitStatus) -> String {
    match (signal(status), status.code()) {
        (Some(signal), _) => format!("by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

fn signal(status: ExitStatus) -> Option<i32> {
    let of_command = status.code().map(|code| code - 128);
    let of_command = of_command.filter(|signal| (1..=64).contains(signal));
    status.signal().or(of_command)
}

/// The first child of a process's first thread, which is where the guard starts its command.
fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

const KILL: i32 = 9;
/// Time between two looks whether it has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(20);
/// The sockets of a killed process are closed milliseconds before its guard has cleared up after it.
const DEATH_PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: i32, has_oom_kill: bool, words: &str, want: FailureClass) {
        let status = ExitStatus::from_raw(code << 8);
        assert_eq!(
            class_of(status, has_oom_kill, words),
            want,
            "{code} {words}"
        );
    }

    #[test]
    fn want_of_memory_is_a_kill_that_the_kernel_counted_or_words_that_say_so() {
        use FailureClass::{Crashed, OutOfMemory};
        check(128 + 9, true, "", OutOfMemory);
        check(128 + 9, false, "", Crashed);
        // A child of it was the kernel's victim.
        check(1, true, "engine core died", OutOfMemory);
        check(1, false, "no such file", Crashed);
        // Another process was.
        check(0, true, "", Crashed);
        check(128 + 6, true, "assertion failed", Crashed);
        check(128 + 6, false, "std::bad_alloc", OutOfMemory);
        // The guard itself was killed, and the server with it.
        let killed = ExitStatus::from_raw(9);
        assert_eq!(class_of(killed, true, ""), OutOfMemory);
    }

    #[test]
    fn how_it_ended_is_the_commands_own_way() {
        for (code, want) in [
            (0, "exit code 0"),
            (3, "exit code 3"),
            (137, "by signal 9"),
            (255, "exit code 255"),
        ] {
            assert_eq!(how(ExitStatus::from_raw(code << 8)), want);
        }
    }
}
