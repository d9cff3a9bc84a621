//! Where the system lives: file system, device and kind of device under `/`. A model is read from there.

use super::{HostRoot, Unlearnt};

/// `ext4 on /dev/nvme0n1p1`.
pub(super) fn root_file_system(root: &HostRoot) -> Result<String, Unlearnt> {
    let (device, kind) = mount(root)?;
    Ok(format!("{kind} on {device}"))
}

/// What kind of device it is, by its driver's name.
pub(super) fn root_device(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    let (device, _) = mount(root)?;
    let name = device.rsplit('/').next().unwrap_or_default();
    let known = DRIVERS.iter().find(|(driver, _)| name.starts_with(driver));
    known
        .map(|(_, kind)| *kind)
        .ok_or(lacks("device of a known kind under `/`"))
}

/// The last mount at `/` is the one in force.
fn mount(root: &HostRoot) -> Result<(String, String), Unlearnt> {
    let text = root.read(MOUNTS)?;
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut mounts = fields.filter_map(|fields| match fields[..] {
        [device, "/", kind, ..] => Some((device.to_owned(), kind.to_owned())),
        _ => None,
    });
    mounts.next_back().ok_or(lacks("mount at `/`"))
}

fn lacks(what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: MOUNTS.to_owned(),
        what,
    }
}

const MOUNTS: &str = "/proc/self/mounts";

const DRIVERS: [(&str, &str); 7] = [
    ("nvme", "NVMe"),
    ("mmcblk", "eMMC or SD card"),
    ("sd", "SATA or USB"),
    ("vd", "virtual disk"),
    ("xvd", "virtual disk"),
    ("dm-", "device mapper"),
    ("overlay", "container layers"),
];
