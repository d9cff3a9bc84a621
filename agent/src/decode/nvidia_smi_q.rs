//! What `nvidia-smi -q` logs: `name : value` in indented sections. Serial numbers and UUIDs that stand there are never taken.

use serde_json::{Map, Value};

use super::reading::{figure, word};

/// Known figures by the keys of the table's reader, everything else under `fields`; further GPUs under `gpus`.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut log = Map::new();
    let mut gpus: Vec<Map<String, Value>> = Vec::new();
    let mut section = "";
    for line in text.lines() {
        let Some((name, value)) = line
            .split_once(" : ")
            .or_else(|| line.trim_end().split_once(" :"))
        else {
            section = line.trim();
            if section.starts_with("GPU ") && section.contains(':') {
                gpus.push(Map::new());
            }
            continue;
        };
        let target = gpus.last_mut().unwrap_or(&mut log);
        read(target, section, name.trim(), value.trim());
    }
    log.extend(gpus.first().cloned().unwrap_or_default());
    if gpus.len() > 1 {
        log.insert("gpus".to_owned(), gpus.into());
    }
    KEYS.iter()
        .any(|(_, _, key)| log.contains_key(*key))
        .then(|| log.into())
}

fn read(into: &mut Map<String, Value>, section: &str, name: &str, value: &str) {
    if name.contains("Serial") || name.contains("UUID") {
        return;
    }
    let known = KEYS
        .iter()
        .find(|(sections, known, _)| *known == name && section.contains(sections));
    match known {
        Some((_, _, key)) if !into.contains_key(*key) => {
            let value = if TEXTS.contains(key) {
                word(value)
            } else {
                figure(value)
            };
            into.insert((*key).to_owned(), value);
        }
        _ => keep(into, section, name, value),
    }
}

fn keep(into: &mut Map<String, Value>, section: &str, name: &str, value: &str) {
    let fields = into.entry("fields").or_insert_with(|| Map::new().into());
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(format!("{section}/{name}"), word(value));
    }
}

/// Part of the section's title, name there, our key. One name means different things in different sections.
const KEYS: [(&str, &str, &str); 17] = [
    ("", "Driver Version", "driver"),
    ("", "CUDA Version", "cuda"),
    ("", "Product Name", "gpu_name"),
    ("", "VBIOS Version", "vbios"),
    ("", "GSP Firmware Version", "gsp"),
    ("", "Performance State", "pstate"),
    ("", "GPU Current Temp", "temp_c"),
    ("Power Readings", "Power Draw", "power_w"),
    ("Power Readings", "Instantaneous Power Draw", "power_w"),
    ("Power Readings", "Average Power Draw", "power_average_w"),
    ("Power Readings", "Current Power Limit", "power_limit_w"),
    ("Power Readings", "Power Limit", "power_limit_w"),
    ("Utilization", "Gpu", "gpu_util_pct"),
    ("Utilization", "GPU", "gpu_util_pct"),
    ("FB Memory Usage", "Total", "memory_total_mib"),
    ("FB Memory Usage", "Used", "memory_used_mib"),
    ("Clocks", "SM", "sm_mhz"),
];

const TEXTS: [&str; 6] = ["driver", "cuda", "gpu_name", "vbios", "gsp", "pstate"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Derived from the names that NVIDIA documents.
    const LOG: &str = "\
Driver Version                            : 580.95.05
CUDA Version                              : 13.0
GPU 0000000F:01:00.0
    Product Name                          : NVIDIA GB10
    Serial Number                         : MADEUPSERIAL
    GPU UUID                              : GPU-0badcafe
    FB Memory Usage
        Total                             : N/A
    Utilization
        GPU                               : 3 %
    GPU Power Readings
        Instantaneous Power Draw          : 4.20 W
        Current Power Limit               : N/A
    New Section
        New Field                         : 7 things
";

    #[test]
    fn sections_decide_and_what_is_new_is_kept_by_name() {
        let want = json!({
            "driver": "580.95.05", "cuda": "13.0", "gpu_name": "NVIDIA GB10", "memory_total_mib": null, "gpu_util_pct": 3,
            "power_w": 4.2, "power_limit_w": null, "fields": {"New Section/New Field": "7 things"},
        });
        assert_eq!(parse(LOG), Some(want));
    }

    #[test]
    fn no_serial_number_passes() {
        let told = parse(LOG).unwrap().to_string();
        assert!(!told.contains("MADEUP") && !told.contains("cafe"), "{told}");
    }
}
