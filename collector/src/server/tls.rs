//! TLS 1.3 as the server speaks it: what it shows, and whom it hears out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::SingleCertAndKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use tokwatt_domain::time::WallTime;
use tokwatt_proto::identity::{
    CertificateFacts,
    tls::{ALPN, provider},
};

use crate::{
    clock::Clock,
    enrol::{Identity, IdentityError},
};

/// One listener's TLS; its certificate is followed by a new one before it ends.
pub(super) struct Tls {
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    asks_for: AsksFor,
    current: Mutex<Option<Current>>,
}

/// What a listener wants to see.
#[derive(Clone, Copy)]
pub(super) enum AsksFor {
    /// A certificate of the site's authority, even if it has expired: that is judged where it can be answered in words.
    Certificate,
    /// Nothing.
    Nothing,
}

struct Current {
    config: Arc<ServerConfig>,
    issued: WallTime,
}

/// The collector's clock, for TLS.
struct ByClock(Arc<dyn Clock>);

/// Whoever the authority has ever vouched for, with their key.
#[derive(Debug)]
struct Vouched(Arc<dyn ClientCertVerifier>);

impl Tls {
    pub(super) fn new(
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        asks_for: AsksFor,
    ) -> Result<Self, IdentityError> {
        let tls = Self {
            identity,
            clock,
            asks_for,
            current: Mutex::new(None),
        };
        tls.config().map(|_| tls)
    }

    /// For the next handshake.
    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let now = self.clock.wall();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(current) if current.is_fresh(now) => Ok(Arc::clone(&current.config)),
            _ => {
                let config = Arc::new(self.new_config(now)?);
                *current = Some(Current {
                    config: Arc::clone(&config),
                    issued: now,
                });
                Ok(config)
            }
        }
    }

    fn new_config(&self, now: WallTime) -> Result<ServerConfig, IdentityError> {
        let server = self.identity.server(now)?;
        let clock = ByClock(Arc::clone(&self.clock));
        let builder = ServerConfig::builder_with_details(provider(), Arc::new(clock))
            .with_protocol_versions(&[&TLS13])?;
        let builder = match self.asks_for {
            AsksFor::Certificate => builder.with_client_cert_verifier(self.verifier()?),
            AsksFor::Nothing => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(server)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed connection would not show its certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
        let roots = self.identity.authority().roots()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .expect("there is a root, and no list of revocations that could be wrong");
        Ok(Arc::new(Vouched(verifier)))
    }
}

impl Current {
    /// Not old yet, nor from the future, as after the clock was set back.
    fn is_fresh(&self, now: WallTime) -> bool {
        let age_us = now.0.saturating_sub(self.issued.0);
        u64::try_from(age_us).is_ok_and(|age_us| Duration::from_micros(age_us) < REISSUED)
    }
}

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.wall()))
    }
}

impl std::fmt::Debug for ByClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ByClock")
    }
}

impl ClientCertVerifier for Vouched {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let facts = CertificateFacts::read(own).map_err(|_| CertificateError::BadEncoding)?;
        let then = now.min(unix(facts.not_after));
        self.0.verify_client_cert(own, others, then)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn unix(time: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_micros(
        u64::try_from(time.0).unwrap_or_default(),
    ))
}

/// The server's certificate is replaced after this, at two thirds of its life, for the connections that come then.
const REISSUED: Duration = Duration::from_hours(20 * 24);
