//! Partitions and deaths of devices and collector, thousands of times, each decided by one number: no job is accepted twice, none is
//! forgotten (P9).
//!
//! Agents attend, and the collector gives work, by their real code, over a network and in a time that are simulated (`world`). Links are
//! cut, one way too, held and slow; machines are killed, lose power or their disk and come back (`faults`); an operator creates
//! campaigns and cancels some (`operator`). Everybody writes down what they see, the store in its own transactions (`history`), and in
//! the end it has to agree (`checker`).
//!
//! `TOKWATT_SEEDS` is the number of seeds, `TOKWATT_SEED` the first one: with `TOKWATT_SEEDS=1` it repeats one. Ids of jobs
//! and the date in HTTP headers are those of the moment, and nothing depends on them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checker;
mod collector;
mod device;
mod faults;
mod history;
mod operator;
mod world;

use std::{
    collections::BTreeMap,
    panic,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokwatt_agent::clock::{Clock, SystemClock};
use tokwatt_domain::{campaign::JobState, time::Stamp};
use tokwatt_harness::{number_from, seed, tell};

use crate::{
    history::{Entry, Event},
    world::{Outcome, run},
};

#[test]
fn no_job_is_accepted_twice_and_none_is_forgotten() {
    let (first, n_seeds) = (seed(), number_from("TOKWATT_SEEDS", 500) as u64);
    let clock = SystemClock::start();
    let next = AtomicU64::new(first);
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + n_seeds {
                return;
            }
            let outcome = panic::catch_unwind(|| run(seed, ""));
            let outcome = outcome.unwrap_or_else(|_| Outcome::panicked());
            tally.lock().unwrap().add(seed, outcome);
        }
    };
    thread::scope(|scope| {
        let n_threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..n_threads {
            scope.spawn(work);
        }
    });
    let tally = tally.into_inner().unwrap();
    if let Some((seed, outcome)) = tally.first_broken {
        let history: Vec<String> = outcome.history.iter().map(line).collect();
        panic!(
            "{} of {n_seeds} seeds; TOKWATT_SEED={seed} TOKWATT_SEEDS=1 repeats one of them: {:#?}\n{}",
            tally.n_broken,
            outcome.breaches,
            history.join("\n")
        );
    }
    let seconds = clock.now().since(Stamp(0)).as_secs_f64();
    let hours = tally.time.as_secs_f64() / 3600.0;
    tell(&format!(
        "{n_seeds} seeds, {hours:.0} hours in {seconds:.0} s: {} faults, {} leases lost, {} attempts begun or gone on with {} times; \
         0 jobs accepted twice, 0 forgotten of {:?}; TOKWATT_SEED={first}",
        tally.n_faults, tally.n_lost, tally.n_attempts, tally.n_starts, tally.n_over,
    ));
    assert!(n_seeds < 100 || tally.has_seen_everything());
}

#[test]
fn a_seed_is_one_run() {
    for seed in seed()..seed() + 5 {
        let [one, other] = [run(seed, ""), run(seed, "")];
        let pairs = one.history.iter().zip(&other.history);
        for (number, (one, other)) in pairs.enumerate() {
            assert_eq!(one, other, "event {number} of seed {seed}");
        }
        assert_eq!(one.history.len(), other.history.len(), "seed {seed}");
    }
}

/// The attempt that the store keeps is always the first: whoever had the job before may speak of it.
#[test]
fn a_collector_that_does_not_fence_is_found_out() {
    find_out(
        "CREATE TRIGGER unfenced AFTER UPDATE ON job WHEN new.attempt > 1 BEGIN
             UPDATE job SET attempt = 1 WHERE id = new.id;
         END;",
    );
}

#[test]
fn a_collector_that_forgets_what_was_lost_is_found_out() {
    find_out(
        "CREATE TRIGGER forgetful AFTER UPDATE ON job WHEN new.state = 'lost' BEGIN
             UPDATE job SET state = 'expired' WHERE id = new.id;
         END;",
    );
}

/// In some of a few seeds.
#[track_caller]
fn find_out(sabotage: &str) {
    let broken = (seed()..seed() + 20).find(|seed| !run(*seed, sabotage).breaches.is_empty());
    assert!(broken.is_some(), "it is not seen");
}

/// What all seeds came to.
#[derive(Default)]
struct Tally {
    time: Duration,
    n_faults: usize,
    n_over: BTreeMap<JobState, usize>,
    n_attempts: u32,
    n_starts: usize,
    n_lost: usize,
    n_broken: usize,
    first_broken: Option<(u64, Outcome)>,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.time += outcome.time;
        for (_, event) in &outcome.history {
            match event {
                Event::Committed(row) if row.state.is_over() => {
                    *self.n_over.entry(row.state).or_default() += 1;
                    self.n_attempts += row.attempt;
                }
                Event::Committed(row) if row.state == JobState::Lost => self.n_lost += 1,
                Event::Began(_) => self.n_starts += 1,
                Event::Fault(_) => self.n_faults += 1,
                _ => {}
            }
        }
        if !outcome.breaches.is_empty() {
            self.n_broken += 1;
            self.first_broken.get_or_insert((seed, outcome));
        }
    }

    /// A simulation in which something never happens says nothing about it.
    fn has_seen_everything(&self) -> bool {
        let mut ends = JobState::ALL.into_iter().filter(|state| state.is_over());
        self.n_lost > 0 && ends.all(|state| self.n_over.contains_key(&state))
    }
}

fn line((time, event): &Entry) -> String {
    format!("{:9.3} {event:?}", time.as_secs_f64())
}
