//! Rows of `nvidia-smi --query-gpu=… --format=csv`, with the line of names or, as they are often quoted, without.
//!
//! Without names a cell says what it is by its shape, as far as it does: a unit, a driver's version, a compute capability.
//! Temperature and load are bare numbers, told by standing beside the power. The rest is kept under `unknown`.

use serde_json::{Map, Value};

use super::reading::{figure, is_absent, number, word};

type Row = Map<String, Value>;

/// The first row, and `rows` if there are several.
pub(super) fn parse(text: &str) -> Option<Value> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut names: Option<Vec<&str>> = None;
    let mut rows: Vec<Row> = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if is_header(&cells) {
            names = Some(cells);
        } else if let Some(names) = &names {
            rows.push(named(names, &cells));
        } else {
            rows.extend(by_shape(&cells));
        }
    }
    let mut first = rows.first().filter(|row| !row.is_empty())?.clone();
    if rows.len() > 1 {
        first.insert("rows".to_owned(), rows.into());
    }
    Some(first.into())
}

fn is_header(cells: &[&str]) -> bool {
    let is_known = |cell: &&str| FIELDS.iter().any(|(name, _)| *name == field_name(cell));
    let is_name = |cell: &&str| {
        let name = field_name(cell);
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_'))
    };
    cells.iter().all(is_name) && cells.iter().any(is_known)
}

/// `memory.total [MiB]` is `memory.total`.
fn field_name(cell: &str) -> &str {
    cell.split('[').next().unwrap_or_default().trim()
}

fn named(names: &[&str], cells: &[&str]) -> Row {
    let mut row = Row::new();
    for (name, cell) in names.iter().zip(cells) {
        let name = field_name(name);
        let known = FIELDS.iter().find(|(known, _)| *known == name);
        let key = known.map_or(name, |(_, key)| *key);
        if !is_secret(name) {
            row.insert(key.to_owned(), cell_value(key, cell));
        }
    }
    row
}

fn cell_value(key: &str, cell: &str) -> Value {
    if TEXTS.contains(&key) {
        word(cell)
    } else {
        number(cell).unwrap_or_else(|| word(cell))
    }
}

/// Nothing, if no cell says what it is.
fn by_shape(cells: &[&str]) -> Option<Row> {
    process(cells).or_else(|| gpu(cells))
}

/// `6330, sglang::scheduler, 96073`, a row of `--query-compute-apps`; the name may hold commas.
fn process(cells: &[&str]) -> Option<Row> {
    let without_device = match cells {
        [device, rest @ ..] if is_device(device) => rest,
        cells => cells,
    };
    let [pid, name @ .., used] = without_device else {
        return None;
    };
    let pid = pid.parse::<u32>().ok().filter(|pid| *pid > INDEX_MAX)?;
    let is_text = |cell: &&str| number(cell).is_none() && !is_absent(cell);
    if !name.first().is_some_and(is_text) || (number(used).is_none() && !is_absent(used)) {
        return None;
    }
    let mut row = Row::new();
    row.insert("pid".to_owned(), pid.into());
    row.insert("process".to_owned(), name.join(", ").into());
    row.insert("used_mib".to_owned(), figure(used));
    Some(row)
}

fn gpu(cells: &[&str]) -> Option<Row> {
    let mut row = Row::new();
    let mut unknown = Vec::new();
    let power = cells.iter().position(|cell| cell.ends_with('W'));
    let power = power.or_else(|| cells.iter().position(is_bare_power));
    for (place, cell) in cells.iter().enumerate() {
        let shape = if Some(place) == power {
            Some("power_w")
        } else {
            shape(cell, place, power, cells)
        };
        match shape {
            Some(key) if !row.contains_key(key) => {
                row.insert(key.to_owned(), cell_value(key, cell));
            }
            _ if is_absent(cell) || is_device(cell) => {}
            _ => unknown.push(*cell),
        }
    }
    // The field after the name is by custom the memory; that it is not known claims nothing.
    if row.contains_key("gpu_name") && cells.get(1).is_some_and(|cell| is_absent(cell)) {
        row.insert("memory_total_mib".to_owned(), Value::Null);
    }
    if row.is_empty() {
        return None;
    }
    if !unknown.is_empty() {
        row.insert("unknown".to_owned(), unknown.into());
    }
    Some(row)
}

fn shape(cell: &str, place: usize, power: Option<usize>, cells: &[&str]) -> Option<&'static str> {
    let is_bare = |place: usize| cells.get(place).is_some_and(|cell| is_integer(cell));
    if is_compute_capability(cell) {
        return Some("compute_cap");
    }
    if is_driver(cell) {
        return Some("driver");
    }
    if cell.ends_with('%') && number(cell).is_some() {
        return Some("gpu_util_pct");
    }
    if cell.strip_prefix('P').is_some_and(is_integer) {
        return Some("pstate");
    }
    if is_integer(cell) {
        let power = power?;
        return match power.checked_sub(place) {
            Some(1) => Some("temp_c"),
            Some(2) if is_bare(place + 1) => Some("gpu_util_pct"),
            None if place == power + 1 && !is_bare(power.wrapping_sub(1)) => Some("temp_c"),
            _ => None,
        };
    }
    let has_letter = cell.contains(|c: char| c.is_ascii_alphabetic());
    let is_name = has_letter && number(cell).is_none() && !is_absent(cell) && !is_device(cell);
    is_name.then_some("gpu_name")
}

fn is_integer(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit())
}

fn is_bare_power(cell: &&str) -> bool {
    let is_decimal = cell.bytes().all(|b| b.is_ascii_digit() || b == b'.') && cell.contains('.');
    is_decimal && number(cell).is_some() && !is_compute_capability(cell) && !is_driver(cell)
}

/// `580.159.03`: drivers count from hundreds, and power with three digits before the point has its unit or a smaller device.
fn is_driver(cell: &str) -> bool {
    let parts: Vec<&str> = cell.split('.').collect();
    let is_version = parts.iter().all(|part| is_integer(part));
    is_version && (2..=3).contains(&parts.len()) && parts[0].len() == 3
}

fn is_compute_capability(cell: &str) -> bool {
    COMPUTE_CAPABILITIES.contains(&cell)
}

fn is_device(cell: &str) -> bool {
    cell.starts_with("GPU-") || cell.starts_with("MIG-")
}

fn is_secret(name: &str) -> bool {
    name.contains("serial") || name.contains("uuid")
}

/// Greatest number that is a GPU's place in the machine rather than a process.
const INDEX_MAX: u32 = 63;

/// All that there are, Maxwell to Blackwell.
const COMPUTE_CAPABILITIES: [&str; 21] = [
    "5.0", "5.2", "5.3", "6.0", "6.1", "6.2", "7.0", "7.2", "7.5", "8.0", "8.6", "8.7", "8.8",
    "8.9", "9.0", "10.0", "10.1", "10.3", "11.0", "12.0", "12.1",
];

/// Keys whose values are text, whatever they look like.
const TEXTS: [&str; 5] = ["gpu_name", "driver", "compute_cap", "pstate", "process"];

/// The tool's names and ours.
const FIELDS: [(&str, &str); 24] = [
    ("name", "gpu_name"),
    ("gpu_name", "gpu_name"),
    ("driver_version", "driver"),
    ("compute_cap", "compute_cap"),
    ("pstate", "pstate"),
    ("memory.total", "memory_total_mib"),
    ("memory.used", "memory_used_mib"),
    ("memory.free", "memory_free_mib"),
    ("utilization.gpu", "gpu_util_pct"),
    ("utilization.memory", "memory_util_pct"),
    ("power.draw", "power_w"),
    ("power.draw.instant", "power_instant_w"),
    ("power.draw.average", "power_average_w"),
    ("power.limit", "power_limit_w"),
    ("enforced.power.limit", "power_limit_w"),
    ("temperature.gpu", "temp_c"),
    ("clocks.sm", "sm_mhz"),
    ("clocks.current.sm", "sm_mhz"),
    ("clocks.max.sm", "sm_max_mhz"),
    ("fan.speed", "fan_pct"),
    ("pid", "pid"),
    ("process_name", "process"),
    ("used_gpu_memory", "used_mib"),
    ("used_memory", "used_mib"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Value) {
        assert_eq!(parse(text), Some(want), "{text}");
    }

    #[test]
    fn a_line_of_names_decides_and_an_unknown_name_is_kept() {
        check(
            "index, name, power.draw [W], clocks.video, uuid\r\n0, NVIDIA Thor, [Not Supported], 300 MHz, GPU-1\r\n",
            json!({"index": 0, "gpu_name": "NVIDIA Thor", "power_w": null, "clocks.video": 300}),
        );
        check(
            "pid, process_name, used_gpu_memory [MiB]\n1, x, [N/A]",
            json!({"pid": 1, "process": "x", "used_mib": null}),
        );
    }

    #[test]
    fn several_gpus_are_rows() {
        let row = |power: f64| json!({"gpu_name": "A", "power_w": power});
        let mut want = row(1.5);
        want["rows"] = json!([row(1.5), row(2.5)]);
        check("name, power.draw [W]\nA, 1.50 W\nA, 2.50 W", want);
    }

    #[test]
    fn without_names_only_what_is_certain_by_shape_is_said() {
        check(
            "NVIDIA GB10, 45, 3.74",
            json!({"gpu_name": "NVIDIA GB10", "temp_c": 45, "power_w": 3.74}),
        );
        check(
            "12 %, 11.17 W, 35",
            json!({"gpu_util_pct": 12, "power_w": 11.17, "temp_c": 35}),
        );
        check(
            "NVIDIA Thor, P0, 300",
            json!({"gpu_name": "NVIDIA Thor", "pstate": "P0", "unknown": ["300"]}),
        );
        assert_eq!(parse("[N/A], [N/A]"), None);
    }
}
