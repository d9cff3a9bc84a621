//! NVIDIA's part of the software, by its files alone: driver, CUDA, and which GPUs are on the bus.

use serde_json::Value;

use super::{HostRoot, Unlearnt};

/// `NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build …`; else the module's own word.
pub(super) fn driver(root: &HostRoot) -> Result<String, Unlearnt> {
    const PATH: &str = "/proc/driver/nvidia/version";
    let Ok(text) = root.read(PATH) else {
        return root
            .read("/sys/module/nvidia/version")
            .or_else(|_| root.read(PATH));
    };
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.split_whitespace()
        .find(is_version)
        .map(str::to_owned)
        .ok_or(Unlearnt::Lacks {
            path: PATH.to_owned(),
            what: "version number",
        })
}

/// The toolkit that `/usr/local/cuda` points at; before CUDA 11 it said so in a text file.
pub(super) fn cuda(root: &HostRoot) -> Result<String, Unlearnt> {
    const PATH: &str = "/usr/local/cuda/version.json";
    let lacks = || Unlearnt::Lacks {
        path: PATH.to_owned(),
        what: "cuda version",
    };
    match root.read(PATH) {
        Ok(text) => {
            let document: Value = serde_json::from_str(&text).map_err(|_| lacks())?;
            let version = document["cuda"]["version"].as_str();
            version.map(str::to_owned).ok_or_else(lacks)
        }
        Err(reason) => cuda_text(root).ok_or(reason),
    }
}

/// `CUDA Version 10.2.300`.
fn cuda_text(root: &HostRoot) -> Option<String> {
    let text = root.read("/usr/local/cuda/version.txt").ok()?;
    let version = text
        .strip_prefix("CUDA Version")?
        .split_whitespace()
        .next()?;
    Some(version.to_owned())
}

/// Vendor and device numbers of NVIDIA's display devices on the bus.
pub(super) fn on_the_bus(root: &HostRoot) -> Result<String, Unlearnt> {
    const FUNCTIONS: &str = "/sys/bus/pci/devices";
    let read =
        |function: &str, file: &str| root.read(&format!("{FUNCTIONS}/{function}/{file}")).ok();
    let gpu = |function: &String| {
        let is_display = read(function, "class").is_none_or(|class| class.starts_with("0x03"));
        let is_nvidia = read(function, "vendor")? == "0x10de";
        let device = read(function, "device")?;
        (is_nvidia && is_display).then(|| format!("10de:{}", device.trim_start_matches("0x")))
    };
    let gpus: Vec<String> = root.list(FUNCTIONS).iter().filter_map(gpu).collect();
    if gpus.is_empty() {
        return Err(Unlearnt::Lacks {
            path: FUNCTIONS.to_owned(),
            what: "display device of NVIDIA",
        });
    }
    Ok(gpus.join(" "))
}
