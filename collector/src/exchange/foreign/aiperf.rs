//! AIPerf: the summary `profile_export_aiperf.json`, the requests `profile_export.jsonl`, and the aggregate over repetitions.

mod requests;

use std::collections::BTreeMap;

use tokwatt_domain::{
    power::Scope,
    workload::{Arrivals, Load},
};

use super::{
    ForeignError, Placed, Readings, Tool, date,
    node::Node,
    reading::{Fields, Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    let has = |path: &[&str]| node.at(path).is_some();
    has(&["aiperf_version"])
        || (has(&["schema_version"]) && has(&["input_config"]))
        || is_request(node)
        || is_aggregate(node)
}

/// A line of `profile_export.jsonl`.
fn is_request(node: &Node) -> bool {
    node.at(&["metadata", "benchmark_phase"]).is_some()
}

fn is_aggregate(node: &Node) -> bool {
    node.at(&["metadata", "aggregation_type"]).is_some() && node.get("metrics").is_some()
}

/// A summary each; all requests of a file together.
///
/// # Errors
/// Requests and summaries in one file.
pub(super) fn read(
    documents: &[Placed],
    readings: &mut Readings<'_>,
    notes: &mut Vec<String>,
) -> Result<(), ForeignError> {
    if documents.iter().all(|document| is_request(&document.node)) {
        notes.push("percentiles of single requests are made here by nearest rank; AIPerf's own are interpolated: its summary is profile_export_aiperf.json".to_owned());
        return readings.push(requests::read(documents));
    }
    let reading = |document: &Placed| match is_aggregate(&document.node) {
        true => aggregate(&document.node, &document.place),
        false => summary(&document.node, &document.place),
    };
    let mut documents = documents.iter().map(reading);
    documents.try_for_each(|reading| readings.push(reading))
}

fn summary(node: &Node, place: &str) -> Reading {
    let fields = Fields::of(node);
    let mut reading = Reading::new(place.to_owned());
    about(&fields, &mut reading);
    let stated = |key| node.at(&[key, "avg"]).and_then(Node::number);
    let completed = stated("completed_request_count");
    let succeeded = stated("request_count");
    let failed = match (completed, succeeded) {
        (Some(completed), Some(succeeded)) => Some(completed - succeeded),
        _ => stated("error_request_count").or(Some(0.0)),
    };
    reading.window_s = stated("benchmark_duration");
    reading.put_counts(succeeded, failed, "request_count / completed_request_count");
    for (key, metric) in fields.members() {
        put_metric(&mut reading, key, metric);
    }
    energy(node, &mut reading);
    if let (Some(duration), Some(tokens)) = (reading.window_s, stated("total_output_tokens")) {
        let speed = stated("output_token_throughput");
        reading.check(
            "output_token_throughput",
            speed,
            "total_output_tokens / benchmark_duration",
            tokens / duration,
        );
    }
    if matches!(fields.get("was_cancelled"), Some(Node::Bool(true))) {
        reading.block("cancelled", "the file says was_cancelled".to_owned());
    }
    reading
}

fn about(fields: &Fields<'_>, reading: &mut Reading) {
    reading.version = fields.text("aiperf_version").map(str::to_owned);
    reading.started = fields.text("start_time").and_then(date::iso);
    let Some(config) = fields.get("input_config") else {
        return;
    };
    let text = |path: &[&str]| config.at(path).and_then(Node::text);
    let number = |path: &[&str]| config.at(path).and_then(Node::number);
    let first = |path: &[&str]| config.at(path).map(Node::list).and_then(<[Node]>::first);
    let model = first(&["models", "items"]).and_then(|model| model.get("name")?.text());
    // Before schema 1.4 it was a list of names.
    let model = model.or_else(|| first(&["endpoint", "model_names"])?.text());
    reading.model = model.map(str::to_owned);
    reading.is_streaming = !matches!(
        config.at(&["endpoint", "streaming"]),
        Some(Node::Bool(false))
    );
    reading.set("api", text(&["endpoint", "type"]));
    let data = first(&["datasets"]);
    let of_data = |path: &[&str]| data.and_then(|data| data.at(path)).and_then(Node::number);
    let kind = data
        .and_then(|data| data.get("type")?.text())
        .unwrap_or("data not stated");
    let (isl, osl) = (
        of_data(&["prompts", "isl", "mean"]),
        of_data(&["prompts", "osl", "mean"]),
    );
    reading.asked("dataset", Some(kind));
    reading.asked("isl", isl);
    reading.asked("osl", osl);
    reading.asked("entries", of_data(&["entries"]));
    reading.asked("images", of_data(&["images", "batch_size"]));
    reading.task = match (isl, osl) {
        (Some(isl), Some(osl)) => format!("{kind} {isl}/{osl}"),
        _ => kind.to_owned(),
    };
    reading.max_tokens = osl.and_then(count);
    let phases = config.get("phases").map(Node::list).unwrap_or_default();
    let phase = phases
        .iter()
        .rev()
        .find(|phase| phase.get("concurrency").is_some() || phase.get("rate").is_some());
    let of_phase = |key| {
        phase
            .and_then(|phase| phase.get(key))
            .and_then(Node::number)
    };
    let concurrency = of_phase("concurrency").or_else(|| number(&["loadgen", "concurrency"]));
    let rate = of_phase("rate").or_else(|| number(&["loadgen", "request_rate"]));
    reading.load = match rate {
        Some(rate) => count((rate * 1000.0).round()).map(|per_1000_s| Load::Open {
            per_1000_s,
            arrivals: match phase.and_then(|phase| phase.get("type")?.text()) {
                Some("constant") => Arrivals::Constant,
                _ => Arrivals::Poisson,
            },
        }),
        None => closed(concurrency),
    };
    let gpus = gpus(fields.get("telemetry_data"));
    reading.device = gpus
        .first()
        .and_then(|gpu| gpu.get("gpu_name")?.text())
        .map(str::to_owned);
}

/// A block with a unit and statistics.
fn put_metric(reading: &mut Reading, key: &str, metric: &Node) {
    let Some(unit) = metric.get("unit").and_then(Node::text) else {
        return;
    };
    let statistics = || {
        let members = metric.object().into_iter().flatten();
        members
            .filter(|(name, _)| !["unit", "count", "sum"].contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.clone(), value.number()?)))
    };
    let known = METRICS.iter().find(|(name, ..)| *name == key);
    match (known, Unit::named(unit)) {
        (Some((_, id, Kind::PerRequest)), Some(unit)) => {
            reading.put_statistics(id, unit, key, None, statistics())
        }
        (Some((_, id, Kind::Mean)), Some(unit)) => {
            let remark = "the mean of the requests' rates, not the ratio of their sums";
            let source = format!("{key}.avg");
            let mean = metric.get("avg").and_then(Node::number);
            reading.put_remarked(id, mean, unit, &source, Some(remark));
        }
        (Some((_, id, Kind::Number)), Some(unit)) => {
            reading.put(
                id,
                metric.get("avg").and_then(Node::number),
                unit,
                &format!("{key}.avg"),
            );
        }
        _ => {
            for (statistic, value) in statistics() {
                let name = match statistic.as_str() {
                    "avg" => key.to_owned(),
                    statistic => format!("{key}.{statistic}"),
                };
                reading.put_foreign(&Tool::Aiperf.id(), &name, value, unit);
            }
        }
    }
}

/// What a GPU's own counter and sensor showed: of one GPU, whose scope its name tells.
fn energy(node: &Node, reading: &mut Reading) {
    let gpus = gpus(node.get("telemetry_data"));
    let Some(scope) = gpus
        .first()
        .and_then(|gpu| gpu.get("gpu_name")?.text())
        .map(nvml_scope)
    else {
        return;
    };
    let stated = |key| {
        let unit = node
            .at(&[key, "unit"])
            .and_then(Node::text)
            .and_then(Unit::named);
        Some((node.at(&[key, "avg"]).and_then(Node::number)?, unit?))
    };
    for (key, id) in [
        ("total_gpu_energy", "energy"),
        ("total_gpu_power", "avg_power"),
        ("energy_per_output_token", "j_per_output_token"),
        ("energy_per_request", "j_per_request"),
    ] {
        if let Some((value, unit)) = stated(key) {
            reading.values.retain(|value| value.source != key);
            reading.put_energy(id, scope, Some(value), unit, key);
        }
    }
    if let Some(value) = node
        .at(&["output_tps_per_watt", "avg"])
        .and_then(Node::number)
    {
        reading
            .values
            .retain(|value| value.source != "output_tps_per_watt");
        reading.put_energy(
            "tok_per_s_per_w",
            scope,
            Some(value),
            Unit::TokensPerJoule,
            "output_tps_per_watt",
        );
    }
    let id = |name: &str| format!("{name}@{scope}");
    let mean = |gpu: &&Node| {
        gpu.at(&["metrics", "nvidia_power_usage", "avg"])
            .or_else(|| gpu.at(&["metrics", "gpu_power_usage", "avg"]))?
            .number()
    };
    let watts: Vec<f64> = gpus.iter().filter_map(mean).collect();
    let is_each_measured = watts.len() == gpus.len() && watts.iter().all(|watts| *watts > 0.0);
    if is_each_measured && reading.value(&id("avg_power")).is_none() {
        reading.put_energy(
            "avg_power",
            scope,
            Some(watts.iter().sum()),
            Unit::Watts,
            "telemetry_data: power usage, added over GPUs",
        );
    }
    if let (Some(energy), Some(power), Some(window)) = (
        reading.value(&id("energy")),
        reading.value(&id("avg_power")),
        reading.window_s,
    ) {
        let is_far = (energy - power * window).abs() > 0.1 * energy;
        if is_far {
            reading.note(
                "source_contradicts",
                format!("energy {energy} J is not {power} W over {window} s"),
            );
        }
    }
}

/// All GPUs of all hosts.
fn gpus(telemetry: Option<&Node>) -> Vec<&Node> {
    let endpoints = telemetry.and_then(|telemetry| telemetry.get("endpoints")?.object());
    let endpoints = endpoints.into_iter().flatten();
    endpoints
        .filter_map(|(_, endpoint)| endpoint.get("gpus")?.object())
        .flatten()
        .map(|(_, gpu)| gpu)
        .collect()
}

/// What NVML's power is of: the board of a discrete GPU, the GPU's rail of a system on a chip.
pub(super) fn nvml_scope(gpu_name: &str) -> Scope {
    let name = gpu_name.to_ascii_lowercase();
    let is_on_chip = ["gb10", "orin", "thor", "xavier", "tegra"]
        .iter()
        .any(|chip| name.contains(chip));
    match is_on_chip {
        true => Scope::GpuRail,
        false => Scope::GpuBoard,
    }
}

/// Means over repetitions: one row, whose repetitions are elsewhere.
fn aggregate(node: &Node, place: &str) -> Reading {
    let mut reading = Reading::new(place.to_owned());
    let metadata = |key| node.at(&["metadata", key]);
    reading.task = "aggregate".to_owned();
    let n = metadata("num_successful_runs").and_then(Node::number);
    reading.set("runs", n);
    reading.set(
        "aggregation",
        metadata("aggregation_type").and_then(Node::text),
    );
    reading.note(
        "aggregate",
        "means over repetitions, which are not in the file".to_owned(),
    );
    let metrics = node.get("metrics").and_then(Node::object);
    for (name, metric) in metrics.into_iter().flatten() {
        let unit = metric.get("unit").and_then(Node::text).unwrap_or_default();
        let mut block = BTreeMap::from([("unit".to_owned(), Node::Text(unit.to_owned()))]);
        // `time_to_first_token_p99`: the statistic of the runs stands in the name.
        let (key, statistic) = match name.rsplit_once('_') {
            Some((key, statistic)) if is_statistic(statistic) => (key, statistic),
            _ => (name.as_str(), "avg"),
        };
        if let Some(mean) = metric.get("mean") {
            block.insert(statistic.to_owned(), mean.clone());
        }
        put_metric(&mut reading, key, &Node::Object(block));
    }
    reading
}

fn is_statistic(word: &str) -> bool {
    let is_percentile = word
        .strip_prefix('p')
        .is_some_and(|digits| digits.parse::<u32>().is_ok());
    is_percentile || ["avg", "min", "max", "std"].contains(&word)
}

/// How a metric comes about.
#[derive(Clone, Copy)]
enum Kind {
    /// A figure of each request, with its statistics.
    PerRequest,
    /// A rate of each request, of which the mean stands for ours.
    Mean,
    /// One number.
    Number,
}

/// AIPerf's name, and our definition. Its "inter token latency" is a request's mean without its first token, which is our `tpot`.
const METRICS: [(&str, &str, Kind); 12] = [
    ("request_latency", "request_latency", Kind::PerRequest),
    ("time_to_first_token", "ttft", Kind::PerRequest),
    ("time_to_first_output_token", "ttfo", Kind::PerRequest),
    ("inter_token_latency", "tpot", Kind::PerRequest),
    ("inter_chunk_latency", "icl", Kind::PerRequest),
    ("output_token_throughput_per_user", "decode_tps", Kind::Mean),
    ("e2e_output_token_throughput", "e2e_output_tps", Kind::Mean),
    ("prefill_throughput_per_user", "prefill_tps", Kind::Mean),
    ("output_token_throughput", "output_tps", Kind::Number),
    ("total_token_throughput", "total_tps", Kind::Number),
    ("request_throughput", "requests_per_s", Kind::Number),
    ("goodput", "goodput", Kind::Number),
];
