//! How agent and collector talk of jobs: the messages of `control.proto` and the documents in them.

use serde::{Serialize, de::DeserializeOwned};
use tokwatt_domain::{campaign::JobRef, ids::JobId};

use crate::{error::ContractError, record::document, v1};

/// What a device can be asked for: an `Offer`.
pub const OFFER: &str = "tokwatt.offer/1";

/// What a device is to do: a `JobSpec`.
pub const JOB: &str = "tokwatt.job/1";

/// Where a job in hand stands: a `JobProgress`.
pub const PROGRESS: &str = "tokwatt.progress/1";

/// What an operator wrote: a `Campaign`.
pub const CAMPAIGN_FILE: &str = "tokwatt.campaign-file/1";

/// A campaign and how far it is: a `CampaignView`.
pub const CAMPAIGN: &str = "tokwatt.campaign/1";

/// All campaigns: a `CampaignsView`.
pub const CAMPAIGNS: &str = "tokwatt.campaigns/1";

/// Largest message about jobs that is read; an offer of hundreds of models is far below it.
pub const CONTROL_BYTES_MAX: usize = 256 * 1024;

/// Puts a document under the name of its schema.
pub fn write(schema: &'static str, content: &impl Serialize) -> v1::Document {
    document::write(schema, content)
}

/// Takes a document out again; `field` is where it was.
///
/// # Errors
/// It is missing, of another schema, or not of that schema's form.
pub fn read<T: DeserializeOwned>(
    schema: &'static str,
    document: Option<v1::Document>,
    field: &str,
) -> Result<T, ContractError> {
    document::read(schema, document.as_ref(), field)
}

/// Which lease of which job a message is about; `field` is where it was.
///
/// # Errors
/// It is missing, or not 16 bytes and a number from 1.
pub fn job_ref(job: Option<v1::JobRef>, field: &str) -> Result<JobRef, ContractError> {
    let job = job.ok_or_else(|| ContractError::field(field, "is missing"))?;
    let id = <[u8; 16]>::try_from(job.job).map_err(|bytes| {
        ContractError::field(
            format!("{field}.job"),
            format!("has {} bytes, expected 16", bytes.len()),
        )
    })?;
    if job.attempt == 0 {
        let field = format!("{field}.attempt");
        return Err(ContractError::field(field, "is 0, attempts count from 1"));
    }
    Ok(JobRef {
        job: JobId(id),
        attempt: job.attempt,
    })
}

impl From<JobRef> for v1::JobRef {
    fn from(job: JobRef) -> Self {
        Self {
            job: job.job.0.to_vec(),
            attempt: job.attempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_round_trip_and_nonsense_is_named() {
        let job = JobRef {
            job: JobId([7; 16]),
            attempt: 3,
        };
        assert_eq!(job_ref(Some(job.into()), "job").unwrap(), job);
        check(None, "`in_hand` is missing");
        check(Some((&[1, 2], 1)), "`in_hand.job` has 2 bytes");
        check(Some((&[1; 16], 0)), "`in_hand.attempt` is 0");

        #[track_caller]
        fn check(job: Option<(&[u8], u32)>, want: &str) {
            let job = job.map(|(job, attempt)| v1::JobRef {
                job: job.to_vec(),
                attempt,
            });
            let error = job_ref(job, "in_hand").unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
