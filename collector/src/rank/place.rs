//! Places: a row is behind those that are better beyond doubt, and shares its place with the rest.

use std::{cmp::Ordering, collections::BTreeMap};

use tokwatt_domain::metrics::spread::LogSample;

use super::candidate::{Candidate, describe};

/// A candidate with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed<'a> {
    pub(super) candidate: Candidate<'a>,
    pub(super) place: Option<u32>,
    pub(super) place_range: Option<(u32, u32)>,
    /// `needs about k more repetitions to …`.
    pub(super) advice: Option<String>,
}

/// Gives places and puts in order: by place, then value, then key; what has no place comes last, what is blocked after that.
pub(super) fn place(candidates: Vec<Candidate<'_>>, is_lower_better: bool) -> Vec<Placed<'_>> {
    let field = Field::new(candidates.iter().filter_map(ranked), is_lower_better);
    let places: Vec<Option<(u32, (u32, u32))>> = candidates
        .iter()
        .map(|candidate| ranked(candidate).map(|sample| field.place_of(sample)))
        .collect();
    let mut placed: Vec<Placed<'_>> = candidates
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

/// No interval, no place.
fn ranked<'c>(candidate: &'c Candidate<'_>) -> Option<&'c LogSample> {
    let sample = candidate.sample.as_ref();
    sample.filter(|_| !candidate.is_blocked)
}

/// All that are ranked, in classes of about the same spread, so that most are told apart by their means alone.
struct Field<'c> {
    n: u32,
    is_lower_better: bool,
    classes: Vec<Class<'c>>,
}

/// Samples by their means, with what is common to them.
struct Class<'c> {
    samples: Vec<&'c LogSample>,
    quantile_most: f64,
    error: (f64, f64),
    widening: (f64, f64),
}

impl<'c> Field<'c> {
    fn new(ranked: impl Iterator<Item = &'c LogSample>, is_lower_better: bool) -> Self {
        let mut classes: BTreeMap<[u64; 3], Vec<&LogSample>> = BTreeMap::new();
        let mut n = 0;
        for sample in ranked {
            n += 1;
            // One of which nothing is known beats nobody and is beaten by nobody.
            if sample.widening().is_finite() {
                let sizes = [sample.quantile(), sample.error(), sample.widening()];
                let class = sizes.map(magnitude);
                classes.entry(class).or_default().push(sample);
            }
        }
        Self {
            n,
            is_lower_better,
            classes: classes.into_values().map(Class::new).collect(),
        }
    }

    /// Its place, and the first and the last that the intervals leave open.
    fn place_of(&self, sample: &LogSample) -> (u32, (u32, u32)) {
        let counts = self.classes.iter().map(|class| class.apart(sample));
        let (above, below) = counts.fold((0, 0), |(above, below), (more, less)| {
            (above + more, below + less)
        });
        let (better, worse) = match self.is_lower_better {
            true => (below, above),
            false => (above, below),
        };
        (1 + better, (1 + better, self.n - worse))
    }
}

impl<'c> Class<'c> {
    fn new(mut samples: Vec<&'c LogSample>) -> Self {
        samples.sort_by(|left, right| left.middle().total_cmp(&right.middle()));
        let range = |of: fn(&LogSample) -> f64| {
            let values = samples.iter().map(|own| of(own));
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
                (least.min(value), most.max(value))
            })
        };
        Self {
            quantile_most: range(LogSample::quantile).1,
            error: range(LogSample::error),
            widening: range(LogSample::widening),
            samples,
        }
    }

    /// How many lie above the sample beyond doubt, and how many below it. Those that are so near, or so far, that it does not matter which
    /// of the class they are need no comparison.
    fn apart(&self, sample: &LogSample) -> (u32, u32) {
        if !sample.widening().is_finite() {
            return (0, 0);
        }
        let reach = |quantile: f64, error: f64, widening: f64| {
            quantile * sample.error().hypot(error) + sample.widening() + widening
        };
        let near = reach(LogSample::least_quantile(), self.error.0, self.widening.0);
        let near = near * (1.0 - ROUNDING);
        // Welch has no fewer degrees of freedom than the smaller of both.
        let quantile = sample.quantile().max(self.quantile_most);
        let far = reach(quantile, self.error.1, self.widening.1);
        let far = far * (1.0 + ROUNDING) + f64::MIN_POSITIVE;
        let middle = sample.middle();
        // Whoever is as far as the reach is within it, the sample itself above all, whose reach is nothing where its repetitions agree.
        let below = |end: f64| self.samples.partition_point(|other| other.middle() < end);
        let up_to = |end: f64| self.samples.partition_point(|other| other.middle() <= end);
        let [far_below, below] = [far, near].map(|away| below(middle - away));
        let [above, far_above] = [near, far].map(|away| up_to(middle + away));
        let beats = |left: &LogSample, right: &LogSample| usize::from(left.exceeds(right));
        let doubtful = &self.samples[far_below..below];
        let n_below: usize = doubtful.iter().map(|other| beats(sample, other)).sum();
        let doubtful = &self.samples[above..far_above];
        let n_above: usize = doubtful.iter().map(|other| beats(other, sample)).sum();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (
            count(self.samples.len() - far_above + n_above),
            count(far_below + n_below),
        )
    }
}

/// Numbers of the same class differ by less than a fifth.
fn magnitude(size: f64) -> u64 {
    size.to_bits() >> 50
}

fn order(left: &Placed<'_>, right: &Placed<'_>, is_lower_better: bool) -> Ordering {
    let rest = |placed: &Placed<'_>| {
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
fn advise(placed: &mut [Placed<'_>]) {
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

fn advice(placed: &Placed<'_>, above: Option<&Placed<'_>>) -> Option<String> {
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
    let (above, below) = (&above.candidate, candidate.sample.as_ref()?);
    let more = above.sample.as_ref()?.repetitions_to_separate(below)?;
    (more > 0).then(|| {
        format!(
            "needs about {} to separate from {}",
            super::figure::counted(
                usize::try_from(more).unwrap_or(usize::MAX),
                "more repetition",
                "more repetitions"
            ),
            describe(&above.by)
        )
    })
}

/// Fewer have no interval: METRICS, "Spread, intervals, places".
const REPETITIONS_LEAST: usize = 3;

/// More than what rounding does to a reach.
const ROUNDING: f64 = 1e-9;
