//! What everybody saw, in order: devices, the operator, and the store itself.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokwatt_agent::attend::hand::JobEnd;
use tokwatt_domain::{
    campaign::JobState,
    ids::{DeviceId, Name, RunId},
    time::{Stamp, WallTime},
};

/// A lease by names that a seed repeats; the ids of jobs are random.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Lease {
    pub(crate) job: JobName,
    pub(crate) attempt: u32,
}

/// A campaign's part for a device.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct JobName {
    pub(crate) campaign: Name,
    pub(crate) device: DeviceId,
}

/// Something that was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A device works for a job from now on.
    Began(Lease),
    /// It does not any more, however that came.
    LeftOff(Lease),
    /// A device has measured something for a job.
    Measured(Lease, RunId),
    /// A device says that a job is over: its agent does, to the collector.
    Ended(Lease, JobEnd, Vec<RunId>),
    /// The operator creates a campaign, and does not know yet whether that was heard.
    Creating(Asked),
    /// It was.
    Created(Name),
    /// The same of a cancellation.
    Cancelling(Name),
    Cancelled(Name),
    /// The store has committed this of a job.
    Committed(Row),
    /// Something happened to network or machines.
    Fault(String),
}

/// A campaign, as far as it is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) name: Name,
    pub(crate) devices: Vec<DeviceId>,
    pub(crate) attempts: u32,
    pub(crate) has_deadline: bool,
}

/// A job in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) job: JobName,
    pub(crate) state: JobState,
    pub(crate) attempt: u32,
    pub(crate) n_failed: u32,
}

impl Row {
    pub(crate) fn lease(&self) -> Lease {
        Lease {
            job: self.job.clone(),
            attempt: self.attempt,
        }
    }
}

/// What the store has in the end.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    /// What jobs came to.
    pub(crate) accepted: Vec<(JobName, RunId)>,
    /// Runs that are taken for good.
    pub(crate) counted: Vec<RunId>,
}

/// An event and when it was, since the start.
pub(crate) type Entry = (Duration, Event);

/// Where everybody writes down what they see. Its time is the simulation's, in its steps: events of one step are as old as each other.
#[derive(Clone, Default)]
pub(crate) struct Log {
    now_ms: Arc<AtomicU64>,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Log {
    pub(crate) fn set_time(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap();
        self.now_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, event: Event) {
        self.entries.lock().unwrap().push((self.time(), event));
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }
}

impl tokwatt_collector::clock::Clock for Log {
    fn wall(&self) -> WallTime {
        wall(self.time())
    }
}

impl tokwatt_agent::clock::Clock for Log {
    fn now(&self) -> Stamp {
        Stamp::at(self.time())
    }

    fn wall(&self) -> WallTime {
        wall(self.time())
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.job, self.attempt)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.campaign, self.device)
    }
}

fn wall(since_start: Duration) -> WallTime {
    WallTime(EPOCH_US + i64::try_from(since_start.as_micros()).unwrap())
}

/// Some day in 2025.
const EPOCH_US: i64 = 1_750_000_000_000_000;
