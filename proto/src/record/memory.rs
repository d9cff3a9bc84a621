//! Memory in use, as columns.

use tokwatt_domain::{
    run::{MemoryScope, MemoryTrace},
    time::Stamp,
};

use super::{columns, unknown};
use crate::{error::ContractError, v1};

pub(super) fn write(trace: &MemoryTrace) -> v1::MemoryColumns {
    let scope = match trace.scope {
        MemoryScope::ProcessTree => v1::MemoryScope::ProcessTree,
        MemoryScope::System => v1::MemoryScope::System,
        MemoryScope::Gpu => v1::MemoryScope::Gpu,
    };
    let samples = trace.samples.iter();
    v1::MemoryColumns {
        scope: scope.into(),
        baseline_bytes: trace.baseline_bytes,
        at_ns: columns::to_deltas(0, samples.clone().map(|(at, _)| at.0)),
        used_bytes: columns::to_deltas(trace.baseline_bytes, samples.map(|(_, used)| *used)),
    }
}

/// Nothing, if it is of a scope that a later version knows.
pub(super) fn read(columns: v1::MemoryColumns) -> Result<Option<MemoryTrace>, ContractError> {
    let Ok(scope) = v1::MemoryScope::try_from(columns.scope) else {
        return Ok(None);
    };
    let scope = match scope {
        v1::MemoryScope::ProcessTree => MemoryScope::ProcessTree,
        v1::MemoryScope::System => MemoryScope::System,
        v1::MemoryScope::Gpu => MemoryScope::Gpu,
        v1::MemoryScope::Unspecified => return Err(unknown("scope", columns.scope)),
    };
    columns::check_length("used_bytes", columns.used_bytes.len(), columns.at_ns.len())?;
    let at = columns::from_deltas(0, &columns.at_ns).map(Stamp);
    let used = columns::from_deltas(columns.baseline_bytes, &columns.used_bytes);
    Ok(Some(MemoryTrace {
        scope,
        baseline_bytes: columns.baseline_bytes,
        samples: at.zip(used).collect(),
    }))
}
