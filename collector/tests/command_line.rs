//! The binary: what it says to people, and how it ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::agent::{deliver, spool};

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokwatt-collector"));
    command.args(arguments).env("RUST_LOG", "error");
    command
        .env_remove("TOKWATT_COLLECTOR")
        .env_remove("TOKWATT_COLLECTOR_CONFIG")
        .env_remove("TOKWATT_TOKEN");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// It could not run, said why on stderr, and nothing on stdout.
#[track_caller]
pub(crate) fn refuses(arguments: &[&str], words: &[&str]) {
    ends_with(2, arguments, words);
}

/// The same, but another start may succeed.
#[track_caller]
pub(crate) fn refuses_for_now(arguments: &[&str], words: &[&str]) {
    ends_with(1, arguments, words);
}

#[track_caller]
fn ends_with(code: i32, arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(output.stdout, b"");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// A collector's process.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    http: Option<SocketAddr>,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// It answers over HTTP, too.
    pub(crate) fn watched(data: &Path) -> Self {
        Self::start_with(data, &["--http", "127.0.0.1:0"])
    }

    fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let data = data.to_str().unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data];
        let mut child = command(&[&serve, arguments].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = |beginning: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(beginning).unwrap().to_owned()
        };
        let url = said("listening on ");
        let is_watched = !arguments.is_empty();
        let http = is_watched.then(|| {
            let said = said("dashboard on http://");
            said.split(' ').next().unwrap().parse().unwrap()
        });
        Self { child, url, http }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Of a watched one.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http.unwrap()
    }

    pub(crate) fn deliver(&self, device: &str, first_run: u8, n: u8, token_ms: u64) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(deliver(
            self.addr(),
            device,
            1,
            &spool(device, first_run, n, token_ms),
        ));
    }

    /// What it answers on stdout.
    #[track_caller]
    pub(crate) fn ask(&self, question: &[&str]) -> String {
        let output = run(&[question, &["--collector", &self.url]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        String::from_utf8(output.stdout).unwrap()
    }

    fn terminate(&mut self) -> Option<i32> {
        self.ask_to_stop();
        self.wait()
    }

    pub(crate) fn ask_to_stop(&self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Until it has ended; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn questions_to_nobody_say_what_to_do() {
    for question in [
        &["rank", "--metric", "ttft"][..],
        &["runs", "list"],
        &["runs", "show", "0123456789"],
        &["devices", "list"],
    ] {
        let question = [question, &["--collector", "http://127.0.0.1:9"]].concat();
        refuses(
            &question,
            &[
                "http://127.0.0.1:9",
                "tokwatt-collector serve",
                "--collector",
            ],
        );
    }
    refuses(
        &["runs", "list", "--collector", "not a url"],
        &["`not a url`", "http://HOST:PORT"],
    );
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    refuses(
        &[
            "serve",
            "--listen",
            "0.0.0.0:0",
            "--data",
            data.to_str().unwrap(),
        ],
        &["0.0.0.0:0", "plain text", "127.0.0.1:PORT"],
    );
    assert!(!data.exists());
}

#[test]
fn a_port_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder.path().join("one"));
    let address = server.url.strip_prefix("http://").unwrap();
    let other = folder.path().join("two");
    refuses_for_now(
        &[
            "serve",
            "--listen",
            address,
            "--data",
            other.to_str().unwrap(),
        ],
        &[address, "in use", "--listen"],
    );
}

#[test]
fn a_folder_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let _server = Server::start(folder.path());
    let data = folder.path().to_str().unwrap();
    refuses_for_now(
        &["serve", "--listen", "127.0.0.1:0", "--data", data],
        &["another collector", data, "--data"],
    );
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("data");
    refuses(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            below.to_str().unwrap(),
        ],
        &[
            "cannot write",
            below.to_str().unwrap(),
            "read-only",
            "--data",
        ],
    );
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("collector.sqlite");
    fs::write(
        &file,
        "not a database at all, and long enough to be looked at",
    )
    .unwrap();
    refuses(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            folder.path().to_str().unwrap(),
        ],
        &[file.to_str().unwrap(), "not a database"],
    );
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(Server::start(folder.path()));
    let file = folder.path().join("collector.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    refuses(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            folder.path().to_str().unwrap(),
        ],
        &[
            file.to_str().unwrap(),
            "schema 99",
            "newer tokwatt-collector",
        ],
    );
}

#[test]
fn an_unknown_setting_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "lissten = \"127.0.0.1:7413\"\n").unwrap();
    let path = file.to_str().unwrap();
    refuses(&["serve", "--config", path], &[path, "lissten", "listen"]);
    refuses(&["config", "check", path], &[path, "lissten"]);
    refuses(&["serve", "--config", "nowhere.toml"], &["nowhere.toml"]);
}

#[test]
fn settings_say_where_they_come_from() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    let path = file.to_str().unwrap();
    let default = run(&["config", "default"]);
    fs::write(&file, &default.stdout).unwrap();
    assert_eq!(run(&["config", "check", path]).status.code(), Some(0));
    fs::write(&file, "data = \"elsewhere\"").unwrap();
    let checked = String::from_utf8(run(&["config", "check", path]).stdout).unwrap();
    assert_eq!(
        checked,
        format!(
            "data = \"elsewhere\"  # {path}\nenrol_listen = \"127.0.0.1:7414\"  # default\nhttp = \"off\"  # default\nlisten = \"127.0.0.1:7413\"  # default\n\n[retention]\nraw_samples_days = 0  # default\n"
        )
    );
}

#[test]
fn a_question_that_cannot_be_answered_says_which_to_ask() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    let refuses = |question: &[&str], words: &[&str]| {
        refuses(&[question, &["--collector", &server.url]].concat(), words);
    };
    refuses(
        &["rank", "--metric", "decode_tp"],
        &["unknown metric `decode_tp`", "`decode_tps`"],
    );
    refuses(
        &["rank", "--metric", "ttft", "--by", "modle"],
        &["unknown key `modle`", "`model`"],
    );
    refuses(
        &["rank", "--metric", "ttft", "--where", "device"],
        &["`device`", "KEY=VALUE"],
    );
    refuses(
        &["rank", "--metric", "energy@modul"],
        &["unknown power scope `modul`", "module"],
    );
    refuses(
        &["rank", "--metric", "ttft", "--provenance", "real"],
        &["`real`", "measured"],
    );
    refuses(&["runs", "show", "xyz"], &["`xyz`", "runs list"]);
    refuses(
        &["runs", "show", "0123456789"],
        &["no run begins or ends with `0123456789`"],
    );
    refuses(&["rank"], &["--metric"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = command(&["config", "default"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_was_delivered_is_shown_and_survives_a_kill() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path());
    server.deliver("fast", 1, 3, 3);
    server.deliver("slow", 11, 3, 9);
    let question = ["rank", "--metric", "decode_tps"];
    let board = server.ask(&question);
    let lines: Vec<&str> = board.lines().collect();
    assert_eq!(lines[0], "decode_tps in tok/s, higher is better");
    let row = |device: &str| {
        let words = lines
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .into_iter()
            .find(|words| words.len() > 3 && words.get(1) == Some(&device))
            .unwrap()
    };
    assert!(
        lines.contains(&"device  linux") && !board.contains('…') && !board.contains("none"),
        "{board}"
    );
    assert_eq!((row("fast")[0], row("slow")[0]), ("1", "2"), "{board}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 110),
        "{board}"
    );
    assert!(
        server
            .ask(&["runs", "list"])
            .contains("caption_brief 96px f32 closed(1)")
    );
    assert!(server.ask(&["devices", "list"]).contains("generic"));
    assert!(
        server
            .ask(&["runs", "show", "010101"])
            .contains("20 of 20 requests succeeded")
    );
    let json = server.ask(&[&question[..], &["--format", "json"]].concat());

    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let mut server = Server::start(folder.path());
    assert_eq!(
        server.ask(&[&question[..], &["--format", "json"]].concat()),
        json
    );
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn csv_and_markdown_have_a_line_for_each_row() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path());
    server.deliver("fast", 1, 3, 3);
    server.deliver("slow", 11, 2, 9);
    let csv = server.ask(&["rank", "--metric", "ttft", "--format", "csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(
        lines.iter().all(|line| line.len() == lines[0].len()),
        "{csv}"
    );
    let column = |name| lines[0].iter().position(|head| *head == name).unwrap();
    assert_eq!(
        (lines[1][column("device")], lines[1][column("place")]),
        ("fast", "1")
    );
    assert_eq!(
        (lines[2][column("device")], lines[2][column("place")]),
        ("slow", "")
    );
    let markdown = server.ask(&["rank", "--metric", "ttft", "--format", "markdown"]);
    assert_eq!(
        markdown
            .lines()
            .filter(|line| line.starts_with('|'))
            .count(),
        4,
        "{markdown}"
    );
    assert!(
        markdown.contains("needs 1 more repetition for an interval"),
        "{markdown}"
    );
}
