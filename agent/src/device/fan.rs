//! The fan, where its driver shows one: a Jetson whose fan stands still throttles.

use super::{HWMON, HostRoot, Unlearnt, drivers};

/// `pwmfan at 93 of 255`, as it was when the agent looked.
pub(super) fn fan(root: &HostRoot) -> Result<String, Unlearnt> {
    if let Some(folder) = drivers(root, &["pwm-fan", "pwmfan"]).first() {
        let name = root.read(&format!("{folder}/name"))?;
        let strength = root.read(&format!("{folder}/pwm1"))?;
        return Ok(format!("{name} at {strength} of 255"));
    }
    let strength = root.read(&format!("{OLD_FAN}/cur_pwm"));
    strength
        .map(|strength| format!("pwm-fan at {strength} of 255"))
        .map_err(|_| lacks("fan of a known driver"))
}

/// Turns a minute of the first fan that says them, as they were when the agent looked.
pub(super) fn turns_per_minute(root: &HostRoot) -> Result<u64, Unlearnt> {
    let folders = root.list(HWMON).into_iter();
    let files = folders
        .flat_map(|folder| TURNS.map(|file| format!("{HWMON}/{folder}/{file}")))
        .chain([format!("{OLD_FAN}/rpm_measured")]);
    let mut turns = files.filter_map(|file| root.read(&file).ok()?.parse().ok());
    turns.next().ok_or(lacks("fan that counts its turns"))
}

/// How NVIDIA's fan service weighs noise against heat: `quiet`, `cool`.
pub(super) fn profile(root: &HostRoot) -> Result<String, Unlearnt> {
    const PATH: &str = "/etc/nvfancontrol.conf";
    let text = root.read(PATH)?;
    let mut lines = text.lines().map(str::trim);
    lines
        .find_map(|line| line.strip_prefix("FAN_DEFAULT_PROFILE"))
        .map(|profile| profile.trim().to_owned())
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: "FAN_DEFAULT_PROFILE",
        })
}

fn lacks(what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: HWMON.to_owned(),
        what,
    }
}

/// JetPack 4.
const OLD_FAN: &str = "/sys/devices/pwm-fan";

/// NVIDIA's driver for tachometers has its own name for what is `fan1_input` elsewhere.
const TURNS: [&str; 2] = ["rpm", "fan1_input"];
