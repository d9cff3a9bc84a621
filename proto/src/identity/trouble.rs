//! What went wrong with TLS, in words for whoever is woken up by it.

use std::{error::Error, fmt, io, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::UnixTime};

use super::authority::span;

/// Why a TLS connection did not come about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The collector's certificate is too old, by the time here.
    CollectorExpired(Duration),
    /// The collector's certificate is from the future, by the time here.
    ClockBehind(Duration),
    /// The collector is of another site, or somebody stands in between.
    OtherAuthority,
    /// A certificate of our site, but no collector's.
    NoCollector,
    /// The collector says that our certificate is revoked.
    Revoked,
    /// The collector says that our certificate is too old.
    Expired,
    /// The collector's authority did not issue our certificate.
    NotOurs,
    /// The collector wants a certificate.
    CertificateRequired,
    /// No TLS is spoken there.
    NoTls,
    /// Something else that TLS stumbled over.
    Other(String),
}

impl Trouble {
    /// The first among the causes of an error that is TLS's, if there is one.
    #[must_use]
    pub fn among(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut causes = std::iter::successors(Some(error), |cause| next(*cause));
        causes.find_map(|cause| cause.downcast_ref().map(Self::of))
    }

    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(problem) => Self::of_theirs(problem),
            rustls::Error::AlertReceived(alert) => Self::of_ours(*alert),
            rustls::Error::InvalidMessage(_) => Self::NoTls,
            other => Self::Other(other.to_string()),
        }
    }

    fn of_theirs(problem: &CertificateError) -> Self {
        match problem {
            CertificateError::ExpiredContext { time, not_after } => {
                Self::CollectorExpired(between(*time, *not_after))
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::ClockBehind(between(*not_before, *time))
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::OtherAuthority
            }
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
                Self::NoCollector
            }
            other => Self::Other(other.to_string()),
        }
    }

    fn of_ours(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRevoked => Self::Revoked,
            AlertDescription::CertificateExpired => Self::Expired,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Self::NotOurs,
            AlertDescription::CertificateRequired => Self::CertificateRequired,
            other => Self::Other(format!("the collector ended the handshake with {other:?}")),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CollectorExpired(by) => write!(
                f,
                "the collector's certificate expired {} ago by the clock here, or by the latest time that a collector told: if the clock is right (`date`), restart the collector, which renews it; if a collector once told a time that has not come yet, delete `last-time-seen` beside the identity",
                span(*by)
            ),
            Self::ClockBehind(by) => write!(
                f,
                "the clock here is at least {} behind the collector's certificate: set it (`timedatectl`)",
                span(*by)
            ),
            Self::OtherAuthority => f.write_str(
                "another authority vouches for whoever answers there: this is the collector of another site, or one that was set up anew, or not a collector at all; check the address, and enrol again only if you know why",
            ),
            Self::NoCollector => f.write_str(
                "whoever answers there belongs to this site, but is no collector: check the address",
            ),
            Self::Revoked => f.write_str(
                "the collector has revoked this certificate: ask an operator why, then enrol again with a token made by `tokwatt-collector token create --replace`",
            ),
            Self::Expired => f.write_str("the collector says that this certificate has expired"),
            Self::NotOurs => f.write_str(
                "the collector's authority did not issue this certificate: it was set up anew since, or is another site's; enrol again there with a new token",
            ),
            Self::CertificateRequired => f.write_str(
                "the collector wants a certificate: enrol first (a token is made by `tokwatt-collector token create` on the server)",
            ),
            Self::NoTls => f.write_str(
                "whoever answers there does not speak TLS: check port and address (a collector without an identity speaks plain text, on its own machine only)",
            ),
            Self::Other(problem) => write!(f, "TLS failed: {problem}"),
        }
    }
}

/// An I/O error hands on the causes of what it wraps, but not what it wraps.
fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    wrapped
        .map(|wrapped| wrapped as &(dyn Error + 'static))
        .or_else(|| error.source())
}

fn between(later: UnixTime, earlier: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}
