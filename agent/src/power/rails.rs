//! Which rails make up which scope on which device. Nothing else is ever added up.
//!
//! Why a table and no rule: the rails of a board overlap (on AGX Orin `VDDQ_VDD2_1V8AO` is inside `VIN_SYS_5V0`, on Orin NX every
//! rail is inside `VDD_IN`), and which do is not to be seen from their names. So a device that is not in the table has
//! rails and no total.

use tokwatt_domain::{
    device::DeviceKind,
    power::{Rail, Scope},
    units::Watts,
};

/// A scope and the rails that add up to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// What the sum includes.
    pub scope: Scope,
    /// Its rails.
    pub rails: Vec<Rail>,
}

/// The scopes for which `has` says that all their rails are there, the widest first.
///
/// # Errors
/// Says why there is none.
pub fn sums(kind: DeviceKind, has: impl Fn(&str) -> bool) -> Result<Vec<Sum>, String> {
    let table = table(kind);
    if table.is_empty() {
        return Err(format!(
            "which rails of a {kind} device make up a total is not known, and rails are not added up by guess"
        ));
    }
    let is_complete = |sum: &&Listed| sum.rails.iter().all(|(name, _)| has(name));
    let sums: Vec<Sum> = table.iter().filter(is_complete).map(Sum::from).collect();
    if sums.is_empty() {
        let wanted: Vec<String> = table.iter().map(Listed::names).collect();
        let wanted = wanted.join(", or ");
        return Err(format!(
            "none of the rails of a {kind} device is there (wanted: {wanted})"
        ));
    }
    Ok(sums)
}

/// Why a board's labels cannot be right: its input reads less than one of its parts.
///
/// A Nano carrier is known on which the labels of input and GPU are exchanged.
pub fn suspicion(kind: DeviceKind, readings: &[(&str, i64)]) -> Option<String> {
    let input = match kind {
        DeviceKind::Thor => "VIN",
        DeviceKind::Nano => "POM_5V_IN",
        DeviceKind::OrinNx | DeviceKind::XavierNx | DeviceKind::Tx2 => "VDD_IN",
        DeviceKind::AgxOrin | DeviceKind::AgxXavier | DeviceKind::Gb10 | DeviceKind::Generic => {
            return None;
        }
    };
    let (_, whole) = readings.iter().find(|(name, _)| *name == input)?;
    let (part, more) = readings.iter().find(|(_, reading)| reading > whole)?;
    Some(format!(
        "labels suspicious: {input} reads {whole} mW, its part {part} {more} mW"
    ))
}

struct Listed {
    scope: Scope,
    /// Name and smallest step in W, zero where unknown.
    rails: &'static [(&'static str, f64)],
}

impl Listed {
    fn names(&self) -> String {
        let names: Vec<&str> = self.rails.iter().map(|(name, _)| *name).collect();
        names.join(" + ")
    }
}

impl From<&Listed> for Sum {
    fn from(listed: &Listed) -> Self {
        let rail = |&(name, quantum): &(&str, f64)| Rail {
            name: name.to_owned(),
            quantum: Watts(quantum),
        };
        Self {
            scope: listed.scope,
            rails: listed.rails.iter().map(rail).collect(),
        }
    }
}

fn table(kind: DeviceKind) -> &'static [Listed] {
    match kind {
        DeviceKind::Thor => &THOR,
        DeviceKind::AgxOrin => &AGX_ORIN,
        DeviceKind::OrinNx | DeviceKind::XavierNx => &NX,
        DeviceKind::AgxXavier => &AGX_XAVIER,
        DeviceKind::Tx2 => &TX2,
        DeviceKind::Nano => &NANO,
        DeviceKind::Gb10 | DeviceKind::Generic => &[],
    }
}

/// `VIN` is measured on the carrier, before its converters; boards without that sensor have the module's rails only.
/// Steps are 20 mA at 19.65 V and at 5.06 V.
const THOR: [Listed; 3] = [
    Listed {
        scope: Scope::SystemIn,
        rails: &[("VIN", 0.0)],
    },
    Listed {
        scope: Scope::Module,
        rails: &[
            ("VDD_GPU", 0.393),
            ("VDD_CPU_SOC_MSS", 0.393),
            ("VIN_SYS_5V0", 0.101),
        ],
    },
    Listed {
        scope: Scope::GpuRail,
        rails: &[("VDD_GPU", 0.393)],
    },
];

/// `VDD_GPU_SOC` holds the memory subsystem too: no GPU figure comes of it. Steps are 20 mA at 20 V and at 5 V.
const AGX_ORIN: [Listed; 1] = [Listed {
    scope: Scope::Module,
    rails: &[
        ("VDD_GPU_SOC", 0.4),
        ("VDD_CPU_CV", 0.4),
        ("VIN_SYS_5V0", 0.1),
    ],
}];

/// Orin NX, Orin Nano, Xavier NX: the other two rails are parts of `VDD_IN`. Its step is 8 mA at 5 V.
const NX: [Listed; 1] = [Listed {
    scope: Scope::Module,
    rails: &[("VDD_IN", 0.04)],
}];

/// Six separate feeds.
const AGX_XAVIER: [Listed; 1] = [Listed {
    scope: Scope::Module,
    rails: &[
        ("GPU", 0.0),
        ("CPU", 0.0),
        ("SOC", 0.0),
        ("CV", 0.0),
        ("VDDRQ", 0.0),
        ("SYS5V", 0.0),
    ],
}];

const TX2: [Listed; 1] = [Listed {
    scope: Scope::Module,
    rails: &[("VDD_IN", 0.0)],
}];

const NANO: [Listed; 1] = [Listed {
    scope: Scope::Module,
    rails: &[("POM_5V_IN", 0.0)],
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: DeviceKind, rails: &[&str], want: &[(Scope, usize)]) {
        let sums = sums(kind, |name| rails.contains(&name)).unwrap_or_default();
        let got: Vec<_> = sums
            .iter()
            .map(|sum| (sum.scope, sum.rails.len()))
            .collect();
        assert_eq!(got, want, "{kind} {rails:?}");
    }

    #[test]
    fn only_listed_rails_are_added_up() {
        let agx = [
            "VDD_GPU_SOC",
            "VDD_CPU_CV",
            "VIN_SYS_5V0",
            "NC",
            "VDDQ_VDD2_1V8AO",
        ];
        check(DeviceKind::AgxOrin, &agx, &[(Scope::Module, 3)]);
        let nx = ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"];
        check(DeviceKind::OrinNx, &nx, &[(Scope::Module, 1)]);
    }

    #[test]
    fn thor_without_its_input_sensor_has_another_scope_not_a_smaller_number() {
        let module = ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"];
        let without = [(Scope::Module, 3), (Scope::GpuRail, 1)];
        check(DeviceKind::Thor, &module, &without);
        let all = ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"];
        let with = [
            (Scope::SystemIn, 1),
            (Scope::Module, 3),
            (Scope::GpuRail, 1),
        ];
        check(DeviceKind::Thor, &all, &with);
    }

    #[test]
    fn an_incomplete_sum_is_no_sum() {
        check(DeviceKind::AgxOrin, &["VDD_GPU_SOC", "VDD_CPU_CV"], &[]);
    }

    #[test]
    fn an_unknown_device_has_no_total_and_a_reason() {
        let reason = sums(DeviceKind::Generic, |_| true).unwrap_err();
        assert!(reason.contains("not known"), "{reason}");
    }

    #[test]
    fn an_input_below_its_part_is_suspicious() {
        let swapped = [("POM_5V_GPU", 8791), ("POM_5V_IN", 3075)];
        let suspicion_of = |readings| suspicion(DeviceKind::Nano, readings);
        assert!(suspicion_of(&swapped).unwrap().contains("POM_5V_GPU 8791"));
        assert_eq!(suspicion_of(&[("POM_5V_GPU", 1), ("POM_5V_IN", 2)]), None);
        assert_eq!(suspicion_of(&[("POM_5V_GPU", 1)]), None);
    }
}
