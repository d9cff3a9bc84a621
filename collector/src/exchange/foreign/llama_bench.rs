//! `llama-bench -o json|jsonl|csv`: a test of reading a prompt, of generating, or of both, each on its own. Its fields change every few
//! months, so that they are taken by name.

use std::{collections::BTreeMap, io::BufRead};

use super::{
    Exhausted, ForeignError, Readings, Tool,
    budget::Budget,
    date,
    node::{MEMBER_BYTES, Node},
    reading::{Fields, Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    ["build_commit", "n_prompt", "n_gen", "avg_ts"]
        .iter()
        .all(|key| node.get(key).is_some())
}

pub(super) fn read(node: &Node, place: &str) -> Reading {
    let fields = Fields::of(node);
    let mut reading = Reading::new(place.to_owned());
    about(&fields, &mut reading);
    let (prompt, generated) = (
        fields.number("n_prompt").unwrap_or_default(),
        fields.number("n_gen").unwrap_or_default(),
    );
    let depth = fields.number("n_depth").unwrap_or_default();
    reading.task = task(prompt, generated, depth);
    reading.asked("n_prompt", Some(prompt));
    reading.asked("n_gen", Some(generated));
    reading.asked("n_depth", Some(depth));
    reading.max_tokens = count(generated);
    let samples = fields.get("samples_ns").map(Node::list).unwrap_or_default();
    reading.succeeded = u32::try_from(samples.len()).ok().filter(|n| *n > 0);
    let speed = fields.number("avg_ts");
    let remark = Some("the engine alone: no server, no sampling, no prompt before it");
    match (prompt > 0.0, generated > 0.0) {
        (true, false) => reading.put_remarked(
            "prefill_tps_server",
            speed,
            Unit::TokensPerSecond,
            "avg_ts",
            remark,
        ),
        (false, true) => reading.put_remarked(
            "decode_tps_server",
            speed,
            Unit::TokensPerSecond,
            "avg_ts",
            remark,
        ),
        _ => {
            if let Some(speed) = speed {
                reading.put_foreign(&Tool::LlamaBench.id(), "avg_ts", speed, "tok/s");
            }
        }
    }
    if let (None, Some(text)) = (speed, fields.text("avg_ts")) {
        let reason = format!("`avg_ts` is `{text}`, which is no number");
        reading.reasons.insert("avg_ts".to_owned(), reason);
    }
    check(&fields, samples, prompt + generated, &mut reading);
    for (key, unit) in [
        ("avg_ns", "ns"),
        ("stddev_ns", "ns"),
        ("stddev_ts", "tok/s"),
    ] {
        if let Some(value) = fields.number(key) {
            reading.put_foreign(&Tool::LlamaBench.id(), key, value, unit);
        }
    }
    reading
}

/// The same from CSV, which has no samples.
///
/// # Errors
/// Not CSV, or more than is read.
pub(super) fn csv(
    input: impl BufRead,
    budget: &Budget,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    let mut reader = ::csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(input.take(CSV_BYTES_MAX));
    let headers = reader.headers().map_err(no_csv)?.clone();
    let mut row = ::csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(no_csv)? {
        if reader.position().byte() >= CSV_BYTES_MAX {
            return Err(Exhausted.into());
        }
        let line = row.position().map_or(0, ::csv::Position::line);
        let reading = budget.lend(|budget| {
            let object = object(&headers, &row, budget)?;
            Ok::<_, ForeignError>(read(&Node::Object(object), &format!("line {line}")))
        });
        readings.push(reading?)?;
    }
    Ok(())
}

/// A row as the JSON would have it.
fn object(
    headers: &::csv::StringRecord,
    row: &::csv::StringRecord,
    budget: &Budget,
) -> Result<BTreeMap<String, Node>, ForeignError> {
    let mut object = BTreeMap::new();
    for (key, value) in headers.iter().zip(row) {
        budget.charge(MEMBER_BYTES + key.len() + value.len())?;
        let number = value.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.filter(|_| !TEXTS.contains(&key));
        let node = number.map_or_else(|| Node::Text(value.to_owned()), Node::Number);
        object.insert(key.to_owned(), node);
    }
    Ok(object)
}

fn no_csv(error: ::csv::Error) -> ForeignError {
    let line = error.position().map_or(0, ::csv::Position::line);
    ForeignError::CutOff(usize::try_from(line).unwrap_or(usize::MAX))
}

/// As llama-bench calls its tests.
fn task(prompt: f64, generated: f64, depth: f64) -> String {
    let test = match (prompt > 0.0, generated > 0.0) {
        (true, false) => format!("pp{prompt}"),
        (false, true) => format!("tg{generated}"),
        _ => format!("pp{prompt}+tg{generated}"),
    };
    match depth > 0.0 {
        true => format!("{test} @ d{depth}"),
        false => test,
    }
}

fn about(fields: &Fields<'_>, reading: &mut Reading) {
    let build = (fields.text("build_commit"), fields.number("build_number"));
    reading.version = match build {
        (Some(commit), Some(number)) => Some(format!("b{number} ({commit})")),
        (commit, _) => commit.map(str::to_owned),
    };
    reading.engine = reading
        .version
        .as_ref()
        .map(|version| format!("llama.cpp {version}"));
    reading.started = fields.text("test_time").and_then(date::iso);
    let file = fields
        .text("model_filename")
        .map(|path| path.rsplit(['/', '\\']).next().unwrap_or(path));
    reading.model = file.map(|file| file.strip_suffix(".gguf").unwrap_or(file).to_owned());
    reading.device = [fields.text("gpu_info"), fields.text("cpu_info")]
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|name| !name.is_empty())
        .map(str::to_owned);
    reading.precision = fields.text("model_type").and_then(precision);
    reading.load = closed(Some(1.0));
    reading.is_streaming = false;
    for (key, node) in fields.members().filter(|(key, _)| SETTINGS.contains(key)) {
        let value = match node {
            Node::Text(text) => text.trim().to_owned(),
            Node::Number(number) => number.to_string(),
            Node::Bool(bool) => bool.to_string(),
            _ => continue,
        };
        reading.settings.insert(key.to_owned(), value);
    }
}

/// `qwen2 7B Q4_K - Medium`: `q4_k_m`; `llama 1B all F32`: `f32`.
fn precision(kind: &str) -> Option<String> {
    let words: Vec<&str> = kind.split_whitespace().collect();
    let is_precision = |word: &&&str| {
        let word = word.to_ascii_uppercase();
        let is_quantised = ["Q", "IQ", "TQ"].iter().any(|family| {
            let rest = word.strip_prefix(family);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        is_quantised || ["F32", "F16", "BF16", "MXFP4"].contains(&word.as_str())
    };
    let name = words.iter().find(is_precision)?.to_ascii_lowercase();
    let size = match words.last() {
        Some(&"Small") => "_s",
        Some(&"Medium") => "_m",
        Some(&"Large") => "_l",
        _ => "",
    };
    Some(format!("{name}{size}"))
}

/// Tokens over the mean of its own samples.
fn check(fields: &Fields<'_>, samples: &[Node], tokens: f64, reading: &mut Reading) {
    let samples: Vec<f64> = samples
        .iter()
        .filter_map(Node::number)
        .filter(|ns| *ns > 0.0)
        .collect();
    if samples.is_empty() || tokens <= 0.0 {
        return;
    }
    let speeds = samples.iter().map(|ns| 1e9 * tokens / ns);
    let n = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let mean = speeds.sum::<f64>() / f64::from(n);
    reading.check("avg_ts", fields.number("avg_ts"), "its samples_ns", mean);
}

/// Columns of words, also where one looks like a number: `1e10` is a commit.
const TEXTS: [&str; 6] = [
    "build_commit",
    "cpu_info",
    "gpu_info",
    "model_filename",
    "model_type",
    "test_time",
];

/// More rows than are read.
const CSV_BYTES_MAX: u64 = 64 << 20;

/// What changes speed.
const SETTINGS: [&str; 24] = [
    "backends",
    "cpu_info",
    "cpu_mask",
    "cpu_strict",
    "devices",
    "embeddings",
    "flash_attn",
    "gpu_info",
    "load_mode",
    "main_gpu",
    "n_batch",
    "n_cpu_moe",
    "n_gpu_layers",
    "n_threads",
    "n_ubatch",
    "no_kv_offload",
    "no_op_offload",
    "poll",
    "split_mode",
    "tensor_buft_overrides",
    "tensor_split",
    "type_k",
    "type_v",
    "use_mmap",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precision_is_the_word_that_is_one() {
        for (kind, want) in [
            ("qwen2 7B Q4_K - Medium", Some("q4_k_m")),
            ("llama 1B all F32", Some("f32")),
            ("granite 3B IQ4_XS - 4.25 bpw", Some("iq4_xs")),
            ("gpt-oss 20B MXFP4 MoE", Some("mxfp4")),
            ("llama ?B", None),
        ] {
            assert_eq!(precision(kind).as_deref(), want, "{kind}");
        }
    }
}
