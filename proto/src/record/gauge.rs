//! Gauges, as columns.

use tokwatt_domain::{
    run::{GaugeKind, GaugeTrace},
    time::Stamp,
};

use super::{columns, unknown};
use crate::{error::ContractError, v1};

pub(super) fn write(trace: &GaugeTrace) -> v1::GaugeColumns {
    let samples = trace.samples.iter();
    v1::GaugeColumns {
        kind: write_kind(trace.kind).into(),
        name: trace.name.clone(),
        at_ns: columns::to_deltas(0, samples.clone().map(|(at, _)| at.0)),
        value: columns::to_deltas(0, samples.map(|(_, value)| value.cast_unsigned())),
    }
}

/// Nothing, if it is of a kind that a later version knows.
pub(super) fn read(columns: v1::GaugeColumns) -> Result<Option<GaugeTrace>, ContractError> {
    let Ok(kind) = v1::GaugeKind::try_from(columns.kind) else {
        return Ok(None);
    };
    let kind = read_kind(kind)?;
    columns::check_length("value", columns.value.len(), columns.at_ns.len())?;
    let at = columns::from_deltas(0, &columns.at_ns).map(Stamp);
    let values = columns::from_deltas(0, &columns.value).map(u64::cast_signed);
    Ok(Some(GaugeTrace {
        kind,
        name: columns.name,
        samples: at.zip(values).collect(),
    }))
}

fn write_kind(kind: GaugeKind) -> v1::GaugeKind {
    match kind {
        GaugeKind::Clock => v1::GaugeKind::Clock,
        GaugeKind::Temperature => v1::GaugeKind::Temperature,
        GaugeKind::Throttle => v1::GaugeKind::Throttle,
        GaugeKind::Overcurrent => v1::GaugeKind::Overcurrent,
        GaugeKind::Utilisation => v1::GaugeKind::Utilisation,
        GaugeKind::ForeignGpuProcess => v1::GaugeKind::ForeignGpuProcess,
        GaugeKind::WallOffset => v1::GaugeKind::WallOffset,
        GaugeKind::KvCacheUse => v1::GaugeKind::KvCacheUse,
        GaugeKind::RequestsRunning => v1::GaugeKind::RequestsRunning,
        GaugeKind::RequestsQueued => v1::GaugeKind::RequestsQueued,
        GaugeKind::Preemptions => v1::GaugeKind::Preemptions,
        GaugeKind::PromptTokens => v1::GaugeKind::PromptTokens,
        GaugeKind::GeneratedTokens => v1::GaugeKind::GeneratedTokens,
        GaugeKind::PrefixCacheQueries => v1::GaugeKind::PrefixCacheQueries,
        GaugeKind::PrefixCacheHits => v1::GaugeKind::PrefixCacheHits,
    }
}

fn read_kind(kind: v1::GaugeKind) -> Result<GaugeKind, ContractError> {
    match kind {
        v1::GaugeKind::Clock => Ok(GaugeKind::Clock),
        v1::GaugeKind::Temperature => Ok(GaugeKind::Temperature),
        v1::GaugeKind::Throttle => Ok(GaugeKind::Throttle),
        v1::GaugeKind::Overcurrent => Ok(GaugeKind::Overcurrent),
        v1::GaugeKind::Utilisation => Ok(GaugeKind::Utilisation),
        v1::GaugeKind::ForeignGpuProcess => Ok(GaugeKind::ForeignGpuProcess),
        v1::GaugeKind::WallOffset => Ok(GaugeKind::WallOffset),
        v1::GaugeKind::KvCacheUse => Ok(GaugeKind::KvCacheUse),
        v1::GaugeKind::RequestsRunning => Ok(GaugeKind::RequestsRunning),
        v1::GaugeKind::RequestsQueued => Ok(GaugeKind::RequestsQueued),
        v1::GaugeKind::Preemptions => Ok(GaugeKind::Preemptions),
        v1::GaugeKind::PromptTokens => Ok(GaugeKind::PromptTokens),
        v1::GaugeKind::GeneratedTokens => Ok(GaugeKind::GeneratedTokens),
        v1::GaugeKind::PrefixCacheQueries => Ok(GaugeKind::PrefixCacheQueries),
        v1::GaugeKind::PrefixCacheHits => Ok(GaugeKind::PrefixCacheHits),
        v1::GaugeKind::Unspecified => Err(unknown("kind", kind.into())),
    }
}
