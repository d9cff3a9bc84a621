//! `bench --power-modes`: every cell in every mode, and the machine as it was before, however the agent ends.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, agent};

use crate::text;

/// A made-up AGX Orin in mode 2 that can go into 0 and 1, and into 3 after a reboot.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        for folder in ["etc", "usr/sbin", "var/lib/nvpmodel", "proc/device-tree"] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        let modes = ["MAXN", "MODE_15W", "MODE_30W", "MODE_50W_REBOOT"];
        let lines = modes.iter().enumerate();
        let lines = lines.map(|(id, name)| format!("< POWER_MODEL ID={id} NAME={name} >\n"));
        fs::write(machine.at("etc/nvpmodel.conf"), lines.collect::<String>()).unwrap();
        fs::write(machine.at("var/lib/nvpmodel/status"), "pmode:0002\n").unwrap();
        for file in ["model", "compatible", "serial-number"] {
            let file = format!("proc/device-tree/{file}");
            let fixture = fixtures.join("host/agx-orin").join(&file);
            fs::copy(fixture, machine.at(&file)).unwrap();
        }
        symlink(
            fixtures.join("nvpmodel/nvpmodel"),
            machine.at("usr/sbin/nvpmodel"),
        )
        .unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn state(&self) -> String {
        fs::read_to_string(self.at("var/lib/nvpmodel/status")).unwrap()
    }

    /// With its own `nvpmodel` first.
    fn path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap();
        let folders = std::env::split_paths(&path);
        let folders = std::iter::once(self.at("usr/sbin")).chain(folders);
        std::env::join_paths(folders).unwrap()
    }

    /// A short bench without power, as whoever runs the test.
    fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = agent(&self.at("data"));
        command
            .env("PATH", self.path())
            .args(["bench", "--host-root"])
            .arg(self.0.path())
            .args(["--power", "none", "--repeat", "1", "--format", "json"])
            .args(arguments);
        command
    }

    /// As root, or as root of a user namespace of its own; where neither can be had, nobody is.
    fn sudo_bench(&self, arguments: &[&str]) -> Option<Command> {
        let bench = self.bench(arguments);
        if is_root() {
            return Some(bench);
        }
        let become_root = || {
            let mut command = Command::new("unshare");
            command.arg("--map-root-user");
            command
        };
        let tried = become_root().arg("true").output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            #[expect(clippy::print_stderr, reason = "a test that cannot be run says so")]
            {
                eprintln!("SKIPPED: power modes want root, or a system that lets unshare play it");
            }
            return None;
        }
        let mut command = become_root();
        command.arg(bench.get_program()).args(bench.get_args());
        for (name, value) in bench.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Some(command)
    }

    /// A long bench in mode 0, once its second run has begun, and what it says from there on.
    fn in_the_middle(&self) -> Option<(Child, impl Read + use<>)> {
        let mut bench = self.sudo_bench(&["--power-modes", "0", "--yes", "--limit", "200"])?;
        let mut child = bench
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("run 2/") {
            line.clear();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "it ended before its second run"
            );
        }
        assert_eq!(self.state(), "pmode:0000\n");
        Some((child, said))
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Everything from here until nobody is left who could say something: agent, engine and keeper have ended.
fn rest(mut said: impl Read) -> String {
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    rest
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const AGAIN: &str = "MODE_30W (2) is in force again";

#[test]
fn every_cell_runs_in_every_mode_and_modes_are_rows_of_a_board() {
    let machine = Machine::new();
    let collector = CollectorProcess::start(&machine.at("collector")).unwrap();
    let arguments = [
        "--power-modes",
        "maxn,1",
        "--yes",
        "--limit",
        "1",
        "--precision",
        "q8_0",
    ];
    let Some(mut bench) = machine.sudo_bench(&arguments) else {
        return;
    };
    let output = bench
        .args(["--collector", collector.url()])
        .output()
        .unwrap();
    let said = stderr(&output);
    let document: Value = serde_json::from_str(&text(&output)).unwrap();
    let runs = document["runs"].as_array().unwrap();
    let modes: Vec<&str> = runs
        .iter()
        .map(|run| run["cell"]["power_mode"].as_str().unwrap())
        .collect();
    assert_eq!(modes, [["MAXN"; 5], ["MODE_15W"; 5]].concat());
    assert!(
        said.contains("currently MODE_30W (2); it is put back"),
        "{said}"
    );
    assert!(said.contains("run 6/10  MODE_15W "), "{said}");
    assert!(said.contains(AGAIN), "{said}");
    assert_eq!(machine.state(), "pmode:0002\n");

    // A made-up machine is on no default board.
    let question = [
        "rank",
        "--provenance",
        "replayed",
        "--metric",
        "output_tps",
        "--by",
        "power_mode",
        "--format",
        "json",
    ];
    let board: Value = serde_json::from_str(&text(&collector.ask(&question).unwrap())).unwrap();
    let mut rows: Vec<String> = board["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["key"]["power_mode"].as_str().unwrap().to_owned())
        .collect();
    rows.sort();
    assert_eq!(rows, ["MAXN", "MODE_15W"], "{board}");
}

#[test]
fn a_mode_that_does_not_take_is_a_failed_cell_with_the_reason_and_the_next_mode_runs() {
    let machine = Machine::new();
    let arguments = [
        "--power-modes",
        "3,0",
        "--yes",
        "--limit",
        "1",
        "--precision",
        "q8_0",
    ];
    let Some(mut bench) = machine.sudo_bench(&arguments) else {
        return;
    };
    let output = bench.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (refused, run) = document["runs"].as_array().unwrap().split_at(5);
    for cell in refused {
        assert_eq!(cell["cell"]["power_mode"], "MODE_50W_REBOOT", "{cell}");
        assert_eq!(cell["requests"]["issued"], 0, "{cell}");
        let reason = cell["reasons"]["run"].as_str().unwrap();
        assert!(reason.contains("Reboot required"), "{reason}");
    }
    assert_eq!(run.len(), 5);
    for cell in run {
        assert_eq!(cell["cell"]["power_mode"], "MAXN", "{cell}");
        assert_eq!(cell["requests"]["succeeded"], 1, "{cell}");
    }
    assert!(!machine.at("usr/sbin/rebooted").exists());
    assert_eq!(machine.state(), "pmode:0002\n");
}

#[test]
fn an_agent_killed_by_sigkill_leaves_the_machine_in_its_own_mode() {
    let machine = Machine::new();
    let Some((mut agent, said)) = machine.in_the_middle() else {
        return;
    };
    agent.kill().unwrap();
    agent.wait().unwrap();
    let said = rest(said);
    assert!(said.contains(AGAIN), "{said}");
    assert_eq!(machine.state(), "pmode:0002\n");
}

/// The whole group gets the signal, as from a terminal.
#[test]
fn ctrl_c_leaves_the_machine_in_its_own_mode() {
    let machine = Machine::new();
    let Some((mut agent, said)) = machine.in_the_middle() else {
        return;
    };
    let group = format!("-{}", agent.id());
    let sent = Command::new("kill").args(["-INT", "--", &group]).status();
    assert!(sent.unwrap().success());
    let said = rest(said);
    assert_eq!(agent.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains(AGAIN), "{said}");
    assert_eq!(machine.state(), "pmode:0002\n");
}

#[test]
fn an_error_leaves_the_machine_in_its_own_mode() {
    let machine = Machine::new();
    let model = machine.at("model-f32.gguf");
    fs::write(&model, "no weights").unwrap();
    let model = model.to_str().unwrap();
    let arguments = [
        "--power-modes",
        "0",
        "--yes",
        "--model",
        model,
        "--mmproj",
        model,
    ];
    let Some(mut bench) = machine.sudo_bench(&arguments) else {
        return;
    };
    let output = bench.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("power mode MAXN (0) is in force"), "{said}");
    assert!(said.contains(AGAIN), "{said}");
    assert_eq!(machine.state(), "pmode:0002\n");
}

#[test]
fn a_mode_that_cannot_be_put_back_is_told_loudly_and_is_no_success() {
    let machine = Machine::new();
    let Some((mut agent, said)) = machine.in_the_middle() else {
        return;
    };
    fs::write(machine.at("usr/sbin/refuse"), "").unwrap();
    let pid = agent.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let said = rest(said);
    assert_eq!(agent.wait().unwrap().code(), Some(1), "{said}");
    assert!(
        said.contains("ATTENTION") && said.contains("sudo nvpmodel -m 2"),
        "{said}"
    );
}

#[track_caller]
fn refuses(command: &mut Command, words: &[&str]) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "does not say `{word}`: {said}");
    }
}

#[test]
fn nothing_is_switched_that_nobody_agreed_to_or_that_is_not_there() {
    let machine = Machine::new();
    refuses(
        machine
            .bench(&["--power-modes", "0"])
            .env("PATH", "/nowhere"),
        &["--power-modes", "nvpmodel", "/usr/sbin"],
    );
    if let Some(mut bench) = machine.sudo_bench(&["--power-modes", "0"]) {
        refuses(&mut bench, &["no terminal", "--yes"]);
    }
    if let Some(mut bench) = machine.sudo_bench(&["--power-modes", "0,25W", "--yes"]) {
        refuses(
            &mut bench,
            &["25W", "MAXN (0)", "MODE_15W (1)", "MODE_30W (2)"],
        );
    }
    if !is_root() {
        refuses(
            &mut machine.bench(&["--power-modes", "0", "--yes"]),
            &["only root", "sudo tokwatt-agent bench"],
        );
    }
    assert!(
        !machine.at("usr/sbin/asked").exists(),
        "nothing was switched"
    );
}

#[test]
fn a_table_of_another_machine_switches_nothing_here() {
    let (recorded, here) = (Machine::new(), Machine::new());
    fs::write(here.at("var/lib/nvpmodel/status"), "pmode:0001\n").unwrap();
    let Some(mut bench) = recorded.sudo_bench(&["--power-modes", "0", "--yes"]) else {
        return;
    };
    refuses(
        bench.env("PATH", here.path()),
        &["--power-modes", "MODE_15W (1)", "MODE_30W (2)"],
    );
    for machine in [&recorded, &here] {
        assert!(!machine.at("usr/sbin/asked").exists());
    }
    assert_eq!(here.state(), "pmode:0001\n");
}
