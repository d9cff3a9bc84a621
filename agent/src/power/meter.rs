//! A meter at the plug or the DC input, by the file that its logger writes while we measure.
//!
//! The file is followed as it grows, so rows count only if the logger writes them during the run: a window has its sample on
//! each side when the row after its end is there in time, and a logger that holds rows back costs coverage, visibly.
//! The meter's time is tied to ours once, at the start, by the wall clock and the stated offset, which the sensor carries; a row
//! from the future shows that the offset is wrong, and is refused.
//!
//! A logger may begin a new file in the middle (rotation, a restart): reading goes on at the new one's start. What is in a row
//! and not understood is counted as a failed reading, and so is a file that no longer grows.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    mem,
    os::unix::fs::MetadataExt,
    thread,
    time::Duration,
};

use tokwatt_domain::{
    power::{OwnClock, PowerSample, Provenance, Rail, Reading, Sensor},
    time::Stamp,
    units::Watts,
};

use self::form::{Columns, NoRow, Row, spl_row};
use super::{Absent, Pace, PowerSource, ReadError, Taken};
use crate::clock::Clock;

pub use self::form::{Form, Settings};

/// What a file looks like.
mod form;

/// A meter's file being followed.
#[derive(Debug)]
pub struct Meter {
    settings: Settings,
    log: Log,
    tie: Tie,
    /// The latest row's time.
    last: Option<Stamp>,
    /// When the file last grew, or its silence was last told.
    heard_at: Stamp,
    /// Since when there has been no file to read.
    lost_at: Option<Stamp>,
    sensors: [Sensor; 1],
}

/// The file as it was last opened.
#[derive(Debug)]
struct Log {
    name: String,
    file: File,
    /// Read and not yet ended by a newline.
    rest: Vec<u8>,
    /// The beginning of the line that is arriving has been thrown away.
    is_headless: bool,
    read_bytes: u64,
    lines: Lines,
}

/// How a line becomes a row.
#[derive(Debug)]
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
        Ok(Self {
            log: Log::open(settings)?,
            tie: Tie::make(settings.offset_us, clock),
            last: None,
            heard_at: clock.now(),
            lost_at: None,
            sensors: [sensor(settings)],
            settings: settings.clone(),
        })
    }

    /// What has been written since; nothing after a while if there is nothing.
    fn follow(&mut self, now: Stamp) -> Result<(), ReadError> {
        if self.log.read_on()? {
            (self.heard_at, self.lost_at) = (now, None);
            return Ok(());
        }
        if self.log.is_abandoned(&self.settings) {
            return self.begin_anew(now);
        }
        let silence = now.since(self.heard_at);
        if silence >= SILENCE_MAX {
            self.heard_at = now;
            let name = &self.log.name;
            return Err(ReadError::Transient(format!(
                "`{name}` has not grown for {silence:.0?}"
            )));
        }
        thread::sleep(POLL);
        Ok(())
    }

    /// The logger may be about to write the new file's header.
    fn begin_anew(&mut self, now: Stamp) -> Result<(), ReadError> {
        let name = &self.log.name;
        let Absent(reason) = match Log::open(&self.settings) {
            Ok(log) => {
                let message = format!("`{name}` was begun anew, reading on from its start");
                (self.log, self.heard_at, self.lost_at) = (log, now, None);
                return Err(ReadError::Transient(message));
            }
            Err(absent) => absent,
        };
        if now.since(*self.lost_at.get_or_insert(now)) >= NEW_FILE_PATIENCE {
            let message = "was removed, cut or replaced while it was read";
            return Err(ReadError::Fatal(format!("`{name}` {message}: {reason}")));
        }
        thread::sleep(POLL);
        Ok(())
    }

    /// Rows from before the agent started are of no use and no failure.
    fn take(&mut self, line: &str, now: Stamp) -> Result<Option<Taken>, String> {
        let name = &self.log.name;
        let row = self.log.lines.row(line).map_err(|NoRow(why)| {
            let excerpt: String = line.chars().take(EXCERPT_CHARS).collect();
            format!("`{excerpt}` is no row of `{name}`: {why}")
        })?;
        let Some((row, at)) = row.and_then(|row| Some((row, self.tie.stamp(row)?))) else {
            return Ok(None);
        };
        if at > now {
            let ahead = at.since(now);
            return Err(format!(
                "`{name}` is {ahead:.1?} ahead of this machine's clock: set its offset"
            ));
        }
        if self.last.is_some_and(|last| last >= at) {
            return Err(format!("`{name}` has rows out of order"));
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
        self.follow(clock.now())?;
        let mut failure = None;
        for line in self.log.take_lines()? {
            match self.take(&line, clock.now()) {
                Ok(taken) => into.extend(taken),
                Err(message) => failure = failure.or(Some(message)),
            }
        }
        failure.map_or(Ok(()), |message| Err(ReadError::Transient(message)))
    }
}

impl Log {
    fn open(settings: &Settings) -> Result<Self, Absent> {
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
            is_headless: false,
            lines,
        })
    }

    /// Whether there was more.
    fn read_on(&mut self) -> Result<bool, ReadError> {
        let failed = |error| ReadError::Fatal(format!("cannot read `{}`: {error}", self.name));
        let mut bytes = [0; CHUNK_BYTES];
        let n = self.file.read(&mut bytes).map_err(failed)?;
        self.rest.extend_from_slice(&bytes[..n]);
        self.read_bytes += u64::try_from(n).expect("a chunk's length fits 64 bits");
        Ok(n > 0)
    }

    /// Its path leads to another file now or to none, or it is shorter than what was read of it.
    fn is_abandoned(&self, settings: &Settings) -> bool {
        let identity = |file: &Metadata| (file.dev(), file.ino());
        let held = self.file.metadata();
        let named = fs::metadata(&settings.path);
        match (held, named) {
            (Ok(held), Ok(named)) => {
                identity(&held) != identity(&named) || held.len() < self.read_bytes
            }
            _ => true,
        }
    }

    /// Whole lines: a logger may be in the middle of one.
    fn take_lines(&mut self) -> Result<Vec<String>, ReadError> {
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            if self.rest.len() <= CHUNK_BYTES {
                return Ok(Vec::new());
            }
            self.rest.clear();
            return match mem::replace(&mut self.is_headless, true) {
                true => Ok(Vec::new()),
                false => Err(ReadError::Transient(format!(
                    "`{}` has a line of more than {CHUNK_BYTES} bytes, which is passed over",
                    self.name
                ))),
            };
        };
        let rest = self.rest.split_off(end + 1);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = rest;
        let lines = text.lines().skip(usize::from(self.is_headless));
        let lines = lines.filter(|line| !line.trim().is_empty());
        self.is_headless = false;
        Ok(lines.map(str::to_owned).collect())
    }
}

impl Lines {
    fn row(&self, line: &str) -> Result<Option<Row>, NoRow> {
        match self {
            Self::Csv(columns) => columns.row(line),
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
        asked_interval: None,
        clock: Some(OwnClock {
            offset_us: settings.offset_us,
            uncertainty: settings.uncertainty,
        }),
    }
}

/// Read at once, and more than a row has.
const CHUNK_BYTES: usize = 1 << 14;

/// More than a logger's header.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// How much of a line its error shows.
const EXCERPT_CHARS: usize = 80;

/// A logger that is silent for so long has lost its meter, and the windows meanwhile their energy.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long a file may be away or without its header before the meter is given up.
const NEW_FILE_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at a file that has not grown: short beside a meter's second.
const POLL: Duration = Duration::from_millis(50);
