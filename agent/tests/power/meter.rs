//! A meter's file, followed while a logger writes it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokwatt_agent::{
    clock::Clock,
    power::{
        PowerSource, ReadError, Taken,
        meter::{Meter, Settings},
    },
};
use tokwatt_domain::{
    power::Scope,
    time::{Stamp, WallTime},
};

/// Stands where it is put; its wall clock showed 1000 s when it began.
#[derive(Default)]
pub(crate) struct Hand {
    now_ms: AtomicU64,
}

impl Hand {
    pub(crate) fn put(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Stamp {
        Stamp(self.now_ms.load(Ordering::Relaxed) * 1_000_000)
    }

    fn wall(&self) -> WallTime {
        let since_start = i64::try_from(self.now().0 / 1000).unwrap();
        WallTime(1_000_000_000 + since_start)
    }
}

struct Logger {
    folder: tempfile::TempDir,
}

impl Logger {
    fn begin(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("meter"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("meter")
    }

    fn add(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

fn csv(path: &Path, options: &str) -> Settings {
    Settings::csv(&format!("{}{options}", path.display())).unwrap()
}

/// Stamps in ms and µW.
fn read(meter: &mut Meter, clock: &Hand) -> (Vec<(u64, i64)>, Result<(), ReadError>) {
    let mut taken: Vec<Taken> = Vec::new();
    let result = meter.read(clock, &mut taken);
    let sample = |taken: &Taken| (taken.sample.at.0 / 1_000_000, taken.sample.values[0]);
    (taken.iter().map(sample).collect(), result)
}

#[test]
fn rows_are_taken_as_they_are_written_and_those_from_before_left_out() {
    let logger = Logger::begin("unix_s,power_w\n999.5,9\n");
    let clock = Hand::default();
    let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
    assert_eq!(meter.sensors()[0].scope, Scope::Wall);
    assert!(read(&mut meter, &clock).0.is_empty());
    clock.put(1500);
    logger.add("1000.5,10.25\n1001.0,11");
    assert_eq!(read(&mut meter, &clock).0, [(500, 10_250_000)]);
    logger.add(".5\n");
    assert_eq!(read(&mut meter, &clock).0, [(1000, 11_500_000)]);
}

#[test]
fn the_offset_makes_the_meters_time_ours() {
    let logger = Logger::begin("watts,seconds\n");
    let clock = Hand::default();
    let map = "?time=seconds&power=watts&scope=system_in&offset=1000.1";
    let mut meter = Meter::open(&csv(&logger.path(), map), &clock).unwrap();
    assert_eq!(meter.sensors()[0].rails[0].name, "watts");
    assert_eq!(meter.sensors()[0].scope, Scope::SystemIn);
    clock.put(500);
    logger.add("7,0.4\n");
    assert_eq!(read(&mut meter, &clock).0, [(500, 7_000_000)]);
}

#[test]
fn a_row_from_the_future_shows_that_the_offset_is_wrong() {
    let logger = Logger::begin("unix_s,power_w\n");
    let clock = Hand::default();
    let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
    clock.put(1000);
    logger.add("4600,5\n1000.5,6\n");
    let (taken, result) = read(&mut meter, &clock);
    assert_eq!(taken, [(500, 6_000_000)]);
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("3599.0s ahead of this machine's clock: set its offset"),
        "{message}"
    );
}

#[test]
fn a_row_that_is_none_is_a_failed_reading_and_the_others_count() {
    let logger = Logger::begin("unix_s,power_w\n");
    let clock = Hand::default();
    let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
    clock.put(9000);
    for bad in [
        "1001,n/a\n",
        "1001\n",
        "1000.1,3\n",
        "\u{0}\u{1}\n",
        "1000.2,12,5\n",
        "1000,2,12,5\n",
        "1001.0;5\n",
    ] {
        let good = clock.now().0 / 1_000_000;
        logger.add(&format!("{}.0,1\n{bad}", 1000 + good / 1000));
        let (taken, result) = read(&mut meter, &clock);
        assert_eq!(taken, [(good, 1_000_000)], "{bad}");
        assert!(matches!(result, Err(ReadError::Transient(_))), "{bad}");
        clock.put(good + 1000);
    }
}

#[test]
fn a_file_that_is_cut_or_removed_and_not_begun_anew_is_lost() {
    for harm in [
        |path: &Path| fs::write(path, "").unwrap(),
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::rename(path, path.with_extension("1")).unwrap(),
    ] {
        let logger = Logger::begin("unix_s,power_w\n1000.5,6\n");
        let clock = Hand::default();
        let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
        clock.put(1000);
        assert_eq!(read(&mut meter, &clock).0.len(), 1);
        harm(&logger.path());
        let (_, result) = read(&mut meter, &clock);
        assert!(result.is_ok(), "{result:?}");
        clock.put(6000);
        let (_, result) = read(&mut meter, &clock);
        assert!(matches!(result, Err(ReadError::Fatal(_))), "{result:?}");
    }
}

#[test]
fn a_file_that_is_begun_anew_is_read_on_and_the_break_is_counted() {
    for rotate in [
        |path: &Path| fs::rename(path, path.with_extension("1")).unwrap(),
        |path: &Path| fs::write(path, "").unwrap(),
    ] {
        let logger = Logger::begin("unix_s,power_w\n1000.5,6\n1000.7,6.");
        let clock = Hand::default();
        let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
        clock.put(1000);
        assert_eq!(read(&mut meter, &clock).0, [(500, 6_000_000)]);
        rotate(&logger.path());
        assert!(read(&mut meter, &clock).1.is_ok());
        // The columns may stand in another order now.
        fs::write(logger.path(), "power_w,unix_s\n").unwrap();
        clock.put(2000);
        let message = read(&mut meter, &clock).1.unwrap_err().to_string();
        assert!(message.contains("begun anew"), "{message}");
        logger.add("7,1001.5\n");
        assert_eq!(read(&mut meter, &clock).0, [(1500, 7_000_000)]);
    }
}

#[test]
fn a_file_that_no_longer_grows_is_counted_and_waited_for() {
    let logger = Logger::begin("unix_s,power_w\n");
    let clock = Hand::default();
    let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
    clock.put(9999);
    assert!(read(&mut meter, &clock).1.is_ok());
    clock.put(10_000);
    let message = read(&mut meter, &clock).1.unwrap_err().to_string();
    assert!(message.contains("has not grown for 10s"), "{message}");
    assert!(read(&mut meter, &clock).1.is_ok(), "told once in a while");
    logger.add("1009,5\n");
    assert_eq!(read(&mut meter, &clock).0, [(9000, 5_000_000)]);
}

#[test]
fn a_line_without_end_is_passed_over_and_the_next_one_read() {
    let logger = Logger::begin("unix_s,power_w\n");
    let clock = Hand::default();
    let mut meter = Meter::open(&csv(&logger.path(), ""), &clock).unwrap();
    clock.put(1000);
    logger.add(&"1000.1,5".repeat(1 << 20));
    let mut failures = 0;
    for _ in 0..1000 {
        let (taken, result) = read(&mut meter, &clock);
        assert!(taken.is_empty());
        failures += usize::from(result.is_err());
    }
    assert_eq!(failures, 1);
    logger.add("\n1000.5,6\n");
    assert_eq!(read(&mut meter, &clock).0, [(500, 6_000_000)]);
}

#[test]
fn the_sensor_carries_how_the_meters_clock_was_tied_to_ours() {
    let logger = Logger::begin("unix_s,power_w\n");
    let clock = |options: &str| {
        let settings = csv(&logger.path(), options);
        let meter = Meter::open(&settings, &Hand::default()).unwrap();
        (meter.sensors()[0].clock.unwrap(), settings.to_string())
    };
    let (stated, words) = clock("?offset=-0.5&uncertainty=0.02");
    assert_eq!(stated.offset_us, -500_000);
    assert_eq!(stated.uncertainty, Some(Duration::from_millis(20)));
    assert!(words.ends_with("clock offset -500ms ± 20ms"), "{words}");
    let (unstated, words) = clock("");
    assert_eq!((unstated.offset_us, unstated.uncertainty), (0, None));
    assert!(
        words.ends_with("clock offset +0ns, how exact was not stated"),
        "{words}"
    );
}

#[test]
fn the_power_daemons_log_needs_no_header() {
    let logger = Logger::begin("Time,01-01-1970 01:16:39.000,Watts,50.0,Volts,230\n");
    let clock = Hand::default();
    let word = format!("{}?offset=-3600", logger.path().display());
    let mut meter = Meter::open(&Settings::spl(&word).unwrap(), &clock).unwrap();
    clock.put(2000);
    logger.add("Mark,begin\nTime,01-01-1970 01:16:41.500,Watts,52.070,Volts,229.9\n");
    let (taken, result) = read(&mut meter, &clock);
    assert_eq!(taken, [(1500, 52_070_000)]);
    result.unwrap();
}

#[track_caller]
fn check_absent(settings: &Settings, want: &str) {
    let reason = Meter::open(settings, &Hand::default())
        .err()
        .unwrap()
        .to_string();
    assert!(reason.contains(want), "{reason}");
}

#[test]
fn a_file_that_is_no_meters_is_a_reason() {
    let logger = Logger::begin("time,watts\n");
    check_absent(
        &csv(&logger.path(), ""),
        "no column `unix_s`, there are: time, watts",
    );
    check_absent(
        &csv(Path::new("/nowhere/m.csv"), ""),
        "cannot read the meter's file `/nowhere/m.csv`",
    );
    check_absent(
        &csv(logger.folder.path(), ""),
        "cannot read the meter's file",
    );
}
