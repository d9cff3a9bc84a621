//! A disk that is soon full: a tmpfs of some size in a mount namespace of its own, seen by what is started inside.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;
use tokwatt_harness::leave_out;

/// Gone with everything on it when dropped.
pub(crate) struct SmallDisk {
    at: TempDir,
    outside: TempDir,
    /// Holds the namespace, and mounts anew with another size when it is told one.
    holder: Child,
    tell: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl SmallDisk {
    /// None, said aloud, where this user may not mount anything even in a namespace.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", HOLD])
            .arg("sh")
            .arg(at.path())
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut holder) = holder else {
            leave_out("there is no unshare(1) for a small disk");
            return None;
        };
        let tell = holder.stdin.take().unwrap();
        let told = BufReader::new(holder.stdout.take().unwrap());
        let outside = tempfile::tempdir().unwrap();
        let mut disk = Self {
            at,
            outside,
            holder,
            tell,
            told,
        };
        if disk.is_done() {
            return Some(disk);
        }
        leave_out("this user may not mount a small disk in a namespace");
        None
    }

    /// Where it is, inside.
    pub(crate) fn at(&self) -> &Path {
        self.at.path()
    }

    /// From now on it is this large.
    pub(crate) fn resize(&mut self, bytes: u64) {
        writeln!(self.tell, "{bytes}").unwrap();
        assert!(self.is_done(), "the disk keeps its size");
    }

    /// The same program with the same arguments, where the disk is.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        let target = self.holder.id().to_string();
        inside
            .args([
                "--user",
                "--mount",
                "--preserve-credentials",
                "--target",
                &target,
                "--",
            ])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// A copy of a database on it that nobody has open, where everybody sees it.
    pub(crate) fn brought_out(&self, database: &Path) -> PathBuf {
        let copy = self.outside.path().join("copy.sqlite");
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let there = root.join(database.strip_prefix("/").unwrap());
        std::fs::copy(there, &copy).unwrap();
        copy
    }

    fn is_done(&mut self) -> bool {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line == "done\n"
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Both fail if it has ended by itself.
        let _ended = self.holder.kill();
        let _ended = self.holder.wait();
    }
}

const HOLD: &str = "mount -t tmpfs -o size=$2 tmpfs \"$1\" && echo done && \
    while read size; do mount -o remount,size=$size \"$1\" && echo done; done";
