//! A collector with an identity, a clock that is turned by hand, and whoever enrols there.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::UnixStream, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use tokwatt_collector::{
    clock::Clock,
    enrol::Identity,
    server::{Collector, ServeError},
    settings::{Http, Settings},
    vitals::Vitals,
};
use tokwatt_domain::{ids::DeviceId, ids::Epoch, time::WallTime};
use tokwatt_proto::{
    delivery::Hello,
    identity::{Credentials, PrivateKey, Role, Site, Token, tls},
    v1::{
        self, admin_client::AdminClient, enrol_client::EnrolClient, ingest_client::IngestClient,
        renew_client::RenewClient,
    },
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::agent::Agent;

/// A site of its own.
pub(crate) struct Lab {
    pub(crate) addr: SocketAddr,
    pub(crate) enrol_addr: SocketAddr,
    /// Where pages are.
    pub(crate) http: SocketAddr,
    pub(crate) data: TempDir,
    pub(crate) vitals: Arc<Vitals>,
    clock: Arc<Hands>,
    runtime: Runtime,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), ServeError>>,
}

/// A clock that stands until it is turned.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn wall(&self) -> WallTime {
        WallTime(self.0.load(Ordering::SeqCst))
    }
}

impl Lab {
    pub(crate) fn start() -> Self {
        let data = TempDir::new().unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(BEGINNING_US)));
        let site = Site::parse("lab").unwrap();
        let addresses = vec!["localhost".to_owned()];
        Identity::create(&data.path().join("identity"), site, addresses, clock.wall()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            listen: any,
            enrol_listen: any,
            http: Http::At(any),
            data: data.path().to_owned(),
            ..Settings::default()
        };
        let runtime = Runtime::new().unwrap();
        let bound = Collector::bind_by(&settings, Arc::clone(&clock) as Arc<dyn Clock>);
        let collector = runtime.block_on(bound).unwrap();
        let stop = CancellationToken::new();
        Self {
            addr: collector.addr,
            enrol_addr: collector.enrol_addr.unwrap(),
            http: collector.http.unwrap(),
            data,
            vitals: collector.vitals(),
            clock,
            ended: runtime
                .handle()
                .spawn(collector.run(stop.clone().cancelled_owned())),
            runtime,
            stop,
        }
    }

    /// Ends it as it ends at SIGTERM.
    pub(crate) fn stop(self) {
        drop(self.stop_and_keep());
    }

    /// And leaves what it stored.
    pub(crate) fn stop_and_keep(self) -> TempDir {
        self.stop.cancel();
        self.runtime.block_on(self.ended).unwrap().unwrap();
        self.runtime.shutdown_timeout(Duration::from_secs(20));
        self.data
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.data.path().join("collector.sock")
    }

    pub(crate) fn now(&self) -> WallTime {
        self.clock.wall()
    }

    pub(crate) fn turn_by(&self, length: Duration) {
        let micros = i64::try_from(length.as_micros()).unwrap();
        self.clock.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// The operator who sits at the server.
    pub(crate) async fn operator(&self) -> AdminClient<Channel> {
        AdminClient::new(local(&self.socket()).await)
    }

    /// A token; `None` is for any name.
    pub(crate) async fn token(&self, role: Role, name: Option<&str>, replace: bool) -> Token {
        let request = v1::CreateTokenRequest {
            role: v1::Role::from(role).into(),
            name: name.unwrap_or_default().to_owned(),
            replace,
        };
        let token = self.operator().await.create_token(request).await.unwrap();
        token.into_inner().token.parse().unwrap()
    }

    /// With a new key.
    pub(crate) async fn enrol(&self, token: &Token, name: &str) -> Result<Credentials, Status> {
        let key = PrivateKey::generate().unwrap();
        let request = key.certificate_request().unwrap();
        let issued = self.hand_in(token, name, request).await?;
        Ok(self.credentials(key, issued))
    }

    pub(crate) async fn hand_in(
        &self,
        token: &Token,
        name: &str,
        certificate_request: Vec<u8>,
    ) -> Result<v1::Issued, Status> {
        let config = tls::enrolment(token.authority_sha256, self.now());
        let channel = tls::channel(&endpoint(self.enrol_addr), config)
            .await
            .unwrap();
        let request = v1::EnrolRequest {
            token: token.id.clone(),
            secret: token.secret.clone(),
            name: name.to_owned(),
            certificate_request,
            version: "0.1.0".to_owned(),
        };
        let issued = EnrolClient::new(channel).enrol(request).await?;
        Ok(issued.into_inner())
    }

    /// Somebody new, with a token of their own.
    pub(crate) async fn member(&self, role: Role, name: &str) -> Credentials {
        let token = self.token(role, Some(name), false).await;
        self.enrol(&token, name).await.unwrap()
    }

    /// The next certificate, with a new key.
    pub(crate) async fn renew(&self, credentials: &Credentials) -> Result<Credentials, Status> {
        let key = PrivateKey::generate().unwrap();
        let request = v1::RenewRequest {
            certificate_request: key.certificate_request().unwrap(),
        };
        let channel = self.channel(credentials).await;
        let issued = RenewClient::new(channel).renew(request).await?;
        Ok(self.credentials(key, issued.into_inner()))
    }

    /// A connection to the collector's main address.
    pub(crate) async fn channel(&self, credentials: &Credentials) -> Channel {
        self.try_channel(credentials).await.unwrap()
    }

    pub(crate) async fn try_channel(
        &self,
        credentials: &Credentials,
    ) -> Result<Channel, tonic::transport::Error> {
        let config = tls::client(credentials, self.now()).unwrap();
        tls::channel(&endpoint(self.addr), config).await
    }

    /// A delivery that is open, as `device`.
    pub(crate) async fn deliver(
        &self,
        credentials: &Credentials,
        device: &str,
    ) -> Result<(Agent, v1::Ack), Status> {
        let hello = Hello {
            device: DeviceId::parse(device).unwrap(),
            epoch: Epoch(1),
            agent_version: "0.1.0".to_owned(),
        };
        let client = IngestClient::new(self.channel(credentials).await);
        Agent::over(client, hello.into()).await
    }

    pub(crate) async fn revoke(&self, role: Role, name: &str, reason: &str) -> Result<u32, Status> {
        let request = v1::RevokeRequest {
            role: v1::Role::from(role).into(),
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        let revoked = self.operator().await.revoke(request).await?;
        Ok(revoked.into_inner().certificates)
    }

    fn credentials(&self, key: PrivateKey, issued: v1::Issued) -> Credentials {
        assert_eq!(issued.port, u32::from(self.addr.port()));
        let collector = format!("https://{}", self.addr);
        Credentials::new(key, issued.chain, &collector, WallTime(issued.now_us)).unwrap()
    }
}

/// Over a Unix socket.
pub(crate) async fn local(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://local");
    endpoint.connect_with_connector(connect).await.unwrap()
}

pub(crate) fn endpoint(addr: SocketAddr) -> Endpoint {
    let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap();
    endpoint.connect_timeout(PATIENCE)
}

/// In the autumn of 2026.
const BEGINNING_US: i64 = 1_795_000_000_000_000;

/// For what happens at once, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
