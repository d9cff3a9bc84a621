//! NVML against a library of our own that answers like that of a card, a GB10, a Thor, an Orin, or dies.

use std::{fs, path::Path, process::Command, time::Duration};

use tokwatt_agent::{
    clock::SystemClock,
    device::HostRoot,
    power::{PowerSource, ReadError, Taken, nvml::NvmlSource},
};
use tokwatt_domain::{
    device::DeviceKind,
    power::{Reading, Scope},
    units::Joules,
};

/// Where Jetson has it.
const LIBRARY: &str = "usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1";

const CARD: &[&str] = &[
    "-DNAME=\"NVIDIA RTX A2000\"",
    "-DENERGY=1000",
    "-DPOWER=31000",
];
const GB10: &[&str] = &["-DNAME=\"NVIDIA GB10\"", "-DENERGY=1000", "-DPOWER=3500"];
const THOR: &[&str] = &["-DNAME=\"NVIDIA Thor\"", "-DPOWER=1965"];
const ORIN: &[&str] = &["-DNAME=\"Orin (nvgpu)\""];

/// The host with such a library: keep the folder while it is used.
fn host(options: &[&str]) -> (tempfile::TempDir, HostRoot) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join(LIBRARY);
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/nvml_stub.c");
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .args(options)
        .output()
        .expect("`cc` is there: tests/run installs a compiler");
    let said = String::from_utf8_lossy(&compiler.stderr);
    assert!(compiler.status.success(), "{said}");
    let root = HostRoot::at(folder.path());
    (folder, root)
}

fn open(options: &[&str], kind: DeviceKind) -> Result<NvmlSource, String> {
    let (_folder, root) = host(options);
    NvmlSource::open(&root, kind).map_err(|absent| absent.to_string())
}

fn read(nvml: &mut NvmlSource) -> Result<Vec<i64>, ReadError> {
    let mut taken: Vec<Taken> = Vec::new();
    nvml.read(&SystemClock::start(), &mut taken)?;
    Ok(taken.remove(0).sample.values)
}

const COUNTER: Reading = Reading::Counter {
    resolution: Joules(0.001),
};

#[track_caller]
fn check(options: &[&str], kind: DeviceKind, (scope, reading): (Scope, Reading), lag: Duration) {
    let nvml = open(options, kind).unwrap();
    let sensor = &nvml.sensors()[0];
    assert_eq!((sensor.scope, sensor.reading), (scope, reading));
    assert_eq!(sensor.averaging, lag);
}

#[test]
fn energy_is_preferred_and_power_has_its_lag() {
    let second = Duration::from_secs(1);
    let none = Duration::ZERO;
    let card = (Scope::GpuBoard, COUNTER);
    check(CARD, DeviceKind::Generic, card, none);
    let rail = (Scope::GpuRail, COUNTER);
    check(GB10, DeviceKind::Gb10, rail, none);
    let power = (Scope::GpuRail, Reading::Power);
    check(THOR, DeviceKind::Thor, power, second);
    let old = [CARD[0], "-DNO_ENERGY", "-DPOWER=31000"];
    let power = (Scope::GpuBoard, Reading::Power);
    check(&old, DeviceKind::Generic, power, second);
}

#[test]
fn figures_are_micro() {
    let mut card = open(CARD, DeviceKind::Generic).unwrap();
    let (first, second) = (read(&mut card).unwrap(), read(&mut card).unwrap());
    assert_eq!(second[0] - first[0], 7_000_000);
    let mut thor = open(THOR, DeviceKind::Thor).unwrap();
    assert_eq!(read(&mut thor).unwrap(), [1_965_000]);
}

#[test]
fn every_card_is_a_rail_of_one_sensor() {
    let two = [CARD[0], "-DGPUS=2", "-DPOWER=31000"];
    let mut cards = open(&two, DeviceKind::Generic).unwrap();
    let names = cards.sensors()[0]
        .rails
        .iter()
        .map(|rail| rail.name.clone());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["gpu0 NVIDIA RTX A2000", "gpu1 NVIDIA RTX A2000"]
    );
    assert_eq!(read(&mut cards).unwrap(), [31_000_000, 31_000_000]);
}

#[track_caller]
fn check_absent(options: &[&str], want: &str) {
    let reason = open(options, DeviceKind::AgxOrin).err().unwrap();
    assert!(reason.contains(want), "{reason}");
}

#[test]
fn what_is_refused_is_a_reason_and_never_a_zero() {
    check_absent(ORIN, "GPU 0 energy: ");
    check_absent(ORIN, "GPU 0 power: ");
    check_absent(&[ORIN[0], "-DGPUS=0"], "finds no GPU");
    check_absent(&[ORIN[0], "-DINIT=9"], "NVML does not start: ");
}

#[test]
fn a_library_that_is_none_is_a_reason() {
    let (folder, root) = host(CARD);
    fs::write(folder.path().join(LIBRARY), "not a library").unwrap();
    let absent = NvmlSource::open(&root, DeviceKind::Generic).err().unwrap();
    let reason = absent.to_string();
    assert!(reason.starts_with("no NVIDIA driver library"), "{reason}");
}

/// Opening asks for energy once and for power once; the third reading is the sampler's first.
fn that_ends_with(status: &str) -> NvmlSource {
    let mut options = CARD.to_vec();
    options.extend(["-DREADINGS=3", status]);
    open(&options, DeviceKind::Generic).unwrap()
}

#[test]
fn a_gpu_or_driver_that_goes_away_is_lost_and_a_timeout_is_not() {
    for (status, is_lost) in [("-DEND=15", true), ("-DEND=1", true), ("-DEND=10", false)] {
        let mut card = that_ends_with(status);
        read(&mut card).unwrap();
        let error = read(&mut card).unwrap_err();
        assert_eq!(matches!(error, ReadError::Fatal(_)), is_lost, "{error}");
        assert!(error.to_string().starts_with("NVML: "), "{error}");
    }
}
