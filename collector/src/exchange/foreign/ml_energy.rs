//! ML.ENERGY: `results.json` of its benchmark, and the data of its leaderboard. Energy is of the GPUs.

use super::{
    ForeignError, Readings, Tool,
    aiperf::nvml_scope,
    node::Node,
    reading::{Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    is_result(node) || (node.get("configurations").is_some() && node.get("model_id").is_some())
}

fn is_result(node: &Node) -> bool {
    node.get("steady_state_energy").is_some()
}

/// A run of the benchmark, or one for each configuration of the leaderboard.
///
/// # Errors
/// There are more than are read.
pub(super) fn read(
    node: &Node,
    place: &str,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    if is_result(node) {
        return readings.push(result(node, place));
    }
    let configurations = node
        .get("configurations")
        .map(Node::list)
        .unwrap_or_default();
    for (position, configuration) in configurations.iter().enumerate() {
        let place = format!("{place} configurations[{position}]");
        readings.push(leader(node, configuration, place))?;
    }
    Ok(())
}

fn result(node: &Node, place: &str) -> Reading {
    let mut reading = Reading::new(place.to_owned());
    let number = |key| node.get(key).and_then(Node::number);
    about(node, node, &mut reading);
    reading.window_s = number("steady_state_duration")
        .or_else(|| number("duration"))
        .filter(|window| *window > 0.0);
    reading.succeeded = number("completed").and_then(count);
    reading.asked("prompts", number("num_prompts"));
    reading.load = closed(number("max_concurrency").or_else(|| number("max_num_seqs")));
    reading.put(
        "output_tps",
        number("output_throughput"),
        Unit::TokensPerSecond,
        "output_throughput",
    );
    let scope = nvml_scope(
        node.get("gpu_model")
            .and_then(Node::text)
            .unwrap_or_default(),
    );
    let remark = "steady state: ramp and drain are left out";
    let id = |name: &str| format!("{name}@{scope}");
    reading.put_remarked(
        &id("energy"),
        number("steady_state_energy"),
        Unit::Joules,
        "steady_state_energy",
        Some(remark),
    );
    reading.put_remarked(
        &id("j_per_output_token"),
        number("steady_state_energy_per_token"),
        Unit::JoulesPerToken,
        "steady_state_energy_per_token",
        Some(remark),
    );
    if let (Some(tokens), Some(duration)) = (
        number("total_output_tokens"),
        number("duration").filter(|duration| *duration > 0.0),
    ) {
        reading.check(
            "output_throughput",
            number("output_throughput"),
            "total_output_tokens / duration",
            tokens / duration,
        );
    }
    reading
}

fn leader(node: &Node, configuration: &Node, place: String) -> Reading {
    let mut reading = Reading::new(place);
    let number = |key| configuration.get(key).and_then(Node::number);
    about(node, configuration, &mut reading);
    reading.task = node
        .get("task")
        .and_then(Node::text)
        .unwrap_or("task not stated")
        .to_owned();
    let task = reading.task.clone();
    reading.asked("task", Some(task));
    reading.load = closed(number("max_num_seqs"));
    reading.put(
        "output_tps",
        number("output_throughput_tokens_per_sec"),
        Unit::TokensPerSecond,
        "output_throughput_tokens_per_sec",
    );
    for (key, statistic) in [
        ("median_itl_ms", "p50"),
        ("p90_itl_ms", "p90"),
        ("p95_itl_ms", "p95"),
        ("p99_itl_ms", "p99"),
    ] {
        reading.put(
            &format!("icl.{statistic}"),
            number(key),
            Unit::Milliseconds,
            key,
        );
    }
    let scope = nvml_scope(
        configuration
            .get("gpu_model")
            .and_then(Node::text)
            .unwrap_or_default(),
    );
    reading.put_energy(
        "j_per_output_token",
        scope,
        number("energy_per_token_joules"),
        Unit::JoulesPerToken,
        "energy_per_token_joules",
    );
    reading.put_energy(
        "j_per_request",
        scope,
        number("energy_per_request_joules"),
        Unit::Joules,
        "energy_per_request_joules",
    );
    reading.put_energy(
        "avg_power",
        scope,
        number("avg_power_watts"),
        Unit::Watts,
        "avg_power_watts",
    );
    for key in ["avg_batch_size", "avg_output_len"] {
        if let Some(value) = number(key) {
            reading.put_foreign(&Tool::MlEnergy.id(), key, value, "");
        }
    }
    if let (Some(power), Some(speed), Some(energy)) = (
        number("avg_power_watts"),
        number("output_throughput_tokens_per_sec"),
        number("energy_per_token_joules"),
    ) {
        let comes_to = power / speed;
        if speed > 0.0 && (comes_to - energy).abs() > 0.01 * energy {
            reading.note(
                "reciprocal",
                format!(
                    "avg_power / output_throughput is {comes_to} J/tok, and the file says {energy}"
                ),
            );
        }
    }
    reading
}

fn about(node: &Node, configuration: &Node, reading: &mut Reading) {
    let text = |node: &Node, key| node.get(key).and_then(Node::text).map(str::to_owned);
    reading.model = text(node, "model_id");
    reading.precision = text(node, "weight_precision");
    let gpu = text(configuration, "gpu_model");
    let n_gpus = configuration
        .get("num_gpus")
        .and_then(Node::number)
        .unwrap_or(1.0);
    reading.device = gpu.map(|gpu| match n_gpus > 1.0 {
        true => format!("{n_gpus}x {gpu}"),
        false => gpu,
    });
    reading.engine = Some("vLLM".to_owned());
    reading.task = "requests".to_owned();
    reading.set(
        "max_num_seqs",
        configuration.get("max_num_seqs").and_then(Node::number),
    );
    reading.set("num_gpus", Some(n_gpus));
    let parallel = configuration.get("parallelization").and_then(Node::object);
    for (key, value) in parallel.into_iter().flatten() {
        reading.set(key, value.number());
    }
}
