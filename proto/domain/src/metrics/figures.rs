//! A run's metrics by id, and why the others are absent: the dictionary, filled in.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    metrics::{
        MetricValue, Percentile,
        dictionary::{Definition, Kind, definitions},
        latency::{self, distribution},
        memory::memory,
        quality::output_chars,
        spread,
        totals::{NO_PICTURE, Totals, number, requests, successes},
    },
    run::{LoadTime, MemoryScope, RequestTrace, RunTrace},
};

/// Metric id to its figure, and to why it is absent.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) metrics: BTreeMap<String, Option<MetricValue>>,
    pub(crate) reasons: BTreeMap<String, String>,
}

/// All metrics but those over energy and quality.
pub(crate) fn figures(trace: &RunTrace, totals: &Totals) -> Figures {
    let mut figures = Figures::default();
    for definition in definitions()
        .iter()
        .filter(|definition| !definition.needs_scope)
    {
        if let Some(figure) = figure(trace, totals, definition) {
            figures.add(definition.id, figure);
        }
    }
    figures
}

impl Figures {
    fn add(&mut self, id: &str, figure: Result<MetricValue, String>) {
        if let Ok(MetricValue::Distribution(distribution)) = figure {
            let n = usize::try_from(distribution.n).unwrap_or(usize::MAX);
            self.miss_percentile(id, 90, distribution.p90, n);
            self.miss_percentile(id, 95, distribution.p95, n);
            self.miss_percentile(id, 99, distribution.p99, n);
        }
        let value = figure.map_err(|reason| self.reasons.insert(id.to_owned(), reason));
        self.metrics.insert(id.to_owned(), value.ok());
    }

    fn miss_percentile(&mut self, id: &str, percent: u32, value: Option<Percentile>, n: usize) {
        if value.is_none() {
            let needed = spread::requests_needed(percent);
            let reason = format!("takes {needed} requests, there are {n}");
            self.reasons.insert(format!("{id}.p{percent}"), reason);
        }
    }
}

/// The figure or why it is absent; `None` for what is part of another figure or lives elsewhere.
fn figure(
    trace: &RunTrace,
    totals: &Totals,
    definition: &Definition,
) -> Option<Result<MetricValue, String>> {
    match definition.kind {
        Kind::Ratio {
            numerator,
            denominator,
        } => Some(
            totals
                .ratio(numerator, denominator)
                .map(MetricValue::Number),
        ),
        Kind::Percentile { of, percent: 50 } => Some(per_request(trace, totals, of)),
        Kind::Percentile { .. } => None,
        Kind::Number => Some(per_run(trace, definition.id)?.map(MetricValue::Number)),
    }
}

/// Distribution of a per-request figure.
fn per_request(trace: &RunTrace, totals: &Totals, id: &str) -> Result<MetricValue, String> {
    let is_over_chunks = ["ttft", "ttfo", "tpot", "icl"].contains(&id);
    if is_over_chunks && !trace.header.cell.identity.is_streaming {
        return Err("answers are not streamed".to_owned());
    }
    let is_over_tokens = ["tpot", "ntpot"].contains(&id);
    if is_over_tokens && successes(trace).next().is_some() {
        totals.get("completion_tokens")?;
    }
    if id == "image_encode_time" && !trace.header.has_pictures {
        return Err(NO_PICTURE.to_owned());
    }
    // Of the gaps there are millions in a long batch: room for them is made once.
    let n_values = match id {
        "icl" => successes(trace).map(|request| request.chunks.len()).sum(),
        _ => successes(trace).count(),
    };
    let mut values = Vec::with_capacity(n_values);
    for request in successes(trace) {
        values.extend(values_of(request, id));
    }
    // Failures are slow in what every answer has; nobody knows what an engine would have reported.
    let counts_failures = match id {
        "icl" | "output_chars" => false,
        "image_encode_time" => !values.is_empty(),
        _ => true,
    };
    let failed = requests(trace).filter(|request| !request.outcome.is_success());
    let failures = if counts_failures { failed.count() } else { 0 };
    let distribution = distribution(values, failures).ok_or("no request has it")?;
    Ok(MetricValue::Distribution(distribution))
}

fn values_of(request: &RequestTrace, id: &str) -> Vec<f64> {
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    let value = match id {
        "request_latency" => Some(seconds(latency::request_latency(request))),
        "ttft" => latency::ttft(request).map(seconds),
        "ttfo" => latency::ttfo(request).map(seconds),
        "tpot" => latency::tpot(request),
        "ntpot" => latency::ntpot(request),
        "image_encode_time" => request.image_encode.map(seconds),
        "output_chars" => Some(number(output_chars(request))),
        "icl" => return latency::icl(request).collect(),
        _ => None,
    };
    value.into_iter().collect()
}

/// A figure of the run as a whole; `None` for quality, which stands apart.
fn per_run(trace: &RunTrace, id: &str) -> Option<Result<f64, String>> {
    let (base, variant) = id.split_once('.').unwrap_or((id, ""));
    match base {
        "image_tokens" if !trace.header.has_pictures => Some(Err(NO_PICTURE.to_owned())),
        "image_tokens" => {
            let tokens = trace.header.image_tokens.map(f64::from);
            Some(tokens.ok_or_else(|| "not measured for this model and size".to_owned()))
        }
        "cv_requests" => Some(cv_requests(trace)),
        "load_time" => Some(load_time(trace, variant)),
        _ if base.starts_with("memory_") => Some(memory_figure(trace, base, variant)),
        _ => None,
    }
}

/// Sample standard deviation of L over its mean.
fn cv_requests(trace: &RunTrace) -> Result<f64, String> {
    let latencies = successes(trace).map(|request| latency::request_latency(request).as_secs_f64());
    let spread = spread::spread(&latencies.collect::<Vec<_>>());
    spread
        .and_then(|spread| spread.cv)
        .ok_or_else(|| "takes two successes and a latency above 0".to_owned())
}

/// Median, by nearest rank, of the loads of a kind: the one of this run's group, and the trials before it.
fn load_time(trace: &RunTrace, kind: &str) -> Result<f64, String> {
    let header = &trace.header;
    let loads = header.load_trials.iter().chain(&header.load_time);
    let seconds = |load: &LoadTime| load.duration.as_secs_f64();
    let of_kind = loads.clone().filter(|load| load.kind.as_str() == kind);
    let mut of_kind: Vec<f64> = of_kind.map(seconds).collect();
    if of_kind.is_empty() {
        let kinds: BTreeSet<&str> = loads.map(|load| load.kind.as_str()).collect();
        return Err(match Vec::from_iter(kinds)[..] {
            [] => "the model was not loaded for this run".to_owned(),
            [own] => format!("the load was `{own}`"),
            ref several => format!("the loads were `{}`", several.join("` and `")),
        });
    }
    of_kind.sort_by(f64::total_cmp);
    Ok(of_kind[(of_kind.len() - 1) / 2])
}

fn memory_figure(trace: &RunTrace, figure: &str, scope: &str) -> Result<f64, String> {
    let scopes = [
        MemoryScope::ProcessTree,
        MemoryScope::System,
        MemoryScope::Gpu,
    ];
    let scope = scopes.into_iter().find(|other| other.as_str() == scope);
    let memory = scope
        .and_then(|scope| memory(trace, scope))
        .ok_or("not sampled")?;
    Ok(match figure {
        "memory_baseline" => memory.baseline,
        "memory_peak" => memory.peak,
        "memory_mean" => memory.mean,
        _ => memory.delta,
    })
}
