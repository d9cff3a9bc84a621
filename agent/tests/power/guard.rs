//! What is started under a guard ends with its agent, whatever ends the agent.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokwatt_agent::guard::{Guard, Guarded};

use crate::eventually::eventually;

pub(crate) fn guard() -> Guard {
    Guard::at(Path::new(env!("CARGO_BIN_EXE_tokwatt-agent")))
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn start(script: &str) -> Guarded {
    guard()
        .start(&shell(script), [Stdio::null(), Stdio::null()])
        .unwrap()
}

/// Process ids that a script writes to a file, one a line.
struct Witness(tempfile::TempDir);

impl Witness {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("pids")
    }

    fn pids(&self, n: usize) -> Vec<Pid> {
        let read = || fs::read_to_string(self.path()).unwrap_or_default();
        eventually("process ids", || read().lines().count() == n);
        let pid = |line: &str| Pid::from_raw(line.parse().unwrap()).unwrap();
        read().lines().map(pid).collect()
    }
}

fn is_alive(pid: &Pid) -> bool {
    let state =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let is_zombie = state
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'));
    test_kill_process(*pid).is_ok() && !is_zombie
}

/// A child and a grandchild that would both run for an hour.
fn family(witness: &Witness) -> String {
    let path = witness.path().display().to_string();
    format!("sleep 3600 & printf '%s\\n' $! $$ >> '{path}'; wait")
}

#[test]
fn the_exit_code_comes_through() {
    for (script, want) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let mut guarded = start(script);
        eventually("the end", || guarded.try_wait().unwrap().is_some());
        assert_eq!(guarded.end().unwrap().code(), Some(want), "{script}");
    }
}

#[test]
fn a_program_that_is_not_there_is_code_2() {
    let command = Command::new("/nowhere/tegrastats");
    let mut guarded = guard()
        .start(&command, [Stdio::null(), Stdio::null()])
        .unwrap();
    eventually("the end", || guarded.try_wait().unwrap().is_some());
    assert_eq!(guarded.end().unwrap().code(), Some(2));
}

#[test]
fn dropping_the_handle_ends_the_whole_family() {
    let witness = Witness::new();
    let guarded = start(&family(&witness));
    let pids = witness.pids(2);
    assert!(pids.iter().all(is_alive));
    drop(guarded);
    assert!(!pids.iter().any(is_alive));
}

#[test]
fn a_child_that_will_not_end_is_ended() {
    let witness = Witness::new();
    let path = witness.path().display().to_string();
    let stubborn = format!("trap '' TERM; echo $$ >> '{path}'; while :; do sleep 1; done");
    let guarded = start(&stubborn);
    let pids = witness.pids(1);
    drop(guarded);
    assert!(!pids.iter().any(is_alive));
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let witness = Witness::new();
    let path = witness.path().display().to_string();
    let mut guarded = start(&format!("sleep 3600 & echo $! >> '{path}'"));
    let pids = witness.pids(1);
    eventually("the end", || guarded.try_wait().unwrap().is_some());
    assert!(!pids.iter().any(is_alive));
}

#[test]
fn what_leaves_the_group_ends_with_the_rest() {
    let witness = Witness::new();
    let far = witness.0.path().join("far.sh");
    fs::write(&far, family(&witness)).unwrap();
    let guarded = start(&format!("setsid sh '{}' & wait", far.display()));
    let pids = witness.pids(2);
    assert!(pids.iter().all(is_alive));
    drop(guarded);
    assert!(!pids.iter().any(is_alive));
}

/// The agent is played by a shell that holds the pipe's other end, so that it can be killed as an agent is.
#[test]
fn an_agent_killed_by_sigkill_takes_the_family_with_it() {
    let witness = Witness::new();
    let script = "mkfifo \"$DIR/pipe\"; \"$AGENT\" guard -- sh -c \"$FAMILY\" < \"$DIR/pipe\" & exec 3> \"$DIR/pipe\"; exec sleep 3600";
    let mut agent = shell(script)
        .env("DIR", witness.0.path())
        .env("AGENT", env!("CARGO_BIN_EXE_tokwatt-agent"))
        .env("FAMILY", family(&witness))
        .process_group(0)
        .spawn()
        .unwrap();
    let pids = witness.pids(2);
    assert!(pids.iter().all(is_alive));
    kill_process(Pid::from_child(&agent), Signal::KILL).unwrap();
    agent.wait().unwrap();
    eventually("the family's end", || !pids.iter().any(is_alive));
}
