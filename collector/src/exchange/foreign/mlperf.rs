//! MLPerf LoadGen: `mlperf_log_summary.txt` for people, and `mlperf_log_detail.txt` with a JSON object on each line. Latencies in ns.

use std::io::{BufRead, Read};

use tokwatt_domain::workload::{Arrivals, Load};

use super::{
    Exhausted, ForeignError, Tool,
    budget::Budget,
    date, no_json,
    node::{Node, documents},
    reading::{Reading, Unit, closed, count},
};

/// `key : value` with whatever space around.
///
/// # Errors
/// It cannot be read, or has no scenario.
pub(super) fn summary(input: impl BufRead) -> Result<Reading, ForeignError> {
    let mut text = String::new();
    let mut input = input.take(SUMMARY_BYTES_MAX);
    input.read_to_string(&mut text)?;
    if input.limit() == 0 {
        return Err(Exhausted.into());
    }
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let pairs: Vec<(&str, &str)> = lines
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let find = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    };
    let scenario = find("Scenario").ok_or_else(|| cut_off(&text))?;
    let mut reading = Reading::new("line 1".to_owned());
    about(
        &mut reading,
        scenario,
        find("target_qps").and_then(|qps| qps.parse().ok()),
    );
    reading.set("sut_name", find("SUT name"));
    judge(&mut reading, find("Result is"));
    for (key, value) in &pairs {
        let (Ok(value), Some(figure)) = (value.parse::<f64>(), Summary::of(key)) else {
            continue;
        };
        match figure {
            Summary::Latency(id, statistic) => {
                let id = format!("{id}.{statistic}");
                if reading.value(&id).is_none() {
                    reading.put(&id, Some(value), Unit::Nanoseconds, key);
                }
            }
            Summary::Tokens => put_once(
                &mut reading,
                "output_tps",
                value,
                Unit::TokensPerSecond,
                key,
            ),
            Summary::Samples => {
                put_once(&mut reading, "requests_per_s", value, Unit::PerSecond, key)
            }
            Summary::Foreign(unit) => reading.put_foreign(&Tool::Mlperf.id(), key, value, unit),
        }
    }
    Ok(reading)
}

/// Lines `:::MLLOG {…}`.
///
/// # Errors
/// A line is no JSON, or there is more than is read.
pub(super) fn detail(input: impl BufRead, budget: &Budget) -> Result<Reading, ForeignError> {
    let mut reading = Reading::new("line 1".to_owned());
    let mut found: Vec<(String, Node)> = Vec::new();
    let mut lines = input.take(TEXT_BYTES_MAX);
    let mut line = String::new();
    let mut number = 0;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            break;
        }
        number += 1;
        let Some(json) = line.strip_prefix(":::MLLOG ") else {
            continue;
        };
        // Of a line hardly anything is kept.
        let document = budget.lend(|budget| documents(json.as_bytes(), budget));
        let document = document.map_err(|error| match no_json(error) {
            ForeignError::CutOff(_) => ForeignError::CutOff(number),
            ForeignError::NoJson {
                column, problem, ..
            } => ForeignError::NoJson {
                line: number,
                column,
                problem,
            },
            other => other,
        })?;
        let Some(node) = document.first().map(|document| &document.node) else {
            continue;
        };
        if let (Some(key), Some(value)) = (node.get("key").and_then(Node::text), node.get("value"))
        {
            let is_looked_at = value.number().is_some() || TEXTS.contains(&key);
            if is_looked_at {
                budget.charge(FOUND_BYTES + line.len())?;
                found.push((key.to_owned(), value.clone()));
            }
        }
    }
    if lines.limit() == 0 {
        return Err(Exhausted.into());
    }
    let find = |name: &str| {
        found
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let text = |name| find(name).and_then(Node::text);
    let of = |name| find(name).and_then(Node::number);
    let scenario = text("effective_scenario").ok_or(ForeignError::CutOff(number))?;
    about(&mut reading, scenario, of("effective_target_qps"));
    reading.version = text("loadgen_version")
        .map(|version| version.split(" @").next().unwrap_or(version).to_owned());
    reading.started = text("test_datetime").and_then(date::iso);
    reading.set("sut_name", text("sut_name"));
    judge(&mut reading, text("result_validity"));
    reading.window_s = of("generated_query_duration")
        .map(|ns| ns / 1e9)
        .filter(|window| *window > 0.0);
    let errors = of("num_errors");
    reading.put_counts(
        of("result_query_count").or_else(|| of("generated_query_count")),
        errors,
        "num_errors",
    );
    for (key, value) in &found {
        let Some(value) = value.number() else {
            continue;
        };
        match latency_key(key) {
            Some((id, statistic)) => reading.put(
                &format!("{id}.{statistic}"),
                Some(value),
                Unit::Nanoseconds,
                key,
            ),
            None => other(&mut reading, key, value),
        }
    }
    Ok(reading)
}

fn about(reading: &mut Reading, scenario: &str, target_qps: Option<f64>) {
    reading.task = scenario.to_owned();
    reading.asked("scenario", Some(scenario));
    reading.load = match scenario {
        "SingleStream" => closed(Some(1.0)),
        "Server" => target_qps.and_then(|qps| {
            Some(Load::Open {
                per_1000_s: count((qps * 1000.0).round())?,
                arrivals: Arrivals::Poisson,
            })
        }),
        _ => None,
    };
    reading.is_streaming = scenario != "Offline";
}

fn judge(reading: &mut Reading, verdict: Option<&str>) {
    if let Some(verdict) = verdict.filter(|verdict| *verdict != "VALID") {
        reading.block(
            "invalid",
            format!("LoadGen says that the result is {verdict}"),
        );
    }
}

fn put_once(reading: &mut Reading, id: &str, value: f64, unit: Unit, source: &str) {
    if reading.value(id).is_none() {
        reading.put(id, Some(value), unit, source);
    }
}

/// A line of the summary.
enum Summary {
    Latency(&'static str, String),
    Tokens,
    Samples,
    Foreign(&'static str),
}

impl Summary {
    fn of(key: &str) -> Option<Self> {
        let key = key.to_ascii_lowercase();
        if let Some(name) = key.strip_suffix(" (ns)") {
            let (statistic, name) = name.trim().split_once(' ')?;
            let name = name.trim_start_matches("percentile ").trim();
            let id = match name {
                "latency" => "request_latency",
                "first token latency" => "ttft",
                "time to output token" => "tpot",
                _ => return None,
            };
            return Some(Self::Latency(id, statistic_of(statistic)?));
        }
        Some(match key.as_str() {
            "completed tokens per second" | "tokens per second" | "tps w/o loadgen overhead" => {
                Self::Tokens
            }
            "completed samples per second" | "samples per second" | "qps w/o loadgen overhead" => {
                Self::Samples
            }
            "scheduled samples per second" | "qps w/ loadgen overhead" => Self::Foreign("1/s"),
            "tps w/ loadgen overhead" => Self::Foreign("tok/s"),
            _ => return None,
        })
    }
}

/// `99.90`, `90.0th`: `p99_9`, `p90`; `mean`.
fn statistic_of(word: &str) -> Option<String> {
    if ["min", "max", "mean"].contains(&word) {
        return Some(word.to_owned());
    }
    let percent: f64 = word.trim_end_matches("th").parse().ok()?;
    Some(super::reading::statistic_name(&format!("p{percent}")))
}

/// `result_first_token_99.00_percentile_latency_ns`: `ttft`, `p99`.
fn latency_key(key: &str) -> Option<(&'static str, String)> {
    let key = key.strip_prefix("result_")?;
    let (id, rest) = if let Some(rest) = key.strip_prefix("first_token_") {
        ("ttft", rest.strip_suffix("_latency_ns")?)
    } else if let Some(rest) = key.strip_prefix("time_per_output_token_") {
        ("tpot", rest.strip_suffix("_ns")?)
    } else if let Some(rest) = key.strip_prefix("time_to_output_token_") {
        ("tpot", rest)
    } else {
        ("request_latency", key.strip_suffix("_latency_ns")?)
    };
    let word = rest.strip_suffix("_percentile").unwrap_or(rest);
    Some((id, statistic_of(word)?))
}

fn other(reading: &mut Reading, key: &str, value: f64) {
    match key {
        "result_completed_tokens_per_second" | "result_tokens_per_second" => {
            put_once(reading, "output_tps", value, Unit::TokensPerSecond, key)
        }
        "result_completed_samples_per_sec" | "result_samples_per_second" => {
            put_once(reading, "requests_per_s", value, Unit::PerSecond, key)
        }
        // Of some versions it is per ns, though nothing says so: the completed tokens are right.
        "result_token_throughput" | "result_token_throughput_with_loadgen_overhead" => {
            reading.put_foreign(&Tool::Mlperf.id(), key, value, "not stated");
        }
        _ if key.starts_with("result_") || key == "power_begin" => {
            reading.put_foreign(&Tool::Mlperf.id(), key, value, "");
        }
        _ => {}
    }
}

fn cut_off(text: &str) -> ForeignError {
    ForeignError::CutOff(text.lines().count())
}

/// Members of the detail log whose texts are read.
const TEXTS: [&str; 5] = [
    "effective_scenario",
    "loadgen_version",
    "result_validity",
    "sut_name",
    "test_datetime",
];

/// A line of the detail log, and the value that it becomes.
const FOUND_BYTES: usize = 512;

/// A summary has a page.
const SUMMARY_BYTES_MAX: u64 = 4 << 20;

/// A detail log of a long run has a line for each warning.
const TEXT_BYTES_MAX: u64 = 64 << 20;
