//! The connection to the collector: delivers the spool, in order, until everything is acknowledged.
//!
//! ```text
//! Down --retry--> connect --Hello--> Ack(watermark, credits) --batches--> Ack … --error--> Down
//! ```
//!
//! Never gives up: a collector that is away for days gets everything when it is back. What it has acknowledged is
//! deleted from the spool, nothing else ever is.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::ids::{DeviceId, Seq};
use tokwatt_proto::{
    delivery::{BATCH_BYTES_MAX, CREDITS, Hello, MESSAGE_BYTES_MAX},
    v1,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    runner::QuietGate,
    spool::{Spool, SpoolError},
};

pub use address::{Address, InvalidAddress};

mod address;
mod backoff;

/// Delivers a spool to a collector.
pub struct Uplink {
    /// Where to.
    pub address: Address,
    /// Whose records these are.
    pub device: DeviceId,
    /// What to deliver.
    pub spool: Arc<Spool>,
    /// Closed while something is being measured.
    pub quiet: QuietGate,
    /// Rung when the spool has grown.
    pub grown: Arc<Notify>,
    /// Where the connection stands, for whoever wants to show it.
    pub state: watch::Sender<LinkState>,
}

/// Where the connection stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkState {
    /// No connection yet.
    Connecting,
    /// The collector has everything up to here.
    Delivered {
        /// The collector's watermark.
        through: Seq,
    },
    /// Tried and failed; will try again.
    Down {
        /// Why.
        reason: String,
    },
}

/// A connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot reach the collector")]
    Unreachable(#[source] tonic::transport::Error),
    #[error("the collector refused: {}", .0.message())]
    Refused(#[source] Box<tonic::Status>),
    #[error("the collector closed the stream")]
    Closed,
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Uplink {
    /// Runs until `stop`; what is on its way then is acknowledged or sent again next time.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = backoff::Backoff::new();
        let mut last_reason = String::new();
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => return,
                error = self.deliver(&mut backoff) => error,
            };
            let reason = chain(&error);
            // Said once: a collector that is away for a night is one line, not a thousand.
            if reason != last_reason {
                tracing::warn!(collector = %self.address, reason, "delivery interrupted, will be tried again");
                last_reason.clone_from(&reason);
            }
            self.state.send_replace(LinkState::Down { reason });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// One connection, from Hello to the error that ends it.
    async fn deliver(&self, backoff: &mut backoff::Backoff) -> LinkError {
        match self.deliver_or_fail(backoff).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn deliver_or_fail(
        &self,
        backoff: &mut backoff::Backoff,
    ) -> Result<std::convert::Infallible, LinkError> {
        let mut client = v1::ingest_client::IngestClient::new(self.connect().await?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (uploads, queue) = mpsc::channel(CREDITS as usize);
        send(&uploads, self.hello()).await?;
        let mut acks = client
            .deliver(ReceiverStream::new(queue))
            .await
            .map_err(refused)?
            .into_inner();
        let mut credits = 0;
        let mut sent = Seq(0);
        loop {
            let is_idle =
                credits == 0 || !self.send_next(&uploads, &mut sent, &mut credits).await?;
            tokio::select! {
                ack = acks.next() => {
                    let ack = ack.ok_or(LinkError::Closed)?.map_err(refused)?;
                    sent = sent.max(Seq(ack.through));
                    credits = ack.credits;
                    self.acknowledged(Seq(ack.through)).await?;
                    backoff.reset();
                }
                () = self.grown.notified(), if is_idle && credits > 0 => {}
                () = std::future::ready(()), if !is_idle => {}
            }
        }
    }

    async fn connect(&self) -> Result<Channel, LinkError> {
        Endpoint::from(self.address.clone())
            .connect_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(LinkError::Unreachable)
    }

    fn hello(&self) -> v1::upload::Kind {
        let hello = Hello {
            device: self.device.clone(),
            epoch: self.spool.epoch(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        v1::upload::Kind::Hello(hello.into())
    }

    /// Sends one batch of what lies after `sent`; false if there is nothing.
    async fn send_next(
        &self,
        uploads: &mpsc::Sender<v1::Upload>,
        sent: &mut Seq,
        credits: &mut u32,
    ) -> Result<bool, LinkError> {
        let _passage = self.quiet.pass().await;
        let spool = self.spool.clone();
        let after = *sent;
        let batch = off_thread(move || spool.after(after, BATCH_BYTES_MAX)).await?;
        let Some(last) = batch.last() else {
            return Ok(false);
        };
        *sent = last.seq;
        *credits -= 1;
        let epoch = self.spool.epoch().0;
        let records = batch
            .into_iter()
            .map(|spooled| v1::Envelope {
                epoch,
                seq: spooled.seq.0,
                record: spooled.bytes,
            })
            .collect();
        send(uploads, v1::upload::Kind::Batch(v1::Batch { records })).await?;
        Ok(true)
    }

    async fn acknowledged(&self, through: Seq) -> Result<(), LinkError> {
        let _passage = self.quiet.pass().await;
        let spool = self.spool.clone();
        off_thread(move || spool.acknowledge(through)).await?;
        self.state.send_replace(LinkState::Delivered { through });
        Ok(())
    }
}

async fn send(uploads: &mpsc::Sender<v1::Upload>, kind: v1::upload::Kind) -> Result<(), LinkError> {
    uploads
        .send(v1::Upload { kind: Some(kind) })
        .await
        .map_err(|_| LinkError::Closed)
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .expect("the spool does not panic")
}

fn refused(status: tonic::Status) -> LinkError {
    LinkError::Refused(Box::new(status))
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
