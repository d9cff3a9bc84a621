//! A child that cannot outlive the agent: `tokwatt-agent guard -- COMMAND`.
//!
//! The agent starts the guard with a pipe as standard input and holds the other end; nothing is ever written to it. The guard
//! starts COMMAND in a process group of its own and waits for the first of two things: COMMAND ends, or the pipe closes,
//! which the kernel does for an agent killed by SIGKILL too. Then what is left of the group is ended, and what has left the group.
//!
//! Why a process and not `PR_SET_PDEATHSIG`: that reaches the child alone, not its own children, follows the death of a
//! thread rather than of the process, and needs code between fork and exec.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, kill_process_group,
        set_child_subreaper, waitid, waitpgid, waitpid,
    },
};

/// Where the guard's program is.
#[derive(Clone, Debug)]
pub struct Guard {
    program: PathBuf,
    grace: Duration,
}

/// A command under a guard. Dropping it ends the command and waits for that.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guard {
    /// The running agent's own program, also when its file has been replaced by an upgrade.
    pub fn this_program() -> Self {
        Self::at(Path::new("/proc/self/exe"))
    }

    /// Another agent's program: for tests and tools that are not the agent.
    pub fn at(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            grace: GRACE,
        }
    }

    /// With another time from the request to end until force.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Starts `command` under a guard. The agent's file descriptors that are not closed on exec pass through; `command`'s
    /// own standard input is empty, its output goes where `outputs` of the guard's go.
    ///
    /// # Errors
    /// The guard cannot be started. That `command` cannot is the guard's exit code 2 and its words on standard error.
    pub fn start(&self, command: &Command, outputs: [Stdio; 2]) -> io::Result<Guarded> {
        let [stdout, stderr] = outputs;
        let mut guard = Command::new(&self.program);
        guard
            .arg0("tokwatt-agent")
            .args(["guard", "--grace"])
            .arg(format!("{}ms", self.grace.as_millis()))
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guard.env(name, value),
                None => guard.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            guard.current_dir(folder);
        }
        // A group of its own: Ctrl-C on the terminal is the agent's to handle, not the guard's death.
        guard
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map(Guarded)
    }
}

impl Guarded {
    /// The guard's process; the command's is its child.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The guard's ends of its output pipes, to be taken once.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Ends the command if it has not ended, a request and the guard's grace later force, and says how it did.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.0.stdin.take());
        self.0.wait()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "a guarded command could not be waited for");
        }
    }
}

/// The guard itself: runs `program` until it ends or standard input closes, then ends its process group, a request and `grace`
/// later force, and what has left the group by force; and waits until nothing of it is left.
///
/// Returns the exit code of `program`, or 128 and the number of the signal that ended it.
///
/// # Errors
/// `program` cannot be started, or cannot be waited for.
pub fn run<I: AsRef<OsStr>>(
    program: &OsStr,
    arguments: impl IntoIterator<Item = I>,
    grace: Duration,
) -> io::Result<u8> {
    // A member whose parent ends becomes our child, so that it can be waited for.
    set_child_subreaper(Some(getpid()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| {
            let program = program.to_string_lossy();
            io::Error::new(error.kind(), format!("cannot start `{program}`: {error}"))
        })?;
    let group = Pid::from_child(&child);
    let ends = watch(group)?;
    let is_orphan = matches!(ends.recv(), Ok(End::AgentGone));
    if is_orphan {
        signal(group, Signal::TERM);
        // Whether it ended or time did: the group is killed next.
        drop(ends.recv_timeout(grace));
    }
    // The leader is not reaped yet, so that the group's number cannot belong to anybody else.
    signal(group, Signal::KILL);
    let status = child.wait()?;
    while matches!(
        waitpgid(group, WaitOptions::empty()),
        Ok(_) | Err(Errno::INTR)
    ) {}
    end_children();
    Ok(exit_code(status))
}

/// Who left the group, as with `setsid`, became our child when its parent ended; and so will its own children.
fn end_children() {
    loop {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            kill_process(child, Signal::KILL).ok();
            while matches!(waitpid(Some(child), WaitOptions::empty()), Err(Errno::INTR)) {}
        }
    }
}

/// Of all threads, as a child is its thread's; none where /proc does not say.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        let pids = list.split_whitespace();
        pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect::<Vec<_>>()
    });
    pids.collect()
}

enum End {
    AgentGone,
    CommandEnded,
}

/// Two threads, each waiting for one end. They are left behind: the guard exits after the first, or soon after.
fn watch(group: Pid) -> io::Result<mpsc::Receiver<End>> {
    let (ended, ends) = mpsc::channel();
    let gone = ended.clone();
    thread::Builder::new()
        .name("agent".to_owned())
        .spawn(move || {
            wait_for_end_of_file(io::stdin());
            gone.send(End::AgentGone).ok();
        })?;
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(move || {
            wait_without_reaping(group);
            ended.send(End::CommandEnded).ok();
        })?;
    Ok(ends)
}

fn wait_for_end_of_file(mut input: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn wait_without_reaping(child: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(child), options), Err(Errno::INTR)) {}
}

/// A group that is gone already is what was wanted.
fn signal(group: Pid, signal: Signal) {
    kill_process_group(group, signal).ok();
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// From the request to end until force: `tegrastats` ends at once, an inference server writes its last log lines.
pub const GRACE: Duration = Duration::from_secs(5);
