//! Power samples, as one column for each rail.

use prost::Message;
use tokwatt_domain::{
    power::{PowerSample, PowerTrace, Sensor},
    time::Stamp,
};

use super::{columns, deflated, document};
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
    let mut rails: Vec<_> = chunk.rails.iter().map(read_rail).collect();
    let sample = |at| PowerSample {
        at: Stamp(at),
        values: rails.iter_mut().filter_map(Iterator::next).collect(),
    };
    let samples = columns::from_deltas(0, &chunk.at_ns).map(sample).collect();
    Ok(PowerTrace { sensor, samples })
}

/// The rails' columns as they are smallest when they are deflated.
pub(super) fn write_compactly(trace: &PowerTrace) -> Vec<v1::RailColumn> {
    let n_rails = trace.sensor.rails.len();
    (0..n_rails)
        .map(|rail| {
            let values = trace.samples.iter().map(|sample| sample.values[rail]);
            compact(&values.collect::<Vec<i64>>())
        })
        .collect()
}

/// Of the values and their differences whichever are deflated to fewer bytes. Readings with much noise have few different values within
/// a chunk, and twice as many different differences.
fn compact(values: &[i64]) -> v1::RailColumn {
    let step = values
        .iter()
        .fold(0, |step, value| divisor(step, value.unsigned_abs()))
        .max(1);
    // Within i64: the one quotient beyond it, of the lowest value, wraps and is multiplied back.
    let in_steps = values
        .iter()
        .map(|value| value.wrapping_div(step.cast_signed()));
    let column = |value: Vec<i64>, is_plain| v1::RailColumn {
        value,
        step,
        is_plain,
    };
    let plain = column(in_steps.clone().collect(), true);
    let differences = columns::to_deltas(0, in_steps.map(i64::cast_unsigned));
    let differences = column(differences, false);
    match deflated_bytes(&plain) < deflated_bytes(&differences) {
        true => plain,
        false => differences,
    }
}

fn deflated_bytes(column: &v1::RailColumn) -> usize {
    deflated::write(&column.encode_to_vec()).len()
}

/// The largest number that both are multiples of; that of 0 and any other is the other.
fn divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn read_rail(column: &v1::RailColumn) -> impl Iterator<Item = i64> {
    let step = column.step.max(1).cast_signed();
    let mut before = 0_i64;
    let is_plain = column.is_plain;
    column.value.iter().map(move |value| {
        before = match is_plain {
            true => *value,
            false => before.wrapping_add(*value),
        };
        before.wrapping_mul(step)
    })
}

fn write_rail(trace: &PowerTrace, rail: usize) -> v1::RailColumn {
    let values = trace.samples.iter().map(|sample| sample.values[rail]);
    v1::RailColumn {
        value: columns::to_deltas(0, values.map(i64::cast_unsigned)),
        ..v1::RailColumn::default()
    }
}
