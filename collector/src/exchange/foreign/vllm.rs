//! `vllm bench serve --save-result`, one object for each run, also appended to one another.

use tokwatt_domain::workload::{Arrivals, Load};

use super::{
    Tool, date,
    node::Node,
    reading::{Fields, Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    let has = |key| node.get(key).is_some();
    has("total_output_tokens")
        && has("output_throughput")
        && (has("num_prompts") || has("model_id"))
}

pub(super) fn read(node: &Node, place: &str) -> Reading {
    let fields = Fields::of(node);
    let mut reading = Reading::new(place.to_owned());
    about(&fields, &mut reading);
    let completed = fields.number("completed");
    // Older versions do not count what failed.
    let others = || Some(fields.number("num_prompts")? - completed?);
    let failed = fields.number("failed").or_else(others);
    reading.put_counts(completed, failed, "completed / (completed + failed)");
    serving(&fields, &mut reading, LATENCIES);
    reading.put(
        "total_tps",
        fields.number("total_token_throughput"),
        Unit::TokensPerSecond,
        "total_token_throughput",
    );
    reading.put(
        "goodput",
        fields.number("request_goodput"),
        Unit::PerSecond,
        "request_goodput",
    );
    check(&fields, &mut reading);
    details(&fields, &mut reading);
    foreign(&fields, &mut reading, Tool::Vllm);
    reading
}

fn about(fields: &Fields<'_>, reading: &mut Reading) {
    let date = fields.text("date");
    reading.started = date.and_then(date::compact);
    if reading.started.is_some() {
        let said = "the file has a local time without its zone; it is taken for UTC";
        reading
            .reasons
            .insert("started".to_owned(), said.to_owned());
    }
    reading.model = fields.text("model_id").map(str::to_owned);
    let api = fields.text("endpoint_type").or(fields.text("backend"));
    reading.set("api", api);
    fields.take("backend");
    reading.set("label", fields.text("label"));
    reading.set("tokenizer", fields.text("tokenizer_id"));
    let prompts = fields.number("num_prompts");
    reading.task = format!("{} prompts", prompts.unwrap_or_default());
    reading.asked("prompts", prompts);
    let per_request = |total: Option<f64>| Some((total? / fields.number("completed")?).round());
    // The file does not name the data: these tell one set from another.
    reading.asked(
        "mean_prompt_tokens",
        per_request(fields.number("total_input_tokens")),
    );
    reading.asked(
        "mean_output_tokens",
        per_request(fields.number("total_output_tokens")),
    );
    reading.load = load(fields, prompts);
    arrivals(fields, reading);
    for (key, node) in fields.members() {
        // Whatever was said by --metadata.
        if let Some(text) = node.text().filter(|_| !KNOWN_TEXTS.contains(&key)) {
            reading.settings.insert(key.to_owned(), text.to_owned());
        }
    }
}

/// Everything at once, so many in flight, or at a rate; none if the rate grows. What else there is to arrivals, [`arrivals`] says.
pub(super) fn load(fields: &Fields<'_>, prompts: Option<f64>) -> Option<Load> {
    let concurrency = fields.number("max_concurrency");
    if fields.text("ramp_up_strategy").is_some() {
        return None;
    }
    match rate(fields) {
        Some(rate) => Some(Load::Open {
            per_1000_s: count((rate * 1000.0).round())?,
            arrivals: Arrivals::Poisson,
        }),
        None => closed(concurrency.or(prompts)),
    }
}

fn rate(fields: &Fields<'_>) -> Option<f64> {
    fields.number("request_rate").filter(|rate| *rate > 0.0)
}

/// What a load does not say of how requests come: it tells one cell from another, by any name of the workload.
pub(super) fn arrivals(fields: &Fields<'_>, reading: &mut Reading) {
    let mut arrivals: Vec<(&str, String)> = Vec::new();
    let number = |key| fields.number(key).map(|number| number.to_string());
    if let Some(strategy) = fields.text("ramp_up_strategy") {
        arrivals.push(("ramp_up_strategy", strategy.to_owned()));
        for key in ["ramp_up_start_rps", "ramp_up_end_rps"] {
            arrivals.extend(number(key).map(|number| (key, number)));
        }
        let said = "the rate grows, which is no load of one kind; closed(0) stands for that";
        reading.reasons.insert("load".to_owned(), said.to_owned());
    }
    if !arrivals.is_empty() || rate(fields).is_some() {
        let concurrency = number("max_concurrency");
        arrivals.extend(concurrency.map(|number| ("max_concurrency", number)));
        let burstiness = fields.number("burstiness").filter(|number| *number != 1.0);
        if let Some(burstiness) = burstiness {
            arrivals.push(("burstiness", burstiness.to_string()));
            reading.note(
                "gamma_arrivals",
                format!(
                    "arrivals are of a gamma distribution of burstiness {burstiness}, and poisson stands for the nearest load that has a name"
                ),
            );
        }
    }
    for (key, value) in arrivals {
        reading.task.push_str(&format!(", {key} {value}"));
        reading.asked(key, Some(&value));
        reading.set(key, Some(value));
    }
}

/// What vLLM and SGLang have in common.
pub(super) fn serving(
    fields: &Fields<'_>,
    reading: &mut Reading,
    latencies: [(&'static str, &str); 4],
) {
    reading.window_s = fields.number("duration").filter(|duration| *duration > 0.0);
    reading.put(
        "requests_per_s",
        fields.number("request_throughput"),
        Unit::PerSecond,
        "request_throughput",
    );
    reading.put(
        "output_tps",
        fields.number("output_throughput"),
        Unit::TokensPerSecond,
        "output_throughput",
    );
    for (key, node) in fields.members() {
        let Some((statistic, name)) = key.strip_suffix("_ms").and_then(|key| key.split_once('_'))
        else {
            continue;
        };
        let latency = latencies.iter().find(|(_, known)| *known == name);
        if let (Some((id, _)), Some(value)) = (latency, node.number()) {
            fields.take(key);
            let statistic = super::reading::statistic_name(statistic);
            let id = format!("{id}.{statistic}");
            // vLLM has the median twice.
            if reading.value(&id).is_none() {
                let is_spread = statistic == "std";
                let is_odd = is_spread && value == 0.0;
                reading.put(
                    &id,
                    Some(value).filter(|_| !is_odd),
                    Unit::Milliseconds,
                    key,
                );
            }
        }
    }
}

/// The file's own numbers against each other.
pub(super) fn check(fields: &Fields<'_>, reading: &mut Reading) {
    let Some(duration) = reading.window_s else {
        return;
    };
    let number = |key| fields.number(key);
    for (stated, total) in [
        ("output_throughput", number("total_output_tokens")),
        ("request_throughput", number("completed")),
    ] {
        if let Some(total) = total {
            let from = format!("the totals over {duration} s");
            reading.check(stated, fields.number(stated), &from, total / duration);
        }
    }
}

/// Ratios of sums over requests, which the summary does not have.
pub(super) fn details(fields: &Fields<'_>, reading: &mut Reading) {
    let list = |key| -> Vec<f64> {
        let items = fields.get(key).map(Node::list).unwrap_or_default();
        items
            .iter()
            .map(|item| item.number().unwrap_or_default())
            .collect()
    };
    let (ttfts, latencies, tokens) = (list("ttfts"), list("latencies"), list("output_lens"));
    let is_whole =
        !tokens.is_empty() && ttfts.len() == tokens.len() && latencies.len() == tokens.len();
    if !is_whole {
        return;
    }
    let mut sums = [0.0; 4];
    for ((ttft, latency), tokens) in ttfts.iter().zip(&latencies).zip(&tokens) {
        // What failed has no tokens, one token takes no time to decode.
        if *tokens >= 1.0 && *latency > 0.0 {
            sums[0] += tokens;
            sums[1] += latency;
        }
        if *tokens >= 2.0 && latency > ttft {
            sums[2] += tokens - 1.0;
            sums[3] += latency - ttft;
        }
    }
    let [tokens, latency, decoded, decode] = sums;
    let ratio = |above: f64, below: f64| (below > 0.0).then_some(above / below);
    reading.put(
        "e2e_output_tps",
        ratio(tokens, latency),
        Unit::TokensPerSecond,
        "sum of output_lens / sum of latencies",
    );
    reading.put(
        "decode_tps",
        ratio(decoded, decode),
        Unit::TokensPerSecond,
        "sum of (output_lens - 1) / sum of (latencies - ttfts)",
    );
}

/// Numbers without a definition here.
pub(super) fn foreign(fields: &Fields<'_>, reading: &mut Reading, tool: Tool) {
    for key in [
        "duration",
        "completed",
        "failed",
        "num_prompts",
        "max_concurrency",
        "burstiness",
        "request_rate",
        "ramp_up_start_rps",
        "ramp_up_end_rps",
    ] {
        fields.take(key);
    }
    let tool = tool.id();
    // They are looked at, and have no definition.
    for key in ["total_input_tokens", "total_output_tokens"] {
        if let Some(value) = fields.number(key) {
            reading.put_foreign(&tool, key, value, "tok");
        }
    }
    for (key, value) in fields.rest() {
        reading.put_foreign(&tool, key, value, "");
    }
}

/// Definition and vLLM's name for it. Their `itl` is the gap between chunks.
const LATENCIES: [(&str, &str); 4] = [
    ("ttft", "ttft"),
    ("tpot", "tpot"),
    ("icl", "itl"),
    ("request_latency", "e2el"),
];

const KNOWN_TEXTS: [&str; 8] = [
    "backend",
    "date",
    "endpoint_type",
    "label",
    "model_id",
    "request_rate",
    "tokenizer_id",
    "ramp_up_strategy",
];
