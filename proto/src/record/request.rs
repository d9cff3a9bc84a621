//! A request and its chunks, as a message of its own.

use std::time::Duration;

use prost::Message;
use tokwatt_domain::{
    run::{
        Chunk, ChunkKind, CountSource, EngineTimes, FailureClass, Outcome, RequestTrace,
        TokenCounts,
    },
    time::Stamp,
};

use super::{columns, document, required, unknown};
use crate::{
    error::ContractError,
    v1::{self, request::Outcome as WireOutcome},
};

pub(super) fn write(request: &RequestTrace) -> Vec<u8> {
    let sent = request.sent.0;
    let chunks = request.chunks.iter();
    v1::Request {
        index: request.index,
        item: request.item.clone(),
        sent_ns: sent,
        scheduled_ns: request.scheduled.map(|at| columns::difference(at.0, sent)),
        ended_ns: columns::difference(request.ended.0, sent),
        chunk_at_ns: columns::to_deltas(sent, chunks.clone().map(|chunk| chunk.at.0)),
        chunk_kind: chunks.clone().map(|chunk| write_kind(chunk.kind)).collect(),
        chunk_tokens: chunks
            .map(|chunk| chunk.tokens.map_or(0, |n| u64::from(n) + 1))
            .collect(),
        outcome: Some(write_outcome(&request.outcome)),
        tokens: request.tokens.map(write_tokens),
        image_encode_ns: request.image_encode.map(nanoseconds),
        engine_times: request.engine_times.map(|times| v1::EngineTimes {
            prefill_ns: nanoseconds(times.prefill),
            decode_ns: nanoseconds(times.decode),
        }),
        answer: request.answer.clone(),
        truth: request
            .truth
            .as_ref()
            .map(|truth| document::write(document::TRUTH, truth)),
    }
    .encode_to_vec()
}

pub(super) fn read(bytes: &[u8]) -> Result<RequestTrace, ContractError> {
    let request = v1::Request::decode(bytes).map_err(|source| ContractError::Message {
        field: "request".to_owned(),
        source,
    })?;
    let chunks = read_chunks(&request)?;
    let from_sent = |difference| Stamp(request.sent_ns.wrapping_add_signed(difference));
    let truth = request
        .truth
        .as_ref()
        .map(|truth| document::read(document::TRUTH, Some(truth), "truth"));
    Ok(RequestTrace {
        index: request.index,
        item: request.item,
        scheduled: request.scheduled_ns.map(from_sent),
        sent: Stamp(request.sent_ns),
        chunks,
        ended: from_sent(request.ended_ns),
        outcome: read_outcome(required(request.outcome, "outcome")?)?,
        tokens: request.tokens.map(read_tokens).transpose()?,
        image_encode: request.image_encode_ns.map(Duration::from_nanos),
        engine_times: request.engine_times.map(|times| EngineTimes {
            prefill: Duration::from_nanos(times.prefill_ns),
            decode: Duration::from_nanos(times.decode_ns),
        }),
        answer: request.answer,
        truth: truth.transpose()?,
    })
}

fn write_kind(kind: ChunkKind) -> i32 {
    match kind {
        ChunkKind::Content => v1::ChunkKind::Content,
        ChunkKind::Reasoning => v1::ChunkKind::Reasoning,
    }
    .into()
}

fn write_outcome(outcome: &Outcome) -> WireOutcome {
    match outcome {
        Outcome::Stop => WireOutcome::Finish(v1::Finish::Stop.into()),
        Outcome::Length => WireOutcome::Finish(v1::Finish::Length.into()),
        Outcome::Failed { class, message } => WireOutcome::Failure(v1::Failure {
            class: write_class(*class).into(),
            message: message.clone(),
        }),
    }
}

fn write_class(class: FailureClass) -> v1::FailureClass {
    match class {
        FailureClass::Timeout => v1::FailureClass::Timeout,
        FailureClass::Http => v1::FailureClass::Http,
        FailureClass::Refused => v1::FailureClass::Refused,
        FailureClass::OutOfMemory => v1::FailureClass::OutOfMemory,
        FailureClass::Crashed => v1::FailureClass::Crashed,
        FailureClass::Protocol => v1::FailureClass::Protocol,
        FailureClass::Cancelled => v1::FailureClass::Cancelled,
    }
}

fn write_tokens(tokens: TokenCounts) -> v1::TokenCounts {
    let source = match tokens.source {
        CountSource::Usage => v1::CountSource::Usage,
        CountSource::Timings => v1::CountSource::Timings,
        CountSource::Engine => v1::CountSource::Engine,
        CountSource::Tokenizer => v1::CountSource::Tokenizer,
    };
    v1::TokenCounts {
        prompt: tokens.prompt,
        cached: tokens.cached,
        completion: tokens.completion,
        source: source.into(),
    }
}

/// Up to 584 years; what an engine claims beyond that is cut there.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn read_chunks(request: &v1::Request) -> Result<Vec<Chunk>, ContractError> {
    let n_chunks = request.chunk_at_ns.len();
    columns::check_length("chunk_kind", request.chunk_kind.len(), n_chunks)?;
    columns::check_length("chunk_tokens", request.chunk_tokens.len(), n_chunks)?;
    columns::from_deltas(request.sent_ns, &request.chunk_at_ns)
        .zip(&request.chunk_kind)
        .zip(&request.chunk_tokens)
        .map(|((at, kind), tokens)| {
            Ok(Chunk {
                at: Stamp(at),
                kind: read_kind(*kind)?,
                tokens: read_chunk_tokens(*tokens)?,
            })
        })
        .collect()
}

fn read_kind(kind: i32) -> Result<ChunkKind, ContractError> {
    match v1::ChunkKind::try_from(kind) {
        Ok(v1::ChunkKind::Content) => Ok(ChunkKind::Content),
        Ok(v1::ChunkKind::Reasoning) => Ok(ChunkKind::Reasoning),
        Ok(v1::ChunkKind::Unspecified) | Err(_) => Err(unknown("chunk_kind", kind)),
    }
}

fn read_chunk_tokens(plus_one: u64) -> Result<Option<u32>, ContractError> {
    let problem = |_| ContractError::field("chunk_tokens", format!("is {plus_one}, above 2^32"));
    plus_one
        .checked_sub(1)
        .map(|tokens| u32::try_from(tokens).map_err(problem))
        .transpose()
}

fn read_outcome(outcome: WireOutcome) -> Result<Outcome, ContractError> {
    match outcome {
        WireOutcome::Finish(finish) => match v1::Finish::try_from(finish) {
            Ok(v1::Finish::Stop) => Ok(Outcome::Stop),
            Ok(v1::Finish::Length) => Ok(Outcome::Length),
            Ok(v1::Finish::Unspecified) | Err(_) => Err(unknown("finish", finish)),
        },
        WireOutcome::Failure(failure) => Ok(Outcome::Failed {
            class: read_class(&failure)?,
            message: failure.message,
        }),
    }
}

fn read_class(failure: &v1::Failure) -> Result<FailureClass, ContractError> {
    match failure.class() {
        v1::FailureClass::Timeout => Ok(FailureClass::Timeout),
        v1::FailureClass::Http => Ok(FailureClass::Http),
        v1::FailureClass::Refused => Ok(FailureClass::Refused),
        v1::FailureClass::OutOfMemory => Ok(FailureClass::OutOfMemory),
        v1::FailureClass::Crashed => Ok(FailureClass::Crashed),
        v1::FailureClass::Protocol => Ok(FailureClass::Protocol),
        v1::FailureClass::Cancelled => Ok(FailureClass::Cancelled),
        v1::FailureClass::Unspecified => Err(unknown("failure.class", failure.class)),
    }
}

fn read_tokens(tokens: v1::TokenCounts) -> Result<TokenCounts, ContractError> {
    let source = match tokens.source() {
        v1::CountSource::Usage => CountSource::Usage,
        v1::CountSource::Timings => CountSource::Timings,
        v1::CountSource::Engine => CountSource::Engine,
        v1::CountSource::Tokenizer => CountSource::Tokenizer,
        v1::CountSource::Unspecified => return Err(unknown("tokens.source", tokens.source)),
    };
    Ok(TokenCounts {
        prompt: tokens.prompt,
        cached: tokens.cached,
        completion: tokens.completion,
        source,
    })
}
