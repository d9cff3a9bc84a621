//! TLS 1.3 between those of a site, and nothing older.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

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
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
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
    let now = now.max(credentials.last_time_seen());
    let roots = authority.roots().map_err(CredentialsError::Certificate)?;
    let builder = ClientConfig::builder_with_details(provider(), at(now))
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
    let mut config = ClientConfig::builder_with_details(provider(), at(now))
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
    let (channel, _) = channel_and_time(endpoint, config).await?;
    Ok(channel)
}

/// Opens a connection to a collector, and says when its certificate began: it is at least so late.
///
/// # Errors
/// As for [`channel`].
pub async fn channel_and_time(
    endpoint: &Endpoint,
    config: ClientConfig,
) -> Result<(Channel, WallTime), tonic::transport::Error> {
    let connector = TlsConnector::from(Arc::new(config));
    let began = Arc::new(AtomicI64::new(0));
    let note = Arc::clone(&began);
    let connect = tower::service_fn(move |uri: Uri| {
        let connector = connector.clone();
        let note = Arc::clone(&note);
        async move {
            let stream = TcpStream::connect(host_and_port(&uri)?).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(SERVER_NAME).expect("it is a DNS name");
            let stream = connector.connect(name, stream).await?;
            let theirs = stream.get_ref().1.peer_certificates();
            if let Some(from) = theirs.and_then(|chain| not_before(chain.first()?).ok()) {
                note.store(from.0, Ordering::Relaxed);
            }
            Ok::<_, io::Error>(TokioIo::new(heard(stream).await?))
        }
    });
    let channel = endpoint.connect_with_connector(connect).await?;
    Ok((channel, WallTime(began.load(Ordering::Relaxed))))
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
        let now = now.max(unix(not_before(own)?));
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

pub(super) fn at(now: WallTime) -> Arc<dyn TimeProvider> {
    Arc::new(At(unix(now)))
}

/// The stream, once the collector has said its first word.
///
/// In TLS 1.3 our certificate is judged when the handshake is over for us already. HTTP/2 lets the collector speak first, so that waiting for it
/// makes a refusal an error of the connection, with its reason, and not of whatever is said on it first.
async fn heard<S>(mut stream: S) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    let (rest, writer) = tokio::io::split(stream);
    let reader = io::Cursor::new(first).chain(rest);
    Ok(tokio::io::join(reader, writer))
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed connection would not ask who is there.
    config.resumption = Resumption::disabled();
}

fn not_before(der: &CertificateDer<'_>) -> Result<WallTime, CertificateError> {
    let certificate = certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = certificate.validity().not_before.timestamp();
    Ok(WallTime(seconds.saturating_mul(1_000_000)))
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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;
    use crate::identity::{
        Trouble,
        made_up::{DAY, MadeUpAuthority, NOW},
    };

    /// Shakes hands in memory; how each side fared.
    fn shake(
        client: ClientConfig,
        server: ServerConfig,
    ) -> (Result<(), rustls::Error>, Result<(), rustls::Error>) {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut outcome = (Ok(()), Ok(()));
        // Two flights each way are more than it takes.
        for _ in 0..4 {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            server.read_tls(&mut flight.as_slice()).unwrap();
            outcome.1 = outcome.1.and(server.process_new_packets().map(drop));
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            client.read_tls(&mut flight.as_slice()).unwrap();
            outcome.0 = outcome.0.and(client.process_new_packets().map(drop));
        }
        outcome
    }

    fn trouble(error: rustls::Error) -> Trouble {
        // As it arrives: within an I/O error within others.
        let error: Box<dyn Error> = Box::new(io::Error::other(error));
        Trouble::among(&*error).unwrap()
    }

    fn after(days: i64) -> WallTime {
        WallTime(NOW.0 + days * DAY)
    }

    #[test]
    fn both_sides_of_a_site_get_through() {
        let ours = MadeUpAuthority::new();
        let device = ours.device("orin-1", 30);
        let server = ours.server(SERVER_NAME, 3650);
        let shaken = shake(client(&device, NOW).unwrap(), server);
        assert_eq!(shaken, (Ok(()), Ok(())));
    }

    #[test]
    fn a_collector_of_another_site_is_refused_before_anything_is_sent() {
        let device = MadeUpAuthority::new().device("orin-1", 30);
        let server = MadeUpAuthority::new().server(SERVER_NAME, 30);
        let (refused, _) = shake(client(&device, NOW).unwrap(), server);
        assert_eq!(trouble(refused.unwrap_err()), Trouble::OtherAuthority);
    }

    #[test]
    fn a_device_that_poses_as_the_collector_is_refused() {
        let ours = MadeUpAuthority::new();
        let device = ours.device("orin-1", 30);
        let server = ours.server("orin-2", 30);
        let (refused, _) = shake(client(&device, NOW).unwrap(), server);
        assert_eq!(trouble(refused.unwrap_err()), Trouble::NoCollector);
    }

    #[test]
    fn a_collector_that_let_its_certificate_run_out_is_told_by_how_much() {
        let ours = MadeUpAuthority::new();
        let device = ours.device("orin-1", 30);
        let (refused, _) = shake(
            client(&device, after(5)).unwrap(),
            ours.server(SERVER_NAME, 3),
        );
        let trouble = trouble(refused.unwrap_err()).to_string();
        assert!(trouble.contains("expired 2 days ago"), "{trouble}");
    }

    #[test]
    fn a_clock_that_is_behind_uses_the_last_time_seen() {
        let ours = MadeUpAuthority::new();
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("identity");
        let mut device = ours.device("orin-1", 30);
        device.store(&folder).unwrap();
        device.saw(&folder, NOW).unwrap();
        let shaken = shake(
            client(&device, WallTime(0)).unwrap(),
            ours.server(SERVER_NAME, 30),
        );
        assert_eq!(shaken, (Ok(()), Ok(())));
        let (refused, _) = shake(
            client(&device, WallTime(0)).unwrap(),
            ours.server(SERVER_NAME, -1),
        );
        assert!(refused.is_err(), "time does not go back, either");
    }

    #[test]
    fn enrolment_goes_by_the_pinned_key_and_nothing_else() {
        let [ours, theirs] = [(); 2].map(|()| MadeUpAuthority::new());
        let pin = ours.authority().key_sha256();
        let enrol = |now, server| shake(enrolment(pin, now), server).0.map_err(trouble);
        assert_eq!(enrol(NOW, ours.server(SERVER_NAME, 30)), Ok(()));
        // A machine that does not know the time yet.
        assert_eq!(enrol(WallTime(0), ours.server(SERVER_NAME, 30)), Ok(()));
        let other = enrol(NOW, theirs.server(SERVER_NAME, 30));
        assert_eq!(other, Err(Trouble::OtherAuthority));
        let device = enrol(NOW, ours.server("orin-1", 30));
        assert_eq!(device, Err(Trouble::NoCollector));
        let old = enrol(after(9), ours.server(SERVER_NAME, 7));
        assert!(matches!(old, Err(Trouble::CollectorExpired(_))), "{old:?}");
    }

    #[test]
    fn a_collector_that_refuses_a_certificate_says_which_trouble_it_is() {
        let [ours, theirs] = [(); 2].map(|()| MadeUpAuthority::new());
        // The collector's authority has our name and another key: it was set up anew.
        let device = theirs.device("orin-1", 30);
        let mut trusting = client(&device, NOW).unwrap();
        trusting
            .dangerous()
            .set_certificate_verifier(Arc::new(Pinned(ours.authority().key_sha256())));
        let (told, refused) = shake(trusting, ours.server(SERVER_NAME, 30));
        assert!(refused.is_err());
        assert_eq!(trouble(told.unwrap_err()), Trouble::NotOurs);
    }
}
