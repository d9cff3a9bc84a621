//! What a device drew while answering: scopes, sensors, readings.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    time::Stamp,
    units::{Joules, Watts},
};

/// What a power figure includes. Two figures of different scopes are never compared or added.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A discrete GPU by NVML: VRAM and regulators included.
    GpuBoard,
    /// The GPU's rail alone: GB10's NVML power, Thor's VDD_GPU, spbm `gpu`.
    GpuRail,
    /// Compute rails only.
    SocRails,
    /// The module: VDD_IN, or on AGX Orin and Thor the listed sum of rails.
    Module,
    /// DC input of the machine.
    SystemIn,
    /// spbm's `sys_total`: community driver, unverified, a scope of its own.
    SpbmSysTotal,
    /// RAPL package domains.
    CpuPkg,
    /// AC plug meter.
    Wall,
}

/// How a figure came to be, from the strongest to the weakest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// By us, on the device, now.
    Measured,
    /// From a recording of an instrument.
    Replayed,
    /// By a made-up device.
    Simulated,
    /// By another tool.
    Imported,
    /// By a formula.
    Estimated,
}

/// An instrument's view of one scope: what it reads and how well.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sensor {
    /// Which instrument: `tegrastats`, `ina`, `nvml`, `rapl`, `spbm`, `replay`, `csv`.
    pub source: String,
    /// What its rails add up to.
    pub scope: Scope,
    /// The rails, in the order of every sample's values.
    pub rails: Vec<Rail>,
    /// What a value means.
    pub reading: Reading,
    /// Shortest time after which a new value can appear: the driver's word, else `None`, and then it is measured.
    pub refresh: Option<Duration>,
    /// Length of the trailing mean that the sensor reports; zero if it reports the present value.
    pub averaging: Duration,
    /// How its figures came to be.
    pub provenance: Provenance,
    /// Time between readings that it was asked to keep by itself; absent where readings are ours to time, or nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_interval: Option<Duration>,
    /// The clock that its readings were stamped by, where it is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<OwnClock>,
}

/// How an instrument's own clock was tied to this device's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct OwnClock {
    /// What was added to its time to make it ours, in µs, as a person stated it.
    pub offset_us: i64,
    /// How far that may be wrong, as a person stated it; absent where nobody did.
    pub uncertainty: Option<Duration>,
}

/// One place where power is measured.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Rail {
    /// Name as the instrument has it, e.g. `VDD_GPU_SOC`.
    pub name: String,
    /// Smallest step of its readings in W; zero where unknown.
    pub quantum: Watts,
}

/// What a sensor's values mean.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Power in µW; signed.
    Power,
    /// Energy since some start in µJ, wraps already undone; never falls.
    Counter {
        /// Smallest step of the counter.
        resolution: Joules,
    },
}

/// All rails of a sensor, read in one pass.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PowerSample {
    /// When.
    pub at: Stamp,
    /// One value for each of the sensor's rails, in µW or µJ as its [`Reading`] says.
    pub values: Vec<i64>,
}

/// A sensor's samples, sorted by time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PowerTrace {
    /// Whose.
    pub sensor: Sensor,
    /// From the last sample at or before the window to the first at or after it, where there are such.
    pub samples: Vec<PowerSample>,
}

/// No such scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "unknown power scope `{0}`, there are: gpu_board, gpu_rail, soc_rails, module, system_in, spbm_sys_total, cpu_pkg, wall"
)]
pub struct UnknownScope(String);

impl Scope {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::GpuBoard,
        Self::GpuRail,
        Self::SocRails,
        Self::Module,
        Self::SystemIn,
        Self::SpbmSysTotal,
        Self::CpuPkg,
        Self::Wall,
    ];

    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GpuBoard => "gpu_board",
            Self::GpuRail => "gpu_rail",
            Self::SocRails => "soc_rails",
            Self::Module => "module",
            Self::SystemIn => "system_in",
            Self::SpbmSysTotal => "spbm_sys_total",
            Self::CpuPkg => "cpu_pkg",
            Self::Wall => "wall",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

impl Provenance {
    /// The weaker of two: what a figure made from both deserves.
    #[must_use]
    pub fn weaker(self, other: Self) -> Self {
        self.max(other)
    }

    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Replayed => "replayed",
            Self::Simulated => "simulated",
            Self::Imported => "imported",
            Self::Estimated => "estimated",
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
