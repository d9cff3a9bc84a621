//! Who is there now, who has which lease until when, and what was told last: all that is kept in memory only.
//!
//! None of it is needed to be right, only to be prompt: what counts stands in the store, and a lease that is lost with the process is
//! given anew. Leases run on tokio's clock, which is monotonic, and which tests and simulations drive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};
use tokwatt_domain::{
    campaign::{JobProgress, JobRef},
    ids::{DeviceId, JobId},
};

/// Everybody who attends, and every lease.
#[derive(Default)]
pub(super) struct Roster {
    devices: Mutex<BTreeMap<DeviceId, Device>>,
    changes: watch::Sender<()>,
}

/// A connection's place; leaves it when dropped.
pub(super) struct Seat {
    roster: Arc<Roster>,
    device: DeviceId,
    number: u64,
    look: Arc<Notify>,
}

/// Why a connection is ended from this side.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Dismissal {
    /// The device attends by a newer connection.
    Replaced,
    /// Nothing was heard for longer than a lease.
    Silent,
}

#[derive(Default)]
struct Device {
    /// Of the latest connection; counts on when it is gone.
    number: u64,
    present: Option<Present>,
    lease: Option<Lease>,
    /// What failed a short time ago.
    pauses: BTreeMap<JobId, Pause>,
}

struct Pause {
    length: Duration,
    until: Instant,
}

struct Present {
    look: Arc<Notify>,
    dismiss: oneshot::Sender<Dismissal>,
}

struct Lease {
    job: JobRef,
    until: Instant,
    /// Whether the store knows that the device has said a word of it.
    has_begun: bool,
    progress: Option<JobProgress>,
}

impl Roster {
    /// Takes a device's seat, and ends whoever had it.
    pub(super) fn sit(self: &Arc<Self>, device: &DeviceId) -> (Seat, oneshot::Receiver<Dismissal>) {
        let (dismiss, dismissed) = oneshot::channel();
        let look = Arc::new(Notify::new());
        let mut devices = self.devices();
        let own = devices.entry(device.clone()).or_default();
        own.number += 1;
        let seat = Seat {
            roster: Arc::clone(self),
            device: device.clone(),
            number: own.number,
            look: Arc::clone(&look),
        };
        let before = own.present.replace(Present { look, dismiss });
        drop(devices);
        if let Some(before) = before {
            tracing::info!("device attends by a newer connection");
            // It may have ended by itself.
            drop(before.dismiss.send(Dismissal::Replaced));
        }
        self.changed();
        (seat, dismissed)
    }

    /// Has the device's connection look at its jobs.
    pub(super) fn look(&self, device: &DeviceId) {
        let devices = self.devices();
        let present = devices.get(device).and_then(|own| own.present.as_ref());
        if let Some(present) = present {
            present.look.notify_one();
        }
    }

    /// Gives a lease to whoever has the job by the store, unless the device has one: after a restart of the collector.
    pub(super) fn adopt(&self, device: &DeviceId, job: JobRef) {
        let mut devices = self.devices();
        let own = devices.entry(device.clone()).or_default();
        own.lease.get_or_insert_with(|| Lease::new(job));
    }

    /// Leases that were not renewed until `now`.
    pub(super) fn overdue(&self, now: Instant) -> Vec<(DeviceId, JobRef)> {
        let devices = self.devices();
        let overdue = devices.iter().filter_map(|(device, own)| {
            let lease = own.lease.as_ref().filter(|lease| lease.until <= now)?;
            Some((device.clone(), lease.job))
        });
        overdue.collect()
    }

    /// Whether a lease was not renewed until `now`, which is not looked up here: on the store's thread there is no tokio, and its clock would
    /// not be the one that runs.
    pub(super) fn is_overdue(&self, device: &DeviceId, job: JobRef, now: Instant) -> bool {
        let devices = self.devices();
        let lease = devices.get(device).and_then(|own| own.lease.as_ref());
        lease.is_some_and(|lease| lease.job == job && lease.until <= now)
    }

    /// A lease is over, and with it the connection that did not renew it.
    pub(super) fn dismiss(&self, device: &DeviceId, job: JobRef) {
        let mut devices = self.devices();
        let Some(own) = devices.get_mut(device) else {
            return;
        };
        if own.lease.take_if(|lease| lease.job == job).is_some()
            && let Some(present) = own.present.take()
        {
            drop(present.dismiss.send(Dismissal::Silent));
        }
        drop(devices);
        self.changed();
    }

    /// Whether the device is there.
    pub(super) fn is_present(&self, device: &DeviceId) -> bool {
        let devices = self.devices();
        devices.get(device).is_some_and(|own| own.present.is_some())
    }

    /// Whether the device is there, and what it told last of the job that it has.
    pub(super) fn seen(&self, device: &DeviceId, job: JobRef) -> (bool, Option<JobProgress>) {
        let devices = self.devices();
        let Some(own) = devices.get(device) else {
            return (false, None);
        };
        let lease = own.lease.as_ref().filter(|lease| lease.job == job);
        (
            own.present.is_some(),
            lease.and_then(|lease| lease.progress.clone()),
        )
    }

    /// A job is not to be tried again for so long after `now`, which is not looked up here, for the same reason.
    pub(super) fn pause(&self, device: &DeviceId, job: JobId, now: Instant, length: Duration) {
        let until = now + length;
        let mut devices = self.devices();
        let own = devices.entry(device.clone()).or_default();
        own.pauses.insert(job, Pause { length, until });
    }

    /// For how long a job is not tried again, from its latest failure on.
    pub(super) fn pause_of(&self, device: &DeviceId, job: JobId) -> Option<Duration> {
        let devices = self.devices();
        Some(devices.get(device)?.pauses.get(&job)?.length)
    }

    /// Ends the pauses that last until `now`, and has the connections of their devices look at their jobs.
    pub(super) fn end_pauses(&self, now: Instant) {
        let mut is_changed = false;
        for own in self.devices().values_mut() {
            let n_pauses = own.pauses.len();
            own.pauses.retain(|_, pause| pause.until > now);
            if own.pauses.len() < n_pauses {
                is_changed = true;
                if let Some(present) = &own.present {
                    present.look.notify_one();
                }
            }
        }
        if is_changed {
            self.changed();
        }
    }

    /// Tells of every change that a watcher might want to see.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Something that watchers might want to see has changed.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    fn devices(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether no newer connection has taken it, and nobody ended this one.
    pub(super) fn is_taken(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// Resolves when the device's jobs should be looked at.
    pub(super) async fn looked(&self) {
        self.look.notified().await;
    }

    /// The device was heard of; it will say nothing for `quiet`.
    pub(super) fn renew(&self, quiet: Duration) {
        self.with(|own| {
            if let Some(lease) = &mut own.lease {
                lease.until = Instant::now() + LEASE + quiet.min(QUIET_MAX);
            }
        });
    }

    /// Notes where the job in hand stands; false if it is not the job in hand.
    pub(super) fn progress(&self, job: JobRef, progress: JobProgress) -> bool {
        let noted = self.with(|own| {
            let lease = own.lease.as_mut().filter(|lease| lease.job == job)?;
            lease.progress = Some(progress);
            Some(())
        });
        let is_noted = noted.flatten().is_some();
        if is_noted {
            self.roster.changed();
        }
        is_noted
    }

    /// The store knows that the device has said a word of this lease.
    pub(super) fn begin(&self, job: JobRef) {
        self.with(|own| {
            if let Some(lease) = own.lease.as_mut().filter(|lease| lease.job == job) {
                lease.has_begun = true;
            }
        });
    }

    /// Whether it does.
    pub(super) fn has_begun(&self, job: JobRef) -> bool {
        let has_begun = self.with(|own| {
            let lease = own.lease.as_ref();
            lease.is_some_and(|lease| lease.job == job && lease.has_begun)
        });
        has_begun == Some(true)
    }

    /// Which jobs are not to be tried again yet.
    pub(super) fn paused(&self) -> BTreeSet<JobId> {
        self.with(|own| own.pauses.keys().copied().collect())
            .unwrap_or_default()
    }

    /// The device has this job, or none: a new lease, unless it has that one already.
    pub(super) fn hold(&self, job: Option<JobRef>) {
        self.with(|own| {
            if own.lease.as_ref().map(|lease| lease.job) != job {
                own.lease = job.map(Lease::new);
            }
        });
        self.roster.changed();
    }

    fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> Option<T> {
        let mut devices = self.roster.devices();
        let own = devices.get_mut(&self.device)?;
        let is_own = own.number == self.number && own.present.is_some();
        is_own.then(|| act(own))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.with(|own| own.present = None);
        self.roster.changed();
    }
}

impl Lease {
    fn new(job: JobRef) -> Self {
        Self {
            job,
            until: Instant::now() + LEASE,
            has_begun: false,
            progress: None,
        }
    }
}

/// Long enough for a lost connection to be opened anew, short enough for somebody who watches.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// Longest silence that a device may announce: more than any segment takes, and not for ever.
const QUIET_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use tokwatt_domain::ids::JobId;

    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("lab-1").unwrap()
    }

    fn job(attempt: u32) -> JobRef {
        JobRef {
            job: JobId([1; 16]),
            attempt,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_renews_a_lease_and_announced_quiet_makes_it_longer() {
        let roster = Arc::new(Roster::default());
        let (seat, _dismissed) = roster.sit(&device());
        seat.hold(Some(job(1)));
        for (quiet_s, silent_s, want) in [
            (0, 29, false),
            (0, 31, true),
            (60, 89, false),
            (60, 91, true),
            (1_000_000, 3629, false),
            (1_000_000, 3631, true),
        ] {
            seat.renew(Duration::from_secs(quiet_s));
            tokio::time::advance(Duration::from_secs(silent_s)).await;
            let is_overdue = roster.is_overdue(&device(), job(1), Instant::now());
            assert_eq!(is_overdue, want, "quiet {quiet_s} s, silent {silent_s} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_connection_ends_the_older_one() {
        let roster = Arc::new(Roster::default());
        let (first, dismissed) = roster.sit(&device());
        first.hold(Some(job(1)));
        let (second, _dismissed) = roster.sit(&device());
        assert_eq!(dismissed.await, Ok(Dismissal::Replaced));
        assert!(!first.is_taken() && second.is_taken());
        tokio::time::advance(LEASE).await;
        first.renew(Duration::ZERO);
        assert!(
            roster.is_overdue(&device(), job(1), Instant::now()),
            "the older one renews nothing"
        );
        drop(first);
        assert!(roster.seen(&device(), job(1)).0, "the newer one is there");
        drop(second);
        assert!(!roster.seen(&device(), job(1)).0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_outlives_its_connection_and_is_over_with_it_at_the_end() {
        let roster = Arc::new(Roster::default());
        let (seat, dismissed) = roster.sit(&device());
        seat.hold(Some(job(1)));
        drop(seat);
        drop(dismissed);
        assert_eq!(roster.overdue(Instant::now()), []);
        tokio::time::advance(LEASE).await;
        assert_eq!(roster.overdue(Instant::now()), [(device(), job(1))]);
        let (_seat, dismissed) = roster.sit(&device());
        roster.adopt(&device(), job(2));
        roster.dismiss(&device(), job(2));
        assert_eq!(
            roster.overdue(Instant::now()).len(),
            1,
            "that was another lease"
        );
        roster.dismiss(&device(), job(1));
        assert_eq!(dismissed.await, Ok(Dismissal::Silent));
        assert_eq!(roster.overdue(Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_of_another_attempt_is_not_noted() {
        let roster = Arc::new(Roster::default());
        let (seat, _dismissed) = roster.sit(&device());
        seat.hold(Some(job(2)));
        assert!(!seat.progress(job(1), JobProgress::default()));
        assert!(seat.progress(job(2), JobProgress::default()));
        assert!(roster.seen(&device(), job(2)).1.is_some());
        assert!(roster.seen(&device(), job(3)).1.is_none());
        seat.begin(job(1));
        assert!(!seat.has_begun(job(1)) && !seat.has_begun(job(2)));
        seat.begin(job(2));
        assert!(!seat.has_begun(job(1)) && seat.has_begun(job(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_and_its_device_is_told() {
        let roster = Arc::new(Roster::default());
        let (seat, _dismissed) = roster.sit(&device());
        let (job, length) = (JobId([1; 16]), Duration::from_secs(60));
        roster.pause(&device(), job, Instant::now(), length);
        for (passed_s, want) in [(59, Some(length)), (1, None)] {
            tokio::time::advance(Duration::from_secs(passed_s)).await;
            roster.end_pauses(Instant::now());
            assert_eq!(roster.pause_of(&device(), job), want);
            assert_eq!(seat.paused().contains(&job), want.is_some());
        }
        seat.looked().await;
    }
}
