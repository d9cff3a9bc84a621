//! What becomes of a device's jobs: every decision about them, as functions over the jobs themselves. No clock, no connection, no database.
//!
//! They are given the jobs in the order in which they are to be done, change them, and say what is to be told. That is all there is to
//! decide; [`Store::change_jobs`](crate::store::Store::change_jobs) makes it durable, one transaction each. So whatever is lost,
//! repeated or restarted in between, a job is in one of few states, and what its earlier attempts say changes nothing:
//!
//! ```text
//!            give                end (failed), attend (without it), while tries are left
//! waiting ─────────▶ leased ────────────────────────────────────────────────▶ waiting
//!    │               │    ▲
//!    │ expire        │    │ attend (with it in hand)
//!    ▼       silence ▼    │
//! expired             lost ──▶ waiting (attend without it), cancelled
//! ```

use std::{collections::BTreeSet, time::Duration};

use tokwatt_domain::{
    campaign::{JobRef, JobState},
    ids::{JobId, RunId},
    time::WallTime,
};

use crate::store::Job;

/// What a device says of the end of a job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Everything was asked, in these runs.
    Done(Vec<RunId>),
    /// It cannot be done there.
    Refused(String),
    /// It did not go well, and might the next time.
    Failed(String),
    /// It was ended.
    Cancelled(String),
}

/// An attempt is over for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Settled {
    pub(super) job: JobRef,
    /// Whether it is what the job came to.
    pub(super) counts: bool,
}

/// A device is there, with a job in hand or without. Returns what it is told of that job if it is not to go on with it.
pub(super) fn attend(jobs: &mut [Job], in_hand: Option<JobRef>) -> Option<Settled> {
    for job in jobs.iter_mut().filter(|job| job.is_in_hand()) {
        if in_hand == Some(job.lease()) {
            job.state = JobState::Leased;
            job.has_begun = true;
            job.reason = None;
        } else if job.has_begun || job.is_cancelled {
            fail(job, "the device came back without it".to_owned());
        } else {
            // An assignment that was lost on its way says nothing about the job.
            job.state = JobState::Waiting;
            job.reason = Some(format!("attempt {} never reached the device", job.attempt));
        }
    }
    in_hand.and_then(|lease| settled(jobs, lease))
}

/// The device has said something of a lease, which it has, then, if it is one. Returns what is to be said of it.
pub(super) fn begin(jobs: &mut [Job], lease: JobRef) -> Option<Settled> {
    let own = |job: &&mut Job| job.is_in_hand() && job.lease() == lease;
    if let Some(job) = jobs.iter_mut().find(own) {
        job.has_begun = true;
    }
    settled(jobs, lease)
}

/// What is to be said of a lease, unless it is one that somebody has.
fn settled(jobs: &[Job], lease: JobRef) -> Option<Settled> {
    let own = jobs.iter().find(|job| job.lease() == lease);
    if own.is_some_and(Job::is_in_hand) {
        return None;
    }
    Some(Settled {
        job: lease,
        counts: own.is_some_and(|job| job.state == JobState::Done),
    })
}

/// The job that the device has: if it has none, the first that waits, neither paused nor too late, is leased to it.
pub(super) fn give<'a>(
    jobs: &'a mut [Job],
    now: WallTime,
    paused: &BTreeSet<JobId>,
) -> Option<&'a Job> {
    expire(jobs, now);
    let in_hand = jobs.iter().position(Job::is_in_hand);
    let next = in_hand.or_else(|| {
        let is_ready = |job: &Job| job.state == JobState::Waiting && !paused.contains(&job.id);
        let waiting = jobs.iter().position(is_ready)?;
        let job = &mut jobs[waiting];
        job.attempt += 1;
        job.state = JobState::Leased;
        job.has_begun = false;
        job.reason = None;
        Some(waiting)
    });
    next.map(|next| &jobs[next])
}

/// An attempt has ended. Counts once: said again, it gets the same answer and changes nothing. Returns besides for how long the job is not
/// to be tried again, if it is: what made it fail is likely to be there still.
pub(super) fn end(jobs: &mut [Job], lease: JobRef, end: End) -> (Settled, Option<Duration>) {
    let mut pause = None;
    let own = |job: &&mut Job| job.is_in_hand() && job.lease() == lease;
    if let Some(job) = jobs.iter_mut().find(own) {
        match end {
            End::Done(runs) => {
                over(job, JobState::Done, None);
                job.runs = runs;
            }
            End::Refused(reason) => over(job, JobState::Refused, Some(reason)),
            End::Failed(reason) => {
                fail(job, reason);
                pause = (job.state == JobState::Waiting).then(|| PAUSE * job.n_failed);
            }
            End::Cancelled(reason) => over(job, JobState::Cancelled, Some(reason)),
        }
    }
    let settled = settled(jobs, lease).unwrap_or(Settled {
        job: lease,
        counts: false,
    });
    (settled, pause)
}

/// A lease was not renewed in time. Whether that is a failure is known when the device is back.
pub(super) fn silence(jobs: &mut [Job], lease: JobRef) {
    let own = |job: &&mut Job| job.state == JobState::Leased && job.lease() == lease;
    if let Some(job) = jobs.iter_mut().find(own) {
        if job.is_cancelled {
            over(job, JobState::Cancelled, None);
        } else {
            job.state = JobState::Lost;
            job.reason = Some("the device has been silent for longer than its lease".to_owned());
        }
    }
}

/// Nobody wants them any more. A job that a device has is over when the device says so, or is silent.
pub(super) fn cancel(jobs: &mut [Job]) {
    for job in jobs {
        match job.state {
            JobState::Waiting | JobState::Lost => over(job, JobState::Cancelled, None),
            JobState::Leased => job.is_cancelled = true,
            _ => {}
        }
    }
}

/// It is too late to begin what nobody has. What is lost has begun: its device may be working on it out of reach.
pub(super) fn expire(jobs: &mut [Job], now: WallTime) {
    for job in jobs {
        let is_late = job.asked.deadline.is_some_and(|deadline| deadline <= now);
        if is_late && job.state == JobState::Waiting {
            let reason = job.reason.take();
            over(job, JobState::Expired, reason);
        }
    }
}

/// One attempt is gone; there may be another.
fn fail(job: &mut Job, reason: String) {
    job.n_failed += 1;
    if job.is_cancelled {
        over(job, JobState::Cancelled, Some(reason));
    } else if job.n_failed < job.asked.attempts {
        job.state = JobState::Waiting;
        job.reason = Some(format!("attempt {} failed: {reason}", job.attempt));
    } else {
        over(job, JobState::Failed, Some(reason));
    }
}

fn over(job: &mut Job, state: JobState, reason: Option<String>) {
    job.state = state;
    job.reason = reason;
}

/// Time for a person or a machine to mend something, for each attempt that failed.
pub(super) const PAUSE: Duration = Duration::from_secs(60);
