//! Whose certificates are believed: those of the system's authorities, or of the one that a person named.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// There is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of a person.
    #[error("--ca-file: cannot read certificates from `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It holds no certificate, or none of an authority.
    #[error("--ca-file: `{}` holds no certificate of an authority in PEM form", .0.display())]
    Empty(PathBuf),
    /// The system has none.
    #[error(
        "this system has no certificate authorities (package ca-certificates); name the server's own with --ca-file"
    )]
    NoAuthorities,
    /// TLS itself is not to be had.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3, for HTTP/1.1 only; without a file the system's authorities are believed.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let roots = ca_file.map_or_else(system, read)?;
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "a certificate authority of this system is not read");
    }
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(found.certs) {
        (0, _) => Err(TrustError::NoAuthorities),
        _ => Ok(roots),
    }
}

fn read(path: &Path) -> Result<RootCertStore, TrustError> {
    let unreadable = |source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(TrustError::Empty(path.to_owned())),
        _ => Ok(roots),
    }
}
