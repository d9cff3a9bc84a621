//! A wall clock that steps by ten years, forwards and back, whenever it is read: only dates are wrong then.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use tokwatt_harness::{CollectorProcess, agent, serve, stepping_clock};

use crate::{energy::fake_tegrastats, text};

/// What a run came to, without what names it, and without the flag that says what the clock did.
fn figures(bench: &Value) -> Vec<Value> {
    let mut runs = bench["runs"].as_array().unwrap().clone();
    for run in &mut runs {
        let keys = run.as_object_mut().unwrap();
        for key in ["run", "started", "started_us", "flags"] {
            keys.remove(key);
        }
    }
    runs
}

fn simulated(data: &Path, environment: &BTreeMap<&str, &Path>) -> Value {
    let output = agent(data)
        .args(["bench", "--simulate", "thor?seed=4", "--limit", "20"])
        .args(["--repeat", "2", "--format", "json"])
        .envs(environment)
        .output()
        .unwrap();
    serde_json::from_str(&text(&output)).unwrap()
}

#[test]
fn a_wall_clock_that_steps_by_ten_years_changes_no_figure() {
    let folder = tempfile::tempdir().unwrap();
    let library = stepping_clock(folder.path()).unwrap();
    let steady = simulated(folder.path(), &BTreeMap::new());
    let stepping = simulated(folder.path(), &[("LD_PRELOAD", &*library)].into());
    assert_eq!(figures(&steady), figures(&stepping));
    let run = &stepping["runs"][0];
    assert!(
        run["metrics"]["request_latency"]["p50"].as_f64().unwrap() > 0.0,
        "{run}"
    );
    assert!(run["power"][0]["energy_j"].as_f64().unwrap() > 0.0, "{run}");
}

/// On the machine's own clocks, with a real engine: 11 W for as long as it took.
#[test]
fn energy_is_power_times_time_whatever_the_wall_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let library = stepping_clock(folder.path()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/host/agx-orin");
    let output = agent(folder.path())
        .args(["bench", "--power", "tegrastats", "--limit", "10"])
        .args(["--repeat", "1", "--precision", "f32", "--quick"])
        .args(["--format", "json", "--host-root"])
        .arg(root)
        .arg("--tegrastats")
        .arg(fake_tegrastats(folder.path()))
        .env("LD_PRELOAD", &library)
        .output()
        .unwrap();
    let bench: Value = serde_json::from_str(&text(&output)).unwrap();
    for run in bench["runs"].as_array().unwrap() {
        let window = run["window_s"].as_f64().unwrap();
        assert!((0.0..600.0).contains(&window), "{run}");
        let energy = run["power"][0]["energy_j"].as_f64().unwrap();
        assert!((energy - 11.0 * window).abs() < 1e-6 * energy, "{run}");
        let latency = run["metrics"]["request_latency"]["p50"].as_f64().unwrap();
        assert!((0.0..window).contains(&latency), "{run}");
    }
}

#[test]
fn a_collector_whose_wall_clock_steps_comes_to_the_same_boards() {
    let folder = tempfile::tempdir().unwrap();
    let library = stepping_clock(folder.path()).unwrap();
    let agent_data = folder.path().join("agent");
    let steady = CollectorProcess::start(&folder.path().join("steady")).unwrap();
    let stepping_data = folder.path().join("stepping");
    let mut stepping = serve(&stepping_data);
    stepping.env("LD_PRELOAD", &library);
    let stepping = CollectorProcess::start_as(stepping, &stepping_data).unwrap();
    let bench = agent(&agent_data)
        .args(["bench", "--power", "none", "--limit", "5", "--repeat", "3"])
        .args(["--precision", "f32,q8_0"])
        .env("LD_PRELOAD", &library)
        .output()
        .unwrap();
    text(&bench);
    // The same spool for both.
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&agent_data).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    for (data, collector) in [(&agent_data, &steady), (&copy, &stepping)] {
        let arguments = ["run", "--until-empty", "--collector", collector.url()];
        let delivery = agent(data)
            .args(arguments)
            .env("LD_PRELOAD", &library)
            .output()
            .unwrap();
        text(&delivery);
    }
    for question in [
        &["rank", "--metric", "decode_tps", "--by", "precision"][..],
        &["rank", "--metric", "ttft", "--by", "device,precision"],
        &["runs", "list"],
    ] {
        let [steady, stepping] =
            [&steady, &stepping].map(|collector| text(&collector.ask(question).unwrap()));
        assert_eq!(steady, stepping);
        assert!(steady.contains("q8_0"), "{steady}");
    }
}
