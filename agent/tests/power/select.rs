//! Which instruments a device gets, and what is said where it gets none.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use tokwatt_agent::{
    clock::SystemClock,
    device::HostRoot,
    power::select::{Selection, Surroundings, parse, select},
};
use tokwatt_domain::power::{Provenance, Scope};

use crate::{
    guard::guard,
    probe::{copy_of, fixture, look},
};

fn select_on(root: &HostRoot, list: &str) -> Selection {
    select_with(root, list, PathBuf::from("/nowhere/tegrastats"))
}

fn select_with(root: &HostRoot, list: &str, tegrastats: PathBuf) -> Selection {
    let around = Surroundings {
        root,
        kind: look(root).kind,
        interval: Duration::from_millis(100),
        tegrastats,
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
        [
            "auto: rapl on this generic device (of nvml, rapl)",
            "not nvml: the host root is a recording, which has no library to ask"
        ]
    );
    assert_eq!(selection.why_none(), None);
}

#[test]
fn a_device_without_its_tool_has_a_reason_instead_of_power() {
    let (folder, root) = copy_of("agx-orin");
    fs::remove_dir_all(folder.path().join("sys/class/hwmon")).unwrap();
    let selection = select_on(&root, "auto");
    assert!(selection.sources.is_empty());
    let reason = selection.why_none().unwrap();
    assert!(
        reason.contains("cannot start `/nowhere/tegrastats`"),
        "{reason}"
    );
    assert_eq!(
        selection.why,
        ["auto: nothing answers on this agx_orin device (tried ina, tegrastats, nvml)"]
    );
}

#[test]
fn a_jetson_reads_its_drivers_files_and_starts_no_tool_beside() {
    for tree in ["agx-orin", "thor", "agx-xavier-jp4"] {
        let selection = select_on(&fixture(tree), "auto");
        assert_eq!(selection.sources.len(), 1, "{tree}");
        assert_eq!(selection.sources[0].sensors()[0].source, "ina");
        assert!(selection.why[0].starts_with("auto: ina on this "));
        assert_eq!((selection.why.len(), selection.reasons.len()), (1, 0));
    }
}

#[test]
fn a_jetson_whose_files_are_refused_gets_its_tool_and_the_reason() {
    let (folder, root) = copy_of("agx-orin");
    fs::remove_file(folder.path().join("sys/class/hwmon/hwmon3/curr1_input")).unwrap();
    let tool = folder.path().join("tegrastats");
    let line = "VDD_GPU_SOC 5000mW/1mW VDD_CPU_CV 2000mW/1mW VIN_SYS_5V0 4000mW/1mW";
    fs::write(&tool, format!("#!/bin/sh\necho '{line}'\nexec sleep 60\n")).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let selection = select_with(&root, "auto", tool);
    assert_eq!(selection.sources[0].sensors()[0].source, "tegrastats");
    assert_eq!(
        selection.why[0],
        "auto: tegrastats on this agx_orin device (of ina, tegrastats, nvml)"
    );
    let reason = &selection.why[1];
    assert!(
        reason.starts_with("not ina: ") && reason.contains("hwmon3/curr1_input"),
        "{reason}"
    );
}

#[test]
fn a_gb10_gets_more_than_its_gpu_where_the_module_is_loaded() {
    let selection = select_on(&fixture("gb10"), "auto");
    let sensors = selection.sources[0].sensors();
    assert!(sensors.iter().any(|sensor| sensor.scope == Scope::SystemIn));
    assert_eq!(
        selection.why[0],
        "auto: spbm on this gb10 device (of nvml, spbm)"
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
fn several_are_read_side_by_side_and_one_that_is_missing_is_said() {
    let (folder, root) = copy_of("agx-orin");
    let tool = folder.path().join("tegrastats");
    let line = "VDD_GPU_SOC 5000mW/1mW VDD_CPU_CV 2000mW/1mW VIN_SYS_5V0 4000mW/1mW";
    fs::write(&tool, format!("#!/bin/sh\necho '{line}'\nexec sleep 60\n")).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let selection = select_with(&root, "ina,tegrastats,nvml,ina", tool);
    let sources: Vec<&str> = selection
        .sources
        .iter()
        .map(|source| &*source.sensors()[0].source)
        .collect();
    assert_eq!(sources, ["ina", "tegrastats"]);
    let want = [
        "ina, as asked for",
        "tegrastats, as asked for",
        "not nvml: the host root is a recording, which has no library to ask",
        "not ina: ina reads module already, and is read once",
    ];
    assert_eq!(selection.why, want);
    let (ina, tegrastats) = (&selection.sources[0], &selection.sources[1]);
    assert_eq!(ina.sensors()[0].asked_interval, None);
    let asked = tegrastats.sensors()[0].asked_interval;
    assert_eq!(asked, Some(Duration::from_millis(100)));
}

#[test]
fn no_power_was_asked_for() {
    let selection = select_on(&fixture("x86-rapl"), "none");
    assert_eq!(
        selection.why_none().unwrap(),
        "--power none: nobody asked for it"
    );
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
