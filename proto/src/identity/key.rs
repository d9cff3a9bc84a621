//! Private keys: made where they are used, never sent.

use std::fmt;

use rcgen::{PublicKeyData, SigningKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};

/// A P-256 key. [`Debug`] shows nothing of it.
pub struct PrivateKey(rcgen::KeyPair);

/// What went wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel has no random bytes.
    #[error("the kernel gave no random bytes")]
    Random,
    /// It cannot be made.
    #[error("cannot make a key")]
    Generate(#[source] rcgen::Error),
    /// It is none, or of another kind.
    #[error("this is no PEM file with a P-256 key in PKCS#8")]
    Unreadable,
    /// It could not sign.
    #[error("cannot sign with the key")]
    Sign,
}

impl PrivateKey {
    /// A new one.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(KeyError::Generate)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote; what stands beside the key in the text is passed over.
    ///
    /// # Errors
    /// There is no P-256 key in it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
        let key = key.map_err(|_| KeyError::Unreadable)?;
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| KeyError::Unreadable)
    }

    /// PKCS#8, for a file that nobody else may read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// PKCS#10 in DER: asks for a certificate of this key. It names nobody: who asks is known otherwise.
    ///
    /// # Errors
    /// It could not be signed.
    pub fn certificate_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut request = rcgen::CertificateParams::default();
        request.distinguished_name = rcgen::DistinguishedName::new();
        let request = request
            .serialize_request(&self.0)
            .map_err(|_| KeyError::Sign)?;
        Ok(request.der().to_vec())
    }

    /// ECDSA with SHA-256, in ASN.1; [`CertificateFacts::verify`](super::CertificateFacts::verify) is its other half.
    ///
    /// # Errors
    /// The key is damaged.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign(message).map_err(|_| KeyError::Sign)
    }

    /// SHA-256 of the public key, as [`CertificateFacts::key_sha256`](super::CertificateFacts) has it.
    #[must_use]
    pub fn public_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.subject_public_key_info()).into()
    }

    /// For signing certificates.
    #[must_use]
    pub fn as_signer(&self) -> &rcgen::KeyPair {
        &self.0
    }

    /// For TLS.
    #[must_use]
    pub fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialized_der().to_vec()).into()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.to_der(), key.to_der());
        assert_eq!(again.public_sha256(), key.public_sha256());
    }

    #[test]
    fn debug_output_shows_nothing_of_it() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey { .. }");
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        for bad in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(matches!(
                PrivateKey::from_pem(bad),
                Err(KeyError::Unreadable)
            ));
        }
    }
}
