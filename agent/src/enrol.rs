//! How this device becomes one of a site, and stays one: its key is made here and never leaves it.

use tokwatt_domain::{ids::DeviceId, time::WallTime};
use tokwatt_proto::{
    identity::{
        Authority, Credentials, CredentialsError, InvalidName, KeyError, NotVouchedFor, PrivateKey,
        Role, Subject, Token, UnreadableCertificate, tls,
    },
    v1,
};
use tonic::{Status, transport::Endpoint};

use crate::uplink::{InvalidAddress, Unreachable, Url, patient, trouble, unreachable};

pub use renewal::{Renewal, due};

/// The next certificate before the present one ends.
mod renewal;

/// A certificate was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The address is none, or of the wrong kind.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Plain text.
    #[error(
        "`{0}` is not where one enrols: that is https://HOST:7414, as `tokwatt-collector token create` says"
    )]
    PlainText(String),
    /// Nobody is there, or somebody else.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The token's site is not the one that answers.
    #[error(
        "whoever answers at `{0}` is not of the site that the token is from, so nothing of it was told: check the address; if it is right, somebody stands in between"
    )]
    OtherSite(String),
    /// The collector does not want to.
    #[error("the collector refused: {}", .0.message())]
    Refused(Box<Status>),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What came cannot be used.
    #[error("the collector's answer cannot be used")]
    Credentials(#[from] CredentialsError),
    /// What came is not for us.
    #[error("the collector's answer cannot be used: {0}")]
    Answer(String),
}

/// Asks for the first certificate, for a token.
///
/// # Errors
/// The collector is away, or somebody else, or does not want to; in all cases nothing is changed here.
pub async fn enrol(
    url: &Url,
    token: &Token,
    name: &DeviceId,
    now: WallTime,
) -> Result<Credentials, EnrolError> {
    let text = url.to_string();
    if !url.is_tls {
        return Err(EnrolError::PlainText(text));
    }
    let endpoint = Endpoint::from_shared(text.clone());
    let endpoint = patient(&endpoint.map_err(|_| InvalidAddress::Form(text.clone()))?);
    let config = tls::enrolment(token.authority_sha256, now);
    let channel = tls::channel(&endpoint, config).await;
    let channel = channel.map_err(|error| of_another_site(unreachable(error), &text))?;
    let key = PrivateKey::generate()?;
    let request = v1::EnrolRequest {
        token: token.id.clone(),
        secret: token.secret.clone(),
        name: name.as_str().to_owned(),
        certificate_request: key.certificate_request()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut client = v1::enrol_client::EnrolClient::new(channel);
    let issued = client.enrol(request).await.map_err(refused)?.into_inner();
    let authority = authority(&issued)?;
    if authority.key_sha256() != token.authority_sha256 {
        return Err(EnrolError::OtherSite(text));
    }
    let port = u16::try_from(issued.port).ok().filter(|port| *port != 0);
    let collector = Url {
        port: port.unwrap_or(COLLECTOR_PORT),
        ..url.clone()
    };
    credentials(key, issued, &authority, name, &collector.to_string())
}

/// Puts together what came, once it has proved to be what was asked for.
fn credentials(
    key: PrivateKey,
    issued: v1::Issued,
    authority: &Authority,
    name: &DeviceId,
    collector: &str,
) -> Result<Credentials, EnrolError> {
    let told = WallTime(issued.now_us);
    let credentials = Credentials::new(key, issued.chain, collector, told)?;
    authority
        .vouches_for(credentials.chain(), credentials.last_time_seen())
        .map_err(|error: NotVouchedFor| EnrolError::Answer(error.to_string()))?;
    let wanted = Subject::new(Role::Device, name.as_str())
        .map_err(|error: InvalidName| EnrolError::Answer(error.to_string()))?;
    let got = &credentials.facts().subject;
    if *got != wanted {
        return Err(EnrolError::Answer(format!(
            "it has a certificate for {got} where one for {wanted} was asked for: the token is for another role"
        )));
    }
    Ok(credentials)
}

fn authority(issued: &v1::Issued) -> Result<Authority, EnrolError> {
    let last = issued.chain.last().ok_or(CredentialsError::ShortChain)?;
    Authority::read(last)
        .map_err(|error: UnreadableCertificate| EnrolError::Credentials(error.into()))
}

fn of_another_site(error: Unreachable, text: &str) -> EnrolError {
    use tokwatt_proto::identity::Trouble;
    match error {
        Unreachable::Trouble(Trouble::OtherAuthority) => EnrolError::OtherSite(text.to_owned()),
        other => other.into(),
    }
}

fn refused(status: Status) -> EnrolError {
    match trouble(&status) {
        Some(trouble) => Unreachable::Trouble(trouble).into(),
        None => EnrolError::Refused(Box::new(status)),
    }
}

/// Where a collector is delivered to, if it does not say.
const COLLECTOR_PORT: u16 = 7413;
