//! The connection to the collector's Control: opened again and again, with what it hears in the order in which it came.

use std::{pin::Pin, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokwatt_proto::{control::CONTROL_BYTES_MAX, identity::Trouble, v1};
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    runner::QuietGate,
    uplink::{Backoff, chain, trouble},
};

/// How a channel to the collector is made: over TCP, TLS or a simulated network.
pub type Connect = dyn Fn() -> BoxFuture<'static, Result<Channel, Unreachable>> + Send + Sync;

/// Why there is no channel.
pub type Unreachable = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is there, is being made, or will be tried again.
pub(super) struct Link {
    state: State,
    backoff: Backoff,
    last_reason: String,
}

enum State {
    Waiting(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Open, LinkError>>),
    Up(Box<Open>),
}

/// An open connection.
pub(super) struct Open {
    reports: mpsc::Sender<v1::Report>,
    orders: Streaming<v1::Order>,
}

/// What there is to know.
pub(super) enum Heard {
    Up,
    Order(v1::Order),
    Down,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("cannot reach the collector")]
    Unreachable(#[source] Unreachable),
    #[error("the collector ended the connection: {}", .0.message())]
    Refused(Box<Status>),
    #[error("{0}")]
    Trouble(Trouble),
    #[error("the collector did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("the collector closed the connection")]
    Closed,
}

impl Link {
    /// One that is tried at once.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            state: State::Waiting(Box::pin(sleep(Duration::ZERO))),
            backoff,
            last_reason: String::new(),
        }
    }

    /// The next thing there is to know. May be dropped and called again: nothing is missed.
    pub(super) async fn next(
        &mut self,
        open: impl Fn() -> BoxFuture<'static, Result<Open, LinkError>>,
    ) -> Heard {
        loop {
            let failed = match &mut self.state {
                State::Waiting(wait) => {
                    wait.as_mut().await;
                    self.state = State::Opening(open());
                    continue;
                }
                State::Opening(opening) => match opening.as_mut().await {
                    Ok(open) => {
                        self.state = State::Up(Box::new(open));
                        return Heard::Up;
                    }
                    Err(error) => error,
                },
                State::Up(open) => match open.orders.message().await {
                    Ok(Some(order)) => {
                        self.backoff.reset();
                        self.last_reason.clear();
                        return Heard::Order(order);
                    }
                    Ok(None) => LinkError::Closed,
                    Err(status) => refused(status),
                },
            };
            self.fail(&failed);
            return Heard::Down;
        }
    }

    /// Where to put what is said; nowhere without a connection.
    pub(super) fn reports(&self) -> Option<mpsc::Sender<v1::Report>> {
        match &self.state {
            State::Up(open) => Some(open.reports.clone()),
            _ => None,
        }
    }

    /// Whether it will soon be known that somebody hears, or that nobody does.
    pub(super) fn is_there_or_coming(&self) -> bool {
        !matches!(self.state, State::Waiting(_))
    }

    fn fail(&mut self, error: &LinkError) {
        let reason = chain(error);
        // Said once: a collector that is away for a night is one line, not a thousand.
        if reason != self.last_reason {
            tracing::warn!(reason, "not attending, will be tried again");
            self.last_reason = reason;
        }
        self.state = State::Waiting(Box::pin(sleep(self.backoff.next_wait())));
    }
}

impl Open {
    /// Connects and says who is there; all of it outside of measured windows, the look at what can be asked for included.
    pub(super) async fn new(
        channel: BoxFuture<'static, Result<Channel, Unreachable>>,
        quiet: QuietGate,
        attendance: impl FnOnce() -> v1::Attendance,
    ) -> Result<Self, LinkError> {
        let _passage = quiet.pass().await;
        let channel = timeout(PATIENCE, channel).await;
        let channel = channel
            .map_err(|_| LinkError::Silent)?
            .map_err(LinkError::Unreachable)?;
        let mut client = v1::control_client::ControlClient::new(channel)
            .max_decoding_message_size(CONTROL_BYTES_MAX)
            .max_encoding_message_size(CONTROL_BYTES_MAX);
        let (reports, queue) = mpsc::channel(REPORTS_MOST);
        let first = v1::Report {
            kind: Some(v1::report::Kind::Attendance(attendance())),
        };
        reports.send(first).await.map_err(|_| LinkError::Closed)?;
        let orders = timeout(PATIENCE, client.attend(ReceiverStream::new(queue))).await;
        let orders = orders.map_err(|_| LinkError::Silent)?.map_err(refused)?;
        Ok(Self {
            reports,
            orders: orders.into_inner(),
        })
    }
}

/// A collector that refuses a certificate says so when the handshake is over.
fn refused(status: Status) -> LinkError {
    match trouble(&status) {
        Some(trouble) => LinkError::Trouble(trouble),
        None => LinkError::Refused(Box::new(status)),
    }
}

/// How long connecting may take, and then the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Words are small and few; more than these wait for nothing but a network that is stuck.
const REPORTS_MOST: usize = 16;
