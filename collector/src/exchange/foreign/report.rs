//! From what a file says to a report like any other, of provenance `imported`: what is not said is absent, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokwatt_domain::{
    ids::{DeviceId, Digest, RunId},
    metrics::{
        Distribution, MetricValue, Percentile, PowerReport, RequestCounts, RunProvenance,
        RunReport,
        dictionary::{Kind, definition, definitions},
    },
    power::Scope,
    run::{Cell, Configuration, Identity, RunHeader},
    spelling,
    workload::{CachePolicy, Load, Sampling},
};

use super::{ForeignError, Source, Tool, Value, reading::Reading};

/// What whoever imports a file says about it: it goes before what the file says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Labels(BTreeMap<String, String>);

/// A run of a file.
#[derive(Clone, Debug)]
pub(in crate::exchange) struct ForeignRun {
    /// Where in the file.
    pub(in crate::exchange) place: String,
    /// Of the tool, if the file says it.
    pub(in crate::exchange) version: Option<String>,
    /// Every value of it, also those that stand in no report.
    pub(in crate::exchange) values: Vec<Value>,
    /// As of a run that was delivered.
    pub(in crate::exchange) header: RunHeader,
    /// As of a run that was measured.
    pub(in crate::exchange) report: RunReport,
}

impl Labels {
    /// Reads `key=value` texts.
    ///
    /// # Errors
    /// An unknown key, or no value; the message says what there is.
    pub fn parse(texts: &[String]) -> Result<Self, ForeignError> {
        let mut labels = BTreeMap::new();
        for text in texts {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if !LABELS.contains(&key) {
                let advice = spelling::advice(key, &LABELS);
                return Err(ForeignError::Name(format!(
                    "unknown label `{key}`, {advice}"
                )));
            }
            if value.trim().is_empty() {
                return Err(ForeignError::Name(format!(
                    "label `{key}` has no value: write {key}=VALUE"
                )));
            }
            labels.insert(key.to_owned(), value.trim().to_owned());
        }
        if let Some(device) = labels.get("device") {
            DeviceId::parse(device).map_err(|error| ForeignError::Name(error.to_string()))?;
        }
        Ok(Self(labels))
    }

    /// In the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
}

/// Reports of all that a file says, repetitions of a cell numbered in the order of the file.
pub(super) fn runs(
    tool: Tool,
    readings: Vec<Reading>,
    source: &Source<'_>,
) -> Result<Vec<ForeignRun>, ForeignError> {
    let mut repetitions: BTreeMap<String, u32> = BTreeMap::new();
    let with_values = readings
        .into_iter()
        .filter(|reading| !reading.values.is_empty());
    (0_u32..)
        .zip(with_values)
        .map(|(position, reading)| {
            let mut run = run(tool, position, reading, source)?;
            let cell = serde_json::to_string(&(&run.header.device, &run.header.cell));
            let cell = cell.expect("texts and numbers under textual keys");
            let repetition = repetitions.entry(cell).or_default();
            *repetition += 1;
            run.header.repetition = *repetition;
            run.report.repetition = *repetition;
            Ok(run)
        })
        .collect()
}

fn run(
    tool: Tool,
    position: u32,
    reading: Reading,
    source: &Source<'_>,
) -> Result<ForeignRun, ForeignError> {
    let id = run_id(source.sha256, position);
    let mut reasons = reading.reasons.clone();
    let device = device(&reading, source.labels)?;
    let cell = cell(tool, &reading, source.labels, &mut reasons)?;
    let started = reading.started.unwrap_or_else(|| {
        let said = "the file does not say when: this is when it was imported";
        reasons.insert("started".to_owned(), said.to_owned());
        source.imported
    });
    let version = reading.version.as_deref().unwrap_or("version not stated");
    reasons.insert(
        "source".to_owned(),
        format!(
            "{} of `{}`, sha256 {}, by {tool} {version}",
            reading.place, source.name, source.sha256
        ),
    );
    let power = power(&reading);
    if power.is_empty() {
        let reason = "the file has no power figure of a stated scope";
        reasons
            .entry("power".to_owned())
            .or_insert_with(|| reason.to_owned());
    }
    let header = RunHeader {
        run: id,
        device: device.clone(),
        cell: cell.clone(),
        repetition: 1,
        started,
        scoring: None,
        has_pictures: false,
        requests_provenance: reading.provenance,
        is_quick: false,
        idle: Vec::new(),
        load_time: None,
        load_trials: Vec::new(),
        image_tokens: None,
        cache_probe: None,
        limits: None,
        job: None,
        reasons: reasons.clone(),
    };
    let mut flags = reading.flags.clone();
    flags.sort();
    let report = RunReport {
        run: id,
        device,
        repetition: 1,
        started,
        cell,
        provenance: RunProvenance {
            requests: reading.provenance,
            power: (!power.is_empty()).then_some(reading.provenance),
        },
        limits: None,
        window_s: reading.window_s.unwrap_or_default(),
        loads: Vec::new(),
        requests: RequestCounts {
            issued: reading.succeeded.unwrap_or_default() + reading.failed.unwrap_or_default(),
            succeeded: reading.succeeded.unwrap_or_default(),
            failed: reading
                .failed
                .filter(|failed| *failed > 0)
                .map(|failed| ("not_stated".to_owned(), failed))
                .into_iter()
                .collect(),
        },
        metrics: metrics(&reading),
        power,
        server: None,
        quality: BTreeMap::new(),
        totals: BTreeMap::new(),
        flags,
        reasons,
    };
    Ok(ForeignRun {
        place: reading.place,
        version: reading.version,
        values: reading.values,
        header,
        report,
    })
}

/// The same for the same place of the same file, whoever imports it.
fn run_id(file: Digest, position: u32) -> RunId {
    let mut hash = Sha256::new();
    hash.update(b"tokwatt imported run 1\n");
    hash.update(file.0);
    hash.update(position.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RunId(id)
}

fn device(reading: &Reading, labels: &Labels) -> Result<DeviceId, ForeignError> {
    let said = labels
        .get("device")
        .or_else(|| reading.device.as_deref().map(slug));
    let name = said.filter(|name| !name.is_empty());
    let name = name.ok_or(ForeignError::Unsaid {
        what: "on which device it was measured",
        flag: "--device NAME",
    })?;
    DeviceId::parse(&name).map_err(|error| ForeignError::Name(error.to_string()))
}

/// `NVIDIA GeForce RTX 3090` as the name of a device: `nvidia-geforce-rtx-3090`.
fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.truncate(63);
    name.trim_end_matches('-').to_owned()
}

fn cell(
    tool: Tool,
    reading: &Reading,
    labels: &Labels,
    reasons: &mut BTreeMap<String, String>,
) -> Result<Cell, ForeignError> {
    let model = labels.get("model").or_else(|| reading.model.clone());
    let model = model.ok_or(ForeignError::Unsaid {
        what: "which model it is about",
        flag: "--model NAME",
    })?;
    let mut unsaid = |key: &str, stands: &str| {
        let reason = format!("the file does not say it; {stands} stands for that");
        reasons.entry(key.to_owned()).or_insert(reason);
    };
    let precision = labels
        .get("precision")
        .or_else(|| reading.precision.clone());
    let precision = precision.unwrap_or_else(|| NOT_STATED.to_owned());
    let max_tokens = reading.max_tokens.unwrap_or_else(|| {
        unsaid("max_tokens", "0");
        0
    });
    let load = reading.load.unwrap_or_else(|| {
        unsaid("load", "closed(0)");
        Load::Closed(0)
    });
    unsaid("sampling", "greedy");
    unsaid("cache_policy", "warm, the weaker word,");
    let workload = match labels.get("workload") {
        Some(name) => BTreeMap::from([("workload".to_owned(), name)]),
        None => reading.workload.clone(),
    };
    let task = labels
        .get("workload")
        .unwrap_or_else(|| reading.task.clone());
    Ok(Cell {
        identity: Identity {
            suite: tool.as_str().to_owned(),
            suite_digest: suite_digest(tool, &workload),
            task,
            image_px: None,
            model,
            precision,
            max_tokens,
            sampling: Sampling::Greedy,
            load,
            cache_policy: CachePolicy::Warm,
            is_streaming: reading.is_streaming,
        },
        configuration: Configuration {
            backend: tool.as_str().to_owned(),
            engine: labels
                .get("engine")
                .or_else(|| reading.engine.clone())
                .unwrap_or_else(|| NOT_STATED.to_owned()),
            engine_flags: reading.settings.clone(),
            model_digest: None,
            mmproj_digest: None,
            mmproj_precision: None,
            model_facts: BTreeMap::new(),
            power_mode: labels.get("power_mode"),
            os: reading.os.clone().unwrap_or_else(|| NOT_STATED.to_owned()),
        },
    })
}

/// Only runs of one tool and one workload are compared.
fn suite_digest(tool: Tool, workload: &BTreeMap<String, String>) -> Digest {
    let workload = serde_json::to_string(workload).expect("texts");
    let text = format!("tokwatt imported suite 1\n{tool}\n{workload}");
    Digest(Sha256::digest(text).into())
}

/// Everything of the dictionary that needs no scope.
fn metrics(reading: &Reading) -> BTreeMap<String, Option<MetricValue>> {
    let mut metrics = BTreeMap::new();
    for id in distributions() {
        let of = |statistic: &str| reading.value(&format!("{id}.{statistic}"));
        let percentile = |statistic| of(statistic).map(Percentile::Value);
        let distribution = Distribution {
            mean: of("mean"),
            p50: percentile("p50"),
            p90: percentile("p90"),
            p95: percentile("p95"),
            p99: percentile("p99"),
            n: reading.succeeded.unwrap_or_default(),
        };
        let parts = [
            distribution.p50,
            distribution.p90,
            distribution.p95,
            distribution.p99,
        ];
        if distribution.mean.is_some() || parts.iter().any(Option::is_some) {
            metrics.insert(id.to_owned(), Some(MetricValue::Distribution(distribution)));
        }
    }
    for value in &reading.values {
        let is_number = definition(&value.id).is_ok_and(|definition| {
            !definition.needs_scope && !matches!(definition.kind, Kind::Percentile { .. })
        });
        if is_number {
            metrics.insert(value.id.clone(), Some(MetricValue::Number(value.value)));
        }
    }
    metrics
}

fn distributions() -> BTreeSet<&'static str> {
    let of = |kind| match kind {
        Kind::Percentile { of, .. } => Some(of),
        _ => None,
    };
    definitions()
        .iter()
        .filter_map(|definition| of(definition.kind))
        .collect()
}

/// One for each scope that the file states. How the sensor was read is not known, so that its energy is shown and not ranked.
fn power(reading: &Reading) -> Vec<PowerReport> {
    let scopes = Scope::ALL.into_iter().filter(|scope| {
        let end = format!("@{scope}");
        reading.values.iter().any(|value| value.id.ends_with(&end))
    });
    scopes
        .map(|scope| {
            let of = |id: &str| reading.value(&format!("{id}@{scope}"));
            PowerReport {
                scope,
                source: "the file".to_owned(),
                rails: Vec::new(),
                energy_j: of("energy"),
                error_bound_j: None,
                error_terms_j: BTreeMap::new(),
                avg_power_w: of("avg_power"),
                idle_unloaded_power_w: of("idle_unloaded_power"),
                idle_loaded_power_w: of("idle_loaded_power"),
                energy_net_j: None,
                energy_net_bound_j: None,
                coverage: 0.0,
                bracketed: false,
                sample_period_s: None,
                refresh_s: None,
                refresh_source: None,
                samples: 0,
                largest_gap_s: None,
                tok_per_s_per_w: of("tok_per_s_per_w"),
                j_per_output_token: of("j_per_output_token"),
                j_per_request: of("j_per_request"),
                j_per_image: of("j_per_image"),
                j_per_correct_answer: None,
            }
        })
        .collect()
}

/// What can be said about a file.
pub(super) const LABELS: [&str; 6] = [
    "device",
    "engine",
    "model",
    "power_mode",
    "precision",
    "workload",
];

const NOT_STATED: &str = "not stated";
