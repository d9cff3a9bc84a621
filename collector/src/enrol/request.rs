//! What is taken from a certificate request: its key, if it proves to have the private half. Nothing else.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

/// Why there is no key in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum UnreadableRequest {
    #[error("the certificate request is no PKCS#10 in DER")]
    Form,
    #[error("the certificate request is not signed with its own key")]
    Signature,
    #[error("the key of the certificate request is not on the curve P-256")]
    Kind,
}

/// The public key of a request in DER. Names, extensions and attributes that it asks for are passed over: what a certificate says is for
/// the issuer to say.
pub(super) fn public_key(der: &[u8]) -> Result<SubjectPublicKeyInfo, UnreadableRequest> {
    let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
        return Err(UnreadableRequest::Form);
    };
    let raw = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(raw).map_err(|_| UnreadableRequest::Kind)?;
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(UnreadableRequest::Kind);
    }
    request
        .verify_signature()
        .map_err(|_| UnreadableRequest::Signature)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use tokwatt_proto::identity::PrivateKey;

    use super::*;

    #[test]
    fn the_key_of_a_request_is_the_one_that_signed_it() {
        let key = PrivateKey::generate().unwrap();
        let read = public_key(&key.certificate_request().unwrap()).unwrap();
        assert_eq!(
            read.subject_public_key_info(),
            key.as_signer().subject_public_key_info()
        );
    }

    #[test]
    fn a_request_that_was_touched_is_refused() {
        let mut request = PrivateKey::generate()
            .unwrap()
            .certificate_request()
            .unwrap();
        let last = request.len() - 1;
        request[last] ^= 1;
        assert_eq!(public_key(&request), Err(UnreadableRequest::Signature));
        request.push(0);
        assert_eq!(public_key(&request), Err(UnreadableRequest::Form));
        assert_eq!(public_key(b"a request"), Err(UnreadableRequest::Form));
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for kind in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
            let key = KeyPair::generate_for(kind).unwrap();
            let request = CertificateParams::default()
                .serialize_request(&key)
                .unwrap();
            assert_eq!(public_key(request.der()), Err(UnreadableRequest::Kind));
        }
    }
}
