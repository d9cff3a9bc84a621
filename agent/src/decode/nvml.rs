//! What a probe of NVML prints: one call a line, with its value or the error it answered with.

use serde_json::{Map, Value, json};

use super::reading::{figure, word};

/// A value for each call that is known, `null` if it was refused; the refusals with their words under `refused`.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut probe = Map::new();
    let mut refused = Map::new();
    for line in text.lines().map(str::trim) {
        let Some((call, answer)) = split(line) else {
            continue;
        };
        let error = is_refusal(answer).then(|| error_name(answer));
        let key = CALLS.iter().find(|(name, _)| call.contains(name));
        let key = key.map_or(call, |(_, key)| *key);
        if key == NEVER {
            continue;
        }
        let value = match error {
            Some(_) => Value::Null,
            None => answered(key, answer),
        };
        probe.insert(key.to_owned(), value);
        if let Some(error) = error {
            refused.insert(key.to_owned(), error.into());
        }
    }
    if probe.is_empty() {
        return None;
    }
    if !refused.is_empty() {
        probe.insert("refused".to_owned(), refused.into());
    }
    Some(probe.into())
}

/// `nvmlCall(ARGUMENT) = VALUE`, `nvmlCall -> ERROR`, `nvmlCall: VALUE`, `nvmlCall FAILED ERROR`.
fn split(line: &str) -> Option<(&str, &str)> {
    let start = line.find("nvml")?;
    let line = &line[start..];
    let end = line.find(|c: char| c.is_whitespace() || matches!(c, '=' | ':'))?;
    let (call, answer) = line.split_at(end);
    let answer = answer.trim_start_matches(|c: char| c.is_whitespace() || "=:->→".contains(c));
    (!answer.is_empty()).then_some((call, answer.trim()))
}

fn is_refusal(answer: &str) -> bool {
    answer.starts_with("FAILED")
        || answer.starts_with("NVMLError")
        || (answer.starts_with("NVML_ERROR") || answer.contains(" NVML_ERROR"))
        || answer.to_lowercase().contains("not supported")
}

fn error_name(answer: &str) -> &str {
    let words = answer.trim_start_matches("FAILED").trim();
    words.split("  ").next().unwrap_or(words)
}

/// The out-parameters of a refused call hold zeros: only an answered one gets here.
fn answered(key: &str, answer: &str) -> Value {
    // A remark in parentheses or far to the right is not part of the value.
    let value = answer.split("  ").next().unwrap_or(answer);
    let value = value.strip_prefix("NVML_SUCCESS").unwrap_or(value).trim();
    match key {
        "name" | "driver" | "cuda" => word(value),
        "gpu_util_pct" => figure(after(answer, "gpu").unwrap_or(value)),
        "memory_info" => json!({
            "total": part(answer, "total"), "free": part(answer, "free"), "used": part(answer, "used"),
        }),
        _ => match figure(value) {
            Value::Null => word(value),
            figure => figure,
        },
    }
}

fn part(answer: &str, name: &str) -> Value {
    after(answer, name).map_or(Value::Null, figure)
}

/// The word after `name`, with `=`, `:` or a blank between.
fn after<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let rest = answer.split_once(name)?.1;
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | ':'));
    rest.split(|c: char| c.is_whitespace() || c == ',').next()
}

/// Key of what is not told.
const NEVER: &str = "";

/// Part of a call's name, and our key; longer before shorter.
const CALLS: [(&str, &str); 15] = [
    ("UUID", NEVER),
    ("Serial", NEVER),
    ("DriverVersion", "driver"),
    ("GetName", "name"),
    ("PowerUsage", "power_mw"),
    ("EnforcedPowerLimit", "power_limit_mw"),
    ("PowerManagementLimit", "power_limit_mw"),
    ("TotalEnergyConsumption", "energy_mj"),
    ("TemperatureThreshold", "temp_threshold_c"),
    ("Temperature", "temp_c"),
    ("UtilizationRates", "gpu_util_pct"),
    ("MemoryInfo", "memory_info"),
    ("CLOCK_SM", "sm_clock"),
    ("CLOCK_MEM", "memory_clock"),
    ("CLOCK_GRAPHICS", "graphics_clock"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Value) {
        assert_eq!(parse(text), Some(want), "{text}");
    }

    #[test]
    fn zeros_beside_a_refusal_are_not_values() {
        check(
            "nvmlDeviceGetMemoryInfo -> NVML_ERROR_NOT_SUPPORTED   total=0  free=0  used=0",
            json!({"memory_info": null, "refused": {"memory_info": "NVML_ERROR_NOT_SUPPORTED"}}),
        );
    }

    #[test]
    fn what_is_answered_is_read_in_every_spelling() {
        check(
            "nvmlDeviceGetPowerUsage: 3471 mW\r\n",
            json!({"power_mw": 3471}),
        );
        check(
            "nvmlDeviceGetUtilizationRates = gpu=7 memory=0",
            json!({"gpu_util_pct": 7}),
        );
        check(
            "nvmlDeviceGetMemoryInfo = total=10 free=4 used=6",
            json!({"memory_info": {"total": 10, "free": 4, "used": 6}}),
        );
        check(
            "nvmlDeviceGetFanSpeed = 30",
            json!({"nvmlDeviceGetFanSpeed": 30}),
        );
    }

    #[test]
    fn a_serial_number_is_not_told() {
        check(
            "nvmlDeviceGetSerial = 123\nnvmlDeviceGetUUID = GPU-1\nnvmlDeviceGetName = NVIDIA Thor",
            json!({"name": "NVIDIA Thor"}),
        );
    }
}
