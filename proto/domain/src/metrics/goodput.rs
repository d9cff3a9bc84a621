//! Good requests: successes that keep to every limit that was stated. Goodput is how many of them there are in a second of W.

use crate::{
    metrics::{
        latency::{request_latency, tpot, ttft},
        totals::{Totals, successes},
    },
    run::{RequestTrace, RunTrace},
    workload::Limits,
};

/// How many keep to the limits of their run.
///
/// # Errors
/// No limits were stated, or one is about what this run does not know.
pub fn good_requests(trace: &RunTrace, totals: &Totals) -> Result<usize, String> {
    let limits = trace.header.limits.ok_or("no limits are stated")?;
    let is_over_chunks = limits.ttft_s.is_some() || limits.tpot_s.is_some();
    if is_over_chunks && !trace.header.cell.identity.is_streaming {
        return Err("answers are not streamed".to_owned());
    }
    if limits.tpot_s.is_some() && successes(trace).next().is_some() {
        totals.get("completion_tokens")?;
    }
    let good = successes(trace).filter(|request| is_good(request, &limits));
    Ok(good.count())
}

/// Every limit kept, to the nanosecond. What cannot be told, such as the first piece of an answer without one, is not kept.
fn is_good(request: &RequestTrace, limits: &Limits) -> bool {
    let latency = request_latency(request).as_secs_f64();
    let first = ttft(request).map(|time| time.as_secs_f64());
    keeps(Some(latency), limits.latency_s)
        && keeps(first, limits.ttft_s)
        && (keeps(tpot(request), limits.tpot_s) || has_one_token(request))
}

fn keeps(value: Option<f64>, limit: Option<f64>) -> bool {
    limit.is_none_or(|limit| value.is_some_and(|value| value <= limit))
}

/// After the only token there is none to be late.
fn has_one_token(request: &RequestTrace) -> bool {
    request.tokens.is_some_and(|tokens| tokens.completion <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{MetricValue, example, measure},
        run::{FailureClass, Outcome},
    };

    const NONE: Limits = Limits {
        ttft_s: None,
        tpot_s: None,
        latency_s: None,
    };

    /// Sent at 0 s, 1 s and 2 s: first pieces after 100, 200 and 300 ms, then two tokens 50, 100 and 150 ms apart.
    fn run() -> RunTrace {
        example::run(vec![
            example::request(0, 0, &[100, 150, 200], 50, 3),
            example::request(1, 1000, &[200, 300, 400], 50, 3),
            example::request(2, 2000, &[300, 450, 600], 50, 3),
        ])
    }

    #[track_caller]
    fn check(limits: Limits, want: usize) {
        let mut trace = run();
        trace.header.limits = Some(limits);
        check_trace(&trace, want);
    }

    #[track_caller]
    fn check_trace(trace: &RunTrace, want: usize) {
        let report = measure(trace);
        let want = example::number(want) / report.window_s;
        assert_eq!(report.metrics["goodput"], Some(MetricValue::Number(want)));
    }

    #[test]
    fn a_good_request_keeps_to_every_limit() {
        let of = |ttft_s, tpot_s, latency_s| Limits {
            ttft_s,
            tpot_s,
            latency_s,
        };
        check(of(Some(0.2), None, None), 2);
        check(of(Some(0.1999), None, None), 1);
        check(of(None, Some(0.1), None), 2);
        check(of(None, None, Some(0.6)), 3);
        check(of(Some(0.2), Some(0.05), Some(0.6)), 1);
        check(of(Some(0.05), Some(0.15), Some(0.6)), 0);
    }

    #[test]
    fn late_sending_in_open_loop_counts_against_it() {
        let mut trace = run();
        trace.header.limits = Some(Limits {
            latency_s: Some(0.6),
            ..NONE
        });
        trace.segments[0].requests[2].scheduled = Some(example::stamp(1999));
        check_trace(&trace, 2);
    }

    #[test]
    fn a_failure_is_not_good() {
        let mut trace = run();
        trace.header.limits = Some(Limits {
            latency_s: Some(60.0),
            ..NONE
        });
        trace.segments[0].requests[0].outcome = Outcome::Failed {
            class: FailureClass::Http,
            message: String::new(),
        };
        check_trace(&trace, 2);
    }

    #[test]
    fn one_token_is_never_late_after_itself_and_several_in_one_piece_cannot_be_told() {
        let mut trace = run();
        trace.header.limits = Some(Limits {
            tpot_s: Some(0.01),
            ..NONE
        });
        let requests = &mut trace.segments[0].requests;
        requests[0] = example::request(0, 0, &[100], 50, 1);
        requests[1] = example::request(1, 1000, &[100], 50, 9);
        check_trace(&trace, 1);
    }

    #[test]
    fn without_limits_or_what_they_are_about_it_is_absent() {
        let reason = |trace: &RunTrace| {
            let report = measure(trace);
            assert_eq!(report.metrics["goodput"], None);
            report.reasons["goodput"].clone()
        };
        let mut trace = run();
        assert_eq!(reason(&trace), "no limits are stated");
        trace.header.limits = Some(Limits {
            tpot_s: Some(1.0),
            ..NONE
        });
        trace.segments[0].requests[1].tokens = None;
        assert_eq!(reason(&trace), "1 of 3 answers have no token count");
        trace.header.cell.identity.is_streaming = false;
        assert_eq!(reason(&trace), "answers are not streamed");
    }
}
