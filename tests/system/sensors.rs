//! Sensors that die while requests are measured: coverage falls, the run says so, the bench goes on.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokwatt_harness::agent;

use crate::{
    engine::{cpu_ticks, worker_of},
    keeps_to_its_schema,
};

/// An AGX Orin's rails every 100 ms.
const TEGRASTATS: &str = r#"#!/bin/sh
echo $$ > "${0%/*}/pid"
while :; do
  echo "VDD_GPU_SOC 5000mW/1mW VDD_CPU_CV 2000mW/1mW VIN_SYS_5V0 4000mW/1mW"
  sleep 0.1
done
"#;

/// A meter's row every 100 ms.
const LOGGER: &str = r#"while :; do date +%s.%6N,20.5 >> meter.csv; sleep 0.1; done"#;

/// Three instruments of one made-up device, and the ways they die.
struct Instruments<'a> {
    folder: &'a Path,
    logger: Child,
}

impl<'a> Instruments<'a> {
    fn start(folder: &'a Path) -> Self {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host/agx-orin");
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(fixture).arg(folder.join("root"));
        assert!(copy.status().unwrap().success());
        let program = folder.join("tegrastats");
        fs::write(&program, TEGRASTATS).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("meter.csv"), "unix_s,power_w\n").unwrap();
        let mut logger = Command::new("sh");
        logger.args(["-c", LOGGER]).current_dir(folder);
        Self {
            folder,
            logger: logger.spawn().unwrap(),
        }
    }

    /// The driver is unbound, the tool is killed and cannot be started again, the logger writes no more.
    fn die(&mut self) {
        fs::remove_dir_all(self.folder.join("root/sys/class/hwmon")).unwrap();
        fs::remove_file(self.folder.join("tegrastats")).unwrap();
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap();
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.unwrap().success());
        self.logger.kill().unwrap();
    }
}

impl Drop for Instruments<'_> {
    fn drop(&mut self) {
        // It has been killed already where the instruments died.
        let _ended = self.logger.kill();
        let _ended = self.logger.wait();
    }
}

#[test]
fn sensors_that_die_mid_run_cost_coverage_and_neither_the_run_nor_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let mut instruments = Instruments::start(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut child = agent(&folder.path().join("data"))
        .args(["bench", "--format", "json", "--quick", "--repeat", "1"])
        .args([
            "--suite",
            "spatial-direct",
            "--limit",
            "400",
            "--precision",
            "f32",
        ])
        .args([
            "--host-root",
            &path("root"),
            "--tegrastats",
            &path("tegrastats"),
        ])
        .arg("--power")
        .arg(format!("ina,tegrastats,csv:{}", path("meter.csv")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().starts_with("run 2/"))
        .unwrap()
        .unwrap();
    // Warm-up takes the engine a tenth of this.
    let worker = worker_of(child.id());
    let before = cpu_ticks(worker);
    while cpu_ticks(worker) < before + 100 {
        thread::sleep(Duration::from_millis(10));
    }
    instruments.die();
    let rest = thread::spawn(move || lines.for_each(drop));
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    let status = child.wait().unwrap();
    rest.join().unwrap();
    assert!(status.success(), "{status}");
    let bench: Value = serde_json::from_str(&stdout).unwrap();
    keeps_to_its_schema(&bench);
    let runs = bench["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for source in ["ina", "tegrastats", "csv"] {
        let (before, after) = (power(&runs[0], source), power(&runs[1], source));
        assert_eq!(before["bracketed"], true, "{before}");
        assert!(before["coverage"].as_f64().unwrap() > 0.9, "{before}");
        assert_eq!(after["bracketed"], false, "{after}");
        let coverage = after["coverage"].as_f64().unwrap();
        assert!(0.0 < coverage && coverage < 0.95, "{after}");
    }
    for run in runs {
        assert_eq!(run["requests"]["succeeded"], run["requests"]["issued"]);
    }
    let health = |source: &str| {
        let all = bench["instruments"].as_array().unwrap();
        all.iter()
            .find(|health| health["source"] == source)
            .unwrap()
    };
    assert_eq!(health("ina")["is_lost"], true);
    assert!(said(health("ina")).ends_with("is gone"), "{bench}");
    assert!(health("tegrastats")["failed"].as_u64().unwrap() >= 1);
    assert!(said(health("tegrastats")).contains("tegrastats"), "{bench}");
    assert!(health("csv")["taken"].as_u64().unwrap() >= 1);
}

#[test]
fn an_agent_that_is_killed_leaves_no_tegrastats_behind() {
    let folder = tempfile::tempdir().unwrap();
    let _instruments = Instruments::start(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut child = agent(&folder.path().join("data"))
        .args(["bench", "--limit", "1", "--power", "tegrastats"])
        .args([
            "--host-root",
            &path("root"),
            "--tegrastats",
            &path("tegrastats"),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().starts_with("watching idle power"))
        .unwrap()
        .unwrap();
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    // The guard needs a moment to see that its pipe is closed.
    for _ in 0..3000 {
        if !process.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("tegrastats outlived its agent");
}

#[track_caller]
fn power<'a>(run: &'a Value, source: &str) -> &'a Value {
    let all = run["power"].as_array().unwrap();
    all.iter().find(|power| power["source"] == source).unwrap()
}

fn said(health: &Value) -> &str {
    health["last_error"].as_str().unwrap()
}
