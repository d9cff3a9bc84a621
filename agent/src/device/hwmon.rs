//! The kernel's drivers of sensors: folders with a name each, and numbers that change from boot to boot.

use super::HostRoot;

/// Folders of the drivers that call themselves by one of `names`.
pub fn drivers(root: &HostRoot, names: &[&str]) -> Vec<String> {
    let is_named = |folder: &String| {
        let name = root.read(&format!("{folder}/name"));
        name.is_ok_and(|name| names.contains(&&*name))
    };
    let entries = root.list(HWMON);
    let folders = entries.iter().map(|entry| format!("{HWMON}/{entry}"));
    folders.filter(is_named).collect()
}

/// Where they all are.
pub const HWMON: &str = "/sys/class/hwmon";
