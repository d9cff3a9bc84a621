//! Which family of machines this is: device tree, then DMI and PCI, else a machine like any other.

use tokwatt_domain::device::DeviceKind;

use super::{HostRoot, dgx, jetson};

/// Which family the host belongs to.
pub(super) fn recognise(root: &HostRoot) -> DeviceKind {
    let compatible = jetson::compatible(root).unwrap_or_default();
    by_part_number(&compatible)
        .or_else(|| by_model(&root.read(jetson::MODEL).ok()?))
        .or_else(|| is_gb10(root).then_some(DeviceKind::Gb10))
        .unwrap_or(DeviceKind::Generic)
}

/// The device tree names boards and modules by part number: the one sure sign, the model text names the developer kit.
fn by_part_number(compatible: &[String]) -> Option<DeviceKind> {
    let names = |text: &str| compatible.iter().any(|name| name.contains(text));
    PART_NUMBERS
        .iter()
        .find(|(part, _)| names(part))
        .map(|(_, kind)| *kind)
}

fn by_model(model: &str) -> Option<DeviceKind> {
    MODELS
        .iter()
        .find(|(words, _)| model.contains(words))
        .map(|(_, kind)| *kind)
}

fn is_gb10(root: &HostRoot) -> bool {
    let has = |path: &str, words: &[&str]| {
        let text = root.read(path).unwrap_or_default();
        words.iter().any(|word| text.contains(word))
    };
    has(DMI_FAMILY, &["DGX Spark"])
        || has(DMI_PRODUCT, &["DGX_Spark", "GB10", "GX10", "ZGX Nano"])
        || has("/sys/class/dmi/id/product_version", &["ThinkStation PGX"])
        || dgx::is_spark(root)
        || has_gb10_gpu(root)
}

fn has_gb10_gpu(root: &HostRoot) -> bool {
    const FUNCTIONS: &str = "/sys/bus/pci/devices";
    let is = |function: &str, file: &str, want: &str| {
        let path = format!("{FUNCTIONS}/{function}/{file}");
        root.read(&path).is_ok_and(|id| id == want)
    };
    root.list(FUNCTIONS)
        .iter()
        .any(|function| is(function, "device", "0x2e12") && is(function, "vendor", "0x10de"))
}

pub(super) const DMI_PRODUCT: &str = "/sys/class/dmi/id/product_name";
pub(super) const DMI_FAMILY: &str = "/sys/class/dmi/id/product_family";
pub(super) const DMI_VENDOR: &str = "/sys/class/dmi/id/sys_vendor";

/// Modules before SoCs: one SoC is on several modules.
const PART_NUMBERS: [(&str, DeviceKind); 10] = [
    ("tegra264", DeviceKind::Thor),
    ("p3701", DeviceKind::AgxOrin),
    ("p3767", DeviceKind::OrinNx),
    ("p3668", DeviceKind::XavierNx),
    ("p2888", DeviceKind::AgxXavier),
    ("p3310", DeviceKind::Tx2),
    ("p3448", DeviceKind::Nano),
    ("p3450", DeviceKind::Nano),
    ("p2180", DeviceKind::Tx2),
    ("tegra186", DeviceKind::Tx2),
];

/// Longer names before shorter ones that they contain.
const MODELS: [(&str, DeviceKind); 12] = [
    ("Thor", DeviceKind::Thor),
    ("AGX Orin", DeviceKind::AgxOrin),
    ("Orin NX", DeviceKind::OrinNx),
    ("Orin Nano", DeviceKind::OrinNx),
    ("Orin Jetson-Small", DeviceKind::OrinNx),
    ("Xavier NX", DeviceKind::XavierNx),
    ("Xavier", DeviceKind::AgxXavier),
    ("Jetson-AGX", DeviceKind::AgxXavier),
    ("TX2", DeviceKind::Tx2),
    ("TX1", DeviceKind::Tx2),
    ("quill", DeviceKind::Tx2),
    ("Jetson Nano", DeviceKind::Nano),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, want: Option<DeviceKind>) {
        assert_eq!(by_model(model), want, "{model}");
    }

    #[test]
    fn every_spelling_of_a_board_is_known() {
        check(
            "NVIDIA Jetson AGX Thor Developer Kit",
            Some(DeviceKind::Thor),
        );
        check(
            "NVIDIA Jetson AGX Orin Developer Kit",
            Some(DeviceKind::AgxOrin),
        );
        check("Jetson AGX Orin Industrial", Some(DeviceKind::AgxOrin));
        check("NVIDIA Orin Nano Developer Kit", Some(DeviceKind::OrinNx));
        check(
            "NVIDIA Orin Jetson-Small Developer Kit",
            Some(DeviceKind::OrinNx),
        );
        check(
            "NVIDIA Jetson Xavier NX Developer Kit",
            Some(DeviceKind::XavierNx),
        );
        check("Jetson-AGX", Some(DeviceKind::AgxXavier));
        check(
            "NVIDIA Jetson Nano 2GB Developer Kit",
            Some(DeviceKind::Nano),
        );
        check("Raspberry Pi 5 Model B", None);
    }

    #[test]
    fn the_module_decides_where_the_board_name_misleads() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let orin_nx = names("nvidia,p3768-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234");
        assert_eq!(by_part_number(&orin_nx), Some(DeviceKind::OrinNx));
        let agx = names("nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234");
        assert_eq!(by_part_number(&agx), Some(DeviceKind::AgxOrin));
        assert_eq!(
            by_part_number(&names("raspberrypi,5-model-b brcm,bcm2712")),
            None
        );
    }
}
