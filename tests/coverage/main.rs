//! Whether 95 % are 95 %: over seeded fleets of machines that do not exist, how often the interval of a ratio covers the true one.
//! `TOKWATT_FLEETS` is how many; `just soak` takes 200.
//!
//! Real runner, sampler, arithmetic and ranking, in virtual time and in one process. The truth is that of the simulation, never
//! of what was measured:
//!
//! - *speed*: the ratio of expected values in closed form ([`Expected`]): of `decode_tps` one over the expected time of a pass, of
//!   `images_per_s` one over the expected time from question to question. Luck, moods and lengths of answers have means that are known. A cell's value is
//!   a geometric mean, whose expectation lies below by half the variance of the logarithms; that is 0.02 % here for `decode_tps` and
//!   0.2 % for `images_per_s`, a tenth or less of an interval, and counted as a miss where it is one.
//! - *energy*: no closed form is exact while a machine warms up, so it is the ratio of what was truly drawn for a token (the machine's own
//!   integral, which no instrument sees), as geometric mean over all repetitions of all fleets: 180 and more of each cell, known to
//!   0.2 %.
//!
//! Pairs of one fleet share rows, so that as many pairs say less than independent ones would; the seeds are fixed, and the outcome is the
//! same on every machine.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; the lint sees only functions marked as such"
)]

/// Fleets, measured.
mod fleet;

use std::{collections::BTreeMap, thread};

use tokwatt_collector::rank::{Question, RankedRun, rank};
use tokwatt_domain::metrics::spread::{Repetitions, geometric_mean, ratio};
use tokwatt_harness::{number_from, tell};

use crate::fleet::{Configuration, Fleet, MACHINES, Measured, REPETITIONS};

/// Two cells of a fleet and the metric by which they are compared.
#[derive(Clone, Copy, Debug)]
struct Pair {
    metric: &'static str,
    left: Place,
    right: Place,
    /// Which key makes the rows of a board of the two; none where their models differ and the metric counts tokens.
    by: &'static str,
}

/// A machine and what it ran.
type Place = (&'static str, Configuration);

/// How often something was so.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    n: u32,
    n_so: u32,
}

/// What came of the pairs of one kind.
#[derive(Default)]
struct Outcome {
    covered: Tally,
    /// Of pairs that are equal in truth, those that share a place on their board.
    shared: Tally,
    /// Half widths of the intervals, on the logarithms.
    half_widths: Vec<f64>,
}

impl Tally {
    fn add(&mut self, is_so: bool) {
        self.n += 1;
        self.n_so += u32::from(is_so);
    }

    fn share(self) -> f64 {
        f64::from(self.n_so) / f64::from(self.n)
    }
}

#[test]
fn intervals_of_95_percent_cover_the_truth_so_often() {
    let n_fleets = number_from("TOKWATT_FLEETS", 60) as u64;
    let fleets = measured(n_fleets);
    let speed = judge(&fleets, &speeds());
    let energy = judge(&fleets, &energies());
    for (name, outcome) in [("speed", &speed), ("energy", &energy)] {
        tell(&format!(
            "{n_fleets} fleets, {REPETITIONS} repetitions, {name}: {} of {} intervals cover the true ratio, {:.2} %; of {} pairs that are equal in truth {:.2} % share a place; median half width {:.2} %",
            outcome.covered.n_so,
            outcome.covered.n,
            100.0 * outcome.covered.share(),
            outcome.shared.n,
            100.0 * outcome.shared.share(),
            100.0 * median(&outcome.half_widths),
        ));
    }
    let share = speed.covered.share();
    assert!((0.93..=0.97).contains(&share), "speed: {share}");
    let share = energy.covered.share();
    assert!(share >= 0.95, "energy: {share}");
    for outcome in [&speed, &energy] {
        let share = outcome.shared.share();
        assert!(share >= 0.95, "ties: {share}");
    }
}

/// All fleets, on two threads: the machines of CI have two cores.
fn measured(n_fleets: u64) -> Vec<Fleet> {
    let half = |first: u64| {
        thread::spawn(move || {
            let seeds = (first..n_fleets).step_by(2);
            seeds.map(Fleet::measure).collect::<Vec<Fleet>>()
        })
    };
    let halves = [half(0), half(1)];
    let halves = halves.into_iter().flat_map(|half| half.join().unwrap());
    halves.collect()
}

fn speeds() -> Vec<Pair> {
    let devices = [("orin", "thor"), ("orin", "gb10"), ("thor", "gb10")];
    let across = Configuration::ALL.into_iter().flat_map(|configuration| {
        devices.map(|(left, right)| Pair {
            metric: "decode_tps",
            left: (left, configuration),
            right: (right, configuration),
            by: "device",
        })
    });
    let within = MACHINES.map(|machine| Pair {
        metric: "decode_tps",
        left: (machine, Configuration::RobinF16),
        right: (machine, Configuration::RobinBf16),
        by: "precision",
    });
    let models = MACHINES.map(|machine| Pair {
        metric: "images_per_s",
        left: (machine, Configuration::RobinF16),
        right: (machine, Configuration::StorkQ8),
        by: "model",
    });
    across.chain(within).chain(models).collect()
}

fn energies() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for configuration in Configuration::ALL {
        let across = |metric, left, right| Pair {
            metric,
            left: (left, configuration),
            right: (right, configuration),
            by: "device",
        };
        pairs.push(across("j_per_output_token@module", "orin", "thor"));
        pairs.push(across("j_per_output_token@system_in", "thor", "gb10"));
        pairs.push(across("j_per_output_token@gpu_rail", "thor", "gb10"));
    }
    for (machine, metric, per_image) in [
        ("orin", "j_per_output_token@module", "j_per_image@module"),
        (
            "thor",
            "j_per_output_token@system_in",
            "j_per_image@system_in",
        ),
        (
            "gb10",
            "j_per_output_token@system_in",
            "j_per_image@system_in",
        ),
    ] {
        pairs.push(Pair {
            metric,
            left: (machine, Configuration::RobinF16),
            right: (machine, Configuration::RobinBf16),
            by: "precision",
        });
        pairs.push(Pair {
            metric: per_image,
            left: (machine, Configuration::RobinF16),
            right: (machine, Configuration::StorkQ8),
            by: "model",
        });
    }
    pairs
}

fn judge(fleets: &[Fleet], pairs: &[Pair]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut by_pair: BTreeMap<String, Tally> = BTreeMap::new();
    for pair in pairs {
        let truth = truth(fleets, pair);
        for fleet in fleets {
            let (left, right) = (fleet.cell(pair.left), fleet.cell(pair.right));
            let ratio = ratio_of(left, right, pair.metric);
            let is_covered = !ratio.excludes(truth);
            outcome.covered.add(is_covered);
            let name = format!("{} {:?} {:?}", pair.metric, pair.left, pair.right);
            by_pair.entry(name).or_default().add(is_covered);
            outcome
                .half_widths
                .push((ratio.high / ratio.low).ln() / 2.0);
            if is_tie(pair) {
                outcome.shared.add(shares_a_place(left, right, pair));
            }
        }
    }
    for (pair, tally) in by_pair {
        tell(&format!("  {pair}: {} of {}", tally.n_so, tally.n));
    }
    outcome
}

fn ratio_of(
    left: &Measured,
    right: &Measured,
    metric: &str,
) -> tokwatt_domain::metrics::spread::Interval {
    let repetitions = |measured: &'_ Measured| {
        let figure = measured.cell.figure(metric).unwrap();
        assert!(!figure.is_blocked, "{metric}: {:?}", figure.flags);
        (figure.values.clone(), figure.relative_bound)
    };
    let ((left, left_bound), (right, right_bound)) = (repetitions(left), repetitions(right));
    let of = |values, relative_bound| Repetitions {
        values,
        relative_bound,
    };
    ratio(&of(&left, left_bound), &of(&right, right_bound))
        .unwrap()
        .interval
}

/// As the head of this file says.
fn truth(fleets: &[Fleet], pair: &Pair) -> f64 {
    match pair.metric {
        "decode_tps" => expected(pair.left).decode_tps() / expected(pair.right).decode_tps(),
        "images_per_s" => {
            let seconds = |place| expected(place).cycle().as_secs_f64();
            seconds(pair.right) / seconds(pair.left)
        }
        metric => {
            let drawn = |place: Place| {
                let cells = fleets.iter().map(|fleet| fleet.cell(place));
                let all: Vec<f64> = cells.flat_map(|cell| cell.truly_drawn(metric)).collect();
                geometric_mean(&all).unwrap()
            };
            drawn(pair.left) / drawn(pair.right)
        }
    }
}

fn expected((machine, configuration): Place) -> tokwatt_agent::simulate::Expected {
    fleet::expected(machine, configuration)
}

/// Equal by construction: one model under two precisions of one size, or read by two memories of one bandwidth.
fn is_tie(pair: &Pair) -> bool {
    let is_of_two_precisions = pair.by == "precision";
    let is_of_two_memories =
        pair.metric == "decode_tps" && (pair.left.0, pair.right.0) == ("thor", "gb10");
    is_of_two_precisions || is_of_two_memories
}

fn shares_a_place(left: &Measured, right: &Measured, pair: &Pair) -> bool {
    let runs: Vec<RankedRun> = left.runs.iter().chain(&right.runs).cloned().collect();
    let by = [pair.by.to_owned()];
    let question = Question::parse(pair.metric, &by, &[], "simulated", false).unwrap();
    let board = rank(&runs, &question).unwrap();
    let places: Vec<u32> = board.rows.iter().map(|row| row.place.unwrap()).collect();
    assert_eq!(places.len(), 2, "{board:?}");
    places[0] == places[1]
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
