//! Deliveries in: an agent says hello, sends batches while it has credits, and hears what is committed.
//!
//! Reading and committing go on side by side: a stream that is not read kills its connection (h2 counts unread small frames), so
//! nothing awaits a commit in the reading loop. What waits is bounded by the agent's credits. Whatever waits together is committed
//! together and acknowledged once.

mod content;
mod intake;
mod session;

pub(crate) use self::content::content;

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_domain::ids::Epoch;
use tokwatt_proto::{
    delivery::{CREDITS, Hello},
    v1,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

pub use self::intake::Intake;
use self::session::Session;
use crate::{
    peer::Peer,
    store::{Store, StoreError},
    vitals::{Refusal, Vitals},
};

/// The gRPC service; acknowledges only what the store has committed.
pub struct Ingest {
    /// Where records go.
    pub store: Arc<Store>,
    /// Told when a run is finished.
    pub finished: Arc<Notify>,
    /// Sessions run on it, so that stopping waits for them.
    pub tasks: TaskTracker,
    /// Ends every session.
    pub stopping: CancellationToken,
    /// Counts.
    pub vitals: Arc<Vitals>,
}

#[tonic::async_trait]
impl v1::ingest_server::Ingest for Ingest {
    type DeliverStream = ReceiverStream<Result<v1::Ack, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<v1::Upload>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let peer = Peer::of(&request)?;
        let mut uploads = request.into_inner();
        let refused = |refusal| {
            let (vitals, peer) = (&self.vitals, &peer);
            move |status: &Status| vitals.call_refused(refusal, peer, status.message())
        };
        let hello = hello(uploads.message().await?).inspect_err(refused(Refusal::Hello))?;
        peer.speaks_for(&hello.device)
            .inspect_err(refused(Refusal::Forbidden))?;
        let through = self
            .store
            .greet(
                hello.device.clone(),
                hello.epoch,
                hello.agent_version.clone(),
            )
            .await
            .map_err(|error| status(&error))?;
        let (acks, answers) = mpsc::channel(ACKS_MAX);
        let span = tracing::info_span!("delivery", device = %hello.device, epoch = hello.epoch.0);
        let session = Session {
            intake: Intake {
                device: hello.device,
                epoch: hello.epoch,
                store: Arc::clone(&self.store),
                finished: Arc::clone(&self.finished),
                vitals: Arc::clone(&self.vitals),
            },
            stopping: self.stopping.clone(),
            acks,
        };
        self.tasks
            .spawn(session.run(uploads, through).instrument(span));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

fn hello(first: Option<v1::Upload>) -> Result<Hello, Status> {
    let Some(v1::upload::Kind::Hello(hello)) = first.and_then(|upload| upload.kind) else {
        return Err(Status::failed_precondition(
            "the first message must be hello",
        ));
    };
    let hello =
        Hello::try_from(hello).map_err(|error| Status::failed_precondition(error.to_string()))?;
    if is_beyond(hello.epoch) {
        return Err(Status::failed_precondition(
            "hello.epoch must be below 2^63",
        ));
    }
    Ok(hello)
}

/// The store's integers are signed.
pub(crate) fn is_beyond(epoch: Epoch) -> bool {
    i64::try_from(epoch.0).is_err()
}

/// What a store's error means to an agent: send otherwise, later, or to somebody who can mend it.
fn status(error: &StoreError) -> Status {
    match error {
        StoreError::Gap { .. } | StoreError::Altered { .. } => {
            Status::invalid_argument(error.to_string())
        }
        StoreError::Full => Status::resource_exhausted(format!("{error}, try again later")),
        _ => Status::unavailable(error.to_string()),
    }
}

/// One for each batch that may be under way, and one for hello.
const ACKS_MAX: usize = CREDITS as usize + 1;
