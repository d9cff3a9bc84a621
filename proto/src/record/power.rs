//! Power samples, as one column for each rail.

use tokwatt_domain::{
    power::{PowerSample, PowerTrace, Sensor},
    time::Stamp,
};

use super::{columns, document};
use crate::{error::ContractError, v1};

/// The chunk's sensor and samples; whose they are is left to the caller.
pub(super) fn write(trace: &PowerTrace) -> v1::PowerChunk {
    let n_rails = trace.sensor.rails.len();
    assert!(
        trace
            .samples
            .iter()
            .all(|sample| sample.values.len() == n_rails),
        "a power sample has one value for each rail"
    );
    v1::PowerChunk {
        sensor: Some(document::write(document::SENSOR, &trace.sensor)),
        at_ns: columns::to_deltas(0, trace.samples.iter().map(|sample| sample.at.0)),
        rails: (0..n_rails).map(|rail| write_rail(trace, rail)).collect(),
        ..v1::PowerChunk::default()
    }
}

pub(super) fn read(chunk: v1::PowerChunk) -> Result<PowerTrace, ContractError> {
    let sensor: Sensor = document::read(document::SENSOR, chunk.sensor, "sensor")?;
    columns::check_length("rails", chunk.rails.len(), sensor.rails.len())?;
    for (rail, column) in chunk.rails.iter().enumerate() {
        columns::check_length("value", column.value.len(), chunk.at_ns.len())
            .map_err(|error| error.within(format_args!("rails[{rail}]")))?;
    }
    let mut rails: Vec<_> = chunk
        .rails
        .iter()
        .map(|column| columns::from_deltas(0, &column.value).map(u64::cast_signed))
        .collect();
    let sample = |at| PowerSample {
        at: Stamp(at),
        values: rails.iter_mut().filter_map(Iterator::next).collect(),
    };
    let samples = columns::from_deltas(0, &chunk.at_ns).map(sample).collect();
    Ok(PowerTrace { sensor, samples })
}

fn write_rail(trace: &PowerTrace, rail: usize) -> v1::RailColumn {
    let values = trace.samples.iter().map(|sample| sample.values[rail]);
    v1::RailColumn {
        value: columns::to_deltas(0, values.map(i64::cast_unsigned)),
    }
}
