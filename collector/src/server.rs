//! All of the collector behind its addresses: built first, run later.
//!
//! Without an identity there is one address, in plain text, of this machine. With one there is mutual TLS, and an address to enrol at. In
//! both cases there is a Unix socket for whoever is on the server.

mod connection;
mod door;
mod ending;
mod local;
mod reception;
mod seats;
mod services;
mod tls;

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc},
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_proto::{
    delivery::MESSAGE_BYTES_MAX,
    v1::{
        admin_server::AdminServer, enrol_server::EnrolServer, exchange_server::ExchangeServer,
        ingest_server::IngestServer, query_server::QueryServer, renew_server::RenewServer,
        reports_server::ReportsServer,
    },
};
use tonic::transport::Server;

use self::{
    connection::Connection,
    door::{Door, Doorway},
    local::LocalDoor,
    reception::Reception,
    services::Services,
    tls::{AsksFor, Tls},
};
use crate::{
    clock::{Clock, SystemClock},
    dispatch::Dispatch,
    enrol::{Admin, Enrolment, Identity, IdentityError, Renewal},
    exchange::{Exchange, Exporter, Importer, ResultsImporter},
    ingest::Ingest,
    peer::Peer,
    query::Query,
    report::{Drawing, Reports},
    retention,
    rollup::Rollup,
    settings::{Http, Settings, SettingsError},
    store::{Store, StoreError, database_in},
    vitals::Vitals,
    web::{Followers, Front, Opening, Probes, Sessions, Site, Web, WebError},
};

/// A collector that has its addresses and its database, and serves once it is run.
pub struct Collector {
    /// Where it can be reached; the real port where 0 was asked for.
    pub addr: SocketAddr,
    /// Where one enrols, if it has an identity.
    pub enrol_addr: Option<SocketAddr>,
    /// Where health, figures and pages can be asked for, if anywhere.
    pub http: Option<SocketAddr>,
    listener: TcpListener,
    enrolment: Option<(Arc<Identity>, TcpListener)>,
    local: Option<LocalDoor>,
    web: Option<Web>,
    shared: Shared,
}

/// What the parts of a running collector share.
struct Shared {
    data: PathBuf,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    vitals: Arc<Vitals>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// A run is finished.
    finished: Arc<Notify>,
    /// Certificates are not good any more.
    revoked: Arc<Notify>,
    raw_samples_days: u32,
}

/// Why the collector could not.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings are not for here.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address cannot be had.
    #[error("cannot listen on {addr}: {}", hint(.source))]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The identity cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Whoever is enrolled goes by one that is not here.
    #[error(
        "devices or people are enrolled here, and the identity that they go by is missing: restore it to `{}` from a backup; `tokwatt-collector init` makes another one, by which everybody enrols again",
        .0.display()
    )]
    IdentityMissing(PathBuf),
    /// There are no random bytes for sessions.
    #[error("cannot make secrets for browsers: {0}")]
    Secrets(getrandom::Error),
    /// The address for health and figures cannot be had.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database failed in a way that only a restart can mend.
    #[error(
        "the database failed: {0}; start the collector again, it recovers what was acknowledged"
    )]
    Broken(String),
    /// The transport failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
}

impl ServeError {
    /// Whether another start may succeed with the same settings and the same database.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Identity(_) | Self::IdentityMissing(_) => false,
            Self::Listen { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::Web(error) => error.may_pass(),
            Self::Store(error) => error.may_pass(),
            Self::Broken(_) | Self::Secrets(_) | Self::Transport(_) => true,
        }
    }
}

impl Collector {
    /// Takes addresses and database; serves nobody yet.
    ///
    /// # Errors
    /// An address is taken or not ours, or would be reached by others without an identity; identity or database cannot be used.
    pub async fn bind(settings: &Settings) -> Result<Self, ServeError> {
        Self::bind_by(settings, Arc::new(SystemClock)).await
    }

    /// The same, with certificates and tokens dated by another clock.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub async fn bind_by(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        settings.check()?;
        let identity = Identity::open(&settings.identity())?;
        let (listener, addr) = listen(settings.listen).await?;
        let mut enrol_addr = None;
        let mut enrolment = None;
        if let Some(identity) = identity {
            let (listener, addr) = listen(settings.enrol_listen).await?;
            enrol_addr = Some(addr);
            enrolment = Some((Arc::new(identity), listener));
        }
        let web = match settings.http {
            Http::Off => None,
            Http::At(addr) => Some(Web::bind(addr).await?),
        };
        let vitals = Arc::new(Vitals::new(&database_in(&settings.data)));
        let store = Arc::new(Store::open_counted(&settings.data, &vitals)?);
        if enrolment.is_none() && store.has_certificates().await? {
            return Err(ServeError::IdentityMissing(settings.identity()));
        }
        Ok(Self {
            addr,
            enrol_addr,
            http: web.as_ref().map(|web| web.addr),
            listener,
            enrolment,
            local: local(settings),
            web,
            shared: Shared::new(settings, store, clock, vitals),
        })
    }

    /// What it counts of itself.
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.shared.vitals)
    }

    /// Serves until `shutdown`, then ends every stream, lets what is being committed be committed, and stops, at the latest after
    /// [`DRAIN`].
    ///
    /// # Errors
    /// The database or the transport failed.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let shared = &self.shared;
        let (tasks, stopping) = (shared.tasks.clone(), shared.stopping.clone());
        let store = Arc::clone(&shared.store);
        let rollup = Rollup::new(
            Arc::clone(&store),
            Arc::clone(&shared.finished),
            Arc::clone(&shared.vitals),
        );
        let query = Query::new(Arc::clone(&store), rollup.progress());
        tasks.spawn(rollup.run(stopping.clone()));
        if shared.raw_samples_days > 0 {
            let (store, days) = (Arc::clone(&store), shared.raw_samples_days);
            tasks.spawn(retention::run(store, days, stopping.clone()));
        }
        let site = shared.site(&query, self.http)?;
        let watchers = Watchers::new(shared, &site, self.web.take());
        let serving = self.serve(query, &site)?;
        tokio::pin!(serving);
        let outcome = tokio::select! {
            served = &mut serving => served.map_err(ServeError::from),
            reason = store.failed() => Err(ServeError::Broken(reason)),
            () = shutdown => Ok(()),
        };
        stopping.cancel();
        tasks.close();
        let drained = async { tokio::join!(tasks.wait(), serving) };
        if outcome.is_ok() && tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!(after = ?DRAIN, "stopped with connections still open");
        }
        watchers.close().await;
        outcome
    }

    /// Opens every door, each to what lies behind it.
    fn serve(
        self,
        query: Query,
        site: &Arc<Site>,
    ) -> Result<impl Future<Output = Result<(), tonic::transport::Error>>, ServeError> {
        let shared = self.shared;
        let (connections, incoming) = mpsc::channel(INCOMING_MAX);
        if let Some(local) = self.local {
            let open = local.open(connections.clone(), shared.stopping.clone());
            shared.tasks.spawn(open);
        }
        let identity = self.enrolment.as_ref();
        let identity = identity.map(|(identity, _)| Arc::clone(identity));
        let mut services = shared.services(query, site, identity, self.enrol_addr);
        let mut enrolling = None;
        let mut door = Door::Open;
        if let Some((identity, listener)) = self.enrolment {
            let tls =
                |asks_for| Tls::new(Arc::clone(&identity), Arc::clone(&shared.clock), asks_for);
            door = Door::Certificate(tls(AsksFor::Certificate)?, shared.reception());
            services = services
                .with(shared.renewal(&identity, self.addr))
                .with_pages(site.pages());
            let (connections, incoming) = mpsc::channel(INCOMING_MAX);
            shared.open(
                Door::Enrolment(tls(AsksFor::Nothing)?),
                listener,
                connections,
            );
            let enrolment = Services::default().with(shared.enrolment(&identity, self.addr));
            enrolling = Some(shared.behind(incoming, enrolment));
        }
        shared.open(door, self.listener, connections);
        let serving = shared.behind(incoming, services);
        Ok(async {
            match enrolling {
                Some(enrolling) => tokio::try_join!(serving, enrolling).map(drop),
                None => serving.await,
            }
        })
    }
}

/// Who asks over HTTP is answered until the very end, and so hears that the collector is stopping.
struct Watchers {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Watchers {
    fn new(shared: &Shared, site: &Arc<Site>, web: Option<Web>) -> Self {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        if let Some(web) = web {
            let front = Front {
                probes: Probes {
                    store: Arc::clone(&shared.store),
                    vitals: Arc::clone(&shared.vitals),
                    stopping: shared.stopping.clone(),
                },
                pages: site.pages(),
            };
            tasks.spawn(web.run(front, tasks.clone(), closing.clone()));
        }
        Self { tasks, closing }
    }

    async fn close(self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Shared {
    fn new(
        settings: &Settings,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        vitals: Arc<Vitals>,
    ) -> Self {
        Self {
            data: settings.data.clone(),
            store,
            clock,
            vitals,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            finished: Arc::default(),
            revoked: Arc::default(),
            raw_samples_days: settings.retention.raw_samples_days,
        }
    }

    fn open(&self, door: Door, listener: TcpListener, connections: mpsc::Sender<Connection>) {
        let doorway = Doorway::new(
            door,
            Arc::clone(&self.vitals),
            connections,
            self.tasks.clone(),
            self.stopping.clone(),
        );
        self.tasks.spawn(doorway.open(listener));
    }

    fn behind(
        &self,
        incoming: mpsc::Receiver<Connection>,
        services: Services,
    ) -> impl Future<Output = Result<(), tonic::transport::Error>> + use<> {
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
        let stopped = self.stopping.clone().cancelled_owned();
        transport().serve_with_incoming_shutdown(services, incoming, stopped)
    }

    fn reception(&self) -> Arc<Reception> {
        let reception = Reception::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            Arc::clone(&self.vitals),
            self.tasks.clone(),
        );
        let watch = Arc::clone(&reception).watch(Arc::clone(&self.revoked), self.stopping.clone());
        self.tasks.spawn(watch);
        reception
    }

    fn site(&self, query: &Query, http: Option<SocketAddr>) -> Result<Arc<Site>, ServeError> {
        Ok(Arc::new(Site {
            query: query.impatient(),
            dispatch: self.dispatch(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            sessions: Arc::new(Sessions::new().map_err(ServeError::Secrets)?),
            http,
            stopping: self.stopping.clone(),
            followers: Followers::default(),
            drawing: Drawing::default(),
            folder: self.data.clone(),
        }))
    }

    /// What everybody who comes to the main address may call, each as far as they may.
    fn services(
        &self,
        query: Query,
        site: &Site,
        identity: Option<Arc<Identity>>,
        enrol_addr: Option<SocketAddr>,
    ) -> Services {
        let ingest = Ingest {
            store: Arc::clone(&self.store),
            finished: Arc::clone(&self.finished),
            tasks: self.tasks.clone(),
            stopping: self.stopping.clone(),
            vitals: Arc::clone(&self.vitals),
        };
        let importer = identity.as_ref().map(|identity| {
            Arc::new(Importer {
                store: Arc::clone(&self.store),
                identity: Arc::clone(identity),
                clock: Arc::clone(&self.clock),
                finished: Arc::clone(&self.finished),
                vitals: Arc::clone(&self.vitals),
            })
        });
        let reports = Reports {
            query: query.clone(),
            drawing: site.drawing.clone(),
        };
        let exchange = Exchange {
            importer,
            results: ResultsImporter {
                store: Arc::clone(&self.store),
                clock: Arc::clone(&self.clock),
                finished: Arc::clone(&self.finished),
            },
            exporter: Arc::new(Exporter {
                query: query.clone(),
                store: Arc::clone(&self.store),
                folder: self.data.clone(),
            }),
            folder: self.data.clone(),
        };
        let admin = Admin {
            store: Arc::clone(&self.store),
            identity,
            clock: Arc::clone(&self.clock),
            revoked: Arc::clone(&self.revoked),
            enrol_port: enrol_addr.map_or(0, |addr| addr.port()),
        };
        Services::default()
            .with(
                IngestServer::new(ingest)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
            )
            .with(
                QueryServer::new(query)
                    .max_decoding_message_size(QUESTION_BYTES_MAX)
                    .max_encoding_message_size(ANSWER_BYTES_MAX),
            )
            .with(
                AdminServer::new(admin)
                    .max_decoding_message_size(QUESTION_BYTES_MAX)
                    .max_encoding_message_size(ANSWER_BYTES_MAX),
            )
            .with(ExchangeServer::new(exchange).max_decoding_message_size(PART_BYTES_MAX))
            .with(ReportsServer::new(reports).max_decoding_message_size(QUESTION_BYTES_MAX))
            .with(site.dispatch.control())
            .with(site.dispatch.campaigns())
            .with(
                Opening::service(Arc::clone(&site.sessions), site.http)
                    .max_decoding_message_size(QUESTION_BYTES_MAX),
            )
    }

    fn dispatch(&self) -> Arc<Dispatch> {
        let dispatch = Dispatch::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            Arc::clone(&self.finished),
            self.tasks.clone(),
            self.stopping.clone(),
        );
        self.tasks.spawn(Arc::clone(&dispatch).keep());
        dispatch
    }

    fn renewal(&self, identity: &Arc<Identity>, addr: SocketAddr) -> RenewServer<Renewal> {
        let renewal = Renewal {
            store: Arc::clone(&self.store),
            identity: Arc::clone(identity),
            clock: Arc::clone(&self.clock),
            port: addr.port(),
        };
        RenewServer::new(renewal).max_decoding_message_size(QUESTION_BYTES_MAX)
    }

    fn enrolment(&self, identity: &Arc<Identity>, addr: SocketAddr) -> EnrolServer<Enrolment> {
        let enrolment = Enrolment {
            store: Arc::clone(&self.store),
            identity: Arc::clone(identity),
            clock: Arc::clone(&self.clock),
            revoked: Arc::clone(&self.revoked),
            vitals: Arc::clone(&self.vitals),
            port: addr.port(),
            turns: Semaphore::new(ENROLMENTS_MAX),
        };
        EnrolServer::new(enrolment).max_decoding_message_size(QUESTION_BYTES_MAX)
    }
}

/// Gives work to whoever comes by connections that are there already, as over plain text, until no more come: for a network that a
/// simulation makes.
///
/// # Errors
/// The transport failed.
pub async fn dispatch_to<C>(
    connections: impl Stream<Item = C>,
    dispatch: Arc<Dispatch>,
) -> Result<(), tonic::transport::Error>
where
    C: AsyncRead + AsyncWrite + Send + 'static,
{
    let services = Services::default()
        .with(dispatch.control())
        .with(dispatch.campaigns());
    let incoming = connections.map(|io| Ok::<_, io::Error>(Connection::new(io, Peer::Anyone, ())));
    transport().serve_with_incoming(services, incoming).await
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Without it the collector is reached by its address only.
fn local(settings: &Settings) -> Option<LocalDoor> {
    let path = settings.socket();
    let bound = LocalDoor::bind(&path);
    bound
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no Unix socket for this machine"))
        .ok()
}

fn transport() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(4 * STREAM_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

fn hint(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "the port is in use, perhaps by another collector: stop it, or choose another with --listen (port 0: any)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// How long stopping may take, with everything. What is not acknowledged by then comes again.
pub const STOP: Duration = Duration::from_secs(10);

/// The part of it in which streams end and what is being committed is committed; the rest is for closing the database.
pub const DRAIN: Duration = Duration::from_secs(9);

/// Of each stream: full speed on a local network, and a thousand agents in a quarter of a gigabyte.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// Streams of one connection: a delivery, an attendance or a few questions.
const STREAMS_MAX: u32 = 8;

/// A connection whose other end vanished is noticed after both of these.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Enrolments that are looked at at the same time.
const ENROLMENTS_MAX: usize = 4;

/// Connections that wait for a moment between their door and what lies behind it.
const INCOMING_MAX: usize = 16;

const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Of a file that is imported.
const PART_BYTES_MAX: usize = 1024 * 1024 + 1024;
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
