//! Memory: how much, how much of it is on disk, and whether processor and GPU share it.

use tokwatt_domain::device::DeviceKind;

use super::{HostRoot, Unlearnt};

/// What the kernel manages; the firmware keeps some for itself.
pub(super) fn total_bytes(root: &HostRoot) -> Result<u64, Unlearnt> {
    bytes(root, "MemTotal")
}

/// Room for pages on disk or compressed.
pub(super) fn swap_bytes(root: &HostRoot) -> Result<u64, Unlearnt> {
    bytes(root, "SwapTotal")
}

/// What the room for pages is: `zram` costs processor time, a `partition` or `file` time of the disk.
pub(super) fn swap_kind(root: &HostRoot) -> Result<String, Unlearnt> {
    let text = root.read(SWAPS)?;
    let kinds = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (device, kind) = (words.next()?, words.next()?);
        let is_compressed = device.starts_with("/dev/zram");
        Some(if is_compressed { "zram" } else { kind })
    });
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds[..] {
        [] => Ok("none".to_owned()),
        _ => Ok(kinds.join(" + ")),
    }
}

/// `unified` on every Jetson and GB10; elsewhere a GPU of NVIDIA's brings its own.
pub(super) fn kind(
    kind: DeviceKind,
    gpu: &Result<String, Unlearnt>,
) -> Result<&'static str, String> {
    match (kind, gpu) {
        (DeviceKind::Generic, Ok(_)) => Ok("separate"),
        (DeviceKind::Generic, Err(reason)) => Err(format!("no GPU was found: {reason}")),
        _ => Ok("unified"),
    }
}

fn bytes(root: &HostRoot, field: &'static str) -> Result<u64, Unlearnt> {
    const PATH: &str = "/proc/meminfo";
    let text = root.read(PATH)?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let value = fields
        .find(|(name, _)| *name == field)
        .map(|(_, value)| value.trim());
    value
        .and_then(|value| {
            value
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()?
                .checked_mul(1024)
        })
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: field,
        })
}

const SWAPS: &str = "/proc/swaps";
