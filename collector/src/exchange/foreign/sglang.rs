//! `sglang.bench_serving --output-file`: an object on each line. Names vary by version.

use super::{
    Tool,
    node::Node,
    reading::{Fields, Reading, Unit, closed, count},
    vllm,
};

pub(super) fn recognises(node: &Node) -> bool {
    let has = |key| node.get(key).is_some();
    has("backend")
        && has("output_throughput")
        && (has("mean_e2e_latency_ms") || has("total_output_tokens_retokenized"))
}

pub(super) fn read(node: &Node, place: &str) -> Reading {
    let fields = Fields::of(node);
    let mut reading = Reading::new(place.to_owned());
    about(&fields, &mut reading);
    // Whether requests failed it does not say.
    reading.succeeded = fields.number("completed").and_then(count);
    vllm::serving(&fields, &mut reading, LATENCIES);
    let remark = "prompt tokens / window, whether cached or not";
    let input = fields.number("input_throughput");
    if let Some(input) = input {
        reading.put_foreign(&Tool::Sglang.id(), "input_throughput", input, "tok/s");
        reading
            .reasons
            .insert("prefill_tps".to_owned(), remark.to_owned());
    }
    reading.put(
        "total_tps",
        fields.number("total_throughput"),
        Unit::TokensPerSecond,
        "total_throughput",
    );
    vllm::check(&fields, &mut reading);
    vllm::details(&fields, &mut reading);
    for key in [
        "random_input_len",
        "random_output_len",
        "random_range_ratio",
        "sharegpt_output_len",
        "input_lens",
        "output_lens",
        "ttfts",
    ] {
        fields.take(key);
    }
    vllm::foreign(&fields, &mut reading, Tool::Sglang);
    reading
}

fn about(fields: &Fields<'_>, reading: &mut Reading) {
    reading.engine = fields.text("backend").map(str::to_owned);
    reading.version = fields
        .get("server_info")
        .and_then(|info| info.get("version")?.text().map(str::to_owned));
    reading.model = fields
        .text("model_id")
        .or_else(|| fields.get("server_info")?.get("model_path")?.text())
        .map(str::to_owned);
    let data = fields.text("dataset_name").unwrap_or("data not stated");
    reading.task = data.to_owned();
    reading.asked("dataset", Some(data));
    for key in [
        "random_input_len",
        "random_output_len",
        "random_range_ratio",
        "sharegpt_output_len",
    ] {
        reading.asked(key, fields.number(key));
    }
    reading.asked("completed", fields.number("completed"));
    reading.max_tokens = fields
        .number("random_output_len")
        .and_then(count)
        .filter(|_| data.starts_with("random"));
    reading.load = match fields.number("max_concurrency") {
        Some(concurrency) if fields.number("request_rate").is_none() => closed(Some(concurrency)),
        _ => vllm::load(fields, None),
    };
    vllm::arrivals(fields, reading);
    reading.set("tag", fields.text("tag"));
}

/// Definition and SGLang's name for it.
const LATENCIES: [(&str, &str); 4] = [
    ("ttft", "ttft"),
    ("tpot", "tpot"),
    ("icl", "itl"),
    ("request_latency", "e2e_latency"),
];
