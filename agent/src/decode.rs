//! What a device's tools print, as JSON: `tokwatt-agent decode KIND`, also how a new variant is reported.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    device::{dgx, jetson},
    power::tegrastats::Line,
};

/// Whose words they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `tegrastats`: one value for each line.
    Tegrastats,
    /// `nvpmodel -q`.
    Nvpmodel,
    /// `/etc/nv_tegra_release`.
    Release,
    /// `/etc/dgx-release`, `/etc/fastos-release`.
    DgxRelease,
    /// `/proc/device-tree/model`.
    Model,
    /// `/proc/device-tree/compatible`.
    Compatible,
}

/// There is no such kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "cannot decode `{0}`, there are: tegrastats, nvpmodel, release, dgx-release, model, compatible"
)]
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
        Kind::Nvpmodel => jetson::PowerMode::parse(text).map(value),
        Kind::Release => jetson::Release::parse(text).map(value),
        Kind::DgxRelease => dgx::Release::parse(text).map(value),
        Kind::Model => model(text),
        Kind::Compatible => jetson::soc_of(text).map(|soc| json!({ "soc": soc })),
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
        match self {
            Self::Tegrastats => "tegrastats",
            Self::Nvpmodel => "nvpmodel",
            Self::Release => "release",
            Self::DgxRelease => "dgx-release",
            Self::Model => "model",
            Self::Compatible => "compatible",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let all = [
            Self::Tegrastats,
            Self::Nvpmodel,
            Self::Release,
            Self::DgxRelease,
            Self::Model,
            Self::Compatible,
        ];
        all.into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

fn value(parsed: impl Serialize) -> Value {
    serde_json::to_value(parsed).expect("its keys are text and its numbers finite")
}

fn model(text: &str) -> Option<Value> {
    let model = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!model.is_empty()).then(|| json!({ "model": model }))
}

const EXCERPT_CHARS: usize = 80;
