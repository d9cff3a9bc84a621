//! What makes a run's figures doubtful, as far as its trace shows it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    metrics::{
        Flag, Percentile, PowerReport,
        dictionary::Definition,
        latency::request_latency,
        quality::output_chars,
        spread,
        totals::{Totals, number, requests, successes, window},
    },
    power::{PowerTrace, Reading, Sensor},
    run::{ChunkKind, RequestTrace, RunEnd, RunTrace},
    workload::Load,
};

/// What came from a cache.
mod cache;
/// Conditions that did not hold still.
mod conditions;
/// What is not kept.
mod gaps;
/// What the server's own counters show.
mod server;

/// Fewest requests of a closed loop, for each in flight.
const REQUESTS_PER_SLOT: u64 = 20;

impl Flag {
    /// Whether it keeps a metric off the boards. What is wrong with the power sensor is no argument against a latency; a quick
    /// run's speed is as good as any, its energy is not.
    pub fn blocks(&self, metric: &Definition) -> bool {
        match self.id.as_str() {
            "aliased" | "quick" => metric.needs_scope,
            _ => self.blocking,
        }
    }

    pub(crate) fn blocking(id: &str, detail: String) -> Self {
        Self {
            id: id.to_owned(),
            blocking: true,
            detail,
        }
    }

    pub(crate) fn note(id: &str, detail: String) -> Self {
        Self {
            id: id.to_owned(),
            blocking: false,
            detail,
        }
    }
}

/// The flags of a run, sorted, and why `roofline`, `cache_leak` or `shared_device` could not be checked.
pub fn flags(
    trace: &RunTrace,
    totals: &Totals,
    power: &[PowerReport],
) -> (Vec<Flag>, BTreeMap<String, String>) {
    let mut reasons = BTreeMap::new();
    let mut unless = |id: &str, flag: Result<Option<Flag>, String>| {
        flag.unwrap_or_else(|reason| {
            reasons.insert(id.to_owned(), reason);
            None
        })
    };
    let checks = [
        unless("roofline", roofline(trace, totals)),
        unless("cache_leak", cache::leak(trace)),
        unless("shared_device", server::foreign_tokens(trace)),
        cache::probed(trace),
        server::crowd(trace),
        server::preempted(trace),
        server::queued(trace),
        too_few_requests(trace),
        ended_early(trace),
        littles_law(trace),
        token_leak(trace, totals),
        bundled(trace),
        client_lag(trace),
        resumed(trace),
        trace
            .header
            .is_quick
            .then(|| Flag::note("quick", "idle baselines were shortened".to_owned())),
    ];
    let mut flags: Vec<Flag> = checks
        .into_iter()
        .flatten()
        .chain(aliased(trace, power))
        .chain(conditions::flags(trace))
        .chain(gaps::flags(trace))
        .chain(interval_not_kept(trace, power))
        .collect();
    flags.sort();
    (flags, reasons)
}

/// Every token takes a pass over the weights, so decode_tps ≤ bandwidth / bytes of the weights; said only of weights larger
/// than four times the last cache.
fn roofline(trace: &RunTrace, totals: &Totals) -> Result<Option<Flag>, String> {
    let bandwidth = fact(trace, "memory_bandwidth_bytes_per_s")?;
    let weights = fact(trace, "weights_bytes")?;
    if weights <= 4.0 * fact(trace, "last_level_cache_bytes")? {
        return Err("the weights may stay in the last-level cache".to_owned());
    }
    let rate = totals.ratio("decode_tokens", "decode_s")?;
    let limit = bandwidth / weights;
    let detail = format!("decode_tps {rate:.1} is above {limit:.1}, memory bandwidth over weights");
    Ok((rate > limit).then(|| Flag::blocking("roofline", detail)))
}

/// A number above 0 that stands among what is known of model or engine.
fn fact(trace: &RunTrace, name: &str) -> Result<f64, String> {
    let configuration = &trace.header.cell.configuration;
    let text = configuration
        .model_facts
        .get(name)
        .or(configuration.engine_flags.get(name));
    let value = text.and_then(|text| text.parse::<f64>().ok());
    value
        .filter(|value| *value > 0.0)
        .ok_or_else(|| format!("`{name}` is not known"))
}

fn too_few_requests(trace: &RunTrace) -> Option<Flag> {
    let concurrency = trace.header.cell.identity.load.concurrency()?;
    let needed = REQUESTS_PER_SLOT * u64::from(concurrency);
    let issued = requests(trace).count() as u64;
    let detail = format!("{issued} requests, closed({concurrency}) takes {needed}");
    (issued < needed).then(|| Flag::blocking("too_few_requests", detail))
}

fn ended_early(trace: &RunTrace) -> Option<Flag> {
    match trace.end {
        RunEnd::Complete => None,
        RunEnd::Cancelled => Some(Flag::blocking(
            "cancelled",
            "stopped by a person".to_owned(),
        )),
        RunEnd::Aborted => Some(Flag::blocking(
            "aborted",
            "the engine did not come back".to_owned(),
        )),
    }
}

/// The agent was killed in between, and went on.
fn resumed(trace: &RunTrace) -> Option<Flag> {
    let n = trace.resumptions.len();
    let detail = format!(
        "went on after it was interrupted, {n} times; what was in hand then was asked again"
    );
    (n > 0).then(|| Flag::note("resumed", detail))
}

/// Requests in flight = Σ time in flight / W, which a closed loop holds at its concurrency.
fn littles_law(trace: &RunTrace) -> Option<Flag> {
    let concurrency = trace.header.cell.identity.load.concurrency()?;
    let window = window(trace).as_secs_f64();
    if too_few_requests(trace).is_some() || window == 0.0 {
        return None;
    }
    let in_flight: Duration = requests(trace).map(time_in_flight).sum();
    let mean = in_flight.as_secs_f64() / window;
    let wanted = f64::from(concurrency);
    let detail = format!("{mean:.2} requests in flight on average, not {concurrency}");
    (libm::fabs(wanted - mean) > 0.15 * wanted).then(|| Flag::note("littles_law", detail))
}

fn time_in_flight(request: &RequestTrace) -> Duration {
    if request.outcome.is_success() {
        return request_latency(request);
    }
    request.ended.since(request.origin())
}

/// A token of Latin script is 1.5 to 8 characters; else prompt tokens were counted as output, or output was not counted.
fn token_leak(trace: &RunTrace, totals: &Totals) -> Option<Flag> {
    let tokens = totals
        .get("completion_tokens")
        .ok()
        .filter(|tokens| *tokens >= 200.0)?;
    // Reasoning is counted in tokens and not kept as text.
    let has_reasoning = successes(trace)
        .flat_map(|request| &request.chunks)
        .any(|chunk| chunk.kind == ChunkKind::Reasoning);
    if has_reasoning || !is_latin(trace) {
        return None;
    }
    let chars: u64 = successes(trace).map(output_chars).sum();
    let each = number(chars) / tokens;
    let detail = format!("{each:.2} characters per token, 1.5 to 8 are usual");
    (!(1.5..=8.0).contains(&each)).then(|| Flag::note("token_leak", detail))
}

/// Whether most letters of the answers are Latin ones.
fn is_latin(trace: &RunTrace) -> bool {
    let letters = || {
        let chars = successes(trace).flat_map(|request| request.answer.chars());
        chars.filter(|letter| letter.is_alphabetic())
    };
    2 * letters().filter(|letter| *letter < '\u{250}').count() >= letters().count()
}

fn bundled(trace: &RunTrace) -> Option<Flag> {
    if !trace.header.cell.identity.is_streaming {
        return None;
    }
    let streamed = || successes(trace).filter(|request| !request.chunks.is_empty());
    let tokens: u64 = streamed()
        .filter_map(|request| request.tokens)
        .map(|tokens| u64::from(tokens.completion))
        .sum();
    let chunks: usize = streamed()
        .filter(|request| request.tokens.is_some())
        .map(|request| request.chunks.len())
        .sum();
    let each = number(tokens) / number(chunks as u64);
    let detail = format!("{each:.2} tokens per piece: tpot is right, gaps between pieces are not");
    (each > 1.2).then(|| Flag::note("bundled", detail))
}

/// Open loop: p99 of how much later than scheduled requests went out.
fn client_lag(trace: &RunTrace) -> Option<Flag> {
    let Load::Open { per_1000_s, .. } = trace.header.cell.identity.load else {
        return None;
    };
    let lag = |request: &RequestTrace| Some(request.sent.since(request.scheduled?).as_secs_f64());
    let mut lags: Vec<f64> = requests(trace).filter_map(lag).collect();
    lags.sort_by(f64::total_cmp);
    let rank = (99 * lags.len()).div_ceil(100);
    let lag = *lags.get(rank.checked_sub(1)?)?;
    let allowed = (0.05 * 1000.0 / f64::from(per_1000_s)).max(0.001);
    let detail = format!(
        "p99 of sends is {:.1} ms late, {:.1} ms are allowed",
        1e3 * lag,
        1e3 * allowed
    );
    (lag > allowed).then(|| Flag::note("client_lag", detail))
}

/// A sensor that shows the present power, read more slowly than four times a request.
fn aliased(trace: &RunTrace, power: &[PowerReport]) -> Vec<Flag> {
    let mut latencies: Vec<f64> = successes(trace)
        .map(|request| request_latency(request).as_secs_f64())
        .collect();
    latencies.sort_by(f64::total_cmp);
    let Some(Percentile::Value(median)) = spread::percentile(&latencies, 0, 50) else {
        return Vec::new();
    };
    let flag = |report: &PowerReport| {
        let period = report.sample_period_s?.max(report.refresh_s.unwrap_or(0.0));
        let detail = format!(
            "{} by {} is read every {:.0} ms, requests take {:.0} ms",
            report.scope,
            report.source,
            1e3 * period,
            1e3 * median
        );
        let is_aliased = is_unfiltered(trace, report) && period > 0.25 * median;
        is_aliased.then(|| Flag::blocking("aliased", detail))
    };
    power.iter().filter_map(flag).collect()
}

/// An instrument that keeps its own time keeps another than it was asked for, by more than a fifth.
fn interval_not_kept(trace: &RunTrace, power: &[PowerReport]) -> Vec<Flag> {
    let flag = |report: &PowerReport| {
        let asked = sensor(trace, report)?.asked_interval?.as_secs_f64();
        let period = report.sample_period_s?;
        let detail = format!(
            "{} by {} comes every {:.0} ms, it was asked for every {:.0} ms",
            report.scope,
            report.source,
            1e3 * period,
            1e3 * asked
        );
        let is_off = libm::fabs(period - asked) > 0.2 * asked;
        is_off.then(|| Flag::note("interval_not_kept", detail))
    };
    power.iter().filter_map(flag).collect()
}

/// Neither a counter nor a trailing mean.
fn is_unfiltered(trace: &RunTrace, report: &PowerReport) -> bool {
    sensor(trace, report)
        .is_some_and(|sensor| sensor.reading == Reading::Power && sensor.averaging.is_zero())
}

/// Whose report it is.
fn sensor<'a>(trace: &'a RunTrace, report: &PowerReport) -> Option<&'a Sensor> {
    let is_own = |sensor: &&Sensor| sensor.scope == report.scope && sensor.source == report.source;
    let mut sensors = trace
        .segments
        .iter()
        .flat_map(|segment| &segment.power)
        .map(|power: &PowerTrace| &power.sensor);
    sensors.find(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gap::{Gap, GapCause, Part},
        metrics::{dictionary::definition, example, measure},
        run::Resumption,
        time::WallTime,
        workload::Arrivals,
        workload::CachePolicy,
    };

    /// 25 requests of 0.4 s each, four tokens of 4 characters, one after the other.
    fn plain() -> RunTrace {
        let requests = (0..25_u32).map(|index| {
            let mut request =
                example::request(index, u64::from(index) * 400, &[100, 200, 300, 400], 50, 4);
            request.answer = "sixteen letters.".to_owned();
            request
        });
        example::run(requests.collect())
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut RunTrace), want: &[(&str, bool)]) {
        let mut trace = plain();
        change(&mut trace);
        let flags = measure(&trace).flags;
        let got: Vec<(&str, bool)> = flags
            .iter()
            .map(|flag| (flag.id.as_str(), flag.blocking))
            .collect();
        assert_eq!(got, want, "{flags:?}");
    }

    fn each(trace: &mut RunTrace, change: impl Fn(&mut RequestTrace)) {
        trace.segments[0].requests.iter_mut().for_each(change);
    }

    fn facts(trace: &mut RunTrace, weights: &str) {
        let facts = &mut trace.header.cell.configuration.model_facts;
        for (name, value) in [
            ("memory_bandwidth_bytes_per_s", "90e9"),
            ("weights_bytes", weights),
            ("last_level_cache_bytes", "4000000"),
        ] {
            facts.insert(name.to_owned(), value.to_owned());
        }
    }

    #[test]
    fn a_plain_run_has_none() {
        check(|_| {}, &[]);
    }

    #[test]
    fn decoding_faster_than_memory_is_blocked() {
        // Decode rate is 10 tok/s.
        check(|trace| facts(trace, "8e9"), &[]);
        check(|trace| facts(trace, "10e9"), &[("roofline", true)]);
        check(|trace| facts(trace, "1e6"), &[]);
        assert_eq!(
            measure(&plain()).reasons["roofline"],
            "`memory_bandwidth_bytes_per_s` is not known"
        );
    }

    #[test]
    fn cached_tokens_are_a_leak_only_under_cold() {
        let cached = |trace: &mut RunTrace| {
            each(trace, |request| {
                request.tokens.as_mut().unwrap().cached = Some(3)
            });
        };
        check(cached, &[("cache_leak", true)]);
        check(
            |trace| {
                cached(trace);
                trace.header.cell.identity.cache_policy = CachePolicy::Warm;
            },
            &[],
        );
    }

    #[test]
    fn a_closed_loop_takes_twenty_requests_for_each_in_flight() {
        check(
            |trace| trace.segments[0].requests.truncate(19),
            &[("too_few_requests", true)],
        );
        // 10 s of window, of which 8 s are in flight.
        check(
            |trace| trace.segments[0].requests.truncate(20),
            &[("littles_law", false)],
        );
        check(
            |trace| trace.header.cell.identity.load = Load::Closed(2),
            &[("too_few_requests", true)],
        );
    }

    #[test]
    fn what_ended_early_is_not_ranked() {
        check(
            |trace| trace.end = RunEnd::Cancelled,
            &[("cancelled", true)],
        );
        check(|trace| trace.end = RunEnd::Aborted, &[("aborted", true)]);
    }

    #[test]
    fn prompt_tokens_counted_as_output_show_in_characters_per_token() {
        let tokens = |trace: &mut RunTrace, completion| {
            each(trace, |request| {
                request.tokens.as_mut().unwrap().completion = completion
            });
        };
        check(
            |trace| tokens(trace, 12),
            &[("bundled", false), ("token_leak", false)],
        );
        // Too few tokens to tell.
        check(|trace| tokens(trace, 1), &[]);
        let other_script = |trace: &mut RunTrace| {
            tokens(trace, 12);
            each(trace, |request| request.answer = "赤い球".to_owned());
        };
        check(other_script, &[("bundled", false)]);
    }

    #[test]
    fn an_open_loop_that_sends_late_says_so() {
        let late = |milliseconds: u64| {
            move |trace: &mut RunTrace| {
                trace.header.cell.identity.load = Load::Open {
                    per_1000_s: 2500,
                    arrivals: Arrivals::Constant,
                };
                each(trace, |request| {
                    request.scheduled =
                        Some(request.sent.before(Duration::from_millis(milliseconds)));
                });
            }
        };
        check(late(20), &[]);
        check(late(21), &[("client_lag", false)]);
    }

    #[test]
    fn slow_sampling_blocks_energy_and_nothing_else() {
        let sampled_every = |period: u64| {
            move |trace: &mut RunTrace| {
                let points: Vec<(u64, i64)> = (0..=11_000 / period)
                    .map(|step| (step * period, 10))
                    .collect();
                trace.segments[0].power.push(example::power(&points));
            }
        };
        check(sampled_every(100), &[]);
        check(sampled_every(110), &[("aliased", true)]);
        check(
            |trace| {
                sampled_every(110)(trace);
                trace.segments[0].power[0].sensor.averaging = Duration::from_secs(1);
            },
            &[],
        );
        let flag = Flag::blocking("aliased", String::new());
        assert!(flag.blocks(definition("j_per_image").unwrap()));
        assert!(!flag.blocks(definition("ttft").unwrap()));
    }

    #[test]
    fn an_instrument_that_keeps_another_interval_than_asked_is_noted() {
        let every_120_ms_asked_for = |asked: u64| {
            move |trace: &mut RunTrace| {
                let points: Vec<(u64, i64)> = (0..=90).map(|step| (step * 120, 10)).collect();
                let mut power = example::power(&points);
                power.sensor.averaging = Duration::from_secs(1);
                power.sensor.asked_interval = Some(Duration::from_millis(asked));
                trace.segments[0].power.push(power);
            }
        };
        check(every_120_ms_asked_for(100), &[]);
        check(every_120_ms_asked_for(99), &[("interval_not_kept", false)]);
        check(every_120_ms_asked_for(151), &[("interval_not_kept", false)]);
    }

    #[test]
    fn a_run_that_was_interrupted_says_so_and_is_ranked() {
        let resumed = |trace: &mut RunTrace| {
            trace.resumptions.push(Resumption {
                segment: 1,
                at: WallTime(0),
                idle: Vec::new(),
            });
        };
        check(resumed, &[("resumed", false)]);
    }

    #[test]
    fn what_is_not_kept_is_said_and_blocks_where_requests_are_missing() {
        let missing = |part, count, cause| {
            move |trace: &mut RunTrace| {
                trace.segments[0].gaps.push(Gap {
                    part,
                    count,
                    cause,
                    note: String::new(),
                });
            }
        };
        check(
            missing(Part::Samples(0), 5_400, GapCause::Thinned),
            &[("missing_samples", false)],
        );
        check(
            missing(Part::Requests, 3, GapCause::DiskFull),
            &[("missing_requests", true)],
        );
        let mut trace = plain();
        missing(Part::Samples(0), 5_400, GapCause::Thinned)(&mut trace);
        missing(Part::Samples(1), 600, GapCause::Thinned)(&mut trace);
        missing(Part::Samples(1), 7, GapCause::DiskFull)(&mut trace);
        assert_eq!(
            measure(&trace).flags[0].detail,
            "not kept: 7 (disk full), 6000 (thinned to one a second, disk full)"
        );
    }

    #[test]
    fn samples_that_are_missing_are_coverage_lost() {
        let mut trace = plain();
        let points: Vec<(u64, i64)> = (0..=110).map(|step| (step * 100, 10)).collect();
        trace.segments[0].power.push(example::power(&points));
        let whole = measure(&trace).power[0].coverage;
        trace.segments[0].power[0].samples.drain(20..70);
        let left = measure(&trace).power[0].coverage;
        assert!(whole > 0.99 && left < 0.6, "{whole} {left}");
    }

    #[test]
    fn quick_runs_are_ranked_by_speed_only() {
        check(|trace| trace.header.is_quick = true, &[("quick", false)]);
        let flag = Flag::note("quick", String::new());
        assert!(flag.blocks(definition("energy").unwrap()));
        assert!(!flag.blocks(definition("output_tps").unwrap()));
        assert!(Flag::blocking("cancelled", String::new()).blocks(definition("ttft").unwrap()));
    }
}
