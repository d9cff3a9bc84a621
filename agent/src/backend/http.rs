//! The network's side of a backend: HTTP/1.1 to one server, with stamps taken at the socket.
//!
//! Why not a client off the shelf: they read ahead in a task of their own, so that a piece of an answer cannot be told
//! from the read that brought it, they follow redirects, ask for compression, and open connections inside the time that
//! is measured. This one reads only when somebody waits for a piece ([`connection`]), and stamps a request as sent on a
//! connection that is open already, with its body complete, before the first byte goes out.
//!
//! A request is an [`Exchange`]: [`Client::post`] or [`Client::get`] make one, [`Exchange::next`] tells its moments in
//! order. Dropping it closes its connection, which tells the server that nobody waits. [`Exchange::answer`] is the
//! whole answer at once, bounded in bytes and time, for everything that is not measured.
//!
//! A server may close an idle connection at any moment, also while the next request is under way to it. A connection
//! that was used before and ends before a byte of the answer came was closed, not answered: the request is sent
//! again, once, on a new connection, [`Moment::Sent`] comes again, and connections are not kept any longer. Nothing else
//! is ever retried here.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT,
    },
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokwatt_domain::time::Stamp;

use crate::clock::Clock;

/// Where a server is.
mod base_url;
/// One connection.
mod connection;
/// What goes wrong.
mod error;
/// The secret that it wants to be shown.
mod key;
/// Whose certificates are believed.
mod trust;

pub use base_url::{BaseUrl, InvalidBaseUrl};
pub use error::HttpError;
pub use key::{ApiKey, KeyError};
pub use trust::TrustError;

use connection::Connection;

/// Which server, and how to be let in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub url: BaseUrl,
    /// What it wants to be shown; shown to nobody else.
    pub key: Option<ApiKey>,
    /// Certificates of the authority that is believed; absent for the system's.
    pub ca_file: Option<PathBuf>,
}

/// Asks one server. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    server: Arc<Server>,
}

struct Server {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    clock: Arc<dyn Clock>,
    /// Open, with nothing under way; the latest used last.
    idle: Mutex<Vec<Connection>>,
    /// Whether the server keeps connections open, or says so when it does not.
    may_keep: AtomicBool,
}

/// One request on its way.
pub struct Exchange {
    client: Client,
    request: Outgoing,
    step: Step,
}

/// What is to be sent, to be sent once more if need be.
struct Outgoing {
    method: Method,
    path: String,
    body: Bytes,
}

enum Step {
    /// Nothing is open yet.
    Asked,
    /// Stamped as sent; its bytes go out when the next moment is asked for.
    Sending(Connection),
    /// The head came.
    Reading(Connection, Incoming),
    /// Nothing comes any more.
    Over,
}

/// Something that happened to a request.
#[derive(Debug)]
pub enum Moment {
    /// Its body is complete and a connection open; the next thing is its first byte on the way out.
    Sent(Stamp),
    /// The answer begins.
    Head(Head),
    /// A piece of the answer's body, not empty, and when it came off the socket.
    Piece(Stamp, Bytes),
}

/// How an answer begins.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its status; never a redirect.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it began.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// When its last bytes came off the socket.
    pub at: Stamp,
}

impl Client {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The server is to be spoken to under TLS, and there is no authority to believe.
    pub fn new(endpoint: Endpoint, clock: Arc<dyn Clock>) -> Result<Self, TrustError> {
        let ca_file = endpoint.ca_file.as_deref();
        let tls = match endpoint.url.is_tls() {
            true => Some(trust::connector(ca_file)?),
            false => None,
        };
        if endpoint.key.is_some() && tls.is_none() && !endpoint.url.is_loopback() {
            tracing::warn!(url = %endpoint.url, "the API key travels in plain text; use https");
        }
        Ok(Self {
            server: Arc::new(Server {
                endpoint,
                tls,
                clock,
                idle: Mutex::default(),
                may_keep: AtomicBool::new(true),
            }),
        })
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Exchange {
        self.exchange(Method::GET, path, Bytes::new())
    }

    /// Sends JSON.
    pub fn post(&self, path: &str, json: impl Into<Bytes>) -> Exchange {
        self.exchange(Method::POST, path, json.into())
    }

    /// Opens connections before they are needed, until so many are idle.
    ///
    /// # Errors
    /// One cannot be opened.
    pub async fn open_ahead(&self, n_connections: usize) -> Result<(), HttpError> {
        while self.server.idle().len() < n_connections {
            let connection = self.server.open().await?;
            self.server.idle().push(connection);
        }
        Ok(())
    }

    /// Who is asked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.server.endpoint
    }

    /// A server's words, without the key.
    pub fn redact(&self, words: &str) -> String {
        let key = self.endpoint().key.as_ref();
        key.map_or_else(|| words.to_owned(), |key| key.redact(words))
    }

    fn exchange(&self, method: Method, path: &str, body: Bytes) -> Exchange {
        let path = path.to_owned();
        Exchange {
            client: self.clone(),
            request: Outgoing { method, path, body },
            step: Step::Asked,
        }
    }
}

impl Exchange {
    /// The next moment; nothing after the last.
    pub async fn next(&mut self) -> Option<Result<Moment, HttpError>> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Asked => Some(self.connect(false).await),
            Step::Sending(connection) => Some(self.send(connection).await),
            Step::Reading(connection, body) => self.read(connection, body).await,
            Step::Over => None,
        }
    }

    /// The whole answer, at most so many bytes of it in at most so much time; a refusal is an answer, too.
    ///
    /// # Errors
    /// There is none, or a longer one.
    pub async fn answer(self, bytes_max: usize, time_max: Duration) -> Result<Answer, HttpError> {
        let url = self.client.endpoint().url.clone();
        let collected = timeout(time_max, self.collect(bytes_max)).await;
        collected.unwrap_or(Err(HttpError::Late { url, time_max }))
    }

    /// What is left of an answer that says why there is none: cut, never an error, without the key.
    pub async fn refusal(mut self) -> String {
        let mut words = Vec::new();
        let reading = async {
            while let Some(Ok(moment)) = self.next().await {
                if let Moment::Piece(_, bytes) = moment {
                    words.extend(bytes);
                }
                if words.len() > REFUSAL_BYTES_MAX {
                    break;
                }
            }
        };
        // What came until then is what it said.
        let _in_time = timeout(REFUSAL_TIME, reading).await;
        words.truncate(REFUSAL_BYTES_MAX);
        self.client.redact(&String::from_utf8_lossy(&words))
    }

    async fn collect(mut self, bytes_max: usize) -> Result<Answer, HttpError> {
        let (mut head, mut body) = (None, Vec::new());
        let mut latest = self.client.server.clock.now();
        while let Some(moment) = self.next().await {
            match moment? {
                Moment::Sent(_) => {}
                Moment::Head(begun) => head = Some(begun),
                Moment::Piece(at, bytes) => {
                    latest = at;
                    body.extend(bytes);
                }
            }
            if body.len() > bytes_max {
                let url = self.client.endpoint().url.clone();
                return Err(HttpError::TooLong { url, bytes_max });
            }
        }
        Ok(Answer {
            head: head.expect("an exchange without an error has a head"),
            body: body.into(),
            at: latest,
        })
    }

    async fn connect(&mut self, anew: bool) -> Result<Moment, HttpError> {
        let server = &self.client.server;
        let connection = match anew {
            true => server.open().await?,
            false => server.connection().await?,
        };
        self.step = Step::Sending(connection);
        Ok(Moment::Sent(server.clock.now()))
    }

    async fn send(&mut self, mut connection: Connection) -> Result<Moment, HttpError> {
        let request = self.request.under(&self.client.server.endpoint)?;
        let sent = connection.latest_read();
        match connection.send(request).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let head = Head {
                    status: parts.status,
                    headers: parts.headers,
                };
                self.check(&head)?;
                self.step = Step::Reading(connection, body);
                Ok(Moment::Head(head))
            }
            // Nothing came: it was closed before it was asked.
            Err(error) if connection.is_used && connection.latest_read() == sent => {
                tracing::debug!(%error, "the server closes connections without saying so");
                self.client.server.may_keep.store(false, Ordering::Relaxed);
                self.client.server.idle().clear();
                self.connect(true).await.map_err(HttpError::after_death)
            }
            Err(error) => Err(HttpError::speaking(&self.client.endpoint().url, error)),
        }
    }

    async fn read(
        &mut self,
        mut connection: Connection,
        mut body: Incoming,
    ) -> Option<Result<Moment, HttpError>> {
        loop {
            match connection.piece(&mut body).await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    let at = connection.latest_read();
                    self.step = Step::Reading(connection, body);
                    return Some(Ok(Moment::Piece(at, bytes)));
                }
                Some(Err(error)) => {
                    let url = &self.client.endpoint().url;
                    return Some(Err(HttpError::speaking(url, error)));
                }
                None => {
                    self.client.server.keep(connection);
                    return None;
                }
            }
        }
    }

    /// What no answer to us may be.
    fn check(&self, head: &Head) -> Result<(), HttpError> {
        let url = self.client.endpoint().url.clone();
        let text = |name| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        if head.status.is_redirection() {
            return Err(HttpError::Redirect {
                url,
                status: head.status,
                location: self.client.redact(&text(LOCATION)),
            });
        }
        match text(CONTENT_ENCODING) {
            encoding if encoding.is_empty() || encoding == "identity" => Ok(()),
            encoding => Err(HttpError::Encoded { url, encoding }),
        }
    }
}

impl Server {
    /// An idle connection that is still open, else a new one.
    async fn connection(&self) -> Result<Connection, HttpError> {
        loop {
            let Some(mut connection) = self.idle().pop() else {
                return self.open().await;
            };
            let idle = self.clock.now().since(connection.idle_since);
            if idle < IDLE_TIME && connection.is_ready().await {
                return Ok(connection);
            }
        }
    }

    async fn open(&self) -> Result<Connection, HttpError> {
        let url = &self.endpoint.url;
        let mut connection = Connection::open(url, self.tls.as_ref(), &self.clock).await?;
        match connection.is_ready().await {
            true => Ok(connection),
            false => Err(HttpError::closed_at_once(url)),
        }
    }

    fn keep(&self, mut connection: Connection) {
        connection.is_used = true;
        connection.idle_since = self.clock.now();
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX && self.may_keep.load(Ordering::Relaxed) {
            idle.push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    fn under(&self, endpoint: &Endpoint) -> Result<Request<Full<Bytes>>, HttpError> {
        let invalid = |error: hyper::http::Error| HttpError::Unsendable {
            url: endpoint.url.clone(),
            path: self.path.clone(),
            source: error,
        };
        let target = endpoint.url.target(&self.path);
        let target = target.map_err(|error| invalid(error.into()))?;
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(target.as_str())
            .header(HOST, endpoint.url.authority())
            .header(USER_AGENT, AGENT);
        if self.method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &endpoint.key {
            request = request.header(AUTHORIZATION, key.header());
        }
        request.body(Full::new(self.body.clone())).map_err(invalid)
    }
}

const AGENT: &str = concat!("tokwatt-agent/", env!("CARGO_PKG_VERSION"));

/// On a network where a connection takes longer, nothing can be measured.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Servers close what is idle for some seconds (uvicorn and cpp-httplib after 5, gunicorn after 2): be gone before.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// As many as there can be requests in flight.
const IDLE_MAX: usize = 1024;

/// A refusal is some words; a longer one is a page for a browser.
const REFUSAL_BYTES_MAX: usize = 4096;
const REFUSAL_TIME: Duration = Duration::from_secs(5);
