//! The instruments of a made-up machine. On a Jetson the real reader of drivers' files reads made-up files, and made-up lines of
//! `tegrastats` go through the real parser; NVML's counter is made up as a whole, for there is no library to ask.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokwatt_domain::{
    device::DeviceKind,
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    time::Stamp,
    units::{Joules, Watts},
};

use super::MadeUp;
use crate::{
    clock::Clock,
    power::{
        Absent, Pace, PowerSource, ReadError, Taken,
        ina::Ina,
        rails,
        select::{Choice, Instrument, Selection},
        spbm::Spbm,
        tegrastats::{self, Line},
    },
};

/// The instruments that `choices` ask for, or those of this machine.
pub(super) fn select(made_up: &Arc<MadeUp>, choices: &[Choice], interval: Duration) -> Selection {
    let mut selection = Selection::default();
    for choice in choices {
        match choice {
            Choice::None => selection.refuse(),
            Choice::Auto => own(made_up)
                .iter()
                .for_each(|instrument| add(&mut selection, made_up, *instrument, interval)),
            Choice::Instrument(instrument) => {
                add(&mut selection, made_up, *instrument, interval);
            }
            Choice::Meter(_) | Choice::Replay(_) => selection.leave_out(
                "file",
                "a simulated machine has instruments of its own; leave the file or --simulate out",
            ),
        }
    }
    selection
}

fn own(made_up: &MadeUp) -> &'static [Instrument] {
    match made_up.machine.kind {
        DeviceKind::Gb10 => &[Instrument::Nvml, Instrument::Spbm],
        _ => &[Instrument::Ina],
    }
}

fn add(
    selection: &mut Selection,
    made_up: &Arc<MadeUp>,
    instrument: Instrument,
    interval: Duration,
) {
    let name = instrument.as_str();
    match open(made_up, instrument, interval) {
        Ok(source) => {
            let name_and_kind = format!("{name}, simulated on a made-up {}", made_up.machine.name);
            selection.sources.push(source);
            selection.why.push(name_and_kind);
        }
        Err(Absent(reason)) => selection.leave_out(name, &reason),
    }
}

fn open(
    made_up: &Arc<MadeUp>,
    instrument: Instrument,
    interval: Duration,
) -> Result<Box<dyn PowerSource>, Absent> {
    let kind = made_up.machine.kind;
    let reader: Box<dyn PowerSource> = match (instrument, kind) {
        (Instrument::Ina, _) => Box::new(Ina::open(&made_up.root(), kind)?),
        (Instrument::Spbm, _) => Box::new(Spbm::open(&made_up.root())?),
        (Instrument::Tegrastats, DeviceKind::AgxOrin | DeviceKind::Thor) => {
            Box::new(Tool::start(made_up.clone(), interval)?)
        }
        (Instrument::Nvml, DeviceKind::Gb10) => Box::new(Counter::of(made_up.clone())),
        _ => {
            return Err(Absent(format!(
                "a simulated {} has none",
                made_up.machine.name
            )));
        }
    };
    Ok(Box::new(Shown::new(made_up.clone(), reader)))
}

/// Lets the registers show the present before they are read, and loses readings as it was asked to.
struct Shown {
    made_up: Arc<MadeUp>,
    reader: Box<dyn PowerSource>,
    sensors: Vec<Sensor>,
    chance: ChaCha8Rng,
}

impl Shown {
    fn new(made_up: Arc<MadeUp>, reader: Box<dyn PowerSource>) -> Self {
        let simulated = |sensor: &Sensor| Sensor {
            provenance: Provenance::Simulated,
            ..sensor.clone()
        };
        Self {
            sensors: reader.sensors().iter().map(simulated).collect(),
            reader,
            chance: chance(&made_up, 1),
            made_up,
        }
    }

    fn is_dropped(&mut self) -> bool {
        u64::from(self.chance.next_u32()) * 1000
            < u64::from(self.made_up.dropped_per_mille) << u32::BITS
    }
}

impl PowerSource for Shown {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        self.reader.pace()
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let shown = self.made_up.show(clock.now());
        shown.map_err(|error| ReadError::Transient(format!("the simulation's files: {error}")))?;
        let before = into.len();
        self.reader.read(clock, into)?;
        if self.is_dropped() {
            into.truncate(before);
            return Err(ReadError::Transient(
                "dropped, as --simulate asked for".to_owned(),
            ));
        }
        Ok(())
    }
}

/// NVML's energy counter on GB10: in mJ, with something new ten times a second.
struct Counter {
    made_up: Arc<MadeUp>,
    sensors: [Sensor; 1],
}

impl Counter {
    fn of(made_up: Arc<MadeUp>) -> Self {
        let sensor = Sensor {
            source: "nvml".to_owned(),
            scope: Scope::GpuRail,
            rails: vec![Rail {
                name: "gpu0 NVIDIA GB10".to_owned(),
                quantum: Watts(0.001),
            }],
            reading: Reading::Counter {
                resolution: Joules(0.001),
            },
            refresh: None,
            averaging: Duration::ZERO,
            provenance: Provenance::Simulated,
            asked_interval: None,
            clock: None,
        };
        Self {
            made_up,
            sensors: [sensor],
        }
    }
}

impl PowerSource for Counter {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        let refreshed = Stamp(at.0 - at.0 % Stamp::at(COUNTER_REFRESH).0);
        let joules = self.made_up.world().joules(0, refreshed);
        let values = vec![whole(joules * 1e3) * 1000];
        let sample = PowerSample { at, values };
        into.push(Taken { sensor: 0, sample });
        Ok(())
    }
}

/// `tegrastats`: keeps its interval as badly as the real one, and prints what the chips show.
struct Tool {
    made_up: Arc<MadeUp>,
    sensors: Vec<Sensor>,
    interval: Duration,
    due: Stamp,
    chance: ChaCha8Rng,
}

impl Tool {
    fn start(made_up: Arc<MadeUp>, interval: Duration) -> Result<Self, Absent> {
        let machine = made_up.machine;
        let has = |name: &str| machine.rails.iter().any(|rail| rail.name == name);
        let sums = rails::sums(machine.kind, has).map_err(Absent)?;
        let sensor = |sum| tegrastats::sensor(sum, Provenance::Simulated, None);
        Ok(Self {
            sensors: sums.into_iter().map(sensor).collect(),
            interval,
            due: Stamp(0),
            chance: chance(&made_up, 2),
            made_up,
        })
    }

    fn line(&self, at: Stamp) -> String {
        let world = self.made_up.world();
        let rails = self.made_up.machine.rails.iter().enumerate();
        let rails = rails.map(|(place, rail)| {
            let milliwatts = self.made_up.host.reading(&world, place, at) / 1000;
            format!(" {} {milliwatts}mW/{milliwatts}mW", rail.name)
        });
        format!(
            "11-25-2026 12:00:00 RAM 9000/62841MB (lfb 4x4MB) CPU [3%@1190,off] GR3D_FREQ @[{}] tj@{:.3}C{}",
            self.made_up.machine.gpu_clock[1] / 1_000_000,
            world.temperature(at),
            rails.collect::<String>()
        )
    }
}

impl PowerSource for Tool {
    fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    fn pace(&self) -> Pace {
        Pace::Recorded(self.due)
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        // 0.8 to 4.5 % late, as measured on boards.
        let late = 8 + self.chance.next_u32() % 38;
        self.due = at.after(self.interval + self.interval * late / 1000);
        let line = Line::parse(&self.line(at));
        let line = line.map_err(|error| ReadError::Transient(error.to_string()))?;
        for (sensor, described) in self.sensors.iter().enumerate() {
            let values = tegrastats::microwatts(described, &line)
                .map_err(|rail| ReadError::Transient(format!("no rail {rail}")))?;
            let sample = PowerSample { at, values };
            into.push(Taken { sensor, sample });
        }
        Ok(())
    }
}

/// The seed's chance for one purpose; the world's own is stream 0.
fn chance(made_up: &MadeUp, stream: u64) -> ChaCha8Rng {
    let mut chance = ChaCha8Rng::seed_from_u64(made_up.seed);
    chance.set_stream(stream);
    chance
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "energies in mJ are far below 2^63"
)]
fn whole(figure: f64) -> i64 {
    figure.floor() as i64
}

impl MadeUp {
    /// Lets the machine live on to `at`, and its registers show it.
    pub(super) fn show(&self, at: Stamp) -> std::io::Result<()> {
        let mut world = self.world();
        world.advance(at);
        self.host.show(&world, at)
    }

    pub(super) fn world(&self) -> std::sync::MutexGuard<'_, super::world::World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const COUNTER_REFRESH: Duration = Duration::from_millis(100);
