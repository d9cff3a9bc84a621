//! GenAI-Perf: `profile_export_genai_perf.json`, statistics at top level.

use tokwatt_domain::workload::{Arrivals, Load};

use super::{
    Tool,
    node::Node,
    reading::{Fields, Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    let has = |path: &[&str]| node.at(path).is_some();
    has(&["input_config"]) && has(&["request_latency", "unit"]) && !has(&["aiperf_version"])
}

pub(super) fn read(node: &Node, place: &str) -> Reading {
    let fields = Fields::of(node);
    let mut reading = Reading::new(place.to_owned());
    about(&fields, &mut reading);
    let count_of = |key| node.at(&[key, "avg"]).and_then(Node::number);
    reading.succeeded = count_of("request_count").and_then(count);
    for (key, metric) in fields.members() {
        put_metric(&mut reading, key, metric);
    }
    telemetry(fields.get("telemetry_stats"), &mut reading);
    reading
}

fn about(fields: &Fields<'_>, reading: &mut Reading) {
    let Some(config) = fields.get("input_config") else {
        return;
    };
    let text = |path: &[&str]| config.at(path).and_then(Node::text);
    let number = |path: &[&str]| config.at(path).and_then(Node::number);
    let names = |path: &[&str]| {
        config
            .at(path)
            .map(Node::list)
            .and_then(<[Node]>::first)
            .and_then(Node::text)
    };
    reading.model = names(&["model_names"])
        .or_else(|| names(&["model"]))
        .or_else(|| text(&["formatted_model_name"]))
        .map(str::to_owned);
    reading.engine = text(&["endpoint", "backend"])
        .or_else(|| text(&["backend"]))
        .map(str::to_owned);
    reading.set(
        "api",
        text(&["endpoint", "type"]).or_else(|| text(&["endpoint_type"])),
    );
    let streaming = config
        .at(&["endpoint", "streaming"])
        .or_else(|| config.get("streaming"));
    reading.is_streaming = streaming != Some(&Node::Bool(false));
    let isl = number(&["input", "synthetic_tokens", "mean"])
        .or_else(|| number(&["synthetic_input_tokens_mean"]));
    let osl =
        number(&["input", "output_tokens", "mean"]).or_else(|| number(&["output_tokens_mean"]));
    let osl = osl.filter(|osl| *osl > 0.0);
    reading.asked("isl", isl);
    reading.asked("osl", osl);
    reading.asked("requests", reading.succeeded);
    reading.asked(
        "prompts",
        number(&["num_dataset_entries"]).or_else(|| number(&["num_prompts"])),
    );
    reading.task = match (isl, osl) {
        (Some(isl), Some(osl)) => format!("synthetic {isl}/{osl}"),
        (Some(isl), None) => format!("synthetic {isl}"),
        _ => "data not stated".to_owned(),
    };
    reading.max_tokens = osl.and_then(count);
    let stimulus = config.at(&["perf_analyzer", "stimulus"]);
    let of_stimulus = |key| {
        stimulus
            .and_then(|stimulus| stimulus.get(key))
            .and_then(Node::number)
    };
    let rate = of_stimulus("request_rate").or_else(|| number(&["request_rate"]));
    let concurrency = of_stimulus("concurrency").or_else(|| number(&["concurrency"]));
    reading.load = match rate {
        Some(rate) => count((rate * 1000.0).round()).map(|per_1000_s| Load::Open {
            per_1000_s,
            arrivals: Arrivals::Constant,
        }),
        None => closed(concurrency),
    };
}

fn put_metric(reading: &mut Reading, key: &str, metric: &Node) {
    let Some(unit) = metric.get("unit").and_then(Node::text) else {
        return;
    };
    let members = metric.object().into_iter().flatten();
    let statistics = members
        .filter(|(name, _)| name.as_str() != "unit")
        .filter_map(|(name, value)| Some((name.clone(), value.number()?)));
    let known = METRICS.iter().find(|(name, ..)| *name == key);
    // Of an answer in one piece it writes the latency for the first token's time.
    if let Some((_, id @ ("ttft" | "tpot"), _)) = known
        && !reading.is_streaming
    {
        let reason = "answers were not streamed".to_owned();
        reading.reasons.insert((*id).to_owned(), reason);
        return;
    }
    match (known, Unit::named(unit)) {
        (Some((_, id, true)), Some(unit)) => {
            reading.put_statistics(id, unit, key, None, statistics)
        }
        (Some((_, id, false)), Some(unit)) => {
            reading.put(
                id,
                metric.get("avg").and_then(Node::number),
                unit,
                &format!("{key}.avg"),
            );
        }
        _ => {
            for (statistic, value) in statistics {
                let name = match statistic.as_str() {
                    "avg" => key.to_owned(),
                    statistic => format!("{key}.{statistic}"),
                };
                reading.put_foreign(&Tool::GenaiPerf.id(), &name, value, unit);
            }
        }
    }
}

/// Power of its GPUs. Which GPUs they are the file does not say, so that the scope is not known either.
fn telemetry(telemetry: Option<&Node>, reading: &mut Reading) {
    let Some(power) = telemetry.and_then(|telemetry| telemetry.get("gpu_power_usage")) else {
        return;
    };
    let unit = power
        .get("unit")
        .and_then(Node::text)
        .unwrap_or("W")
        .to_owned();
    let gpus = power
        .object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.as_str() != "unit");
    for (gpu, statistics) in gpus {
        let mean = statistics
            .get("avg")
            .and_then(Node::number)
            .filter(|watts| *watts > 0.0);
        if let Some(mean) = mean {
            let name = format!("gpu_power_usage.{gpu}");
            reading.put_foreign(&Tool::GenaiPerf.id(), &name, mean, &unit);
        }
    }
}

/// GenAI-Perf's name, our definition, and whether it is of each request. Its "inter token latency" is our `tpot`.
const METRICS: [(&str, &str, bool); 7] = [
    ("request_latency", "request_latency", true),
    ("time_to_first_token", "ttft", true),
    ("inter_token_latency", "tpot", true),
    ("output_token_throughput", "output_tps", false),
    ("output_token_throughput_per_user", "decode_tps", false),
    ("request_throughput", "requests_per_s", false),
    ("goodput", "goodput", false),
];
