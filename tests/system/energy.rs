//! Energy from an instrument to the document, with its scope, its bound and its provenance.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{bench, document};

/// Prints what an AGX Orin's tegrastats would, at the interval that it is asked for: rails that sum to 11 W and never change.
const FAKE_TEGRASTATS: &str = r#"#!/bin/sh
interval=1000
while [ $# -gt 0 ]; do [ "$1" = --interval ] && interval=$2; shift; done
while :; do
  echo "11-22-2026 12:00:00 RAM 4000/62795MB (lfb 4x4MB) CPU [1%@729,2%@729] VDD_GPU_SOC 5000mW/5000mW VDD_CPU_CV 2000mW/2000mW VIN_SYS_5V0 4000mW/4000mW VDDQ_VDD2_1V8AO 700mW/700mW"
  sleep $(awk "BEGIN { print $interval / 1000 }")
done
"#;

/// A program that draws 11 W and never changes.
pub(crate) fn fake_tegrastats(folder: &Path) -> PathBuf {
    let program = folder.join("tegrastats");
    fs::write(&program, FAKE_TEGRASTATS).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn agx_orin() -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host/agx-orin");
    fixtures.to_str().unwrap().to_owned()
}

#[test]
fn rails_of_one_scope_are_added_up_and_energy_is_power_times_time() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake_tegrastats(folder.path());
    let root = agx_orin();
    let bench = document(&bench(
        folder.path(),
        &[
            "--host-root",
            &root,
            "--power",
            "tegrastats",
            "--tegrastats",
            program.to_str().unwrap(),
            "--limit",
            "20",
            "--repeat",
            "1",
            "--precision",
            "f32",
            "--quick",
        ],
    ));
    for run in bench["runs"].as_array().unwrap() {
        let power = &run["power"][0];
        assert_eq!(power["scope"], "module", "{run}");
        assert_eq!(power["bracketed"], true, "{power}");
        let window = run["window_s"].as_f64().unwrap();
        let energy = power["energy_j"].as_f64().unwrap();
        assert!((energy - 11.0 * window).abs() < 1e-6 * energy, "{power}");
        assert!((power["idle_loaded_power_w"].as_f64().unwrap() - 11.0).abs() < 1e-9);
        let efficiency = power["tok_per_s_per_w"].as_f64().unwrap();
        let cost = power["j_per_output_token"].as_f64().unwrap();
        assert!((efficiency * cost - 1.0).abs() < 1e-12);
        is_replayed(run);
    }
}

/// The tree's rails stand still: 4767.36 − 397.44 + 3134.72 mW.
#[test]
fn drivers_files_are_found_without_being_named_and_a_rail_below_zero_counts() {
    let folder = tempfile::tempdir().unwrap();
    let root = agx_orin();
    let output = bench(
        folder.path(),
        &[
            "--host-root",
            &root,
            "--power",
            "auto",
            "--limit",
            "4",
            "--repeat",
            "1",
            "--precision",
            "q8_0",
            "--quick",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(&format!("the host root `{root}` is a recording")),
        "{said}"
    );
    let bench = document(&output);
    for run in bench["runs"].as_array().unwrap() {
        let power = &run["power"][0];
        assert_eq!(
            (&power["source"], &power["scope"]),
            (&"ina".into(), &"module".into())
        );
        assert_eq!(power["bracketed"], true, "{power}");
        let window = run["window_s"].as_f64().unwrap();
        let energy = power["energy_j"].as_f64().unwrap();
        assert!((energy - 7.50464 * window).abs() < 1e-6 * energy, "{power}");
        is_replayed(run);
    }
}

/// A recorded host is another device than the one that answers.
#[track_caller]
fn is_replayed(run: &Value) {
    for what in ["requests", "power"] {
        assert_eq!(run["provenance"][what], "replayed", "{run}");
    }
}

#[test]
fn without_a_sensor_energy_is_absent_with_the_reason_and_the_rest_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let bench = document(&bench(
        folder.path(),
        &[
            "--power",
            "none",
            "--limit",
            "1",
            "--repeat",
            "1",
            "--precision",
            "q8_0",
        ],
    ));
    for run in bench["runs"].as_array().unwrap() {
        assert_eq!(run["power"].as_array().unwrap().len(), 0);
        assert_eq!(run["provenance"]["requests"], "measured", "{run}");
        assert!(
            run["reasons"]["power"].as_str().unwrap().contains("none"),
            "{run}"
        );
        assert!(
            run["metrics"]["output_tps"].as_f64().unwrap() > 0.0,
            "{run}"
        );
    }
}
