//! Places: a row is behind those that are better beyond doubt, and shares its place with the rest.

use std::cmp::Ordering;

use tokwatt_domain::metrics::spread::{
    Repetitions, log_t_interval, ratio, repetitions_to_separate,
};

use super::candidate::{Candidate, describe};

/// A candidate with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) candidate: Candidate,
    pub(super) place: Option<u32>,
    pub(super) place_range: Option<(u32, u32)>,
    /// `needs about k more repetitions to …`.
    pub(super) advice: Option<String>,
}

/// Gives places and puts in order: by place, then value, then key; what has no place comes last, what is blocked after that.
pub(super) fn place(candidates: Vec<Candidate>, is_lower_better: bool) -> Vec<Placed> {
    let places: Vec<Option<(u32, (u32, u32))>> = candidates
        .iter()
        .map(|candidate| place_of(candidate, &candidates, is_lower_better))
        .collect();
    let mut placed: Vec<Placed> = candidates
        .into_iter()
        .zip(places)
        .map(|(candidate, place)| Placed {
            candidate,
            place: place.map(|(place, _)| place),
            place_range: place.map(|(_, range)| range),
            advice: None,
        })
        .collect();
    placed.sort_by(|left, right| order(left, right, is_lower_better));
    advise(&mut placed);
    placed
}

fn place_of(
    candidate: &Candidate,
    all: &[Candidate],
    is_lower_better: bool,
) -> Option<(u32, (u32, u32))> {
    if !is_ranked(candidate) {
        return None;
    }
    let ranked = all.iter().filter(|other| is_ranked(other));
    let (mut n, mut better, mut worse) = (0, 0, 0);
    for other in ranked {
        n += 1;
        better += u32::from(beats(other, candidate, is_lower_better));
        worse += u32::from(beats(candidate, other, is_lower_better));
    }
    Some((1 + better, (1 + better, n - worse)))
}

/// No interval, no place.
fn is_ranked(candidate: &Candidate) -> bool {
    !candidate.is_blocked && log_t_interval(&candidate.values).is_some()
}

/// Whether the ratio of the two excludes 1 in the first one's favour.
fn beats(left: &Candidate, right: &Candidate, is_lower_better: bool) -> bool {
    ratio(&repetitions(left), &repetitions(right)).is_some_and(|ratio| {
        if is_lower_better {
            ratio.interval.high < 1.0
        } else {
            ratio.interval.low > 1.0
        }
    })
}

fn repetitions(candidate: &Candidate) -> Repetitions<'_> {
    Repetitions {
        values: &candidate.values,
        relative_bound: candidate.relative_bound,
    }
}

fn order(left: &Placed, right: &Placed, is_lower_better: bool) -> Ordering {
    let rest = |placed: &Placed| {
        (
            placed.candidate.is_blocked,
            placed.place.is_none(),
            placed.place,
        )
    };
    let by_value = left.candidate.mean.total_cmp(&right.candidate.mean);
    let best_first = if is_lower_better {
        by_value
    } else {
        by_value.reverse()
    };
    rest(left)
        .cmp(&rest(right))
        .then(best_first)
        .then_with(|| left.candidate.by.cmp(&right.candidate.by))
        .then_with(|| {
            left.candidate
                .configuration
                .cmp(&right.candidate.configuration)
        })
}

/// What it would take to tell a row from the one above it.
fn advise(placed: &mut [Placed]) {
    let advice: Vec<Option<String>> = (0..placed.len())
        .map(|position| {
            let above = position.checked_sub(1).and_then(|above| placed.get(above));
            advice(&placed[position], above)
        })
        .collect();
    for (placed, advice) in placed.iter_mut().zip(advice) {
        placed.advice = advice;
    }
}

fn advice(placed: &Placed, above: Option<&Placed>) -> Option<String> {
    let candidate = &placed.candidate;
    // What has failed, more repetitions do not mend.
    if candidate.is_blocked || candidate.mean.is_infinite() {
        return None;
    }
    let lacking = REPETITIONS_LEAST.saturating_sub(candidate.values.len());
    if lacking > 0 {
        return Some(format!(
            "needs {} for an interval",
            super::figure::counted(lacking, "more repetition", "more repetitions")
        ));
    }
    let above = above.filter(|above| above.place.is_some())?;
    let more = repetitions_to_separate(&repetitions(&above.candidate), &repetitions(candidate))?;
    (more > 0).then(|| {
        format!(
            "needs about {} to separate from {}",
            super::figure::counted(
                usize::try_from(more).unwrap_or(usize::MAX),
                "more repetition",
                "more repetitions"
            ),
            describe(&above.candidate.by)
        )
    })
}

/// Fewer have no interval: METRICS, "Spread, intervals, places".
const REPETITIONS_LEAST: usize = 3;
