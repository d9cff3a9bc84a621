//! Power samples, as one column for each rail.

use std::collections::BTreeSet;

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

/// Everything that can be wrong with a chunk; its sensor if nothing is.
fn check(chunk: &v1::PowerChunk) -> Result<Sensor, ContractError> {
    let sensor: Sensor = document::read(document::SENSOR, chunk.sensor.as_ref(), "sensor")?;
    columns::check_length("rails", chunk.rails.len(), sensor.rails.len())?;
    for (rail, column) in chunk.rails.iter().enumerate() {
        columns::check_length("value", column.value.len(), chunk.at_ns.len())
            .and_then(|()| check_levels(column))
            .map_err(|error| error.within(format_args!("rails[{rail}]")))?;
    }
    Ok(sensor)
}

pub(super) fn read(chunk: &v1::PowerChunk) -> Result<PowerTrace, ContractError> {
    let sensor = check(chunk)?;
    let rails = chunk
        .rails
        .iter()
        .map(|column| read_rail(column).into_iter());
    let mut rails: Vec<_> = rails.collect();
    let sample = |at| {
        // Of the size that it takes: a record has thousands of them.
        let mut values = Vec::with_capacity(rails.len());
        values.extend(rails.iter_mut().filter_map(Iterator::next));
        PowerSample {
            at: Stamp(at),
            values,
        }
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

/// The differences between neighbours, or the different values and where each reading is among them: whichever is deflated to fewer bytes.
/// A sensor of coarse steps has few different values within a chunk, however noisy it is, and many more different differences.
fn compact(values: &[i64]) -> v1::RailColumn {
    let step = values
        .iter()
        .fold(0, |step, value| divisor(step, value.unsigned_abs()))
        .max(1);
    // Within i64: the one quotient beyond it, of the lowest value, wraps and is multiplied back.
    let in_steps: Vec<i64> = values
        .iter()
        .map(|value| value.wrapping_div(step.cast_signed()))
        .collect();
    let by_differences = v1::RailColumn {
        value: differences(&in_steps),
        step,
        ..v1::RailColumn::default()
    };
    let by_levels = v1::RailColumn {
        step,
        ..by_levels(&in_steps)
    };
    match deflated_bytes(&by_levels) < deflated_bytes(&by_differences) {
        true => by_levels,
        false => by_differences,
    }
}

fn by_levels(values: &[i64]) -> v1::RailColumn {
    let levels: BTreeSet<i64> = values.iter().copied().collect();
    let levels: Vec<i64> = levels.into_iter().collect();
    let position = |value: &i64| {
        let position = levels.binary_search(value).expect("it is one of them");
        i64::try_from(position).expect("there are no more than values")
    };
    v1::RailColumn {
        value: values.iter().map(position).collect(),
        levels: differences(&levels),
        ..v1::RailColumn::default()
    }
}

fn differences(values: &[i64]) -> Vec<i64> {
    columns::to_deltas(0, values.iter().map(|value| value.cast_unsigned()))
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

/// Positions are among the levels, if there are any.
fn check_levels(column: &v1::RailColumn) -> Result<(), ContractError> {
    let n_levels = column.levels.len();
    let is_beyond = |position: &&i64| {
        let position = usize::try_from(**position).ok();
        position.is_none_or(|position| position >= n_levels)
    };
    match column.value.iter().find(is_beyond) {
        Some(position) if n_levels > 0 => {
            let problem = format!("is {position}, beyond its {n_levels} levels");
            Err(ContractError::field("value", problem))
        }
        _ => Ok(()),
    }
}

/// Of a column that was checked.
fn read_rail(column: &v1::RailColumn) -> Vec<i64> {
    let step = column.step.max(1).cast_signed();
    let of_differences = |differences: &[i64]| -> Vec<i64> {
        columns::from_deltas(0, differences)
            .map(|value| value.cast_signed().wrapping_mul(step))
            .collect()
    };
    if column.levels.is_empty() {
        return of_differences(&column.value);
    }
    let levels = of_differences(&column.levels);
    let level = |position: &i64| usize::try_from(*position).ok().and_then(|n| levels.get(n));
    column.value.iter().filter_map(level).copied().collect()
}

fn write_rail(trace: &PowerTrace, rail: usize) -> v1::RailColumn {
    let values = trace.samples.iter().map(|sample| sample.values[rail]);
    v1::RailColumn {
        value: columns::to_deltas(0, values.map(i64::cast_unsigned)),
        ..v1::RailColumn::default()
    }
}
