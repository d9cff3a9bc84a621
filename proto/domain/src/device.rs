//! What a device is, and what could not be learnt about it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::ids::DeviceId;

/// A device as it described itself when the agent started.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeviceProfile {
    /// Its name in the fleet.
    pub id: DeviceId,
    /// Which family of machines it belongs to; decides which rails make up which scope.
    pub kind: DeviceKind,
    /// What was found: name of the fact to its value, SI units in the name's suffix (`memory_total_bytes`).
    pub facts: BTreeMap<String, String>,
    /// What was looked for and not found: name of the fact to the reason.
    pub reasons: BTreeMap<String, String>,
}

/// A family of machines with the same power sensors.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Jetson AGX Thor or a T4000/T5000 module.
    Thor,
    /// Jetson AGX Orin.
    AgxOrin,
    /// Jetson Orin NX or Orin Nano.
    OrinNx,
    /// Jetson AGX Xavier.
    AgxXavier,
    /// Jetson Xavier NX.
    XavierNx,
    /// Jetson TX1 or TX2.
    Tx2,
    /// Jetson Nano.
    Nano,
    /// DGX Spark and its siblings.
    Gb10,
    /// Any other Linux machine.
    Generic,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thor => "thor",
            Self::AgxOrin => "agx_orin",
            Self::OrinNx => "orin_nx",
            Self::AgxXavier => "agx_xavier",
            Self::XavierNx => "xavier_nx",
            Self::Tx2 => "tx2",
            Self::Nano => "nano",
            Self::Gb10 => "gb10",
            Self::Generic => "generic",
        })
    }
}
