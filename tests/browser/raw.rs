//! What a run consists of, and the report, downloaded.

use std::{fs, process::Command};

use serde_json::Value;
use tokwatt_harness::eventually;

use crate::lab::Lab;

#[test]
fn every_request_and_sample_of_a_run_can_be_had() {
    let Some(lab) = Lab::open() else {
        return;
    };
    let run = lab.run();
    let folder = lab.scratch().join("downloads");
    fs::create_dir(&folder).unwrap();
    lab.browser.download_to(&folder).unwrap();
    lab.go(&format!("/runs/{run}"));
    for file in ["run.json", "trace.jsonl"] {
        let link = lab
            .browser
            .find(&format!("main a[href$='{file}']"))
            .unwrap();
        lab.browser.click(&link).unwrap();
    }
    let report = folder.join(format!("run-{run}.json"));
    let trace = folder.join(format!("trace-{run}.jsonl"));
    eventually("both files are there", || report.exists() && trace.exists());
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(report["schema"], "tokwatt.run/1");
    let trace = fs::read_to_string(trace).unwrap();
    let lines: Vec<Value> = trace
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["schema"], "tokwatt.trace/1");
    let n_requests = lines
        .iter()
        .filter(|line| line["request"].is_object())
        .count();
    assert_eq!(report["n_requests"], n_requests);
    assert!(lines.iter().any(|line| line["power"].is_object()));
    assert_eq!(lines.last().unwrap()["end"], "complete");
}

#[test]
fn a_report_comes_as_an_archive_of_its_folder() {
    let Some(lab) = Lab::open() else {
        return;
    };
    let folder = lab.scratch().join("downloads");
    fs::create_dir(&folder).unwrap();
    lab.browser.download_to(&folder).unwrap();
    lab.go("/report?provenance=simulated");
    let button = lab.browser.find("form.filters button").unwrap();
    lab.browser.click(&button).unwrap();
    let archive = folder.join("tokwatt-report.tar");
    eventually("the archive is there", || archive.exists());
    let listed = Command::new("tar")
        .arg("-tf")
        .arg(&archive)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in ["index.html", "metrics.csv", "summary.txt"] {
        let path = format!("tokwatt-report/{file}");
        assert!(listed.lines().any(|line| line == path), "{listed}");
    }
}
