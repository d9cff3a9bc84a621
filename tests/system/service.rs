//! Agent and collector as services: what they tell their manager and their log, and what their units allow them.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokwatt_harness::{agent, program};

use crate::skip;

/// The manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Waits for a word, past others.
    #[track_caller]
    fn hears(&self, word: &str) {
        let mut heard = Vec::new();
        while heard.last().map(String::as_str) != Some(word) {
            let mut buffer = [0; 512];
            let length = self
                .0
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("no `{word}` after {heard:?}: {error}"));
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }
}

/// `run` for a collector that is not there.
fn agent_service(data: &Path) -> Command {
    let mut command = agent(data);
    command.args(["run", "--collector", "http://127.0.0.1:9"]);
    command
}

fn collector_service(data: &Path) -> Command {
    let mut command = Command::new(program("tokwatt-collector"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(data);
    command
}

/// As a service manager starts it.
fn start(mut service: Command, socket: &str) -> Child {
    service
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", "100000")
        .env_remove("WATCHDOG_PID")
        .env("TOKWATT_LOG", "error")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[track_caller]
fn lives_as_a_service(manager: &Manager, mut service: Child) {
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    let pid = service.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    manager.hears("STOPPING=1");
    assert!(service.wait().unwrap().success());
}

#[test]
fn the_manager_hears_that_a_service_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    for service in [agent_service, collector_service] {
        let service = start(service(folder.path()), path.to_str().unwrap());
        lives_as_a_service(&manager, service);
    }
}

#[test]
fn a_manager_may_listen_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("tokwatt-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let service = start(agent_service(folder.path()), &format!("@{name}"));
    lives_as_a_service(&manager, service);
}

/// An agent that is installed and not yet told where to deliver must not be started again and again.
#[test]
fn without_a_collector_the_service_ends_with_the_code_that_the_unit_does_not_restart() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent(folder.path()).arg("run").output().unwrap();
    assert!(unit("tokwatt-agent.service").contains("\nRestartPreventExitStatus=2\n"));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("collector.url"), "{said}");
}

/// Records that wait safely when the service is stopped are exit code 1, and no failed service.
#[test]
fn a_stop_with_records_waiting_is_no_failure() {
    assert!(unit("tokwatt-agent.service").contains("\nSuccessExitStatus=1\n"));
}

#[test]
fn units_are_valid_and_hardened() {
    if systemd_version() < Some(OFFLINE_SINCE) {
        skip("no systemd-analyze that can judge a unit file on this machine");
        return;
    }
    // Models have just-in-time compilers and graphics devices; the collector needs a folder and its ports.
    for (name, exposure_max) in [
        ("tokwatt-agent.service", "30"),
        ("tokwatt-collector.service", "20"),
        ("tokwatt-collector-backup.service", "20"),
    ] {
        is_valid(name);
        let threshold = format!("--threshold={exposure_max}");
        analyse(
            &["security", "--offline=yes", "--no-pager", &threshold],
            name,
        );
    }
    is_valid("tokwatt-collector-backup.timer");
}

#[track_caller]
fn is_valid(name: &str) {
    let complaint = analyse(&["verify", "--man=no"], name);
    let ours: Vec<&str> = complaint
        .lines()
        .filter(|line| line.contains("tokwatt"))
        .collect();
    assert!(ours.is_empty(), "{name}: {complaint}");
}

/// What it says about a unit whose program is the one that was built; the unit's neighbours are there, too.
#[track_caller]
fn analyse(check: &[&str], name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(units()).unwrap() {
        let entry = entry.unwrap();
        let mut text = fs::read_to_string(entry.path()).unwrap();
        for built in ["tokwatt-agent", "tokwatt-collector"] {
            let path = program(built);
            text = text.replace(
                &format!("/usr/bin/{built} "),
                &format!("{} ", path.display()),
            );
        }
        fs::write(folder.path().join(entry.file_name()), text).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    let output = command.args(check).arg(folder.path().join(name));
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}{complaint}");
    complaint.into_owned()
}

/// Whatever a service logs, a program can read, and knows which device it is about.
#[test]
fn logs_are_objects_when_a_program_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let logged = |mut service: Command, is_enough: &dyn Fn(&Value) -> bool| {
        let mut service = service
            .args(["--log-format", "json"])
            .env("TOKWATT_LOG", "info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(service.stderr.take().unwrap()).lines();
        let found = lines.find_map(|line| {
            let object: Value = serde_json::from_str(&line.unwrap()).unwrap();
            is_enough(&object).then_some(object)
        });
        service.kill().unwrap();
        service.wait().unwrap();
        found.unwrap()
    };
    let of_agent = logged(agent_service(folder.path()), &|line| {
        line["message"] == "delivery interrupted, will be tried again"
    });
    assert_eq!(of_agent["level"], "WARN");
    assert!(of_agent["timestamp"].is_string(), "{of_agent}");
    assert_eq!(of_agent["spans"][0]["name"], "uplink", "{of_agent}");
    assert!(of_agent["spans"][0]["device"].is_string(), "{of_agent}");

    let of_collector = logged(collector_service(folder.path()), &|line| {
        line["level"] == "INFO"
    });
    assert!(of_collector["message"].is_string(), "{of_collector}");
}

/// From `systemd 252 (252.38-1~deb12u1)`.
fn systemd_version() -> Option<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output();
    let said = String::from_utf8(output.ok()?.stdout).ok()?;
    said.split_whitespace().nth(1)?.parse().ok()
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd")
}

fn unit(name: &str) -> String {
    fs::read_to_string(units().join(name)).unwrap()
}

/// `security --offline` came with this release of systemd.
const OFFLINE_SINCE: u32 = 250;

/// Words come within milliseconds; this is for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);
