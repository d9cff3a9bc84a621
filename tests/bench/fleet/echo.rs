//! The bare server: tonic, mutual TLS, the same messages, and an answer to each; it reads nothing of them and keeps nothing.

use std::{fs, io::Write, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokwatt_proto::v1::{self, ingest_server::IngestServer};
use tonic::{Request, Response, Status, Streaming};

/// Answers each batch with an acknowledgement.
struct Bare;

#[tonic::async_trait]
impl v1::ingest_server::Ingest for Bare {
    type DeliverStream = ReceiverStream<Result<v1::Ack, Status>>;

    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark's server is killed, not stopped"
    )]
    async fn deliver(
        &self,
        request: Request<Streaming<v1::Upload>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let mut uploads = request.into_inner();
        let (acks, answers) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok(Some(upload)) = uploads.message().await {
                let last = match upload.kind {
                    Some(v1::upload::Kind::Batch(batch)) => {
                        batch.records.last().map(|last| last.seq)
                    }
                    _ => None,
                };
                let ack = v1::Ack {
                    epoch: 1,
                    through: last.unwrap_or_default(),
                    credits: 8,
                };
                if acks.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Writes an authority and two certificates to `folder`, listens, prints the port, and serves until it is killed.
pub(crate) fn serve(folder: &Path) -> anyhow::Result<()> {
    let (authority, server) = certificates(folder)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let (chain, key) = server;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![chain], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let accepted =
            tokio_stream::wrappers::TcpListenerStream::new(listener).then(move |stream| {
                let acceptor = acceptor.clone();
                async move {
                    let stream = stream?;
                    stream.set_nodelay(true)?;
                    acceptor.accept(stream).await
                }
            });
        let served = tonic::transport::Server::builder()
            .initial_stream_window_size(128 * 1024)
            .initial_connection_window_size(512 * 1024)
            .serve_with_incoming(
                IngestServer::new(Bare),
                accepted.map(|stream| stream.map(Accepted)),
            );
        Ok(served.await?)
    })
}

/// How its clients connect.
pub(crate) fn client(folder: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(
        folder.join("echo-authority.pem"),
    )?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(
                folder.join("echo-client.pem"),
            )?],
            PrivateKeyDer::from_pem_file(folder.join("echo-client.key"))?,
        )?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

type Server = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn certificates(folder: &Path) -> anyhow::Result<(CertificateDer<'static>, Server)> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::<String>::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let certify = |purpose| {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.extended_key_usages = vec![purpose];
        anyhow::Ok((params.signed_by(&key, &issuer)?, key))
    };
    let (client, client_key) = certify(ExtendedKeyUsagePurpose::ClientAuth)?;
    let (server, server_key) = certify(ExtendedKeyUsagePurpose::ServerAuth)?;
    fs::write(folder.join("echo-client.pem"), client.pem())?;
    fs::write(folder.join("echo-client.key"), client_key.serialize_pem())?;
    fs::write(folder.join("echo-authority.pem"), &authority_pem)?;
    let key = PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes())?;
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes())?;
    Ok((authority, (server.der().clone(), key)))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A TLS stream that tonic takes; who is there does not matter here.
struct Accepted(tokio_rustls::server::TlsStream<tokio::net::TcpStream>);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Accepted {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Accepted {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(context)
    }
}
