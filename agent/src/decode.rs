//! What a device's tools print, as JSON: `tokwatt-agent decode KIND`, also how a new variant is reported.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    device::{dgx, jetson},
    power::tegrastats::Line,
};

/// Figures and words for their absence.
mod reading;

/// The table that `nvidia-smi` draws.
mod nvidia_smi;

/// Rows of `nvidia-smi --format=csv`.
mod nvidia_smi_csv;

/// The log of `nvidia-smi -q`.
mod nvidia_smi_q;

/// Calls of NVML and their answers.
mod nvml;

/// `jetson_clocks --show`.
mod jetson_clocks;

/// The firmware's names.
mod dmi;

/// `sensors`.
mod lm_sensors;

/// `/proc/meminfo`.
mod meminfo;

/// `lspci`.
mod lspci;

/// dpkg, apt, and noted environments.
mod packages;

/// Whose words they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `tegrastats`: one value for each line.
    Tegrastats,
    /// `nvidia-smi`, the table.
    NvidiaSmi,
    /// `nvidia-smi --query-… --format=csv`, with or without the line of names.
    NvidiaSmiCsv,
    /// `nvidia-smi -q`.
    NvidiaSmiQ,
    /// A probe of NVML: one call a line.
    NvmlProbe,
    /// `nvpmodel -q`.
    Nvpmodel,
    /// `jetson_clocks --show`.
    JetsonClocks,
    /// `/etc/nv_tegra_release`.
    Release,
    /// `/etc/dgx-release`, `/etc/fastos-release`.
    DgxRelease,
    /// `/proc/device-tree/model`.
    Model,
    /// `/proc/device-tree/compatible`.
    Compatible,
    /// `/sys/class/dmi/id/*` or dmidecode.
    Dmi,
    /// A firmware's version in a sentence.
    Bios,
    /// `lspci -nn`.
    Lspci,
    /// `/proc/meminfo`.
    Meminfo,
    /// `sensors` of lm-sensors.
    LmSensors,
    /// `dpkg -l`, `dpkg-query -W`, `apt-cache policy`.
    Dpkg,
    /// `key=value` lines that a bench script noted.
    Environment,
}

/// There is no such kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot decode `{0}`, there are: {list}", list = names())]
pub struct UnknownKind(String);

/// The text is not of its kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the output of {kind}: `{excerpt}`")]
pub struct Undecodable {
    kind: &'static str,
    excerpt: String,
}

/// Decodes one line of `tegrastats`, or the whole text of any other kind; see [`Kind::is_by_line`].
///
/// # Errors
/// Nothing in the text belongs to the kind.
pub fn decode(kind: Kind, text: &str) -> Result<Value, Undecodable> {
    let value = match kind {
        Kind::Tegrastats => Line::parse(text).ok().map(value),
        Kind::NvidiaSmi => nvidia_smi::parse(text),
        Kind::NvidiaSmiCsv => nvidia_smi_csv::parse(text),
        Kind::NvidiaSmiQ => nvidia_smi_q::parse(text),
        Kind::NvmlProbe => nvml::parse(text),
        Kind::Nvpmodel => jetson::PowerMode::parse(text).map(value),
        Kind::JetsonClocks => jetson_clocks::parse(text),
        Kind::Release => jetson::Release::parse(text).map(value),
        Kind::DgxRelease => dgx::Release::parse(text).map(value),
        Kind::Model => model(text),
        Kind::Compatible => jetson::soc_of(text).map(|soc| json!({ "soc": soc })),
        Kind::Dmi => dmi::parse(text),
        Kind::Bios => dmi::bios(text),
        Kind::Lspci => lspci::parse(text),
        Kind::Meminfo => meminfo::parse(text),
        Kind::LmSensors => lm_sensors::parse(text),
        Kind::Dpkg => packages::parse(text),
        Kind::Environment => packages::environment(text),
    };
    value.ok_or_else(|| Undecodable {
        kind: kind.as_str(),
        excerpt: text.chars().take(EXCERPT_CHARS).collect(),
    })
}

impl Kind {
    /// Whether every line is a value of its own.
    pub fn is_by_line(self) -> bool {
        self == Self::Tegrastats
    }

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        let known = KINDS.iter().find(|(_, kind)| *kind == self);
        known.expect("every kind has a name").0
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let name = text.replace('_', "-");
        let known = KINDS
            .iter()
            .find(|(known, _)| known.replace('_', "-") == name);
        known
            .map(|(_, kind)| *kind)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

fn names() -> String {
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn value(parsed: impl Serialize) -> Value {
    serde_json::to_value(parsed).expect("its keys are text and its numbers finite")
}

fn model(text: &str) -> Option<Value> {
    let model = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!model.is_empty()).then(|| json!({ "model": model }))
}

const EXCERPT_CHARS: usize = 80;

/// Names of the kinds, the first of each is its own; `-` and `_` are the same in them.
pub const KINDS: [(&str, Kind); 22] = [
    ("tegrastats", Kind::Tegrastats),
    ("nvidia-smi", Kind::NvidiaSmi),
    ("nvidia-smi-csv", Kind::NvidiaSmiCsv),
    ("nvidia-smi-q", Kind::NvidiaSmiQ),
    ("nvml-probe", Kind::NvmlProbe),
    ("nvpmodel", Kind::Nvpmodel),
    ("jetson_clocks", Kind::JetsonClocks),
    ("release", Kind::Release),
    ("dgx-release", Kind::DgxRelease),
    ("model", Kind::Model),
    ("compatible", Kind::Compatible),
    ("dmi", Kind::Dmi),
    ("bios", Kind::Bios),
    ("lspci", Kind::Lspci),
    ("meminfo", Kind::Meminfo),
    ("lm-sensors", Kind::LmSensors),
    ("dpkg", Kind::Dpkg),
    ("environment", Kind::Environment),
    // Other words for the same.
    ("tegrastats-fragment", Kind::Tegrastats),
    ("nvml", Kind::NvmlProbe),
    ("sensors", Kind::LmSensors),
    ("nv-tegra-release", Kind::Release),
];
