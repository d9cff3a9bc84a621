//! The fan, where its driver shows one: a Jetson whose fan stands still throttles.

use super::{HWMON, HostRoot, Unlearnt, drivers};

/// `pwmfan at 93 of 255`, as it was when the agent looked.
pub(super) fn fan(root: &HostRoot) -> Result<String, Unlearnt> {
    let folders = drivers(root, &["pwm-fan", "pwmfan"]);
    let folder = folders.first().ok_or(Unlearnt::Lacks {
        path: HWMON.to_owned(),
        what: "fan of a known driver",
    })?;
    let name = root.read(&format!("{folder}/name"))?;
    let strength = root.read(&format!("{folder}/pwm1"))?;
    Ok(format!("{name} at {strength} of 255"))
}
