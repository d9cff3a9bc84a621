//! How large a sample is on disk: seven days at 100 Hz and six rails must fit into 1 GiB.

use std::{io::Write, time::Duration};

use tokwatt_domain::{
    ids::RunId,
    power::{PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    run::Segment,
    time::{Stamp, WallTime, Window},
    units::Watts,
};
use tokwatt_proto::Record;

use super::Spool;

/// Noise as an instrument has it, the same every time.
struct Noise(u64);

impl Noise {
    /// 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from(mixed >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Standard deviation 1, near enough.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What a rail's register shows at the n-th reading.
type Read = fn(&mut Noise, n: u64, mean_mw: f64) -> i64;

/// INA3221 over hwmon: bus voltage in steps of 8 mV, current in steps of 8 mA (40 µV over 5 mΩ), power their product; noise of two
/// steps of each.
fn ina(noise: &mut Noise, _: u64, mean_mw: f64) -> i64 {
    let steps = |value: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "some thousands")]
        let steps = (value / 8.0).round() as i64;
        8 * steps
    };
    let volts = 19_000.0 + 16.0 * noise.normal();
    let milliamperes = mean_mw / 19.0 + 16.0 * noise.normal();
    steps(volts) * steps(milliamperes)
}

/// tegrastats: whole milliwatts; noise of 5 %.
fn tegrastats(noise: &mut Noise, _: u64, mean_mw: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "some thousands")]
    let milliwatts = (mean_mw * (1.0 + 0.05 * noise.normal())).round() as i64;
    1000 * milliwatts
}

/// NVML: the same, and a new value every tenth reading, for it is refreshed more rarely than it is read.
fn nvml(_: &mut Noise, n: u64, mean_mw: f64) -> i64 {
    tegrastats(&mut Noise((n / 10) ^ mean_mw.to_bits()), n, mean_mw)
}

/// A minute at 100 Hz: six rails, a load that comes and goes, stamps that jitter by 50 µs.
fn minute(number: u64, noise: &mut Noise, read: Read) -> Segment {
    let means = [20_000.0, 8_000.0, 3_000.0, 5_000.0, 1_500.0, 600.0];
    let mut load = 1.0;
    let sample = |n: u64| {
        if noise.uniform() < 0.02 {
            load =
                [0.3, 0.6, 1.0, 1.4][usize::from(noise.0 % 4 == 1) + usize::from(noise.0 % 2 == 1)];
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below 1 ms"
        )]
        let jitter = (50_000.0 * noise.normal().abs()) as u64;
        PowerSample {
            at: Stamp(number * 60_000_000_000 + n * 10_000_000 + jitter),
            values: means.map(|mean| read(noise, n, mean * load)).to_vec(),
        }
    };
    let samples = (0..6_000).map(sample).collect();
    let rail = |n: usize| Rail {
        name: format!("VDD_RAIL_{n}"),
        quantum: Watts(0.152),
    };
    Segment {
        window: Window {
            from: Stamp(number * 60_000_000_000),
            to: Stamp((number + 1) * 60_000_000_000),
        },
        requests: Vec::new(),
        power: vec![PowerTrace {
            sensor: Sensor {
                source: "ina".to_owned(),
                scope: Scope::Module,
                rails: (0..6).map(rail).collect(),
                reading: Reading::Power,
                refresh: None,
                averaging: Duration::ZERO,
                provenance: Provenance::Measured,
                asked_interval: None,
                clock: None,
            },
            samples,
        }],
        memory: Vec::new(),
        gauges: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Bytes of the file for each value, stamps and SQLite's own included.
fn bytes_per_value(read: Read) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), WallTime(1), 1 << 30).unwrap();
    let mut noise = Noise(1);
    let n_minutes = 20_u32;
    for number in 0..n_minutes {
        let segment = minute(number.into(), &mut noise, read);
        let records = Record::segment(RunId([7; 16]), number, &segment);
        let encoded: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        spool.append(&encoded).unwrap();
    }
    drop(spool);
    let bytes = std::fs::metadata(folder.path().join("spool.db"))
        .unwrap()
        .len();
    f64::from(u32::try_from(bytes).unwrap()) / (f64::from(n_minutes) * 6_000.0 * 6.0)
}

#[test]
fn seven_days_of_six_rails_at_100_hz_fit_into_a_gibibyte() {
    let most = f64::from(1_u32 << 30) / (7.0 * 86_400.0 * 100.0 * 6.0);
    for (name, read) in [
        ("ina", ina as Read),
        ("tegrastats", tegrastats),
        ("nvml", nvml),
    ] {
        let bytes = bytes_per_value(read);
        // Seen with `--nocapture`.
        writeln!(
            std::io::stderr(),
            "{name}: {bytes:.3} bytes a value, {most:.3} are allowed"
        )
        .unwrap();
        assert!(
            bytes < 0.85 * most,
            "{name}: {bytes} bytes a value, {most} leave no room for requests"
        );
    }
}
