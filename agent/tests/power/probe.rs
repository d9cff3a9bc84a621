//! Recorded host roots are described as the devices they stand for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokwatt_agent::device::{HostRoot, look_again, probe};
use tokwatt_domain::device::{DeviceKind, DeviceProfile};

/// Without a kept name.
pub(crate) fn look(root: &HostRoot) -> DeviceProfile {
    probe(root, Path::new("nowhere"))
}

pub(crate) fn fixture(name: &str) -> HostRoot {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/host");
    HostRoot::at(&folder.join(name))
}

/// A tree that a test may change.
pub(crate) fn copy_of(name: &str) -> (tempfile::TempDir, HostRoot) {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture(name).join("/"), folder.path());
    let root = HostRoot::at(folder.path());
    (folder, root)
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[track_caller]
fn check(name: &str, kind: DeviceKind, facts: &[(&str, &str)]) -> DeviceProfile {
    let profile = look(&fixture(name));
    assert_eq!(profile.kind, kind);
    for (fact, want) in facts {
        assert_eq!(
            profile.facts.get(*fact).map(String::as_str),
            Some(*want),
            "{fact}"
        );
    }
    profile
}

#[test]
fn an_agx_orin_is_known_by_its_module() {
    let profile = check(
        "agx-orin",
        DeviceKind::AgxOrin,
        &[
            ("board_model", "NVIDIA Jetson AGX Orin Developer Kit"),
            ("soc", "tegra234"),
            ("module", "p3701-0005"),
            ("module_variant", "Jetson AGX Orin 64GB"),
            ("memory_kind", "unified"),
            ("cpu_online", "0-7"),
            (
                "cpu_clusters",
                "0-3 Cortex-A78AE 2201.6 MHz + 4-7 Cortex-A78AE 1984.0 MHz + 8-11 Cortex-A78AE",
            ),
            ("cpu_governor", "schedutil"),
            ("gpu_governor", "nvhost_podgov"),
            ("gpu_clock_max_hz", "1300500000"),
            ("jetson_clocks", "held"),
            ("fan", "pwmfan at 93 of 255"),
            ("fan_rpm", "1934"),
            ("fan_profile", "quiet"),
            ("cpu_clock_max_hz", "2201600000"),
            ("memory_clock_cap_hz", "3199000000"),
            ("memory_swap_kind", "zram"),
            ("memory_swap_bytes", "5490302976"),
            ("kernel_preemption", "PREEMPT"),
            ("firmware_version", "36.4.7-gcid-42132812"),
            ("storage_model", "Made-up SSD 1TB"),
            ("storage_size_bytes", "1000204886016"),
            ("cuda_version", "12.6.11"),
            ("storage", "ext4 on /dev/nvme0n1p1"),
            ("storage_kind", "NVMe"),
            ("l4t_release", "36.4.7"),
            ("jetpack_release", "6.2.1"),
            ("power_mode_id", "2"),
            ("power_mode", "MODE_30W"),
            ("cpu_model", "Cortex-A78AE"),
            ("cpu_count", "12"),
            ("cpu_features", "asimd fphp asimdhp asimddp"),
            ("memory_total_bytes", "65893564416"),
            ("os_name", "Ubuntu 22.04.5 LTS"),
            ("container", "none"),
            ("is_root", "false"),
            ("id_source", "device_tree_serial"),
        ],
    );
    assert_eq!(profile.reasons["dgx_release"], "no file `/etc/dgx-release`");
    assert!(
        profile.id.as_str().starts_with("agx-orin-"),
        "{:?}",
        profile.id
    );
}

#[test]
fn a_thor_is_known_by_its_soc() {
    let facts = [
        ("soc", "tegra264"),
        ("module", "p3834-0008"),
        ("jetpack_release", "7.1"),
        ("power_mode", "120W"),
        ("module_variant", "Jetson T5000 (AGX Thor developer kit)"),
        ("memory_clock_hz", "4266000000"),
        ("memory_clock_lock", "free"),
        ("cpu_clusters", "0-13 Neoverse-V3AE"),
        ("kernel_preemption", "PREEMPT_DYNAMIC"),
        ("cpu_model", "Neoverse-V3AE"),
        ("cpu_count", "14"),
    ];
    check("thor", DeviceKind::Thor, &facts);
}

#[test]
fn a_xavier_on_jetpack_4_is_known_by_its_model() {
    let facts = [
        ("soc", "tegra194"),
        ("l4t_release", "32.7.4"),
        ("jetpack_release", "4.6.4"),
        ("module", "p2888-0004"),
        ("module_variant", "Jetson AGX Xavier 32GB"),
        ("fan", "pwm-fan at 80 of 255"),
        ("fan_rpm", "2200"),
    ];
    check("agx-xavier-jp4", DeviceKind::AgxXavier, &facts);
}

#[test]
fn a_gb10_is_known_by_its_family_and_its_serial_number_stays_there() {
    let facts = [
        ("board_model", "GX10"),
        ("product_family", "DGX Spark"),
        ("dgx_release", "DGX Spark 7.6.0"),
        ("gpu_driver", "580.95.05"),
        ("soc", "GB10"),
        ("cpu_model", "10 × Cortex-A725 + 10 × Cortex-X925"),
        (
            "cpu_clusters",
            "0-4,10-14 Cortex-A725 + 5-9,15-19 Cortex-X925",
        ),
        ("id_source", "product_uuid"),
    ];
    let profile = check("gb10", DeviceKind::Gb10, &facts);
    let told = serde_json::to_string(&profile).unwrap();
    assert!(
        !told.contains("MADEUPSERIAL") && !told.contains("0badcafe"),
        "{told}"
    );
}

#[test]
fn a_pc_is_generic_and_says_what_it_could_not_learn() {
    let facts = [
        ("is_root", "true"),
        ("board_model", "Made-up PC"),
        ("mainboard", "Made-up Board X1"),
        ("cpu_features", "sse4_2 avx f16c fma bmi2 avx2 avx_vnni"),
        ("id_source", "machine_id"),
    ];
    let profile = check("x86-rapl", DeviceKind::Generic, &facts);
    for fact in [
        "l4t_release",
        "power_mode",
        "gpu_driver",
        "product_uuid",
        "firmware_version",
    ] {
        assert!(profile.reasons[fact].starts_with("no file `/"), "{fact}");
    }
}

#[test]
fn another_power_mode_changes_clocks_and_cores_and_nothing_else() {
    let (folder, root) = copy_of("agx-orin");
    let before = look(&root);
    let write = |path: &str, text: &str| {
        fs::write(folder.path().join(path), text).unwrap();
    };
    write("var/lib/nvpmodel/status", "pmode:0000\n");
    write("sys/devices/system/cpu/online", "0-11\n");
    write("sys/class/devfreq/17000000.gpu/max_freq", "1300500001\n");
    fs::remove_file(folder.path().join("sys/class/hwmon/hwmon2/rpm")).unwrap();
    // What no power mode changes is not looked at again.
    write("etc/os-release", "PRETTY_NAME=\"Another\"\n");
    let after = look_again(&root, &before);
    for (fact, want) in [
        ("power_mode", "MAXN"),
        ("power_mode_id", "0"),
        ("cpu_online", "0-11"),
        ("gpu_clock_max_hz", "1300500001"),
        ("jetson_clocks", "held for cpu only"),
        ("os_name", "Ubuntu 22.04.5 LTS"),
    ] {
        assert_eq!(after.facts[fact], want, "{fact}");
    }
    assert!(!after.facts.contains_key("fan_rpm") && after.reasons.contains_key("fan_rpm"));
    assert_eq!(
        (&after.id, &after.facts["id_source"]),
        (&before.id, &before.facts["id_source"])
    );
}

#[test]
fn no_fixtures_serial_number_is_told() {
    for name in ["agx-orin", "thor", "gb10", "x86-rapl"] {
        let told = serde_json::to_string(&look(&fixture(name))).unwrap();
        for secret in [
            "000000000000",
            "MADEUPSERIAL",
            "0badcafe",
            "0123456789abcdef",
        ] {
            assert!(!told.contains(secret), "{name}: {told}");
        }
    }
}

#[test]
fn an_empty_host_is_a_profile_full_of_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let profile = look(&HostRoot::at(folder.path()));
    assert_eq!(profile.kind, DeviceKind::Generic);
    assert_eq!(profile.facts.len(), 1, "{:?}", profile.facts);
    assert!(profile.reasons.len() > 20);
}

#[test]
fn files_full_of_noise_do_not_stop_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..70_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let reference = fixture("gb10");
    for path in [
        "proc/meminfo",
        "proc/cpuinfo",
        "etc/nv_tegra_release",
        "etc/dgx-release",
        "etc/nvpmodel.conf",
        "var/lib/nvpmodel/status",
        "proc/device-tree/model",
        "proc/device-tree/compatible",
        "proc/device-tree/serial-number",
        "sys/devices/system/cpu/present",
    ] {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, &noise).unwrap();
    }
    let profile = look(&HostRoot::at(folder.path()));
    assert_eq!(profile.kind, DeviceKind::Generic);
    assert!(
        profile
            .facts
            .values()
            .all(|value| value.chars().count() <= 1024)
    );
    assert_ne!(profile.id, look(&reference).id);
}

#[test]
fn this_machine_can_be_probed() {
    let profile = look(&HostRoot::system());
    assert!(profile.facts["cpu_count"].parse::<u32>().unwrap() > 0);
    assert!(profile.facts["memory_total_bytes"].parse::<u64>().unwrap() > 1 << 28);
    assert_eq!(profile, look(&HostRoot::system()));
}
