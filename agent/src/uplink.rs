//! The connection to the collector: delivers the spool, in order, until everything is acknowledged.
//!
//! ```text
//! Down --retry--> Hello --Ack(watermark, credits)--> Idle --grown--> Burst --Acks--> Idle … any error --> Down
//! ```
//!
//! A burst is as many batches as the latest acknowledgement has credits for, and ends when all of them are acknowledged: so
//! nothing is under way when the quiet gate closes behind it, and the collector never has more to hold than it offered.
//!
//! Never gives up: a collector that is away for days gets everything when it is back. What it has acknowledged is
//! deleted from the spool, nothing else ever is. One that comes back with less than it acknowledged, from a backup, gets what is
//! still here in a new life of the spool.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::ids::{DeviceId, Seq};
use tokwatt_proto::{
    delivery::{Ack, BATCH_BYTES_MAX, CREDITS, Hello, MESSAGE_BYTES_MAX},
    v1,
};
use tonic::{Status, Streaming};

use crate::{
    blocking::off_thread,
    runner::QuietGate,
    spool::{Spool, SpoolError, Spooled},
};

pub use address::{Address, InvalidAddress, Url, identity_folder};
pub use backoff::Backoff;
pub use connection::{Unreachable, connect, patient};

mod address;
mod backoff;
mod connection;

pub(crate) use connection::{trouble, unreachable};

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
    /// Rung when it is worth trying again at once.
    pub hurry: Arc<Notify>,
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
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the collector refused: {}", .0.message())]
    Refused(Box<Status>),
    #[error(
        "this data folder is enrolled as device `{certified}`, and this machine is `{device}`, as if the disk had been copied: give the machine an identity of its own with `tokwatt-agent enrol --again`"
    )]
    OtherDevice { certified: String, device: DeviceId },
    #[error("the collector closed the stream")]
    Closed,
    #[error("the collector does not acknowledge, and a run is to begin")]
    Silent,
    #[error(
        "the collector acknowledged record {} of epoch {}, which the spool has not given out; was the spool restored from an older copy?",
        .0.through.0, .0.epoch.0
    )]
    Ahead(Ack),
    #[error(
        "the collector has everything up to record {} and had acknowledged record {}, as if it had been restored from an older backup: it has lost {n_lost} records for good, what is still here is delivered in a new life of the spool",
        .through.0, .acknowledged.0
    )]
    Behind {
        through: Seq,
        acknowledged: Seq,
        n_lost: u64,
    },
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// An open connection with nothing under way.
struct Link {
    uploads: mpsc::Sender<v1::Upload>,
    acks: Streaming<v1::Ack>,
    /// The collector has everything up to here.
    through: Seq,
    /// Batches that may be sent before the next acknowledgement.
    credits: u32,
}

impl Uplink {
    /// Runs until `stop`; what is on its way then is acknowledged or sent again next time.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new();
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
                () = self.hurry.notified() => {}
            }
        }
    }

    /// One connection, from Hello to the error that ends it.
    async fn deliver(&self, backoff: &mut Backoff) -> LinkError {
        match self.deliver_or_fail(backoff).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn deliver_or_fail(
        &self,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, LinkError> {
        let mut link = self.open().await?;
        loop {
            let has_sent = self.burst(&mut link).await?;
            backoff.reset();
            if !has_sent {
                self.wait_for_more(&mut link).await?;
            }
        }
    }

    /// Connects, says hello, and hears what the collector has.
    async fn open(&self) -> Result<Link, LinkError> {
        self.check_name()?;
        let _passage = self.quiet.pass().await;
        // Asked before hello, since another process may deliver, too.
        let spool = self.spool.clone();
        let acknowledged = off_thread(move || spool.go_on()).await?;
        let mut client = v1::ingest_client::IngestClient::new(connect(&self.address).await?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (uploads, queue) = mpsc::channel(CREDITS as usize);
        send(&uploads, self.hello()).await?;
        let answer = self.patiently(client.deliver(ReceiverStream::new(queue)));
        let mut link = Link {
            uploads,
            acks: answer.await?.map_err(refused)?.into_inner(),
            through: Seq(0),
            credits: 0,
        };
        let ack = self.patiently(link.acks.next()).await?;
        let ack = read(ack)?;
        if ack.epoch == self.spool.epoch() && ack.through < acknowledged {
            return Err(self.begin_again(ack.through, acknowledged).await?);
        }
        self.take(&mut link, ack).await?;
        Ok(link)
    }

    /// For a collector that would refuse every number that follows, since it misses those before.
    async fn begin_again(&self, through: Seq, acknowledged: Seq) -> Result<LinkError, SpoolError> {
        let spool = self.spool.clone();
        let n_lost = off_thread(move || spool.begin_again(through)).await?;
        Ok(LinkError::Behind {
            through,
            acknowledged,
            n_lost,
        })
    }

    /// Sends what waits, as far as the credits go, and stays until it is acknowledged; false if nothing waits.
    async fn burst(&self, link: &mut Link) -> Result<bool, LinkError> {
        let _passage = self.quiet.pass().await;
        let before = link.through;
        let mut sent = before;
        for _ in 0..link.credits.min(CREDITS) {
            let spool = self.spool.clone();
            let batch = off_thread(move || spool.after(sent, BATCH_BYTES_MAX)).await?;
            let Some(last) = batch.last() else { break };
            sent = last.seq;
            send(&link.uploads, self.batch(batch)).await?;
        }
        while link.through < sent {
            self.hear(link).await?;
        }
        Ok(sent > before)
    }

    /// Waits until the spool may have grown: by this process, which rings, or by another one, which cannot.
    async fn wait_for_more(&self, link: &mut Link) -> Result<(), LinkError> {
        tokio::select! {
            () = self.grown.notified() => Ok(()),
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(()),
            ack = link.acks.next() => {
                let _passage = self.quiet.pass().await;
                self.take(link, read(ack)?).await
            }
        }
    }

    async fn hear(&self, link: &mut Link) -> Result<(), LinkError> {
        let ack = self.patiently(link.acks.next()).await?;
        self.take(link, read(ack)?).await
    }

    /// Waits as long as the connection lives: a collector whose disk stands still does not get on any faster when everybody connects again
    /// and sends everything again. But a run does not wait for that.
    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> Result<T, LinkError> {
        tokio::pin!(answer);
        loop {
            match timeout(ACK_PATIENCE, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_) if self.quiet.is_waited_for() => return Err(LinkError::Silent),
                Err(_) => {}
            }
        }
    }

    /// Drops what the collector has. Each acknowledgement sets the credits anew.
    async fn take(&self, link: &mut Link, ack: Ack) -> Result<(), LinkError> {
        let spool = self.spool.clone();
        let is_ours = off_thread(move || {
            let is_ours = ack.epoch == spool.epoch() && ack.through <= spool.last()?;
            if is_ours {
                spool.acknowledge(ack.through)?;
            }
            Ok::<_, SpoolError>(is_ours)
        });
        if !is_ours.await? {
            return Err(LinkError::Ahead(ack));
        }
        link.through = link.through.max(ack.through);
        link.credits = ack.credits;
        let through = link.through;
        self.state.send_replace(LinkState::Delivered { through });
        Ok(())
    }

    fn check_name(&self) -> Result<(), LinkError> {
        match self.address.device() {
            Some(certified) if certified != self.device.as_str() => Err(LinkError::OtherDevice {
                certified: certified.to_owned(),
                device: self.device.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn hello(&self) -> v1::upload::Kind {
        let hello = Hello {
            device: self.device.clone(),
            epoch: self.spool.epoch(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        v1::upload::Kind::Hello(hello.into())
    }

    fn batch(&self, spooled: Vec<Spooled>) -> v1::upload::Kind {
        let epoch = self.spool.epoch().0;
        let envelope = |spooled: Spooled| v1::Envelope {
            epoch,
            seq: spooled.seq.0,
            record: spooled.bytes.into(),
        };
        let records = spooled.into_iter().map(envelope).collect();
        v1::upload::Kind::Batch(v1::Batch { records })
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => write!(f, "connecting"),
            Self::Delivered { through } => write!(f, "delivered through record {}", through.0),
            Self::Down { reason } => write!(f, "waiting to try again: {reason}"),
        }
    }
}

async fn send(uploads: &mpsc::Sender<v1::Upload>, kind: v1::upload::Kind) -> Result<(), LinkError> {
    uploads
        .send(v1::Upload { kind: Some(kind) })
        .await
        .map_err(|_| LinkError::Closed)
}

fn read(ack: Option<Result<v1::Ack, Status>>) -> Result<Ack, LinkError> {
    Ok(ack.ok_or(LinkError::Closed)?.map_err(refused)?.into())
}

fn refused(status: Status) -> LinkError {
    match trouble(&status) {
        Some(trouble) => Unreachable::Trouble(trouble).into(),
        None => LinkError::Refused(Box::new(status)),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How long a run that is to begin waits at most for the collector to commit a burst; then the connection is closed.
const ACK_PATIENCE: Duration = Duration::from_secs(10);

/// How often an idle connection looks for what another process put into the spool.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
