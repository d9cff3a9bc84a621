//! Campaigns, their jobs, and what devices offer, as they are stored.
//!
//! What is decided about jobs is decided elsewhere, by functions over them: [`change`] reads them, has it decided, and writes back
//! what changed, in one transaction of the one thread that writes. So nobody decides by what has changed meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use serde::de::DeserializeOwned;
use tokwatt_domain::{
    campaign::{Campaign, JobRef, JobState, Offer},
    device::{DeviceKind, DeviceProfile},
    ids::{DeviceId, JobId, Name, RunId},
    time::WallTime,
};

use super::{Labels, StoreError, identities};

/// A campaign's part for one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Who is to do it.
    pub device: DeviceId,
    /// The campaign it is part of.
    pub asked: Arc<Campaign>,
    /// Where it stands.
    pub state: JobState,
    /// The latest lease; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed or were lost for good.
    pub n_failed: u32,
    /// Whether the device has said a word of the latest lease; an assignment may be lost on its way.
    pub has_begun: bool,
    /// To be ended as soon as the device that has it says so, or is silent.
    pub is_cancelled: bool,
    /// Why it did not go well.
    pub reason: Option<String>,
    /// What it measured, once it is done.
    pub runs: Vec<RunId>,
}

/// A campaign and its jobs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CampaignRow {
    /// What was asked for.
    pub asked: Arc<Campaign>,
    /// When.
    pub created: WallTime,
    /// How many of its jobs are in which state.
    pub n_jobs: BTreeMap<JobState, u32>,
}

/// A device as a selector sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FleetRow {
    /// Its name.
    pub device: DeviceId,
    /// Its family, once it told.
    pub kind: Option<DeviceKind>,
    /// What operators call it.
    pub labels: Labels,
    /// What it can be asked for, once it attended.
    pub offer: Option<Offer>,
}

/// Which jobs are decided about together.
#[derive(Clone, Debug)]
pub enum JobsOf {
    /// Those of a device that are not over, in the order of their campaigns, and this one, over or not, if it is the device's.
    Device(DeviceId, Option<JobId>),
    /// All of a campaign, by device.
    Campaign(Name),
}

/// What time may change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Upkeep {
    /// Who has which lease.
    pub leased: Vec<(DeviceId, JobRef)>,
    /// Whose jobs may be too late to begin.
    pub late: Vec<DeviceId>,
}

impl Job {
    /// Its latest lease.
    pub fn lease(&self) -> JobRef {
        JobRef {
            job: self.id,
            attempt: self.attempt,
        }
    }

    /// Whether a device has it, as far as is known: no other job of the device can begin.
    pub fn is_in_hand(&self) -> bool {
        matches!(self.state, JobState::Leased | JobState::Lost)
    }
}

/// Notes what a device can be asked for.
pub(super) fn put_offer(
    connection: &Connection,
    device: &DeviceId,
    agent_version: &str,
    offer: &Offer,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO device (id, agent_version) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET agent_version = excluded.agent_version",
        params![device.as_str(), agent_version],
    )?;
    connection.execute(
        "INSERT INTO offer (device, offer) VALUES (?1, ?2)
         ON CONFLICT (device) DO UPDATE SET offer = excluded.offer",
        params![device.as_str(), json(offer)],
    )?;
    Ok(())
}

/// Whether the name was free; if it was, the campaign has it now.
pub(super) fn put_campaign(
    connection: &Connection,
    campaign: &Campaign,
    created: WallTime,
    jobs: &[(JobId, DeviceId)],
) -> Result<bool, StoreError> {
    let n_new = connection.execute(
        "INSERT INTO campaign (name, number, created_us, asked, deadline_us)
         VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM campaign), ?2, ?3, ?4)
         ON CONFLICT (name) DO NOTHING",
        params![
            campaign.name.as_str(),
            created.0,
            json(campaign),
            campaign.deadline.map(|deadline| deadline.0)
        ],
    )?;
    if n_new == 0 {
        return Ok(false);
    }
    for (job, device) in jobs {
        connection.execute(
            "INSERT INTO job (id, campaign, device, state, attempt, n_failed, has_begun, is_cancelled)
             VALUES (?1, ?2, ?3, 'waiting', 0, 0, 0, 0)",
            params![job.0, campaign.name.as_str(), device.as_str()],
        )?;
    }
    Ok(true)
}

/// Reads jobs, lets `decide` change them, and writes back those that it changed.
pub(super) fn change<T>(
    connection: &Connection,
    which: &JobsOf,
    decide: impl FnOnce(&mut [Job]) -> T,
) -> Result<T, StoreError> {
    let before = jobs(connection, which)?;
    let mut after = before.clone();
    let outcome = decide(&mut after);
    let pairs = before.iter().zip(&after);
    let mut changed: Vec<&Job> = pairs
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after)
        .collect();
    // One job leaves the device's hand before another is put into it.
    changed.sort_by_key(|job| job.is_in_hand());
    changed
        .into_iter()
        .try_for_each(|job| put_job(connection, job))?;
    Ok(outcome)
}

/// Jobs as they are.
pub(super) fn jobs(connection: &Connection, which: &JobsOf) -> rusqlite::Result<Vec<Job>> {
    let mut jobs = match which {
        JobsOf::Device(device, and) => select_jobs(
            connection,
            "WHERE device = ?1 AND (state IN ('waiting', 'leased', 'lost') OR id = ?2) ORDER BY number",
            params![device.as_str(), and.map(|job| job.0)],
        ),
        JobsOf::Campaign(name) => select_jobs(
            connection,
            "WHERE campaign = ?1 ORDER BY device",
            params![name.as_str()],
        ),
    }?;
    for job in &mut jobs {
        if job.state == JobState::Done {
            job.runs = runs_of(connection, job.id)?;
        }
    }
    Ok(jobs)
}

pub(super) fn campaigns(connection: &Connection) -> rusqlite::Result<Vec<CampaignRow>> {
    let mut statement =
        connection.prepare_cached("SELECT asked, created_us FROM campaign ORDER BY number DESC")?;
    let rows = statement.query_map([], |row| campaign_row(connection, row))?;
    rows.collect()
}

pub(super) fn campaign(
    connection: &Connection,
    name: &Name,
) -> rusqlite::Result<Option<CampaignRow>> {
    let row = connection.query_row(
        "SELECT asked, created_us FROM campaign WHERE name = ?1",
        params![name.as_str()],
        |row| campaign_row(connection, row),
    );
    row.optional()
}

/// Every device that is known, by name; without those that were revoked, which cannot come for a job.
pub(super) fn fleet(connection: &Connection) -> rusqlite::Result<Vec<FleetRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT device.id, device.profile, offer.offer
         FROM device LEFT JOIN offer ON offer.device = device.id
         WHERE device.id NOT IN (SELECT name FROM certificate WHERE role = 'device'
                                 GROUP BY name HAVING count(*) = count(revoked_us))
         ORDER BY device.id",
    )?;
    let rows = statement.query_map([], |row| {
        let device = device(row, 0)?;
        let profile: Option<DeviceProfile> = document(row, 1)?;
        let offer: Option<Offer> = document(row, 2)?;
        let told = offer.as_ref().and_then(|offer| offer.kind);
        Ok(FleetRow {
            kind: told.or(profile.map(|profile| profile.kind)),
            labels: identities::labels(connection, device.as_str())?,
            device,
            offer,
        })
    })?;
    rows.collect()
}

/// What time may change by now.
pub(super) fn upkeep(connection: &Connection, now: WallTime) -> rusqlite::Result<Upkeep> {
    let mut leased = connection.prepare_cached(
        "SELECT device, id, attempt FROM job WHERE state = 'leased' ORDER BY device",
    )?;
    let leased = leased.query_map([], |row| {
        let job = JobRef {
            job: JobId(row.get(1)?),
            attempt: row.get(2)?,
        };
        Ok((device(row, 0)?, job))
    })?;
    let mut late = connection.prepare_cached(
        "SELECT DISTINCT device FROM job JOIN campaign ON campaign.name = job.campaign
         WHERE state = 'waiting' AND deadline_us <= ?1 ORDER BY device",
    )?;
    let late = late.query_map(params![now.0], |row| device(row, 0))?;
    Ok(Upkeep {
        leased: leased.collect::<Result<_, _>>()?,
        late: late.collect::<Result<_, _>>()?,
    })
}

fn put_job(connection: &Connection, job: &Job) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE job SET state = ?2, attempt = ?3, n_failed = ?4, has_begun = ?5, is_cancelled = ?6, reason = ?7
         WHERE id = ?1",
        params![
            job.id.0,
            job.state.as_str(),
            job.attempt,
            job.n_failed,
            job.has_begun,
            job.is_cancelled,
            job.reason
        ],
    )?;
    for (place, run) in (0_u32..).zip(&job.runs) {
        connection.execute(
            "INSERT INTO job_run (job, place, run) VALUES (?1, ?2, ?3)",
            params![job.id.0, place, run.0],
        )?;
    }
    connection.execute(
        "INSERT INTO stale_cell (cell, n_changes)
         SELECT DISTINCT cell, 1 FROM run WHERE job = ?1 AND cell IS NOT NULL
         ON CONFLICT (cell) DO UPDATE SET n_changes = n_changes + 1",
        params![job.id.0],
    )?;
    Ok(())
}

fn select_jobs(
    connection: &Connection,
    which: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Job>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, device, state, attempt, n_failed, has_begun, is_cancelled, reason, campaign, asked
         FROM job JOIN campaign ON campaign.name = job.campaign {which}"
    ))?;
    // A campaign of a thousand devices is read once.
    let mut known: BTreeMap<String, Arc<Campaign>> = BTreeMap::new();
    let jobs = statement.query_map(parameters, |row| {
        let campaign: String = row.get(8)?;
        let asked = match known.get(&campaign) {
            Some(asked) => Arc::clone(asked),
            None => Arc::new(asked(row, 9)?),
        };
        known.insert(campaign, Arc::clone(&asked));
        let state: String = row.get(2)?;
        Ok(Job {
            id: JobId(row.get(0)?),
            device: device(row, 1)?,
            asked,
            state: JobState::parse(&state)
                .ok_or_else(|| unreadable(2, format!("no state of a job: `{state}`")))?,
            attempt: row.get(3)?,
            n_failed: row.get(4)?,
            has_begun: row.get(5)?,
            is_cancelled: row.get(6)?,
            reason: row.get(7)?,
            runs: Vec::new(),
        })
    })?;
    jobs.collect()
}

fn runs_of(connection: &Connection, job: JobId) -> rusqlite::Result<Vec<RunId>> {
    let mut statement =
        connection.prepare_cached("SELECT run FROM job_run WHERE job = ?1 ORDER BY place")?;
    let runs = statement.query_map(params![job.0], |row| row.get(0).map(RunId))?;
    runs.collect()
}

fn campaign_row(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<CampaignRow> {
    let asked = asked(row, 0)?;
    let mut statement = connection
        .prepare_cached("SELECT state, count(*) FROM job WHERE campaign = ?1 GROUP BY state")?;
    let n_jobs = statement.query_map(params![asked.name.as_str()], |row| {
        let state: String = row.get(0)?;
        Ok((JobState::parse(&state), row.get(1)?))
    })?;
    let n_jobs: Vec<(Option<JobState>, u32)> = n_jobs.collect::<Result<_, _>>()?;
    Ok(CampaignRow {
        asked: Arc::new(asked),
        created: WallTime(row.get(1)?),
        n_jobs: n_jobs
            .into_iter()
            .filter_map(|(state, n)| Some((state?, n)))
            .collect(),
    })
}

fn asked(row: &Row<'_>, column: usize) -> rusqlite::Result<Campaign> {
    document(row, column)?.ok_or_else(|| unreadable(column, "a campaign is missing".to_owned()))
}

fn device(row: &Row<'_>, column: usize) -> rusqlite::Result<DeviceId> {
    let text: String = row.get(column)?;
    DeviceId::parse(&text).map_err(|error| unreadable(column, error.to_string()))
}

fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let json: Option<String> = row.get(column)?;
    json.map(|json| serde_json::from_str(&json))
        .transpose()
        .map_err(|error| unreadable(column, error.to_string()))
}

/// Something that we wrote ourselves and cannot read.
fn unreadable(column: usize, problem: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("names and numbers under textual keys")
}
