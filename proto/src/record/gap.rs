//! What is declared missing.

use tokwatt_domain::gap::{Gap, GapCause, Part};

use super::{required, unknown};
use crate::{
    error::ContractError,
    v1::{self, gap::Part as WirePart},
};

/// The gap; whose it is is left to the caller.
pub(super) fn write(gap: &Gap) -> v1::Gap {
    let count = gap.count;
    v1::Gap {
        part: Some(match gap.part {
            Part::Requests => WirePart::Requests(count),
            Part::Samples(sensor_index) => WirePart::Samples(v1::MissingSamples {
                sensor_index,
                count,
            }),
        }),
        cause: match gap.cause {
            GapCause::DiskFull => v1::GapCause::DiskFull.into(),
            GapCause::Thinned => v1::GapCause::Thinned.into(),
            GapCause::Crash => v1::GapCause::Crash.into(),
            GapCause::Retention => v1::GapCause::Retention.into(),
            GapCause::Unknown(number) => number,
        },
        note: gap.note.clone(),
        ..v1::Gap::default()
    }
}

pub(super) fn read(gap: v1::Gap) -> Result<Gap, ContractError> {
    let cause = match v1::GapCause::try_from(gap.cause) {
        Ok(v1::GapCause::DiskFull) => GapCause::DiskFull,
        Ok(v1::GapCause::Thinned) => GapCause::Thinned,
        Ok(v1::GapCause::Crash) => GapCause::Crash,
        Ok(v1::GapCause::Retention) => GapCause::Retention,
        Ok(v1::GapCause::Unspecified) => return Err(unknown("cause", gap.cause)),
        Err(_) => GapCause::Unknown(gap.cause),
    };
    let (part, count) = match required(gap.part, "part")? {
        WirePart::Requests(count) => (Part::Requests, count),
        WirePart::Samples(samples) => (Part::Samples(samples.sensor_index), samples.count),
    };
    if count == 0 {
        return Err(ContractError::field(
            "part",
            "is of nothing: its count is 0",
        ));
    }
    Ok(Gap {
        part,
        count,
        cause,
        note: gap.note,
    })
}
