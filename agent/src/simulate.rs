//! A machine that does not exist: its files, its instruments, its engine, and what it truly draws.
//!
//! `--simulate orin|thor|gb10` makes a whole bench run on it, in virtual time: a minute of idle power passes at once, and a seed
//! repeats itself. Everything around is real: probe, sampler, runner, spool, arithmetic. What comes out says `simulated`
//! wherever it is seen, and stands beside the truth, which no real machine tells.

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokwatt_domain::{
    device::DeviceProfile,
    ids::DeviceId,
    power::Scope,
    time::{Stamp, Window},
    units::Joules,
};

use self::{host::Host, machine::Machine, world::World};
use crate::{
    clock::Clock,
    device::{self, HostRoot, gauges::Gauges},
    power::select::{Choice, Selection},
};

pub use self::{
    engine::Engine,
    expected::{Expected, Work},
    model::{Model, NoModel},
    sight::Sight,
};

/// What the machines can do and draw.
mod machine;

/// What one truly draws, in closed form.
mod world;

/// Its files.
mod host;

/// Its instruments.
mod instruments;

/// Its gauges.
mod gauges;

/// Models for it, and what they truly are.
mod model;

/// What models say of pictures.
mod sight;

/// Its engine.
mod engine;

/// What is to be expected of them.
mod expected;

/// Which machine, and what is wrong with it: `NAME[?seed=N][&drop=SHARE][&refresh=MS][&ambient=CELSIUS]`.
#[derive(Clone, Debug)]
pub struct Spec {
    machine: &'static Machine,
    seed: u64,
    /// Readings that are lost.
    dropped_per_mille: u16,
    /// How often its power monitors have something new, in ms.
    refresh_ms: u16,
    /// In °C; what is hot throttles sooner.
    ambient: i16,
}

/// No such machine can be made up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0}; it is orin, thor or gb10, with ?seed=N, &drop=SHARE (0 to 0.9), &refresh=MS (1 to 5000) or &ambient=CELSIUS (-40 to 100) behind it"
)]
pub struct BadSpec(String);

/// A made-up machine.
pub struct Simulated(Arc<MadeUp>);

/// What its parts share.
struct MadeUp {
    machine: &'static Machine,
    seed: u64,
    dropped_per_mille: u16,
    folder: TempDir,
    host: Host,
    world: Mutex<World>,
}

impl Simulated {
    /// Makes its files, in a folder that goes with it.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn make(spec: &Spec) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tokwatt-simulate-")
            .tempdir()?;
        let refresh = Duration::from_millis(spec.refresh_ms.into());
        let host = Host::make(folder.path(), spec.machine, spec.seed, refresh)?;
        let world = World::new(spec.machine, spec.seed, f64::from(spec.ambient));
        let made_up = MadeUp {
            machine: spec.machine,
            seed: spec.seed,
            dropped_per_mille: spec.dropped_per_mille,
            folder,
            host,
            world: Mutex::new(world),
        };
        made_up.show(Stamp(0))?;
        Ok(Self(Arc::new(made_up)))
    }

    /// Where its files are.
    pub fn root(&self) -> HostRoot {
        self.0.root()
    }

    /// What the probe finds, under a name that nobody takes for a device's.
    pub fn profile(&self) -> DeviceProfile {
        let mut profile = device::probe(&self.root(), self.0.folder.path());
        let (name, seed) = (self.0.machine.name, self.0.seed);
        profile.id = DeviceId::parse(&format!("simulated-{name}-{seed}"))
            .expect("names and numbers are plain");
        let made_up =
            format!("made up from seed {seed}, in virtual time: nothing of it was measured");
        profile.facts.insert("simulated".to_owned(), made_up);
        profile
    }

    /// What everything about it comes from.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The instruments that `choices` ask for.
    pub fn instruments(&self, choices: &[Choice], interval: Duration) -> Selection {
        instruments::select(&self.0, choices, interval)
    }

    /// Its engine, with a model that is not loaded yet; without a sight, or if it is not of such a nature, what it says means nothing.
    pub fn engine(&self, model: Model, clock: Arc<dyn Clock>, sight: Option<Arc<Sight>>) -> Engine {
        Engine::new(self.0.clone(), clock, model, sight)
    }

    /// What its gauges show.
    pub fn gauges(&self, clock: Arc<dyn Clock>) -> Gauges {
        Gauges::of(vec![Box::new(gauges::Shown::new(self.0.clone(), clock))])
    }

    /// What was truly drawn in a scope over a window of the past; `None` where it has no such scope.
    pub fn energy(&self, scope: Scope, window: Window) -> Option<Joules> {
        self.0.world().energy(scope, window)
    }
}

impl MadeUp {
    fn root(&self) -> HostRoot {
        HostRoot::at(self.folder.path())
    }
}

impl FromStr for Spec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let (name, options) = text.split_once('?').unwrap_or((text, ""));
        let machine = Machine::ALL
            .into_iter()
            .find(|machine| machine.name == name);
        let machine = machine.ok_or_else(|| BadSpec(format!("no machine `{name}`")))?;
        let mut spec = Self {
            machine,
            seed: 1,
            dropped_per_mille: 0,
            refresh_ms: 4,
            ambient: 25,
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let set = option
                .split_once('=')
                .and_then(|(key, value)| spec.set(key, value));
            set.ok_or_else(|| BadSpec(format!("`{option}` is no option of it")))?;
        }
        Ok(spec)
    }
}

impl Spec {
    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "seed" => self.seed = value.parse().ok()?,
            "drop" => {
                let share: f64 = value.parse().ok()?;
                let per_mille =
                    (0..=900_u16).find(|n| (f64::from(*n) / 1000.0 - share).abs() < 5e-4);
                self.dropped_per_mille = per_mille?;
            }
            "refresh" => {
                let milliseconds = value.parse().ok();
                self.refresh_ms = milliseconds.filter(|ms| (1..=5000).contains(ms))?;
            }
            "ambient" => {
                let celsius = value.parse().ok();
                self.ambient = celsius.filter(|celsius| (-40..=100).contains(celsius))?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from seed {}", self.machine.name, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_with_its_seed_and_its_faults() {
        let spec: Spec = "gb10?seed=7&drop=0.2&ambient=40".parse().unwrap();
        assert_eq!(
            (
                spec.machine.name,
                spec.seed,
                spec.dropped_per_mille,
                spec.ambient
            ),
            ("gb10", 7, 200, 40)
        );
    }

    #[test]
    fn what_is_no_machine_is_told_what_there_is() {
        for text in [
            "tx2",
            "",
            "orin?drop=2",
            "orin?drop",
            "orin?refresh=0",
            "orin?speed=3",
            "orin?ambient=900",
        ] {
            let message = text.parse::<Spec>().unwrap_err().to_string();
            assert!(message.contains("orin, thor or gb10"), "{message}");
        }
    }

    #[test]
    fn every_machine_is_recognised_by_its_files_and_called_simulated() {
        for machine in Machine::ALL {
            let simulated = Simulated::make(&machine.name.parse().unwrap()).unwrap();
            let profile = simulated.profile();
            assert_eq!(profile.kind, machine.kind);
            assert_eq!(profile.id.as_str(), format!("simulated-{}-1", machine.name));
            assert!(profile.facts["simulated"].contains("nothing of it was measured"));
        }
    }
}
