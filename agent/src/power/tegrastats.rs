//! NVIDIA's command line tool on Jetson, as a child of ours.
//!
//! Only the first figure of a rail is used: the second is a mean since the tool started, the third a maximum. A sample's
//! time is when its line arrived here: the tool keeps its interval to a few percent only and prints whole seconds.

use std::{thread, time::Duration};

use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Reading, Sensor},
    time::Stamp,
};

use self::child::{Child, Heard};
use super::{
    Absent, Pace, PowerSource, ReadError, Taken,
    rails::{self, Sum},
};
use crate::clock::Clock;

pub use self::{
    child::Settings,
    line::{Core, Engine, GpuLoad, Line, Unreadable},
};

/// The child process.
mod child;

/// One line.
mod line;

/// A running `tegrastats`, started again when it ends.
pub struct Tegrastats {
    settings: Settings,
    sensors: Vec<Sensor>,
    child: Option<Child>,
    buffering: Buffering,
    heard_at: Stamp,
    retry: Retry,
}

/// What is known about how the tool hands on its lines. NVIDIA's does it line by line on every release that was seen, and
/// promises it nowhere.
enum Buffering {
    /// As it comes; so many times lines were held back.
    Own(u32),
    /// It is run under `stdbuf -oL`.
    ByLine,
    /// That did not help.
    Hopeless,
}

/// When to start the child again.
struct Retry {
    at: Stamp,
    pause: Duration,
}

impl Tegrastats {
    /// Starts the tool and reads its first line, which says what rails the board has. Beside a recorded host the tool is
    /// another's too, and its figures are of that host's `provenance`.
    ///
    /// # Errors
    /// It does not start, says nothing readable in time, or its rails make no total on a device of this kind.
    pub fn open(
        settings: Settings,
        kind: DeviceKind,
        provenance: Provenance,
        clock: &dyn Clock,
    ) -> Result<Self, Absent> {
        let mut child = Child::start(&settings, false).map_err(|error| {
            Absent(format!(
                "cannot start the guard of `{}`: {error}",
                settings.program.display()
            ))
        })?;
        let line = first_line(&mut child, &settings, clock)?;
        let sums = rails::sums(kind, |rail| line.rail_mw(rail).is_some());
        let sums = sums.map_err(|reason| Absent(format!("{reason}; {}", seen(&line))))?;
        warn_if_suspicious(kind, &line);
        Ok(Self {
            sensors: sums
                .into_iter()
                .map(|sum| sensor(sum, provenance, Some(settings.interval)))
                .collect(),
            settings,
            child: Some(child),
            buffering: Buffering::Own(0),
            heard_at: clock.now(),
            retry: Retry::new(),
        })
    }

    /// Lines that come together were held back somewhere: only the last one's time is known.
    fn take(
        &mut self,
        at: Stamp,
        lines: &[String],
        into: &mut Vec<Taken>,
    ) -> Result<(), ReadError> {
        let Some((last, held_back)) = lines.split_last() else {
            return Ok(());
        };
        let line = Line::parse(last).map_err(|error| ReadError::Transient(error.to_string()))?;
        self.heard_at = at;
        self.retry = Retry::new();
        append(&self.sensors, &line, at, into)?;
        match held_back.len() {
            0 => {
                if let Buffering::Own(times) = &mut self.buffering {
                    *times = 0;
                }
                Ok(())
            }
            n => Err(self.note_held_back(n)),
        }
    }

    /// A stumble of the machine holds lines back once; a tool whose output is buffered by the block does it always.
    fn note_held_back(&mut self, n: usize) -> ReadError {
        let mut message = format!(
            "{n} lines of tegrastats came late, together with the next one, and were dropped"
        );
        if let Buffering::Own(times) = &mut self.buffering {
            *times += 1;
            if *times == HELD_BACK_MOST {
                self.buffering = Buffering::ByLine;
                self.child = None;
                message.push_str("; starting it again under `stdbuf -oL`");
            }
        }
        ReadError::Transient(message)
    }

    fn watch(&mut self, clock: &dyn Clock) -> Result<(), ReadError> {
        let silence = clock.now().since(self.heard_at);
        if silence > silence_max(self.settings.interval) {
            return self.lose(
                clock,
                format!("tegrastats said nothing for {silence:.1?}, starting it again"),
            );
        }
        Ok(())
    }

    fn lose(&mut self, clock: &dyn Clock, message: String) -> Result<(), ReadError> {
        self.child = None;
        self.retry.put_off(clock.now());
        Err(ReadError::Transient(message))
    }

    fn start_again(&mut self, clock: &dyn Clock) -> Result<(), ReadError> {
        let wait = self.retry.at.since(clock.now());
        if !wait.is_zero() {
            thread::sleep(wait.min(PATIENCE));
            return Ok(());
        }
        let by_line = matches!(self.buffering, Buffering::ByLine);
        match Child::start(&self.settings, by_line) {
            Ok(child) => {
                self.child = Some(child);
                self.heard_at = clock.now();
                Ok(())
            }
            Err(error) => self.lose(clock, format!("cannot start tegrastats again: {error}")),
        }
    }
}

impl PowerSource for Tegrastats {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Instrument
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let Some(child) = &mut self.child else {
            return self.start_again(clock);
        };
        match child.listen(clock, PATIENCE) {
            Heard::Lines { at, lines } => self.take(at, &lines, into),
            Heard::Nothing => self.watch(clock),
            Heard::Overlong => Err(ReadError::Transient(
                "a line of tegrastats without end was passed over".to_owned(),
            )),
            Heard::End(message) => {
                // Also where there is no `stdbuf`.
                if matches!(self.buffering, Buffering::ByLine) {
                    self.buffering = Buffering::Hopeless;
                }
                self.lose(clock, message)
            }
        }
    }
}

impl Retry {
    fn new() -> Self {
        Self {
            at: Stamp(0),
            pause: RETRY_FIRST,
        }
    }

    fn put_off(&mut self, now: Stamp) {
        self.at = now.after(self.pause);
        self.pause = (2 * self.pause).min(RETRY_LONGEST);
    }
}

/// The sensor for a sum of rails.
pub(crate) fn sensor(sum: Sum, provenance: Provenance, asked_interval: Option<Duration>) -> Sensor {
    Sensor {
        source: "tegrastats".to_owned(),
        scope: sum.scope,
        rails: sum.rails,
        reading: Reading::Power,
        refresh: None,
        averaging: Duration::ZERO,
        provenance,
        asked_interval,
        clock: None,
    }
}

/// One sample for every sensor whose rails the line has.
fn append(
    sensors: &[Sensor],
    line: &Line,
    at: Stamp,
    into: &mut Vec<Taken>,
) -> Result<(), ReadError> {
    let mut missing = Vec::new();
    for (sensor, described) in sensors.iter().enumerate() {
        match microwatts(described, line) {
            Ok(values) => into.push(Taken {
                sensor,
                sample: PowerSample { at, values },
            }),
            Err(rail) => missing.push(rail),
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(rail) => Err(ReadError::Transient(format!(
            "a line of tegrastats without rail {rail}"
        ))),
    }
}

/// The sensor's rails in µW, or the name of one that the line lacks.
pub(crate) fn microwatts<'a>(sensor: &'a Sensor, line: &Line) -> Result<Vec<i64>, &'a str> {
    let microwatts = |milliwatts: i64| milliwatts.saturating_mul(1000);
    let read = |name: &'a str| line.rail_mw(name).map(microwatts).ok_or(name);
    sensor.rails.iter().map(|rail| read(&rail.name)).collect()
}

fn first_line(child: &mut Child, settings: &Settings, clock: &dyn Clock) -> Result<Line, Absent> {
    let deadline = clock
        .now()
        .after(silence_max(settings.interval).max(FIRST_LINE));
    let mut said = "it said nothing".to_owned();
    while clock.now() < deadline {
        match child.listen(clock, PATIENCE) {
            Heard::Nothing => {}
            Heard::Overlong => said = "it printed a line without end".to_owned(),
            Heard::End(message) => {
                let remedy = "install it, or name it with --tegrastats PATH";
                return Err(Absent(format!("{message}; {remedy}")));
            }
            Heard::Lines { lines, .. } => match Line::parse(lines.last().map_or("", |line| line)) {
                Ok(line) => return Ok(line),
                Err(error) => said = error.to_string(),
            },
        }
    }
    let program = settings.program.display();
    Err(Absent(format!(
        "no readable line from `{program}` in time: {said}"
    )))
}

fn seen(line: &Line) -> String {
    let names: Vec<&str> = line.rails_mw.keys().map(String::as_str).collect();
    match names.is_empty() {
        true => {
            "tegrastats prints no rails here: this board has no sensors, or they are for root only"
                .to_owned()
        }
        false => format!("tegrastats has {}", names.join(", ")),
    }
}

fn warn_if_suspicious(kind: DeviceKind, line: &Line) {
    let readings = line
        .rails_mw
        .keys()
        .filter_map(|name| Some((&**name, line.rail_mw(name)?)));
    if let Some(suspicion) = rails::suspicion(kind, &readings.collect::<Vec<_>>()) {
        tracing::warn!(suspicion, "power labels");
    }
}

/// Three intervals without a line, and not less than a slow board's hiccup.
fn silence_max(interval: Duration) -> Duration {
    (3 * interval).max(Duration::from_secs(2))
}

/// How long a reading waits for a line, so that the sampler can be stopped.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long the first line may take: the tool looks for its sensors first.
const FIRST_LINE: Duration = Duration::from_secs(5);

/// Before the child is started again; then twice as long each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// So often lines may be held back before something is done about it.
const HELD_BACK_MOST: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_start_waits_twice_as_long_up_to_half_a_minute() {
        let mut retry = Retry::new();
        let mut now = Stamp(0);
        let mut wait = || {
            retry.put_off(now);
            let wait = retry.at.since(now);
            now = retry.at;
            wait.as_millis()
        };
        let waits: Vec<u128> = (0..9).map(|_| wait()).collect();
        assert_eq!(
            waits,
            [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
    }
}
