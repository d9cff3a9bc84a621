//! One connection to the server, and when its bytes came.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    client::conn::http1::{Builder, Connection as Driver, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokwatt_domain::time::Stamp;

use super::{BaseUrl, HttpError};
use crate::clock::Clock;

/// An open connection.
///
/// Its [`Driver`] moves bytes only while it is polled, and it is polled only together with who waits for the answer, in
/// one task, and never while a piece of the body that it has taken off the socket is not yet fetched. So the latest
/// read is the one that brought the piece which is fetched next; in a task of its own the driver could have read on.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver<TokioIo<Box<dyn Socket>>, Full<Bytes>>,
    has_ended: bool,
    latest_read: Arc<AtomicU64>,
    /// Whether it has carried an answer before.
    pub(super) is_used: bool,
    /// Since when nothing has been under way on it.
    pub(super) idle_since: Stamp,
}

/// Bytes in and out, under TLS or not.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A TCP connection that notes when bytes came off it.
struct Stamping {
    socket: TcpStream,
    clock: Arc<dyn Clock>,
    latest_read: Arc<AtomicU64>,
}

impl Connection {
    /// Connects, with TLS if the URL has it.
    pub(super) async fn open(
        url: &BaseUrl,
        tls: Option<&TlsConnector>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, HttpError> {
        let opening = Self::open_in_any_time(url, tls, clock);
        match timeout(super::CONNECT_TIME, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(HttpError::Unreachable {
                url: url.clone(),
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    async fn open_in_any_time(
        url: &BaseUrl,
        tls: Option<&TlsConnector>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, HttpError> {
        let socket = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(|source| HttpError::connecting(url, source))?;
        let undelayed = socket.set_nodelay(true);
        undelayed.map_err(|source| HttpError::connecting(url, source))?;
        let latest_read = Arc::new(AtomicU64::new(clock.now().0));
        let socket = Stamping {
            socket,
            clock: clock.clone(),
            latest_read: latest_read.clone(),
        };
        let socket: Box<dyn Socket> = match tls {
            None => Box::new(socket),
            Some(tls) => {
                let name = ServerName::try_from(url.host().to_owned())
                    .map_err(|error| HttpError::securing(url, io::Error::other(error)))?;
                let secured = tls.connect(name, socket).await;
                Box::new(secured.map_err(|source| HttpError::securing(url, source))?)
            }
        };
        let (sender, driver) = Builder::new()
            .max_header_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|source| HttpError::speaking(url, source))?;
        Ok(Self {
            sender,
            driver,
            has_ended: false,
            latest_read,
            is_used: false,
            idle_since: clock.now(),
        })
    }

    /// Whether a request can be sent: the server has not closed it meanwhile.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            if self.has_ended {
                return Poll::Ready(false);
            }
            self.sender
                .poll_ready(context)
                .map(|readiness| readiness.is_ok())
        })
        .await
    }

    /// Sends, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut answer = pin!(self.sender.send_request(request));
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            drive(&mut self.driver, &mut self.has_ended, context);
            answer.as_mut().poll(context)
        })
        .await
    }

    /// The next piece of a body; nothing after the last.
    pub(super) async fn piece(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                    return Poll::Ready(frame);
                }
                self.drive(context);
                Pin::new(&mut *body).poll_frame(context)
            });
            // Trailers tell us nothing.
            match frame.await?.map(|frame| frame.into_data()) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// When the latest bytes came off the socket.
    pub(super) fn latest_read(&self) -> Stamp {
        Stamp(self.latest_read.load(Ordering::Relaxed))
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, &mut self.has_ended, context);
    }
}

/// What goes wrong here is told to whom it concerns: as the error of the answer or of its body.
fn drive<S>(driver: &mut Driver<S, Full<Bytes>>, has_ended: &mut bool, context: &mut Context<'_>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    if !*has_ended {
        *has_ended = Pin::new(driver).poll(context).is_ready();
    }
}

impl AsyncRead for Stamping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            let now = self.clock.now();
            self.latest_read.store(now.0, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stamping {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Servers' heads have a few hundred bytes; proxies add cookies and tracing.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;

/// Most that is read ahead of what has been fetched.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
