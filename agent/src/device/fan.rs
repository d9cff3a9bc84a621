//! The fan, where its driver shows one: a Jetson whose fan stands still throttles.

use super::{HostRoot, Unlearnt};

/// `pwmfan at 93 of 255`, as it was when the agent looked.
pub(super) fn fan(root: &HostRoot) -> Result<String, Unlearnt> {
    for sensor in root.list(HWMON) {
        let sensor = format!("{HWMON}/{sensor}");
        let Ok(name) = root.read(&format!("{sensor}/name")) else {
            continue;
        };
        if FANS.contains(&name.as_str()) {
            let strength = root.read(&format!("{sensor}/pwm1"))?;
            return Ok(format!("{name} at {strength} of 255"));
        }
    }
    Err(Unlearnt::Lacks {
        path: HWMON.to_owned(),
        what: "fan of a known driver",
    })
}

const HWMON: &str = "/sys/class/hwmon";

const FANS: [&str; 2] = ["pwm-fan", "pwmfan"];
