//! What this device is: facts, and for everything that was looked for and not found the reason.
//!
//! Files are read, below a [`HostRoot`], so that a recorded tree is a device; NVIDIA's library is asked where the root has one,
//! and a command where its file is missing. Serial numbers go into the device's id as a keyed hash and nowhere else.

use std::{collections::BTreeMap, fmt, io, path::Path};

use tokwatt_domain::{
    device::{DeviceKind, DeviceProfile},
    ids::DeviceId,
};

pub use self::{
    host::{HostRoot, Unlearnt},
    hwmon::{HWMON, drivers},
    register::{Register, RegisterError},
};

/// The host's files, read with bounds.
mod host;

/// Files with one number, held open.
mod register;

/// Where the kernel keeps its drivers of sensors.
mod hwmon;

/// Which family of machines.
mod kind;

/// Jetson: release, module.
pub mod jetson;

/// Power modes of a Jetson.
pub mod nvpmodel;

/// DGX OS: release.
pub mod dgx;

/// Processor model and features.
mod cpu;

/// Clocks of processor and GPU.
mod clocks;

/// Driver, CUDA, GPUs on the bus.
mod gpu;

/// NVIDIA's library: what its GPUs are and how they are doing.
pub mod nvml;

/// Memory and its kind.
mod memory;

/// File system and device under `/`.
mod storage;

/// The fan.
mod fan;

/// Versions of packages.
mod packages;

/// The conditions that change while it works: temperatures, limits, clocks, load.
pub mod gauges;

/// The device's name, from its hardware.
mod identity;

/// Describes the device under `root`, by the name that was kept in the folder `data`, if one was.
pub fn probe(root: &HostRoot, data: &Path) -> DeviceProfile {
    let kind = kind::recognise(root);
    let mut findings = Findings::default();
    findings.host(root);
    findings.board(kind, root);
    findings.release(root);
    findings.gpu(kind, root);
    findings.processor(root);
    findings.memory(kind, root);
    findings.conditions(root);
    findings.process(root);
    let id = findings.identity(kind, root, data);
    DeviceProfile {
        id,
        kind,
        facts: findings.facts,
        reasons: findings.reasons,
    }
}

/// Looks again at what a power mode changes: the same device, with other cores and clocks.
pub fn look_again(root: &HostRoot, before: &DeviceProfile) -> DeviceProfile {
    let mut findings = Findings {
        facts: before.facts.clone(),
        reasons: before.reasons.clone(),
    };
    findings.processor(root);
    findings.conditions(root);
    DeviceProfile {
        facts: findings.facts,
        reasons: findings.reasons,
        ..before.clone()
    }
}

/// Calls the device by another name from now on, the one that it is enrolled by.
///
/// # Errors
/// The folder cannot be written.
pub fn rename(root: &HostRoot, data: &Path, name: &DeviceId) -> io::Result<()> {
    identity::rename(root, data, name)
}

/// Keeps the device's name in the folder `data`, so that neither another user nor changed permissions rename it.
///
/// # Errors
/// The folder cannot be written; the device is then named by what can be read each time.
pub fn keep_name(root: &HostRoot, data: &Path) -> io::Result<()> {
    identity::keep(kind::recognise(root), root, data)
}

#[derive(Default)]
struct Findings {
    facts: BTreeMap<String, String>,
    reasons: BTreeMap<String, String>,
}

impl Findings {
    fn learn<T: fmt::Display>(&mut self, fact: &str, found: Result<T, impl fmt::Display>) {
        self.facts.remove(fact);
        self.reasons.remove(fact);
        match found {
            Ok(value) => self
                .facts
                .insert(fact.to_owned(), short(&value.to_string())),
            Err(reason) => self.reasons.insert(fact.to_owned(), reason.to_string()),
        };
    }

    fn host(&mut self, root: &HostRoot) {
        self.learn("kernel", root.read("/proc/sys/kernel/osrelease"));
        self.learn("kernel_preemption", kernel_preemption(root));
        self.learn("os_name", os_name(root));
        self.learn("storage", storage::root_file_system(root));
        self.learn("storage_kind", storage::root_device(root));
        self.learn("storage_model", storage::model(root));
        self.learn("storage_size_bytes", storage::size_bytes(root));
    }

    fn board(&mut self, kind: DeviceKind, root: &HostRoot) {
        let model = root
            .read(jetson::MODEL)
            .or_else(|_| root.read(kind::DMI_PRODUCT));
        self.learn("board_model", model);
        self.learn("board_vendor", root.read(kind::DMI_VENDOR));
        self.learn("product_family", root.read(kind::DMI_FAMILY));
        self.learn("mainboard", root.read("/sys/class/dmi/id/board_name"));
        self.learn(
            "firmware_version",
            root.read("/sys/class/dmi/id/bios_version"),
        );
        let soc = match kind {
            DeviceKind::Gb10 => Ok("GB10".to_owned()),
            _ => jetson::soc(root),
        };
        self.learn("soc", soc);
        self.learn("module", jetson::module(root));
        self.learn("module_variant", jetson::module_variant(root));
        self.learn(
            "compatible",
            jetson::compatible(root).map(|names| names.join(" ")),
        );
    }

    fn release(&mut self, root: &HostRoot) {
        self.learn("jetpack_release", jetson::jetpack(root));
        self.learn("l4t_release", jetson::l4t(root));
        self.learn("dgx_release", dgx::release(root));
    }

    fn gpu(&mut self, kind: DeviceKind, root: &HostRoot) {
        let library = nvml::facts::Facts::look(root);
        let driver = gpu::driver(root).or_else(|reason| {
            let driver = library.driver();
            driver.map_err(|refusal| format!("{reason}; NVML: {refusal}"))
        });
        self.learn("gpu_driver", driver);
        self.learn("gpu_pci", gpu::on_the_bus(root));
        self.learn("cuda_version", gpu::cuda(root));
        for (name, fact) in library.named(kind) {
            self.learn(name, fact);
        }
    }

    fn memory(&mut self, kind: DeviceKind, root: &HostRoot) {
        self.learn("memory_total_bytes", memory::total_bytes(root));
        self.learn("memory_swap_bytes", memory::swap_bytes(root));
        self.learn("memory_swap_kind", memory::swap_kind(root));
        let gpu = gpu::driver(root).or_else(|_| gpu::on_the_bus(root));
        self.learn("memory_kind", memory::kind(kind, &gpu));
    }

    /// What decides about speed and power and can be changed.
    fn conditions(&mut self, root: &HostRoot) {
        self.learn("power_mode_id", nvpmodel::id_in_force(root));
        self.learn("power_mode", nvpmodel::name_in_force(root));
        self.learn("jetson_clocks", clocks::jetson_clocks(root));
        self.learn("cpu_governor", clocks::cpu_governor(root));
        self.learn("cpu_clock_max_hz", clocks::cpu_clock_max_hz(root));
        self.learn("gpu_governor", clocks::gpu_governor(root));
        self.learn("gpu_clock_max_hz", clocks::gpu_clock_max_hz(root));
        self.learn("memory_clock_hz", clocks::memory_clock_hz(root));
        self.learn("memory_clock_max_hz", clocks::memory_clock_max_hz(root));
        self.learn("memory_clock_cap_hz", clocks::memory_clock_cap_hz(root));
        self.learn("memory_clock_lock", clocks::memory_clock_lock(root));
        self.learn("fan", fan::fan(root));
        self.learn("fan_rpm", fan::turns_per_minute(root));
        self.learn("fan_profile", fan::profile(root));
    }

    fn processor(&mut self, root: &HostRoot) {
        self.learn("cpu_count", cpu::count(root));
        self.learn("cpu_model", cpu::model(root));
        self.learn("cpu_features", cpu::features(root));
        self.learn("cpu_online", root.read("/sys/devices/system/cpu/online"));
        self.learn("cpu_clusters", clocks::cpu_clusters(root));
    }

    fn process(&mut self, root: &HostRoot) {
        self.learn("container", container(root));
        self.learn("is_root", is_root(root));
    }

    fn identity(&mut self, kind: DeviceKind, root: &HostRoot, data: &Path) -> DeviceId {
        let identity = identity::identify(kind, root, data);
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

/// How readily the kernel lets go of a processor: `realtime`, else its own word of its build, `PREEMPT_DYNAMIC`.
fn kernel_preemption(root: &HostRoot) -> Result<String, Unlearnt> {
    const BUILD: &str = "/proc/sys/kernel/version";
    if root
        .read("/sys/kernel/realtime")
        .is_ok_and(|is_on| is_on == "1")
    {
        return Ok("realtime".to_owned());
    }
    let build = root.read(BUILD)?;
    let mut words = build.split_whitespace();
    let word = words.find(|word| word.starts_with("PREEMPT"));
    Ok(word.unwrap_or("none or voluntary").to_owned())
}

/// Which kind of container the agent runs in, `none` if nothing says so.
fn container(root: &HostRoot) -> Result<String, Unlearnt> {
    for (mark, engine) in [
        ("/.dockerenv", "docker"),
        ("/run/.containerenv", "podman"),
        ("/run/secrets/kubernetes.io", "kubernetes"),
    ] {
        if root.join(mark).exists() {
            return Ok(engine.to_owned());
        }
    }
    // systemd's word: `lxc`, `systemd-nspawn`.
    if let Ok(engine) = root.read("/run/systemd/container") {
        return Ok(engine);
    }
    let groups = root.read("/proc/1/cgroup")?;
    let engines = ["kubepods", "docker", "containerd", "libpod", "lxc"];
    let engine = engines.into_iter().find(|engine| groups.contains(engine));
    let is_layered = || storage::root_device(root).is_ok_and(|kind| kind == storage::LAYERS);
    Ok(match engine {
        Some(engine) => engine.to_owned(),
        None if is_layered() => "of an unknown kind".to_owned(),
        None => "none".to_owned(),
    })
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
        .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
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
