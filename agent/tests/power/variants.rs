//! Forms that no entry of the corpus has, put together by what is known of devices and releases: what is expected follows from the
//! grammar alone.

use serde_json::{Value, json};
use tokwatt_agent::decode::{Kind, decode};

#[track_caller]
fn check(kind: Kind, text: &str, want: Value) {
    assert_eq!(decode(kind, text).unwrap(), want, "{text}");
}

#[test]
fn a_nano_on_jetpack_4_as_root_and_not() {
    let memory = json!({"ram_used_mb": 1903, "ram_total_mb": 3964, "lfb": [121, 4, "MB"], "swap_used_mb": 0, "swap_total_mb": 1982, "swap_cached_mb": 0});
    let with = |more: Value| {
        let mut all = memory.clone();
        let more = more.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(more);
        all
    };
    check(
        Kind::Tegrastats,
        "RAM 1903/3964MB (lfb 121x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [28%@1479,off,off,12%@1479] \
         EMC_FREQ 10%@1600 GR3D_FREQ 99%@921 APE 25 PLL@33.5C CPU@36C PMIC@100C GPU@35C AO@43C thermal@35.5C POM_5V_IN 5125/4980 \
         POM_5V_GPU 1880/1790 POM_5V_CPU 1055/1021",
        with(json!({
            "iram_kb": [0, 252], "cpu": [[28, 1479], null, null, [12, 1479]], "emc_pct": 10, "emc_mhz": 1600, "gr3d_pct": 99,
            "gr3d_mhz": [921], "ape_mhz": 25,
            "temps_c": {"PLL": 33.5, "CPU": 36.0, "PMIC": 100.0, "GPU": 35.0, "AO": 43.0, "thermal": 35.5},
            "rails_mw": {"POM_5V_IN": [5125, 4980], "POM_5V_GPU": [1880, 1790], "POM_5V_CPU": [1055, 1021]},
        })),
    );
    check(
        Kind::Tegrastats,
        "RAM 1903/3964MB (lfb 121x4MB) SWAP 0/1982MB (cached 0MB) CPU [28%@1479,off,off,12%@1479] EMC_FREQ 0% GR3D_FREQ 99% \
         POM_5V_GPU 8791/8791 POM_5V_IN 3075/3075",
        with(json!({
            "cpu": [[28, 1479], null, null, [12, 1479]], "emc_pct": 0, "gr3d_pct": 99,
            "rails_mw": {"POM_5V_GPU": [8791, 8791], "POM_5V_IN": [3075, 3075]},
        })),
    );
}

#[test]
fn a_tx1_on_l4t_28_has_one_clock_for_all_cores() {
    check(
        Kind::Tegrastats,
        "RAM 1450/3994MB (lfb 32x4MB) IRAM 0/252kB(lfb 252kB) cpu [0%,3%,off,1%]@102 EMC 10%@1600 AVP 0%@12 NVDEC 716 MSENC 716 \
         GR3D 0%@76 EDP limit 0",
        json!({
            "ram_used_mb": 1450, "ram_total_mb": 3994, "lfb": [32, 4, "MB"], "iram_kb": [0, 252],
            "cpu": [[0, 102], [3, 102], null, [1, 102]], "emc_pct": 10, "emc_mhz": 1600, "gr3d_pct": 0, "gr3d_mhz": [76],
            "engines": {"AVP": {"pct": 0, "mhz": 12}, "NVDEC": {"mhz": 716}, "MSENC": {"mhz": 716}},
            "unknown": ["EDP", "limit", "0"],
        }),
    );
}

#[test]
fn a_tx2_and_a_xavier_tell_their_code_translation() {
    check(
        Kind::Tegrastats,
        "RAM 2117/7854MB (lfb 951x4MB) CPU [5%@345,off,off,2%@345,1%@345,3%@345] EMC_FREQ 3%@665 GR3D_FREQ 0%@114 APE 150 MTS fg 0% bg \
         1% BCPU@41.5C MCPU@41.5C GPU@40C Tdiode@41.75C VDD_SYS_GPU 152/152 VDD_IN 3276/3276 VDD_DDR 1054/1077",
        json!({
            "ram_used_mb": 2117, "ram_total_mb": 7854, "lfb": [951, 4, "MB"],
            "cpu": [[5, 345], null, null, [2, 345], [1, 345], [3, 345]], "emc_pct": 3, "emc_mhz": 665, "gr3d_pct": 0, "gr3d_mhz": [114],
            "ape_mhz": 150, "mts_pct": [0, 1], "temps_c": {"BCPU": 41.5, "MCPU": 41.5, "GPU": 40.0, "Tdiode": 41.75},
            "rails_mw": {"VDD_SYS_GPU": [152, 152], "VDD_IN": [3276, 3276], "VDD_DDR": [1054, 1077]},
        }),
    );
}

#[test]
fn an_orin_under_pressure_with_sensors_off_and_rails_below_zero() {
    check(
        Kind::Tegrastats,
        "11-05-2026 07:08:09 RAM 7411/7620MB (lfb 17x512kB) SWAP 3800/3810MB (cached 12MB) CPU [off,off] EMC_FREQ @2133 GR3D_FREQ \
         0%@[0,0] GR3D2_FREQ 0%@[114] NVENC off NVDLA0_FREQ @1600 VIC 59%@423 NVJPG1 729 CV0@-256C GPU@-256C tj@45.031C NC 0mW/0mW \
         VDD_CPU_CV -398mW/-12mW NC 0mW/0mW",
        json!({
            "timestamp": "11-05-2026 07:08:09", "ram_used_mb": 7411, "ram_total_mb": 7620, "lfb": [17, 512, "kB"], "swap_used_mb": 3800,
            "swap_total_mb": 3810, "swap_cached_mb": 12, "cpu": [null, null], "emc_mhz": 2133, "gr3d_pct": 0, "gr3d_mhz": [0, 0],
            "engines": {"GR3D2_FREQ": {"pct": 0, "mhz": 114}, "NVENC": null, "NVDLA0_FREQ": {"mhz": 1600}, "VIC": {"pct": 59, "mhz": 423}, "NVJPG1": {"mhz": 729}},
            "temps_c": {"CV0": -256.0, "GPU": -256.0, "tj": 45.031},
            "rails_mw": {"NC": [0, 0], "NC#2": [0, 0], "VDD_CPU_CV": [-398, -12]},
        }),
    );
}

#[test]
fn a_thor_on_r39_mixes_forms_within_a_line() {
    check(
        Kind::Tegrastats,
        "06-01-2026 21:28:48 RAM 5210/125772MB (lfb 7x4MB) CPU [0%@972] GR3D_FREQ @[314,314,314] NVENC0_FREQ @314 OFA_FREQ @315 PVA0_FREQ off \
         tj@39.5C/41C soc012@38C VDD_GPU -392mW/0mW/393mW VDD_CPU_SOC_MSS 5505mW/5505mW VIN 20618mW",
        json!({
            "timestamp": "06-01-2026 21:28:48", "ram_used_mb": 5210, "ram_total_mb": 125_772, "lfb": [7, 4, "MB"], "cpu": [[0, 972]],
            "gr3d_pct": null, "gr3d_mhz": [314, 314, 314],
            "engines": {"NVENC0_FREQ": {"mhz": 314}, "OFA_FREQ": {"mhz": 315}, "PVA0_FREQ": null},
            "temps_c": {"tj": 39.5, "soc012": 38.0}, "temps_max_c": {"tj": 41.0},
            "rails_mw": {"VDD_GPU": [-392, 0, 393], "VDD_CPU_SOC_MSS": [5505, 5505], "VIN": [20618]},
        }),
    );
}

#[test]
fn a_power_mode_stands_among_errors_on_either_side() {
    let want = json!({"mode": "25W", "id": 1});
    check(
        Kind::Nvpmodel,
        "NVPM WARN: fan mode is not set!\nNV Power Mode: 25W\n1\n",
        want.clone(),
    );
    check(
        Kind::Nvpmodel,
        "NVPM ERROR: Error opening /sys/x: 2\nNV Power Mode: 25W\nNVPM ERROR: failed to read PARAM 7\n1\nNV Fan Mode:quiet\n",
        want,
    );
}

#[test]
fn a_release_is_read_whatever_the_language_of_its_date() {
    check(
        Kind::Release,
        "# R35 (release), REVISION: 6.4, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: mar. 2 juin 09:28:48 UTC 2026\n# KERNEL_VARIANT: oot",
        json!({"l4t": "35.6.4", "gcid": "1", "board": "t186ref"}),
    );
}

#[test]
fn a_dgx_release_is_read_with_and_without_quotes_and_its_serial_number_never() {
    check(
        Kind::DgxRelease,
        "DGX_NAME='DGX Spark'\nDGX_PLATFORM=DGX Server for KVM\nDGX_SWBUILD_VERSION=7.2.3\nDGX_SERIAL_NUMBER=1234567890\nDGX_OTA_VERSION=\"7.3.1\"\nDGX_OTA_VERSION=7.5.0\n",
        json!({"name": "DGX Spark", "platform": "DGX Server for KVM", "swbuild": "7.2.3", "ota": "7.5.0", "ota_history": ["7.3.1", "7.5.0"]}),
    );
}

#[test]
fn a_figure_that_nvidias_tool_does_not_have_is_null_whatever_the_words() {
    for word in [
        "[N/A]",
        "N/A",
        "[Not Supported]",
        "Not Supported",
        "ERR!",
        "[Unknown Error]",
        "[GPU is lost]",
        "",
    ] {
        check(
            Kind::NvidiaSmiCsv,
            &format!("name, power.draw [W], utilization.gpu [%]\nNVIDIA Thor, {word}, 3 %"),
            json!({"gpu_name": "NVIDIA Thor", "power_w": null, "gpu_util_pct": 3}),
        );
    }
}

#[test]
fn a_package_is_found_under_labels_of_any_language() {
    for label in [
        "Installed:",
        "Installé :",
        "Installiert:",
        "已安装：",
        "インストールされているバージョン:",
        "Установлен:",
    ] {
        check(
            Kind::Dpkg,
            &format!("nvidia-jetpack:\n  {label} 6.2.1+b38\n  Candidate: 7.0\n"),
            json!({"nvidia_jetpack": "6.2.1+b38"}),
        );
    }
    for none in ["(none)", "(aucun)", "（无）"] {
        check(
            Kind::Dpkg,
            &format!("nvidia-jetpack:\n  Installed: {none}\n  Candidate: 7.0\n"),
            json!({"nvidia_jetpack": null}),
        );
    }
}
