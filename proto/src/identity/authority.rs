//! A site's authority, as those know it who go by its word.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::WebPkiClientVerifier,
};
use tokwatt_domain::time::WallTime;

use super::{
    certificate::{self, CertificateFacts, UnreadableCertificate, WrongSignature},
    tls,
};

/// Who vouches at a site: its self-signed certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    der: CertificateDer<'static>,
    key_sha256: [u8; 32],
    public_key: Vec<u8>,
}

/// An authority does not vouch for a certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotVouchedFor {
    /// There is no certificate.
    #[error("there is no certificate")]
    Nothing,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableCertificate),
    /// Its time is over.
    #[error("the certificate expired {} ago", span(*.0))]
    Expired(Duration),
    /// Its time has not come: the clock that it was judged by is behind.
    #[error("the certificate is not valid for another {}: the clock here is behind", span(*.0))]
    NotYet(Duration),
    /// Somebody else's, or altered.
    #[error("another authority issued the certificate, or it was altered")]
    Other(#[source] rustls::Error),
}

impl Authority {
    /// Reads its certificate in DER. The caller has it from somewhere that can be trusted.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let certificate = certificate::parse(der)?;
        Ok(Self {
            key_sha256: certificate::key_sha256(&certificate),
            public_key: certificate::raw_public_key(&certificate),
            der: CertificateDer::from(der.to_vec()),
        })
    }

    /// Whether it issued the first of these certificates, if need be by way of the others, and it was valid then; what it says.
    ///
    /// # Errors
    /// It did not, or it was not.
    pub fn vouches_for(
        &self,
        chain: &[CertificateDer<'_>],
        then: WallTime,
    ) -> Result<CertificateFacts, NotVouchedFor> {
        let (own, others) = chain.split_first().ok_or(NotVouchedFor::Nothing)?;
        let facts = CertificateFacts::read(own)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, tls::provider())
            .build()
            .expect("there is a root, and no list of revocations that could be wrong");
        verifier
            .verify_client_cert(own, others, unix(then))
            .map_err(not_vouched_for)?;
        Ok(facts)
    }

    /// Whether its key signed this message.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
        certificate::verify(&self.public_key, message, signature)
    }

    /// SHA-256 of its public key, as a [`Token`](super::Token) has it.
    #[must_use]
    pub fn key_sha256(&self) -> [u8; 32] {
        self.key_sha256
    }

    /// Its certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// As the only one to go by.
    ///
    /// # Errors
    /// TLS cannot use it.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, UnreadableCertificate> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.der.clone())
            .map_err(|_| UnreadableCertificate::Form)?;
        Ok(Arc::new(roots))
    }
}

pub(super) fn unix(time: WallTime) -> UnixTime {
    let since_1970 = u64::try_from(time.0).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_micros(since_1970))
}

/// A length of time as people say it: `3 days`, `5 hours`.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (n, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {unit}{plural}")
}

fn not_vouched_for(error: rustls::Error) -> NotVouchedFor {
    let between = |later: UnixTime, earlier: UnixTime| {
        Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            NotVouchedFor::Expired(between(time, not_after))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            time,
            not_before,
        }) => NotVouchedFor::NotYet(between(not_before, time)),
        other => NotVouchedFor::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::made_up::{DAY, MadeUpAuthority, NOW};

    #[test]
    fn a_chain_of_another_authority_is_refused() {
        let [ours, theirs] = [(); 2].map(|()| MadeUpAuthority::new());
        let device = theirs.device("orin-1", 30);
        assert!(theirs.authority().vouches_for(device.chain(), NOW).is_ok());
        let refused = ours.authority().vouches_for(device.chain(), NOW);
        assert!(
            matches!(refused, Err(NotVouchedFor::Other(_))),
            "{refused:?}"
        );
        let nothing = ours.authority().vouches_for(&[], NOW);
        assert!(matches!(nothing, Err(NotVouchedFor::Nothing)));
    }

    #[test]
    fn a_certificate_is_good_in_its_time_and_it_is_said_how_far_off_it_is() {
        let ours = MadeUpAuthority::new();
        let device = ours.device("orin-1", 30);
        let judge = |days: i64| {
            let then = WallTime(NOW.0 + days * DAY);
            let judged = ours.authority().vouches_for(device.chain(), then);
            judged.map_err(|error| error.to_string())
        };
        assert_eq!(judge(29).unwrap().subject.name, "orin-1");
        assert_eq!(
            judge(35),
            Err("the certificate expired 5 days ago".to_owned())
        );
        let early = judge(-4).unwrap_err();
        assert!(
            early.contains("another 3 days") && early.contains("clock"),
            "{early}"
        );
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let ours = MadeUpAuthority::new();
        let [one, two] = [(); 2].map(|()| ours.device("orin-1", 30));
        let signature = one.key().sign(b"message").unwrap();
        assert_eq!(one.facts().verify(b"message", &signature), Ok(()));
        assert_eq!(
            one.facts().verify(b"messagE", &signature),
            Err(WrongSignature)
        );
        assert_eq!(
            two.facts().verify(b"message", &signature),
            Err(WrongSignature)
        );
    }

    #[test]
    fn a_span_is_said_in_the_unit_that_people_use() {
        for (seconds, want) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (600, "10 minutes"),
            (7200, "2 hours"),
            (200_000, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), want);
        }
    }
}
