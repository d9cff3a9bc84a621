//! What a server prints, kept in a file of bounded size, with its last lines at hand.
//!
//! A thread reads the pipe, so that a chatty server never waits for us, and gathers up to [`PENDING_BYTES_MAX`] before it writes: nothing of
//! ours should touch the disk while something is measured, and few servers say that much in a run. The file is brought up to
//! date between runs, when the server is ready and when it has ended.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};

/// The log of a server that runs.
pub(super) struct ServerLog {
    kept: Arc<Mutex<Kept>>,
    /// Closed when the server's output is.
    end: mpsc::Receiver<()>,
    /// What is not to be repeated.
    secrets: Vec<String>,
}

/// What was heard, and how much of it is on disk.
struct Kept {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    pending: Vec<u8>,
    last: VecDeque<u8>,
    /// Writing failed, which was said.
    is_lost: bool,
}

impl ServerLog {
    /// Appends to `path` from now on what is written to the outputs. The file has all of it, `secrets` too.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no pipe or thread to be had.
    pub(super) fn start(path: &Path, mut secrets: Vec<String>) -> io::Result<(Self, [Stdio; 2])> {
        // One may be the beginning of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let kept = Arc::new(Mutex::new(Kept {
            path: path.to_owned(),
            file_bytes: file.metadata()?.len(),
            file,
            pending: Vec::new(),
            last: VecDeque::new(),
            is_lost: false,
        }));
        let (reader, writer) = io::pipe()?;
        let outputs = [writer.try_clone()?.into(), writer.into()];
        let (sender, end) = mpsc::channel(1);
        let heard = kept.clone();
        thread::Builder::new()
            .name("server-log".to_owned())
            .spawn(move || {
                listen(reader, &heard);
                drop(sender);
            })?;
        Ok((Self { kept, end, secrets }, outputs))
    }

    /// Says something of our own in it.
    pub(super) fn note(&self, text: &str) {
        let line = format!("--- tokwatt: {text}\n");
        lock(&self.kept).pending.extend(line.as_bytes());
    }

    /// Puts everything heard so far into the file. Blocks its thread.
    pub(super) fn write_out(&self) {
        lock(&self.kept).write_out();
    }

    /// Waits until the server's output is closed: its last words have been heard then.
    pub(super) async fn ended(&mut self) {
        // A process that has left the group may hold the pipe for ever.
        timeout(END_PATIENCE, self.end.recv()).await.ok();
        self.write_out();
    }

    /// The end of what the server printed since it was started, without the secrets that it was given: servers print their arguments.
    pub(super) fn last_text(&self) -> String {
        let mut kept = lock(&self.kept);
        let text = String::from_utf8_lossy(kept.last.make_contiguous()).into_owned();
        let secrets = self.secrets.iter();
        secrets.fold(text, |text, secret| text.replace(secret, "…"))
    }

    /// The last lines of it.
    pub(super) fn last_lines(&self) -> String {
        let text = self.last_text();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        lock(&self.kept).path.clone()
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        self.last.extend(bytes);
        let surplus = self.last.len().saturating_sub(LAST_BYTES);
        self.last.drain(..surplus);
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PENDING_BYTES_MAX {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if let Err(error) = self.write(&pending)
            && !std::mem::replace(&mut self.is_lost, true)
        {
            tracing::warn!(%error, log = %self.path.display(), "cannot keep what the server prints");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let n_bytes = bytes.len() as u64;
        if self.file_bytes + n_bytes > LOG_BYTES_MAX && self.file_bytes > 0 {
            fs::rename(&self.path, older(&self.path))?;
            self.file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            self.file_bytes = 0;
        }
        self.file.write_all(bytes)?;
        self.file_bytes += n_bytes;
        Ok(())
    }
}

/// Where a full log goes; the one before it is gone then.
fn older(path: &Path) -> PathBuf {
    path.with_extension("log.old")
}

fn listen(mut pipe: PipeReader, kept: &Mutex<Kept>) {
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match pipe.read(&mut bytes) {
            Ok(0) => return,
            Ok(n_bytes) => lock(kept).add(&bytes[..n_bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of one file; there are two. Hours of what vLLM prints.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// What llama.cpp prints about some hundred requests.
const PENDING_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 64 << 10;
/// Enough for what a server says about its death, and for what its processes say about that.
const LAST_BYTES: usize = 64 << 10;
/// Enough for a message and where it came from.
const LAST_LINES: usize = 12;
/// The output of a process that has ended is read within milliseconds.
const END_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    async fn log_of(path: &Path, script: &str) -> ServerLog {
        let (mut log, [stdout, stderr]) =
            ServerLog::start(path, vec!["sk".to_owned(), "sk-1".to_owned()]).unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]).stdout(stdout).stderr(stderr);
        command.spawn().unwrap().wait().unwrap();
        // It holds our ends of the pipe.
        drop(command);
        log.ended().await;
        log
    }

    #[tokio::test]
    async fn both_outputs_are_kept_in_one_file_and_a_second_start_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/a.log");
        log_of(&path, "echo out; echo err >&2").await;
        let log = log_of(&path, "echo again").await;
        assert_eq!(log.last_lines(), "again");
        assert_eq!(fs::read_to_string(&path).unwrap(), "out\nerr\nagain\n");
    }

    #[tokio::test]
    async fn a_server_that_prints_without_end_fills_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = log_of(
            &path,
            "yes 0123456789abcdef | head -c 60000000; echo; echo end",
        )
        .await;
        assert!(log.last_lines().ends_with("\nend"));
        let sizes = [path.clone(), older(&path)].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= LOG_BYTES_MAX), "{sizes:?}");
        let n_files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(n_files, 2);
    }

    #[tokio::test]
    async fn the_last_lines_repeat_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let log = log_of(&folder.path().join("a.log"), "echo \"args: ['sk-1']\"").await;
        assert_eq!(log.last_lines(), "args: ['…']");
    }

    #[tokio::test]
    async fn the_last_lines_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let log = log_of(&folder.path().join("a.log"), "seq 1000; echo; echo end").await;
        let lines = log.last_lines();
        assert_eq!(lines.lines().count(), LAST_LINES);
        assert!(lines.ends_with("999\n1000\nend"), "{lines}");
    }
}
