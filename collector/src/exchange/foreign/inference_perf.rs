//! inference-perf: `summary_lifecycle_metrics.json` and `stage_N_lifecycle_metrics.json`, in seconds.

use tokwatt_domain::workload::{Arrivals, Load};

use super::{
    Tool,
    node::Node,
    reading::{Reading, Unit, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    node.get("load_summary").is_some() && node.get("successes").is_some()
}

pub(super) fn read(node: &Node, place: &str) -> Reading {
    let mut reading = Reading::new(place.to_owned());
    let number = |path: &[&str]| node.at(path).and_then(Node::number);
    let rate = number(&["load_summary", "requested_rate"])
        .or_else(|| number(&["load_summary", "achieved_rate"]));
    reading.load = rate.and_then(|rate| {
        Some(Load::Open {
            per_1000_s: count((rate * 1000.0).round())?,
            arrivals: Arrivals::Poisson,
        })
    });
    reading.put_counts(
        number(&["successes", "count"]),
        number(&["failures", "count"]),
        "successes.count / (successes.count + failures.count)",
    );
    let mean = |key| number(&["successes", key, "mean"]).map(f64::round);
    let (prompt, output) = (mean("prompt_len"), mean("output_len"));
    reading.asked("requests", number(&["load_summary", "count"]));
    reading.asked("mean_prompt_tokens", prompt);
    reading.asked("mean_output_tokens", output);
    reading.task = match (prompt, output) {
        (Some(prompt), Some(output)) => format!("about {prompt}/{output}"),
        _ => "data not stated".to_owned(),
    };
    let latencies = node.at(&["successes", "latency"]).and_then(Node::object);
    for (key, statistics) in latencies.into_iter().flatten() {
        let members = statistics.object().into_iter().flatten();
        let statistics = members.filter_map(|(name, value)| Some((name.clone(), value.number()?)));
        match LATENCIES.iter().find(|(name, _)| *name == key.as_str()) {
            Some((_, id)) => {
                let source = format!("successes.latency.{key}");
                reading.put_statistics(id, Unit::Seconds, &source, None, statistics);
            }
            None => {
                for (statistic, value) in statistics {
                    reading.put_foreign(
                        &Tool::InferencePerf.id(),
                        &format!("{key}.{statistic}"),
                        value,
                        "s",
                    );
                }
            }
        }
    }
    let speeds = [
        ("output_tokens_per_sec", "output_tps", Unit::TokensPerSecond),
        ("total_tokens_per_sec", "total_tps", Unit::TokensPerSecond),
        ("requests_per_sec", "requests_per_s", Unit::PerSecond),
    ];
    for (key, id, unit) in speeds {
        reading.put(
            id,
            number(&["successes", "throughput", key]),
            unit,
            &format!("successes.throughput.{key}"),
        );
    }
    if let Some(input) = number(&["successes", "throughput", "input_tokens_per_sec"]) {
        reading.put_foreign(
            &Tool::InferencePerf.id(),
            "input_tokens_per_sec",
            input,
            "tok/s",
        );
    }
    check(&mut reading, output);
    reading
}

/// Requests per second times tokens per request are tokens per second.
fn check(reading: &mut Reading, mean_output: Option<f64>) {
    let (Some(requests), Some(tokens), Some(mean)) = (
        reading.value("requests_per_s"),
        reading.value("output_tps"),
        mean_output,
    ) else {
        return;
    };
    // The mean was rounded to a whole token.
    if (requests * mean - tokens).abs() > 0.02 * tokens + requests {
        reading.block(
            "source_contradicts",
            format!("{requests} requests/s of {mean} tokens are not {tokens} tok/s"),
        );
    }
}

/// inference-perf's name, and our definition. Its "inter token latency" is a gap between chunks.
const LATENCIES: [(&str, &str); 5] = [
    ("request_latency", "request_latency"),
    ("time_to_first_token", "ttft"),
    ("time_per_output_token", "tpot"),
    ("normalized_time_per_output_token", "ntpot"),
    ("inter_token_latency", "icl"),
];
