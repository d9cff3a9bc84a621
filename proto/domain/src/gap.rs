//! What was there once and is not kept: counted, with its cause, so that as much is stored as was expected or is declared missing.

use serde::{Deserialize, Serialize};

/// Some of a segment that is not kept.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Gap {
    /// What is missing.
    pub part: Part,
    /// How many of it.
    pub count: u32,
    /// Why.
    pub cause: GapCause,
    /// In words, for people; may be empty.
    pub note: String,
}

/// What of a segment is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Its requests.
    Requests,
    /// Samples of the sensor at this place, from 0.
    Samples(u32),
}

/// Why something is not kept.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The disk was full, or the spool's limit reached.
    DiskFull,
    /// The same; about one sample a second was kept.
    Thinned,
    /// Agent or machine ended in between.
    Crash,
    /// Kept for as long as the collector was told to keep it.
    Retention,
    /// One that a later version knows, by its number on the wire.
    Unknown(i32),
}

impl std::fmt::Display for GapCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DiskFull => f.write_str("disk full"),
            Self::Thinned => f.write_str("thinned to one a second, disk full"),
            Self::Crash => f.write_str("lost in a crash"),
            Self::Retention => f.write_str("kept no longer"),
            Self::Unknown(number) => write!(f, "cause {number} of a later version"),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Requests => f.write_str("requests"),
            Self::Samples(sensor) => write!(f, "samples of sensor {sensor}"),
        }
    }
}
