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

/// The maker's name for it.
pub(super) fn model(root: &HostRoot) -> Result<String, Unlearnt> {
    let folder = disk(root)?;
    root.read(&format!("{folder}/device/model"))
        // SD cards and eMMC.
        .or_else(|reason| {
            root.read(&format!("{folder}/device/name"))
                .map_err(|_| reason)
        })
}

pub(super) fn size_bytes(root: &HostRoot) -> Result<u64, Unlearnt> {
    let path = format!("{}/size", disk(root)?);
    let sectors = root.read(&path)?.parse::<u64>().ok();
    // Of 512 bytes, whatever the disk's own are.
    sectors
        .and_then(|sectors| sectors.checked_mul(512))
        .ok_or(Unlearnt::Lacks {
            path,
            what: "number",
        })
}

/// The disk's folder: that of `nvme0n1` for the partition `nvme0n1p1`.
fn disk(root: &HostRoot) -> Result<String, Unlearnt> {
    let (device, _) = mount(root)?;
    let partition = device.rsplit('/').next().unwrap_or_default();
    let disks = root.list(BLOCK);
    let disk = disks.iter().filter(|disk| partition.starts_with(*disk));
    disk.max_by_key(|disk| disk.len())
        .map(|disk| format!("{BLOCK}/{disk}"))
        .ok_or(Unlearnt::Lacks {
            path: BLOCK.to_owned(),
            what: "disk for the device under `/`",
        })
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

/// Whole disks, no partitions.
const BLOCK: &str = "/sys/block";

/// What is under `/` in a container.
pub(super) const LAYERS: &str = "container layers";

const DRIVERS: [(&str, &str); 7] = [
    ("nvme", "NVMe"),
    ("mmcblk", "eMMC or SD card"),
    ("sd", "SATA or USB"),
    ("vd", "virtual disk"),
    ("xvd", "virtual disk"),
    ("dm-", "device mapper"),
    ("overlay", LAYERS),
];
