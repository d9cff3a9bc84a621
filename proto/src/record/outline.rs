//! A record of which no more is built than whoever keeps it must know: its run, and what names how it begins.
//!
//! Everything else is skipped where it stands. Most records are requests and power samples, a fleet sends thousands of them a second, and
//! whoever measures their run reads them anyway. Of one that is deflated only the start is inflated if it says its run there, as ours do.

use prost::encoding::{WireType, decode_key, decode_varint};
use tokwatt_domain::ids::RunId;

use super::{
    ContractError, Outline, checked, deflated, deflated_once_more, document, kind_in, run_id,
};
use crate::v1;

/// A `tokwatt.v1.Record` as far as it is read; errors show its name.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Device(v1::DeviceSeen),
    #[prost(message, tag = "2")]
    RunOpened(v1::RunOpened),
    #[prost(message, tag = "3")]
    Requests(Part),
    #[prost(message, tag = "4")]
    Power(Part),
    #[prost(message, tag = "5")]
    SegmentClosed(Part),
    #[prost(message, tag = "6")]
    RunFinished(Part),
    #[prost(message, tag = "7")]
    RunResumed(Part),
    #[prost(message, tag = "8")]
    Gap(Part),
    #[prost(bytes = "vec", tag = "9")]
    Deflated(Vec<u8>),
}

/// What all messages about a run that is open begin with.
#[derive(Clone, PartialEq, prost::Message)]
struct Part {
    #[prost(bytes = "vec", tag = "1")]
    run: Vec<u8>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Outline, ContractError> {
    kind_in("record", checked(bytes)?, |record: Record| record.kind)
        .and_then(|kind| match kind {
            Kind::Deflated(deflated) => of_deflated(&deflated),
            kind => of_kind(kind),
        })
        .map_err(|error| error.within("record"))
}

fn of_deflated(deflated: &[u8]) -> Result<Outline, ContractError> {
    if let Some(outline) = of_start(&deflated::start(deflated)) {
        return Ok(outline);
    }
    let bytes = deflated::read(deflated)?;
    kind_in("deflated", &bytes, |record: Record| record.kind).and_then(of_kind)
}

/// Of a message whose first field is its run.
fn of_start(mut start: &[u8]) -> Option<Outline> {
    let mut field = || {
        let (number, wire_type) = decode_key(&mut start).ok()?;
        let length = decode_varint(&mut start).ok()?;
        (wire_type == WireType::LengthDelimited).then_some((number, length))
    };
    let (kind, _) = field()?;
    let is_run = field()? == (1, 16);
    let run = RunId(*start.first_chunk().filter(|_| is_run)?);
    match kind {
        3 | 4 | 5 | 7 | 8 => Some(Outline::Part(run)),
        6 => Some(Outline::RunFinished(run)),
        _ => None,
    }
}

fn of_kind(kind: Kind) -> Result<Outline, ContractError> {
    let part = |of: &Part| run_id(&of.run).map(Outline::Part);
    let (name, outline) = match kind {
        Kind::Device(message) => (
            "device",
            document::read(document::DEVICE, message.profile.as_ref(), "profile")
                .map(Outline::Device),
        ),
        Kind::RunOpened(message) => (
            "run_opened",
            document::read(document::HEADER, message.header.as_ref(), "header")
                .map(Outline::RunOpened),
        ),
        Kind::Requests(of) => ("requests", part(&of)),
        Kind::Power(of) => ("power", part(&of)),
        Kind::SegmentClosed(of) => ("segment_closed", part(&of)),
        Kind::RunFinished(of) => ("run_finished", run_id(&of.run).map(Outline::RunFinished)),
        Kind::RunResumed(of) => ("run_resumed", part(&of)),
        Kind::Gap(of) => ("gap", part(&of)),
        Kind::Deflated(_) => return Err(deflated_once_more().within("deflated")),
    };
    outline.map_err(|error| error.within(name))
}
