//! All of the collector behind one address: built first, run later.

mod connection;
mod services;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_proto::{
    delivery::MESSAGE_BYTES_MAX,
    v1::{ingest_server::IngestServer, query_server::QueryServer},
};
use tonic::transport::Server;

use self::{connection::Connection, services::Services};
use crate::{
    clock::SystemClock,
    dispatch::Dispatch,
    ingest::Ingest,
    peer::Peer,
    query::Query,
    rollup::Rollup,
    settings::{Http, Settings},
    store::{Store, StoreError, database_in},
    vitals::Vitals,
    web::{Pages, Web, WebError},
};

/// A collector that has its address and its database, and serves once it is run.
pub struct Collector {
    /// Where it can be reached; the real port where 0 was asked for.
    pub addr: SocketAddr,
    /// Where health and figures can be asked for, if anywhere.
    pub http: Option<SocketAddr>,
    listener: TcpListener,
    web: Option<Web>,
    store: Arc<Store>,
    vitals: Arc<Vitals>,
}

/// Why the collector could not.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen on {addr}: {}", hint(.source))]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
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

impl Collector {
    /// Takes address and database; serves nobody yet.
    ///
    /// # Errors
    /// The address is taken or not ours, the database cannot be used.
    pub async fn bind(settings: &Settings) -> Result<Self, ServeError> {
        let listen = |source| ServeError::Listen {
            addr: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let web = match settings.http {
            Http::Off => None,
            Http::At(addr) => Some(Web::bind(addr).await?),
        };
        let vitals = Arc::new(Vitals::new(&database_in(&settings.data)));
        let store = Arc::new(Store::open_counted(&settings.data, &vitals)?);
        Ok(Self {
            addr: listener.local_addr().map_err(listen)?,
            http: web.as_ref().map(|web| web.addr),
            listener,
            web,
            store,
            vitals,
        })
    }

    /// Serves until `shutdown`, then ends every stream, lets what is being committed be committed, and stops, at the latest after
    /// [`DRAIN`].
    ///
    /// # Errors
    /// The database or the transport failed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let finished = Arc::new(Notify::new());
        let rollup = Rollup::new(
            Arc::clone(&self.store),
            Arc::clone(&finished),
            Arc::clone(&self.vitals),
        );
        let query = Query::new(Arc::clone(&self.store), rollup.progress());
        tasks.spawn(rollup.run(stopping.clone()));
        let dispatch = Dispatch::new(
            Arc::clone(&self.store),
            Arc::new(SystemClock),
            Arc::clone(&finished),
            tasks.clone(),
            stopping.clone(),
        );
        tasks.spawn(Arc::clone(&dispatch).keep());
        let ingest = Ingest {
            store: Arc::clone(&self.store),
            finished,
            tasks: tasks.clone(),
            stopping: stopping.clone(),
            vitals: Arc::clone(&self.vitals),
        };
        let watchers = Watchers::new(&stopping, &self.store, &self.vitals, self.web);
        let incoming = TcpListenerStream::new(self.listener)
            .map(|stream| stream.map(|stream| Connection::new(stream, Peer::Anyone)));
        let serving = transport().serve_with_incoming_shutdown(
            services(ingest, query, &dispatch),
            incoming,
            stopping.clone().cancelled_owned(),
        );
        tokio::pin!(serving);
        let outcome = tokio::select! {
            served = &mut serving => served.map_err(ServeError::from),
            reason = self.store.failed() => Err(ServeError::Broken(reason)),
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
}

/// Who asks over HTTP is answered until the very end, and so hears that the collector is stopping.
struct Watchers {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Watchers {
    fn new(
        stopping: &CancellationToken,
        store: &Arc<Store>,
        vitals: &Arc<Vitals>,
        web: Option<Web>,
    ) -> Self {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        if let Some(web) = web {
            let pages = Arc::new(Pages {
                store: Arc::clone(store),
                vitals: Arc::clone(vitals),
                stopping: stopping.clone(),
            });
            tasks.spawn(web.run(pages, tasks.clone(), closing.clone()));
        }
        Self { tasks, closing }
    }

    async fn close(self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn services(ingest: Ingest, query: Query, dispatch: &Arc<Dispatch>) -> Services {
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
        .with(dispatch.control())
        .with(dispatch.campaigns())
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

const QUESTION_BYTES_MAX: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
