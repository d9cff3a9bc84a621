//! The same pictures on both sides: what each cost, from the raw traces.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};
use tokwatt_domain::{
    ids::RunId,
    metrics::{
        efficiency::request_energies,
        latency,
        spread::bootstrap::{Pair, paired_ratio},
    },
    run::RunTrace,
};

use super::{Comparison, FigurePair, SideFigure, Within};

/// What each picture cost on one side, figure by figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Items {
    /// Metric id, with `@scope` for those over energy, to picture to its mean over the requests of all repetitions.
    means: BTreeMap<String, BTreeMap<String, Mean>>,
    /// Metric id to the runs that stand in its figure: the others are not looked at for it.
    wanted: BTreeMap<String, BTreeSet<RunId>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    n: f64,
}

impl Items {
    /// The runs to add, in the order in which [`Items::add`] wants them.
    pub fn runs(&self) -> BTreeSet<RunId> {
        self.wanted.values().flatten().copied().collect()
    }

    /// Adds a repetition. They are to be added in the order of their ids, so that sums do not depend on who came first.
    pub fn add(&mut self, trace: &RunTrace) {
        let run = trace.header.run;
        let is_wanted = |id: &str| self.wanted.get(id).is_some_and(|runs| runs.contains(&run));
        let has_latency = is_wanted(LATENCY);
        let has_first = is_wanted(TTFT) && trace.header.cell.identity.is_streaming;
        let requests = trace.segments.iter().flat_map(|segment| &segment.requests);
        for request in requests.filter(|request| request.outcome.is_success()) {
            if has_latency {
                let seconds = latency::request_latency(request).as_secs_f64();
                self.note(LATENCY, &request.item, seconds);
            }
            if let Some(first) = latency::ttft(request).filter(|_| has_first) {
                self.note(TTFT, &request.item, first.as_secs_f64());
            }
        }
        for (scope, energies) in request_energies(trace) {
            let id = format!("{ENERGY}@{scope}");
            if self.wanted.get(&id).is_some_and(|runs| runs.contains(&run)) {
                for (item, joules) in energies {
                    self.note(&id, item, joules);
                }
            }
        }
    }

    fn note(&mut self, id: &str, item: &str, value: f64) {
        let items = match self.means.get_mut(id) {
            Some(items) => items,
            None => self.means.entry(id.to_owned()).or_default(),
        };
        let mean = items.entry(item.to_owned()).or_default();
        mean.sum += value;
        mean.n += 1.0;
    }
}

impl Comparison {
    /// What makes the pair's second ratios, of A and of B, to which the runs that stand in its figures are still to be added.
    pub fn items_of(&self, pair: usize) -> [Items; 2] {
        let figures = self.pairs.get(pair).map(|pair| pair.figures.as_slice());
        let of_requests = |figure: &&FigurePair| OF_REQUESTS.contains(&figure.metric.as_str());
        let items = |side: fn(&FigurePair) -> &SideFigure| {
            let figures = figures.unwrap_or_default().iter().filter(of_requests);
            let wanted =
                figures.map(|figure| (id(figure), side(figure).runs.iter().copied().collect()));
            Items {
                wanted: wanted.collect(),
                ..Items::default()
            }
        };
        [items(|figure| &figure.left), items(|figure| &figure.right)]
    }

    /// Puts the ratios over the same pictures beside those over repetitions.
    pub fn add_items(&mut self, pair: usize, left: &Items, right: &Items) {
        for figure in self
            .pairs
            .get_mut(pair)
            .iter_mut()
            .flat_map(|pair| &mut pair.figures)
        {
            let mut runs = [figure.left.runs.as_slice(), &figure.right.runs].concat();
            runs.sort();
            figure.within_repetitions = within(left, right, &runs, &id(figure));
        }
    }
}

fn id(figure: &FigurePair) -> String {
    match figure.scope {
        Some(scope) => format!("{}@{scope}", figure.metric),
        None => figure.metric.clone(),
    }
}

fn within(left: &Items, right: &Items, runs: &[RunId], id: &str) -> Option<Within> {
    let (left, right) = (left.means.get(id)?, right.means.get(id)?);
    let both = left
        .iter()
        .filter_map(|(item, left)| Some((left, right.get(item)?)));
    // B is to be divided by A.
    let pairs: Vec<Pair> = both
        .map(|(left, right)| Pair {
            left: right.sum / right.n,
            right: left.sum / left.n,
        })
        .collect();
    let n_left_out = left.len() + right.len() - 2 * pairs.len();
    let mut chance = seeded(runs, id);
    let ratio = paired_ratio(&pairs, RESAMPLES, |n| below(&mut chance, n))?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Within {
        ratio: ratio.value,
        ci95: (ratio.interval.low, ratio.interval.high),
        n_items: count(pairs.len()),
        n_left_out: count(n_left_out),
        n_resamples: count(RESAMPLES),
        generator: GENERATOR.to_owned(),
    })
}

/// The key is the SHA-256 of the runs' ids, in order, and of the metric's id.
fn seeded(runs: &[RunId], id: &str) -> ChaCha20Rng {
    let mut digest = Sha256::new();
    for run in runs {
        digest.update(run.0);
    }
    digest.update(id.as_bytes());
    ChaCha20Rng::from_seed(digest.finalize().into())
}

/// A number below `n`, by multiply and shift of 32 bits; written here, since a crate may change its mind about that.
fn below(chance: &mut ChaCha20Rng, n: usize) -> usize {
    let scaled = u128::from(chance.next_u32()) * n as u128;
    usize::try_from(scaled >> 32).expect("below n")
}

const LATENCY: &str = "request_latency";
const TTFT: &str = "ttft";
const ENERGY: &str = "j_per_request";

/// Metrics that single requests have.
const OF_REQUESTS: [&str; 3] = [LATENCY, TTFT, ENERGY];

/// Enough for the ends of a 95 % interval: 50 samples lie beyond each.
const RESAMPLES: usize = 2000;

/// The generator's name.
const GENERATOR: &str = "chacha20";

#[cfg(test)]
mod tests {
    use super::*;

    fn items(values: &[(&str, f64)]) -> Items {
        let mut items = Items::default();
        for (item, value) in values {
            items.note("ttft", item, *value);
        }
        items
    }

    fn many(n: u8, factor: f64) -> Items {
        let mut items = Items::default();
        for number in 0..n {
            items.note(
                "ttft",
                &format!("scene-{number}"),
                factor * f64::from(number + 1),
            );
        }
        items
    }

    #[test]
    fn b_is_divided_by_a_picture_by_picture() {
        let within = within(&many(20, 1.0), &many(20, 2.0), &[RunId([1; 16])], "ttft").unwrap();
        assert_eq!((within.ratio, within.ci95), (2.0, (2.0, 2.0)));
        assert_eq!((within.n_items, within.n_left_out), (20, 0));
    }

    #[test]
    fn repetitions_of_a_picture_count_as_their_mean() {
        let twice = items(&[("a", 1.0), ("a", 3.0)]);
        assert_eq!(twice.means["ttft"]["a"], Mean { sum: 4.0, n: 2.0 });
    }

    #[test]
    fn pictures_of_one_side_are_left_out_and_counted() {
        let within = within(&many(12, 1.0), &many(15, 1.0), &[], "ttft").unwrap();
        assert_eq!((within.n_items, within.n_left_out), (12, 3));
    }

    #[test]
    fn too_few_pictures_have_no_second_ratio() {
        assert_eq!(within(&many(9, 1.0), &many(9, 1.0), &[], "ttft"), None);
        assert_eq!(within(&many(20, 1.0), &many(20, 1.0), &[], "other"), None);
    }

    #[test]
    fn the_same_runs_give_the_same_interval_and_others_another() {
        let mut left = many(20, 1.0);
        left.note("ttft", "scene-3", 9.0);
        let right = many(20, 1.1);
        let runs = |number| [RunId([number; 16])];
        let one = within(&left, &right, &runs(1), "ttft");
        assert_eq!(one, within(&left, &right, &runs(1), "ttft"));
        assert_ne!(one, within(&left, &right, &runs(2), "ttft"));
    }
}
