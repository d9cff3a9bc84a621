//! Comparisons, recommendations and estimates of delivered runs: over gRPC, and as the binary prints them.

use std::fs;

use tempfile::TempDir;
use tokwatt_domain::ids::RunId;
use tokwatt_proto::{
    Record,
    documents::{COMPARE_SCHEMA, ESTIMATE_SCHEMA, RECOMMEND_SCHEMA},
    v1,
};

use crate::{
    agent::{Running, block_on, deliver, questions, records, spool, trace_with_power},
    command_line::{Server, refuses, run},
};

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[track_caller]
fn check_schema(schema: &str, json: &[u8]) -> serde_json::Value {
    let document = serde_json::from_slice(json).unwrap();
    let schema = serde_json::from_str(schema).unwrap();
    jsonschema::validate(&schema, &document).unwrap();
    document
}

/// A device with a sensor that measured three repetitions.
fn powered(device: &str, first_run: u8, token_ms: u64) -> Vec<Vec<u8>> {
    let mut records_of = spool(device, first_run, 0, token_ms);
    for number in 0..3 {
        let run = RunId([first_run + number; 16]);
        let trace = trace_with_power(device, run, u32::from(number) + 1, token_ms);
        records_of.extend(records(&trace).iter().map(Record::encode));
    }
    records_of
}

/// Two devices, one of them three times as fast.
fn two(folder: &TempDir) -> Server {
    let server = Server::start(folder.path());
    server.deliver("slow", 1, 3, 9);
    server.deliver("fast", 11, 3, 3);
    server
}

#[test]
fn sides_are_compared_over_repetitions_and_on_the_same_pictures() {
    let folder = TempDir::new().unwrap();
    let collector = Running::start(folder.path());
    block_on(async {
        deliver(collector.addr, "slow", 1, &powered("slow", 1, 30)).await;
        deliver(collector.addr, "fast", 1, &powered("fast", 11, 15)).await;
        let request = v1::CompareRequest {
            left: texts(&["device=slow"]),
            right: texts(&["device=fast"]),
            ..v1::CompareRequest::default()
        };
        let mut client = questions(collector.addr).await;
        let first = client.compare(request.clone()).await.unwrap().into_inner();
        let second = client.compare(request).await.unwrap().into_inner();
        assert_eq!(first.json, second.json, "the bootstrap is seeded");
        let comparison = check_schema(COMPARE_SCHEMA, &first.json);
        let figures = comparison["pairs"][0]["figures"].as_array().unwrap();
        let figure = |metric: &str| {
            let mut found = figures.iter().filter(|figure| figure["metric"] == metric);
            found
                .next()
                .unwrap_or_else(|| panic!("no {metric} in {comparison:#}"))
        };
        let latency = figure("request_latency");
        assert_eq!(latency["verdict"], "right_better");
        for ratio in [&latency["ratio"], &latency["within_repetitions"]["ratio"]] {
            assert!((ratio.as_f64().unwrap() - 0.5).abs() < 1e-3, "{latency}");
        }
        assert_eq!(latency["within_repetitions"]["n_items"], 20);
        let energy = figure("j_per_request");
        assert_eq!(energy["scope"], "module");
        let own = &energy["within_repetitions"]["ratio"];
        assert!((own.as_f64().unwrap() - 0.5).abs() < 0.02, "{energy}");
        assert_eq!(
            figure("decode_tps")["within_repetitions"],
            serde_json::Value::Null
        );
    });
    collector.stop();
}

#[test]
fn a_comparison_says_who_is_better_and_by_how_much() {
    let folder = TempDir::new().unwrap();
    let server = two(&folder);
    let said = server.ask(&["compare", "device=slow", "device=fast"]);
    for words in [
        "A: device=slow — B: device=fast",
        "caption_brief",
        "B is better",
        "within repetitions",
        "on the same 20 pictures",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    assert!(
        said.lines().all(|line| line.chars().count() <= 120),
        "{said}"
    );
    let markdown = server.ask(&[
        "compare",
        "device=slow",
        "device=fast",
        "--metric",
        "decode_tps",
        "--format",
        "markdown",
    ]);
    assert!(markdown.contains("| decode_tps in tok/s |"), "{markdown}");
}

#[test]
fn a_use_case_is_answered_by_its_name_and_from_a_file() {
    let folder = TempDir::new().unwrap();
    let server = two(&folder);
    let said = server.ask(&["recommend", "batch-throughput", "--format", "json"]);
    let answer = check_schema(RECOMMEND_SCHEMA, said.as_bytes());
    assert_eq!(answer["recommended"][0]["key"]["device"], "fast");
    assert_eq!(answer["recommended"][1]["place"], 2);
    let said = server.ask(&["recommend", "batch-throughput"]);
    assert!(
        said.contains("Recommended") && said.contains("fast"),
        "{said}"
    );
    let file = folder.path().join("mine.toml");
    let text = "form = 1\nname = \"mine\"\nversion = 3\nquestion = \"Mine?\"\nchoose = []\n[[limit]]\nmetric = \"request_latency\"\nat_most = 0.05\n[[objective]]\nmetric = \"decode_tps\"\n";
    fs::write(&file, text).unwrap();
    let said = server.ask(&["recommend", file.to_str().unwrap()]);
    assert!(said.contains("mine: Mine?"), "{said}");
    assert!(said.contains("times the limit of 0.05 s"), "{said}");
    let said = server.ask(&[
        "recommend",
        file.to_str().unwrap(),
        "--at-most",
        "request_latency=1",
    ]);
    assert!(!said.contains("Excluded"), "{said}");
}

#[test]
fn a_batch_is_planned_from_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let server = two(&folder);
    let said = server.ask(&["estimate", "batch", "--format", "json"]);
    let estimate = check_schema(ESTIMATE_SCHEMA, said.as_bytes());
    let rows = estimate["answer"]["batch"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    // 12 tokens of 3 ms a picture.
    let projected = &rows[0]["projected"][1];
    assert_eq!(
        (&projected["pictures"], &projected["mark"]),
        (&50_000.into(), &"extrapolated".into())
    );
    assert!(
        (projected["seconds"]["value"].as_f64().unwrap() / 1800.0 - 1.0).abs() < 0.01,
        "{projected}"
    );
    let said = server.ask(&["estimate", "batch", "--pictures", "20,5000"]);
    assert!(
        said.contains("measured") && said.contains("extrapolated ×250"),
        "{said}"
    );
    let fit = [
        "estimate",
        "fit",
        "--weights",
        "4GB",
        "--layers",
        "28",
        "--kv-heads",
        "8",
        "--head-size",
        "128",
    ];
    let said = server.ask(&fit);
    assert!(
        said.contains("fast") && said.contains("does not say how much memory"),
        "{said}"
    );
}

#[test]
fn use_cases_are_listed_without_a_collector() {
    let output = run(&["recommend"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for name in [
        "real-time-stream",
        "detailed-understanding",
        "batch-throughput",
        "power-constrained",
        "production-reliability",
        "balanced",
    ] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn questions_that_cannot_be_answered_say_what_to_ask_instead() {
    refuses(
        &["recommend", "realtime-stream"],
        &["did you mean `real-time-stream`?"],
    );
    refuses(&["recommend", "./none.toml"], &["`./none.toml`"]);
    let folder = TempDir::new().unwrap();
    let server = two(&folder);
    let refuses = |question: &[&str], words: &[&str]| {
        refuses(&[question, &["--collector", &server.url]].concat(), words);
    };
    refuses(
        &["compare", "device=slow", "device=fats"],
        &["no run is device=fats", "fast, slow"],
    );
    refuses(
        &["compare", "device=slow", "devise=fast"],
        &["did you mean `device`?"],
    );
    refuses(
        &[
            "compare",
            "device=slow",
            "device=fast",
            "--metric",
            "j_per_image",
        ],
        &["never mixed", "none"],
    );
    refuses(&["compare", "--over", "engine"], &["`llama.cpp 1` alone"]);
    refuses(
        &[
            "compare",
            "device=slow",
            "device=fast",
            "--provenance",
            "simulated",
        ],
        &["no run that is simulated", "provenance measured has some"],
    );
    refuses(
        &["recommend", "balanced", "--where", "precision=f61"],
        &["no run has precision=f61", "f32"],
    );
    refuses(
        &["recommend", "balanced", "--at-most", "avg_powr=3"],
        &["did you mean `avg_power`?"],
    );
    refuses(&["estimate", "cost"], &["no run has energy"]);
    refuses(
        &["estimate", "fit", "--weights", "4GB"],
        &["--layers is missing"],
    );
    refuses(
        &["estimate", "swap", "model=tiny", "model=large"],
        &["no run is model=large", "tiny"],
    );
}
