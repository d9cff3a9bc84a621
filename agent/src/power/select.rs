//! Which instruments to use: what was asked for, or what this device is known to have, and why.

use std::{collections::BTreeMap, iter, path::PathBuf, time::Duration};

use tokwatt_domain::{
    device::DeviceKind,
    power::{Scope, Sensor},
};

use super::{
    Absent, PowerSource,
    ina::Ina,
    meter::{self, Meter},
    nvml::NvmlSource,
    rapl::Rapl,
    replay::{BadRecording, Replay},
    spbm::Spbm,
    tegrastats::{self, Tegrastats},
};
use crate::{clock::Clock, device::HostRoot, guard::Guard};

/// One word of `--power`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Choice {
    /// What this device is known to have.
    Auto,
    /// Nothing: energy is not asked for.
    None,
    /// An instrument.
    Instrument(Instrument),
    /// An external meter's file.
    Meter(meter::Settings),
    /// A recording.
    Replay(PathBuf),
}

/// An instrument by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instrument {
    /// Power monitors of Jetson boards.
    Ina,
    /// NVIDIA's command line tool.
    Tegrastats,
    /// NVIDIA's library.
    Nvml,
    /// GB10's own telemetry.
    Spbm,
    /// Energy counters of x86 processors.
    Rapl,
}

/// `--power` does not name what there is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSource {
    /// No source is called so.
    #[error(
        "--power: unknown source `{0}`, there are: auto, none, ina, tegrastats, nvml, spbm, rapl, csv:FILE, spl:FILE, replay:FILE, \
         and several of them with commas"
    )]
    Unknown(String),
    /// A meter's file is not described as it should be.
    #[error("--power: `{word}`: {what}")]
    Meter {
        /// As it was given.
        word: String,
        /// What is wrong with it.
        what: String,
    },
}

/// What instruments need to start.
pub struct Surroundings<'a> {
    /// The host's files.
    pub root: &'a HostRoot,
    /// What the device is.
    pub kind: DeviceKind,
    /// Time between readings.
    pub interval: Duration,
    /// The program to run as `tegrastats`.
    pub tegrastats: PathBuf,
    /// What ends children with the agent.
    pub guard: Guard,
    /// For the first readings.
    pub clock: &'a dyn Clock,
}

/// Instruments that work, and what is to be said about them and the others.
#[derive(Default)]
pub struct Selection {
    /// Those that answered.
    pub sources: Vec<Box<dyn PowerSource>>,
    /// For people: how the choice came about.
    pub why: Vec<String>,
    /// Those that were tried and are not to be had: name to reason.
    pub reasons: BTreeMap<String, String>,
}

/// Reads `--power`.
///
/// # Errors
/// A word that is no source, with the choices; a meter that is described wrongly.
pub fn parse(list: &str) -> Result<Vec<Choice>, BadSource> {
    list.split(',').map(|word| parse_one(word.trim())).collect()
}

/// Opens the instruments of `choices`. One that is not to be had is a reason, also if it was asked for by name: a run without
/// energy is worth having.
///
/// # Errors
/// A recording that cannot be replayed.
pub fn select(choices: &[Choice], around: &Surroundings<'_>) -> Result<Selection, BadRecording> {
    let mut selection = Selection::default();
    for choice in choices {
        match choice {
            Choice::None => selection.refuse(),
            Choice::Auto => selection.choose(around),
            Choice::Instrument(instrument) => selection.obey(*instrument, around),
            Choice::Meter(settings) => selection.follow(settings, around.clock),
            Choice::Replay(path) => {
                let replay = Box::new(Replay::open(path, around.kind)?);
                let is_added = selection.add("replay", replay);
                let why = format!("power is replayed from `{}`", path.display());
                selection.tell("replay", is_added, why);
            }
        }
    }
    Ok(selection)
}

impl Selection {
    /// One sentence why there is no power, for `reasons.power`; `None` if there is some.
    pub fn why_none(&self) -> Option<String> {
        if !self.sources.is_empty() {
            return None;
        }
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        Some(reasons.join("; "))
    }

    /// Nothing is asked for.
    pub(crate) fn refuse(&mut self) {
        self.leave_out("--power none", "nobody asked for it");
    }

    /// This one is not to be had.
    pub(crate) fn leave_out(&mut self, name: &str, reason: &str) {
        self.reasons.insert(name.to_owned(), reason.to_owned());
    }

    fn choose(&mut self, around: &Surroundings<'_>) {
        let (candidates, wanted) = candidates(around.kind);
        let opened: Vec<&str> = candidates
            .iter()
            .filter(|instrument| self.try_one(**instrument, around))
            .map(|instrument| instrument.as_str())
            .take(wanted)
            .collect();
        let (kind, tried) = (around.kind, names(candidates));
        if opened.is_empty() {
            let nothing = format!("auto: nothing answers on this {kind} device (tried {tried})");
            self.why.push(nothing);
            return;
        }
        let refused = candidates
            .iter()
            .filter_map(|one| self.refusal(one.as_str()));
        let (n_opened, opened) = (opened.len(), opened.join(", "));
        let chosen = format!("auto: {opened} on this {kind} device (of {tried})");
        let why: Vec<String> = iter::once(chosen).chain(refused).collect();
        self.why.extend(why);
        self.explain(n_opened);
    }

    /// What the last `n` sources say of themselves.
    fn explain(&mut self, n: usize) {
        let last = self.sources.iter().rev().take(n).rev();
        self.why.extend(last.filter_map(|source| source.why()));
    }

    fn obey(&mut self, instrument: Instrument, around: &Surroundings<'_>) {
        let is_added = self.try_one(instrument, around);
        let name = instrument.as_str();
        self.tell(name, is_added, format!("{name}, as asked for"));
        self.explain(usize::from(is_added));
    }

    fn follow(&mut self, settings: &meter::Settings, clock: &dyn Clock) {
        let is_added = match Meter::open(settings, clock) {
            Ok(meter) => self.add("meter", Box::new(meter)),
            Err(Absent(reason)) => {
                self.reasons.insert("meter".to_owned(), reason);
                false
            }
        };
        self.tell("meter", is_added, settings.to_string());
    }

    /// One that was asked for and is not to be had is said as well.
    fn tell(&mut self, name: &str, is_added: bool, why: String) {
        let refusal = self.refusal(name).filter(|_| !is_added);
        self.why.push(refusal.unwrap_or(why));
    }

    fn refusal(&self, name: &str) -> Option<String> {
        let reason = self.reasons.get(name)?;
        Some(format!("not {name}: {reason}"))
    }

    fn try_one(&mut self, instrument: Instrument, around: &Surroundings<'_>) -> bool {
        match open(instrument, around) {
            Ok(source) => self.add(instrument.as_str(), source),
            Err(Absent(reason)) => {
                self.reasons.insert(instrument.as_str().to_owned(), reason);
                false
            }
        }
    }

    /// Instrument and scope name a series of samples: a second one of the same name would be taken for the first.
    fn add(&mut self, name: &str, source: Box<dyn PowerSource>) -> bool {
        let names = |sensor: &Sensor| (sensor.source.clone(), sensor.scope);
        let known = self.sources.iter().flat_map(|source| source.sensors());
        let known: Vec<(String, Scope)> = known.map(names).collect();
        let mut own = source.sensors().iter().map(names);
        if let Some((source, scope)) = own.find(|own| known.contains(own)) {
            let reason = format!("{source} reads {scope} already, and is read once");
            self.reasons.insert(name.to_owned(), reason);
            return false;
        }
        self.sources.push(source);
        true
    }
}

impl Instrument {
    /// Its name in `--power`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ina => "ina",
            Self::Tegrastats => "tegrastats",
            Self::Nvml => "nvml",
            Self::Spbm => "spbm",
            Self::Rapl => "rapl",
        }
    }
}

fn parse_one(word: &str) -> Result<Choice, BadSource> {
    Ok(match word {
        "auto" => Choice::Auto,
        "none" => Choice::None,
        "ina" => Choice::Instrument(Instrument::Ina),
        "tegrastats" => Choice::Instrument(Instrument::Tegrastats),
        "nvml" => Choice::Instrument(Instrument::Nvml),
        "spbm" => Choice::Instrument(Instrument::Spbm),
        "rapl" => Choice::Instrument(Instrument::Rapl),
        word => parse_file(word)?,
    })
}

fn parse_file(word: &str) -> Result<Choice, BadSource> {
    let wrong = |what| BadSource::Meter {
        word: word.to_owned(),
        what,
    };
    match word.split_once(':') {
        Some(("csv", rest)) => Ok(Choice::Meter(meter::Settings::csv(rest).map_err(wrong)?)),
        Some(("spl", rest)) => Ok(Choice::Meter(meter::Settings::spl(rest).map_err(wrong)?)),
        Some(("replay", path)) if !path.is_empty() => Ok(Choice::Replay(PathBuf::from(path))),
        _ => Err(BadSource::Unknown(word.to_owned())),
    }
}

/// What to try on a device, in order, and how many of it at most.
///
/// On a Jetson one is enough: `tegrastats` reads the drivers' files too, at its own pace; what NVML sees on Thor is the rail
/// `VDD_GPU`; and Orin's NVML refuses. On GB10 NVML sees the GPU only.
fn candidates(kind: DeviceKind) -> (&'static [Instrument], usize) {
    match kind {
        DeviceKind::Thor
        | DeviceKind::AgxOrin
        | DeviceKind::OrinNx
        | DeviceKind::AgxXavier
        | DeviceKind::XavierNx
        | DeviceKind::Tx2
        | DeviceKind::Nano => (
            &[Instrument::Ina, Instrument::Tegrastats, Instrument::Nvml],
            1,
        ),
        DeviceKind::Gb10 => (&[Instrument::Nvml, Instrument::Spbm], 2),
        DeviceKind::Generic => (&[Instrument::Nvml, Instrument::Rapl], 2),
    }
}

fn names(instruments: &[Instrument]) -> String {
    let names: Vec<&str> = instruments.iter().map(|one| one.as_str()).collect();
    names.join(", ")
}

fn open(instrument: Instrument, around: &Surroundings<'_>) -> Result<Box<dyn PowerSource>, Absent> {
    Ok(match instrument {
        Instrument::Ina => Box::new(Ina::open(around.root, around.kind)?),
        Instrument::Tegrastats => Box::new(Tegrastats::open(
            settings(around),
            around.kind,
            around.root.provenance(),
            around.clock,
        )?),
        Instrument::Nvml => Box::new(NvmlSource::open(around.root, around.kind)?),
        Instrument::Spbm => Box::new(Spbm::open(around.root)?),
        Instrument::Rapl => Box::new(Rapl::open(around.root)?),
    })
}

fn settings(around: &Surroundings<'_>) -> tegrastats::Settings {
    tegrastats::Settings {
        program: around.tegrastats.clone(),
        interval: around.interval,
        guard: around.guard.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_sources_and_recordings() {
        let want = vec![
            Choice::Instrument(Instrument::Nvml),
            Choice::Replay(PathBuf::from("a/b.jsonl")),
        ];
        assert_eq!(parse("nvml, replay:a/b.jsonl"), Ok(want));
        assert_eq!(parse("auto"), Ok(vec![Choice::Auto]));
    }

    #[test]
    fn a_meter_described_wrongly_is_named_with_the_flag() {
        let message = parse("csv:m.csv?scope=module").unwrap_err().to_string();
        let want = "--power: `csv:m.csv?scope=module`: scope `module` is not for a meter, there are: wall, system_in";
        assert_eq!(message, want);
    }

    #[test]
    fn an_unknown_source_is_named_with_the_flag_and_the_choices() {
        for word in ["watts", "", "replay:", "nvml,watts"] {
            let message = parse(word).unwrap_err().to_string();
            assert!(
                message.starts_with("--power: unknown source `"),
                "{message}"
            );
            assert!(message.contains("tegrastats"), "{message}");
        }
    }
}
