//! What flags mean, in a few words.

use std::collections::BTreeSet;

use tokwatt_domain::leaderboard::Board;

use super::{flags, has_flag_column};

/// A line for each flag of a board's rows.
pub(super) fn notes(board: &Board) -> Vec<String> {
    let words: BTreeSet<&str> = board.rows.iter().flat_map(|row| flags(row).0).collect();
    let whose = if has_flag_column(board) || board.rows.len() < 2 {
        ""
    } else {
        " (every row)"
    };
    let note = |word: &str| match meaning(word) {
        Some(meaning) => format!("{word}{whose}: {meaning}"),
        None => format!("{word}{whose}"),
    };
    words.into_iter().map(note).collect()
}

/// What a flag means, if it is one of those that stand on boards.
pub(crate) fn meaning(flag: &str) -> Option<&'static str> {
    let (_, meaning) = MEANINGS.iter().find(|(own, _)| *own == flag)?;
    Some(meaning)
}

const MEANINGS: [(&str, &str); 39] = [
    ("aborted", "the engine died and did not come back"),
    (
        "aggregate",
        "the file has means over repetitions, and not the repetitions",
    ),
    (
        "aliased",
        "power was read too rarely for requests this short",
    ),
    (
        "bound_above_5_percent",
        "sampling may have missed more than 5 % of the energy",
    ),
    ("bundled", "several tokens came in one piece"),
    (
        "cache_leak",
        "prompt tokens came from a cache that should have been cold",
    ),
    ("cancelled", "a person stopped it"),
    ("client_lag", "requests were sent later than scheduled"),
    ("clock_step", "the clock was set meanwhile"),
    (
        "doubt",
        "whoever published it says something that makes a figure doubtful",
    ),
    (
        "duplicate",
        "the same figures, to the last digit, as another row's",
    ),
    (
        "failures_left_out",
        "requests failed, and the other tool's latencies are without them",
    ),
    (
        "gamma_arrivals",
        "requests came in bursts, or more evenly than at random: poisson is the nearest load that has a name",
    ),
    ("invalid", "LoadGen says that the result does not count"),
    (
        "interval_not_kept",
        "the instrument's own pace is another than it was asked for",
    ),
    (
        "littles_law",
        "there were not as many requests in flight as the load says",
    ),
    (
        "low_coverage",
        "power was not seen for more than 5 % of the time",
    ),
    (
        "missing_requests",
        "requests that were measured are not kept: see `runs show`",
    ),
    (
        "missing_samples",
        "power readings that were taken are not kept: see `runs show`",
    ),
    (
        "not_bracketed",
        "power was not read before and after every window",
    ),
    ("overcurrent", "the device limited its current"),
    (
        "preempted",
        "the server put requests back that it had begun",
    ),
    (
        "prefix_cache",
        "the beginning that all prompts share may come from a cache",
    ),
    ("published", "as a study published it, not measured here"),
    (
        "queued",
        "requests waited in the server for most of the time to first token",
    ),
    (
        "quick",
        "idle power was watched for a short time only: speed is ranked, energy is shown",
    ),
    (
        "report_differs",
        "the agent came to other figures than we did from the same trace: see `runs show`",
    ),
    (
        "reciprocal",
        "tokens per joule and joules per token, as printed, contradict each other beyond their rounding",
    ),
    (
        "resized",
        "pictures of another size take as many prompt tokens: they are made smaller on the way, or always take as many",
    ),
    (
        "resumed",
        "it was interrupted and went on; what was in hand then was asked again",
    ),
    ("roofline", "faster than the memory can deliver the weights"),
    ("shared_device", "somebody else used the device too"),
    ("throttled", "the device was too hot, or slowed its clocks"),
    (
        "token_leak",
        "unusually many or few characters for each token: they may be miscounted",
    ),
    (
        "tokenizer_differs",
        "models differ in what a token is: tokens of one are not tokens of another",
    ),
    (
        "too_few_requests",
        "a closed loop takes 20 requests for each in flight to be ranked",
    ),
    (
        "window_below_60_s",
        "energy takes a window of 60 s to be ranked",
    ),
    (
        "source_contradicts",
        "the file's own numbers do not come to each other",
    ),
    (
        "vendor_table",
        "one number of a vendor, without how often it was measured",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_means_one_thing() {
        let names: BTreeSet<&str> = MEANINGS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), MEANINGS.len());
        assert!(meaning("gamma_arrivals").is_some_and(|words| words.contains("bursts")));
    }
}
