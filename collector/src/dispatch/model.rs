//! What the decisions about jobs promise, for whatever order of words, losses and restarts: against a device that is as forgetful and as
//! late as a real one.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use tokwatt_domain::{
    campaign::{Campaign, JobRef, JobState},
    ids::{DeviceId, JobId, RunId},
    time::WallTime,
};

use super::queue::{self, End, Settled};
use crate::store::Job;

fn job(number: u8, attempts: u32, deadline: Option<i64>) -> Job {
    let campaign = serde_json::json!({
        "name": format!("campaign-{number}"),
        "work": { "suite": "edge-vision" },
        "attempts": attempts,
        "deadline": deadline,
    });
    let asked: Campaign = serde_json::from_value(campaign).unwrap();
    Job {
        id: JobId([number; 16]),
        device: DeviceId::parse("lab-1").unwrap(),
        asked: Arc::new(asked),
        state: JobState::Waiting,
        attempt: 0,
        n_failed: 0,
        is_cancelled: false,
        reason: None,
        runs: Vec::new(),
    }
}

fn lease(number: u8, attempt: u32) -> JobRef {
    JobRef {
        job: JobId([number; 16]),
        attempt,
    }
}

fn run(lease: JobRef) -> RunId {
    RunId([lease.job.0[0] * 16 + u8::try_from(lease.attempt).unwrap(); 16])
}

fn done(lease: JobRef) -> End {
    End::Done(vec![run(lease)])
}

fn failed() -> End {
    End::Failed("out of memory".to_owned())
}

/// Something that happens to one device's jobs, in the order in which the store commits it.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It attends with nothing, or with this attempt of this job.
    Attend(Option<JobRef>),
    Give(i64),
    End(JobRef, fn(JobRef) -> End),
    Silence(JobRef),
    Cancel(u8),
    Expire(i64),
}

fn take(jobs: &mut [Job], step: Step) -> Option<Settled> {
    match step {
        Step::Attend(in_hand) => queue::attend(jobs, in_hand),
        Step::Give(now) => {
            queue::give(jobs, WallTime(now));
            None
        }
        Step::End(lease, end) => Some(queue::end(jobs, lease, end(lease))),
        Step::Silence(lease) => {
            queue::silence(jobs, lease);
            None
        }
        Step::Cancel(number) => {
            let own = jobs.iter_mut().filter(|job| job.id.0[0] == number);
            own.for_each(|job| queue::cancel(std::slice::from_mut(job)));
            None
        }
        Step::Expire(now) => {
            queue::expire(jobs, WallTime(now));
            None
        }
    }
}

/// Two jobs, each of which may be tried twice and is too late at 100; what becomes of them.
#[track_caller]
fn check(steps: &[Step], want: [(JobState, u32); 2]) -> Vec<Job> {
    let mut jobs = vec![job(1, 2, Some(100)), job(2, 2, Some(100))];
    for step in steps {
        take(&mut jobs, *step);
    }
    let states: Vec<_> = jobs.iter().map(|job| (job.state, job.attempt)).collect();
    assert_eq!(states, want);
    jobs
}

#[test]
fn jobs_are_given_one_after_the_other() {
    use JobState::{Done, Leased, Waiting};
    use Step::{Attend, End, Give};
    let end = End(lease(1, 1), done);
    check(&[Attend(None), Give(0)], [(Leased, 1), (Waiting, 0)]);
    check(&[Give(0), Give(0), Give(0)], [(Leased, 1), (Waiting, 0)]);
    check(&[Give(0), end, Give(0)], [(Done, 1), (Leased, 1)]);
    check(&[Give(0), end, end, Give(0)], [(Done, 1), (Leased, 1)]);
}

#[test]
fn only_the_current_attempt_counts() {
    use JobState::{Done, Leased, Waiting};
    use Step::{Attend, End, Give};
    let again = [Give(0), Attend(None), Give(0)];
    let stale = End(lease(1, 1), done);
    check(&again, [(Leased, 2), (Waiting, 0)]);
    let [first, second, third] = again;
    check(&[first, second, third, stale], [(Leased, 2), (Waiting, 0)]);
    let jobs = check(
        &[first, second, third, End(lease(1, 2), done), stale],
        [(Done, 2), (Waiting, 0)],
    );
    assert_eq!(jobs[0].runs, [run(lease(1, 2))]);
    // Before it is given again, nobody has it.
    check(&[first, second, stale], [(Waiting, 1), (Waiting, 0)]);
    check(&[End(lease(1, 1), done)], [(Waiting, 0), (Waiting, 0)]);
}

#[test]
fn failures_are_bounded_and_reconnecting_is_none() {
    use JobState::{Failed, Leased, Lost, Refused, Waiting};
    use Step::{Attend, End, Give, Silence};
    let fail: fn(JobRef) -> super::queue::End = |_| failed();
    let refuse: fn(JobRef) -> super::queue::End =
        |_| super::queue::End::Refused("no such model".to_owned());
    let first = [Give(0), End(lease(1, 1), fail)];
    check(&first, [(Waiting, 1), (Waiting, 0)]);
    let [give, failed] = first;
    check(
        &[give, failed, give, End(lease(1, 2), fail), give],
        [(Failed, 2), (Leased, 1)],
    );
    check(
        &[give, End(lease(1, 1), refuse), give],
        [(Refused, 1), (Leased, 1)],
    );
    let back = Attend(Some(lease(1, 1)));
    check(
        &[give, back, give, back, give, back],
        [(Leased, 1), (Waiting, 0)],
    );
    let silence = Silence(lease(1, 1));
    check(&[give, silence, give], [(Lost, 1), (Waiting, 0)]);
    let jobs = check(
        &[give, silence, back, silence, back, give],
        [(Leased, 1), (Waiting, 0)],
    );
    assert_eq!((jobs[0].n_failed, jobs[0].reason.as_deref()), (0, None));
    let jobs = check(&[give, silence, Attend(None)], [(Waiting, 1), (Waiting, 0)]);
    assert_eq!(
        jobs[0].reason.as_deref(),
        Some("attempt 1 failed: the device came back without it")
    );
    check(
        &[give, Attend(None), give, Attend(None), give],
        [(Failed, 2), (Leased, 1)],
    );
}

#[test]
fn what_is_cancelled_ends_with_its_device_or_with_its_lease() {
    use JobState::{Cancelled, Done, Leased, Waiting};
    use Step::{Attend, Cancel, End, Give, Silence};
    let cancelled: fn(JobRef) -> super::queue::End =
        |_| super::queue::End::Cancelled("by an operator".to_owned());
    let fail: fn(JobRef) -> super::queue::End = |_| failed();
    let (give, cancel) = (Give(0), Cancel(1));
    check(&[cancel, give], [(Cancelled, 0), (Leased, 1)]);
    let jobs = check(&[give, cancel, give], [(Leased, 1), (Waiting, 0)]);
    assert!(jobs[0].is_cancelled);
    for last in [
        End(lease(1, 1), cancelled),
        End(lease(1, 1), fail),
        Silence(lease(1, 1)),
        Attend(None),
    ] {
        check(&[give, cancel, last, give], [(Cancelled, 1), (Leased, 1)]);
    }
    check(
        &[give, Silence(lease(1, 1)), cancel],
        [(Cancelled, 1), (Waiting, 0)],
    );
    // It was done before it heard.
    check(
        &[give, cancel, End(lease(1, 1), done)],
        [(Done, 1), (Waiting, 0)],
    );
}

#[test]
fn what_has_not_begun_in_time_is_not_begun() {
    use JobState::{Expired, Leased};
    use Step::{Attend, Expire, Give, Silence};
    check(&[Give(99), Expire(100)], [(Leased, 1), (Expired, 0)]);
    check(&[Give(100)], [(Expired, 0), (Expired, 0)]);
    let lost = [Give(0), Silence(lease(1, 1)), Expire(100)];
    check(&lost, [(Expired, 1), (Expired, 0)]);
    let [give, silence, expire] = lost;
    check(
        &[give, silence, expire, Attend(Some(lease(1, 1)))],
        [(Expired, 1), (Expired, 0)],
    );
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let mut jobs = vec![job(1, 2, None)];
    queue::give(&mut jobs, WallTime(0));
    let own = lease(1, 1);
    assert_eq!(queue::attend(&mut jobs, Some(own)), None, "it goes on");
    for _ in 0..2 {
        let settled = queue::end(&mut jobs, own, done(own));
        assert_eq!(
            settled,
            Settled {
                job: own,
                counts: true
            }
        );
        let again = queue::attend(&mut jobs, Some(own));
        assert_eq!(again, Some(settled), "its answer was lost");
    }
    for stranger in [lease(9, 1), lease(1, 2)] {
        let settled = queue::attend(&mut jobs, Some(stranger)).unwrap();
        assert!(!settled.counts);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease = || (1_u8..4, 1_u32..5).prop_map(|(job, attempt)| lease(job, attempt));
    let end = prop_oneof![
        3 => Just(done as fn(JobRef) -> End),
        2 => Just((|_| failed()) as fn(JobRef) -> End),
        1 => Just((|_| End::Refused(String::new())) as fn(JobRef) -> End),
        1 => Just((|_| End::Cancelled(String::new())) as fn(JobRef) -> End),
    ];
    let step = prop_oneof![
        2 => prop::option::of(lease()).prop_map(Step::Attend),
        4 => (0_i64..30).prop_map(Step::Give),
        3 => (lease(), end).prop_map(|(lease, end)| Step::End(lease, end)),
        2 => lease().prop_map(Step::Silence),
        1 => (1_u8..4).prop_map(Step::Cancel),
        1 => (0_i64..110).prop_map(Step::Expire),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Any words in any order, of any attempts, also of such as never were.
    #[test]
    fn no_order_of_words_gives_a_job_twice_or_forgets_it(steps in steps()) {
        let mut jobs = vec![job(1, 3, Some(100)), job(2, 1, None), job(3, 2, Some(20))];
        let mut accepted: BTreeMap<JobId, JobRef> = BTreeMap::new();
        for step in steps {
            let before = jobs.clone();
            let settled = take(&mut jobs, step);
            prop_assert!(jobs.iter().filter(|job| job.is_in_hand()).count() <= 1, "two jobs at once");
            prop_assert_eq!(jobs.len(), before.len());
            for (before, after) in before.iter().zip(&jobs) {
                let is_new_lease = after.attempt != before.attempt;
                prop_assert!(!before.state.is_over() || before == after, "what is over has changed");
                prop_assert!(after.attempt >= before.attempt, "an attempt came back");
                prop_assert!(!is_new_lease || before.state == JobState::Waiting, "given while somebody has it");
                prop_assert!(after.n_failed <= after.attempt.min(after.asked.attempts));
                prop_assert!(after.state != JobState::Done || !after.runs.is_empty());
                prop_assert!(after.state.is_over() || after.n_failed < after.asked.attempts, "it can never be given");
            }
            if let Some(settled) = settled.filter(|settled| settled.counts) {
                let first = *accepted.entry(settled.job.job).or_insert(settled.job);
                prop_assert_eq!(first, settled.job, "two attempts of a job were accepted");
                let own = jobs.iter().find(|job| job.id == settled.job.job).unwrap();
                prop_assert_eq!(&own.runs, &vec![run(settled.job)]);
            }
        }
    }

    /// Whatever has happened, a device that then works in good order has done with all of its jobs.
    #[test]
    fn every_job_comes_to_an_end(steps in steps()) {
        let mut jobs = vec![job(1, 3, Some(100)), job(2, 1, None), job(3, 2, Some(20))];
        for step in steps {
            take(&mut jobs, step);
        }
        queue::attend(&mut jobs, None);
        while let Some(lease) = queue::give(&mut jobs, WallTime(0)).map(Job::lease) {
            let settled = queue::end(&mut jobs, lease, done(lease));
            prop_assert!(settled.counts);
        }
        prop_assert!(jobs.iter().all(|job| job.state.is_over()));
    }
}
