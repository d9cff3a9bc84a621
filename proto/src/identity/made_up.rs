//! A made-up authority, for tests.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType,
};
use rustls::{ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier};
use tokwatt_domain::time::WallTime;

use super::{Authority, Credentials, PrivateKey, Role, Site, Subject, tls};

/// Issues whatever a test wants.
pub(crate) struct MadeUpAuthority {
    key: PrivateKey,
    params: CertificateParams,
    der: CertificateDer<'static>,
}

pub(crate) const DAY: i64 = 86_400_000_000;

/// Some time in 2026.
pub(crate) const NOW: WallTime = WallTime(1_780_000_000_000_000);

impl MadeUpAuthority {
    pub(crate) fn new() -> Self {
        let key = PrivateKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "made-up authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let der = params.self_signed(key.as_signer()).unwrap();
        Self {
            der: der.der().clone(),
            key,
            params,
        }
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::read(&self.der).unwrap()
    }

    /// A device's, valid from a day before `NOW` to so many days after.
    pub(crate) fn device(&self, name: &str, days: i64) -> Credentials {
        let key = PrivateKey::generate().unwrap();
        let chain = self.chain(&key, name, days);
        Credentials::new(key, chain, "https://127.0.0.1:1", WallTime(0)).unwrap()
    }

    pub(crate) fn chain(&self, key: &PrivateKey, name: &str, days: i64) -> Vec<Vec<u8>> {
        let subject = Subject::new(Role::Device, name).unwrap();
        let uri = subject.uri(&Site::parse("lab").unwrap());
        let names = vec![SanType::URI(uri.try_into().unwrap())];
        let own = self.issue(key, names, ExtendedKeyUsagePurpose::ClientAuth, days);
        vec![own, self.der.to_vec()]
    }

    /// A collector's, that asks for certificates of ours and has the time `NOW`.
    pub(crate) fn server(&self, name: &str, days: i64) -> ServerConfig {
        let key = PrivateKey::generate().unwrap();
        let names = vec![SanType::DnsName(name.try_into().unwrap())];
        let own = self.issue(&key, names, ExtendedKeyUsagePurpose::ServerAuth, days);
        let chain = vec![CertificateDer::from(own), self.der.clone()];
        let clients = WebPkiClientVerifier::builder_with_provider(
            self.authority().roots().unwrap(),
            tls::provider(),
        );
        ServerConfig::builder_with_details(tls::provider(), tls::at(NOW))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
            .with_single_cert(chain, key.to_der())
            .unwrap()
    }

    fn issue(
        &self,
        key: &PrivateKey,
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        days: i64,
    ) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![purpose];
        params.not_before = date(NOW.0 - DAY).into();
        params.not_after = date(NOW.0 + days * DAY).into();
        let issuer = Issuer::from_params(&self.params, self.key.as_signer());
        params
            .signed_by(key.as_signer(), &issuer)
            .unwrap()
            .der()
            .to_vec()
    }
}

/// As rcgen wants it.
fn date(us: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_micros(us.unsigned_abs())
}
