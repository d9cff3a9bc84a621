//! Campaigns to jobs, jobs to leases, leases to devices.
//!
//! An operator creates a campaign for the devices that its selector matches; each gets a job. A device attends over a connection that it
//! opens, is given one job at a time, tells where it stands, and says how it ended. Three parts, each testable alone:
//!
//! - `queue` decides: pure functions over a device's jobs, each run in one transaction of the store. Only they change a job, so that
//!   nothing that is lost, repeated or restarted can give a job to two attempts, or forget it.
//! - `roster` remembers who is there and until when leases run, in memory, on tokio's clock.
//! - `session` is a connection: thin, and told by the store what to say.

mod queue;
mod roster;
mod selection;
mod service;
mod session;

#[cfg(test)]
mod model;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_domain::{
    campaign::{Campaign, CampaignLine, CampaignView, CampaignsView, JobRef, JobState, JobView},
    ids::{DeviceId, JobId, Name},
    spelling::advice,
};
use tokwatt_proto::{
    control::{self, CAMPAIGN, CAMPAIGNS},
    v1,
};
use tonic::Status;

use self::roster::Roster;
use crate::{
    clock::Clock,
    store::{CampaignRow, Job, JobsOf, Store, StoreError},
};

/// Gives work to devices, and tells how far it is: the gRPC services Control and Campaigns.
pub struct Dispatch {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    /// Told when it has changed which runs count.
    finished: Arc<Notify>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    roster: Arc<Roster>,
}

/// Why something cannot be done with a campaign.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// Something in it cannot be, or no device can do it.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// Names are given once.
    #[error(
        "there is a campaign `{0}` already: choose another name, a campaign keeps its own for ever"
    )]
    Exists(Name),
    /// No campaign of that name.
    #[error("no campaign `{name}`: {advice}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        advice: String,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Dispatch {
    /// Builds it; [`Self::keep`] has to run, for leases to end.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        finished: Arc<Notify>,
        tasks: TaskTracker,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            finished,
            tasks,
            stopping,
            roster: Arc::default(),
        })
    }

    /// Ends leases that were not renewed and jobs that are too late, until the collector stops. Begins with a new lease for every job
    /// that a device had when the collector was stopped.
    pub async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.look_after().await {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "leases wait to be ended");
            }
        }
    }

    async fn look_after(&self) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let upkeep = self.store.upkeep(now).await?;
        for (device, job) in upkeep.leased {
            self.roster.adopt(&device, job);
        }
        for device in upkeep.late {
            let which = JobsOf::Device(device, None);
            self.change(which, move |jobs| queue::expire(jobs, now))
                .await?;
            self.roster.changed();
        }
        let now = Instant::now();
        self.roster.end_pauses(now);
        for (device, job) in self.roster.overdue(now) {
            self.end_lease(device, job, now).await?;
        }
        Ok(())
    }

    /// Ends a lease that was over `now`, and its connection, unless it was renewed since; says whether it did.
    async fn end_lease(
        &self,
        device: DeviceId,
        job: JobRef,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let which = JobsOf::Device(device.clone(), None);
        let roster = Arc::clone(&self.roster);
        let of = device.clone();
        let end = self.change(which, move |jobs| {
            // It may have been renewed while this waited for the disk.
            let is_overdue = roster.is_overdue(&of, job, now);
            if is_overdue {
                queue::silence(jobs, job);
            }
            is_overdue
        });
        let is_ended = end.await?;
        if is_ended {
            tracing::warn!(%device, job = %job.job, attempt = job.attempt, "device is silent, its lease is over");
            self.roster.dismiss(&device, job);
        }
        Ok(is_ended)
    }

    /// Gives a job to each device that the campaign is for.
    ///
    /// # Errors
    /// [`CampaignError::Invalid`], [`CampaignError::Exists`].
    pub async fn create(&self, campaign: Campaign) -> Result<CampaignView, CampaignError> {
        let now = self.clock.wall();
        let fleet = self.store.fleet().await?;
        let devices = selection::select(&campaign, &fleet, now).map_err(CampaignError::Invalid)?;
        let name = campaign.name.clone();
        let jobs = devices.iter().map(|device| (random_id(), device.clone()));
        if !(self
            .store
            .put_campaign(campaign, now, jobs.collect())
            .await?)
        {
            return Err(CampaignError::Exists(name));
        }
        tracing::info!(campaign = %name, n_devices = devices.len(), "campaign created");
        devices.iter().for_each(|device| self.roster.look(device));
        self.roster.changed();
        self.show(name.as_str()).await
    }

    /// Ends what is not over of a campaign.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`].
    pub async fn cancel(&self, name: &str) -> Result<CampaignView, CampaignError> {
        let row = self.row(name).await?;
        let which = JobsOf::Campaign(row.asked.name.clone());
        let devices = self.change(which, |jobs| {
            queue::cancel(jobs);
            let devices = jobs.iter().map(|job| job.device.clone());
            devices.collect::<Vec<_>>()
        });
        for device in devices.await? {
            self.roster.look(&device);
        }
        tracing::info!(campaign = name, "campaign cancelled");
        self.roster.changed();
        self.show(name).await
    }

    /// All campaigns, the latest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self) -> Result<CampaignsView, CampaignError> {
        let rows = self.store.campaigns().await?;
        let line = |row: CampaignRow| CampaignLine {
            name: row.asked.name.clone(),
            suite: row.asked.work.suite.clone(),
            created: row.created,
            deadline: row.asked.deadline,
            is_over: row.n_jobs.keys().all(|state| state.is_over()),
            n_jobs: row.n_jobs,
        };
        Ok(CampaignsView {
            schema: CAMPAIGNS.to_owned(),
            campaigns: rows.into_iter().map(line).collect(),
        })
    }

    /// A campaign and each of its jobs.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`].
    pub async fn show(&self, name: &str) -> Result<CampaignView, CampaignError> {
        let row = self.row(name).await?;
        let jobs = self
            .store
            .jobs(JobsOf::Campaign(row.asked.name.clone()))
            .await?;
        Ok(CampaignView {
            schema: CAMPAIGN.to_owned(),
            campaign: Campaign::clone(&row.asked),
            created: row.created,
            is_over: jobs.iter().all(|job| job.state.is_over()),
            jobs: jobs.into_iter().map(|job| self.view(job)).collect(),
        })
    }

    /// A campaign at once, and then its latest state after changes, until it is over.
    ///
    /// # Errors
    /// [`CampaignError::Unknown`].
    pub async fn follow(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<ReceiverStream<Result<v1::Document, Status>>, CampaignError> {
        self.row(name).await?;
        // One at a time: who reads slowly gets the latest next.
        let (documents, answers) = mpsc::channel(1);
        let watch = Arc::clone(self).watch(name.to_owned(), documents);
        self.tasks.spawn(watch);
        Ok(ReceiverStream::new(answers))
    }

    /// Changes whenever a device comes, goes or tells something, and when a campaign is made or ended.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.roster.changes()
    }

    /// Whether a device is there now.
    pub fn attends(&self, device: &DeviceId) -> bool {
        self.roster.is_present(device)
    }

    /// Sends a campaign at once, and then its latest state after changes, until it is over or nobody listens.
    async fn watch(
        self: Arc<Self>,
        name: String,
        documents: mpsc::Sender<Result<v1::Document, Status>>,
    ) {
        let mut changes = self.roster.changes();
        let mut told = None;
        loop {
            changes.mark_unchanged();
            let view = match self.show(&name).await {
                Ok(view) => view,
                Err(error) => {
                    drop(documents.send(Err(error.into())).await);
                    return;
                }
            };
            let document = control::write(CAMPAIGN, &view);
            if told.as_ref() != Some(&document) {
                told = Some(document.clone());
                let sent = tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return,
                    sent = documents.send(Ok(document)) => sent,
                };
                if sent.is_err() {
                    return;
                }
            }
            if view.is_over {
                return;
            }
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => {
                    let status = Status::unavailable("the collector is stopping, watch again");
                    drop(documents.try_send(Err(status)));
                    return;
                }
                () = documents.closed() => return,
                _ = changes.changed() => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Decides about jobs. Which runs count may have changed with any of them.
    async fn change<T: Send + 'static>(
        &self,
        which: JobsOf,
        decide: impl Fn(&mut [Job]) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let change = self.store.change_jobs(which, move |jobs| {
            let before = jobs.to_vec();
            let outcome = decide(jobs);
            (outcome, *before != *jobs)
        });
        let (outcome, is_changed) = change.await?;
        if is_changed {
            self.finished.notify_one();
        }
        Ok(outcome)
    }

    async fn row(&self, name: &str) -> Result<CampaignRow, CampaignError> {
        let found = match Name::parse(name) {
            Ok(name) => self.store.campaign(name).await?,
            Err(_) => None,
        };
        if let Some(row) = found {
            return Ok(row);
        }
        let all = self.store.campaigns().await?;
        let known: Vec<&str> = all.iter().map(|row| row.asked.name.as_str()).collect();
        Err(CampaignError::Unknown {
            name: name.to_owned(),
            advice: advice(name, &known),
        })
    }

    fn view(&self, job: Job) -> JobView {
        let (is_attending, progress) = self.roster.seen(&job.device, job.lease());
        let progress = progress.filter(|_| job.is_in_hand());
        let why = match job.state {
            JobState::Leased if job.is_cancelled => Some("to be cancelled by the device"),
            JobState::Waiting if !is_attending => Some("the device does not attend"),
            JobState::Waiting => Some("its turn at the device has not come"),
            _ => None,
        };
        let pause = self.roster.pause_of(&job.device, job.id);
        let reason = match (job.reason, pause) {
            (Some(reason), Some(pause)) if job.state == JobState::Waiting => {
                // By its whole length: what does not change is told once.
                Some(format!("{reason}; tried again {} s later", pause.as_secs()))
            }
            (reason, _) => reason.or_else(|| why.map(str::to_owned)),
        };
        JobView {
            job: job.id,
            state: job.state,
            attempt: job.attempt,
            is_attending,
            progress,
            reason,
            device: job.device,
            runs: job.runs,
        }
    }
}

impl From<CampaignError> for Status {
    fn from(error: CampaignError) -> Self {
        let text = error.to_string();
        match error {
            CampaignError::Invalid(_) => Self::invalid_argument(text),
            CampaignError::Exists(_) => Self::already_exists(text),
            CampaignError::Unknown { .. } => Self::not_found(text),
            CampaignError::Store(error) => status(&error),
        }
    }
}

/// Who asks can try again, later or when somebody has mended it.
fn status(error: &StoreError) -> Status {
    match error {
        StoreError::Full => Status::resource_exhausted(format!("{error}, try again later")),
        _ => Status::unavailable(error.to_string()),
    }
}

/// 128 random bits: no two jobs are ever taken for each other, also when a database was lost. Nothing is decided by them.
fn random_id() -> JobId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    JobId(bytes)
}

/// How often leases and deadlines are looked at: little beside a lease.
const TICK: Duration = Duration::from_secs(1);

/// Least time between two states of a campaign on a watcher's stream.
const PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Mutex, PoisonError},
    };

    use tempfile::TempDir;
    use tokwatt_domain::{
        campaign::{JobProgress, Offer},
        time::WallTime,
    };

    use super::*;

    #[derive(Default)]
    struct SetClock(Mutex<i64>);

    impl Clock for SetClock {
        fn wall(&self) -> WallTime {
            WallTime(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    fn device() -> DeviceId {
        DeviceId::parse("orin-1").unwrap()
    }

    fn start(folder: &TempDir) -> (Arc<Dispatch>, Arc<SetClock>) {
        let clock = Arc::new(SetClock::default());
        let dispatch = Dispatch::new(
            Arc::new(Store::open(folder.path()).unwrap()),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::default(),
            TaskTracker::new(),
            CancellationToken::new(),
        );
        (dispatch, clock)
    }

    /// Creates two campaigns for a device; both have to begin before 100.
    async fn create(dispatch: &Dispatch) {
        let known = dispatch.store.put_offer(
            device(),
            "0.1.0".to_owned(),
            serde_json::from_str::<Offer>(r#"{"suites":["batch"]}"#).unwrap(),
        );
        known.await.unwrap();
        for name in ["one", "two"] {
            let campaign = serde_json::json!({
                "name": name, "work": { "suite": "batch" }, "deadline": 100,
            });
            let campaign = serde_json::from_value(campaign).unwrap();
            dispatch.create(campaign).await.unwrap();
        }
    }

    async fn give(dispatch: &Dispatch) -> JobRef {
        let which = JobsOf::Device(device(), None);
        let given = dispatch.store.change_jobs(which, |jobs| {
            queue::give(jobs, WallTime(0), &BTreeSet::new()).map(Job::lease)
        });
        given.await.unwrap().unwrap()
    }

    async fn states(dispatch: &Dispatch) -> [JobState; 2] {
        let one = dispatch.show("one").await.unwrap().jobs[0].state;
        [one, dispatch.show("two").await.unwrap().jobs[0].state]
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_from_an_earlier_life_is_given_anew_and_lost_if_nobody_renews_it() {
        let folder = TempDir::new().unwrap();
        let (dispatch, _) = start(&folder);
        create(&dispatch).await;
        let job = give(&dispatch).await;
        drop(dispatch);
        let (dispatch, _) = start(&folder);
        dispatch.look_after().await.unwrap();
        dispatch.look_after().await.unwrap();
        assert_eq!(
            states(&dispatch).await,
            [JobState::Leased, JobState::Waiting]
        );
        tokio::time::advance(roster::LEASE).await;
        dispatch.look_after().await.unwrap();
        assert_eq!(states(&dispatch).await, [JobState::Lost, JobState::Waiting]);
        assert_eq!(give(&dispatch).await, job, "the device may still have it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cancelled_is_over_with_its_lease() {
        let folder = TempDir::new().unwrap();
        let (dispatch, _) = start(&folder);
        create(&dispatch).await;
        give(&dispatch).await;
        dispatch.look_after().await.unwrap();
        dispatch.cancel("one").await.unwrap();
        assert_eq!(
            states(&dispatch).await,
            [JobState::Leased, JobState::Waiting]
        );
        tokio::time::advance(roster::LEASE).await;
        dispatch.look_after().await.unwrap();
        assert_eq!(
            states(&dispatch).await,
            [JobState::Cancelled, JobState::Waiting]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_expires_at_its_deadline_and_what_has_begun_does_not() {
        let folder = TempDir::new().unwrap();
        let (dispatch, clock) = start(&folder);
        create(&dispatch).await;
        give(&dispatch).await;
        for (now, want) in [(99, JobState::Waiting), (100, JobState::Expired)] {
            *clock.0.lock().unwrap() = now;
            dispatch.look_after().await.unwrap();
            assert_eq!(states(&dispatch).await, [JobState::Leased, want]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_is_told_four_times_a_second_at_most_and_always_the_latest() {
        let folder = TempDir::new().unwrap();
        let (dispatch, _) = start(&folder);
        create(&dispatch).await;
        let job = give(&dispatch).await;
        let (seat, _dismissed) = dispatch.roster.sit(&device());
        seat.hold(Some(job));
        let (documents, mut answers) = mpsc::channel(1);
        let watching = Arc::clone(&dispatch).watch("one".to_owned(), documents);
        let working = async {
            for done in 1..=100 {
                let progress = JobProgress {
                    done,
                    ..JobProgress::default()
                };
                assert!(seat.progress(job, progress));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reading = async {
            let mut told = Vec::new();
            loop {
                let document = answers.recv().await.unwrap().unwrap();
                let view: CampaignView = serde_json::from_slice(&document.json).unwrap();
                let done = view.jobs[0]
                    .progress
                    .as_ref()
                    .map_or(0, |progress| progress.done);
                told.push((Instant::now(), done));
                if done == 100 {
                    return told;
                }
            }
        };
        let told = tokio::select! {
            () = watching => panic!("it is not over"),
            (told, ()) = async { tokio::join!(reading, working) } => told,
        };
        let pairs = || told.iter().zip(&told[1..]);
        assert!(
            pairs().all(|(one, next)| next.0 - one.0 >= PAUSE && next.1 > one.1),
            "{told:?}"
        );
        assert!(told.len() >= 5, "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_while_the_disk_is_slow_is_kept() {
        let folder = TempDir::new().unwrap();
        let (dispatch, _) = start(&folder);
        create(&dispatch).await;
        let job = give(&dispatch).await;
        let (seat, _dismissed) = dispatch.roster.sit(&device());
        seat.hold(Some(job));
        tokio::time::advance(roster::LEASE).await;
        let now = Instant::now();
        assert_eq!(dispatch.roster.overdue(now), [(device(), job)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        seat.renew(Duration::ZERO);
        tokio::time::advance(2 * roster::LEASE).await;
        assert!(!dispatch.end_lease(device(), job, now).await.unwrap());
        assert_eq!(states(&dispatch).await[0], JobState::Leased);
        assert!(seat.is_taken());
    }
}
