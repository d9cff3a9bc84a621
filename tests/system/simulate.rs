//! Machines that do not exist: everything that comes of one says so, and stands beside the truth.

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, agent};

use crate::{bench, document, keeps_to_its_schema, text};

const MACHINES: [&str; 3] = ["orin", "thor", "gb10"];

/// Long enough for windows of a minute.
const LONG: [&str; 6] = ["--limit", "88", "--repeat", "3", "--max-tokens", "64"];

fn simulate(machine: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["--simulate", machine], more].concat();
    document(&bench(folder.path(), &arguments))
}

fn runs(bench: &Value) -> &Vec<Value> {
    bench["runs"].as_array().unwrap()
}

#[test]
fn an_hour_of_a_made_up_machine_is_measured_to_one_percent_and_marked() {
    for machine in MACHINES {
        let bench = simulate(machine, &LONG);
        keeps_to_its_schema(&bench);
        assert_eq!(bench["device"]["id"], format!("simulated-{machine}-1"));
        for run in runs(&bench) {
            assert_eq!(run["provenance"]["requests"], "simulated");
            assert_eq!(run["provenance"]["power"], "simulated");
            assert!(run["window_s"].as_f64().unwrap() >= 60.0, "{run}");
            assert_eq!(
                run["reasons"]["quality"],
                "a simulated engine does not look at pictures"
            );
            let flags = run["flags"].as_array().unwrap();
            assert!(
                flags.iter().all(|flag| flag["id"] != "throttled"),
                "it is cool: {run}"
            );
            for power in run["power"].as_array().unwrap() {
                let scope = power["scope"].as_str().unwrap();
                let truth = run["true_energy_j"][scope].as_f64().unwrap();
                let error = (power["energy_j"].as_f64().unwrap() - truth).abs();
                assert!(
                    error <= power["error_bound_j"].as_f64().unwrap(),
                    "{power} {truth}"
                );
                assert!(error <= 0.015 * truth, "{power} {truth}");
            }
        }
    }
}

/// The same machine with nothing loaded, cold at first and then after a model that made it hot.
#[test]
fn idle_power_is_that_of_a_machine_that_has_cooled_down() {
    let bench = simulate(
        "thor",
        &["--precision", "f16,f32", "--limit", "80", "--repeat", "1"],
    );
    let runs = runs(&bench);
    assert!(
        runs.iter()
            .all(|run| run["reasons"]["settle.idle_unloaded"].is_string())
    );
    let idle = |run: &Value, scope: &str| {
        let powers = run["power"].as_array().unwrap();
        let power = powers.iter().find(|power| power["scope"] == scope).unwrap();
        power["idle_unloaded_power_w"].as_f64().unwrap()
    };
    for scope in ["system_in", "module"] {
        let (cold, after) = (idle(&runs[0], scope), idle(&runs[9], scope));
        assert!(
            (after - cold).abs() < 0.05 * cold,
            "{scope}: {cold} W, then {after} W"
        );
    }
}

/// Runs have random names and times; what was measured in them has not.
#[test]
fn a_seed_repeats_itself() {
    let energies = |machine: &str| {
        let bench = simulate(machine, &["--limit", "20", "--repeat", "1"]);
        let energies = runs(&bench)
            .iter()
            .map(|run| run["power"][0]["energy_j"].as_f64().unwrap());
        energies.collect::<Vec<f64>>()
    };
    assert_eq!(energies("thor?seed=4"), energies("thor?seed=4"));
    assert_ne!(energies("thor?seed=4"), energies("thor?seed=5"));
}

#[test]
fn made_up_runs_are_delivered_and_stand_on_boards_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let collector = CollectorProcess::start(&folder.path().join("collector")).unwrap();
    for machine in MACHINES {
        let bench = agent(&folder.path().join(machine))
            .args([
                "bench",
                "--simulate",
                machine,
                "--collector",
                collector.url(),
            ])
            .args(LONG)
            .output()
            .unwrap();
        let bench = text(&bench);
        assert!(bench.contains("delivered to http"), "{bench}");
        assert!(bench.contains("truth of the simulation: "), "{bench}");
    }
    let rank = |more: &[&str]| {
        let question = [
            "rank",
            "--metric",
            "j_per_output_token@system_in",
            "--by",
            "device",
        ];
        collector.ask(&[&question, more].concat()).unwrap()
    };
    let measured = rank(&[]);
    let said = String::from_utf8_lossy(&measured.stderr);
    assert!(
        !measured.status.success() || !text(&measured).contains("simulated-thor-1"),
        "{said}"
    );
    let board = text(&rank(&["--provenance", "simulated"]));
    assert!(
        board.contains("simulated-thor-1") && board.contains("simulated-gb10-1"),
        "{board}"
    );
    assert!(
        !board.contains("simulated-orin-1"),
        "an Orin has no such scope: {board}"
    );
}

#[test]
fn what_cannot_be_made_up_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, want) in [
        (&["--simulate", "tx2"][..], "no machine `tx2`"),
        (&["--simulate", "orin", "--model", "smolvlm"], "made-up-2b"),
        (&["--simulate", "orin", "--precision", "int3"], "q8_0"),
        (&["--simulate", "orin", "--mmproj", "x.gguf"], "--mmproj"),
        (&["--model", "x.gguf"], "--mmproj FILE"),
    ] {
        let output = bench(folder.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(want), "{said}");
    }
}

/// Records of two devices in one outbox would be taken for one's, and the collector sets aside what is another's.
#[test]
fn a_made_up_machine_leaves_nothing_in_the_devices_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = ["--simulate", "orin", "--limit", "1", "--repeat", "1"];
    document(&bench(folder.path(), &simulate));
    let status = agent(folder.path()).args(["spool", "status"]).output();
    let status = text(&status.unwrap());
    assert!(status.contains("waiting          0 records"), "{status}");
}
