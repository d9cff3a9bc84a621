//! Made-up runs for tests of whatever is made from them.

use std::collections::BTreeMap;

use tokwatt_domain::{
    ids::{DeviceId, Digest, RunId},
    metrics::{
        Distribution, Flag, MetricValue, Percentile, PowerReport, RequestCounts, RunProvenance,
        RunReport,
    },
    power::{Provenance, Scope},
    run::{Cell, Configuration, Identity},
    time::WallTime,
    workload::{CachePolicy, Load, Sampling},
};

use super::RankedRun;

/// A run of 100 s with 100 answers of `speed` tokens each: `output_tps` is `speed`, every latency 1 s / `speed`.
pub(crate) fn run(number: u8, device: &str, speed: f64) -> RankedRun {
    let report = RunReport {
        loads: Vec::new(),
        run: RunId([number; 16]),
        device: DeviceId::parse(device).unwrap(),
        repetition: u32::from(number),
        started: WallTime(i64::from(number)),
        cell: cell(),
        provenance: RunProvenance {
            requests: Provenance::Measured,
            power: None,
        },
        limits: None,
        window_s: 100.0,
        requests: RequestCounts {
            issued: 100,
            succeeded: 100,
            failed: BTreeMap::new(),
        },
        metrics: BTreeMap::from([
            ("ttft".to_owned(), Some(times(1.0 / speed))),
            ("request_latency".to_owned(), Some(times(10.0 / speed))),
        ]),
        power: Vec::new(),
        server: None,
        quality: BTreeMap::new(),
        totals: BTreeMap::from([
            ("completion_tokens".to_owned(), 100.0 * speed),
            ("window_s".to_owned(), 100.0),
            ("images".to_owned(), 100.0),
            ("successes".to_owned(), 100.0),
            ("requests".to_owned(), 100.0),
        ]),
        flags: Vec::new(),
        reasons: BTreeMap::from([("power".to_owned(), "no power sensor".to_owned())]),
    };
    RankedRun {
        report,
        report_differs: false,
    }
}

/// Three repetitions a per mille apart.
pub(crate) fn three(first: u8, device: &str, speed: f64) -> Vec<RankedRun> {
    let factors = [0.999, 1.0, 1.001];
    let numbers = (first..).zip(1..).zip(factors);
    numbers
        .map(|((number, repetition), factor)| {
            let mut run = run(number, device, speed * factor);
            run.report.repetition = repetition;
            run
        })
        .collect()
}

/// The same runs with something changed.
pub(crate) fn with(mut runs: Vec<RankedRun>, change: impl Fn(&mut RunReport)) -> Vec<RankedRun> {
    runs.iter_mut().for_each(|run| change(&mut run.report));
    runs
}

/// The same value at every percentile.
pub(crate) fn times(value: f64) -> MetricValue {
    let value = Some(Percentile::Value(value));
    MetricValue::Distribution(Distribution {
        mean: None,
        p50: value,
        p90: value,
        p95: value,
        p99: value,
        n: 100,
    })
}

/// A trustworthy power reading of a mean of `watts`, with an error bound of 1 %.
pub(crate) fn powered(report: &mut RunReport, scope: Scope, watts: f64) {
    let energy_j = watts * report.window_s;
    report.provenance.power = Some(Provenance::Measured);
    report.reasons.remove("power");
    report.totals.insert(format!("energy_j@{scope}"), energy_j);
    report.power.push(PowerReport {
        scope,
        source: "ina".to_owned(),
        rails: Vec::new(),
        energy_j: Some(energy_j),
        error_bound_j: Some(0.01 * energy_j),
        error_terms_j: BTreeMap::new(),
        avg_power_w: Some(watts),
        idle_unloaded_power_w: None,
        idle_loaded_power_w: None,
        energy_net_j: None,
        energy_net_bound_j: None,
        coverage: 1.0,
        bracketed: true,
        sample_period_s: Some(0.1),
        refresh_s: None,
        refresh_source: None,
        samples: 1000,
        largest_gap_s: Some(0.1),
        tok_per_s_per_w: None,
        j_per_output_token: None,
        j_per_request: None,
        j_per_image: None,
        j_per_correct_answer: None,
    });
}

/// A flag that keeps it from being ranked.
pub(crate) fn throttled(report: &mut RunReport) {
    report.flags.push(Flag {
        id: "throttled".to_owned(),
        blocking: true,
        detail: String::new(),
    });
}

fn cell() -> Cell {
    Cell {
        identity: Identity {
            suite: "edge-vision".to_owned(),
            suite_digest: Digest([1; 32]),
            task: "caption_brief".to_owned(),
            image_px: Some(96),
            model: "tiny".to_owned(),
            precision: "f32".to_owned(),
            max_tokens: 64,
            sampling: Sampling::Greedy,
            load: Load::Closed(1),
            cache_policy: CachePolicy::Cold,
            is_streaming: true,
        },
        configuration: Configuration {
            backend: "embedded".to_owned(),
            engine: "llama.cpp 1".to_owned(),
            engine_flags: BTreeMap::new(),
            model_digest: Some(Digest([2; 32])),
            mmproj_digest: None,
            mmproj_precision: None,
            model_facts: BTreeMap::new(),
            power_mode: None,
            os: "linux".to_owned(),
        },
    }
}

/// The document is as its JSON Schema says, and is not without any of its keys, but for those of objects whose path ends in one of `open`.
#[track_caller]
pub(crate) fn check_schema(schema: &str, document: &impl serde::Serialize, open: &[&str]) {
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let document = serde_json::to_value(document).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
    let mut rest = vec![(String::new(), &document)];
    let mut n_keys = 0;
    while let Some((pointer, value)) = rest.pop() {
        if let Some(array) = value.as_array() {
            let items = array.iter().enumerate();
            rest.extend(items.map(|(number, item)| (format!("{pointer}/{number}"), item)));
        }
        let Some(object) = value.as_object() else {
            continue;
        };
        for (key, value) in object {
            rest.push((format!("{pointer}/{key}"), value));
            if open.iter().any(|open| pointer.ends_with(open)) {
                continue;
            }
            let mut changed = document.clone();
            let without = changed.pointer_mut(&pointer).unwrap();
            without.as_object_mut().unwrap().remove(key);
            assert!(
                !validator.is_valid(&changed),
                "{pointer} may be without {key}"
            );
            n_keys += 1;
        }
    }
    assert!(n_keys > 10, "{n_keys} keys");
}
