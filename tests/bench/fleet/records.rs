//! What an agent sends while it measures: a second of power samples.

use std::time::Duration;

use tokwatt_domain::{
    ids::RunId,
    power::{PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    time::Stamp,
    units::Watts,
};
use tokwatt_proto::Record;

/// A second of six rails at 100 Hz, as noisy as an INA3221 is, of a run that is under way.
pub(crate) fn second(run: RunId, number: u64) -> Vec<u8> {
    let rails = ["VDD_GPU", "VDD_CPU", "VIN", "CV", "DDR", "IO"].map(|name| Rail {
        name: name.to_owned(),
        quantum: Watts(0.04),
    });
    let sensor = Sensor {
        source: "ina".to_owned(),
        scope: Scope::Module,
        rails: rails.to_vec(),
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance: Provenance::Simulated,
        asked_interval: None,
        clock: None,
    };
    let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: u64| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise % below
    };
    let samples = (0..100).map(|place| PowerSample {
        at: Stamp(number * 1_000_000_000 + place * 10_000_000 + next(3_000_000)),
        values: (1..=6_i64)
            .map(|rail| rail * 3_000_000 + 40_000 * next(20).cast_signed())
            .collect(),
    });
    let trace = PowerTrace {
        sensor,
        samples: samples.collect(),
    };
    let record = Record::Power {
        run,
        segment: 0,
        sensor_index: 0,
        first: u32::try_from(number * 100).unwrap_or(0),
        trace,
    };
    record.encode()
}
