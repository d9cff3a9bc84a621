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
