//! What came from a cache under policy cold, where nothing may.

use super::{Flag, fact};
use crate::{
    metrics::{latency::ttft, totals::successes},
    run::{CacheProbe, RequestTrace, RunTrace},
    workload::CachePolicy,
};

/// Cached prompt tokens, or a first token sooner than its prompt can have been computed.
///
/// # Errors
/// The engine does not say what was cached, and too little is known to tell from the times.
pub(super) fn leak(trace: &RunTrace) -> Result<Option<Flag>, String> {
    if !is_cold(trace) {
        return Ok(None);
    }
    let cached = |request: &RequestTrace| request.tokens.and_then(|tokens| tokens.cached);
    let shared = shared_beginning(trace);
    let n_leaks = successes(trace)
        .filter(|request| cached(request).is_some_and(|cached| cached > shared))
        .count();
    if n_leaks > 0 {
        let detail = format!("{n_leaks} requests found prompt tokens in a cache under policy cold");
        return Ok(Some(Flag::blocking("cache_leak", detail)));
    }
    match too_soon(trace) {
        // Its word is as good.
        Err(_) if successes(trace).all(|request| cached(request).is_some()) => Ok(None),
        Err(reason) => Err(format!("how much was cached is not told, and {reason}")),
        Ok(flag) => Ok(flag),
    }
}

/// A prompt of P tokens takes P passes through the weights: 2 operations each, in some of the weights. Embeddings are looked up and the
/// output's weights work for the last token only, together less than half of the weights, so parameters · P operations is less than what
/// any prefill takes, the picture's encoding apart.
fn too_soon(trace: &RunTrace) -> Result<Option<Flag>, String> {
    let rate = fact(trace, "compute_ops_per_s")?;
    let parameters = fact(trace, "parameters")?;
    if fact(trace, "expert_count").is_ok_and(|experts| experts > 1.0) {
        return Err("how many experts a token takes is not known".to_owned());
    }
    let excess = |request: &RequestTrace| {
        let prompt = f64::from(request.tokens?.prompt);
        let least = parameters * prompt / rate;
        Some((ttft(request)?.as_secs_f64(), least)).filter(|(ttft, least)| ttft < least)
    };
    let mut early: Vec<(f64, f64)> = successes(trace).filter_map(excess).collect();
    early.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok(early.first().map(|(ttft, least)| {
        let detail = format!(
            "{} requests had their first token before their prompt can have been computed, e.g. after {:.1} ms, which takes {:.1} ms",
            early.len(),
            1e3 * ttft,
            1e3 * least
        );
        Flag::blocking("cache_leak", detail)
    }))
}

/// Whether the same question asked twice before the runs was computed once.
pub(super) fn probed(trace: &RunTrace) -> Option<Flag> {
    let probe = trace
        .header
        .cache_probe
        .as_ref()
        .filter(|_| is_cold(trace))?;
    let what = match probe.cached_tokens {
        Some(0) => None,
        Some(cached) if cached < BEGINNING_MAX && has_nonce(trace) => None,
        Some(cached) => Some(counted(cached, probe)),
        None => timed(probe),
    };
    let detail =
        what? + ": switch the server's prefix cache off, or repeated questions are not computed";
    Some(Flag::note("prefix_cache", detail))
}

/// Tokens that may come from a cache although every question is asked cold: a nonce stands behind the beginning that the server's template
/// gives to all prompts, and which a question asked again before the runs shows.
fn shared_beginning(trace: &RunTrace) -> u32 {
    if !has_nonce(trace) {
        return 0;
    }
    let probe = trace.header.cache_probe.as_ref();
    let shown = probe.and_then(|probe| probe.cached_tokens);
    shown.unwrap_or(0).saturating_add(BEGINNING_SLACK)
}

/// Whether random words keep a question's beginning from being met again.
fn has_nonce(trace: &RunTrace) -> bool {
    let flags = &trace.header.cell.configuration.engine_flags;
    flags.get("cold_cache").is_some_and(|how| how == "nonce")
}

fn counted(cached: u32, probe: &CacheProbe) -> String {
    let prompt = probe
        .prompt_tokens
        .map_or_else(String::new, |prompt| format!(" of {prompt}"));
    format!("a question asked again had {cached}{prompt} prompt tokens from a cache")
}

/// A question had its first token in less than half the time whenever it was asked again.
fn timed(probe: &CacheProbe) -> Option<String> {
    let pairs = &probe.first_tokens;
    let is_cached = pairs.len() >= PAIRS_MIN && pairs.iter().all(|(new, again)| 2 * *again < *new);
    let milliseconds = |time: std::time::Duration| 1e3 * time.as_secs_f64();
    let (new, again) = *pairs.first().filter(|_| is_cached)?;
    Some(format!(
        "a question asked again had its first token in less than half the time, {} times of {}, e.g. after {:.1} instead of {:.1} ms",
        pairs.len(),
        pairs.len(),
        milliseconds(again),
        milliseconds(new)
    ))
}

fn is_cold(trace: &RunTrace) -> bool {
    trace.header.cell.identity.cache_policy == CachePolicy::Cold
}

/// By how much shared beginnings differ: caches keep blocks, of 16 or 32 tokens mostly.
const BEGINNING_SLACK: u32 = 32;

/// What a template with a system message of its own puts before the words of a user is shorter.
const BEGINNING_MAX: u32 = 96;

/// Once it may be sooner by chance.
const PAIRS_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{example, measure};

    /// A request of 50 prompt tokens with its first token after 100 ms.
    fn plain() -> RunTrace {
        example::run(vec![example::request(0, 0, &[100, 200, 300, 400], 50, 4)])
    }

    fn with_facts(facts: &[(&str, &str)]) -> RunTrace {
        let mut trace = plain();
        let facts = facts.iter().copied();
        trace.header.cell.configuration.model_facts = facts
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        trace
    }

    #[track_caller]
    fn check(trace: &RunTrace, want: Result<Option<&str>, &str>) {
        let got = leak(trace).map(|flag| flag.map(|flag| flag.detail));
        assert_eq!(
            got,
            want.map(|detail| detail.map(str::to_owned))
                .map_err(str::to_owned)
        );
    }

    #[test]
    fn a_first_token_before_its_prompt_can_be_computed_is_a_leak() {
        // 50 tokens through 1e9 parameters at 1e12 operations a second take 50 ms, at 4e11 they take 125 ms.
        let facts = |rate| with_facts(&[("parameters", "1e9"), ("compute_ops_per_s", rate)]);
        check(&facts("1e12"), Ok(None));
        check(
            &facts("4e11"),
            Ok(Some(
                "1 requests had their first token before their prompt can have been computed, e.g. after 100.0 ms, which takes 125.0 ms",
            )),
        );
        let mut warm = facts("4e11");
        warm.header.cell.identity.cache_policy = CachePolicy::Warm;
        check(&warm, Ok(None));
    }

    #[test]
    fn what_cannot_be_checked_says_why() {
        check(
            &plain(),
            Err("how much was cached is not told, and `compute_ops_per_s` is not known"),
        );
        let experts = [
            ("parameters", "1e9"),
            ("compute_ops_per_s", "1"),
            ("expert_count", "8"),
        ];
        check(
            &with_facts(&experts),
            Err("how much was cached is not told, and how many experts a token takes is not known"),
        );
        let mut told = plain();
        told.segments[0].requests[0].tokens.as_mut().unwrap().cached = Some(0);
        check(&told, Ok(None));
    }

    #[track_caller]
    fn check_probe(cached_tokens: Option<u32>, first_tokens: &[(u64, u64)], want: Option<&str>) {
        check_probe_of(plain(), cached_tokens, first_tokens, want);
    }

    #[track_caller]
    fn check_probe_of(
        mut trace: RunTrace,
        cached_tokens: Option<u32>,
        first_tokens: &[(u64, u64)],
        want: Option<&str>,
    ) {
        let time = Duration::from_millis;
        trace.header.cache_probe = Some(CacheProbe {
            prompt_tokens: Some(99),
            cached_tokens,
            first_tokens: first_tokens
                .iter()
                .map(|(new, again)| (time(*new), time(*again)))
                .collect(),
        });
        let flag = measure(&trace)
            .flags
            .into_iter()
            .find(|flag| flag.id == "prefix_cache");
        assert_eq!(flag.as_ref().map(|flag| flag.blocking), want.map(|_| false));
        let detail = flag.map(|flag| flag.detail);
        let advice =
            ": switch the server's prefix cache off, or repeated questions are not computed";
        assert_eq!(detail, want.map(|want| format!("{want}{advice}")));
    }

    #[test]
    fn a_prefix_cache_is_known_by_its_tokens_or_else_by_its_haste() {
        let by_tokens = "a question asked again had 89 of 99 prompt tokens from a cache";
        check_probe(Some(89), &[], Some(by_tokens));
        check_probe(Some(0), &[(100, 1), (100, 1)], None);
        let by_time = "a question asked again had its first token in less than half the time, 2 times of 2, e.g. after 40.0 instead of 100.0 ms";
        check_probe(None, &[(100, 40), (90, 44)], Some(by_time));
        check_probe(None, &[(100, 40), (90, 45)], None);
        check_probe(None, &[(100, 1)], None);
    }

    /// Its questions begin with random words, and so many tokens of one came from a cache.
    fn with_nonce(cached: u32) -> RunTrace {
        let mut trace = plain();
        let tokens = trace.segments[0].requests[0].tokens.as_mut().unwrap();
        tokens.cached = Some(cached);
        let flags = &mut trace.header.cell.configuration.engine_flags;
        flags.insert("cold_cache".to_owned(), "nonce".to_owned());
        trace
    }

    #[test]
    fn a_template_beginning_that_all_prompts_share_is_no_leak() {
        let leaked = Ok(Some(
            "1 requests found prompt tokens in a cache under policy cold",
        ));
        check(&with_nonce(32), Ok(None));
        check(&with_nonce(33), leaked);
        let probed = |cached| {
            let mut trace = with_nonce(cached);
            trace.header.cache_probe = Some(CacheProbe {
                prompt_tokens: Some(50),
                cached_tokens: Some(16),
                first_tokens: Vec::new(),
            });
            trace
        };
        check(&probed(48), Ok(None));
        check(&probed(49), leaked);
        let mut other = with_nonce(1);
        other.header.cell.configuration.engine_flags.clear();
        check(&other, leaked);
    }

    #[test]
    fn a_template_beginning_is_no_prefix_cache_to_speak_of() {
        check_probe_of(with_nonce(0), Some(95), &[], None);
        let said = "a question asked again had 96 of 99 prompt tokens from a cache";
        check_probe_of(with_nonce(0), Some(96), &[], Some(said));
    }
}
