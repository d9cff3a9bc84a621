//! Power by NVIDIA's library: discrete GPUs whole (`gpu_board`), on GB10 and Thor the GPU's rail (`gpu_rail`).
//!
//! The best of what a GPU tells is read: its energy counter, else power now, else power as a mean over the last second.

use std::time::Duration;

use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    units::{Joules, Watts},
};

use super::{Absent, Pace, PowerSource, ReadError, Taken};
use crate::{
    clock::Clock,
    device::{
        HostRoot,
        nvml::{Feature, Figure, Gpu, Library, Refusal},
    },
};

/// All GPUs that tell their power, as one sensor with a rail for each.
pub struct NvmlSource {
    library: Library,
    feature: Feature,
    sensors: [Sensor; 1],
    /// When the driver took the figures that were read last, where it says so.
    taken: Vec<i64>,
}

impl NvmlSource {
    /// Loads the library and chooses what to read.
    ///
    /// # Errors
    /// The library is not there, or no GPU tells: with every GPU's reason.
    pub fn open(root: &HostRoot, kind: DeviceKind) -> Result<Self, Absent> {
        let library = Library::open(root).map_err(|error| Absent(error.to_string()))?;
        if library.gpus.is_empty() {
            return Err(Absent("the library is there and finds no GPU".to_owned()));
        }
        let feature = choose(&library.gpus).ok_or_else(|| Absent(all_refusals(&library.gpus)))?;
        Ok(Self {
            sensors: [sensor(&library.gpus, kind, feature, root.provenance())],
            library,
            feature,
            taken: Vec::new(),
        })
    }

    fn figures(&self) -> Result<Vec<Figure>, Refusal> {
        telling(&self.library.gpus, self.feature)
            .map(|gpu| self.library.read(gpu, self.feature))
            .collect()
    }
}

impl PowerSource for NvmlSource {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn why(&self) -> Option<String> {
        Some(why(&self.library.gpus, self.feature))
    }

    /// A figure that the driver has not renewed since it was read last is no sample.
    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        let figures = self.figures().map_err(classify)?;
        let taken: Vec<i64> = figures.iter().filter_map(|figure| figure.taken).collect();
        if !taken.is_empty() && taken == self.taken {
            return Ok(());
        }
        self.taken = taken;
        let values = figures.iter().map(|figure| figure.value).collect();
        let sample = PowerSample { at, values };
        into.push(Taken { sensor: 0, sample });
        Ok(())
    }
}

/// The figure that most GPUs tell, the best if several are told by as many.
fn choose(gpus: &[Gpu]) -> Option<Feature> {
    let n_telling = |feature: &Feature| telling(gpus, *feature).count();
    let best = CANDIDATES.into_iter().rev().max_by_key(n_telling)?;
    (n_telling(&best) > 0).then_some(best)
}

fn telling(gpus: &[Gpu], feature: Feature) -> impl Iterator<Item = &Gpu> {
    gpus.iter().filter(move |gpu| gpu.tells(feature))
}

/// `nvml: energy counter of gpu0 NVIDIA GB10 (POWER_INSTANT there too)`
fn why(gpus: &[Gpu], feature: Feature) -> String {
    let read: Vec<&Gpu> = telling(gpus, feature).collect();
    let labels: Vec<String> = read.iter().map(|gpu| gpu.label()).collect();
    let mean = match averaging(feature) {
        Duration::ZERO => "",
        _ => ", a mean over the last second",
    };
    let mut remarks: Vec<String> = CANDIDATES
        .into_iter()
        .take_while(|better| *better != feature)
        .filter_map(|better| refusal(read.first()?, better))
        .collect();
    let is_instant_too =
        feature == Feature::Energy && read.iter().all(|gpu| gpu.tells(Feature::PowerInstant));
    if is_instant_too {
        remarks.push(format!("{} there too", Feature::PowerInstant));
    }
    let left_out = gpus.iter().filter(|gpu| !gpu.tells(feature));
    remarks.extend(left_out.map(|gpu| format!("without {}", gpu.label())));
    let remarks = match remarks.join("; ") {
        none if none.is_empty() => none,
        some => format!(" ({some})"),
    };
    format!("nvml: {feature} of {}{mean}{remarks}", labels.join(", "))
}

/// `energy counter: not supported`
fn refusal(gpu: &Gpu, feature: Feature) -> Option<String> {
    let refusal = gpu.first(feature).err()?;
    Some(format!("{feature}: {refusal}"))
}

fn all_refusals(gpus: &[Gpu]) -> String {
    let of_one = |gpu: &Gpu| {
        let refusals = CANDIDATES
            .into_iter()
            .filter_map(|feature| refusal(gpu, feature));
        format!(
            "{}: {}",
            gpu.label(),
            refusals.collect::<Vec<_>>().join(", ")
        )
    };
    gpus.iter().map(of_one).collect::<Vec<_>>().join("; ")
}

fn sensor(gpus: &[Gpu], kind: DeviceKind, feature: Feature, provenance: Provenance) -> Sensor {
    let names: Vec<String> = telling(gpus, feature).map(Gpu::label).collect();
    Sensor {
        source: "nvml".to_owned(),
        scope: scope(kind, &names),
        rails: names.into_iter().map(rail).collect(),
        reading: reading(feature),
        refresh: None,
        averaging: averaging(feature),
        provenance,
        asked_interval: None,
        clock: None,
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

fn reading(feature: Feature) -> Reading {
    match feature {
        Feature::Energy => Reading::Counter {
            resolution: Joules(0.001),
        },
        _ => Reading::Power,
    }
}

/// nvml.h: from Ampere on power usage is a mean over one second. Older GPUs may be faster; the larger is the honest one.
fn averaging(feature: Feature) -> Duration {
    match feature {
        Feature::PowerUsage | Feature::PowerAverage => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

fn classify(refusal: Refusal) -> ReadError {
    let message = format!("NVML: {refusal}");
    match refusal {
        Refusal::Lost(_) => ReadError::Fatal(message),
        Refusal::Absent(_) | Refusal::Failed(_) => ReadError::Transient(message),
    }
}

/// Best first. The two means are one figure; the call is older than the field and answers on more devices.
const CANDIDATES: [Feature; 4] = [
    Feature::Energy,
    Feature::PowerInstant,
    Feature::PowerUsage,
    Feature::PowerAverage,
];

const PARTS_OF_CHIPS: [&str; 3] = ["GB10", "Thor", "nvgpu"];

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
}
