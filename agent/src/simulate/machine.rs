//! What the made-up machines can do and draw. Figures are invented near published ones; none was measured.

use tokwatt_domain::{device::DeviceKind, power::Scope};

/// A machine to make up.
#[derive(Debug, PartialEq)]
pub(super) struct Machine {
    /// As `--simulate` calls it.
    pub(super) name: &'static str,
    pub(super) kind: DeviceKind,
    /// Its memory's bandwidth in bytes/s, by the data sheet.
    pub(super) bandwidth: f64,
    /// Operations a second that a prompt gets of it.
    pub(super) compute: f64,
    /// Memory in bytes, shared by processor and GPU.
    pub(super) memory: u64,
    pub(super) cores: usize,
    pub(super) cpu_clock_khz: &'static str,
    /// Last-level cache in bytes.
    pub(super) last_level_cache: u64,
    /// From the disk, in bytes/s.
    pub(super) storage: f64,
    pub(super) rails: &'static [Rail],
    pub(super) thermal: Thermal,
    /// Lowest and highest clock of the GPU in Hz.
    pub(super) gpu_clock: [u64; 2],
}

/// A place where power is measured, and what flows there in W.
#[derive(Debug, PartialEq)]
pub(super) struct Rail {
    pub(super) name: &'static str,
    /// Nothing loaded, nothing asked.
    pub(super) idle: f64,
    /// More with a model in memory.
    pub(super) loaded: f64,
    /// More while a picture is encoded, a prompt read, an answer written.
    pub(super) encode: f64,
    pub(super) prefill: f64,
    pub(super) decode: f64,
    /// More for each degree above the surroundings: follows the load slowly.
    pub(super) leakage: f64,
    pub(super) sensor: Sensor,
}

/// How a rail's chip shows it.
#[derive(Debug, PartialEq)]
pub(super) enum Sensor {
    /// Volts and amperes in steps, both the means of one conversion.
    Ina3221 {
        millivolts: i64,
        milliampere_step: i64,
    },
    /// A power in µW.
    Microwatts,
}

/// Warms up towards `ambient + resistance · power`.
#[derive(Debug, PartialEq)]
pub(super) struct Thermal {
    /// In K/W of all rails together.
    pub(super) resistance: f64,
    /// Time constant in s.
    pub(super) time_constant: f64,
    /// In °C: from here on clocks are lowered, until it is [`HYSTERESIS`] cooler.
    pub(super) limit: f64,
    /// Rails whose power heats it.
    pub(super) heaters: &'static [usize],
}

impl Machine {
    pub(super) const ALL: [&'static Self; 3] = [&ORIN, &THOR, &GB10];

    /// The rails that make up a scope, by their places.
    pub(super) fn rails_of(&self, scope: Scope) -> &'static [usize] {
        match (self.kind, scope) {
            (DeviceKind::AgxOrin | DeviceKind::Thor, Scope::Module) => &[0, 1, 2],
            (DeviceKind::Thor, Scope::SystemIn) => &[3],
            (DeviceKind::Thor | DeviceKind::Gb10, Scope::GpuRail) => &[0],
            (DeviceKind::Gb10, Scope::SpbmSysTotal) => &[1],
            (DeviceKind::Gb10, Scope::SystemIn) => &[2],
            _ => &[],
        }
    }
}

/// A throttled machine gets this much of its speed, and of the power that its load adds.
pub(super) const THROTTLED_SPEED: f64 = 0.7;
pub(super) const THROTTLED_POWER: f64 = 0.55;

/// In K.
pub(super) const HYSTERESIS: f64 = 4.0;

const fn ina(millivolts: i64) -> Sensor {
    Sensor::Ina3221 {
        millivolts,
        milliampere_step: 20,
    }
}

const ORIN: Machine = Machine {
    name: "orin",
    kind: DeviceKind::AgxOrin,
    bandwidth: 204.8e9,
    compute: 22e12,
    memory: 64_349_184 * 1024,
    cores: 12,
    cpu_clock_khz: "2201600",
    last_level_cache: 4 << 20,
    storage: 2.4e9,
    rails: &[
        Rail {
            name: "VDD_GPU_SOC",
            idle: 4.6,
            loaded: 0.4,
            encode: 17.5,
            prefill: 21.0,
            decode: 12.5,
            leakage: 0.03,
            sensor: ina(19_864),
        },
        Rail {
            name: "VDD_CPU_CV",
            idle: 0.9,
            loaded: 0.1,
            encode: 2.8,
            prefill: 1.4,
            decode: 1.8,
            leakage: 0.005,
            sensor: ina(19_872),
        },
        Rail {
            name: "VIN_SYS_5V0",
            idle: 3.1,
            loaded: 0.3,
            encode: 1.9,
            prefill: 2.6,
            decode: 5.2,
            leakage: 0.0,
            sensor: ina(5_056),
        },
    ],
    thermal: Thermal {
        resistance: 1.05,
        time_constant: 80.0,
        limit: 95.0,
        heaters: &[0, 1, 2],
    },
    gpu_clock: [306_000_000, 1_300_500_000],
};

const THOR: Machine = Machine {
    name: "thor",
    kind: DeviceKind::Thor,
    bandwidth: 273e9,
    compute: 95e12,
    memory: 128_790_528 * 1024,
    cores: 14,
    cpu_clock_khz: "2601000",
    last_level_cache: 32 << 20,
    storage: 3.2e9,
    rails: &[
        Rail {
            name: "VDD_GPU",
            idle: 2.2,
            loaded: 0.4,
            encode: 38.0,
            prefill: 46.0,
            decode: 21.0,
            leakage: 0.05,
            sensor: ina(19_648),
        },
        Rail {
            name: "VDD_CPU_SOC_MSS",
            idle: 5.9,
            loaded: 0.8,
            encode: 8.0,
            prefill: 9.5,
            decode: 11.0,
            leakage: 0.01,
            sensor: ina(19_648),
        },
        Rail {
            name: "VIN_SYS_5V0",
            idle: 4.9,
            loaded: 0.5,
            encode: 3.0,
            prefill: 4.0,
            decode: 6.0,
            leakage: 0.0,
            sensor: ina(5_056),
        },
        Rail {
            name: "VIN",
            idle: 20.6,
            loaded: 2.0,
            encode: 58.0,
            prefill: 70.5,
            decode: 45.0,
            leakage: 0.07,
            sensor: Sensor::Microwatts,
        },
    ],
    thermal: Thermal {
        resistance: 0.6,
        time_constant: 120.0,
        limit: 105.0,
        heaters: &[0, 1, 2],
    },
    gpu_clock: [315_000_000, 1_575_000_000],
};

const GB10: Machine = Machine {
    name: "gb10",
    kind: DeviceKind::Gb10,
    bandwidth: 273e9,
    compute: 110e12,
    memory: 127_535_084 * 1024,
    cores: 20,
    cpu_clock_khz: "3900000",
    last_level_cache: 24 << 20,
    storage: 5.0e9,
    rails: &[
        Rail {
            name: "gpu",
            idle: 4.6,
            loaded: 0.6,
            encode: 48.0,
            prefill: 61.0,
            decode: 31.0,
            leakage: 0.06,
            sensor: Sensor::Microwatts,
        },
        Rail {
            name: "sys_total",
            idle: 25.0,
            loaded: 1.5,
            encode: 76.0,
            prefill: 91.0,
            decode: 62.0,
            leakage: 0.08,
            sensor: Sensor::Microwatts,
        },
        Rail {
            name: "dc_input",
            idle: 28.5,
            loaded: 1.6,
            encode: 81.0,
            prefill: 97.0,
            decode: 66.0,
            leakage: 0.09,
            sensor: Sensor::Microwatts,
        },
    ],
    thermal: Thermal {
        resistance: 0.45,
        time_constant: 150.0,
        limit: 90.0,
        heaters: &[1],
    },
    gpu_clock: [208_000_000, 2_418_000_000],
};
