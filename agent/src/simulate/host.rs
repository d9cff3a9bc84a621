//! The files of a made-up machine: what the probe finds in them, and registers that show what its chips would.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokwatt_domain::{
    device::DeviceKind,
    time::{Stamp, Window},
};

use super::{
    machine::{Machine, Rail, Sensor, THROTTLED_SPEED},
    world::World,
};

/// Registers in a folder, kept open.
#[derive(Debug)]
pub(super) struct Host {
    machine: &'static Machine,
    refresh: Duration,
    /// For each rail its figure: of an INA3221 the current, else the power.
    rails: Vec<Register>,
    temperature: Register,
    gpu_clock: Option<Register>,
    throttle: Option<Register>,
    /// `/proc/meminfo`, kept open.
    memory: File,
}

/// A file with a figure.
#[derive(Debug)]
struct Register {
    file: File,
    shown: AtomicI64,
}

impl Host {
    /// Writes all files below `root`.
    pub(super) fn make(
        root: &Path,
        machine: &'static Machine,
        seed: u64,
        refresh: Duration,
    ) -> io::Result<Self> {
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        let write = |path: &str, text: &str| {
            let path = at(path);
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::write(path, text)
        };
        let register = |path: &str| {
            write(path, "0\n")?;
            Register::open(&at(path))
        };
        let optional = |path: Option<String>| path.as_deref().map(register).transpose();
        for (path, text) in files(machine, seed, refresh) {
            write(&path, &text)?;
        }
        let rails = (0..).zip(machine.rails);
        let rails = rails.map(|(place, rail)| register(&figure(machine, place, rail)));
        Ok(Self {
            machine,
            refresh,
            rails: rails.collect::<Result<_, _>>()?,
            temperature: register(&format!("{ZONE}/temp"))?,
            gpu_clock: optional(devfreq(machine).map(|folder| format!("{folder}/cur_freq")))?,
            throttle: optional(cooling(machine).map(|_| format!("{COOLING}/cur_state")))?,
            memory: OpenOptions::new().write(true).open(at("/proc/meminfo"))?,
        })
    }

    /// What a rail's chip shows, in µW: the mean over its latest finished conversion, in its steps.
    pub(super) fn reading(&self, world: &World, place: usize, at: Stamp) -> i64 {
        let conversion = Stamp::at(self.refresh).0;
        let to = Stamp(at.0 - at.0 % conversion);
        let from = Stamp(to.0.saturating_sub(conversion));
        let watts = world.mean_watts(place, Window { from, to });
        match self.machine.rails[place].sensor {
            Sensor::Microwatts => rounded(watts * 1e6),
            Sensor::Ina3221 {
                millivolts,
                milliampere_step,
            } => {
                let step = (millivolts * milliampere_step) as f64;
                rounded(watts * 1e6 / step) * milliampere_step * millivolts
            }
        }
    }

    /// Lets every register show what its chip would at that time.
    pub(super) fn show(&self, world: &World, at: Stamp) -> io::Result<()> {
        for (place, (rail, register)) in self.machine.rails.iter().zip(&self.rails).enumerate() {
            let figure = match rail.sensor {
                Sensor::Ina3221 { millivolts, .. } => self.reading(world, place, at) / millivolts,
                Sensor::Microwatts => self.reading(world, place, at),
            };
            register.show(figure)?;
        }
        self.temperature
            .show(rounded(world.temperature(at) * 1e3))?;
        if let Some(register) = &self.gpu_clock {
            register.show(gpu_clock(self.machine, world, at))?;
        }
        if let Some(register) = &self.throttle {
            register.show(i64::from(world.is_throttled(at)))?;
        }
        Ok(())
    }

    /// So much memory is in use beside what the system takes.
    pub(super) fn use_memory(&self, bytes: u64) -> io::Result<()> {
        self.memory
            .write_all_at(meminfo(self.machine, bytes).as_bytes(), 0)
    }
}

impl Register {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new().write(true).open(path)?,
            shown: AtomicI64::new(0),
        })
    }

    /// In one write and always as long, so that nobody reads half a figure.
    fn show(&self, figure: i64) -> io::Result<()> {
        if self.shown.swap(figure, Ordering::Relaxed) == figure {
            return Ok(());
        }
        self.file
            .write_all_at(format!("{figure:<20}\n").as_bytes(), 0)
    }
}

/// The GPU's clock in Hz.
pub(super) fn gpu_clock(machine: &Machine, world: &World, at: Stamp) -> i64 {
    let [idle, full] = machine.gpu_clock.map(|clock| clock as f64);
    rounded(match (world.is_busy(at), world.is_throttled(at)) {
        (false, _) => idle,
        (true, false) => full,
        (true, true) => full * THROTTLED_SPEED,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "powers, clocks and temperatures are far below 2^63"
)]
fn rounded(figure: f64) -> i64 {
    figure.round() as i64
}

/// Where a rail's figure stands.
fn figure(machine: &Machine, place: usize, rail: &Rail) -> String {
    match (machine.kind, &rail.sensor) {
        (DeviceKind::Gb10, _) => format!("{SPBM}/power{}_input", place + 1),
        (_, Sensor::Ina3221 { .. }) => format!("{INA3221}/curr{}_input", place + 1),
        (_, Sensor::Microwatts) => format!("{INA238}/power1_input"),
    }
}

fn devfreq(machine: &Machine) -> Option<&'static str> {
    match machine.kind {
        DeviceKind::AgxOrin => Some("/sys/class/devfreq/17000000.gpu"),
        DeviceKind::Thor => Some("/sys/class/devfreq/gpu-gpc-0"),
        _ => None,
    }
}

fn cooling(machine: &Machine) -> Option<&'static str> {
    devfreq(machine).map(|_| "gpu-throttle-alert")
}

/// Everything that stays as it is.
fn files(machine: &Machine, seed: u64, refresh: Duration) -> Vec<(String, String)> {
    let mut files = vec![
        file("/proc/meminfo", meminfo(machine, 0)),
        file("/proc/1/cgroup", "0::/init.scope\n"),
        file("/run/systemd/timesync/synchronized", "\n"),
        file(&format!("{FAN}/name"), "pwmfan"),
        file(&format!("{FAN}/pwm1"), 93),
        file(
            "/proc/self/status",
            "Name:\ttokwatt-agent\nUid:\t1000\t1000\t1000\t1000\n",
        ),
        file(
            "/proc/self/mounts",
            "/dev/nvme0n1p1 / ext4 rw,relatime 0 0\n",
        ),
        file(
            &format!("{ZONE}/type"),
            if machine.kind == DeviceKind::Gb10 {
                "acpitz\n"
            } else {
                "tj-thermal\n"
            },
        ),
    ];
    files.extend(cores(machine));
    if let Some(folder) = devfreq(machine) {
        let [lowest, highest] = machine.gpu_clock;
        files.push(file(&format!("{folder}/min_freq"), lowest));
        files.push(file(&format!("{folder}/max_freq"), highest));
        files.push(file(&format!("{folder}/governor"), "nvhost_podgov"));
    }
    if let Some(kind) = cooling(machine) {
        files.push(file(&format!("{COOLING}/type"), kind));
    }
    for (place, rail) in (1..).zip(machine.rails) {
        files.extend(labels(machine, place, rail, refresh));
    }
    files.extend(match machine.kind {
        DeviceKind::Thor => jetson(&THOR, machine, seed),
        DeviceKind::Gb10 => gb10(seed),
        _ => jetson(&AGX_ORIN, machine, seed),
    });
    files
}

/// Of which there are how many, as fast as how much: one cluster of the machine's own clock.
fn cores(machine: &Machine) -> Vec<(String, String)> {
    const CPU: &str = "/sys/devices/system/cpu";
    let last = machine.cores - 1;
    let all: Vec<String> = (0..=last).map(|core| core.to_string()).collect();
    let policy = |name: &str, text: &str| file(&format!("{CPU}/cpufreq/policy0/{name}"), text);
    vec![
        file(&format!("{CPU}/present"), format!("0-{last}")),
        file(&format!("{CPU}/online"), format!("0-{last}")),
        policy("related_cpus", &all.join(" ")),
        policy("cpuinfo_max_freq", machine.cpu_clock_khz),
        policy("scaling_max_freq", machine.cpu_clock_khz),
        policy("scaling_min_freq", "729600"),
        policy("scaling_governor", "schedutil"),
    ]
}

/// A rail's name and what does not change beside its figure.
fn labels(
    machine: &Machine,
    place: usize,
    rail: &Rail,
    refresh: Duration,
) -> Vec<(String, String)> {
    let name = rail.name;
    match (machine.kind, &rail.sensor) {
        (DeviceKind::Gb10, _) => vec![
            file(&format!("{SPBM}/name"), "spbm"),
            file(&format!("{SPBM}/power{place}_label"), name),
        ],
        (_, Sensor::Ina3221 { millivolts, .. }) => vec![
            file(&format!("{INA3221}/name"), "ina3221"),
            file(&format!("{INA3221}/update_interval"), refresh.as_millis()),
            file(&format!("{INA3221}/samples"), 1),
            file(&format!("{INA3221}/in{place}_label"), name),
            file(&format!("{INA3221}/in{place}_input"), millivolts),
        ],
        (_, Sensor::Microwatts) => vec![
            file(&format!("{INA238}/name"), "ina238"),
            file(&format!("{INA238}/label"), name),
        ],
    }
}

const AGX_ORIN: Jetson = Jetson {
    model: "NVIDIA Jetson AGX Orin Developer Kit",
    compatible: "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
    release: "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: Thu Sep 18 22:54:44 UTC 2025",
    os: "Ubuntu 22.04.5 LTS",
    kernel: "5.15.148-tegra",
    part: "0xd42",
    mode: ("0", "MAXN"),
};

const THOR: Jetson = Jetson {
    model: "NVIDIA Jetson AGX Thor Developer Kit",
    compatible: "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    release: "# R38 (release), REVISION: 4.0, GCID: 43443517, BOARD: generic, EABI: aarch64, DATE: Wed Dec 31 00:15:19 UTC 2025",
    os: "Ubuntu 24.04.3 LTS",
    kernel: "6.8.12-tegra",
    part: "0xd83",
    mode: ("1", "120W"),
};

/// What differs between Jetsons.
struct Jetson {
    model: &'static str,
    compatible: &'static str,
    release: &'static str,
    os: &'static str,
    kernel: &'static str,
    part: &'static str,
    /// Power mode by number and name.
    mode: (&'static str, &'static str),
}

fn jetson(jetson: &Jetson, machine: &Machine, seed: u64) -> Vec<(String, String)> {
    let (number, name) = jetson.mode;
    vec![
        file("/proc/device-tree/model", format!("{}\0", jetson.model)),
        file("/proc/device-tree/compatible", jetson.compatible),
        file("/proc/device-tree/serial-number", serial(seed)),
        file("/etc/nv_tegra_release", jetson.release),
        file(
            "/etc/nvpmodel.conf",
            format!("< POWER_MODEL ID={number} NAME={name} >\n< PM_CONFIG DEFAULT={number} >\n"),
        ),
        file("/var/lib/nvpmodel/status", format!("pmode:{number:0>4}\n")),
        file(
            "/etc/os-release",
            format!("PRETTY_NAME=\"{}\"\n", jetson.os),
        ),
        file("/proc/sys/kernel/osrelease", jetson.kernel),
        file("/proc/cpuinfo", cpuinfo(&vec![jetson.part; machine.cores])),
    ]
}

fn gb10(seed: u64) -> Vec<(String, String)> {
    let small = ["0xd87"; 5];
    let large = ["0xd85"; 5];
    vec![
        file("/sys/class/dmi/id/product_family", "DGX Spark"),
        file("/sys/class/dmi/id/product_name", "NVIDIA_DGX_Spark"),
        file("/sys/class/dmi/id/sys_vendor", "NVIDIA"),
        file("/sys/class/dmi/id/product_uuid", serial(seed)),
        file("/sys/bus/pci/devices/000f:01:00.0/vendor", "0x10de"),
        file("/sys/bus/pci/devices/000f:01:00.0/device", "0x2e12"),
        file(
            "/etc/dgx-release",
            "DGX_NAME=\"DGX Spark\"\nDGX_OTA_VERSION=\"7.6.0\"\n",
        ),
        file("/etc/os-release", "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\n"),
        file("/proc/sys/kernel/osrelease", "6.14.0-1015-nvidia"),
        file(
            "/proc/cpuinfo",
            cpuinfo(&[small, large, small, large].concat()),
        ),
        file(
            "/proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build\n",
        ),
    ]
}

fn file(path: &str, text: impl ToString) -> (String, String) {
    (path.to_owned(), text.to_string())
}

fn serial(seed: u64) -> String {
    format!("simulated-{seed}")
}

/// As long whatever is in use, so that one write replaces it.
fn meminfo(machine: &Machine, used_bytes: u64) -> String {
    let total = machine.memory / 1024;
    let available = total.saturating_sub(3_000_000 + used_bytes / 1024);
    format!("MemTotal: {total} kB\nMemFree: {total} kB\nMemAvailable: {available:>12} kB\n")
}

fn cpuinfo(parts: &[&str]) -> String {
    let core = |(number, part): (usize, &&str)| {
        format!(
            "processor\t: {number}\nFeatures\t: fp asimd fphp asimdhp asimddp i8mm bf16\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
        )
    };
    parts.iter().enumerate().map(core).collect()
}

const INA3221: &str = "/sys/class/hwmon/hwmon3";
const INA238: &str = "/sys/class/hwmon/hwmon5";
const SPBM: &str = "/sys/class/hwmon/hwmon2";
const FAN: &str = "/sys/class/hwmon/hwmon0";
const ZONE: &str = "/sys/class/thermal/thermal_zone0";
const COOLING: &str = "/sys/class/thermal/cooling_device0";
