//! A suite for a set of devices: what an operator asks for, what a device offers, where a job stands.
//!
//! Everything is named by what is defined in the device's own `agent.toml` or built into its agent. A [`Name`] has room for no command,
//! no path and no URL: an operator of the collector is not root on the devices.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    device::DeviceKind,
    ids::{DeviceId, InvalidId, JobId, Name, RunId},
    power::Scope,
    time::WallTime,
    units::Watts,
};

/// What an operator wrote.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// What it is called; one campaign has it, for ever.
    pub name: Name,
    /// What each device does.
    pub work: Work,
    /// Which devices; all that the selector matches when it is created.
    #[serde(default)]
    pub devices: Selector,
    /// Jobs that have not begun by then are not begun any more; absent: never too late.
    #[serde(default)]
    pub deadline: Option<WallTime>,
    /// How often a job that failed is tried, the first time included.
    #[serde(default = "attempts")]
    pub attempts: u32,
}

/// What a device does for a campaign: a bench, in names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Built-in, or defined on the device.
    pub suite: Name,
    /// Models of the embedded engine or of Ollama, as the device calls them; without these and servers the built-in one.
    #[serde(default)]
    pub models: Vec<Name>,
    /// Servers that the device starts, as it calls them.
    #[serde(default)]
    pub servers: Vec<Name>,
    /// Precisions of the models; empty: as the device's model says.
    #[serde(default)]
    pub precisions: Vec<Name>,
    /// How often each cell is run.
    #[serde(default = "repetitions")]
    pub repetitions: u32,
    /// Questions in flight, one load after the other; empty: the suite's.
    #[serde(default)]
    pub concurrency: Vec<u32>,
    /// Most pictures of each task; absent: all of the suite's.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Short idle baselines: energy is shown and not ranked.
    #[serde(default)]
    pub quick: bool,
}

/// Devices that meet all that is said; what is left out matches every device.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    /// One of these names.
    #[serde(default)]
    pub names: Vec<DeviceId>,
    /// One of these kinds.
    #[serde(default)]
    pub kinds: Vec<DeviceKind>,
    /// All of these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A job as a device gets it: `tokwatt.job/1`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct JobSpec {
    /// Whose it is.
    pub campaign: Name,
    /// What to do.
    pub work: Work,
}

/// One lease of a job; what an earlier one says does not count any more.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct JobRef {
    /// Which job.
    pub job: JobId,
    /// Which lease of it, from 1.
    pub attempt: u32,
}

/// What a device can be asked for: `tokwatt.offer/1`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offer {
    /// What family of machines it belongs to, as far as it knows.
    #[serde(default)]
    pub kind: Option<DeviceKind>,
    /// Suites, built-in ones included.
    #[serde(default)]
    pub suites: Vec<Name>,
    /// Models, and the precisions that each is there in.
    #[serde(default)]
    pub models: BTreeMap<Name, Vec<Name>>,
    /// Servers that it starts.
    #[serde(default)]
    pub servers: Vec<Name>,
}

/// Where a job in hand stands: `tokwatt.progress/1`. Told between measured windows only.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct JobProgress {
    /// What is being done: loading, settling, the cell's name.
    pub stage: String,
    /// Run in hand, from 1; 0 before the first.
    pub run: u32,
    /// Of how many.
    pub runs: u32,
    /// Requests that have ended.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// What is left of it, in s, once that can be said.
    pub left_s: Option<f64>,
    /// Generated tokens per second over the latest measured window.
    pub output_tps: Option<f64>,
    /// Mean power over the latest measured window.
    #[serde(default)]
    pub power: Vec<LivePower>,
    /// Whether the device is made up.
    #[serde(default)]
    pub is_simulated: bool,
}

/// A power figure of a window, for watching.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LivePower {
    /// What it includes.
    pub scope: Scope,
    /// By which instrument.
    pub source: String,
    /// Mean.
    pub power: Watts,
}

/// What a job came to, or where it stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nobody has it.
    Waiting,
    /// A device has it.
    Leased,
    /// Its device had it, and was silent for longer than its lease. Goes on if the device comes back with it, and is tried again if it
    /// comes back without it.
    Lost,
    /// Everything was asked.
    Done,
    /// The device cannot do it.
    Refused,
    /// It did not go well as often as it may.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// It had not begun when it was too late.
    Expired,
}

/// A campaign and how far it is: `tokwatt.campaign/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CampaignView {
    /// `tokwatt.campaign/1`.
    pub schema: String,
    /// What was asked for.
    pub campaign: Campaign,
    /// When it was created.
    pub created: WallTime,
    /// Whether every job is over.
    pub is_over: bool,
    /// By device.
    pub jobs: Vec<JobView>,
}

/// All campaigns: `tokwatt.campaigns/1`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CampaignsView {
    /// `tokwatt.campaigns/1`.
    pub schema: String,
    /// The latest first.
    pub campaigns: Vec<CampaignLine>,
}

/// A campaign in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CampaignLine {
    /// What it is called.
    pub name: Name,
    /// Which suite its devices run.
    pub suite: Name,
    /// When it was created.
    pub created: WallTime,
    /// When it is too late to begin a job.
    pub deadline: Option<WallTime>,
    /// Whether every job is over.
    pub is_over: bool,
    /// How many of its jobs are in which state; states that no job is in are left out.
    pub n_jobs: BTreeMap<JobState, u32>,
}

/// A job and how far it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct JobView {
    /// Which.
    pub job: JobId,
    /// Whose.
    pub device: DeviceId,
    /// Where it stands.
    pub state: JobState,
    /// Latest lease; 0 before the first.
    pub attempt: u32,
    /// Whether the device is there now.
    pub is_attending: bool,
    /// The latest that it told.
    pub progress: Option<JobProgress>,
    /// Why it did not go well, or why it waits.
    pub reason: Option<String>,
    /// What it measured, by the attempt that counts.
    pub runs: Vec<RunId>,
}

/// `JOB:ATTEMPT`.
impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.job, self.attempt)
    }
}

impl FromStr for JobRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parts = text.split_once(':');
        let attempt = parts.and_then(|(_, attempt)| attempt.parse().ok());
        match (parts, attempt) {
            (Some((job, _)), Some(attempt)) if attempt > 0 => Ok(Self {
                job: JobId::parse(job)?,
                attempt,
            }),
            _ => Err(InvalidId::Lease(text.to_owned())),
        }
    }
}

impl JobState {
    /// Nothing will change it.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Leased | Self::Lost)
    }

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Lost => "lost",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Reads that.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// From the beginning to the ends.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Leased,
        Self::Lost,
        Self::Done,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn attempts() -> u32 {
    ATTEMPTS
}

fn repetitions() -> u32 {
    3
}

/// How often a job is tried, if nothing is said.
pub const ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_the_round_trip_as_text() {
        let job = JobRef {
            job: JobId([171; 16]),
            attempt: 12,
        };
        assert_eq!(job.to_string().parse(), Ok(job));
        let id = job.job.to_string();
        for bad in ["", ":", &id, &format!("{id}:"), &format!("{id}:0"), "ab:1"] {
            assert!(bad.parse::<JobRef>().is_err(), "{bad}");
        }
    }
}
