//! Renews the certificate by itself, with a new key, when two thirds of its life are over; outside measured windows.
//!
//! The new credentials take the place of the old ones when they are safely on the disk, and not before: until then the collector takes
//! the old ones, also for another try, since it goes by what it has seen on a connection.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{ids::DeviceId, time::WallTime};
use tokwatt_proto::{
    identity::{CertificateFacts, Credentials, FolderLock, PrivateKey},
    v1,
};

use super::{EnrolError, credentials, refused};
use crate::{
    clock::{Clock, SystemClock},
    runner::QuietGate,
    uplink::{Address, connect},
};

/// Keeps an identity good.
pub struct Renewal {
    /// Where the identity is.
    pub folder: PathBuf,
    /// The collector that renews it.
    pub address: Address,
    /// Closed while something is being measured.
    pub quiet: QuietGate,
    /// By which it is due.
    pub clock: Arc<dyn Clock>,
    /// Rung when a new certificate is there: what was refused may be taken now.
    pub hurry: Arc<Notify>,
}

impl Renewal {
    /// Of the identity that is shown at an address; none where none is.
    pub fn of(address: &Address, quiet: &QuietGate, hurry: &Arc<Notify>) -> Option<Self> {
        Some(Self {
            folder: address.identity()?.to_owned(),
            address: address.clone(),
            quiet: quiet.clone(),
            clock: Arc::new(SystemClock::start()),
            hurry: Arc::clone(hurry),
        })
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut last_reason = String::new();
        loop {
            let wait = match self.renew_if_due().await {
                Ok(wait) => wait,
                Err(error) => {
                    let reason = crate::uplink::chain(&error);
                    // Said once, as for deliveries.
                    if reason != last_reason {
                        tracing::warn!(
                            reason,
                            "the certificate is not renewed, will be tried again"
                        );
                        last_reason = reason;
                    }
                    TRY_AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.clamp(TRY_AGAIN, LOOK_AGAIN)) => {}
            }
        }
    }

    /// Renews it if it is time; how long it is until the next time.
    ///
    /// # Errors
    /// It was time and could not be done; the present identity stays.
    pub async fn renew_if_due(&self) -> Result<Duration, EnrolError> {
        // A look at it reads files already.
        let _passage = self.quiet.pass().await;
        let before = Credentials::load(&self.folder)?;
        let wait = self.wait(&before);
        if !wait.is_zero() {
            return Ok(wait);
        }
        let Some(_lock) = FolderLock::try_take(&self.folder)? else {
            return Ok(TRY_AGAIN);
        };
        // Another agent with this folder may have renewed it meanwhile.
        let before = Credentials::load(&self.folder)?;
        let wait = self.wait(&before);
        if !wait.is_zero() {
            return Ok(wait);
        }
        let after = self.renew(&before).await?;
        after.store(&self.folder)?;
        tracing::info!(subject = %after.facts().subject, not_after_us = after.facts().not_after.0, "certificate renewed");
        self.hurry.notify_one();
        Ok(self.wait(&after))
    }

    async fn renew(&self, before: &Credentials) -> Result<Credentials, EnrolError> {
        let key = PrivateKey::generate()?;
        let request = v1::RenewRequest {
            certificate_request: key.certificate_request()?,
        };
        let channel = connect(&self.address).await?;
        let mut client = v1::renew_client::RenewClient::new(channel);
        let answer = tokio::time::timeout(PATIENCE, client.renew(request)).await;
        let answer =
            answer.map_err(|_| EnrolError::Answer("it did not come in time".to_owned()))?;
        let issued = answer.map_err(refused)?.into_inner();
        let name = DeviceId::parse(&before.facts().subject.name)
            .map_err(|error| EnrolError::Answer(error.to_string()))?;
        credentials(key, issued, &before.authority()?, &name, before.collector())
    }

    fn wait(&self, credentials: &Credentials) -> Duration {
        let now = self.clock.wall().max(credentials.last_time_seen());
        let due = due(credentials.facts());
        Duration::from_micros(u64::try_from(due.0.saturating_sub(now.0)).unwrap_or_default())
    }
}

/// When two thirds of a certificate's life are over.
pub fn due(facts: &CertificateFacts) -> WallTime {
    let life = facts.not_after.0.saturating_sub(facts.not_before.0);
    WallTime(facts.not_before.0.saturating_add(life / 3 * 2))
}

/// The wall clock may be set meanwhile, and somebody may enrol again.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// Ten days are left when the first try fails. By a clock that is weeks ahead, a certificate is due as soon as it is there.
const TRY_AGAIN: Duration = Duration::from_mins(1);

/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
