//! What is asked of boards, and what it is called above a picture.

/// Metrics over time, of each model.
pub(super) const BY_MODEL: [&str; 14] = [
    "decode_tps",
    "e2e_output_tps",
    "prefill_tps",
    "request_latency",
    "request_latency.p90",
    "ttft",
    "success_rate",
    "memory_peak.process_tree",
    "memory_peak.system",
    "memory_peak.gpu",
    "load_time.cold",
    "load_time.warm",
    "load_time.swap",
    "images_per_s",
];

/// Likewise over energy: once for each power scope.
pub(super) const BY_MODEL_AND_SCOPE: [&str; 3] =
    ["tok_per_s_per_w", "j_per_output_token", "j_per_image"];

/// What may be compared from model to model.
pub(super) const OVERALL: [&str; 4] = [
    "images_per_s",
    "request_latency",
    "cv_requests",
    "success_rate",
];

/// Likewise over energy.
pub(super) const OVERALL_BY_SCOPE: [&str; 1] = ["j_per_image"];

/// For people.
pub(super) fn title(metric: &str) -> String {
    let (id, scope) = metric.split_once('@').unwrap_or((metric, ""));
    let words = TITLES
        .iter()
        .find(|(own, _)| *own == id)
        .map_or(id, |(_, words)| words);
    match scope {
        "" => words.to_owned(),
        scope => format!("{words}, {scope}"),
    }
}

const TITLES: [(&str, &str); 20] = [
    ("decode_tps", "Tokens per second while generating"),
    ("e2e_output_tps", "Generated tokens per second of latency"),
    ("prefill_tps", "Prompt tokens read per second"),
    ("output_tps", "Generated tokens per second of the window"),
    ("images_per_s", "Pictures per second"),
    ("request_latency", "Latency of a request, median"),
    (
        "request_latency.p90",
        "Latency of a request, 90th percentile",
    ),
    ("ttft", "Time to the first token, median"),
    (
        "cv_requests",
        "Spread of latencies (coefficient of variation)",
    ),
    ("success_rate", "Share of requests that succeeded"),
    (
        "memory_peak.process_tree",
        "Peak memory of the engine's processes",
    ),
    (
        "memory_peak.system",
        "Peak memory in use on the whole machine",
    ),
    ("memory_peak.gpu", "Peak memory on the GPU"),
    ("load_time.cold", "Load time, weights on disk"),
    ("load_time.warm", "Load time, weights in the page cache"),
    (
        "load_time.swap",
        "Load time, another model in memory before",
    ),
    ("tok_per_s_per_w", "Tokens per second per watt"),
    ("j_per_output_token", "Energy per generated token"),
    ("j_per_image", "Energy per picture"),
    ("output_chars", "Length of answers (length, not quality)"),
];
