//! TLS 1.3 between those of a site, and nothing older.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    time_provider::TimeProvider,
    version::TLS13,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokwatt_domain::time::WallTime;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{
    authority::{Authority, unix},
    certificate,
    credentials::{Credentials, CredentialsError},
};

/// The one name under which a collector is known to its site, wherever it is: every server certificate has it.
pub const SERVER_NAME: &str = "tokwatt-collector";

/// What both sides speak over TLS.
pub const ALPN: &[u8] = b"h2";

/// The cryptography that everything here goes by.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Mutual TLS with the collector of the site that issued the credentials. Certificates are judged by the later of `now` and the last time
/// seen, so that a machine whose battery is empty still gets through.
///
/// # Errors
/// The credentials are no key and chain that fit together.
pub fn client(credentials: &Credentials, now: WallTime) -> Result<ClientConfig, CredentialsError> {
    let authority = credentials.authority()?;
    let at = At(unix(now.max(credentials.last_time_seen())));
    let roots = authority.roots().map_err(CredentialsError::Certificate)?;
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(at))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots);
    let mut config = builder
        .with_client_auth_cert(credentials.chain().to_vec(), credentials.key().to_der())
        .map_err(CredentialsError::Pair)?;
    finish(&mut config);
    Ok(config)
}

/// TLS with whoever shows a chain that ends in the authority with that key, without a certificate of one's own: for enrolling.
///
/// The machine may not know the time yet, so a certificate that is not valid yet is taken: the authority is known by its key, and the
/// collector tells the time.
#[must_use]
pub fn enrolment(authority_sha256: [u8; 32], now: WallTime) -> ClientConfig {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(At(unix(now))))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(authority_sha256)))
        .with_no_client_auth();
    finish(&mut config);
    config
}

/// Opens a connection to a collector. The endpoint says where it is and how long to try, the configuration who it must be.
///
/// # Errors
/// Nobody is there, or somebody else; [`Trouble`](super::Trouble) finds the reason among the causes.
pub async fn channel(
    endpoint: &Endpoint,
    config: ClientConfig,
) -> Result<Channel, tonic::transport::Error> {
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |uri: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(host_and_port(&uri)?).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(SERVER_NAME).expect("it is a DNS name");
            let stream = connector.connect(name, stream).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connect).await
}

/// A time that stands still: a connection is judged by the time at which it is opened.
#[derive(Debug)]
struct At(UnixTime);

/// Takes whoever an authority with this key vouches for.
#[derive(Debug)]
struct Pinned([u8; 32]);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl Pinned {
    fn authority(&self, chain: &[CertificateDer<'_>]) -> Option<Authority> {
        let mut authorities = chain.iter().filter_map(|der| Authority::read(der).ok());
        authorities.find(|authority| authority.key_sha256() == self.0)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self
            .authority(others)
            .and_then(|pinned| pinned.roots().ok());
        let roots = roots.ok_or(CertificateError::UnknownIssuer)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|_| CertificateError::UnknownIssuer)?;
        let now = now.max(not_before(own)?);
        verifier.verify_server_cert(own, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed connection would not ask who is there.
    config.resumption = Resumption::disabled();
}

fn not_before(der: &CertificateDer<'_>) -> Result<UnixTime, CertificateError> {
    let certificate = certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = certificate.validity().not_before.timestamp();
    Ok(unix(WallTime(seconds.saturating_mul(1_000_000))))
}

fn host_and_port(uri: &Uri) -> io::Result<(String, u16)> {
    let host = uri
        .host()
        .and_then(|host| uri.port_u16().map(|port| (host, port)));
    let (host, port) =
        host.ok_or_else(|| io::Error::other(format!("`{uri}` has no host and port")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), port))
}
