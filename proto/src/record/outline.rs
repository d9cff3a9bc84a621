//! A record of which no more is built than whoever keeps it must know: its run, and what names how it begins.
//!
//! Everything else is skipped where it stands. Most records are requests and power samples, a fleet sends thousands of them a second, and
//! whoever measures their run reads them anyway. One that is deflated says its run beside it; older agents' are inflated.

use super::{
    ContractError, Outline, checked, deflated, deflated_once_more, document, kind_in, run_id,
};
use crate::v1;

/// A `tokwatt.v1.Record` as far as it is read; errors show its name.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    kind: Option<Kind>,
    #[prost(bytes = "vec", tag = "10")]
    run: Vec<u8>,
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
    let bytes = checked(bytes)?;
    kind_in("record", bytes, |Record { kind, run }| Some((kind?, run)))
        .and_then(|(kind, run)| match kind {
            Kind::Deflated(deflated) if run.is_empty() => of_deflated(&deflated),
            Kind::Deflated(_) => run_id(&run).map(Outline::Part),
            kind => of_kind(kind),
        })
        .map_err(|error| error.within("record"))
}

fn of_deflated(deflated: &[u8]) -> Result<Outline, ContractError> {
    let bytes = deflated::read(deflated)?;
    kind_in("deflated", &bytes, |record: Record| record.kind).and_then(of_kind)
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
