//! A meter at the plug or the DC input, by the file that its logger writes while we measure.
//!
//! The file is followed as it grows, so rows count only if the logger writes them during the run: a window has its sample on
//! each side when the row after its end is there in time, and a logger that holds rows back costs coverage, visibly.
//! The meter's time is tied to ours once, at the start, by the wall clock and the stated offset; a row from the future
//! shows that the offset is wrong, and is refused.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    thread,
    time::Duration,
};

use tokwatt_domain::{
    power::{PowerSample, Provenance, Rail, Reading, Sensor},
    time::Stamp,
    units::Watts,
};

use self::form::{Columns, Row, spl_row};
use super::{Absent, Pace, PowerSource, ReadError, Taken};
use crate::clock::Clock;

pub use self::form::{Form, Settings};

/// What a file looks like.
mod form;

/// A meter's file being followed.
#[derive(Debug)]
pub struct Meter {
    name: String,
    file: File,
    /// Read and not yet ended by a newline.
    rest: Vec<u8>,
    read_bytes: u64,
    lines: Lines,
    tie: Tie,
    last: Option<Stamp>,
    sensors: [Sensor; 1],
}

/// How a line becomes a row.
#[derive(Clone, Copy, Debug)]
enum Lines {
    Csv(Columns),
    Spl,
}

/// The file's time and ours at one instant.
#[derive(Clone, Copy, Debug)]
struct Tie {
    file_us: i64,
    ours: Stamp,
}

impl Meter {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// It cannot be read, or has no header with these columns.
    pub fn open(settings: &Settings, clock: &dyn Clock) -> Result<Self, Absent> {
        let name = settings.path.display().to_string();
        let unreadable = |error| Absent(format!("cannot read the meter's file `{name}`: {error}"));
        let mut file = open_regular(settings).map_err(unreadable)?;
        let lines = match &settings.form {
            Form::Spl => Lines::Spl,
            Form::Csv { time, power } => {
                let header = read_header(&mut file).map_err(unreadable)?;
                let columns = Columns::find(&header, time, power);
                Lines::Csv(columns.map_err(|what| Absent(format!("`{name}`: {what}")))?)
            }
        };
        Ok(Self {
            read_bytes: file.stream_position().map_err(unreadable)?,
            name,
            file,
            rest: Vec::new(),
            lines,
            tie: Tie::make(settings.offset_us, clock),
            last: None,
            sensors: [sensor(settings)],
        })
    }

    /// What has been written since; nothing after a while if there is nothing.
    fn follow(&mut self) -> Result<(), ReadError> {
        let failed = |error| ReadError::Fatal(format!("cannot read `{}`: {error}", self.name));
        let mut bytes = [0; CHUNK_BYTES];
        match self.file.read(&mut bytes).map_err(failed)? {
            0 => self.wait(),
            n => {
                self.rest.extend_from_slice(&bytes[..n]);
                self.read_bytes += u64::try_from(n).expect("a chunk's length fits 64 bits");
                Ok(())
            }
        }
    }

    fn wait(&self) -> Result<(), ReadError> {
        let state = self.file.metadata();
        if state.is_ok_and(|state| state.nlink() == 0 || state.len() < self.read_bytes) {
            let message = "was removed or cut while it was read; the logger has to append to it";
            return Err(ReadError::Fatal(format!("`{}` {message}", self.name)));
        }
        thread::sleep(POLL);
        Ok(())
    }

    /// Whole lines: a logger may be in the middle of one.
    fn take_lines(&mut self) -> Result<Vec<String>, ReadError> {
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return match self.rest.len() > CHUNK_BYTES {
                true => Err(ReadError::Fatal(format!("`{}` has no lines", self.name))),
                false => Ok(Vec::new()),
            };
        };
        let rest = self.rest.split_off(end + 1);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        Ok(lines.map(str::to_owned).collect())
    }

    /// Rows from before the agent started are of no use and no failure.
    fn take(&mut self, line: &str, now: Stamp) -> Result<Option<Taken>, String> {
        let row = self.lines.row(line);
        let row = row.map_err(|()| format!("`{line}` is no row of `{}`", self.name))?;
        let Some((row, at)) = row.and_then(|row| Some((row, self.tie.stamp(row)?))) else {
            return Ok(None);
        };
        if at > now {
            let ahead = at.since(now);
            return Err(format!(
                "`{}` is {ahead:.1?} ahead of this machine's clock: set its offset",
                self.name
            ));
        }
        if self.last.is_some_and(|last| last >= at) {
            return Err(format!("`{}` has rows out of order", self.name));
        }
        self.last = Some(at);
        let values = vec![row.microwatts];
        let sample = PowerSample { at, values };
        Ok(Some(Taken { sensor: 0, sample }))
    }
}

impl PowerSource for Meter {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Instrument
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        self.follow()?;
        let mut failure = None;
        for line in self.take_lines()? {
            match self.take(&line, clock.now()) {
                Ok(taken) => into.extend(taken),
                Err(message) => failure = failure.or(Some(message)),
            }
        }
        failure.map_or(Ok(()), |message| Err(ReadError::Transient(message)))
    }
}

impl Lines {
    fn row(self, line: &str) -> Result<Option<Row>, ()> {
        match self {
            Self::Csv(columns) => columns.row(line).map(Some).ok_or(()),
            Self::Spl => spl_row(line),
        }
    }
}

impl Tie {
    /// The one use of the wall clock in arithmetic: the meter knows no other.
    fn make(offset_us: i64, clock: &dyn Clock) -> Self {
        Self {
            file_us: clock.wall().0.saturating_sub(offset_us),
            ours: clock.now(),
        }
    }

    /// `None`: before the agent started.
    fn stamp(self, row: Row) -> Option<Stamp> {
        let since_us = i128::from(row.time_us) - i128::from(self.file_us);
        let stamp_ns = i128::from(self.ours.0) + 1000 * since_us;
        u64::try_from(stamp_ns).ok().map(Stamp)
    }
}

/// Never waits for a pipe: a logger writes a file.
fn open_regular(settings: &Settings) -> io::Result<File> {
    match fs::metadata(&settings.path)?.is_file() {
        true => File::open(&settings.path),
        false => Err(ErrorKind::InvalidInput.into()),
    }
}

/// The first line; what comes after it is read later.
fn read_header(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut start = BufReader::new(&*file).take(LINE_BYTES_MAX);
    let length = start.read_until(b'\n', &mut bytes)?;
    let length = u64::try_from(length).expect("a line's length fits 64 bits");
    file.seek(SeekFrom::Start(length))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A meter states neither its step nor how long it averages.
fn sensor(settings: &Settings) -> Sensor {
    let rail = match &settings.form {
        Form::Csv { power, .. } => power,
        Form::Spl => "Watts",
    };
    Sensor {
        source: "csv".to_owned(),
        scope: settings.scope,
        rails: vec![Rail {
            name: rail.to_owned(),
            quantum: Watts(0.0),
        }],
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance: Provenance::Measured,
    }
}

/// Read at once, and more than a row has.
const CHUNK_BYTES: usize = 1 << 14;

/// More than a logger's header.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// Between two looks at a file that has not grown: short beside a meter's second.
const POLL: Duration = Duration::from_millis(50);
