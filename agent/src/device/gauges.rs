//! The conditions under which a device works: temperatures, limits, clocks, load, shown by gauges that are read now and again.
//!
//! The host's files are one source of gauges, NVIDIA's library can be another. A gauge that cannot be read costs its own
//! samples and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokwatt_domain::run::GaugeKind;

use self::place::{Place, Show};
use super::{HostRoot, Register, RegisterError};

/// Where a host's gauges are.
mod place;

/// What one gauge showed at one look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gauge {
    /// What it shows, and in which unit.
    pub kind: GaugeKind,
    /// Of what; once for each kind and source.
    pub name: String,
    /// How much.
    pub value: i64,
}

/// Memory of GPUs that is in use, in bytes over all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GpuMemory {
    /// By our processes: before they ran it was 0.
    OurProcesses(u64),
    /// By everybody, where ours cannot be told: means something beside what was in use before.
    Everybody(u64),
}

/// Something that shows conditions. Blocking on purpose: a look is taken where waiting harms nobody.
pub trait GaugeSource: Send {
    /// All its gauges, read in one pass; those that cannot be read now are left out. `ours` are the processes of the agent and the
    /// engine, absent where it is not known which those are.
    fn look(&mut self, ours: Option<&BTreeSet<u32>>) -> Vec<Gauge>;

    /// Looks for its gauges again: a power mode takes cores away, with their files, and brings others.
    fn find_again(&mut self) {}

    /// Why it showed nothing at its latest look, where it should have, and under which key of a run's reasons that stands.
    fn silence(&self) -> Option<(&'static str, String)> {
        None
    }

    /// Memory of its own that a GPU has in use; nothing where none is seen.
    fn gpu_memory(&mut self, _ours: Option<&BTreeSet<u32>>) -> Option<GpuMemory> {
        None
    }
}

/// All sources of a device, held open; a clone is the same ones.
#[derive(Clone, Default)]
pub struct Gauges(Arc<Mutex<Vec<Box<dyn GaugeSource>>>>);

/// A host's files, held open.
pub struct HostGauges {
    root: HostRoot,
    held: Vec<Held>,
}

/// A file that is read at every look.
struct Held {
    kind: GaugeKind,
    name: String,
    show: Show,
    register: Register,
    /// Looks at which an alarm was raised.
    n_alarms: i64,
    voice: Voice,
}

/// Whether a gauge has been heard of, so that its end is told, and told once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Voice {
    /// It has shown nothing yet: a sensor of a part that sleeps may fail at every look, which is no news.
    Unheard,
    Heard,
    Lost,
}

impl GpuMemory {
    /// In bytes, if it is that.
    pub fn of_our_processes(self) -> Option<u64> {
        match self {
            Self::OurProcesses(bytes) => Some(bytes),
            Self::Everybody(_) => None,
        }
    }

    /// In bytes, if it is that.
    pub fn of_everybody(self) -> Option<u64> {
        match self {
            Self::Everybody(bytes) => Some(bytes),
            Self::OurProcesses(_) => None,
        }
    }
}

impl Gauges {
    /// Of these sources.
    pub fn of(sources: Vec<Box<dyn GaugeSource>>) -> Self {
        Self(Arc::new(Mutex::new(sources)))
    }

    /// Looks at all of them, one source after the other; of two gauges with one name the later gets a number. Blocks its thread.
    pub fn look(&self, ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        let mut sources = self.sources();
        let mut taken = BTreeSet::new();
        let mut gauges = Vec::new();
        for (number, source) in (1..).zip(sources.iter_mut()) {
            for mut gauge in source.look(ours) {
                if !taken.insert((gauge.kind, gauge.name.clone())) {
                    gauge.name = format!("{} ({number})", gauge.name);
                }
                gauges.push(gauge);
            }
        }
        gauges
    }

    /// Looks for gauges again, after the device was changed. Blocks its thread.
    pub fn find_again(&self) {
        let mut sources = self.sources();
        sources.iter_mut().for_each(|source| source.find_again());
    }

    /// Why sources showed nothing at their latest look, by the key of a run's reasons. Waits for a look that is under way.
    pub fn silences(&self) -> BTreeMap<String, String> {
        let sources = self.sources();
        let silences = sources.iter().filter_map(|source| source.silence());
        silences
            .map(|(key, reason)| (key.to_owned(), reason))
            .collect()
    }

    /// Memory of GPUs by the first source that sees any. Blocks its thread.
    pub fn gpu_memory(&self, ours: Option<&BTreeSet<u32>>) -> Option<GpuMemory> {
        let mut sources = self.sources();
        sources
            .iter_mut()
            .find_map(|source| source.gpu_memory(ours))
    }

    /// A source that panicked once is asked again: it holds nothing that a look could leave half done.
    fn sources(&self) -> MutexGuard<'_, Vec<Box<dyn GaugeSource>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostGauges {
    /// Finds and opens what there is below `root`; a host without gauges has none.
    pub fn open(root: &HostRoot) -> Self {
        let mut gauges = Self {
            root: root.clone(),
            held: Vec::new(),
        };
        gauges.find_again();
        gauges
    }
}

impl GaugeSource for HostGauges {
    fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        self.held.iter_mut().filter_map(Held::look).collect()
    }

    fn find_again(&mut self) {
        let places = place::all(&self.root).into_iter();
        let held = places.filter_map(|place| Held::open(&self.root, place));
        self.held = held.collect();
    }
}

impl Held {
    fn open(root: &HostRoot, place: Place) -> Option<Self> {
        let Place {
            kind,
            name,
            path,
            show,
        } = place;
        match Register::open(root, path) {
            Ok(register) => Some(Self {
                kind,
                name,
                show,
                register,
                n_alarms: 0,
                voice: Voice::Unheard,
            }),
            Err(reason) => {
                tracing::debug!(%reason, gauge = name, "a gauge cannot be opened");
                None
            }
        }
    }

    fn look(&mut self) -> Option<Gauge> {
        let value = match self.register.read() {
            Ok(raw) => self.value(raw)?,
            Err(error) => {
                self.tell(&error);
                return None;
            }
        };
        if self.voice == Voice::Unheard {
            self.voice = Voice::Heard;
        }
        Some(Gauge {
            kind: self.kind,
            name: self.name.clone(),
            value,
        })
    }

    fn value(&mut self, raw: i64) -> Option<i64> {
        match self.show {
            Show::AsItIs => Some(raw),
            Show::Thousands => raw.checked_mul(1000),
            Show::Temperature => (raw > POWERED_DOWN).then_some(raw),
            Show::Alarm => {
                self.n_alarms += i64::from(raw > 0);
                Some(self.n_alarms)
            }
        }
    }

    fn tell(&mut self, error: &RegisterError) {
        if self.voice == Voice::Heard {
            tracing::warn!(%error, gauge = self.name, "a gauge cannot be read any more");
            self.voice = Voice::Lost;
        }
    }
}

/// What the temperature sensor of a part that is switched off shows, in m°C.
const POWERED_DOWN: i64 = -256_000;
