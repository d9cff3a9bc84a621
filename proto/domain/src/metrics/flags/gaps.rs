//! What of a run was measured and is not kept.

use std::collections::BTreeMap;

use crate::{
    gap::{Gap, GapCause, Part},
    metrics::Flag,
    run::RunTrace,
};

/// Requests that are missing leave a selection behind that nobody made, so their figures are shown and not ranked. Without samples
/// an energy has a lower coverage and a wider bound, and is judged by these.
pub(super) fn flags(trace: &RunTrace) -> Vec<Flag> {
    let requests = said(trace, |gap| gap.part == Part::Requests);
    let samples = said(trace, |gap| gap.part != Part::Requests);
    [
        requests.map(|detail| Flag::blocking("missing_requests", detail)),
        samples.map(|detail| Flag::note("missing_samples", detail)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How many, by cause.
fn said(trace: &RunTrace, is_meant: impl Fn(&Gap) -> bool) -> Option<String> {
    let mut counts: BTreeMap<GapCause, u64> = BTreeMap::new();
    let gaps = trace.segments.iter().flat_map(|segment| &segment.gaps);
    for gap in gaps.filter(|gap| is_meant(gap)) {
        *counts.entry(gap.cause).or_default() += u64::from(gap.count);
    }
    let said: Vec<String> = counts
        .into_iter()
        .map(|(cause, count)| format!("{count} ({cause})"))
        .collect();
    (!said.is_empty()).then(|| format!("not kept: {}", said.join(", ")))
}
