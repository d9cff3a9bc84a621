//! What `lspci -nn` or `-n` prints: the GPU's vendor and device number, which tells a GB10 from its look-alikes.

use serde_json::{Value, json};

/// The number of NVIDIA's first display device, else the first number.
pub(super) fn parse(text: &str) -> Option<Value> {
    let devices: Vec<(&str, String)> = text
        .lines()
        .filter_map(|line| Some((line, id(line)?)))
        .collect();
    let is_display = |line: &str| {
        ["VGA", "3D controller", "Display", "0300", "0302"]
            .iter()
            .any(|class| line.contains(class))
    };
    let gpu = devices
        .iter()
        .find(|(line, id)| id.starts_with("10de:") && is_display(line));
    let (_, id) = gpu
        .or_else(|| devices.iter().find(|(_, id)| id.starts_with("10de:")))
        .or(devices.first())?;
    Some(json!({ "pci_id": id }))
}

/// The last `10de:2e12` of a line, in brackets or not.
fn id(line: &str) -> Option<String> {
    let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']'));
    words.rfind(|word| is_id(word)).map(str::to_lowercase)
}

fn is_id(word: &str) -> bool {
    let is_number = |part: &str| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit());
    word.split_once(':')
        .is_some_and(|(vendor, device)| is_number(vendor) && is_number(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(
            parse(text),
            want.map(|id| json!({ "pci_id": id })),
            "{text}"
        );
    }

    #[test]
    fn the_gpu_is_found_among_bridges_and_sound() {
        check(
            "00:00.0 PCI bridge [0604]: NVIDIA Corporation Device [10de:22ce]\n\
             000f:01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:2e12] (rev a1)",
            Some("10de:2e12"),
        );
        check("000f:01:00.0 0302: 10DE:2E12 (rev a1)", Some("10de:2e12"));
        check("000f:01:00.0 VGA compatible controller", None);
    }
}
