//! How records travel: an agent says hello, sends batches while it has credits, and deletes what is acknowledged.

use bytes::Bytes;
use prost::Message;
use tokwatt_domain::ids::{DeviceId, Epoch, Seq};

use crate::{SCHEMA, error::ContractError, record::RECORD_BYTES_MAX, v1};

/// An agent's first message on a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Who it is.
    pub device: DeviceId,
    /// Which life of its spool.
    pub epoch: Epoch,
    /// Its version, for people.
    pub agent_version: String,
}

/// The collector's word that something is committed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// Of which epoch.
    pub epoch: Epoch,
    /// The watermark: this and everything before it is committed; 0 if nothing is.
    pub through: Seq,
    /// How many more batches may be sent before the next one of these.
    pub credits: u32,
}

/// A record in its envelope, as the spool holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// Which life of the spool.
    pub epoch: Epoch,
    /// Which position within it.
    pub seq: Seq,
    /// An encoded [`Record`](crate::Record), kept byte for byte.
    pub record: Bytes,
}

/// Fewest bytes that are worth a batch while more may come: below this, headers of HTTP/2 and TCP outweigh the content. An
/// agent that has no more sends less rather than wait.
pub const BATCH_BYTES_MIN: usize = 256;

/// Most bytes in a batch, unless a single record is larger: headers are nothing beside it.
pub const BATCH_BYTES_MAX: usize = 48 * 1024;

/// Batches that a device may have under way. With a round trip of 10 ms that is 8 MB/s, and a week that was spent offline is delivered
/// within minutes; more would be in the collector's memory a thousand times over when its disk stands still.
pub const CREDITS: u32 = 2;

/// Largest gRPC message that both sides take: the largest record in its envelope.
pub const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024;

/// Groups consecutive envelopes into batches of at most [`BATCH_BYTES_MAX`], in order and leaving none out. A record that is
/// larger travels alone.
pub fn batches(envelopes: impl IntoIterator<Item = Envelope>) -> impl Iterator<Item = v1::Batch> {
    let mut rest = envelopes.into_iter().map(v1::Envelope::from).peekable();
    std::iter::from_fn(move || {
        let mut records = vec![rest.next()?];
        let mut bytes = bytes_in_batch(&records[0]);
        while let Some(next) = rest.next_if(|next| bytes + bytes_in_batch(next) <= BATCH_BYTES_MAX)
        {
            bytes += bytes_in_batch(&next);
            records.push(next);
        }
        Some(v1::Batch { records })
    })
}

impl From<Hello> for v1::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            schema: SCHEMA,
            device: hello.device.into(),
            epoch: hello.epoch.0,
            agent_version: hello.agent_version,
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = ContractError;

    /// # Errors
    /// [`ContractError::Schema`] if the agent writes records of another schema; a `Field` otherwise.
    fn try_from(hello: v1::Hello) -> Result<Self, ContractError> {
        if hello.schema != SCHEMA {
            return Err(ContractError::Schema {
                theirs: hello.schema,
            });
        }
        let device = DeviceId::parse(&hello.device).map_err(|error| {
            ContractError::field("hello.device", format!("is invalid: {error}"))
        })?;
        Ok(Self {
            device,
            epoch: Epoch(hello.epoch),
            agent_version: hello.agent_version,
        })
    }
}

impl From<Ack> for v1::Ack {
    fn from(ack: Ack) -> Self {
        Self {
            epoch: ack.epoch.0,
            through: ack.through.0,
            credits: ack.credits,
        }
    }
}

impl From<v1::Ack> for Ack {
    fn from(ack: v1::Ack) -> Self {
        Self {
            epoch: Epoch(ack.epoch),
            through: Seq(ack.through),
            credits: ack.credits,
        }
    }
}

impl From<Envelope> for v1::Envelope {
    fn from(envelope: Envelope) -> Self {
        Self {
            epoch: envelope.epoch.0,
            seq: envelope.seq.0,
            record: envelope.record,
        }
    }
}

impl From<v1::Envelope> for Envelope {
    fn from(envelope: v1::Envelope) -> Self {
        Self {
            epoch: Epoch(envelope.epoch),
            seq: Seq(envelope.seq),
            record: envelope.record,
        }
    }
}

/// Its length with the field's key (1 byte, number 1) and the length's own length.
fn bytes_in_batch(envelope: &v1::Envelope) -> usize {
    let bytes = envelope.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}
