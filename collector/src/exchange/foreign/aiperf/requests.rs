//! `profile_export.jsonl`: one request on each line.

use tokwatt_domain::metrics::{Percentile, latency::distribution};

use super::super::{
    Placed, Tool, date,
    node::Node,
    reading::{Reading, Unit},
};

/// All of them as one run, with ratios of sums.
pub(super) fn read(documents: &[Placed]) -> Reading {
    let first = documents
        .first()
        .map_or("line 1", |document| &document.place);
    let last = documents
        .last()
        .map_or("line 1", |document| &document.place);
    let mut reading = Reading::new(format!("{first} to {last}"));
    reading.task = "requests".to_owned();
    let is_measured = |node: &&Node| {
        let phase = node
            .at(&["metadata", "benchmark_phase"])
            .and_then(Node::text);
        phase == Some("profiling")
    };
    let nodes: Vec<&Node> = documents
        .iter()
        .map(|document| &document.node)
        .filter(is_measured)
        .collect();
    let (failed, good): (Vec<&Node>, Vec<&Node>) =
        nodes.iter().partition(|node| node.get("error").is_some());
    let n = |list: &[&Node]| u32::try_from(list.len()).ok().map(f64::from);
    reading.put_counts(n(&good), n(&failed), "lines without and with `error`");
    window(&nodes, &mut reading);
    for (id, key) in LATENCIES {
        put_distribution(&mut reading, id, key, &good, failed.len());
    }
    let sum = |key: &str| {
        good.iter()
            .map(|node| value(node, key))
            .sum::<Option<f64>>()
    };
    let ratio =
        |above: Option<f64>, below: Option<f64>| Some(above? / below.filter(|below| *below > 0.0)?);
    let tokens = sum("output_sequence_length");
    reading.put(
        "output_tps",
        ratio(tokens, reading.window_s),
        Unit::TokensPerSecond,
        "sum of output_sequence_length / (last end - first start)",
    );
    reading.put(
        "requests_per_s",
        ratio(n(&good), reading.window_s),
        Unit::PerSecond,
        "requests / (last end - first start)",
    );
    let milliseconds = |total: Option<f64>| total.map(|total| total / 1e3);
    reading.put(
        "e2e_output_tps",
        ratio(tokens, milliseconds(sum("request_latency"))),
        Unit::TokensPerSecond,
        "sum of output_sequence_length / sum of request_latency",
    );
    if let Some(tokens) = tokens {
        reading.put_foreign(
            &Tool::Aiperf.id(),
            "output_sequence_length.sum",
            tokens,
            "tokens",
        );
        reading.asked("requests", n(&nodes));
        reading.asked("output_tokens", Some(tokens));
    }
    reading
}

/// From the first start to the last end, failures included.
fn window(nodes: &[&Node], reading: &mut Reading) {
    let stamps = |key: &str| -> Vec<f64> {
        nodes
            .iter()
            .filter_map(|node| node.at(&["metadata", key])?.number())
            .collect()
    };
    let start = stamps("request_start_ns").into_iter().reduce(f64::min);
    let end = stamps("request_end_ns").into_iter().reduce(f64::max);
    if let (Some(start), Some(end)) = (start, end) {
        reading.started = date::epoch(start / 1e9);
        reading.window_s = Some((end - start) / 1e9).filter(|window| *window > 0.0);
    }
}

/// Percentiles as ours are made: a failure is slower than any.
fn put_distribution(reading: &mut Reading, id: &str, key: &str, nodes: &[&Node], n_failed: usize) {
    let values: Vec<f64> = nodes.iter().filter_map(|node| value(node, key)).collect();
    if values.is_empty() {
        return;
    }
    let Some(distribution) = distribution(values, n_failed) else {
        return;
    };
    let percentiles = [
        ("p50", distribution.p50),
        ("p90", distribution.p90),
        ("p95", distribution.p95),
        ("p99", distribution.p99),
    ];
    let finite = percentiles
        .into_iter()
        .filter_map(|(name, percentile)| match percentile? {
            Percentile::Value(value) => Some((name.to_owned(), value)),
            Percentile::Failed(_) => None,
        });
    let mean = distribution.mean.map(|mean| ("mean".to_owned(), mean));
    reading.put_statistics(id, Unit::Milliseconds, key, None, finite.chain(mean));
}

fn value(node: &Node, key: &str) -> Option<f64> {
    node.at(&["metrics", key, "value"])?.number()
}

const LATENCIES: [(&str, &str); 4] = [
    ("request_latency", "request_latency"),
    ("ttft", "time_to_first_token"),
    ("ttfo", "time_to_first_output_token"),
    ("tpot", "inter_token_latency"),
];
