//! A recording instead of an instrument: `replay:FILE`, in real time from its start, over and over.
//!
//! Two kinds of files are read. JSON Lines, made for it: the first line is the sensor, every other one a sample with the time
//! since the start in seconds, rising, and a value for each rail in µW (µJ for a counter):
//!
//! ```text
//! {"sensor": {"source": "replay", "scope": "module", "rails": [{"name": "VDD_IN", "quantum": 0.04}], "reading": "power",
//!             "refresh": null, "averaging": {"secs": 0, "nanos": 0}, "provenance": "measured"}}     (on one line)
//! {"t_s": 0.0, "values": [4287000]}
//! {"t_s": 0.1, "values": [4326000]}
//! ```
//!
//! Or what `tegrastats` printed, as it stands. Its lines are taken to be evenly spaced: as its first and last time of day say
//! (they have whole seconds only), else by one second.
//!
//! What is replayed says so: its provenance is `replayed`, or whatever weaker one the file states.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use serde::Deserialize;
use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Reading, Sensor},
    time::Stamp,
};

use super::{
    Pace, PowerSource, ReadError, Taken, rails,
    tegrastats::{self, Line},
};
use crate::clock::Clock;

/// A recording being played.
#[derive(Debug)]
pub struct Replay {
    sensors: Vec<Sensor>,
    ticks: Vec<Tick>,
    /// From one start to the next.
    lap: Duration,
    start: Option<Stamp>,
    next: usize,
    laps: u32,
}

/// What was recorded at one instant.
#[derive(Clone, Debug, PartialEq)]
struct Tick {
    since_start: Duration,
    /// For each sensor its rails' values; `None` where there was no reading.
    values: Vec<Option<Vec<i64>>>,
}

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum BadRecording {
    /// It cannot be read.
    #[error("cannot read the power recording `{path}`")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A line is wrong.
    #[error("power recording `{path}` line {line}: {what}")]
    Line {
        /// The file.
        path: String,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// The first line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    sensor: Sensor,
}

/// Every other line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    t_s: f64,
    values: Vec<i64>,
}

impl Replay {
    /// Reads the whole file; `kind` says what the rails of a `tegrastats` log make up.
    ///
    /// # Errors
    /// Names file and line.
    pub fn open(path: &Path, kind: DeviceKind) -> Result<Self, BadRecording> {
        let name = path.display().to_string();
        let text = read(path).map_err(|source| BadRecording::Unreadable {
            path: name.clone(),
            source,
        })?;
        let parsed = match text.trim_start().starts_with('{') {
            true => parse_rows(&text),
            false => parse_log(&text, kind),
        };
        let (sensors, ticks) = parsed.map_err(|(line, what)| BadRecording::Line {
            path: name,
            line,
            what,
        })?;
        Ok(Self {
            sensors,
            lap: lap(&ticks),
            ticks,
            start: None,
            next: 0,
            laps: 0,
        })
    }

    fn due(&self, start: Stamp) -> Stamp {
        start.after(self.lap * self.laps + self.ticks[self.next].since_start)
    }

    fn play(&mut self, at: Stamp, into: &mut Vec<Taken>) {
        let tick = &self.ticks[self.next];
        for (sensor, values) in tick.values.iter().enumerate() {
            if let Some(values) = values {
                let values = self.counted_on(sensor, values);
                let sample = PowerSample { at, values };
                into.push(Taken { sensor, sample });
            }
        }
        self.next += 1;
        if self.next == self.ticks.len() {
            self.next = 0;
            self.laps = self.laps.saturating_add(1);
        }
    }

    /// A counter must not fall when the recording starts again.
    fn counted_on(&self, sensor: usize, values: &[i64]) -> Vec<i64> {
        if self.sensors[sensor].reading == Reading::Power {
            return values.to_vec();
        }
        let of = |tick: Option<&Tick>| tick.and_then(|tick| tick.values[sensor].clone());
        let first = of(self.ticks.first()).unwrap_or_default();
        let last = of(self.ticks.last()).unwrap_or_default();
        let steps = i64::try_from(self.ticks.len()).unwrap_or(i64::MAX).max(2) - 1;
        let gains = first.iter().zip(&last).map(|(first, last)| {
            let gain = last - first;
            (gain + gain / steps).saturating_mul(i64::from(self.laps))
        });
        values
            .iter()
            .zip(gains)
            .map(|(value, gain)| value.saturating_add(gain))
            .collect()
    }
}

impl PowerSource for Replay {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Recorded(self.start.map_or(Stamp(0), |start| self.due(start)))
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let now = clock.now();
        let start = *self.start.get_or_insert(now);
        while self.due(start) <= now {
            self.play(self.due(start), into);
        }
        Ok(())
    }
}

type Parsed = Result<(Vec<Sensor>, Vec<Tick>), (usize, String)>;

fn parse_rows(text: &str) -> Parsed {
    let mut lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    let (number, header) = lines.next().ok_or((1, "no sensor".to_owned()))?;
    let header: Header =
        serde_json::from_str(header).map_err(|error| (number, error.to_string()))?;
    let mut sensor = header.sensor;
    sensor.provenance = sensor.provenance.weaker(Provenance::Replayed);
    let mut ticks: Vec<Tick> = Vec::new();
    for (number, line) in lines {
        let tick = parse_row(line, &sensor, ticks.last()).map_err(|what| (number, what))?;
        ticks.push(tick);
    }
    if ticks.is_empty() {
        return Err((number + 1, "no sample after the sensor".to_owned()));
    }
    Ok((vec![sensor], ticks))
}

fn parse_row(line: &str, sensor: &Sensor, before: Option<&Tick>) -> Result<Tick, String> {
    let row: Row = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let since_start = Duration::try_from_secs_f64(row.t_s)
        .map_err(|error| format!("t_s {}: {error}", row.t_s))?;
    if before.is_some_and(|before| since_start < before.since_start + STEP_MIN) {
        return Err(format!(
            "t_s {} is not 1 ms or more after the line before",
            row.t_s
        ));
    }
    let (got, want) = (row.values.len(), sensor.rails.len());
    if got != want {
        return Err(format!("{got} values for {want} rails"));
    }
    Ok(Tick {
        since_start,
        values: vec![Some(row.values)],
    })
}

fn parse_log(text: &str, kind: DeviceKind) -> Parsed {
    let lines: Vec<_> = text.lines().map(Line::parse).collect();
    let first = lines.iter().find_map(|line| line.as_ref().ok());
    let first = first.ok_or((
        1,
        "neither a sensor's JSON nor a line of tegrastats".to_owned(),
    ))?;
    let sums =
        rails::sums(kind, |rail| first.rail_mw(rail).is_some()).map_err(|reason| (1, reason))?;
    let sensor = |sum| tegrastats::sensor(sum, Provenance::Replayed, None);
    let sensors: Vec<Sensor> = sums.into_iter().map(sensor).collect();
    let unreadable = lines.iter().filter(|line| line.is_err()).count();
    if unreadable > 0 {
        tracing::warn!(unreadable, "lines of the power recording left out");
    }
    let period = period(&lines);
    let tick = |(number, line): (u32, &Result<Line, _>)| Tick {
        since_start: period * number,
        values: sensors
            .iter()
            .map(|sensor| tegrastats::microwatts(sensor, line.as_ref().ok()?).ok())
            .collect(),
    };
    let ticks = (0..).zip(&lines).map(tick).collect();
    Ok((sensors, ticks))
}

/// Mean time between lines by their times of day, where these differ; else one second.
fn period<E>(lines: &[Result<Line, E>]) -> Duration {
    let times: Vec<(u32, i64)> = (0..)
        .zip(lines)
        .filter_map(|(number, line)| {
            Some((number, seconds(line.as_ref().ok()?.timestamp.as_ref()?)?))
        })
        .collect();
    let span = times
        .first()
        .zip(times.last())
        .map(|(first, last)| (last.0 - first.0, last.1 - first.1));
    match span {
        Some((n @ 1.., seconds @ 1..)) => Duration::from_secs(seconds.unsigned_abs()) / n,
        _ => Duration::from_secs(1),
    }
}

/// `MM-DD-YYYY HH:MM:SS` as seconds since some midnight.
fn seconds(timestamp: &str) -> Option<i64> {
    let numbers: Vec<i64> = timestamp
        .split(['-', ' ', ':'])
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [month, day, year, hour, minute, second] = numbers[..] else {
        return None;
    };
    // Months counted from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The recording and one more mean period, so that its last sample and its first do not coincide.
fn lap(ticks: &[Tick]) -> Duration {
    let length = ticks
        .last()
        .map(|tick| tick.since_start)
        .unwrap_or_default();
    let steps = u32::try_from(ticks.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let period = length.checked_div(steps).filter(|period| !period.is_zero());
    length + period.unwrap_or(Duration::from_secs(1))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// No instrument of ours is faster, and a recording of one that is would keep a core busy.
const STEP_MIN: Duration = Duration::from_millis(1);

/// A day of `tegrastats` at one line a second.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use tokwatt_domain::time::WallTime;

    use super::*;

    const SENSOR: &str = r#"{"sensor": {"source": "replay", "scope": "module", "rails": [{"name": "VDD_IN", "quantum": 0.04}], "reading": "power", "refresh": null, "averaging": {"secs": 0, "nanos": 0}, "provenance": "measured"}}"#;

    fn open(text: &str) -> Result<Replay, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("power.log");
        fs::write(&path, text).unwrap();
        Replay::open(&path, DeviceKind::OrinNx).map_err(|error| {
            let folder = folder.path().display().to_string();
            error.to_string().replace(&folder, "")
        })
    }

    /// Moves on a second with every look.
    struct Stepping(Mutex<u64>);

    impl Clock for Stepping {
        fn now(&self) -> Stamp {
            let mut seconds = self.0.lock().unwrap();
            *seconds += 1;
            Stamp::at(Duration::from_secs(*seconds))
        }

        fn wall(&self) -> WallTime {
            WallTime(0)
        }
    }

    fn play(mut replay: Replay, n: usize) -> Vec<(u64, i64)> {
        let clock = Stepping(Mutex::new(0));
        let mut taken = Vec::new();
        while taken.len() < n {
            replay.read(&clock, &mut taken).unwrap();
        }
        let start = taken[0].sample.at;
        let since = |at: Stamp| at.since(start).as_secs();
        taken[..n]
            .iter()
            .map(|taken| (since(taken.sample.at), taken.sample.values[0]))
            .collect()
    }

    #[test]
    fn a_recording_is_played_over_and_over_and_says_that_it_is_one() {
        let replay = open(&format!(
            "{SENSOR}\n{{\"t_s\": 0, \"values\": [5]}}\n{{\"t_s\": 2, \"values\": [7]}}\n"
        ))
        .unwrap();
        assert_eq!(replay.sensors[0].provenance, Provenance::Replayed);
        assert_eq!(play(replay, 4), [(0, 5), (2, 7), (4, 5), (6, 7)]);
    }

    #[test]
    fn a_counter_does_not_fall_when_the_recording_starts_again() {
        let sensor = SENSOR.replace("\"power\"", r#"{"counter": {"resolution": 0.001}}"#);
        let replay = open(&format!(
            "{sensor}\n{{\"t_s\": 0, \"values\": [10]}}\n{{\"t_s\": 1, \"values\": [13]}}\n"
        ))
        .unwrap();
        assert_eq!(play(replay, 4), [(0, 10), (1, 13), (2, 16), (3, 19)]);
    }

    #[test]
    fn a_log_is_spaced_by_its_own_times() {
        let log = "02-28-2024 23:59:59 VDD_IN 1mW/9mW\nVDD_IN 2mW/9mW\n02-29-2024 00:00:03 VDD_IN 3mW/9mW\n";
        assert_eq!(
            play(open(log).unwrap(), 3),
            [(0, 1000), (2, 2000), (4, 3000)]
        );
        let log = "VDD_IN 1/9\nnonsense\nVDD_IN 3/9\n";
        assert_eq!(
            play(open(log).unwrap(), 3),
            [(0, 1000), (2, 3000), (3, 1000)]
        );
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        let error = open(text).unwrap_err();
        assert!(
            error.starts_with("power recording `/power.log` line "),
            "{error}"
        );
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        check("", "line 1: neither");
        check("hello\n", "line 1: neither");
        check("{\"sensor\": 5}", "line 1: invalid type");
        check(SENSOR, "line 2: no sample");
        check(
            &format!("{SENSOR}\n{{\"t_s\": 0, \"watts\": [1]}}"),
            "line 2: unknown field `watts`",
        );
        check(
            &format!("{SENSOR}\n{{\"t_s\": 0, \"values\": [1, 2]}}"),
            "line 2: 2 values for 1 rails",
        );
        check(
            &format!("{SENSOR}\n{{\"t_s\": -1, \"values\": [1]}}"),
            "line 2: t_s -1",
        );
        let twice = "{\"t_s\": 1, \"values\": [1]}\n";
        check(
            &format!("{SENSOR}\n{twice}{twice}"),
            "line 3: t_s 1 is not 1 ms",
        );
        check("CPU [1%@2]\n", "none of the rails");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Replay::open(Path::new("/nowhere.jsonl"), DeviceKind::OrinNx).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the power recording `/nowhere.jsonl`"
        );
    }
}
