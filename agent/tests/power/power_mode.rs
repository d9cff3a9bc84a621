//! Power modes of a made-up device, switched by a program that plays NVIDIA's, and put back whatever happens.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tokwatt_agent::{
    device::{
        HostRoot,
        jetson::PowerMode,
        nvpmodel::{Nvpmodel, NvpmodelError, in_force, table},
    },
    power_mode::Switch,
};

use crate::probe::copy_of;

const AGENT: &str = env!("CARGO_BIN_EXE_tokwatt-agent");

/// An AGX Orin in mode 2 that can go into 0 and 1, and into 3 after a reboot.
struct Machine {
    folder: tempfile::TempDir,
    root: HostRoot,
}

impl Machine {
    fn new() -> Self {
        let (folder, root) = copy_of("agx-orin");
        let at = |path: &str| folder.path().join(path);
        let modes = ["MAXN", "MODE_15W", "MODE_30W", "MODE_50W_REBOOT"];
        let lines = modes.iter().enumerate();
        let lines = lines.map(|(id, name)| format!("< POWER_MODEL ID={id} NAME={name} >\n"));
        fs::write(at("etc/nvpmodel.conf"), lines.collect::<String>()).unwrap();
        fs::create_dir_all(at("usr/sbin")).unwrap();
        let fake =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nvpmodel/nvpmodel");
        symlink(fake, at("usr/sbin/nvpmodel")).unwrap();
        Self { folder, root }
    }

    fn sbin(&self, name: &str) -> PathBuf {
        self.folder.path().join("usr/sbin").join(name)
    }

    fn nvpmodel(&self) -> Nvpmodel {
        Nvpmodel::at(self.sbin("nvpmodel"))
    }

    fn mode(&self, id: u32) -> PowerMode {
        let modes = table(&self.root).unwrap();
        modes.into_iter().find(|mode| mode.id == id).unwrap()
    }

    fn switch(&self) -> Switch {
        Switch::start(Path::new(AGENT), self.nvpmodel(), self.mode(2)).unwrap()
    }

    fn in_force(&self) -> u32 {
        in_force(&self.root).unwrap().id
    }

    /// Who ran the program last.
    fn keeper(&self) -> Pid {
        let pid = fs::read_to_string(self.sbin("parent")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }
}

#[test]
fn a_mode_is_put_in_force_and_the_original_one_put_back() {
    let machine = Machine::new();
    let switch = machine.switch();
    for id in [0, 1, 1] {
        assert_eq!(switch.to(&machine.mode(id)), Ok(machine.mode(id)));
        assert_eq!(machine.in_force(), id);
    }
    assert_eq!(switch.put_back(), Ok(()));
    assert_eq!(machine.in_force(), 2);
    let asked = fs::read_to_string(machine.sbin("asked")).unwrap();
    assert_eq!(
        asked, "0\n1\n2\n",
        "what is in force is not asked for again"
    );
    assert!(switch.to(&machine.mode(0)).is_err(), "it was put back");
    assert_eq!(machine.in_force(), 2);
}

#[test]
fn dropping_the_switch_puts_the_mode_back() {
    let machine = Machine::new();
    let switch = machine.switch();
    switch.to(&machine.mode(0)).unwrap();
    drop(switch);
    assert_eq!(machine.in_force(), 2);
}

#[test]
fn a_mode_that_needs_a_reboot_does_not_take_and_does_not_get_it() {
    let machine = Machine::new();
    let switch = machine.switch();
    let reason = switch.to(&machine.mode(3)).unwrap_err();
    for words in [
        "power mode 3 did not take",
        "MODE_30W (2) is in force",
        "Reboot required",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
    assert!(!machine.sbin("rebooted").exists());
    assert_eq!(
        switch.to(&machine.mode(0)),
        Ok(machine.mode(0)),
        "the next one does"
    );
}

/// An agent killed by SIGKILL: its end of the pipe closes, whatever is in hand.
#[test]
fn the_keeper_puts_the_mode_back_when_its_orders_end() {
    let machine = Machine::new();
    let mut keeper = Command::new(AGENT)
        .args([
            "power-mode-keeper",
            "--id",
            "2",
            "--name",
            "MODE_30W",
            "--nvpmodel",
        ])
        .arg(machine.sbin("nvpmodel"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = keeper.stdin.take().unwrap();
    orders.write_all(b"0\n").unwrap();
    let mut reply = String::new();
    let mut replies = BufReader::new(keeper.stdout.take().unwrap());
    replies.read_line(&mut reply).unwrap();
    assert_eq!(
        (machine.in_force(), reply.contains("MAXN")),
        (0, true),
        "{reply}"
    );
    // Nobody hears what becomes of the last order.
    drop(replies);
    orders.write_all(b"1\n").unwrap();
    drop(orders);
    let output = keeper.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("MODE_30W (2) is in force again"), "{said}");
    assert_eq!(machine.in_force(), 2);
}

#[test]
fn a_keeper_that_was_killed_is_missed_at_once_and_replaced_at_the_end() {
    let machine = Machine::new();
    let switch = machine.switch();
    switch.to(&machine.mode(0)).unwrap();
    kill_process(machine.keeper(), Signal::KILL).unwrap();
    let reason = switch.to(&machine.mode(1)).unwrap_err();
    assert!(reason.contains("keeper is gone"), "{reason}");
    assert_eq!(switch.put_back(), Ok(()));
    assert_eq!(machine.in_force(), 2);
}

#[test]
fn signals_that_end_a_session_do_not_end_the_keeper() {
    let machine = Machine::new();
    let switch = machine.switch();
    switch.to(&machine.mode(0)).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(machine.keeper(), signal).unwrap();
    }
    assert_eq!(switch.to(&machine.mode(1)), Ok(machine.mode(1)));
}

#[test]
fn a_mode_that_cannot_be_put_back_is_told_with_what_to_type() {
    let machine = Machine::new();
    let switch = machine.switch();
    switch.to(&machine.mode(0)).unwrap();
    fs::write(machine.sbin("refuse"), "").unwrap();
    let problem = switch.put_back().unwrap_err();
    for words in [
        "ATTENTION",
        "MODE_30W (2)",
        "MAXN (0) is in force",
        "sudo nvpmodel -m 2",
    ] {
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn a_program_that_is_not_there_or_says_nothing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Nvpmodel::at(folder.path().join("nvpmodel"));
    let error = nowhere.query().unwrap_err();
    assert!(matches!(&error, NvpmodelError::Run { .. }), "{error}");
    assert!(error.to_string().contains("nvpmodel`"), "{error}");
    let silent = Nvpmodel::at("/bin/true".into());
    let error = silent.switch(0).unwrap_err().to_string();
    assert!(
        error.contains("names no power mode, it says: nothing"),
        "{error}"
    );
}

/// The pipe of the agent is not inherited by what else it starts, or its death would go unnoticed.
#[test]
fn another_child_of_the_agent_does_not_keep_the_keeper_waiting() {
    let machine = Machine::new();
    let switch = machine.switch();
    switch.to(&machine.mode(0)).unwrap();
    let mut other = Command::new("sleep").arg("3600").spawn().unwrap();
    drop(switch);
    assert_eq!(machine.in_force(), 2);
    other.kill().unwrap();
    other.wait().unwrap();
}
