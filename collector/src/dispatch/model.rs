//! What the decisions about jobs promise, for whatever order of words, losses and restarts: against a device that is as forgetful and as
//! late as a real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
        has_begun: false,
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
    /// It tells where this attempt stands.
    Begin(JobRef),
    Give(i64),
    /// While the first job is paused.
    GiveOther,
    End(JobRef, fn(JobRef) -> End),
    Silence(JobRef),
    Cancel(u8),
    Expire(i64),
}

fn take(jobs: &mut [Job], step: Step) -> Option<Settled> {
    match step {
        Step::Attend(in_hand) => queue::attend(jobs, in_hand),
        Step::Begin(lease) => queue::begin(jobs, lease),
        Step::Give(now) => {
            queue::give(jobs, WallTime(now), &BTreeSet::new());
            None
        }
        Step::GiveOther => {
            queue::give(jobs, WallTime(0), &[JobId([1; 16])].into());
            None
        }
        Step::End(lease, end) => Some(queue::end(jobs, lease, end(lease)).0),
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
    use Step::{Attend, Begin, End, Give, Silence};
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
    let begin = Begin(lease(1, 1));
    let jobs = check(
        &[give, begin, silence, Attend(None)],
        [(Waiting, 1), (Waiting, 0)],
    );
    assert_eq!(
        jobs[0].reason.as_deref(),
        Some("attempt 1 failed: the device came back without it")
    );
    let again = [give, begin, Attend(None), give, Begin(lease(1, 2))];
    check(
        &[&again[..], &[Attend(None), give]].concat(),
        [(Failed, 2), (Leased, 1)],
    );
}

#[test]
fn an_attempt_that_its_device_never_heard_of_is_no_failure() {
    use JobState::{Leased, Waiting};
    use Step::{Attend, Begin, Give, Silence};
    let (give, silence) = (Give(0), Silence(lease(1, 1)));
    let jobs = check(&[give, silence, Attend(None)], [(Waiting, 1), (Waiting, 0)]);
    assert_eq!(
        jobs[0].reason.as_deref(),
        Some("attempt 1 never reached the device")
    );
    let never = [give, Attend(None), give, Attend(None), give];
    let jobs = check(&never, [(Leased, 3), (Waiting, 0)]);
    assert_eq!(jobs[0].n_failed, 0);
    // What was said of an earlier attempt was not said of this one, and what it had in hand it knew of.
    let earlier = [give, Attend(None), Begin(lease(1, 1)), give, Attend(None)];
    let jobs = check(&earlier, [(Waiting, 2), (Waiting, 0)]);
    assert_eq!(jobs[0].n_failed, 0);
    let in_hand = [give, Attend(Some(lease(1, 1))), Attend(None)];
    let jobs = check(&in_hand, [(Waiting, 1), (Waiting, 0)]);
    assert_eq!(jobs[0].n_failed, 1);
}

#[test]
fn what_failed_is_paused_for_longer_each_time_and_others_go_before_it() {
    use JobState::{Done, Leased, Waiting};
    use Step::{End, Give, GiveOther};
    let mut jobs = vec![job(1, 3, None)];
    for (attempt, want) in [(1, Some(1)), (2, Some(2)), (3, None)] {
        queue::give(&mut jobs, WallTime(0), &BTreeSet::new());
        for want in [want, None] {
            let (_, pause) = queue::end(&mut jobs, lease(1, attempt), failed());
            assert_eq!(pause, want.map(|times| queue::PAUSE * times), "{attempt}");
        }
    }
    let first = [Give(0), End(lease(1, 1), |_| failed()), GiveOther];
    check(&first, [(Waiting, 1), (Leased, 1)]);
    let then = [End(lease(2, 1), done), GiveOther];
    let both = [&first[..], &then].concat();
    check(&both, [(Waiting, 1), (Done, 1)]);
    check(&[&both[..], &[Give(0)]].concat(), [(Leased, 2), (Done, 1)]);
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
    use JobState::{Cancelled, Expired, Leased, Lost, Waiting};
    use Step::{Attend, Begin, Cancel, End, Expire, Give, Silence};
    check(&[Give(99), Expire(100)], [(Leased, 1), (Expired, 0)]);
    check(&[Give(100)], [(Expired, 0), (Expired, 0)]);
    let lost = [Give(0), Silence(lease(1, 1)), Expire(100)];
    check(&lost, [(Lost, 1), (Expired, 0)]);
    let then = |steps: &[Step]| [&lost[..], steps].concat();
    let back = Attend(Some(lease(1, 1)));
    check(&then(&[back]), [(Leased, 1), (Expired, 0)]);
    let end = End(lease(1, 1), done);
    check(&then(&[back, end]), [(JobState::Done, 1), (Expired, 0)]);
    check(&then(&[Cancel(1)]), [(Cancelled, 1), (Expired, 0)]);
    // Without it, it would have to begin again.
    check(&then(&[Attend(None)]), [(Waiting, 1), (Expired, 0)]);
    for begun in [false, true] {
        let mut steps = vec![Give(0)];
        steps.extend(begun.then_some(Begin(lease(1, 1))));
        steps.extend([Silence(lease(1, 1)), Attend(None), Give(100)]);
        check(&steps, [(Expired, 1), (Expired, 0)]);
    }
}

#[test]
fn the_same_question_gets_the_same_answer() {
    let mut jobs = vec![job(1, 2, None)];
    queue::give(&mut jobs, WallTime(0), &BTreeSet::new());
    let own = lease(1, 1);
    assert_eq!(queue::attend(&mut jobs, Some(own)), None, "it goes on");
    for _ in 0..2 {
        let (settled, _) = queue::end(&mut jobs, own, done(own));
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
        3 => lease().prop_map(Step::Begin),
        4 => (0_i64..30).prop_map(Step::Give),
        1 => Just(Step::GiveOther),
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
                prop_assert!(
                    after.state != JobState::Expired || !before.is_in_hand(),
                    "too late to begin what has begun"
                );
                prop_assert!(
                    after.n_failed == before.n_failed || matches!(step, Step::End(..)) || before.has_begun || before.is_cancelled,
                    "a failure of which nobody knows"
                );
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
        while let Some(lease) = queue::give(&mut jobs, WallTime(0), &BTreeSet::new()).map(Job::lease) {
            let (settled, _) = queue::end(&mut jobs, lease, done(lease));
            prop_assert!(settled.counts);
        }
        prop_assert!(jobs.iter().all(|job| job.state.is_over()));
    }
}
