//! One agent's connection, from hello to its end.

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::ids::Seq;
use tokwatt_proto::{
    delivery::{Ack, CREDITS, Envelope},
    v1,
};
use tonic::{Status, Streaming};

use super::{Intake, status};
use crate::{store::Admitted, vitals::WaitingBatch};

/// Who delivers, and where it goes.
pub(super) struct Session {
    pub(super) intake: Intake,
    pub(super) stopping: CancellationToken,
    pub(super) acks: mpsc::Sender<Result<v1::Ack, Status>>,
}

/// What was read and waits to be committed.
type Queued = (v1::Batch, WaitingBatch);

/// Who ended it.
enum LastWord {
    Agents,
    Stopping,
}

impl Session {
    /// Runs until the agent is done and everything is committed, or something is wrong, or the collector stops. What is not
    /// acknowledged then comes again.
    pub(super) async fn run(self, uploads: Streaming<v1::Upload>, through: Seq) {
        let delivery = self.intake.vitals.delivery_began(through.0);
        let (queue, batches) = mpsc::channel(QUEUE_MAX);
        let both =
            async { tokio::try_join!(self.read(uploads, queue), self.commit(batches, through)) };
        let outcome = tokio::select! {
            biased;
            both = both => match both {
                Ok((LastWord::Stopping, ())) => Err(Status::unavailable(
                    "the collector is stopping, connect again",
                )),
                Ok((LastWord::Agents, ())) => Ok(()),
                Err(status) => Err(status),
            },
            // It may have said that it is done before it went, but would not hear what is committed.
            () = self.acks.closed() => Err(Status::cancelled("the agent is gone")),
        };
        delivery.ended(&outcome);
        if let Err(status) = outcome {
            // An agent that is gone cannot be told.
            drop(self.acks.send(Err(status)).await);
        }
    }

    /// Reads until there is no more to come. What is queued then is still committed and acknowledged.
    async fn read(
        &self,
        mut uploads: Streaming<v1::Upload>,
        queue: mpsc::Sender<Queued>,
    ) -> Result<LastWord, Status> {
        loop {
            let upload = tokio::select! {
                upload = uploads.message() => upload?,
                () = self.stopping.cancelled() => return Ok(LastWord::Stopping),
            };
            let Some(upload) = upload else {
                return Ok(LastWord::Agents);
            };
            let Some(v1::upload::Kind::Batch(batch)) = upload.kind else {
                return Err(Status::invalid_argument("after hello come batches"));
            };
            match queue.try_send((batch, self.intake.vitals.batch_waits())) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    return Err(Status::invalid_argument(format!(
                        "more than {QUEUE_MAX} batches without an acknowledgement: wait for credits"
                    )));
                }
                // Committing has failed, and says why.
                Err(TrySendError::Closed(_)) => return Ok(LastWord::Agents),
            }
        }
    }

    async fn commit(
        &self,
        mut batches: mpsc::Receiver<Queued>,
        through: Seq,
    ) -> Result<(), Status> {
        self.acknowledge(through, &batches).await?;
        while let Some((first, waiting)) = batches.recv().await {
            let mut records = first.records;
            let mut waited = vec![waiting];
            while let Ok((next, waiting)) = batches.try_recv() {
                records.extend(next.records);
                waited.push(waiting);
            }
            let admitted = self.admit(records).await?;
            self.acknowledge(admitted.through, &batches).await?;
            waited.into_iter().for_each(WaitingBatch::acknowledged);
        }
        Ok(())
    }

    async fn admit(&self, envelopes: Vec<v1::Envelope>) -> Result<Admitted, Status> {
        let envelopes = envelopes
            .into_iter()
            .map(|envelope| self.open(envelope))
            .collect::<Result<Vec<_>, _>>()?;
        let admitted = self.intake.admit(envelopes).await;
        admitted.map_err(|error| status(&error))
    }

    fn open(&self, envelope: v1::Envelope) -> Result<Envelope, Status> {
        if envelope.epoch != self.intake.epoch.0 {
            return Err(Status::invalid_argument(format!(
                "a record of epoch {} on a stream of epoch {}",
                envelope.epoch, self.intake.epoch.0
            )));
        }
        Ok(envelope.into())
    }

    /// Says what is committed, and how much more may come beside what waits.
    async fn acknowledge(
        &self,
        through: Seq,
        waiting: &mpsc::Receiver<Queued>,
    ) -> Result<(), Status> {
        let n_waiting = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        let credits = CREDITS.saturating_sub(n_waiting).max(1);
        let ack = Ack {
            epoch: self.intake.epoch,
            through,
            credits,
        };
        let sent = self.acks.send(Ok(ack.into())).await;
        sent.map_err(|_| Status::cancelled("the agent is gone"))
    }
}

/// Each acknowledgement sets the credits anew and cannot know what is on its way to us: so it may be as much again.
const QUEUE_MAX: usize = 2 * CREDITS as usize;
