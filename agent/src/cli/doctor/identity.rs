//! Whether this device is enrolled, as whom, and until when.

use tokwatt_proto::identity::{Credentials, CredentialsError};

use super::{Check, Patient};
use crate::{cli::enrol::until, enrol::due, uplink::identity_folder};

pub(super) fn check(patient: &Patient<'_>) -> Check {
    let folder = identity_folder(&patient.settings.data.value);
    match Credentials::load(&folder) {
        Ok(credentials) => judge(patient, &credentials),
        Err(CredentialsError::Absent(_)) => Check::hint(
            NAME,
            "this device is not enrolled".to_owned(),
            "to deliver to a collector on another machine, `tokwatt-agent enrol --help`",
        ),
        Err(error) => Check::mend(
            NAME,
            format!("{:#}", anyhow::Error::from(error)),
            "the agent must run as the owner of that folder; else `tokwatt-agent enrol --again`, with a token made with --replace",
        ),
    }
}

fn judge(patient: &Patient<'_>, credentials: &Credentials) -> Check {
    let facts = credentials.facts();
    let now = patient.clock.wall().max(credentials.last_time_seen());
    let found = format!(
        "enrolled as {} of site `{}`, {}",
        facts.subject,
        facts.site,
        until(facts.not_after, now)
    );
    if facts.subject.name != patient.device.id.as_str() {
        let found = format!(
            "{found}; but this machine is `{}`, as if the disk had been copied",
            patient.device.id
        );
        return Check::mend(
            NAME,
            found,
            "give it an identity of its own with `tokwatt-agent enrol --again`",
        );
    }
    if patient.clock.wall() < facts.not_before {
        let found = format!("{found}; the clock is behind the certificate's beginning");
        return Check::mend(
            NAME,
            found,
            "set the clock (`timedatectl`); until then the last time that the collector told is used",
        );
    }
    if now >= facts.not_after {
        return Check::mend(
            NAME,
            found,
            "`tokwatt-agent run` renews it up to 90 days after its end; later enrol with --again, with a token made with --replace",
        );
    }
    if now >= due(facts) {
        return Check::hint(
            NAME,
            found,
            "it is due to be renewed: `tokwatt-agent run` does that",
        );
    }
    Check::ok(NAME, found)
}

const NAME: &str = "identity";
