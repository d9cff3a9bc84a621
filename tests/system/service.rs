//! The agent as a service: what it tells its manager, and what its unit allows it.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

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

/// `run` for a collector that is not there, as a service manager starts it.
fn service(data: &Path, socket: &str) -> Child {
    agent(data)
        .args(["run", "--collector", "http://127.0.0.1:9"])
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
fn the_manager_hears_that_the_service_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    lives_as_a_service(&manager, service(folder.path(), path.to_str().unwrap()));
}

#[test]
fn a_manager_may_listen_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("tokwatt-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).unwrap());
    lives_as_a_service(&manager, service(folder.path(), &format!("@{name}")));
}

/// An agent that is installed and not yet told where to deliver must not be started again and again.
#[test]
fn without_a_collector_the_service_ends_with_the_code_that_the_unit_does_not_restart() {
    let folder = tempfile::tempdir().unwrap();
    let output = agent(folder.path()).arg("run").output().unwrap();
    assert!(unit().contains("\nRestartPreventExitStatus=2\n"));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("collector.url"), "{said}");
}

/// Records that wait safely when the service is stopped are exit code 1, and no failed service.
#[test]
fn a_stop_with_records_waiting_is_no_failure() {
    assert!(unit().contains("\nSuccessExitStatus=1\n"));
}

#[test]
fn the_unit_is_valid_and_hardened() {
    if systemd_version() < Some(OFFLINE_SINCE) {
        skip("no systemd-analyze that can judge a unit file on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokwatt-agent.service");
    let built = program("tokwatt-agent");
    let text = unit().replace("/usr/bin/tokwatt-agent", built.to_str().unwrap());
    fs::write(&file, text).unwrap();
    for check in [
        &["verify", "--man=no"][..],
        &["security", "--offline=yes", "--threshold=30", "--no-pager"],
    ] {
        let mut analyse = Command::new("systemd-analyze");
        let output = analyse.args(check).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = complaint
            .lines()
            .filter(|line| line.contains("tokwatt"))
            .collect();
        assert!(
            output.status.success() && ours.is_empty(),
            "{said}{complaint}"
        );
    }
}

/// From `systemd 252 (252.38-1~deb12u1)`.
fn systemd_version() -> Option<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output();
    let said = String::from_utf8(output.ok()?.stdout).ok()?;
    said.split_whitespace().nth(1)?.parse().ok()
}

fn unit() -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd/tokwatt-agent.service");
    fs::read_to_string(path).unwrap()
}

/// `security --offline` came with this release of systemd.
const OFFLINE_SINCE: u32 = 250;

/// Words come within milliseconds; this is for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);
