//! Whether what everybody saw is what was promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokwatt_agent::attend::hand::JobEnd;
use tokwatt_domain::{
    campaign::JobState,
    ids::{DeviceId, Name, RunId},
};

use crate::history::{Asked, Entry, Event, JobName, Lease, Row, Stored};

/// Everything that is known, sorted by whom it is about.
#[derive(Default)]
struct Facts<'a> {
    asked: BTreeMap<&'a Name, &'a Asked>,
    created: BTreeSet<&'a Name>,
    cancelling: BTreeSet<&'a Name>,
    cancelled: BTreeMap<&'a Name, Duration>,
    rows: BTreeMap<&'a JobName, Vec<(Duration, &'a Row)>>,
    began: Vec<(Duration, &'a Lease)>,
    ended: BTreeMap<&'a Lease, Vec<(JobEnd, &'a [RunId])>>,
}

/// What was promised and did not hold.
pub(crate) fn judge(history: &[Entry], stored: &Stored) -> Vec<String> {
    let Stored { accepted, counted } = stored;
    let facts = Facts::of(history);
    let mut breaches = one_job_at_a_time(history);
    breaches.extend(facts.forgotten());
    for (job, rows) in &facts.rows {
        let states = rows.iter().map(|(_, row)| *row);
        breaches.extend(life(&states.collect::<Vec<_>>()));
        let accepted = accepted.iter().filter(|(of, _)| of == *job);
        let runs: Vec<RunId> = accepted.map(|(_, run)| *run).collect();
        if let Some((_, last)) = rows.last() {
            breaches.extend(facts.end(last, &runs));
        }
        breaches.extend(facts.begun_after_cancellation(job, rows));
    }
    breaches.extend(facts.begun_without_a_lease());
    let good: BTreeSet<RunId> = accepted.iter().map(|(_, run)| *run).collect();
    if good != counted.iter().copied().collect() {
        breaches.push(format!("{counted:?} count, accepted are {good:?}"));
    }
    breaches
}

impl<'a> Facts<'a> {
    fn of(history: &'a [Entry]) -> Self {
        let mut facts = Self::default();
        for (time, event) in history {
            match event {
                Event::Creating(asked) => drop(facts.asked.insert(&asked.name, asked)),
                Event::Created(name) => drop(facts.created.insert(name)),
                Event::Cancelling(name) => drop(facts.cancelling.insert(name)),
                Event::Cancelled(name) => drop(facts.cancelled.insert(name, *time)),
                Event::Committed(row) => facts.rows.entry(&row.job).or_default().push((*time, row)),
                Event::Began(lease) => facts.began.push((*time, lease)),
                Event::Ended(lease, how, runs) => {
                    facts.ended.entry(lease).or_default().push((*how, runs));
                }
                Event::LeftOff(_) | Event::Measured(..) | Event::Fault(_) => {}
            }
        }
        facts
    }

    /// Of a campaign that was acknowledged every device has a job, and every job is over.
    fn forgotten(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        for name in &self.created {
            for device in &self.asked[name].devices {
                let job = JobName {
                    campaign: (*name).clone(),
                    device: device.clone(),
                };
                let last = self.rows.get(&job).and_then(|rows| rows.last());
                if !last.is_some_and(|(_, row)| row.state.is_over()) {
                    breaches.push(format!("{job} was forgotten: {last:?}"));
                }
            }
        }
        breaches
    }

    /// What a job came to is what its latest attempt came to, by whoever may say so.
    fn end(&self, last: &Row, runs: &[RunId]) -> Option<String> {
        let (lease, asked) = (last.lease(), self.asked[&last.job.campaign]);
        let ended = self.ended.get(&lease).map_or(&[][..], Vec::as_slice);
        let said = |how: JobEnd| ended.iter().any(|(said, _)| *said == how);
        let is_true = match last.state {
            JobState::Done => {
                let own = |(how, own): &(JobEnd, &[RunId])| *how == JobEnd::Done && *own == runs;
                !runs.is_empty() && ended.iter().any(own)
            }
            JobState::Refused => said(JobEnd::Refused),
            JobState::Failed => last.n_failed == asked.attempts,
            JobState::Cancelled => self.cancelling.contains(&asked.name),
            JobState::Expired => asked.has_deadline,
            JobState::Waiting | JobState::Leased | JobState::Lost => true,
        };
        let has_runs_of_none = last.state != JobState::Done && !runs.is_empty();
        (!is_true || has_runs_of_none).then(|| {
            format!(
                "{lease} is {} with {runs:?}, the device said {ended:?}",
                last.state
            )
        })
    }

    fn begun_after_cancellation(&self, job: &JobName, rows: &[(Duration, &Row)]) -> Option<String> {
        let cancelled = self.cancelled.get(&job.campaign)?;
        let given = |pair: &[(Duration, &Row)]| pair[0].1.attempt != pair[1].1.attempt;
        let late = rows
            .windows(2)
            .find(|pair| given(pair) && pair[1].0 > *cancelled)?;
        Some(format!(
            "{job} was cancelled at {cancelled:?} and given at {:?}",
            late[1].0
        ))
    }

    /// A device works for a lease that the store has given, and given before.
    fn begun_without_a_lease(&self) -> Vec<String> {
        let is_given = |time: Duration, lease: &Lease| {
            let rows = self.rows.get(&lease.job);
            rows.is_some_and(|rows| {
                rows.iter()
                    .any(|(given, row)| row.attempt == lease.attempt && *given <= time)
            })
        };
        let began = self.began.iter();
        let wild = began.filter(|(time, lease)| !is_given(*time, lease));
        wild.map(|(time, lease)| format!("{lease} began at {time:?} and was never given"))
            .collect()
    }
}

fn one_job_at_a_time(history: &[Entry]) -> Vec<String> {
    let mut working: BTreeMap<&DeviceId, &Lease> = BTreeMap::new();
    let mut breaches = Vec::new();
    for (time, event) in history {
        match event {
            Event::Began(lease) => {
                if let Some(other) = working.insert(&lease.job.device, lease) {
                    breaches.push(format!("{lease} began at {time:?} beside {other}"));
                }
            }
            Event::LeftOff(lease) => drop(working.remove(&lease.job.device)),
            _ => {}
        }
    }
    breaches
}

/// Each attempt is given once, only while nobody has another, and what is over stays as it is.
fn life(rows: &[&Row]) -> Vec<String> {
    use JobState::{Leased, Lost, Waiting};
    let mut breaches = Vec::new();
    if let Some(first) = rows.first()
        && (first.state, first.attempt) != (Waiting, 0)
    {
        breaches.push(format!("it began as {first:?}"));
    }
    for pair in rows.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let is_given = after.attempt == before.attempt + 1;
        let is_same = after.attempt == before.attempt;
        let is_lawful = match (before.state, after.state) {
            (Waiting, Leased) => is_given,
            (Waiting, Waiting) | (Waiting, Lost) => false,
            (Leased | Lost, Leased | Lost | Waiting) => is_same,
            // What has begun is not too late to begin.
            (Leased | Lost, JobState::Expired) => false,
            (before, after) => is_same && !before.is_over() && after.is_over(),
        };
        if !is_lawful || after.n_failed < before.n_failed {
            breaches.push(format!("{before:?} became {after:?}"));
        }
    }
    breaches
}

mod tests {
    use tokwatt_harness::seed;

    use super::*;
    use crate::world::run;

    /// A history that is as it should be, but for one thing.
    #[track_caller]
    fn check(change: impl Fn(&mut Vec<Entry>, &mut Stored), want: &str) {
        let outcome = (seed()..)
            .map(|seed| run(seed, ""))
            .find(has_several_attempts);
        let outcome = outcome.unwrap();
        assert_eq!(outcome.breaches, Vec::<String>::new());
        let (mut history, mut stored) = (outcome.history, outcome.stored);
        change(&mut history, &mut stored);
        let breaches = judge(&history, &stored);
        let is_found = breaches.iter().any(|breach| breach.contains(want));
        assert!(is_found, "{breaches:#?}");
    }

    fn has_several_attempts(outcome: &crate::world::Outcome) -> bool {
        let is_done = |row: &Row| row.state == JobState::Done && row.attempt > 1;
        committed(&outcome.history).any(is_done)
    }

    fn committed(history: &[Entry]) -> impl Iterator<Item = &Row> {
        history.iter().filter_map(|(_, event)| match event {
            Event::Committed(row) => Some(row),
            _ => None,
        })
    }

    fn last(history: &[Entry], is_it: impl Fn(&Row) -> bool) -> Row {
        committed(history)
            .filter(|row| is_it(row))
            .last()
            .unwrap()
            .clone()
    }

    fn at_the_end(history: &mut Vec<Entry>, event: Event) {
        let time = history.last().unwrap().0;
        history.push((time, event));
    }

    #[test]
    fn an_end_that_an_earlier_attempt_told_is_found_out() {
        let change = |history: &mut Vec<Entry>, stored: &mut Stored| {
            let done = last(history, |row| {
                row.state == JobState::Done && row.attempt > 1
            });
            let stale = RunId([9; 16]);
            let earlier = Lease {
                attempt: 1,
                ..done.lease()
            };
            at_the_end(history, Event::Ended(earlier, JobEnd::Done, vec![stale]));
            stored.accepted.retain(|(job, _)| *job != done.job);
            stored.accepted.push((done.job, stale));
            stored.counted = stored.accepted.iter().map(|(_, run)| *run).collect();
        };
        check(change, "the device said");
    }

    #[test]
    fn a_job_that_is_accepted_twice_or_given_twice_is_found_out() {
        for is_over in [true, false] {
            let change = |history: &mut Vec<Entry>, _: &mut Stored| {
                let row = last(history, |row| {
                    row.state.is_over() == is_over && row.state != JobState::Lost && row.attempt > 0
                });
                at_the_end(history, Event::Committed(row));
            };
            check(change, "became");
        }
    }

    #[test]
    fn a_job_that_is_forgotten_is_found_out() {
        let change = |history: &mut Vec<Entry>, _: &mut Stored| {
            let done = last(history, |row| row.state == JobState::Done);
            history.retain(|(_, event)| *event != Event::Committed(done.clone()));
        };
        check(change, "was forgotten");
    }

    #[test]
    fn two_jobs_at_once_are_found_out() {
        let change = |history: &mut Vec<Entry>, _: &mut Stored| {
            let is_left_off = |(_, event): &Entry| matches!(event, Event::LeftOff(_));
            let place = history.iter().position(is_left_off).unwrap();
            history.remove(place);
        };
        check(change, "beside");
    }

    #[test]
    fn a_run_that_counts_for_nobody_is_found_out() {
        let change = |_: &mut Vec<Entry>, stored: &mut Stored| stored.counted.push(RunId([9; 16]));
        check(change, "count, accepted are");
    }
}
