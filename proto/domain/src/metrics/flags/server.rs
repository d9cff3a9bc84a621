//! What the server's own counters show: others that it worked for, and requests that it threw out.

use std::time::Duration;

use super::Flag;
use crate::{
    metrics::{
        gauges::{self, moved},
        latency::ttft,
        server::name,
        totals::{number, requests, successes},
    },
    run::{GaugeKind, RequestTrace, RunTrace, Segment, TokenCounts},
    time::Stamp,
    workload::Load,
};

/// More tokens generated, or read as prompts, than were asked for.
///
/// A counter is read just before each window, when the warm-up has been drained, and just after it, when nothing is in flight any
/// more. What may have been for us: the tokens counted of each answer, and all that were allowed of an answer that failed or that
/// nobody counted; and for each request two more, because servers differ on whether the end of an answer and its first token are
/// counted, and a prompt's beginning. Some print counters with six digits only. Prompts are held against the counter where every
/// request's is known.
///
/// # Errors
/// Why it cannot be told, where the server has such counters at all.
pub(super) fn foreign_tokens(trace: &RunTrace) -> Result<Option<Flag>, String> {
    let limit = trace.header.cell.identity.max_tokens;
    let generated = requests(trace).map(|request| {
        let counts = counts(request).map(|counts| counts.completion);
        u64::from(counts.unwrap_or(limit)) + EXTRA_TOKENS
    });
    let read: Option<u64> = requests(trace)
        .map(|request| Some(u64::from(counts(request)?.prompt) + EXTRA_TOKENS))
        .sum();
    let generated = excess(trace, GaugeKind::GeneratedTokens, generated.sum())?;
    let read = match read {
        Some(read) => excess(trace, GaugeKind::PromptTokens, read)?,
        None => None,
    };
    let found: Vec<String> = [("generated", generated), ("read", read)]
        .into_iter()
        .filter_map(|(verb, excess)| {
            let (tokens, ours) = excess?;
            Some(format!(
                "the server {verb} {tokens} tokens, at most {ours} of them for this run"
            ))
        })
        .collect();
    Ok((!found.is_empty()).then(|| Flag::blocking("shared_device", found.join("; "))))
}

/// By how much a counter moved, and how much of that may have been ours, if that is not all of it.
fn excess(trace: &RunTrace, kind: GaugeKind, ours: u64) -> Result<Option<(u64, u64)>, String> {
    let counters = gauges::all(&trace.segments, kind);
    let Some((name, samples)) = counters.first_key_value() else {
        return Ok(None);
    };
    let tokens = moved(trace, kind, name)?;
    let largest = samples.iter().map(|(_, value)| *value).max().unwrap_or(0);
    let rounding = match largest >= SIX_DIGITS {
        true => (largest / ROUNDED_TO).unsigned_abs(),
        false => 0,
    };
    let allowed = ours + trace.segments.len() as u64 * rounding;
    Ok((tokens > allowed).then_some((tokens, ours)))
}

fn counts(request: &RequestTrace) -> Option<TokenCounts> {
    request.tokens.filter(|_| request.outcome.is_success())
}

/// More requests with the server, inside the windows of a closed loop, than are ever in flight. Once may be a figure that is not
/// up to date; where requests failed, the server may still be busy with what nobody waits for.
pub(super) fn crowd(trace: &RunTrace) -> Option<Flag> {
    let Load::Closed(concurrency) = trace.header.cell.identity.load else {
        return None;
    };
    if requests(trace).any(|request| !request.outcome.is_success()) {
        return None;
    }
    let name = name(trace)?;
    let crowds: Vec<i64> = trace
        .segments
        .iter()
        .flat_map(|segment| with_the_server(segment, name))
        .filter(|n| *n > i64::from(concurrency))
        .collect();
    let most = *crowds.iter().max().filter(|_| crowds.len() >= CROWDS_MIN)?;
    let detail = format!(
        "the server had {most} requests at a time, of this run at most {concurrency}, at {} looks",
        crowds.len()
    );
    Some(Flag::blocking("shared_device", detail))
}

/// Requests running and queued at each look inside the window.
fn with_the_server(segment: &Segment, name: &str) -> Vec<i64> {
    let samples = |kind| gauges::of(segment, kind, name).map_or(&[][..], |gauge| &gauge.samples);
    let queued = samples(GaugeKind::RequestsQueued);
    let queued_at = |at: Stamp| {
        let place = queued.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(queued[place].1)
    };
    let window = segment.window;
    samples(GaugeKind::RequestsRunning)
        .iter()
        .filter(|(at, _)| window.from < *at && *at < window.to)
        .map(|(at, running)| running.saturating_add(queued_at(*at).unwrap_or(0)))
        .collect()
}

/// Requests that had to make room and begin again.
pub(super) fn preempted(trace: &RunTrace) -> Option<Flag> {
    let n = moved(trace, GaugeKind::Preemptions, name(trace)?).ok()?;
    let detail = format!(
        "the server threw {n} requests out of its KV cache and began them again, {:.1} % of those asked; give it more memory or less to do at a time",
        100.0 * number(n) / number((requests(trace).count() as u64).max(1))
    );
    (n > 0).then(|| Flag::note("preempted", detail))
}

/// Waiting in the server for most of the time to first token: what of it the engine did not spend reading the prompt, by its own word.
/// One request alone waits for nobody.
pub(super) fn queued(trace: &RunTrace) -> Option<Flag> {
    if trace.header.cell.identity.load == Load::Closed(1) {
        return None;
    }
    let timed = successes(trace)
        .filter_map(|request| Some((ttft(request)?, request.engine_times?.prefill)));
    let (mut whole, mut waited) = (Duration::ZERO, Duration::ZERO);
    for (ttft, prefill) in timed {
        whole += ttft;
        waited += ttft.saturating_sub(prefill);
    }
    let detail = format!(
        "{:.0} % of the time to first token was waiting in the server: it computes fewer requests at a time than are under way",
        100.0 * waited.as_secs_f64() / whole.as_secs_f64()
    );
    (2 * waited > whole).then(|| Flag::note("queued", detail))
}

/// The end of an answer and its first token, or two that begin a prompt.
const EXTRA_TOKENS: u64 = 2;

/// From here on a counter printed with six digits is rounded, by less than a part in a hundred thousand at both ends together.
const SIX_DIGITS: i64 = 1_000_000;
const ROUNDED_TO: i64 = 100_000;

/// As many looks are believed.
const CROWDS_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::example,
        run::{EngineTimes, FailureClass, GaugeTrace, Outcome},
        workload::Arrivals,
    };

    /// Ten requests of 1 s and four tokens, one after the other, and gauges read every second from 0 to 10.
    fn run(gauges: &[(GaugeKind, &[i64])]) -> RunTrace {
        let requests = (0..10_u32).map(|index| {
            example::request(
                index,
                1000 * u64::from(index),
                &[500, 600, 700, 1000],
                50,
                4,
            )
        });
        let mut trace = example::run(requests.collect());
        let gauge = |(kind, values): &(GaugeKind, &[i64])| GaugeTrace {
            kind: *kind,
            name: "vllm".to_owned(),
            samples: (0_u64..)
                .zip(*values)
                .map(|(second, value)| (example::stamp(1000 * second), *value))
                .collect(),
        };
        trace.segments[0].gauges = gauges.iter().map(gauge).collect();
        trace
    }

    /// A counter that stood at `from` before the window and at `to` after it.
    fn generated(from: i64, to: i64) -> RunTrace {
        let mut values = [from; 11];
        values[10] = to;
        run(&[(GaugeKind::GeneratedTokens, &values)])
    }

    #[track_caller]
    fn check(trace: &RunTrace, want: Result<Option<&str>, &str>) {
        let got = foreign_tokens(trace).map(|flag| flag.map(|flag| flag.detail));
        let want = want.map(|detail| detail.map(str::to_owned));
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn what_was_asked_for_is_nobody_elses() {
        check(&run(&[]), Ok(None));
        check(&generated(1000, 1040), Ok(None));
        // The server does not count the first token of an answer, or counts its end.
        check(&generated(1000, 1030), Ok(None));
        check(&generated(1000, 1060), Ok(None));
    }

    #[test]
    fn more_than_was_asked_for_is_somebody_elses() {
        check(
            &generated(1000, 1061),
            Ok(Some(
                "the server generated 61 tokens, at most 60 of them for this run",
            )),
        );
    }

    #[test]
    fn an_answer_that_nobody_counted_may_have_had_all_its_tokens() {
        let mut trace = generated(1000, 1120);
        check(
            &trace,
            Ok(Some(
                "the server generated 120 tokens, at most 60 of them for this run",
            )),
        );
        let class = FailureClass::Timeout;
        let message = String::new();
        trace.segments[0].requests[3].outcome = Outcome::Failed { class, message };
        // The limit is 64: 120 and no more.
        check(&trace, Ok(None));
        trace.segments[0].gauges[0].samples[10].1 += 1;
        check(
            &trace,
            Ok(Some(
                "the server generated 121 tokens, at most 120 of them for this run",
            )),
        );
    }

    #[test]
    fn a_prompt_that_nobody_here_asked_is_somebody_elses() {
        let read = |to: i64| {
            run(&[(
                GaugeKind::PromptTokens,
                &[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9 + to],
            )])
        };
        // Ten prompts of 50 tokens.
        check(&read(500), Ok(None));
        check(&read(520), Ok(None));
        let detail = "the server read 521 tokens, at most 520 of them for this run";
        check(&read(521), Ok(Some(detail)));
        let mut unknown = read(9000);
        unknown.segments[0].requests[0].tokens = None;
        check(&unknown, Ok(None));
    }

    #[test]
    fn a_counter_of_six_digits_may_be_off_by_its_last_one() {
        // 1,234,567 is printed as 1.23457e+06.
        check(&generated(1_234_570, 1_234_640), Ok(None));
        let detail = "the server generated 80 tokens, at most 60 of them for this run";
        check(&generated(1_234_570, 1_234_650), Ok(Some(detail)));
    }

    #[test]
    fn a_server_that_was_started_anew_tells_nothing() {
        check(
            &generated(1000, 40),
            Err("the server's counter went back: it was started anew meanwhile"),
        );
    }

    #[track_caller]
    fn check_crowd(
        running: &[i64],
        queued: &[i64],
        change: impl Fn(&mut RunTrace),
        want: Option<&str>,
    ) {
        let mut trace = run(&[
            (GaugeKind::RequestsQueued, queued),
            (GaugeKind::RequestsRunning, running),
        ]);
        change(&mut trace);
        let detail = crowd(&trace).map(|flag| flag.detail);
        assert_eq!(detail.as_deref(), want);
    }

    #[test]
    fn more_requests_than_are_in_flight_are_somebody_elses() {
        let detail = "the server had 3 requests at a time, of this run at most 1, at 2 looks";
        check_crowd(&[1, 1, 1, 1], &[0, 2, 1], |_| {}, Some(detail));
        check_crowd(&[1, 1, 1, 1], &[0, 2, 0], |_| {}, None);
        // Right before and right after the window others do not disturb.
        check_crowd(&[5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5], &[], |_| {}, None);
        let two = |trace: &mut RunTrace| trace.header.cell.identity.load = Load::Closed(3);
        check_crowd(&[1, 1, 1, 1], &[0, 2, 1], two, None);
        let failed = |trace: &mut RunTrace| {
            let (class, message) = (FailureClass::Timeout, String::new());
            trace.segments[0].requests[0].outcome = Outcome::Failed { class, message };
        };
        check_crowd(&[1, 1, 1, 1], &[0, 2, 1], failed, None);
    }

    #[test]
    fn a_wait_longer_than_the_prompts_reading_is_noted() {
        // First tokens come after 500 ms.
        let read_in = |milliseconds: u64, load| {
            let mut trace = run(&[]);
            trace.header.cell.identity.load = load;
            for request in &mut trace.segments[0].requests {
                request.engine_times = Some(EngineTimes {
                    prefill: Duration::from_millis(milliseconds),
                    decode: Duration::ZERO,
                });
            }
            queued(&trace).map(|flag| flag.detail)
        };
        let detail = "80 % of the time to first token was waiting in the server: it computes fewer requests at a time than are under way";
        assert_eq!(read_in(100, Load::Closed(2)).as_deref(), Some(detail));
        assert_eq!(read_in(250, Load::Closed(2)), None);
        assert_eq!(read_in(100, Load::Closed(1)), None);
        let open = Load::Open {
            per_1000_s: 1,
            arrivals: Arrivals::Poisson,
        };
        assert_eq!(read_in(100, open).as_deref(), Some(detail));
        assert_eq!(read_in(900, open), None);
        let mut untold = run(&[]);
        untold.header.cell.identity.load = Load::Closed(2);
        assert_eq!(queued(&untold), None);
    }

    #[test]
    fn requests_that_began_again_are_noted() {
        let mut values = [7; 11];
        assert_eq!(preempted(&run(&[(GaugeKind::Preemptions, &values)])), None);
        values[10] = 9;
        let flag = preempted(&run(&[(GaugeKind::Preemptions, &values)])).unwrap();
        assert!(!flag.blocking);
        assert_eq!(
            flag.detail,
            "the server threw 2 requests out of its KV cache and began them again, 20.0 % of those asked; give it more memory or less to do at a time"
        );
    }
}
