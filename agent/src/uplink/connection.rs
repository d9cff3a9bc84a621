//! Opens connections to a collector, and says in plain words why not.

use std::{path::Path, time::Duration};

use tokwatt_domain::time::WallTime;
use tokwatt_proto::identity::{Credentials, CredentialsError, Trouble, tls};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::address::Address;
use crate::clock::{Clock, SystemClock};

/// A collector cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Nobody is there.
    #[error("cannot reach the collector")]
    Nobody(#[source] tonic::transport::Error),
    /// Somebody is there, and one side does not take the other for who it is.
    #[error("{0}")]
    Trouble(Trouble),
    /// There is nothing to show.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// A connection of its own. By TLS the credentials are read each time: they may have been renewed.
///
/// # Errors
/// Nobody is there, or somebody else, or we are not let in.
pub async fn connect(address: &Address) -> Result<Channel, Unreachable> {
    let endpoint = patient(address.endpoint());
    let Some(folder) = address.identity() else {
        return endpoint.connect().await.map_err(unreachable);
    };
    let mut credentials = Credentials::load(folder)?;
    let config = tls::client(&credentials, SystemClock::start().wall())?;
    let (channel, time) = tls::channel_and_time(&endpoint, config)
        .await
        .map_err(unreachable)?;
    note_time(&mut credentials, folder, time);
    Ok(channel)
}

/// What TLS says of a call that failed: a collector that refuses a certificate says so when the handshake is over.
pub(crate) fn trouble(status: &Status) -> Option<Trouble> {
    Trouble::among(status)
}

/// For one that should not take long, and is noticed when it is gone.
pub fn patient(endpoint: &Endpoint) -> Endpoint {
    endpoint
        .clone()
        .connect_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
}

pub(crate) fn unreachable(error: tonic::transport::Error) -> Unreachable {
    match Trouble::among(&error) {
        Some(trouble) => Unreachable::Trouble(trouble),
        None => Unreachable::Nobody(error),
    }
}

/// The collector's certificate began then, so it is at least so late.
fn note_time(credentials: &mut Credentials, folder: &Path, time: WallTime) {
    if let Err(error) = credentials.saw(folder, time) {
        tracing::warn!(%error, "the time that the collector told is not kept");
    }
}
