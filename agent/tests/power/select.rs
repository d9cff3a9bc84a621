//! Which instruments a device gets, and what is said where it gets none.

use std::{path::PathBuf, time::Duration};

use tokwatt_agent::{
    clock::SystemClock,
    device::HostRoot,
    power::select::{Selection, Surroundings, parse, select},
};
use tokwatt_domain::power::{Provenance, Scope};

use crate::{
    guard::guard,
    probe::{fixture, look},
};

fn select_on(root: &HostRoot, list: &str) -> Selection {
    let around = Surroundings {
        root,
        kind: look(root).kind,
        interval: Duration::from_millis(100),
        tegrastats: PathBuf::from("/nowhere/tegrastats"),
        guard: guard(),
        clock: &SystemClock::start(),
    };
    select(&parse(list).unwrap(), &around).unwrap()
}

#[test]
fn a_pc_gets_its_energy_counter() {
    let selection = select_on(&fixture("x86-rapl"), "auto");
    let sensors = selection.sources[0].sensors();
    assert_eq!(
        (sensors[0].scope, sensors[0].rails.len()),
        (Scope::CpuPkg, 1)
    );
    assert_eq!(
        selection.why,
        ["auto: rapl on this generic device (of nvml, rapl)"]
    );
    assert_eq!(selection.why_none(), None);
}

#[test]
fn a_device_without_its_tool_has_a_reason_instead_of_power() {
    let selection = select_on(&fixture("agx-orin"), "auto");
    assert!(selection.sources.is_empty());
    let reason = selection.why_none().unwrap();
    assert!(
        reason.contains("cannot start `/nowhere/tegrastats`"),
        "{reason}"
    );
    assert_eq!(
        selection.why,
        ["auto: nothing answers on this agx_orin device (tried tegrastats, nvml)"]
    );
}

#[test]
fn an_instrument_asked_for_by_name_and_missing_is_a_reason_too() {
    let selection = select_on(&fixture("gb10"), "rapl");
    assert_eq!(
        selection.why_none().unwrap(),
        "rapl: no package energy counter in `/sys/class/powercap`"
    );
}

#[test]
fn no_power_was_asked_for() {
    let selection = select_on(&fixture("x86-rapl"), "none");
    assert_eq!(selection.why_none().unwrap(), "power: --power none");
}

#[test]
fn a_log_of_the_device_is_replayed_with_its_scopes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("thor.log");
    let line = "VDD_GPU 2mW/2mW VDD_CPU_SOC_MSS 3mW/3mW VIN_SYS_5V0 4mW/4mW VIN 20mW/20mW\n";
    std::fs::write(&log, line.repeat(3)).unwrap();
    let selection = select_on(&fixture("thor"), &format!("replay:{}", log.display()));
    let sensors = selection.sources[0].sensors();
    let scopes: Vec<Scope> = sensors.iter().map(|sensor| sensor.scope).collect();
    assert_eq!(scopes, [Scope::SystemIn, Scope::Module, Scope::GpuRail]);
    assert!(
        sensors
            .iter()
            .all(|sensor| sensor.provenance == Provenance::Replayed)
    );
}
