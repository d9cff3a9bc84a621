//! Where strangers knock: each listener, and what becomes of a connection before anybody hears it out.
//!
//! A connection that shows no certificate costs a socket and a task, and only for a few seconds; when there are too many of them, the
//! oldest goes first.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_proto::identity::CertificateFacts;
use tonic::Status;

use super::{
    connection::Connection,
    ending::Ending,
    reception::Reception,
    seats::{Seat, Seats},
    tls::Tls,
};
use crate::{
    peer::Peer,
    vitals::{NotLetIn, Vitals},
};

/// What is asked of whoever comes in here.
pub(super) enum Door {
    /// Nothing: only this machine can.
    Open,
    /// A certificate.
    Certificate(Tls, Arc<Reception>),
    /// That they enrol, soon.
    Enrolment(Tls),
}

/// A door and what lies behind it.
pub(super) struct Doorway {
    pub(super) door: Door,
    pub(super) vitals: Arc<Vitals>,
    pub(super) connections: mpsc::Sender<Connection>,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
    pub(super) room: Arc<Semaphore>,
    pub(super) handshakes: Arc<Seats<()>>,
    pub(super) strangers: Arc<Seats<()>>,
    /// Sockets of strangers that are still open, with or without a seat.
    pub(super) open_strangers: Arc<Semaphore>,
}

/// Why somebody does not come in, and how they hear of it.
struct Refused {
    reason: NotLetIn,
    why: String,
    /// What was said last on it should still arrive.
    on: Option<TcpStream>,
}

impl Doorway {
    pub(super) fn new(
        door: Door,
        vitals: Arc<Vitals>,
        connections: mpsc::Sender<Connection>,
        tasks: TaskTracker,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            door,
            vitals,
            connections,
            tasks,
            stopping,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            handshakes: Seats::new(HANDSHAKES_MAX, |(), ()| true),
            strangers: Seats::new(STRANGERS_MAX, |(), ()| true),
            open_strangers: Arc::new(Semaphore::new(2 * STRANGERS_MAX)),
        })
    }

    /// Takes connections until the collector stops.
    pub(super) async fn open(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let seat = self.handshakes.take(());
                    let doorway = Arc::clone(&self);
                    self.tasks.spawn(doorway.answer(stream, from, seat));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of descriptors, most likely: others must close first.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, stream: TcpStream, from: SocketAddr, seat: Seat<()>) {
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(HANDSHAKE, self.greet(stream, from)) => {
                outcome.unwrap_or_else(|_| Err(too_slow()))
            }
            () = seat.ending().told() => Err(crowded_out()),
            () = self.stopping.cancelled() => return,
        };
        match outcome {
            Ok(connection) => {
                drop(seat);
                // If nobody takes it, the collector is stopping.
                drop(self.connections.send(connection).await);
            }
            Err(refused) => {
                let Refused { reason, why, on } = refused;
                self.vitals.strangers.refused(reason, &from, &why);
                if let Some(stream) = on {
                    tokio::select! {
                        () = let_go(stream) => {}
                        () = seat.ending().told() => {}
                        () = self.stopping.cancelled() => {}
                    }
                }
            }
        }
    }

    async fn greet(&self, stream: TcpStream, from: SocketAddr) -> Result<Connection, Refused> {
        // Answers are small and waited for.
        stream.set_nodelay(true).map_err(failed)?;
        match &self.door {
            Door::Open => {
                let room = self.room()?;
                Ok(Connection::new(stream, Peer::Anyone, room))
            }
            Door::Certificate(tls, reception) => {
                if first_byte(&stream).await? != TLS_HANDSHAKE {
                    return self.plain_text(stream, from);
                }
                let stream = handshake(stream, tls).await?;
                let room = self.room()?;
                let (peer, seat) = reception.receive(facts(&stream)?).await;
                let ending = seat.ending().clone();
                Ok(Connection::new(stream, peer, (room, seat)).until(ending))
            }
            Door::Enrolment(tls) => {
                if first_byte(&stream).await? != TLS_HANDSHAKE {
                    return self.plain_text(stream, from);
                }
                let stream = handshake(stream, tls).await?;
                let (connection, ending) = self.stranger(stream, from)?;
                self.end_in_time(ending);
                Ok(connection)
            }
        }
    }

    /// Whoever speaks plain text where TLS is spoken hears so on every call, for as long as it takes to say.
    fn plain_text(&self, stream: TcpStream, from: SocketAddr) -> Result<Connection, Refused> {
        let (connection, ending) = self.stranger(stream, from)?;
        let reason = NotLetIn::HandshakeFailed;
        self.vitals.strangers.refused(reason, &from, &NOT_PLAIN);
        ending.end(Status::failed_precondition(NOT_PLAIN));
        Ok(connection)
    }

    fn stranger(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        from: SocketAddr,
    ) -> Result<(Connection, Ending), Refused> {
        let seat = self.strangers.take(());
        // The seats that were taken away just now are about to close.
        let open = one_more(&self.open_strangers, 2 * STRANGERS_MAX)?;
        let ending = seat.ending().clone();
        let connection = Connection::new(stream, Peer::Stranger { from }, (seat, open));
        Ok((connection.until(ending.clone()), ending))
    }

    fn room(&self) -> Result<OwnedSemaphorePermit, Refused> {
        one_more(&self.room, CONNECTIONS_MAX)
    }

    fn end_in_time(&self, ending: Ending) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(ENROLMENT) => {
                    ending.end(Status::deadline_exceeded("enrolling takes less time than this"));
                }
                () = ending.told() => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

impl Refused {
    fn new(reason: NotLetIn, why: impl Into<String>) -> Self {
        Self {
            reason,
            why: why.into(),
            on: None,
        }
    }

    fn on(self, stream: TcpStream) -> Self {
        Self {
            on: Some(stream),
            ..self
        }
    }
}

fn one_more(room: &Arc<Semaphore>, max: usize) -> Result<OwnedSemaphorePermit, Refused> {
    let room = Arc::clone(room).try_acquire_owned();
    room.map_err(|_| {
        let why = format!("{max} connections are open");
        Refused::new(NotLetIn::TooManyConnections, why)
    })
}

/// What comes first, left where it is.
async fn first_byte(stream: &TcpStream) -> Result<u8, Refused> {
    let mut first = [0];
    match stream.peek(&mut first).await.map_err(failed)? {
        0 => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(first[0]),
    }
}

async fn handshake(stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, Refused> {
    let config = tls.config().map_err(|error| {
        tracing::error!(%error, "cannot make a certificate for the server");
        Refused::new(NotLetIn::HandshakeFailed, error.to_string())
    })?;
    let accepting = TlsAcceptor::from(config).accept(stream).into_fallible();
    let accepted = accepting.await;
    accepted.map_err(|(error, stream)| failed(error).on(stream))
}

/// Closes so that what was said last is heard: what is closed unread is reset, and the answer may be lost with it.
async fn let_go(mut stream: TcpStream) {
    let closing = async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..UNREAD_MAX / rest.len() {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // They were refused either way.
    drop(tokio::time::timeout(LINGER, closing).await);
}

fn facts(stream: &TlsStream<TcpStream>) -> Result<CertificateFacts, Refused> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let own = chain.first().map_or(&[][..], CertificateDer::as_ref);
    CertificateFacts::read(own)
        .map_err(|error| Refused::new(NotLetIn::HandshakeFailed, error.to_string()))
}

fn failed(error: io::Error) -> Refused {
    Refused::new(NotLetIn::HandshakeFailed, error.to_string())
}

fn too_slow() -> Refused {
    let why = format!("no handshake within {} s", HANDSHAKE.as_secs());
    Refused::new(NotLetIn::HandshakeTimeout, why)
}

fn crowded_out() -> Refused {
    let why = format!("{HANDSHAKES_MAX} others came before its handshake was over");
    Refused::new(NotLetIn::TooManyHandshakes, why)
}

/// A device on a slow link needs one or two; who takes longer is not trying.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// At 2,500 strangers a second a handshake may still take 100 ms.
const HANDSHAKES_MAX: usize = 256;

/// Two for each of 2,000 devices, and some.
const CONNECTIONS_MAX: usize = 4096;

/// People type tokens one at a time.
const STRANGERS_MAX: usize = 64;

/// One call over a slow link.
const ENROLMENT: Duration = Duration::from_secs(60);

pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// First byte of a TLS record that opens a connection.
const TLS_HANDSHAKE: u8 = 0x16;

const NOT_PLAIN: &str =
    "this collector has an identity and speaks TLS only: enrol, then use https://";

/// For an answer to arrive on a slow link.
const LINGER: Duration = Duration::from_secs(1);

/// More than anybody sends before they look for an answer.
const UNREAD_MAX: usize = 64 * 1024;
