//! What a power cut at any moment leaves of the agent's spool and of the collector's store: everything that was acknowledged, once.
//!
//! A workload runs once over a file system that writes down all that it does (`vfs`, `recording`). Then the power is cut at many
//! points of that log, and each time the files are made as a disk could be found with (`disk`), opened with our own code, and read
//! (`power_cut`, `rows`).
//!
//! `TOKWATT_CRASH_POINTS` is the number of points, `TOKWATT_SEED` the seed of the first history, each further one has the next; a
//! failure says which one it was. Which devices are committed together is up to the threads, so that a history of the store repeats
//! itself but for that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;
mod power_cut;
mod recording;
mod rows;
mod spool;
mod store;
mod vfs;

use tokwatt_agent::clock::{Clock, SystemClock};
use tokwatt_domain::time::Stamp;
use tokwatt_harness::{Random, number_from, seed, tell};

use crate::{
    power_cut::{Damage, History, Subject, Tally},
    spool::SPOOL,
    store::STORE,
};

type Workload = fn(&mut Random, usize, bool) -> History;

#[test]
fn what_the_collector_acknowledged_survives_a_power_cut() {
    hold("store", &STORE, store::history);
}

#[test]
fn what_the_agent_kept_survives_a_power_cut_and_no_number_is_given_out_twice() {
    hold("spool", &SPOOL, spool::history);
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    find_out(&STORE, store::history, |_| true);
    find_out(&SPOOL, spool::history, |_| true);
}

/// As with `synchronous = NORMAL`: nothing is corrupt, and what was acknowledged last is gone.
#[test]
fn a_log_that_is_not_synced_before_the_acknowledgement_is_found_out() {
    let is_log = |name: &str| name.ends_with("-wal");
    find_out(&STORE, store::history, is_log);
    find_out(&SPOOL, spool::history, is_log);
}

/// Histories with new seeds until there were enough points; no damage at any.
#[track_caller]
fn hold(name: &str, subject: &Subject, workload: Workload) {
    let n_points = number_from("TOKWATT_CRASH_POINTS", 2_400) / 2;
    let first = seed();
    let clock = SystemClock::start();
    let mut tally = Tally::default();
    for (seed, shape) in (first..).zip(SHAPES.into_iter().cycle()) {
        let n_left = n_points - tally.n_points;
        if n_left == 0 {
            break;
        }
        let mut random = Random::new(seed);
        let history = workload(&mut random, STEPS, shape.is_large);
        assert!(
            !shape.is_large || history.has_emptied_its_log(subject.file),
            "the log of seed {seed} never grew long"
        );
        let round = subject.examine(&history, shape.n_points.min(n_left), &mut random);
        if let Some((point, damage)) = round.damages.first() {
            let steps: Vec<&str> = history.steps.iter().map(|step| &*step.what).collect();
            panic!(
                "{} of {} points in the history of seed {seed} ({shape:?}); the first: {point:?}, {damage:?}; steps: {steps:#?}",
                round.damages.len(),
                round.n_points,
            );
        }
        tally.add(round);
    }
    let seconds = clock.now().since(Stamp(0)).as_secs_f64();
    tell(&format!(
        "{name}: {} power cuts, {} of them twice, {} followed by a new delivery; {} acknowledged steps held, 0 lost; {:.0} cuts/s; TOKWATT_SEED={first}",
        tally.n_points,
        tally.n_cut_again,
        tally.n_gone_on,
        tally.n_held,
        tally.n_points as f64 / seconds,
    ));
}

/// The same on a disk that only says that it syncs some files: something acknowledged is lost, and we see it.
#[track_caller]
fn find_out(subject: &Subject, workload: Workload, files: fn(&str) -> bool) {
    let mut random = Random::new(seed());
    let history = workload(&mut random, STEPS, false).without_syncs(files);
    let tally = subject.examine(&history, 100, &mut random);
    let is_loss = |damage: &Damage| matches!(damage, Damage::Lost { .. });
    let n_lost = tally.damages.iter().filter(|(_, damage)| is_loss(damage));
    assert!(n_lost.count() > 10, "{:?}", tally.damages);
}

/// What a history is like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Whether its records are so large that the log is emptied by itself, not only when somebody closes the file.
    is_large: bool,
    n_points: usize,
}

/// Many small files, and a few large ones, which take their time.
const SHAPES: [Shape; 4] = [SMALL, SMALL, SMALL, LARGE];

const SMALL: Shape = Shape {
    is_large: false,
    n_points: 250,
};

const LARGE: Shape = Shape {
    is_large: true,
    n_points: 40,
};

/// Enough for a few runs and restarts, few enough for small files.
const STEPS: usize = 60;
