//! Who stands where among those that keep all limits.

use tokwatt_domain::metrics::{
    dictionary::Better,
    spread::{
        Repetitions, log_t_interval,
        verdict::{Judgement, Verdict, judge},
    },
};

use super::{Against, Recommended, Shown, candidate::Candidate, measure::OverTasks};

/// A candidate with what decides.
pub(super) struct Ranked<'a> {
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) value: OverTasks,
}

/// Where a candidate stands.
pub(super) struct Place {
    place: u32,
    range: (u32, u32),
    /// Against the first; absent for that one.
    against: Option<Judgement>,
}

/// Positions in `ranked` with their places: by place, then value, then the order in which they came, which is that of their keys.
pub(super) fn placed(ranked: &[Ranked<'_>], is_lower_better: bool) -> Vec<(usize, Place)> {
    let better = match is_lower_better {
        true => Better::Lower,
        false => Better::Higher,
    };
    let judged = |left: usize, right: usize| {
        judge(
            &repetitions(&ranked[left].value),
            &repetitions(&ranked[right].value),
            better,
        )
    };
    // Of each how many are better beyond doubt, and how many worse.
    let mut beyond = vec![(0, 0); ranked.len()];
    for left in 0..ranked.len() {
        for right in left + 1..ranked.len() {
            match judged(left, right).verdict {
                Verdict::LeftBetter => {
                    beyond[left].1 += 1;
                    beyond[right].0 += 1;
                }
                Verdict::RightBetter => {
                    beyond[left].0 += 1;
                    beyond[right].1 += 1;
                }
                _ => {}
            }
        }
    }
    let n = u32::try_from(ranked.len()).unwrap_or(u32::MAX);
    let mut order: Vec<(usize, u32, (u32, u32))> = (0..ranked.len())
        .map(|number| {
            let (better, worse) = beyond[number];
            (number, 1 + better, (1 + better, n - worse))
        })
        .collect();
    order.sort_by(|left, right| {
        let by_value = ranked[left.0]
            .value
            .mean
            .total_cmp(&ranked[right.0].value.mean);
        let best_first = match is_lower_better {
            true => by_value,
            false => by_value.reverse(),
        };
        left.1.cmp(&right.1).then(best_first)
    });
    let first = order.first().map(|(number, ..)| *number);
    order
        .into_iter()
        .map(|(number, place, range)| {
            let against = first.filter(|first| *first != number);
            let against = against.map(|first| judged(first, number));
            let place = Place {
                place,
                range,
                against,
            };
            (number, place)
        })
        .collect()
}

impl Ranked<'_> {
    /// As it is shown; `normal` is what the value is a multiple of.
    pub(super) fn recommended(
        &self,
        place: Place,
        normal: f64,
        on_front: Option<bool>,
        shown: impl FnOnce(&Candidate<'_>) -> Shown,
    ) -> Recommended {
        let interval = log_t_interval(&self.value.values);
        let ends = interval.map_or((self.value.mean, self.value.mean), |interval| {
            (interval.low, interval.high)
        });
        let shown = shown(self.candidate);
        Recommended {
            place: place.place,
            place_range: place.range,
            key: shown.key,
            value: self.value.mean / normal,
            ci95: (ends.0 / normal, ends.1 / normal),
            against_first: place.against.and_then(|judgement| {
                let interval = judgement.interval?;
                Some(Against {
                    ratio: judgement.ratio?,
                    ci95: (interval.low, interval.high),
                    is_tied: judgement.verdict == Verdict::Tied,
                })
            }),
            terms: shown.terms,
            limits: shown.limits,
            figures: shown.figures,
            on_front,
            n_runs: u32::try_from(self.value.values.len()).unwrap_or(u32::MAX),
            n_requests: self.candidate.n_requests(),
            flags: self.candidate.flags().into_iter().collect(),
            more_repetitions: place
                .against
                .and_then(|judgement| judgement.more_repetitions),
        }
    }
}

fn repetitions(value: &OverTasks) -> Repetitions<'_> {
    Repetitions {
        values: &value.values,
        relative_bound: value.relative_bound,
    }
}
