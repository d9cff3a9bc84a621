//! optimum-benchmark: `benchmark_report.json`, and `benchmark.json`, which has the configuration beside it. One run over all its targets.

use super::{
    Tool,
    node::Node,
    reading::{Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    report_of(node).is_some()
}

/// The report itself: targets with latencies.
fn report_of(node: &Node) -> Option<&Node> {
    let report = node.get("report").unwrap_or(node);
    let is_target = |name: &str| report.at(&[name, "latency", "unit"]).is_some();
    TARGETS.into_iter().any(is_target).then_some(report)
}

pub(super) fn read(node: &Node, place: &str) -> Option<Reading> {
    let report = report_of(node)?;
    let mut reading = Reading::new(place.to_owned());
    if let Some(config) = node.get("config") {
        about(config, &mut reading);
    }
    if reading.task.is_empty() {
        reading.task = "workload not stated".to_owned();
    }
    reading.is_streaming = false;
    for (target, figures) in report.object().into_iter().flatten() {
        put_target(target, figures, &mut reading);
    }
    Some(reading)
}

fn about(config: &Node, reading: &mut Reading) {
    let text = |path: &[&str]| config.at(path).and_then(Node::text);
    let number = |path: &[&str]| config.at(path).and_then(Node::number);
    reading.model = text(&["backend", "model"]).map(str::to_owned);
    reading.precision = text(&["backend", "quantization_scheme"])
        .or_else(|| text(&["backend", "torch_dtype"]))
        .or_else(|| text(&["backend", "dtype"]))
        .map(str::to_owned);
    let engine = (text(&["backend", "name"]), text(&["backend", "version"]));
    reading.engine = match engine {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (name, _) => name.map(str::to_owned),
    };
    reading.version = text(&["environment", "optimum_benchmark_version"]).map(str::to_owned);
    let gpu = config
        .at(&["environment", "gpu"])
        .map(Node::list)
        .and_then(<[Node]>::first)
        .and_then(Node::text);
    let is_on_gpu = text(&["backend", "device"]) != Some("cpu");
    reading.device = gpu
        .filter(|_| is_on_gpu)
        .or_else(|| text(&["environment", "cpu"]))
        .map(|name| name.trim().to_owned());
    reading.os = text(&["environment", "platform"]).map(str::to_owned);
    let task = text(&["backend", "task"]);
    let batch = number(&["scenario", "input_shapes", "batch_size"]);
    let length = number(&["scenario", "input_shapes", "sequence_length"]);
    let new = number(&["scenario", "generate_kwargs", "max_new_tokens"]);
    reading.asked("task", task);
    reading.asked("batch_size", batch);
    reading.asked("sequence_length", length);
    reading.asked("new_tokens", new);
    reading.task = format!(
        "{} {}",
        task.unwrap_or("task not stated"),
        length
            .map(|length| format!("{length}/{}", new.unwrap_or_default()))
            .unwrap_or_default()
    )
    .trim()
    .to_owned();
    reading.max_tokens = new.and_then(count);
    reading.load = closed(batch);
    reading.set("device", text(&["backend", "device"]));
}

fn put_target(target: &str, figures: &Node, reading: &mut Reading) {
    let number = |path: &[&str]| figures.at(path).and_then(Node::number);
    let tool = Tool::Optimum.id();
    let speed = number(&["throughput", "value"]);
    let unit = figures
        .at(&["throughput", "unit"])
        .and_then(Node::text)
        .unwrap_or_default();
    let remark = Some("the engine alone, batch of the scenario");
    match (target, unit) {
        ("prefill", "tokens/s") => reading.put_remarked(
            "prefill_tps_server",
            speed,
            Unit::TokensPerSecond,
            "prefill.throughput",
            remark,
        ),
        ("decode", "tokens/s") => reading.put_remarked(
            "decode_tps_server",
            speed,
            Unit::TokensPerSecond,
            "decode.throughput",
            remark,
        ),
        _ => {
            if let Some(speed) = speed {
                reading.put_foreign(&tool, &format!("{target}.throughput"), speed, unit);
            }
        }
    }
    let latency_unit = figures
        .at(&["latency", "unit"])
        .and_then(Node::text)
        .unwrap_or("s");
    let is_load = ["load", "load_model"].contains(&target);
    if is_load && latency_unit == "s" {
        let remark = Some(
            "to the loaded model, without a first token; whether it was in the page cache is not said",
        );
        let mean = number(&["latency", "mean"]);
        reading.put_remarked(
            "load_time.warm",
            mean,
            Unit::Seconds,
            &format!("{target}.latency.mean"),
            remark,
        );
    }
    for statistic in ["mean", "p50", "p90", "p95", "p99", "stdev"] {
        if let Some(value) = number(&["latency", statistic]).filter(|_| !is_load) {
            reading.put_foreign(
                &tool,
                &format!("{target}.latency.{statistic}"),
                value,
                latency_unit,
            );
        }
    }
    let memory_unit = figures
        .at(&["memory", "unit"])
        .and_then(Node::text)
        .unwrap_or_default();
    for (key, value) in figures
        .get("memory")
        .and_then(Node::object)
        .into_iter()
        .flatten()
    {
        if let Some(value) = value.number() {
            reading.put_foreign(&tool, &format!("{target}.memory.{key}"), value, memory_unit);
        }
    }
    energy(target, figures, reading);
}

/// By codecarbon: the GPU's counter, and for processor and memory what a formula makes of their kind. None of it is of a scope of ours.
fn energy(target: &str, figures: &Node, reading: &mut Reading) {
    let tool = Tool::Optimum.id();
    for (key, value) in figures
        .get("energy")
        .and_then(Node::object)
        .into_iter()
        .flatten()
    {
        if let Some(value) = value.number().filter(|value| *value > 0.0) {
            // 1 kWh is 3.6 MJ.
            reading.put_foreign(&tool, &format!("{target}.energy.{key}"), 3.6e6 * value, "J");
        }
    }
    let efficiency = figures.at(&["efficiency", "value"]).and_then(Node::number);
    let unit = figures.at(&["efficiency", "unit"]).and_then(Node::text);
    if let (Some(value), Some("tokens/kWh")) = (efficiency.filter(|value| *value > 0.0), unit) {
        reading.put_foreign(
            &tool,
            &format!("{target}.j_per_token"),
            3.6e6 / value,
            "J/tok",
        );
    }
}

/// What it measures, in all its versions.
const TARGETS: [&str; 8] = [
    "load_model",
    "load",
    "first_generate",
    "generate",
    "prefill",
    "decode",
    "per_token",
    "forward",
];
