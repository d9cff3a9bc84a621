//! What programs read is what its JSON Schema says: no key more, none less.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokwatt_domain::{
    campaign::{Campaign, CampaignView, JobProgress, JobState, JobView, LivePower},
    device::{DeviceKind, DeviceProfile},
    ids::{DeviceId, JobId, RunId},
    leaderboard::{Board, Boards, Row},
    metrics::{Failed, Percentile},
    power::{Provenance, Scope},
    time::WallTime,
    units::Watts,
};
use tokwatt_proto::documents::{BENCH_SCHEMA, BOARDS_SCHEMA, CAMPAIGN_SCHEMA, RANK_SCHEMA};

use crate::made_up;

fn bench() -> Value {
    let device = DeviceProfile {
        id: DeviceId::parse("thor-1").unwrap(),
        kind: DeviceKind::Thor,
        facts: [("memory_total_bytes".to_owned(), "131072".to_owned())].into(),
        reasons: [("jetpack".to_owned(), "no /etc/nv_tegra_release".to_owned())].into(),
    };
    let tegrastats = json!({
        "source": "tegrastats", "taken": 593, "failed": 2, "missed": 0, "last_error": "a line without rail VIN", "is_lost": false,
    });
    json!({ "schema": "tokwatt.bench/1", "device": device, "instruments": [tegrastats], "runs": [made_up::report()] })
}

fn rank() -> Value {
    serde_json::to_value(board()).unwrap()
}

fn boards() -> Value {
    let boards = Boards {
        schema: "tokwatt.boards/1".to_owned(),
        warning: Some("scopes differ".to_owned()),
        boards: vec![board(), board()],
    };
    serde_json::to_value(boards).unwrap()
}

fn campaign() -> Value {
    let asked: Campaign = serde_json::from_value(json!({
        "name": "first",
        "work": { "suite": "edge-vision", "models": ["tiny-vlm"], "concurrency": [1, 4] },
        "devices": { "kinds": ["thor"], "labels": { "room": "lab 2" } },
    }))
    .unwrap();
    let progress = JobProgress {
        stage: "measuring caption_brief".to_owned(),
        left_s: Some(80.5),
        power: vec![LivePower {
            scope: Scope::Module,
            source: "ina".to_owned(),
            power: Watts(12.5),
        }],
        ..JobProgress::default()
    };
    let job = JobView {
        job: JobId([1; 16]),
        device: DeviceId::parse("thor-1").unwrap(),
        state: JobState::Leased,
        attempt: 1,
        is_attending: true,
        progress: Some(progress),
        reason: None,
        runs: vec![RunId([2; 16])],
    };
    let view = CampaignView {
        schema: "tokwatt.campaign/1".to_owned(),
        campaign: asked,
        created: WallTime(1),
        is_over: false,
        jobs: vec![job],
    };
    serde_json::to_value(view).unwrap()
}

fn board() -> Board {
    let row = |place, value| Row {
        place,
        place_range: place.map(|place| (place, place + 1)),
        key: BTreeMap::from([("device".to_owned(), "thor-1".to_owned())]),
        value,
        ci95: place.map(|_| (0.12, 0.14)),
        n_runs: 3,
        n_requests: 36,
        flags: vec!["quick".to_owned()],
        beside: BTreeMap::new(),
    };
    Board {
        schema: "tokwatt.rank/1".to_owned(),
        metric: "tok_per_s_per_w".to_owned(),
        scope: Some(Scope::Module),
        provenance: Provenance::Measured,
        unit: "tok/J".to_owned(),
        lower_is_better: false,
        aggregate: "one task".to_owned(),
        fixed: BTreeMap::from([("task".to_owned(), "caption_brief".to_owned())]),
        rows: vec![
            row(Some(1), Percentile::Value(0.13)),
            row(None, Percentile::Failed(Failed::Failed)),
        ],
        notes: vec!["95 % is per pair".to_owned()],
    }
}

fn validator(schema: &str) -> jsonschema::Validator {
    let schema = serde_json::from_str(schema).unwrap();
    let rank: Value = serde_json::from_str(RANK_SCHEMA).unwrap();
    let registry = jsonschema::Registry::new()
        .add("urn:tokwatt:rank:1", rank)
        .and_then(jsonschema::RegistryBuilder::prepare)
        .unwrap();
    jsonschema::draft202012::options()
        .with_registry(&registry)
        .build(&schema)
        .unwrap()
}

#[track_caller]
fn check_valid(schema: &str, document: &Value) {
    let problems: Vec<String> = validator(schema)
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The document with `value` at `pointer` must be refused.
#[track_caller]
fn check_refused(schema: &str, document: &Value, pointer: &str, value: Value) {
    let mut changed = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
        _ => panic!("nothing to change at {pointer}"),
    }
    assert!(
        !validator(schema).is_valid(&changed),
        "{pointer} is accepted"
    );
}

/// Every object of the document with a closed form, and every one of its keys.
fn required_keys(document: &Value, open: &[&str]) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    let mut rest = vec![(String::new(), document)];
    while let Some((pointer, value)) = rest.pop() {
        match value {
            Value::Object(object) => {
                let is_open = open.iter().any(|open| pointer.ends_with(open));
                for (key, value) in object {
                    if !is_open {
                        keys.push((pointer.clone(), key.clone()));
                    }
                    rest.push((format!("{pointer}/{key}"), value));
                }
            }
            Value::Array(array) => {
                let child = |(i, value)| (format!("{pointer}/{i}"), value);
                rest.extend(array.iter().enumerate().map(child));
            }
            _ => {}
        }
    }
    keys
}

#[track_caller]
fn check_no_key_may_be_missing(schema: &str, document: &Value, open: &[&str]) {
    let validator = validator(schema);
    let keys = required_keys(document, open);
    assert!(keys.len() > 10, "{keys:?}");
    for (pointer, key) in keys {
        let mut changed = document.clone();
        let object = changed.pointer_mut(&pointer).and_then(Value::as_object_mut);
        object.unwrap().remove(&key);
        assert!(
            !validator.is_valid(&changed),
            "{pointer} without {key} is accepted"
        );
    }
}

#[test]
fn a_bench_document_is_as_its_schema_says() {
    check_valid(BENCH_SCHEMA, &bench());
}

#[test]
fn a_board_is_as_its_schema_says() {
    check_valid(RANK_SCHEMA, &rank());
}

#[test]
fn boards_are_as_their_schema_says() {
    let document = boards();
    check_valid(BOARDS_SCHEMA, &document);
    let refuse = |pointer, value| check_refused(BOARDS_SCHEMA, &document, pointer, value);
    refuse("/schema", json!("tokwatt.rank/1"));
    refuse("/surprise", json!(1));
    refuse("/boards/1/scope", json!("everything"));
    refuse("/boards/1/rows/0/surprise", json!(1));
}

#[test]
fn a_campaign_is_as_its_schema_says() {
    check_valid(CAMPAIGN_SCHEMA, &campaign());
}

#[test]
fn a_campaign_has_no_words_of_its_own() {
    let document = campaign();
    let refuse = |pointer, value| check_refused(CAMPAIGN_SCHEMA, &document, pointer, value);
    refuse("/campaign/work/suite", json!("http://far"));
    refuse("/campaign/devices/kinds", json!(["toaster"]));
    refuse("/jobs/0/state", json!("stuck"));
    refuse("/jobs/0/runs/0", json!("2"));
    refuse("/jobs/0/progress/power/0/scope", json!("everything"));
    refuse("/jobs/0/surprise", json!(1));
}

#[test]
fn no_key_of_boards_and_of_a_campaign_may_be_missing() {
    let open = ["/key", "/fixed", "/beside"];
    check_no_key_may_be_missing(BOARDS_SCHEMA, &boards(), &open);
    check_no_key_may_be_missing(CAMPAIGN_SCHEMA, &campaign(), &["/labels"]);
}

#[test]
fn no_key_of_a_bench_document_may_be_missing() {
    let open = [
        "/facts",
        "/reasons",
        "/failed",
        "/metrics",
        "/quality",
        "/totals",
        "/engine_flags",
        "/model_facts",
        "/error_terms_j",
    ];
    check_no_key_may_be_missing(BENCH_SCHEMA, &bench(), &open);
}

#[test]
fn no_key_of_a_board_may_be_missing() {
    check_no_key_may_be_missing(RANK_SCHEMA, &rank(), &["/key", "/fixed"]);
}

#[test]
fn a_bench_document_has_no_words_of_its_own() {
    let document = bench();
    let refuse = |pointer, value| check_refused(BENCH_SCHEMA, &document, pointer, value);
    refuse("/schema", json!("tokwatt.bench/2"));
    refuse("/device/kind", json!("toaster"));
    refuse("/device/id", json!("Thor 1"));
    refuse("/surprise", json!(1));
    refuse("/instruments/0/taken", json!(-1));
    refuse("/instruments/0/surprise", json!(1));
    refuse("/runs/0/surprise", json!(1));
    refuse("/runs/0/run", json!("07"));
    refuse("/runs/0/cell/load", json!({ "closed": "one" }));
    refuse("/runs/0/cell/cache_policy", json!("lukewarm"));
    refuse("/runs/0/cell/surprise", json!(1));
    refuse("/runs/0/provenance/requests", json!("guessed"));
    refuse("/runs/0/provenance/power", json!("guessed"));
    refuse("/runs/0/window_s", Value::Null);
    refuse("/runs/0/loads/0/kind", json!("lukewarm"));
    refuse("/runs/0/loads/0/resident", json!(1.5));
    refuse("/runs/0/loads/0/surprise", json!(1));
    refuse("/runs/0/requests/failed/sulked", json!(1));
    refuse("/runs/0/metrics/output_tps", json!("fast"));
    refuse("/runs/0/metrics/request_latency/p50", json!("slow"));
    refuse("/runs/0/metrics/request_latency/mean", json!("failed"));
    refuse("/runs/0/metrics/Request Latency", json!(1));
    refuse("/runs/0/power/0/scope", json!("everything"));
    refuse("/runs/0/power/0/coverage", json!(1.5));
    refuse("/runs/0/power/0/surprise", json!(1));
    refuse("/runs/0/server/surprise", json!(1));
    refuse("/runs/0/server/requests_queued_max", json!(-1));
    refuse("/runs/0/server/latency_with_kv_cache_use", json!(0.5));
    refuse("/runs/0/quality/f1", json!("good"));
    refuse("/runs/0/flags/0/blocking", json!("maybe"));
    refuse("/runs/0/reasons/goodput", Value::Null);
}

#[test]
fn a_board_has_no_words_of_its_own() {
    let document = rank();
    let refuse = |pointer, value| check_refused(RANK_SCHEMA, &document, pointer, value);
    refuse("/schema", json!("tokwatt.rank/2"));
    refuse("/scope", json!("everything"));
    refuse("/provenance", json!("guessed"));
    refuse("/aggregate", json!("by feeling"));
    refuse("/surprise", json!(1));
    refuse("/rows/0/place", json!(0));
    refuse("/rows/0/place_range", json!([1]));
    refuse("/rows/0/ci95", json!([1, 2, 3]));
    refuse("/rows/0/value", Value::Null);
    refuse("/rows/0/value", json!("slow"));
    refuse("/rows/0/surprise", json!(1));
    refuse("/rows/0/beside", json!({}));
    refuse("/rows/0/beside", json!({ "output_chars": "long" }));
    let mut document = document.clone();
    document["rows"][0]["beside"] = json!({ "output_chars": 168.0 });
    check_valid(RANK_SCHEMA, &document);
}

#[test]
fn an_absent_figure_needs_its_reason() {
    let mut document = bench();
    document["runs"][0]["power"] = json!([]);
    assert!(
        !validator(BENCH_SCHEMA).is_valid(&document),
        "no power, no reason"
    );
    document["runs"][0]["reasons"]["power"] = json!("no sensor");
    check_valid(BENCH_SCHEMA, &document);
    document["runs"][0]["server"] = Value::Null;
    assert!(
        !validator(BENCH_SCHEMA).is_valid(&document),
        "no word of a server, no reason"
    );
    document["runs"][0]["reasons"]["server"] = json!("not watched");
    check_valid(BENCH_SCHEMA, &document);
}
