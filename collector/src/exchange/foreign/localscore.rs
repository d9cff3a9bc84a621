//! What a LocalScore client submits: tests of several lengths on one accelerator. A power of 0 W is one that was not measured.

use super::{
    ForeignError, Readings, Tool,
    node::Node,
    reading::{Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    node.get("accelerator_info").is_some() && node.get("results").is_some()
}

/// A run for each test.
///
/// # Errors
/// There are more than are read.
pub(super) fn read(
    node: &Node,
    place: &str,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    let results = node.get("results").map(Node::list).unwrap_or_default();
    for (position, result) in results.iter().enumerate() {
        let mut reading = one(node, result, format!("{place} results[{position}]"));
        if position == 0 {
            summary(node, &mut reading);
        }
        readings.push(reading)?;
    }
    Ok(())
}

fn one(node: &Node, result: &Node, place: String) -> Reading {
    let mut reading = Reading::new(place);
    let text = |path: &[&str]| node.at(path).and_then(Node::text).map(str::to_owned);
    let of = |key| result.get(key).and_then(Node::number);
    let said = |key| result.get(key).and_then(Node::text);
    reading.device = text(&["accelerator_info", "name"]);
    reading.model = said("model_name").map(str::to_owned);
    reading.precision = said("model_quant_str").map(|quant| {
        quant
            .replace(" - Medium", "_M")
            .replace(" - Small", "_S")
            .replace(" - Large", "_L")
            .to_ascii_lowercase()
    });
    reading.version = text(&["runtime_info", "version"]);
    let runtime = text(&["runtime_info", "name"]);
    reading.engine = runtime.map(|name| {
        format!("{name} {}", reading.version.as_deref().unwrap_or_default())
            .trim()
            .to_owned()
    });
    reading.os = text(&["system_info", "version"]);
    reading.started = text(&["created_at"]).as_deref().and_then(super::date::iso);
    for (key, path) in [
        ("accelerator_type", ["accelerator_info", "type"]),
        ("cpu_name", ["system_info", "cpu_name"]),
        ("commit", ["runtime_info", "commit"]),
    ] {
        reading.set(key, text(&path));
    }
    let (prompt, generated) = (of("n_prompt"), of("n_gen"));
    reading.task = said("name").map_or_else(|| "test".to_owned(), str::to_owned);
    reading.asked("n_prompt", prompt);
    reading.asked("n_gen", generated);
    reading.max_tokens = generated.and_then(count);
    reading.load = closed(Some(1.0));
    let remark = Some("by the engine's own clock");
    reading.put_remarked(
        "prefill_tps_server",
        of("prompt_tps"),
        Unit::TokensPerSecond,
        "prompt_tps",
        remark,
    );
    reading.put_remarked(
        "decode_tps_server",
        of("gen_tps"),
        Unit::TokensPerSecond,
        "gen_tps",
        remark,
    );
    reading.put_remarked(
        "ttft.mean",
        of("ttft_ms"),
        Unit::Milliseconds,
        "ttft_ms",
        remark,
    );
    reading.put(
        "request_latency.mean",
        of("avg_time_ms"),
        Unit::Milliseconds,
        "avg_time_ms",
    );
    power(node, result, &mut reading);
    reading
}

/// NVML's of a board if it is one; of others nobody says what their figure includes.
fn power(node: &Node, result: &Node, reading: &mut Reading) {
    let of = |key: &str| result.get(key).and_then(Node::number);
    let text = |key| node.at(&["accelerator_info", key]).and_then(Node::text);
    let is_board = text("manufacturer") == Some("NVIDIA") && text("type") == Some("GPU");
    let scope = text("name")
        .filter(|_| is_board)
        .map(super::aiperf::nvml_scope);
    let Some(watts) = of("power_watts").filter(|watts| *watts > 0.0) else {
        let reason = "power_watts is 0, which means that it was not measured";
        reading
            .reasons
            .insert("power".to_owned(), reason.to_owned());
        return;
    };
    match scope {
        Some(scope) => {
            reading.put_energy("avg_power", scope, Some(watts), Unit::Watts, "power_watts")
        }
        None => reading.put_foreign(&Tool::Localscore.id(), "power_watts", watts, "W"),
    }
    // Tokens of one phase per joule of both.
    for key in ["prompt_tps_watt", "gen_tps_watt"] {
        if let Some(value) = of(key).filter(|value| *value > 0.0) {
            reading.put_foreign(&Tool::Localscore.id(), key, value, "tok/s/W");
        }
    }
    let (Some(speed), Some(efficiency)) = (of("gen_tps"), of("gen_tps_watt")) else {
        return;
    };
    let is_off = (speed / watts - efficiency).abs() > 0.01 * efficiency.abs();
    if is_off && efficiency > 0.0 {
        reading.note(
            "reciprocal",
            format!(
                "gen_tps / power_watts is {}, and the file says gen_tps_watt = {efficiency}",
                speed / watts
            ),
        );
    }
}

/// The score over all tests, checked against its formula, stands beside the first of them.
fn summary(node: &Node, first: &mut Reading) {
    let of = |key| node.at(&["results_summary", key]).and_then(Node::number);
    for (key, unit) in [
        ("avg_prompt_tps", "tok/s"),
        ("avg_gen_tps", "tok/s"),
        ("avg_ttft_ms", "ms"),
        ("performance_score", ""),
    ] {
        if let Some(value) = of(key) {
            first.put_foreign(&Tool::Localscore.id(), key, value, unit);
        }
    }
    if let (Some(prompt), Some(generated), Some(ttft), Some(score)) = (
        of("avg_prompt_tps"),
        of("avg_gen_tps"),
        of("avg_ttft_ms"),
        of("performance_score"),
    ) {
        let comes_to = 10.0 * (prompt * generated * 1000.0 / ttft).cbrt();
        if ttft > 0.0 && (comes_to - score).abs() > 0.01 * comes_to {
            first.note(
                "source_contradicts",
                format!("performance_score is {score}, and its formula comes to {comes_to}"),
            );
        }
    }
}
