//! Enrolment, delivery by certificate and renewal, against a site that issues what a test wants.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    clock::{Clock, SystemClock},
    enrol::{EnrolError, Renewal, enrol},
    runner::QuietGate,
    spool::Spool,
    uplink::{Address, LinkState, Uplink, Url, identity_folder},
};
use tokwatt_domain::{
    ids::{DeviceId, Seq},
    time::WallTime,
};
use tokwatt_proto::{
    identity::{Authority, Credentials, Token, tls},
    v1,
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::{Service, http},
    transport::Server,
};

const DAY: Duration = Duration::from_hours(24);

/// What the made-up site issues.
#[derive(Clone, Copy)]
struct Terms {
    /// How old a certificate is when it is issued.
    age: Duration,
    /// How long it is good from its beginning.
    life: Duration,
    /// For whom, whatever is asked for.
    name: Option<&'static str>,
}

const FRESH: Terms = Terms {
    age: Duration::from_hours(1),
    life: Duration::from_hours(30 * 24),
    name: None,
};

/// An authority, a server and its three services, on one port.
#[derive(Clone)]
struct Site(Arc<Inner>);

struct Inner {
    authority: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
    terms: Mutex<Terms>,
    refusal: Mutex<Option<&'static str>>,
    /// Names that asked for a certificate, in order.
    asked: Mutex<Vec<String>>,
    deliveries: mpsc::Sender<u64>,
}

impl Site {
    /// Serves until the test ends; also everything that is delivered.
    async fn start() -> (Self, Url, mpsc::Receiver<u64>) {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "made-up authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let der = authority.self_signed(&key).unwrap().der().clone();
        let (deliveries, delivered) = mpsc::channel(64);
        let site = Self(Arc::new(Inner {
            authority,
            key,
            der,
            terms: Mutex::new(FRESH),
            refusal: Mutex::default(),
            asked: Mutex::default(),
            deliveries,
        }));
        let port = site.serve().await;
        let url = format!("https://127.0.0.1:{port}").parse().unwrap();
        (site, url, delivered)
    }

    fn token(&self) -> Token {
        let authority = Authority::read(&self.0.der).unwrap();
        Token::generate(authority.key_sha256()).unwrap()
    }

    fn set_terms(&self, terms: Terms) {
        *self.0.terms.lock().unwrap() = terms;
    }

    fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    async fn serve(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(self.tls()));
        let (sender, connections) = mpsc::channel(8);
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                // tonic wants to know where a stream is from, and of this one it knows.
                let (near, mut far) = tokio::io::duplex(64 * 1024);
                TaskTracker::new().spawn(async move {
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut far).await);
                });
                drop(sender.send(Ok::<_, std::io::Error>(near)).await);
            }
        });
        let site = self.clone();
        let services = tower::service_fn(move |request: http::Request<Body>| {
            let service = request.uri().path().split('/').nth(1);
            match service.unwrap_or_default() {
                "tokwatt.v1.Enrol" => {
                    v1::enrol_server::EnrolServer::new(site.clone()).call(request)
                }
                "tokwatt.v1.Renew" => {
                    v1::renew_server::RenewServer::new(site.clone()).call(request)
                }
                _ => v1::ingest_server::IngestServer::new(site.clone()).call(request),
            }
        });
        let incoming = ReceiverStream::new(connections);
        tasks.spawn(Server::builder().serve_with_incoming(services, incoming));
        port
    }

    /// Asks for certificates, and takes none only where one enrols.
    fn tls(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::default();
        own.subject_alt_names = vec![SanType::DnsName(tls::SERVER_NAME.try_into().unwrap())];
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let own = own.signed_by(&key, &self.issuer()).unwrap();
        let roots = Authority::read(&self.0.der).unwrap().roots().unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![own.der().clone(), self.0.der.clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = vec![tls::ALPN.to_vec()];
        config
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.0.authority, &self.0.key)
    }

    fn issue(&self, name: &str, request: Vec<u8>) -> v1::Issued {
        let terms = *self.0.terms.lock().unwrap();
        let request = CertificateSigningRequestDer::from(request);
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let uri = format!("spiffe://lab/device/{}", terms.name.unwrap_or(name));
        request.params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = now();
        request.params.not_before = (now - terms.age).into();
        request.params.not_after = (now - terms.age + terms.life).into();
        let own = request.signed_by(&self.issuer()).unwrap();
        v1::Issued {
            chain: vec![own.der().to_vec(), self.0.der.to_vec()],
            site: "lab".to_owned(),
            role: v1::Role::Device.into(),
            name: name.to_owned(),
            now_us: SystemClock::start().wall().0,
            port: 0,
        }
    }
}

fn now() -> std::time::SystemTime {
    let now = SystemClock::start().wall().0.unsigned_abs();
    std::time::UNIX_EPOCH + Duration::from_micros(now)
}

#[tonic::async_trait]
impl v1::enrol_server::Enrol for Site {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::Issued>, Status> {
        let request = request.into_inner();
        self.0.asked.lock().unwrap().push(request.name.clone());
        if let Some(refusal) = *self.0.refusal.lock().unwrap() {
            return Err(Status::permission_denied(refusal));
        }
        Ok(Response::new(
            self.issue(&request.name, request.certificate_request),
        ))
    }
}

#[tonic::async_trait]
impl v1::renew_server::Renew for Site {
    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Issued>, Status> {
        self.0.asked.lock().unwrap().push("renewal".to_owned());
        let request = request.into_inner();
        Ok(Response::new(
            self.issue("orin-1", request.certificate_request),
        ))
    }
}

#[tonic::async_trait]
impl v1::ingest_server::Ingest for Site {
    type DeliverStream = ReceiverStream<Result<v1::Ack, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<v1::Upload>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        if let Some(refusal) = *self.0.refusal.lock().unwrap() {
            return Err(Status::permission_denied(refusal));
        }
        let mut uploads = request.into_inner();
        let (acks, answers) = mpsc::channel(8);
        let deliveries = self.0.deliveries.clone();
        TaskTracker::new().spawn(async move {
            let mut epoch = 0;
            while let Ok(Some(upload)) = uploads.message().await {
                let through = match upload.kind.unwrap() {
                    v1::upload::Kind::Hello(hello) => {
                        epoch = hello.epoch;
                        0
                    }
                    v1::upload::Kind::Batch(batch) => batch.records.last().unwrap().seq,
                };
                let ack = v1::Ack {
                    epoch,
                    through,
                    credits: 8,
                };
                drop(acks.send(Ok(ack)).await);
                deliveries.send(through).await.unwrap_or_default();
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

fn orin() -> DeviceId {
    DeviceId::parse("orin-1").unwrap()
}

fn wall() -> WallTime {
    SystemClock::start().wall()
}

/// A data folder that is enrolled at the site.
async fn enrolled(site: &Site, url: &Url) -> (TempDir, Address) {
    let data = tempfile::tempdir().unwrap();
    let credentials = enrol(url, &site.token(), &orin(), wall()).await.unwrap();
    // The made-up site does everything on one port.
    credentials.store(&identity_folder(data.path())).unwrap();
    let address = Address::in_force(Some(&url.to_string()), data.path());
    (data, address.unwrap().unwrap())
}

fn load(data: &Path) -> Credentials {
    Credentials::load(&identity_folder(data)).unwrap()
}

/// Delivers one record in the background; where the link stands.
fn deliver(
    data: &Path,
    address: &Address,
    device: DeviceId,
    tasks: &TaskTracker,
) -> watch::Receiver<LinkState> {
    let spool = Spool::open(data, WallTime(7), 1 << 30).unwrap();
    spool.append(&[vec![1]]).unwrap();
    let (state, link) = watch::channel(LinkState::Connecting);
    let uplink = Uplink {
        address: address.clone(),
        device,
        spool: Arc::new(spool),
        quiet: QuietGate::default(),
        grown: Arc::default(),
        hurry: Arc::default(),
        state,
    };
    tasks.spawn(uplink.run(CancellationToken::new()));
    link
}

async fn down(mut link: watch::Receiver<LinkState>) -> String {
    let is_down = |state: &LinkState| matches!(state, LinkState::Down { .. });
    link.wait_for(is_down).await.unwrap().to_string()
}

#[tokio::test]
async fn a_device_enrols_with_a_token_and_delivers_by_its_certificate() {
    let (site, url, mut delivered) = Site::start().await;
    let (data, address) = enrolled(&site, &url).await;
    let credentials = load(data.path());
    assert_eq!(credentials.collector(), "https://127.0.0.1:7413");
    assert_eq!(credentials.facts().subject.name, "orin-1");
    let tasks = TaskTracker::new();
    let mut link = deliver(data.path(), &address, orin(), &tasks);
    let through = Seq(1);
    let is_delivered = |state: &LinkState| *state == LinkState::Delivered { through };
    link.wait_for(is_delivered).await.unwrap();
    assert_eq!(
        (delivered.recv().await, delivered.recv().await),
        (Some(0), Some(1))
    );
}

#[tokio::test]
async fn a_site_that_the_token_is_not_from_is_told_nothing() {
    let (ours, _, _) = Site::start().await;
    let (theirs, url, _) = Site::start().await;
    let refused = enrol(&url, &ours.token(), &orin(), wall()).await;
    assert!(
        matches!(refused, Err(EnrolError::OtherSite(_))),
        "{refused:?}"
    );
    assert_eq!(theirs.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_is_in_the_collectors_words_and_plain_text_is_not_tried() {
    let (site, url, _) = Site::start().await;
    *site.0.refusal.lock().unwrap() = Some("the token was used before");
    let refused = enrol(&url, &site.token(), &orin(), wall())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("was used before"), "{refused}");
    let plain = Url {
        is_tls: false,
        ..url
    };
    let refused = enrol(&plain, &site.token(), &orin(), wall()).await;
    assert!(matches!(refused, Err(EnrolError::PlainText(_))));
}

#[tokio::test]
async fn a_certificate_for_somebody_else_or_of_the_past_is_not_taken() {
    let (site, url, _) = Site::start().await;
    site.set_terms(Terms {
        name: Some("orin-2"),
        ..FRESH
    });
    let refused = enrol(&url, &site.token(), &orin(), wall())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("orin-2"), "{refused}");
    site.set_terms(Terms {
        age: 2 * DAY,
        life: DAY,
        name: None,
    });
    let refused = enrol(&url, &site.token(), &orin(), wall()).await;
    assert!(matches!(refused, Err(EnrolError::Answer(_))), "{refused:?}");
}

#[tokio::test]
async fn a_copied_disk_does_not_speak_for_the_device_that_it_is_from() {
    let (site, url, _delivered) = Site::start().await;
    let (data, address) = enrolled(&site, &url).await;
    let other = DeviceId::parse("orin-2").unwrap();
    let tasks = TaskTracker::new();
    let reason = down(deliver(data.path(), &address, other, &tasks)).await;
    assert!(
        reason.contains("`orin-1`") && reason.contains("`orin-2`") && reason.contains("--again"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_collector_of_another_site_and_one_that_revoked_us_are_told_apart() {
    let (ours, url, _delivered) = Site::start().await;
    let (_theirs, elsewhere, _) = Site::start().await;
    let (data, address) = enrolled(&ours, &url).await;
    *ours.0.refusal.lock().unwrap() = Some("the certificate was revoked: stolen");
    let tasks = TaskTracker::new();
    let reason = down(deliver(data.path(), &address, orin(), &tasks)).await;
    assert!(reason.contains("revoked: stolen"), "{reason}");
    let elsewhere = Address::in_force(Some(&elsewhere.to_string()), data.path());
    let elsewhere = elsewhere.unwrap().unwrap();
    let reason = down(deliver(data.path(), &elsewhere, orin(), &tasks)).await;
    assert!(reason.contains("another authority"), "{reason}");
    // Nobody is there, which is no trouble with certificates.
    let nobody = Address::in_force(Some("https://127.0.0.1:9"), data.path());
    let reason = down(deliver(
        data.path(),
        &nobody.unwrap().unwrap(),
        orin(),
        &tasks,
    ))
    .await;
    assert!(reason.contains("cannot reach"), "{reason}");
}

#[tokio::test]
async fn a_certificate_is_renewed_when_two_thirds_are_over_with_a_new_key_and_outside_of_windows() {
    let (site, url, _delivered) = Site::start().await;
    site.set_terms(Terms {
        age: 21 * DAY,
        life: 30 * DAY,
        name: None,
    });
    let (data, address) = enrolled(&site, &url).await;
    let before = load(data.path());
    site.set_terms(FRESH);
    let (quiet, hurry) = (QuietGate::default(), Arc::<Notify>::default());
    let window = quiet.close(Duration::ZERO).await;
    let renewal = Renewal::of(&address, &quiet, &hurry).unwrap();
    let mut running = pin!(renewal.run(CancellationToken::new()));
    assert!(running.as_mut().now_or_never().is_none());
    assert_eq!(site.asked(), ["orin-1"], "renewed inside a measured window");
    drop(window);
    tokio::select! {
        () = running.as_mut() => panic!("it ended"),
        () = hurry.notified() => {}
    }
    assert_eq!(site.asked(), ["orin-1", "renewal"]);
    let after = load(data.path());
    assert_ne!(after.facts().key_sha256, before.facts().key_sha256);
    assert!(after.facts().not_after > before.facts().not_after);
    assert_eq!(after.facts().subject, before.facts().subject);
    assert_eq!(after.collector(), before.collector());
}

#[tokio::test]
async fn a_certificate_whose_time_has_not_come_is_left_alone() {
    let (site, url, _delivered) = Site::start().await;
    site.set_terms(Terms {
        age: 19 * DAY,
        life: 30 * DAY,
        name: None,
    });
    let (_data, address) = enrolled(&site, &url).await;
    let renewal = Renewal::of(&address, &QuietGate::default(), &Arc::default()).unwrap();
    let stop = CancellationToken::new();
    let mut running = pin!(renewal.run(stop.clone()));
    assert!(running.as_mut().now_or_never().is_none());
    stop.cancel();
    running.await;
    assert_eq!(site.asked(), ["orin-1"]);
}

#[tokio::test]
async fn a_renewal_for_another_name_leaves_the_present_identity() {
    let (site, url, _delivered) = Site::start().await;
    site.set_terms(Terms {
        age: 21 * DAY,
        life: 30 * DAY,
        name: None,
    });
    let (data, address) = enrolled(&site, &url).await;
    let before = load(data.path());
    site.set_terms(Terms {
        name: Some("orin-2"),
        ..FRESH
    });
    let renewal = Renewal::of(&address, &QuietGate::default(), &Arc::default()).unwrap();
    let refused = renewal.renew_if_due().await;
    assert!(matches!(refused, Err(EnrolError::Answer(_))), "{refused:?}");
    assert_eq!(site.asked(), ["orin-1", "renewal"]);
    assert_eq!(load(data.path()).facts(), before.facts());
}
