//! What tests and demo share: the built programs, started as people start them.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, bail};

/// A real browser.
mod browser;

/// A real inference server.
mod llama_server;

/// Numbers that a seed repeats.
mod random;

/// A real run under many names.
mod sample;

/// A fleet whose truth is known.
mod simulated_fleet;

/// A wall clock that is wrong.
mod stepping_clock;

pub use browser::{Browser, Element, Key};
pub use llama_server::LlamaServer;
pub use random::{Random, number_from, seed};
pub use sample::SampleRun;
pub use simulated_fleet::SimulatedFleet;
pub use stepping_clock::stepping_clock;

/// A program of this workspace, built in the same profile as the caller.
///
/// # Panics
/// If it has not been built: `cargo build --release --workspace --bins` does.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the running program has a path");
    let mut folders = own.ancestors().skip(1).take(2);
    folders
        .find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
        .unwrap_or_else(|| {
            panic!("`{name}` is not built: run `cargo build --release --workspace --bins` first")
        })
}

/// The agent with a data folder of its own.
pub fn agent(data: &Path) -> Command {
    let mut command = Command::new(program("tokwatt-agent"));
    command
        .arg("--data")
        .arg(data)
        .env_remove("TOKWATT_COLLECTOR")
        .env_remove("TOKWATT_API_KEY");
    command
}

/// The collector over `data`, on ports of its own.
pub fn serve(data: &Path) -> Command {
    serve_at("127.0.0.1:0", data)
}

/// The collector over `data`, at an address that agents know already.
pub fn serve_at(listen: &str, data: &Path) -> Command {
    let mut command = Command::new(program("tokwatt-collector"));
    command
        .args(["serve", "--listen", listen])
        .args(["--enrol-listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("TOKWATT_LOG", quiet_unless_asked());
    command
}

/// A collector's process, on a port of its own; killed when dropped.
pub struct CollectorProcess {
    child: Child,
    url: String,
    http: Option<SocketAddr>,
    enrol_url: Option<String>,
    /// Where whoever is on this machine asks.
    asked_at: String,
}

impl CollectorProcess {
    /// Starts one over `data` and waits until it listens.
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start(data: &Path) -> anyhow::Result<Self> {
        Self::start_as(serve(data), data)
    }

    /// The same at a certain address, and with one for watchers.
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start_watched(data: &Path, listen: &str) -> anyhow::Result<Self> {
        let mut serve = serve_at(listen, data);
        serve.args(["--http", "127.0.0.1:0"]);
        Self::start_as(serve, data)
    }

    /// Starts [`serve`] over `data` with whatever was changed about it, and waits until it listens.
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start_as(mut serve: Command, data: &Path) -> anyhow::Result<Self> {
        let is_watched = serve.get_args().any(|argument| argument == "--http");
        let mut child = serve
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the collector")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut urls = lines.filter_map(|line| url_in(&line));
        let url = urls.next().context("it ended before it listened")?;
        let mut started = Self {
            asked_at: url.clone(),
            child,
            url,
            http: None,
            enrol_url: None,
        };
        if is_watched {
            let url = urls.next().context("it ended before watchers could ask")?;
            started.http = Some(url.trim_start_matches("http://").parse()?);
        }
        if started.url.starts_with("https") {
            let socket = data.join("collector.sock");
            started.asked_at = format!("unix:{}", socket.display());
            let url = urls.next().context("it ended before one could enrol")?;
            started.enrol_url = Some(url);
        }
        Ok(started)
    }

    /// Where pages are, if it was started with them.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where one enrols, if it has an identity.
    pub fn enrol_url(&self) -> Option<&str> {
        self.enrol_url.as_deref()
    }

    /// Its number among the system's processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Status and body of a page for watchers.
    ///
    /// # Errors
    /// It was started without, or does not answer.
    pub fn page(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let address = self.http.context("it was started without --http")?;
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks it what a person would: `["rank", "--metric", "ttft"]`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn ask(&self, question: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(program("tokwatt-collector"));
        command.args(question).args(["--collector", &self.asked_at]);
        command
            .output()
            .context("cannot start the collector's command line")
    }

    /// Asks it to stop, and waits.
    ///
    /// # Errors
    /// It did not end well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the collector ended with {status}");
        }
        Ok(())
    }

    /// kill -9.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for CollectorProcess {
    fn drop(&mut self) {
        // Both fail if it has been stopped and waited for.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Says aloud that something is left out, and why.
///
/// # Panics
/// In CI, where nothing may be left out unseen.
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
pub fn leave_out(why: &str) {
    // As `tests/run` asks: `CI=false` is none.
    let is_ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!is_ci, "{why}");
    eprintln!("skipped: {why}");
}

/// Waits until something is so.
///
/// # Panics
/// If it takes minutes: then it never will be.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let pause = std::time::Duration::from_millis(20);
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("it never came about that {what}");
}

/// Says a figure that came out of a test; seen with `--nocapture`, and when the test fails.
#[expect(clippy::print_stdout, reason = "figures are for people")]
pub fn tell(figure: &str) {
    println!("{figure}");
}

/// A line for every run would bury what a test or the demo says.
fn quiet_unless_asked() -> OsString {
    std::env::var_os("TOKWATT_LOG").unwrap_or_else(|| "warn".into())
}

fn url_in(line: &str) -> Option<String> {
    let start = line.find("http")?;
    let url = line[start..].split_whitespace().next()?;
    Some(url.to_owned())
}
