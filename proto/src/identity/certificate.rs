//! What a certificate of ours says, once somebody has vouched for it.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use tokwatt_domain::time::WallTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::names::{InvalidName, Site, Subject};

/// Whose it is and until when. Reading them vouches for nothing; [`Authority`](super::Authority) does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFacts {
    /// Where it was issued.
    pub site: Site,
    /// For whom.
    pub subject: Subject,
    /// Serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// From when on it is valid.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
    /// SHA-256 of its public key, as SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    public_key: Vec<u8>,
}

/// A certificate that says nothing to us.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableCertificate {
    /// No X.509 in DER.
    #[error("this is no certificate")]
    Form,
    /// It names nobody, or more than one.
    #[error("the certificate names nobody of ours: it has no single URI spiffe://SITE/ROLE/NAME")]
    Nameless,
    /// It names somebody as we do not.
    #[error("the certificate names nobody of ours")]
    Name(#[source] InvalidName),
}

/// A message was not signed with the key that it should have been, or was changed since.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature is wrong")]
pub struct WrongSignature;

impl CertificateFacts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none, or not of the form that our authorities issue for a subject.
    pub fn read(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let certificate = parse(der)?;
        let (site, subject) =
            Subject::read_uri(uri(&certificate)?).map_err(UnreadableCertificate::Name)?;
        let validity = certificate.validity();
        Ok(Self {
            site,
            subject,
            serial: certificate.tbs_certificate.serial.to_bytes_be(),
            not_before: wall(validity.not_before.timestamp()),
            not_after: wall(validity.not_after.timestamp()),
            key_sha256: key_sha256(&certificate),
            public_key: raw_public_key(&certificate),
        })
    }

    /// Whether [`PrivateKey::sign`](super::PrivateKey::sign) of its key signed this message.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
        verify(&self.public_key, message, signature)
    }
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, UnreadableCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(UnreadableCertificate::Form),
    }
}

pub(super) fn key_sha256(certificate: &X509Certificate<'_>) -> [u8; 32] {
    Sha256::digest(certificate.public_key().raw).into()
}

pub(super) fn raw_public_key(certificate: &X509Certificate<'_>) -> Vec<u8> {
    certificate.public_key().subject_public_key.data.to_vec()
}

pub(super) fn verify(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), WrongSignature> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
        .verify(message, signature)
        .map_err(|_| WrongSignature)
}

fn uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, UnreadableCertificate> {
    let names = certificate.subject_alternative_name();
    let Ok(Some(names)) = names else {
        return Err(UnreadableCertificate::Nameless);
    };
    match &names.value.general_names[..] {
        [GeneralName::URI(uri)] => Ok(uri),
        _ => Err(UnreadableCertificate::Nameless),
    }
}

fn wall(seconds: i64) -> WallTime {
    WallTime(seconds.saturating_mul(1_000_000))
}
