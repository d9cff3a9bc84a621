//! GB10's own power telemetry by the community driver `spbm`: machine, DC input, GPU, as three sensors.
//!
//! The driver is not NVIDIA's and what its channels mean is unverified: what it calls `sys_total` is a scope of its own. Only
//! power is read: it has energy counters of parts, and none of the whole. A stock GB10 has one other `power1_input`, that of
//! the ACPI fan, hence drivers are found by their name and channels by their label.

use std::time::Duration;

use tokwatt_domain::{
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    units::Watts,
};

use super::{Absent, Pace, PowerSource, ReadError, Taken, hwmon};
use crate::{
    clock::Clock,
    device::{HWMON, HostRoot, Register, drivers},
};

/// Its channels that have a scope.
#[derive(Debug)]
pub struct Spbm {
    registers: Vec<Register>,
    sensors: Vec<Sensor>,
}

impl Spbm {
    /// Finds the driver and reads each channel once.
    ///
    /// # Errors
    /// The driver is not loaded, or none of the channels can be read.
    pub fn open(root: &HostRoot) -> Result<Self, Absent> {
        let folders = drivers(root, &["spbm"]);
        let folder = folders.first().ok_or_else(missing)?;
        let (mut registers, mut sensors, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for (label, path) in channels(root, folder) {
            let Some(scope) = scope(&label) else { continue };
            match hwmon::open(root, path) {
                Ok(register) => {
                    registers.push(register);
                    sensors.push(sensor(label, scope, root.provenance()));
                }
                Err(Absent(reason)) => refusals.push(reason),
            }
        }
        if sensors.is_empty() {
            let reason = refusals.into_iter().next();
            return Err(Absent(reason.unwrap_or_else(|| unlabelled(folder))));
        }
        Ok(Self { registers, sensors })
    }
}

impl PowerSource for Spbm {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let mut readings = Vec::with_capacity(self.registers.len());
        for (sensor, register) in self.registers.iter().enumerate() {
            let at = clock.now();
            let reading = register.read().map_err(ReadError::from);
            if let Ok(microwatts) = reading {
                let values = vec![microwatts];
                let sample = PowerSample { at, values };
                into.push(Taken { sensor, sample });
            }
            readings.push(reading);
        }
        hwmon::outcome(readings)
    }
}

/// Labels and the files of their figures; of a label that is there twice the first.
fn channels(root: &HostRoot, folder: &str) -> Vec<(String, String)> {
    let mut channels: Vec<(String, String)> = Vec::new();
    for entry in root.list(folder) {
        let Some(channel) = entry.strip_suffix("_label") else {
            continue;
        };
        let Ok(label) = root.read(&format!("{folder}/{entry}")) else {
            continue;
        };
        if channel.starts_with("power") && channels.iter().all(|(known, _)| *known != label) {
            channels.push((label, format!("{folder}/{channel}_input")));
        }
    }
    channels
}

fn scope(label: &str) -> Option<Scope> {
    match label {
        "dc_input" => Some(Scope::SystemIn),
        "sys_total" => Some(Scope::SpbmSysTotal),
        "gpu" => Some(Scope::GpuRail),
        _ => None,
    }
}

fn sensor(label: String, scope: Scope, provenance: Provenance) -> Sensor {
    Sensor {
        source: "spbm".to_owned(),
        scope,
        rails: vec![Rail {
            name: label,
            quantum: Watts(0.0),
        }],
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance,
        asked_interval: None,
        clock: None,
    }
}

fn missing() -> Absent {
    Absent(format!(
        "no driver `spbm` in `{HWMON}`: it comes with the community module spark_hwmon; without it only a meter sees \
         more than the GPU"
    ))
}

fn unlabelled(folder: &str) -> String {
    format!("`{folder}` has none of the labels dc_input, sys_total, gpu in `powerN_label`")
}
