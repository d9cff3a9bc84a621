//! What a probe learns from NVML, and why not the rest.

use std::fs;

use tokwatt_domain::device::DeviceKind;

use crate::{
    nvml_host::{CARD, GB10, Host, ORIN, with},
    probe::look,
};

#[track_caller]
fn check_facts(options: &[&str], facts: &[(&str, &str)], reasons: &[(&str, &str)]) {
    let profile = look(&Host::new(options).root);
    for (name, want) in facts {
        assert_eq!(
            profile.facts.get(*name).map(String::as_str),
            Some(*want),
            "{name}"
        );
    }
    for (name, want) in reasons {
        assert_eq!(profile.facts.get(*name), None);
        assert_eq!(profile.reasons[*name], *want, "{name}");
    }
    assert_eq!(profile.kind, DeviceKind::Generic);
}

#[test]
fn a_probe_learns_what_the_library_tells_and_why_not_the_rest() {
    check_facts(
        CARD,
        &[
            ("gpu_name", "NVIDIA RTX A2000"),
            ("gpu_driver", "580.95.05"),
            ("nvml_version", "13.580.95.05"),
            ("cuda_driver_version", "13.0"),
            ("gpu_memory_total_bytes", "6000000000"),
            ("gpu_compute_capability", "8.6"),
        ],
        &[("mig_mode", "not supported")],
    );
    check_facts(
        &with(CARD, &["-DGPUS=2", "-DMIG=1"]),
        &[
            ("gpu_name", "2 × NVIDIA RTX A2000"),
            ("gpu_memory_total_bytes", "12000000000"),
            ("gpu_compute_capability", "8.6"),
            ("mig_mode", "on"),
        ],
        &[],
    );
    check_facts(
        ORIN,
        &[("gpu_name", "Orin (nvgpu)"), ("gpu_driver", "580.95.05")],
        &[
            ("gpu_memory_total_bytes", "not supported"),
            (
                "gpu_compute_capability",
                "the driver's library lacks this call",
            ),
            ("mig_mode", "not supported"),
        ],
    );
}

#[test]
fn a_library_that_does_not_start_is_the_reason_for_every_fact_of_it() {
    let profile = look(&Host::new(&with(CARD, &["-DINIT=18"])).root);
    for name in [
        "gpu_name",
        "nvml_version",
        "mig_mode",
        "gpu_memory_total_bytes",
    ] {
        assert_eq!(
            profile.reasons[name],
            "NVML does not start: RM detects a driver/library version mismatch"
        );
    }
}

#[test]
fn a_gb10_has_no_gpu_memory_but_the_machines() {
    let host = Host::new(GB10);
    let family = host.root.join("/sys/class/dmi/id/product_family");
    fs::create_dir_all(family.parent().unwrap()).unwrap();
    fs::write(family, "DGX Spark\n").unwrap();
    let profile = look(&host.root);
    assert_eq!(profile.kind, DeviceKind::Gb10);
    assert_eq!(profile.facts["mig_mode"], "off");
    let reason = &profile.reasons["gpu_memory_total_bytes"];
    assert!(reason.contains("shares the machine's memory"), "{reason}");
}
