//! What `doctor` says of this machine.

use serde_json::Value;
use tokwatt_harness::agent;

fn checks(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let data = tempfile::tempdir().unwrap();
    let output = agent(data.path())
        .args(["doctor", "--format", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), document)
}

#[track_caller]
fn state<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let check = checks.iter().find(|check| check["name"] == name);
    &check.unwrap()["state"]
}

#[test]
fn the_doctor_tries_the_real_engine_and_its_exit_code_is_its_verdict() {
    let (code, checks) = checks(&[]);
    assert_eq!(state(&checks, "engine"), "ok");
    let has_faults = checks.iter().any(|check| check["state"] == "mend");
    assert_eq!(code, Some(i32::from(has_faults)));
    for check in checks.iter().filter(|check| check["state"] == "mend") {
        assert!(
            check["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty()),
            "{check}"
        );
    }
}

/// A recorded Jetson: what is kept from whoever runs there, and what its power mode means.
#[test]
fn the_doctor_knows_the_power_mode_and_the_groups_of_a_recorded_jetson() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host/agx-orin");
    let (_, checks) = checks(&["--host-root", root.to_str().unwrap()]);
    let says = |name: &str, found: &str, remedy: &str| {
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert!(check["found"].as_str().unwrap().contains(found), "{check}");
        assert!(
            check["remedy"].as_str().unwrap().contains(remedy),
            "{check}"
        );
    };
    says(
        "power mode",
        "MODE_30W (2) of MAXN (0), MODE_30W (2)",
        "sudo tokwatt-agent bench --power-modes",
    );
    says("groups", "not in render", "usermod -aG video,render");
    assert_eq!(state(&checks, "clocks"), "ok");
}
