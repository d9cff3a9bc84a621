//! A connection whose other end is known.

use std::{
    any::Any,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::ending::Ending;
use crate::peer::Peer;

/// Bytes both ways, whatever carries them, and who is there.
pub(super) struct Connection {
    io: Pin<Box<dyn Carrier>>,
    caller: Caller,
    /// Resolves some time after it must end, when its calls have said why.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_closed: bool,
    /// What it takes up, free again when it closes.
    _held: Box<dyn Any + Send>,
}

/// Who is there, and what ends the connection, if anything but the two ends can; among the extensions of every call.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) ending: Option<Ending>,
}

/// What carries bytes: a TCP stream, TLS over one, a Unix socket.
trait Carrier: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Carrier for T {}

impl Connection {
    /// One that only its two ends end. `held` is free again when it closes.
    pub(super) fn new(
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: Peer,
        held: impl Send + 'static,
    ) -> Self {
        Self {
            io: Box::pin(io),
            caller: Caller { peer, ending: None },
            closing: Box::pin(std::future::pending()),
            is_closed: false,
            _held: Box::new(held),
        }
    }

    /// And this may end it, too: its calls say why, then it closes; at once if it lost its place.
    pub(super) fn until(mut self, ending: Ending) -> Self {
        self.caller.ending = Some(ending.clone());
        self.closing = Box::pin(async move {
            ending.told().await;
            // Either way it is time.
            drop(tokio::time::timeout(LAST_WORDS, ending.displaced()).await);
        });
        self
    }

    fn is_ending(&self) -> bool {
        let ending = self.caller.ending.as_ref();
        ending.is_some_and(|ending| ending.status().is_some())
    }

    /// Carries bytes, until it must close: also where the other end does not read and so keeps everything else waiting.
    fn carry<T>(
        &mut self,
        context: &mut Context<'_>,
        carry: impl FnOnce(Pin<&mut dyn Carrier>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_ending() && self.poll_closing(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let carried = carry(self.io.as_mut(), context);
        if carried.is_ready() {
            return carried;
        }
        ready!(self.poll_closing(context));
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_closed {
            ready!(self.closing.as_mut().poll(context));
            self.is_closed = true;
        }
        Poll::Ready(())
    }
}

/// Every call of the connection has it among its extensions.
impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.carry(context, |io, context| io.poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.carry(context, |io, context| io.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carry(context, |io, context| io.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.carry(context, |io, context| io.poll_shutdown(context))
    }
}

/// For the calls of a connection that ends to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        time::Instant,
    };
    use tonic::Status;

    use super::*;

    fn connection() -> (Connection, DuplexStream, Ending) {
        let (here, there) = tokio::io::duplex(4);
        let ending = Ending::default();
        let connection = Connection::new(here, Peer::Anyone, ()).until(ending.clone());
        (connection, there, ending)
    }

    #[tokio::test(start_paused = true)]
    async fn who_must_go_has_last_words_and_who_lost_a_place_has_none() {
        for (is_displaced, want) in [(false, LAST_WORDS), (true, Duration::ZERO)] {
            let (mut connection, _there, ending) = connection();
            let begin = Instant::now();
            ending.end(Status::unavailable("revoked"));
            if is_displaced {
                ending.displace(Status::unavailable("crowded"));
            }
            let error = connection.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(begin.elapsed(), want);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_does_not_read_holds_nothing_open() {
        let (mut connection, _there, ending) = connection();
        let writing = connection.write_all(&[0; 8]);
        let ended = async { ending.displace(Status::unavailable("crowded")) };
        let (written, ()) = tokio::join!(writing, ended);
        let error = written.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
