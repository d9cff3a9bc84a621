//! The collector over HTTP: health and figures for whoever watches it, and pages for people with a browser.
//!
//! Anything on this machine may connect, so that everything is bounded in size and time, and a request whose `Host` is not this address
//! is refused: a page in a browser cannot be made to ask by a name that leads here. A connection lives for as long as one question
//! takes, unless somebody who was let in asks by it. The pages are a service that does not care who carries it: on the address
//! for devices and people elsewhere it is reached by certificate.

mod admittance;
mod assets;
mod boards;
mod campaigns;
mod compare;
mod device;
mod document;
mod door;
mod download;
mod fleet;
mod history;
mod live;
mod names;
mod opening;
mod page;
mod patience;
mod power;
mod probes;
mod problem;
mod recommend;
mod report;
mod run;
mod runs;
mod sessions;
mod site;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use self::patience::Patience;

pub use self::{live::Followers, opening::Opening, probes::Probes, sessions::Sessions, site::Site};

/// An address that is taken; nobody is answered yet.
#[derive(Debug)]
pub struct Web {
    /// Where it can be reached; the real port where 0 was asked for.
    pub addr: SocketAddr,
    listener: TcpListener,
}

/// What is behind the address.
#[derive(Debug)]
pub struct Front {
    /// For whoever watches the collector.
    pub probes: Probes,
    /// For people; see [`Site::pages`].
    pub pages: Router,
}

/// Why the address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} for pages, health and metrics: {}", hint(.source))]
pub struct WebError {
    addr: SocketAddr,
    source: io::Error,
}

impl WebError {
    /// Whether the address may be had later.
    pub fn may_pass(&self) -> bool {
        self.source.kind() != io::ErrorKind::PermissionDenied
    }
}

impl Web {
    /// Takes the address.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub async fn bind(addr: SocketAddr) -> Result<Self, WebError> {
        let failed = |source| WebError { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        Ok(Self {
            addr: listener.local_addr().map_err(failed)?,
            listener,
        })
    }

    /// Answers until `closing`.
    pub async fn run(self, front: Front, tasks: TaskTracker, closing: CancellationToken) {
        let front = Arc::new(front);
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // Who finds no seat waits in the kernel's queue.
            let seat = Arc::clone(&seats).acquire_owned();
            let next = async { (seat.await, self.listener.accept().await) };
            let (seat, accepted) = tokio::select! {
                next = next => next,
                () = closing.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection over HTTP");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let answer = answer(stream, self.addr, Arc::clone(&front));
            let closing = closing.clone();
            let task = async move {
                tokio::select! {
                    () = answer => {}
                    () = closing.cancelled() => {}
                }
                drop(seat);
            };
            tasks.spawn(task.instrument(tracing::debug_span!("web")));
        }
    }
}

/// One request and its answer; of somebody who was let in, one after the other.
async fn answer(stream: TcpStream, addr: SocketAddr, front: Arc<Front>) {
    let (patience, over) = Patience::new(CONNECTION_TIME);
    let service = service_fn(move |mut request| {
        request.extensions_mut().insert(patience.clone());
        let front = Arc::clone(&front);
        async move { Ok::<_, std::convert::Infallible>(door::answer(request, addr, &front).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        outcome = connection => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a question over HTTP was not answered");
            }
        }
        () = over => tracing::debug!("a connection over HTTP took too long"),
    }
}

/// Whether only this machine reaches it.
pub fn is_of_this_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
    }
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use, perhaps by another collector: choose another with --http (port 0: any), or --http off".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whoever watches asks every few seconds, and is answered at once; a browser has six: more are neither.
const CONNECTIONS_MAX: usize = 64;

/// For the head of a request, and for all of it with its answer. A readiness question waits for the database meanwhile. The first is also
/// how long a connection stays open between two requests.
const HEADER_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// hyper reads no more than this ahead, and a head must fit into it.
const BUFFER_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// After an error that may stay, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::Instant,
    };

    use super::*;
    use crate::{
        store::{Store, database_in},
        vitals::Vitals,
    };

    /// How long a connection that sends `request` and no more is kept.
    async fn kept_for(request: &str) -> Duration {
        let folder = tempfile::tempdir().unwrap();
        let front = Front {
            probes: Probes {
                store: Arc::new(Store::open(folder.path()).unwrap()),
                vitals: Arc::new(Vitals::new(&database_in(folder.path()))),
                stopping: CancellationToken::new(),
            },
            pages: Router::new(),
        };
        let web = Web::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let mut stranger = TcpStream::connect(web.addr).await.unwrap();
        let request = request.replace("ADDR", &web.addr.to_string());
        stranger.write_all(request.as_bytes()).await.unwrap();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(web.run(front, tasks.clone(), closing.clone()));
        let began = Instant::now();
        drop(stranger.read_to_end(&mut Vec::new()).await);
        let kept = began.elapsed();
        closing.cancel();
        tasks.close();
        tasks.wait().await;
        kept
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_half_a_question_is_not_waited_for() {
        for request in ["", "GET /healthz HTTP/1.1\r\nHost: x"] {
            let kept = kept_for(request).await;
            assert!(kept <= HEADER_TIME + PAUSE, "{request:?}: {kept:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_let_in_has_one_answer_and_no_more() {
        for path in ["/healthz", "/nowhere"] {
            let kept = kept_for(&format!("GET {path} HTTP/1.1\r\nHost: ADDR\r\n\r\n")).await;
            assert!(kept < HEADER_TIME, "{path}: {kept:?}");
        }
    }
}
