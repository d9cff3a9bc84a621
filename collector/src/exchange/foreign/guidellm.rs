//! guidellm's report as JSON: several benchmarks, each with distributions over its successes.

use tokwatt_domain::workload::{Arrivals, Load};

use super::{
    ForeignError, Readings, Tool, date,
    node::Node,
    reading::{Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    let is_said = node.at(&["metadata", "guidellm_version"]).is_some();
    let benchmarks = node.get("benchmarks").map(Node::list).unwrap_or_default();
    is_said
        || benchmarks.first().is_some_and(|benchmark| {
            benchmark
                .at(&["metrics", "time_to_first_token_ms"])
                .is_some()
        })
}

/// A run for each benchmark.
///
/// # Errors
/// There are more than are read.
pub(super) fn read(
    node: &Node,
    place: &str,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    let version = node
        .at(&["metadata", "guidellm_version"])
        .and_then(Node::text);
    let benchmarks = node.get("benchmarks").map(Node::list).unwrap_or_default();
    for (position, benchmark) in benchmarks.iter().enumerate() {
        let mut reading = Reading::new(format!("{place} benchmarks[{position}]"));
        reading.version = version.map(str::to_owned);
        about(node, benchmark, &mut reading);
        figures(benchmark, &mut reading);
        readings.push(reading)?;
    }
    Ok(())
}

fn about(report: &Node, benchmark: &Node, reading: &mut Reading) {
    let text = |path: &[&str]| benchmark.at(path).and_then(Node::text);
    let number = |path: &[&str]| benchmark.at(path).and_then(Node::number);
    reading.started = number(&["start_time"]).and_then(date::epoch);
    reading.window_s = number(&["duration"]).filter(|duration| *duration > 0.0);
    let spec = report
        .at(&["config", "spec"])
        .or_else(|| report.get("args"));
    let of_spec = |path: &[&str]| spec.and_then(|spec| spec.at(path));
    let model = text(&["config", "backend", "model"])
        .or_else(|| text(&["benchmarker", "backend", "model"]))
        .or_else(|| of_spec(&["backend", "model"])?.text())
        .or_else(|| of_spec(&["model"])?.text());
    reading.model = model.map(str::to_owned);
    reading.set("api", text(&["config", "backend", "request_format"]));
    reading.is_streaming =
        benchmark.at(&["config", "backend", "stream"]) != Some(&Node::Bool(false));
    let data = of_spec(&["data"]).map(Node::list).and_then(<[Node]>::first);
    let of_data = |key| data.and_then(|data| data.get(key)).and_then(Node::number);
    let kind = data
        .and_then(|data| data.get("kind")?.text())
        .unwrap_or("data not stated");
    let (prompt, output) = (of_data("prompt_tokens"), of_data("output_tokens"));
    reading.asked("data", Some(kind));
    reading.asked("prompt_tokens", prompt);
    reading.asked("output_tokens", output);
    if prompt.is_none() {
        let mean = |key| number(&["metrics", key, "successful", "mean"]).map(f64::round);
        reading.asked("mean_prompt_tokens", mean("prompt_token_count"));
        reading.asked("mean_output_tokens", mean("output_token_count"));
    }
    reading.task = match (prompt, output) {
        (Some(prompt), Some(output)) => format!("{kind} {prompt}/{output}"),
        _ => kind.to_owned(),
    };
    reading.max_tokens = output.and_then(count);
    reading.load = load(benchmark);
}

fn load(benchmark: &Node) -> Option<Load> {
    let strategy = benchmark
        .at(&["config", "strategy"])
        .or_else(|| benchmark.at(&["scheduler", "strategy"]))?;
    let number = |key| strategy.get(key).and_then(Node::number);
    match strategy.get("type_").and_then(Node::text)? {
        "synchronous" => closed(Some(1.0)),
        "concurrent" => closed(number("streams")),
        "throughput" => closed(number("max_concurrency")),
        kind => Some(Load::Open {
            per_1000_s: count((number("rate")? * 1000.0).round())?,
            arrivals: match kind {
                "constant" => Arrivals::Constant,
                _ => Arrivals::Poisson,
            },
        }),
    }
}

fn figures(benchmark: &Node, reading: &mut Reading) {
    let Some(metrics) = benchmark.get("metrics") else {
        return;
    };
    let requests = |kind| metrics.at(&["request_totals", kind]).and_then(Node::number);
    // What was not over at the end is no failure.
    reading.put_counts(
        requests("successful"),
        requests("errored"),
        "request_totals",
    );
    for (key, metric) in metrics.object().into_iter().flatten() {
        let Some(successful) = metric.get("successful") else {
            continue;
        };
        match METRICS.iter().find(|(name, ..)| *name == key.as_str()) {
            Some((_, id, unit, Kind::PerRequest(remark))) => {
                let source = format!("{key}.successful");
                reading.put_statistics(id, *unit, &source, *remark, statistics(successful));
            }
            Some((_, id, unit, Kind::Mean)) => {
                let mean = successful.get("mean").and_then(Node::number);
                reading.put(id, mean, *unit, &format!("{key}.successful.mean"));
            }
            None => {
                if let Some(mean) = successful.get("mean").and_then(Node::number) {
                    reading.put_foreign(&Tool::Guidellm.id(), key, mean, "");
                }
            }
        }
    }
    let tokens = metrics
        .at(&["output_token_count", "successful", "total_sum"])
        .and_then(Node::number);
    let measured = |key| {
        benchmark
            .at(&["scheduler_metrics", key])
            .and_then(Node::number)
    };
    if let (Some(tokens), Some(start), Some(end)) = (
        tokens,
        measured("measure_start_time"),
        measured("measure_end_time"),
    ) {
        let stated = reading.value("output_tps");
        if end > start
            && stated.is_some_and(|stated| (stated * (end - start) - tokens).abs() > 0.05 * tokens)
        {
            reading.note(
                "source_contradicts",
                format!(
                    "output_tokens_per_second is {}, and {tokens} tokens took {} s",
                    stated.unwrap_or_default(),
                    end - start
                ),
            );
        }
    }
}

/// Mean, spread and percentiles, whose names are `p001` for 0.1 % and `p999` for 99.9 %.
fn statistics(distribution: &Node) -> Vec<(String, f64)> {
    let mut statistics = Vec::new();
    for key in ["mean", "std_dev", "min", "max"] {
        if let Some(value) = distribution.get(key).and_then(Node::number) {
            statistics.push((key.to_owned(), value));
        }
    }
    let percentiles = distribution.get("percentiles").and_then(Node::object);
    for (name, value) in percentiles.into_iter().flatten() {
        let name = match name.as_str() {
            "p001" => "p0.1",
            "p01" => "p1",
            "p05" => "p5",
            "p999" => "p99.9",
            name => name,
        };
        statistics.extend(value.number().map(|value| (name.to_owned(), value)));
    }
    statistics
}

#[derive(Clone, Copy)]
enum Kind {
    /// With its statistics, and what to know of them.
    PerRequest(Option<&'static str>),
    /// The mean over time stands for ours.
    Mean,
}

const BY_TOKEN: Option<&str> = Some("each request counts as often as it has tokens");

/// guidellm's name, and our definition. Its "time per output token" has the first one in it: our `ntpot`.
const METRICS: [(&str, &str, Unit, Kind); 8] = [
    (
        "request_latency",
        "request_latency",
        Unit::Seconds,
        Kind::PerRequest(None),
    ),
    (
        "time_to_first_token_ms",
        "ttft",
        Unit::Milliseconds,
        Kind::PerRequest(None),
    ),
    (
        "time_to_first_output_token_ms",
        "ttfo",
        Unit::Milliseconds,
        Kind::PerRequest(None),
    ),
    (
        "time_per_output_token_ms",
        "ntpot",
        Unit::Milliseconds,
        Kind::PerRequest(BY_TOKEN),
    ),
    (
        "inter_token_latency_ms",
        "tpot",
        Unit::Milliseconds,
        Kind::PerRequest(BY_TOKEN),
    ),
    (
        "output_tokens_per_second",
        "output_tps",
        Unit::TokensPerSecond,
        Kind::Mean,
    ),
    (
        "tokens_per_second",
        "total_tps",
        Unit::TokensPerSecond,
        Kind::Mean,
    ),
    (
        "requests_per_second",
        "requests_per_s",
        Unit::PerSecond,
        Kind::Mean,
    ),
];
