//! Power by NVML: which figure is read, in which unit, and what becomes of it when GPU or driver go away.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use tokwatt_agent::{
    clock::SystemClock,
    power::{PowerSource, ReadError, Taken, nvml::NvmlSource},
};
use tokwatt_domain::{
    device::DeviceKind,
    power::{Provenance, Reading, Scope},
    units::Joules,
};

use crate::nvml_host::{CARD, GB10, Host, LIBRARY, ORIN, THOR, with, without};

fn open(options: &[&str], kind: DeviceKind) -> Result<NvmlSource, String> {
    let host = Host::new(options);
    NvmlSource::open(&host.root, kind).map_err(|absent| absent.to_string())
}

fn read(nvml: &mut NvmlSource) -> Result<Vec<i64>, ReadError> {
    let mut taken: Vec<Taken> = Vec::new();
    nvml.read(&SystemClock::start(), &mut taken)?;
    Ok(taken
        .pop()
        .map(|taken| taken.sample.values)
        .unwrap_or_default())
}

const COUNTER: Reading = Reading::Counter {
    resolution: Joules(0.001),
};
const NO_LAG: Duration = Duration::ZERO;
const A_SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn check(
    options: &[&str],
    kind: DeviceKind,
    (scope, reading, averaging): (Scope, Reading, Duration),
    why: &str,
) {
    let nvml = open(options, kind).unwrap();
    let sensor = &nvml.sensors()[0];
    assert_eq!((sensor.scope, sensor.reading), (scope, reading));
    assert_eq!(sensor.averaging, averaging);
    // The library lies in a made-up host.
    assert_eq!(sensor.provenance, Provenance::Replayed);
    assert_eq!(nvml.why().unwrap(), why);
}

/// A test that is not root's has nothing to refuse.
#[test]
fn root_loads_no_library_that_others_may_change() {
    let is_root = rustix::process::geteuid().is_root();
    for part in [LIBRARY, "usr/lib"] {
        for mode in [0o775, 0o757] {
            let host = Host::new(CARD);
            let part = host.root.join(part);
            fs::set_permissions(part, fs::Permissions::from_mode(mode)).unwrap();
            let opened = NvmlSource::open(&host.root, DeviceKind::Generic);
            assert_eq!(opened.is_err(), is_root);
            if let Err(absent) = opened {
                let reason = absent.to_string();
                assert!(reason.contains("is not loaded as root"), "{reason}");
                assert!(reason.contains(LIBRARY), "{reason}");
                assert!(host.calls().is_empty());
            }
        }
    }
}

#[test]
fn a_counter_is_preferred_to_power_now_and_that_to_a_mean_with_its_lag() {
    check(
        CARD,
        DeviceKind::Generic,
        (Scope::GpuBoard, COUNTER, NO_LAG),
        "nvml: energy counter of gpu0 NVIDIA RTX A2000 (POWER_INSTANT there too)",
    );
    check(
        GB10,
        DeviceKind::Gb10,
        (Scope::GpuRail, COUNTER, NO_LAG),
        "nvml: energy counter of gpu0 NVIDIA GB10 (POWER_INSTANT there too)",
    );
    check(
        &without(GB10, &["ENERGY"]),
        DeviceKind::Gb10,
        (Scope::GpuRail, Reading::Power, NO_LAG),
        "nvml: POWER_INSTANT of gpu0 NVIDIA GB10 (energy counter: not supported)",
    );
    check(
        THOR,
        DeviceKind::Thor,
        (Scope::GpuRail, Reading::Power, A_SECOND),
        "nvml: power usage of gpu0 NVIDIA Thor, a mean over the last second \
         (energy counter: not supported; POWER_INSTANT: not supported)",
    );
    check(
        &[ORIN[0], "-DAVERAGE=900"],
        DeviceKind::AgxOrin,
        (Scope::GpuRail, Reading::Power, A_SECOND),
        "nvml: POWER_AVERAGE of gpu0 Orin (nvgpu), a mean over the last second (energy counter: not supported; \
         POWER_INSTANT: not supported; power usage: not supported)",
    );
}

#[test]
fn a_library_that_is_too_old_for_a_call_has_the_next_best() {
    check(
        &with(&without(CARD, &["INSTANT"]), &["-DNO_ENERGY"]),
        DeviceKind::Generic,
        (Scope::GpuBoard, Reading::Power, A_SECOND),
        "nvml: power usage of gpu0 NVIDIA RTX A2000, a mean over the last second \
         (energy counter: the driver's library lacks this call; POWER_INSTANT: not supported)",
    );
}

#[test]
fn figures_are_micro() {
    let mut card = open(CARD, DeviceKind::Generic).unwrap();
    let (first, second) = (read(&mut card).unwrap(), read(&mut card).unwrap());
    assert_eq!(second[0] - first[0], 7_000_000);
    let mut gb10 = open(&without(GB10, &["ENERGY"]), DeviceKind::Gb10).unwrap();
    assert_eq!(read(&mut gb10).unwrap(), [3_471_000]);
    let mut thor = open(THOR, DeviceKind::Thor).unwrap();
    assert_eq!(read(&mut thor).unwrap(), [1_965_000]);
}

#[test]
fn a_counter_that_does_not_count_is_none() {
    check(
        &with(GB10, &["-DENERGY=0"]),
        DeviceKind::Gb10,
        (Scope::GpuRail, Reading::Power, NO_LAG),
        "nvml: POWER_INSTANT of gpu0 NVIDIA GB10 (energy counter: the counter stands at 0)",
    );
}

#[test]
fn a_field_that_succeeds_without_being_filled_in_is_no_power() {
    let unfilled = with(&without(GB10, &["ENERGY"]), &["-DUNFILLED=1"]);
    check(
        &unfilled,
        DeviceKind::Gb10,
        (Scope::GpuRail, Reading::Power, A_SECOND),
        "nvml: power usage of gpu0 NVIDIA GB10, a mean over the last second \
         (energy counter: not supported; POWER_INSTANT: not filled in)",
    );
    let mut gb10 = open(&unfilled, DeviceKind::Gb10).unwrap();
    assert_eq!(read(&mut gb10).unwrap(), [3_500_000]);
}

#[test]
fn a_figure_that_the_driver_did_not_renew_is_no_second_sample() {
    let power = without(GB10, &["ENERGY"]);
    let mut renewed = open(&power, DeviceKind::Gb10).unwrap();
    let mut stuck = open(&with(&power, &["-DPERIOD=0"]), DeviceKind::Gb10).unwrap();
    for (nvml, want) in [(&mut renewed, 1), (&mut stuck, 0)] {
        assert_eq!(read(nvml).unwrap().len(), 1);
        assert_eq!(read(nvml).unwrap().len(), want);
    }
}

#[test]
fn every_card_is_a_rail_of_one_sensor() {
    let two = with(&without(CARD, &["ENERGY"]), &["-DGPUS=2"]);
    let mut cards = open(&two, DeviceKind::Generic).unwrap();
    let names = cards.sensors()[0]
        .rails
        .iter()
        .map(|rail| rail.name.clone());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["gpu0 NVIDIA RTX A2000", "gpu1 NVIDIA RTX A2000"]
    );
    assert_eq!(read(&mut cards).unwrap(), [30_500_000, 30_500_000]);
}

#[test]
fn what_all_cards_tell_is_read_before_what_is_better_and_told_by_one() {
    let cards = with(CARD, &["-DGPUS=2", "-DENERGY_OF=1"]);
    let cards = open(&cards, DeviceKind::Generic).unwrap();
    let sensor = &cards.sensors()[0];
    assert_eq!((sensor.reading, sensor.rails.len()), (Reading::Power, 2));
    let only = ["-DGPUS=2", "-DENERGY_OF=1"];
    let only = with(&without(CARD, &["USAGE", "INSTANT", "AVERAGE"]), &only);
    let only = open(&only, DeviceKind::Generic).unwrap();
    assert_eq!(only.sensors()[0].rails[0].name, "gpu1 NVIDIA RTX A2000");
    assert_eq!(
        only.why().unwrap(),
        "nvml: energy counter of gpu1 NVIDIA RTX A2000 (without gpu0 NVIDIA RTX A2000)"
    );
}

#[track_caller]
fn check_absent(options: &[&str], want: &str) {
    let reason = open(options, DeviceKind::AgxOrin).err().unwrap();
    assert_eq!(reason, want);
}

#[test]
fn what_is_refused_is_a_reason_and_never_a_zero() {
    check_absent(
        ORIN,
        "gpu0 Orin (nvgpu): energy counter: not supported, POWER_INSTANT: not supported, power usage: not supported, \
         POWER_AVERAGE: not supported",
    );
    check_absent(
        &with(ORIN, &["-DGPUS=0"]),
        "the library is there and finds no GPU",
    );
    check_absent(
        &with(ORIN, &["-DINIT=9"]),
        "NVML does not start: NVIDIA driver is not loaded",
    );
}

#[test]
fn a_library_that_is_none_is_a_reason() {
    let host = Host::new(CARD);
    fs::write(host.root.join(LIBRARY), "not a library").unwrap();
    let absent = NvmlSource::open(&host.root, DeviceKind::Generic)
        .err()
        .unwrap();
    let reason = absent.to_string();
    assert!(reason.starts_with("no NVIDIA driver library"), "{reason}");
}

#[test]
fn a_gpu_or_driver_that_goes_away_is_lost_and_a_timeout_is_not() {
    for (status, is_lost) in [("-DEND=15", true), ("-DEND=1", true), ("-DEND=10", false)] {
        for figure in [CARD.to_vec(), without(CARD, &["ENERGY"]), THOR.to_vec()] {
            let host = Host::new(&with(&figure, &[status]));
            let mut nvml = NvmlSource::open(&host.root, DeviceKind::Generic).unwrap();
            read(&mut nvml).unwrap();
            host.lose();
            let error = read(&mut nvml).unwrap_err();
            assert_eq!(matches!(error, ReadError::Fatal(_)), is_lost, "{error}");
            assert!(error.to_string().starts_with("NVML: "), "{error}");
        }
    }
}
