//! NVIDIA's management library: discrete GPUs whole (`gpu_board`), on GB10 and Thor the GPU's rail (`gpu_rail`).
//!
//! The library is loaded when the source is opened, so an agent runs without it. Every feature is asked for once: a device that
//! answers "not supported" is recorded with that reason. The out-parameters of a refused call hold zeros, hence nothing is
//! ever taken from one.

use std::{path::PathBuf, time::Duration};

use nvml_wrapper::{Device, Nvml, error::NvmlError};
use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    units::{Joules, Watts},
};

use super::{Absent, Pace, PowerSource, ReadError, Taken};
use crate::{clock::Clock, device::HostRoot};

/// All GPUs that tell their power, as one sensor with a rail for each.
pub struct NvmlSource {
    nvml: Nvml,
    gpus: Vec<u32>,
    feature: Feature,
    sensors: [Sensor; 1],
}

/// Which of its figures is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Feature {
    /// Energy since the driver was loaded: nothing between two readings is missed.
    Energy,
    /// Power as NVML reports it: from Ampere on the mean of the last second.
    Power,
}

impl NvmlSource {
    /// Loads the library and asks every GPU for energy, then for power.
    ///
    /// # Errors
    /// The library is not there, or no GPU tells: with every GPU's reason.
    pub fn open(root: &HostRoot, kind: DeviceKind) -> Result<Self, Absent> {
        let nvml = load(&libraries(root))?;
        let count = nvml
            .device_count()
            .map_err(|error| Absent(format!("cannot count GPUs: {error}")))?;
        let (feature, gpus, refusals) = choose(&nvml, count);
        if gpus.is_empty() {
            return Err(Absent(match count {
                0 => "the library is there and finds no GPU".to_owned(),
                _ => refusals,
            }));
        }
        if gpus.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            tracing::warn!(refusals, "GPUs left out of the power reading");
        }
        Ok(Self {
            sensors: [sensor(&nvml, kind, &gpus, feature)],
            nvml,
            gpus,
            feature,
        })
    }
}

impl PowerSource for NvmlSource {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        let read = |&gpu| self.feature.read(&self.nvml.device_by_index(gpu)?);
        let values = self.gpus.iter().map(read).collect::<Result<_, _>>();
        let values = values.map_err(|error| classify(&error))?;
        let sample = PowerSample { at, values };
        into.push(Taken { sensor: 0, sample });
        Ok(())
    }
}

impl Feature {
    /// In µW or µJ.
    fn read(self, gpu: &Device<'_>) -> Result<i64, NvmlError> {
        let thousandths = match self {
            Self::Energy => gpu.total_energy_consumption()?,
            Self::Power => u64::from(gpu.power_usage()?),
        };
        Ok(i64::try_from(thousandths.saturating_mul(1000)).unwrap_or(i64::MAX))
    }

    fn reading(self) -> Reading {
        match self {
            Self::Energy => Reading::Counter {
                resolution: Joules(0.001),
            },
            Self::Power => Reading::Power,
        }
    }

    fn averaging(self) -> Duration {
        match self {
            Self::Energy => Duration::ZERO,
            Self::Power => POWER_AVERAGING,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Energy => "energy",
            Self::Power => "power",
        }
    }
}

/// The machine's libraries by name, for the loader to find; of a recorded host those that lie in its tree.
fn libraries(root: &HostRoot) -> Vec<PathBuf> {
    if root.is_system() {
        return LIBRARIES.map(PathBuf::from).to_vec();
    }
    let places = LIBRARIES.iter().filter(|place| place.starts_with('/'));
    let places = places.map(|place| root.join(place));
    places.filter(|place| place.is_file()).collect()
}

fn load(libraries: &[PathBuf]) -> Result<Nvml, Absent> {
    if libraries.is_empty() {
        return Err(Absent(
            "the host root is a recording, which has no library to ask".to_owned(),
        ));
    }
    let mut failures = Vec::new();
    for path in libraries {
        match Nvml::builder().lib_path(path.as_os_str()).init() {
            Ok(nvml) => return Ok(nvml),
            Err(error) => failures.push(error),
        }
    }
    // The first is the ordinary place; that the others are missing too says nothing more.
    let said = failures
        .into_iter()
        .find(|error| !matches!(error, NvmlError::LibloadingError(_)));
    Err(Absent(match said {
        Some(error) => format!("NVML does not start: {error}"),
        None => format!("no NVIDIA driver library (`{}`)", libraries[0].display()),
    }))
}

/// The figure that most GPUs tell, energy if it is the same for both; the others' reasons.
fn choose(nvml: &Nvml, count: u32) -> (Feature, Vec<u32>, String) {
    let mut refusals = Vec::new();
    let mut ask = |feature| (feature, willing(nvml, count, feature, &mut refusals));
    let (energy, power) = (ask(Feature::Energy), ask(Feature::Power));
    let (feature, gpus) = if power.1.len() > energy.1.len() {
        power
    } else {
        energy
    };
    (feature, gpus, refusals.join("; "))
}

/// GPUs that answer, the others' reasons.
fn willing(nvml: &Nvml, count: u32, feature: Feature, reasons: &mut Vec<String>) -> Vec<u32> {
    let answers = |gpu: &u32| {
        let answer = nvml
            .device_by_index(*gpu)
            .and_then(|gpu| feature.read(&gpu));
        let feature = feature.as_str();
        answer
            .map_err(|error| reasons.push(format!("GPU {gpu} {feature}: {error}")))
            .is_ok()
    };
    (0..count).filter(answers).collect()
}

fn sensor(nvml: &Nvml, kind: DeviceKind, gpus: &[u32], feature: Feature) -> Sensor {
    let name = |gpu: u32| nvml.device_by_index(gpu).and_then(|gpu| gpu.name());
    let names: Vec<String> = gpus
        .iter()
        .map(|&gpu| format!("gpu{gpu} {}", name(gpu).unwrap_or_default()))
        .collect();
    Sensor {
        source: "nvml".to_owned(),
        scope: scope(kind, &names),
        rails: names.into_iter().map(rail).collect(),
        reading: feature.reading(),
        refresh: None,
        averaging: feature.averaging(),
        provenance: Provenance::Measured,
    }
}

fn rail(name: String) -> Rail {
    Rail {
        name,
        quantum: Watts(0.001),
    }
}

/// A part of a larger chip has a rail; a card has a board.
fn scope(kind: DeviceKind, names: &[String]) -> Scope {
    let is_part_of_chip = |name: &String| PARTS_OF_CHIPS.iter().any(|part| name.contains(part));
    match kind {
        DeviceKind::Gb10 | DeviceKind::Thor => Scope::GpuRail,
        _ if names.iter().any(is_part_of_chip) => Scope::GpuRail,
        _ => Scope::GpuBoard,
    }
}

fn classify(error: &NvmlError) -> ReadError {
    let message = format!("NVML: {error}");
    match error {
        NvmlError::GpuLost | NvmlError::Uninitialized | NvmlError::DriverNotLoaded => {
            ReadError::Fatal(message)
        }
        _ => ReadError::Transient(message),
    }
}

/// Where the library may be: the loader's choice, then Jetson's places, then WSL's.
const LIBRARIES: [&str; 5] = [
    "libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/tegra/libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
];

const PARTS_OF_CHIPS: [&str; 3] = ["GB10", "Thor", "nvgpu"];

/// nvml.h: from Ampere on a mean over one second. Older GPUs may be faster; the larger is the honest one.
const POWER_AVERAGING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: DeviceKind, name: &str, want: Scope) {
        assert_eq!(scope(kind, &[name.to_owned()]), want, "{kind} {name}");
    }

    #[test]
    fn a_gpu_inside_a_chip_is_a_rail_and_a_card_is_a_board() {
        check(DeviceKind::Generic, "gpu0 NVIDIA GB10", Scope::GpuRail);
        check(DeviceKind::Gb10, "gpu0 ", Scope::GpuRail);
        check(DeviceKind::Thor, "gpu0 NVIDIA Thor", Scope::GpuRail);
        check(
            DeviceKind::Generic,
            "gpu0 NVIDIA RTX A2000",
            Scope::GpuBoard,
        );
    }

    #[test]
    fn a_recorded_host_has_no_library() {
        let folder = tempfile::tempdir().unwrap();
        let absent = NvmlSource::open(&HostRoot::at(folder.path()), DeviceKind::Gb10);
        assert!(absent.err().unwrap().to_string().contains("recording"));
    }

    #[test]
    fn a_gpu_that_falls_off_the_bus_is_lost_and_a_timeout_is_not() {
        assert!(matches!(classify(&NvmlError::GpuLost), ReadError::Fatal(_)));
        assert!(matches!(
            classify(&NvmlError::Unknown),
            ReadError::Transient(_)
        ));
    }
}
