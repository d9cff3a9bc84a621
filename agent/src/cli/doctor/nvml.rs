//! What NVIDIA's library answers here, which refusals are ordinary on such a device, and what to do about the rest.

use std::collections::BTreeMap;

use nvml_wrapper::error::NvmlError;
use tokwatt_domain::device::{DeviceKind, DeviceProfile};

use super::Check;
use crate::device::{
    HostRoot,
    nvml::{Answer, Feature, Figure, GpuGauges, Library, NoLibrary},
};

/// One check for each GPU, or one why there is no library.
pub(super) fn checks(device: &DeviceProfile, root: &HostRoot) -> Vec<Check> {
    let library = match Library::open(root) {
        Ok(library) => library,
        Err(reason) => return vec![without_library(device, &reason)],
    };
    if library.gpus.is_empty() {
        let found = "the library is there and finds no GPU".to_owned();
        return vec![Check::mend(NAME, found, PASS_IT_ON)];
    }
    let gauges = match library.gauges(None) {
        Ok(gauges) => gauges,
        Err(lost) => return vec![Check::mend(NAME, lost.to_string(), REBOOT)],
    };
    let gpus = library.gpus.iter().zip(&gauges);
    gpus.map(|(gpu, gauges)| {
        let answers = Feature::ALL.map(|feature| (feature, told(gpu.first(feature))));
        of_gpu(device.kind, &gpu.label(), &BTreeMap::from(answers), gauges)
    })
    .collect()
}

/// What a GPU told of a feature, or why not.
type Told = Result<i64, String>;

fn told(answer: Answer<Figure>) -> Told {
    match answer {
        Ok(figure) => Ok(figure.value),
        Err(refusal) => Err(refusal.to_string()),
    }
}

fn without_library(device: &DeviceProfile, reason: &NoLibrary) -> Check {
    let found = reason.to_string();
    match reason {
        NoLibrary::Recording => Check::unknown(NAME, found, None),
        NoLibrary::Untrusted(_) => Check::mend(NAME, found, TRUST),
        NoLibrary::DoesNotStart(error) => Check::mend(NAME, found, remedy(error)),
        NoLibrary::Missing(_) if reads_its_monitors(device.kind) => {
            Check::ok(NAME, format!("{found}: ordinary here, {MONITORS}"))
        }
        NoLibrary::Missing(_) if has_gpu(device) => Check::mend(NAME, found, INSTALL),
        NoLibrary::Missing(_) => Check::ok(NAME, format!("{found} and no GPU that needs it")),
    }
}

/// Jetsons before Thor: NVML came late there, and tells no more than a name.
fn reads_its_monitors(kind: DeviceKind) -> bool {
    !matches!(
        kind,
        DeviceKind::Thor | DeviceKind::Gb10 | DeviceKind::Generic
    )
}

fn has_gpu(device: &DeviceProfile) -> bool {
    let is_known = |fact| device.facts.contains_key(fact);
    device.kind != DeviceKind::Generic || is_known("gpu_pci") || is_known("gpu_driver")
}

fn remedy(error: &NvmlError) -> &'static str {
    match error {
        NvmlError::DriverNotLoaded => {
            "load the driver: sudo modprobe nvidia; dmesg says why it does not load"
        }
        NvmlError::LibRmVersionMismatch => REBOOT,
        NvmlError::NoPermission => {
            "let this user open /dev/nvidia*: sudo usermod -aG video,render $USER, and log in anew"
        }
        _ => "see what nvidia-smi says",
    }
}

fn of_gpu(
    kind: DeviceKind,
    label: &str,
    answers: &BTreeMap<Feature, Told>,
    now: &GpuGauges,
) -> Check {
    let mut found = summary(kind, label, answers);
    if answers[&Feature::MigMode]
        .as_ref()
        .is_ok_and(|mode| *mode != 0)
    {
        found.push_str("; MIG is on, so that a process sees a part of the GPU");
        return Check::mend(
            NAME,
            found,
            "sudo nvidia-smi -mig 0, and restart what uses the GPU",
        );
    }
    if let (DeviceKind::Gb10, Some(hertz)) = (kind, clock_under_full_load(now))
        && hertz < GB10_CLOCK_MIN_HZ
    {
        found.push_str(&format!(
            "; its SM clock is {} MHz under full load: power is not delivered",
            hertz / 1_000_000
        ));
        return Check::mend(
            NAME,
            found,
            "shut down, take the power adapter out of the wall for a minute, and start again",
        );
    }
    if POWERS.iter().all(|power| answers[power].is_err()) && kind == DeviceKind::Generic {
        found.push_str("; so there is no power of this GPU");
        return Check::unknown(
            NAME,
            found,
            Some("measure the machine with a meter: --power csv:FILE"),
        );
    }
    Check::ok(NAME, found)
}

/// What is told, what is refused, and what follows from that.
fn summary(kind: DeviceKind, label: &str, answers: &BTreeMap<Feature, Told>) -> String {
    let told = answers.iter().filter(|(_, told)| told.is_ok());
    let told: Vec<&str> = told.map(|(feature, _)| feature.as_str()).collect();
    if told.is_empty() && reads_its_monitors(kind) {
        return format!("{label} tells its name only: ordinary here, {MONITORS}");
    }
    let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (feature, told) in answers {
        if let Err(reason) = told {
            refused.entry(reason).or_default().push(feature.as_str());
        }
    }
    let mut parts = vec![format!("{label} tells {}", told.join(", "))];
    parts.extend(
        refused
            .iter()
            .map(|(reason, features)| format!("{reason}: {}", features.join(", "))),
    );
    parts.extend(
        answers
            .iter()
            .filter_map(|(feature, told)| consequence(kind, *feature, told))
            .map(str::to_owned),
    );
    parts.join("; ")
}

/// Why an answer matters, if it does.
fn consequence(kind: DeviceKind, feature: Feature, told: &Told) -> Option<&'static str> {
    match (feature, told) {
        (Feature::MemoryUsed, Err(_)) if kind != DeviceKind::Generic => {
            Some("memory is the machine's, read from /proc/meminfo: ordinary here")
        }
        (Feature::MemoryUsed, Err(_)) => Some("its memory is not reported"),
        (Feature::SmClock, Err(_)) if kind == DeviceKind::Thor => {
            Some("clocks are read from the kernel's files: ordinary here")
        }
        (Feature::ThrottleReasons, Err(_)) => Some("a limit shows in clocks and temperatures only"),
        (Feature::ComputeProcesses, Err(_)) => Some("others on the GPU go unnoticed"),
        (Feature::PersistenceMode, Ok(0)) => Some(
            "persistence mode is off: sudo nvidia-smi -pm 1 keeps the driver loaded between benches",
        ),
        _ => None,
    }
}

fn clock_under_full_load(now: &GpuGauges) -> Option<i64> {
    let is_full = now.utilisation_per_mille? >= FULL_LOAD_PER_MILLE;
    now.sm_clock_hz.filter(|_| is_full)
}

const NAME: &str = "nvml";

const POWERS: [Feature; 4] = [
    Feature::Energy,
    Feature::PowerInstant,
    Feature::PowerAverage,
    Feature::PowerUsage,
];

const MONITORS: &str = "power is read from the board's monitors (ina) or tegrastats";

const INSTALL: &str = "install the driver's libnvidia-ml; in a container start with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility";

const TRUST: &str =
    "chown root and chmod go-w the library and the folders above it, or run as another user";

const PASS_IT_ON: &str = "nvidia-smi -L should list it; in a container start with --gpus all";

const REBOOT: &str = "reboot; dmesg | grep -i xid says what happened to the GPU";

/// A share of time over the driver's last sampling period.
const FULL_LOAD_PER_MILLE: i64 = 900;

/// Below this, a GB10 under load is held at 500 to 850 MHz by its power supply; a sound one runs at 2 to 3 GHz.
const GB10_CLOCK_MIN_HZ: i64 = 1_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    const IDLE: GpuGauges = GpuGauges {
        index: 0,
        utilisation_per_mille: Some(0),
        sm_clock_hz: Some(208_000_000),
        memory_clock_hz: None,
        temperature_millidegrees: None,
        throttle_reasons: None,
        foreign_processes: None,
    };

    const BUSY: GpuGauges = GpuGauges {
        utilisation_per_mille: Some(960),
        sm_clock_hz: Some(850_000_000),
        ..IDLE
    };

    /// Those tell a 1, the others nothing.
    fn telling(features: &[Feature]) -> BTreeMap<Feature, Told> {
        let answer = |feature: Feature| match features.contains(&feature) {
            true => Ok(1),
            false => Err("not supported".to_owned()),
        };
        BTreeMap::from(Feature::ALL.map(|feature| (feature, answer(feature))))
    }

    #[track_caller]
    fn check(kind: DeviceKind, answers: &[Feature], now: &GpuGauges, want: (State, &[&str])) {
        let mut answers = telling(answers);
        if let Some(Ok(mode)) = answers.get_mut(&Feature::PersistenceMode) {
            *mode = 0;
        }
        let check = of_gpu(kind, "gpu0 X", &answers, now);
        assert_eq!(check.state, want.0, "{}", check.found);
        for words in want.1 {
            assert!(check.found.contains(words), "{}", check.found);
        }
        assert_eq!(check.remedy.is_none(), check.state == State::Ok);
    }

    #[test]
    fn a_refusal_that_is_ordinary_on_a_device_is_no_fault() {
        let memory = ["read from /proc/meminfo: ordinary here"];
        check(
            DeviceKind::Gb10,
            &[Feature::Energy],
            &IDLE,
            (State::Ok, &memory),
        );
        let thor = [
            "tells power usage",
            "clocks are read from the kernel's files",
        ];
        check(
            DeviceKind::Thor,
            &[Feature::PowerUsage],
            &IDLE,
            (State::Ok, &thor),
        );
        let orin = ["tells its name only: ordinary here", "tegrastats"];
        check(DeviceKind::AgxOrin, &[], &IDLE, (State::Ok, &orin));
    }

    #[test]
    fn a_card_that_tells_no_power_is_a_case_for_a_meter() {
        let want = ["no power of this GPU", "others on the GPU go unnoticed"];
        check(
            DeviceKind::Generic,
            &[Feature::SmClock],
            &IDLE,
            (State::Unknown, &want),
        );
    }

    #[test]
    fn a_split_gpu_is_to_mend() {
        let told = [Feature::Energy, Feature::MigMode];
        check(
            DeviceKind::Thor,
            &told,
            &IDLE,
            (State::Mend, &["MIG is on"]),
        );
    }

    #[test]
    fn a_low_clock_is_a_fault_of_a_gb10_under_full_load_only() {
        let told = [Feature::Energy];
        let want = ["850 MHz under full load"];
        check(DeviceKind::Gb10, &told, &BUSY, (State::Mend, &want));
        check(DeviceKind::Gb10, &told, &IDLE, (State::Ok, &[]));
        check(DeviceKind::Generic, &told, &BUSY, (State::Ok, &[]));
    }

    #[test]
    fn a_driver_that_unloads_between_benches_is_said() {
        let told = [Feature::Energy, Feature::PersistenceMode];
        let want = ["nvidia-smi -pm 1"];
        check(DeviceKind::Generic, &told, &IDLE, (State::Ok, &want));
    }

    #[test]
    fn without_a_gpu_no_library_is_needed_and_with_one_it_is() {
        let state = |kind, fact: Option<&str>| {
            let device = DeviceProfile {
                id: tokwatt_domain::ids::DeviceId::parse("x-1").unwrap(),
                kind,
                facts: fact
                    .map(|fact| (fact.to_owned(), "x".to_owned()))
                    .into_iter()
                    .collect(),
                reasons: BTreeMap::new(),
            };
            without_library(&device, &NoLibrary::Missing("x".to_owned())).state
        };
        assert_eq!(state(DeviceKind::Generic, None), State::Ok);
        assert_eq!(state(DeviceKind::Generic, Some("gpu_pci")), State::Mend);
        assert_eq!(state(DeviceKind::Gb10, None), State::Mend);
        assert_eq!(state(DeviceKind::AgxOrin, Some("gpu_driver")), State::Ok);
    }
}
