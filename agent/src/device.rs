//! What this device is: facts, and for everything that was looked for and not found the reason.
//!
//! Only files are read, below a [`HostRoot`], so that a recorded tree is a device. Serial numbers go into the device's id
//! as a keyed hash and nowhere else.

use std::{collections::BTreeMap, fmt};

use tokwatt_domain::device::{DeviceKind, DeviceProfile};

pub use self::host::{HostRoot, Unlearnt};

/// The host's files, read with bounds.
mod host;

/// Which family of machines.
mod kind;

/// Jetson: release, module, power mode.
pub mod jetson;

/// DGX OS: release.
pub mod dgx;

/// Processor model and features.
mod cpu;

/// The device's name, from its hardware.
mod identity;

/// Describes the device under `root`.
pub fn probe(root: &HostRoot) -> DeviceProfile {
    let kind = kind::recognise(root);
    let mut findings = Findings::default();
    findings.host(root);
    findings.board(root);
    findings.learn("jetpack_release", jetson::jetpack(root));
    findings.learn("l4t_release", jetson::l4t(root));
    findings.learn("module", jetson::module(root));
    findings.learn("power_mode_id", jetson::power_mode_id(root));
    findings.learn("power_mode", jetson::power_mode_name(root));
    findings.learn("dgx_release", dgx::release(root));
    findings.learn("gpu_driver", gpu_driver(root));
    findings.processor(root);
    findings.process(root);
    let id = findings.identity(kind, root);
    DeviceProfile {
        id,
        kind,
        facts: findings.facts,
        reasons: findings.reasons,
    }
}

#[derive(Default)]
struct Findings {
    facts: BTreeMap<String, String>,
    reasons: BTreeMap<String, String>,
}

impl Findings {
    fn learn<T: fmt::Display>(&mut self, fact: &str, found: Result<T, Unlearnt>) {
        match found {
            Ok(value) => self
                .facts
                .insert(fact.to_owned(), short(&value.to_string())),
            Err(reason) => self.reasons.insert(fact.to_owned(), reason.to_string()),
        };
    }

    fn host(&mut self, root: &HostRoot) {
        self.learn("kernel", root.read("/proc/sys/kernel/osrelease"));
        self.learn("os_name", os_name(root));
        self.learn("memory_total_bytes", memory_total_bytes(root));
    }

    fn board(&mut self, root: &HostRoot) {
        let model = root
            .read(jetson::MODEL)
            .or_else(|_| root.read(kind::DMI_PRODUCT));
        self.learn("board_model", model);
        self.learn("board_vendor", root.read(kind::DMI_VENDOR));
        self.learn("product_family", root.read(kind::DMI_FAMILY));
        self.learn("soc", jetson::soc(root));
        self.learn(
            "compatible",
            jetson::compatible(root).map(|names| names.join(" ")),
        );
    }

    fn processor(&mut self, root: &HostRoot) {
        self.learn("cpu_count", cpu::count(root));
        self.learn("cpu_model", cpu::model(root));
        self.learn("cpu_features", cpu::features(root));
    }

    fn process(&mut self, root: &HostRoot) {
        self.learn("container", container(root));
        self.learn("is_root", is_root(root));
    }

    fn identity(&mut self, kind: DeviceKind, root: &HostRoot) -> tokwatt_domain::ids::DeviceId {
        let identity = identity::identify(kind, root);
        self.facts
            .insert("id_source".to_owned(), identity.source.to_owned());
        self.reasons.extend(identity.reasons);
        identity.id
    }
}

fn os_name(root: &HostRoot) -> Result<String, Unlearnt> {
    const PATH: &str = "/etc/os-release";
    let text = root.read(PATH)?;
    assignment(&text, "PRETTY_NAME").ok_or(Unlearnt::Lacks {
        path: PATH.to_owned(),
        what: "PRETTY_NAME",
    })
}

fn memory_total_bytes(root: &HostRoot) -> Result<u64, Unlearnt> {
    const PATH: &str = "/proc/meminfo";
    let text = root.read(PATH)?;
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024))
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: "MemTotal",
        })
}

/// `NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build …`.
fn gpu_driver(root: &HostRoot) -> Result<String, Unlearnt> {
    const PATH: &str = "/proc/driver/nvidia/version";
    let text = root.read(PATH)?;
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.split_whitespace()
        .find(is_version)
        .map(str::to_owned)
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: "version number",
        })
}

/// Which kind of container the agent runs in, `none` if nothing says so.
fn container(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    if root.join("/.dockerenv").exists() {
        return Ok("docker");
    }
    if root.join("/run/.containerenv").exists() {
        return Ok("podman");
    }
    let groups = root.read("/proc/1/cgroup")?;
    let engines = ["kubepods", "docker", "containerd", "libpod", "lxc"];
    let engine = engines.into_iter().find(|engine| groups.contains(engine));
    Ok(engine.unwrap_or("none"))
}

fn is_root(root: &HostRoot) -> Result<bool, Unlearnt> {
    const PATH: &str = "/proc/self/status";
    let text = root.read(PATH)?;
    text.lines()
        .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1))
        .map(|effective| effective == "0")
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: "Uid",
        })
}

/// The last value of `key` in a file of `KEY=value` lines, with or without quotes.
fn assignment(text: &str, key: &str) -> Option<String> {
    assignments(text, key).pop()
}

/// All values of `key`, in order.
fn assignments(text: &str, key: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, value)| *name == key && !value.is_empty())
        .map(|(_, value)| value.trim_matches('"').to_owned())
        .collect()
}

/// One line of reasonable length, whatever a file held.
fn short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = words
        .chars()
        .map(|c| if c.is_control() || c == '\0' { ' ' } else { c });
    printable.take(FACT_CHARS_MAX).collect()
}

/// Longest value of a fact: a full list of processor features fits.
const FACT_CHARS_MAX: usize = 1024;
