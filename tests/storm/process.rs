//! A process that does not outlive its test.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// What it says goes to the end of a file.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }

    /// kill -9; true if it was still alive.
    pub(crate) fn kill(mut self) -> bool {
        let was_alive = self.0.try_wait().unwrap().is_none();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        was_alive
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}
