//! How long requests took: of one, and of a run's requests together.
//!
//! Send and chunks are stamped by the runner, on one monotonic clock. Reasoning counts as content everywhere but in `ttfo`.
//! Failed requests have no times of their own; in percentiles they rank above every value.

use std::time::Duration;

use crate::{
    metrics::{Distribution, spread},
    run::{ChunkKind, RequestTrace},
};

/// The part of an answer after its first chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decode {
    /// N − k₁: completion tokens but for those in the first chunk, 1 unless known.
    pub tokens: u32,
    /// L − ttft.
    pub time: Duration,
}

/// L = t(last chunk) − t(send), in open loop − t(scheduled). An answer without content ends with its stream.
pub fn request_latency(request: &RequestTrace) -> Duration {
    let end = request
        .chunks
        .last()
        .map_or(request.ended, |chunk| chunk.at);
    end.since(request.origin())
}

/// t(first chunk) − t(send); `None` for an empty answer.
pub fn ttft(request: &RequestTrace) -> Option<Duration> {
    let first = request.chunks.first()?;
    Some(first.at.since(request.origin()))
}

/// t(first chunk that is no reasoning) − t(send); `None` if there is none.
pub fn ttfo(request: &RequestTrace) -> Option<Duration> {
    let is_content = |kind| kind == ChunkKind::Content;
    let first = request.chunks.iter().find(|chunk| is_content(chunk.kind))?;
    Some(first.at.since(request.origin()))
}

/// Tokens and time after the first chunk; `None` with fewer than 2 tokens or 2 chunks, or where all tokens came in the first.
pub fn decode(request: &RequestTrace) -> Option<Decode> {
    let [first, .., last] = request.chunks.as_slice() else {
        return None;
    };
    let completion = request.tokens?.completion;
    let tokens = completion.checked_sub(first.tokens.unwrap_or(1))?;
    (completion >= 2 && tokens >= 1).then(|| Decode {
        tokens,
        time: last.at.since(first.at),
    })
}

/// (L − ttft) / (N − k₁) in s.
pub fn tpot(request: &RequestTrace) -> Option<f64> {
    let decode = decode(request)?;
    Some(decode.time.as_secs_f64() / f64::from(decode.tokens))
}

/// L / N in s; `None` without tokens.
pub fn ntpot(request: &RequestTrace) -> Option<f64> {
    let completion = request
        .tokens
        .filter(|tokens| tokens.completion >= 1)?
        .completion;
    Some(request_latency(request).as_secs_f64() / f64::from(completion))
}

/// Gaps between consecutive chunks in s: jitter, never ranked.
pub fn icl(request: &RequestTrace) -> impl Iterator<Item = f64> {
    let pairs = request.chunks.windows(2);
    pairs.map(|pair| pair[1].at.since(pair[0].at).as_secs_f64())
}

/// Values of the requests that have them, and how many failed instead. `None` if there is neither.
pub fn distribution(mut values: Vec<f64>, failures: usize) -> Option<Distribution> {
    values.sort_by(f64::total_cmp);
    let percentile = |percent| spread::percentile(&values, failures, percent);
    Some(Distribution {
        mean: spread::arithmetic_mean(&values),
        p50: Some(percentile(50)?),
        p90: percentile(90),
        p95: percentile(95),
        p99: percentile(99),
        n: u32::try_from(values.len() + failures).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Failed, Percentile, example},
        run::{Chunk, Outcome},
        time::Stamp,
    };

    /// Sent at 1 s, chunks at these milliseconds after.
    fn request(chunks: &[u64], completion: u32) -> RequestTrace {
        example::request(0, 1000, chunks, 10, completion)
    }

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn latency_ends_with_the_last_chunk_not_with_the_stream() {
        let mut request = request(&[100, 150, 200], 3);
        request.ended = Stamp(9_000_000_000);
        assert_eq!(request_latency(&request), milliseconds(200));
        assert_eq!(ttft(&request), Some(milliseconds(100)));
        request.chunks.clear();
        assert_eq!(request_latency(&request), milliseconds(8000));
        assert_eq!(ttft(&request), None);
    }

    #[test]
    fn open_loop_counts_from_the_schedule() {
        let mut request = request(&[100, 200], 2);
        request.scheduled = Some(Stamp(400_000_000));
        assert_eq!(request_latency(&request), milliseconds(800));
        assert_eq!(ttft(&request), Some(milliseconds(700)));
        assert_eq!(tpot(&request), Some(0.1));
    }

    #[test]
    fn reasoning_is_a_first_token_but_no_first_output() {
        let mut request = request(&[100, 200, 300], 3);
        request.chunks[0].kind = ChunkKind::Reasoning;
        request.chunks[1].kind = ChunkKind::Reasoning;
        assert_eq!(ttft(&request), Some(milliseconds(100)));
        assert_eq!(ttfo(&request), Some(milliseconds(300)));
        request.chunks.pop();
        assert_eq!(ttfo(&request), None);
    }

    #[test]
    fn time_per_token_leaves_out_what_came_first() {
        let check = |chunks: &[u64], first: Option<u32>, completion, want: Option<f64>| {
            let mut request = request(chunks, completion);
            if let Some(chunk) = request.chunks.first_mut() {
                chunk.tokens = first;
            }
            assert_eq!(tpot(&request), want, "{chunks:?} {first:?} {completion}");
        };
        check(&[100, 200, 300], None, 3, Some(0.1));
        check(&[100, 200, 300], Some(3), 5, Some(0.1));
        check(&[100], None, 5, None);
        check(&[100, 200], None, 1, None);
        check(&[100, 200], Some(5), 5, None);
        check(&[], None, 5, None);
    }

    #[test]
    fn normalised_time_is_latency_over_tokens() {
        assert_eq!(ntpot(&request(&[100, 500], 5)), Some(0.1));
        assert_eq!(ntpot(&request(&[100, 500], 0)), None);
    }

    #[test]
    fn jitter_is_between_neighbours() {
        let gaps: Vec<f64> = icl(&request(&[100, 150, 350], 3)).collect();
        assert_eq!(gaps, [0.05, 0.2]);
    }

    #[test]
    fn failures_pool_with_values() {
        let got = distribution(vec![3.0, 1.0, 2.0], 3).unwrap();
        assert_eq!((got.mean, got.n), (Some(2.0), 6));
        assert_eq!(got.p50, Some(Percentile::Value(3.0)));
        let failed = distribution(Vec::new(), 1).unwrap();
        assert_eq!(failed.p50, Some(Percentile::Failed(Failed::Failed)));
        assert_eq!((failed.mean, failed.p90), (None, None));
        assert_eq!(distribution(Vec::new(), 0), None);
    }

    #[test]
    fn a_truncated_answer_is_as_good_as_a_stopped_one() {
        assert!(Outcome::Length.is_success());
        let chunk = Chunk {
            at: Stamp(0),
            kind: ChunkKind::Content,
            tokens: None,
        };
        let mut request = request(&[], 1);
        request.chunks.push(chunk);
        assert_eq!(request_latency(&request), Duration::ZERO);
    }
}
