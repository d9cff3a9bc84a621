//! One device's connection, from its attendance to its end.
//!
//! Reading and deciding go on side by side, as in `ingest`: what renews a lease must not wait behind a commit. Whatever is decided is
//! decided in the store, by a device that still has its seat; what is then not told, because the connection is gone, is told when the
//! device is back.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    campaign::{JobProgress, JobRef, JobSpec},
    ids::{DeviceId, JobId, RunId},
};
use tokwatt_proto::{
    ContractError,
    control::{self, JOB, PROGRESS},
    v1::{self, order, report},
};
use tonic::{Status, Streaming};

use super::{
    Dispatch,
    queue::{self, End, Settled},
    roster::{Dismissal, LEASE, Seat},
    status,
};
use crate::store::{Job, JobsOf};

/// Who attends, and where it is told what to do.
pub(super) struct Session {
    pub(super) device: DeviceId,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) seat: Arc<Seat>,
    pub(super) orders: mpsc::Sender<Result<v1::Order, Status>>,
    pub(super) stopping: CancellationToken,
}

/// What the store must be asked about.
enum Word {
    /// A job has ended.
    Ended(JobRef, End),
    /// Something was said of a job that is not known to be in hand, or not known to have begun.
    About(JobRef),
}

/// The job that the device has, as it knows it.
#[derive(Clone, Copy, Default)]
struct Told {
    job: Option<JobRef>,
    is_cancelled: bool,
}

impl Session {
    /// Runs until the agent is gone or dismissed, or the collector stops.
    pub(super) async fn run(
        self,
        reports: Streaming<v1::Report>,
        dismissed: oneshot::Receiver<Dismissal>,
        in_hand: Option<JobRef>,
    ) {
        tracing::info!("device attends");
        let (words, waiting) = mpsc::channel(WORDS_MAX);
        let outcome = tokio::try_join!(
            self.read(reports, dismissed, words),
            self.act(waiting, in_hand)
        );
        let Err(status) = outcome else {
            tracing::info!("device is gone");
            return;
        };
        tracing::info!(code = ?status.code(), reason = status.message(), "attendance ended");
        // An agent that is gone, or does not read, cannot be told.
        drop(self.orders.try_send(Err(status)));
    }

    async fn read(
        &self,
        mut reports: Streaming<v1::Report>,
        mut dismissed: oneshot::Receiver<Dismissal>,
        words: mpsc::Sender<Word>,
    ) -> Result<(), Status> {
        loop {
            let report = tokio::select! {
                biased;
                () = self.stopping.cancelled() => {
                    return Err(Status::unavailable("the collector is stopping, connect again"));
                }
                dismissal = &mut dismissed => return Err(farewell(dismissal.ok())),
                report = reports.message() => report?,
            };
            let Some(report) = report else {
                return Ok(());
            };
            let Some(word) = self.hear(report)? else {
                continue;
            };
            match words.try_send(word) {
                // What does not fit is said again: an end is repeated until it is settled.
                Ok(()) | Err(TrySendError::Full(_)) => {}
                // Acting has failed, and says why.
                Err(TrySendError::Closed(_)) => return Ok(()),
            }
        }
    }

    /// Renews the lease and notes what needs no store; the rest is returned.
    fn hear(&self, report: v1::Report) -> Result<Option<Word>, Status> {
        let quiet = |ms: u32| Duration::from_millis(ms.into());
        match report.kind {
            Some(report::Kind::Attendance(_)) => Err(Status::invalid_argument(
                "attendance is said once, at first",
            )),
            Some(report::Kind::Beat(beat)) => {
                self.seat.renew(quiet(beat.quiet_ms));
                Ok(None)
            }
            Some(report::Kind::Progress(progress)) => {
                let job = control::job_ref(progress.job, "progress.job").map_err(unreadable)?;
                let news: JobProgress =
                    control::read(PROGRESS, progress.progress, "progress.progress")
                        .map_err(unreadable)?;
                self.seat.renew(quiet(progress.quiet_ms));
                let is_known = self.seat.progress(job, news) && self.seat.has_begun(job);
                Ok((!is_known).then_some(Word::About(job)))
            }
            Some(report::Kind::Ended(ended)) => {
                self.seat.renew(Duration::ZERO);
                let (job, end) = end(ended)?;
                Ok(Some(Word::Ended(job, end)))
            }
            // A word of a newer agent.
            None => {
                self.seat.renew(Duration::ZERO);
                Ok(None)
            }
        }
    }

    async fn act(
        &self,
        mut words: mpsc::Receiver<Word>,
        in_hand: Option<JobRef>,
    ) -> Result<(), Status> {
        let mut told = Told {
            job: in_hand,
            is_cancelled: false,
        };
        self.seat.renew(Duration::ZERO);
        let job = in_hand.map(|lease| lease.job);
        let settled = self.decide(job, move |jobs| queue::attend(jobs, in_hand));
        self.tell_settled(settled.await?).await?;
        loop {
            told = self.tell(told).await?;
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    Some(word) => self.answer(word).await?,
                    None => return Ok(()),
                },
                () = self.seat.looked() => {}
            }
        }
    }

    /// Tells the device which job it has, if it does not know yet, and whether that is cancelled.
    async fn tell(&self, told: Told) -> Result<Told, Status> {
        let now = self.dispatch.clock.wall();
        let paused = self.seat.paused();
        let given = self.decide(None, move |jobs| queue::give(jobs, now, &paused).cloned());
        let Some(job) = given.await? else {
            self.seat.hold(None);
            return Ok(Told::default());
        };
        let lease = job.lease();
        self.seat.hold(Some(lease));
        let is_known = told.job == Some(lease);
        if !is_known {
            tracing::info!(campaign = %job.asked.name, job = %job.id, attempt = job.attempt, "job assigned");
            self.order(order::Kind::Assignment(assignment(&job)))
                .await?;
        }
        if job.is_cancelled && !(is_known && told.is_cancelled) {
            let job = Some(lease.into());
            self.order(order::Kind::Cancel(v1::CancelJob { job }))
                .await?;
        }
        Ok(Told {
            job: Some(lease),
            is_cancelled: job.is_cancelled,
        })
    }

    async fn answer(&self, word: Word) -> Result<(), Status> {
        match word {
            Word::About(job) => {
                let begun = self.decide(Some(job.job), move |jobs| queue::begin(jobs, job));
                let settled = begun.await?;
                if settled.is_none() {
                    self.seat.begin(job);
                }
                self.tell_settled(settled).await
            }
            Word::Ended(job, end) => {
                let (roster, device) = (Arc::clone(&self.dispatch.roster), self.device.clone());
                let now = Instant::now();
                let ended = self.decide(Some(job.job), move |jobs| {
                    let (settled, pause) = queue::end(jobs, job, end.clone());
                    if let Some(pause) = pause {
                        roster.pause(&device, job.job, now, pause);
                    }
                    settled
                });
                let settled = ended.await?;
                tracing::info!(job = %job.job, attempt = job.attempt, counts = settled.counts, "job ended");
                self.tell_settled(Some(settled)).await
            }
        }
    }

    async fn tell_settled(&self, settled: Option<Settled>) -> Result<(), Status> {
        let Some(Settled { job, counts }) = settled else {
            return Ok(());
        };
        let job = Some(job.into());
        self.order(order::Kind::Settled(v1::Settled { job, counts }))
            .await
    }

    /// Decides about the device's jobs, unless somebody else speaks for the device by now.
    async fn decide<T: Send + 'static>(
        &self,
        and: Option<JobId>,
        decide: impl Fn(&mut [Job]) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let seat = Arc::downgrade(&self.seat);
        let which = JobsOf::Device(self.device.clone(), and);
        let decided = self.dispatch.change(which, move |jobs| {
            let is_taken = seat.upgrade().is_some_and(|seat| seat.is_taken());
            is_taken.then(|| decide(jobs))
        });
        let decided = decided.await.map_err(|error| status(&error))?;
        decided.ok_or_else(|| farewell(Some(Dismissal::Replaced)))
    }

    async fn order(&self, kind: order::Kind) -> Result<(), Status> {
        let order = v1::Order { kind: Some(kind) };
        let sent = self.orders.send(Ok(order)).await;
        sent.map_err(|_| Status::cancelled("the agent is gone"))
    }
}

/// How long the device may be silent.
pub(super) fn welcome() -> v1::Order {
    let lease_ms = u32::try_from(LEASE.as_millis()).expect("a lease is a matter of seconds");
    v1::Order {
        kind: Some(order::Kind::Welcome(v1::Welcome { lease_ms })),
    }
}

pub(super) fn unreadable(error: ContractError) -> Status {
    let reason = std::error::Error::source(&error);
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Status::invalid_argument(format!("{error}{reason}"))
}

fn assignment(job: &Job) -> v1::Assignment {
    let spec = JobSpec {
        campaign: job.asked.name.clone(),
        work: job.asked.work.clone(),
    };
    v1::Assignment {
        job: Some(job.lease().into()),
        spec: Some(control::write(JOB, &spec)),
    }
}

fn end(mut ended: v1::JobEnded) -> Result<(JobRef, End), Status> {
    let job = control::job_ref(ended.job, "ended.job").map_err(unreadable)?;
    ended.reason = ended.reason.chars().take(REASON_CHARS_MAX).collect();
    let end = match v1::JobEnd::try_from(ended.end) {
        Ok(v1::JobEnd::Unspecified) => {
            return Err(Status::invalid_argument("`ended.end` is missing"));
        }
        Ok(v1::JobEnd::Done) => End::Done(runs(ended.runs)?),
        Ok(v1::JobEnd::Refused) => End::Refused(ended.reason),
        Ok(v1::JobEnd::Failed) => End::Failed(ended.reason),
        Ok(v1::JobEnd::Cancelled) => End::Cancelled(ended.reason),
        // A newer agent's word for something that was not done.
        Err(_) => End::Failed(format!("end {}: {}", ended.end, ended.reason)),
    };
    Ok((job, end))
}

fn runs(ids: Vec<Vec<u8>>) -> Result<Vec<RunId>, Status> {
    let run = |id: Vec<u8>| {
        <[u8; 16]>::try_from(id).map(RunId).map_err(|id| {
            Status::invalid_argument(format!(
                "`ended.runs` has an id of {} bytes, expected 16",
                id.len()
            ))
        })
    };
    ids.into_iter().map(run).collect()
}

fn farewell(dismissal: Option<Dismissal>) -> Status {
    match dismissal {
        Some(Dismissal::Silent) => Status::unavailable(format!(
            "nothing was heard for longer than the lease of {LEASE:?}, connect again"
        )),
        Some(Dismissal::Replaced) | None => {
            Status::aborted("the device attends by a newer connection")
        }
    }
}

/// A reason is kept for ever and shown in a line.
const REASON_CHARS_MAX: usize = 1000;

/// Words that wait for the store. An agent has one job, and repeats its end every few seconds at most.
const WORDS_MAX: usize = 16;
