//! The table that `nvidia-smi` draws. A cell's meaning is its place in a row, and the row's its shape: widths change with the driver.

use serde_json::{Map, Value};

use super::reading::{figure, is_absent, number, word};

/// Driver, GPUs and processes of a table or of a part of one: the first GPU's figures, and `gpus` if there are several.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut table = Map::new();
    version(
        text,
        &["Driver Version:", "KMD Version:"],
        "driver",
        &mut table,
    );
    version(
        text,
        &["CUDA Version:", "CUDA UMD Version:"],
        "cuda",
        &mut table,
    );
    let mut gpus: Vec<Map<String, Value>> = Vec::new();
    let mut processes = Vec::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let Some(gpu) = gpu(&cells) {
            gpus.push(gpu);
        } else if let Some(gpu) = gpus.last_mut() {
            read_on(gpu, &cells);
        }
        processes.extend(process(&cells));
    }
    table.extend(gpus.first().cloned().unwrap_or_default());
    if gpus.len() > 1 {
        table.insert("gpus".to_owned(), gpus.into());
    }
    if !processes.is_empty() {
        table.insert("processes".to_owned(), processes.into());
    }
    (!table.is_empty()).then(|| table.into())
}

fn version(text: &str, labels: &[&str], key: &str, table: &mut Map<String, Value>) {
    let after = |label: &&str| text.split_once(*label)?.1.split_whitespace().next();
    if let Some(version) = labels.iter().find_map(after) {
        table.insert(key.to_owned(), word(version));
    }
}

/// `0  NVIDIA GB10   On | 0000000F:01:00.0 Off | N/A`: number, name, persistence; bus.
fn gpu(cells: &[&str]) -> Option<Map<String, Value>> {
    let [first, bus, ..] = cells else { return None };
    let words: Vec<&str> = first.split_whitespace().collect();
    let [index, name @ .., _persistence] = &words[..] else {
        return None;
    };
    if name.is_empty() {
        return None;
    }
    let mut gpu = Map::new();
    gpu.insert("index".to_owned(), index.parse::<u32>().ok()?.into());
    gpu.insert("gpu_name".to_owned(), name.join(" ").into());
    gpu.insert("bus_id".to_owned(), word(bus.split_whitespace().next()?));
    Some(gpu)
}

/// The rows below a GPU's first: its figures, then whether it is divided.
fn read_on(gpu: &mut Map<String, Value>, cells: &[&str]) {
    match cells {
        [figures, memory, load, ..] if !gpu.contains_key("memory") => {
            // With its blank, since `N/A` has a stroke too.
            if let Some(read) = figures.split_once(" /") {
                read_figures(gpu, read);
                read_memory(gpu, memory);
                let load = load.split_whitespace().next().unwrap_or_default();
                gpu.insert("gpu_util_pct".to_owned(), figure(load));
            }
        }
        ["", _, mig] if !mig.is_empty() && !gpu.contains_key("mig") => {
            gpu.insert("mig".to_owned(), word(mig));
        }
        _ => {}
    }
}

/// `N/A   46C    P0    10W` and, after the stroke, the limit.
fn read_figures(gpu: &mut Map<String, Value>, (figures, limit): (&str, &str)) {
    let mut words = figures.split_whitespace().rev();
    let mut next = || words.next().unwrap_or_default();
    gpu.insert("power_w".to_owned(), figure(next()));
    gpu.insert("pstate".to_owned(), word(next()));
    gpu.insert("temp_c".to_owned(), figure(next()));
    gpu.insert("fan_pct".to_owned(), figure(next()));
    gpu.insert("power_limit_w".to_owned(), figure(limit));
}

/// `Not Supported`, in these words, where GPU and processor share their memory.
fn read_memory(gpu: &mut Map<String, Value>, memory: &str) {
    gpu.insert("memory".to_owned(), memory.into());
    if let Some((used, total)) = memory.split_once('/') {
        gpu.insert("memory_used_mib".to_owned(), figure(used));
        gpu.insert("memory_total_mib".to_owned(), figure(total));
    }
}

/// `0   N/A  N/A   329657   G   /usr/lib/xorg/Xorg   43MiB`; older drivers have no instances of GPU and engine.
fn process(cells: &[&str]) -> Option<Value> {
    let [row] = cells else { return None };
    let words: Vec<&str> = row.split_whitespace().collect();
    let kind = words.iter().position(|word| KINDS.contains(word))?;
    let (before, after) = words.split_at(kind);
    let [kind, name @ .., memory] = after else {
        return None;
    };
    let has_memory = is_absent(memory) || (memory.ends_with("MiB") && number(memory).is_some());
    if name.is_empty() || !has_memory {
        return None;
    }
    let mut process = Map::new();
    process.insert("pid".to_owned(), before.last()?.parse::<u32>().ok()?.into());
    process.insert("type".to_owned(), (*kind).into());
    process.insert("name".to_owned(), name.join(" ").into());
    process.insert("mib".to_owned(), figure(memory));
    Some(process.into())
}

/// Computing, graphics, both, and computing for several at once.
const KINDS: [&str; 5] = ["C", "G", "C+G", "M+C", "M+C+G"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &Value) {
        let got = parse(text).unwrap();
        for (key, want) in want.as_object().unwrap() {
            assert_eq!(got.get(key), Some(want), "{key} of {text}");
        }
    }

    /// Derived: rows of a discrete GPU, as wide as an older driver draws them.
    const TWO: &str = "\
        | NVIDIA-SMI 470.57.02    Driver Version: 470.57.02    CUDA Version: 11.4     |\r\n\
        |   0  Tesla T4            Off  | 00000000:3B:00.0 Off |                    0 |\r\n\
        | N/A   46C    P8     9W /  70W |      3MiB / 15109MiB |      7%      Default |\r\n\
        |                               |                      |                  N/A |\r\n\
        |   1  Quadro RTX 8000     On   | 00000000:AF:00.0 Off |                  Off |\r\n\
        | 33%   31C    P2   240W / 260W |  40000MiB / 48601MiB |    100%      Default |\r\n\
        |    0   N/A  N/A      2211      C   python3 train.py                  3MiB |\r\n\
        |    1      901      C+G  /opt/x                                    N/A |\r\n";

    #[test]
    fn several_gpus_are_all_there_and_the_first_is_in_front() {
        let want = json!({
            "driver": "470.57.02", "cuda": "11.4", "gpu_name": "Tesla T4", "temp_c": 46, "power_w": 9, "power_limit_w": 70,
            "memory_used_mib": 3, "memory_total_mib": 15109, "gpu_util_pct": 7, "fan_pct": null, "mig": null,
        });
        check(TWO, &want);
        let got = parse(TWO).unwrap();
        assert_eq!(got["gpus"].as_array().unwrap().len(), 2);
        assert_eq!(got["gpus"][1]["gpu_name"], "Quadro RTX 8000");
        assert_eq!(got["gpus"][1]["power_w"], 240);
        let want = json!([
            {"pid": 2211, "type": "C", "name": "python3 train.py", "mib": 3},
            {"pid": 901, "type": "C+G", "name": "/opt/x", "mib": null},
        ]);
        assert_eq!(got["processes"], want);
    }

    #[test]
    fn a_failing_sensor_is_nothing_and_not_zero() {
        let text = "| 0 NVIDIA Thor Off | 00000000:01:00.0 Off | N/A |\n| ERR!  ERR!  ERR!  ERR! / ERR! | N/A | ERR! Default |";
        let want = json!({"temp_c": null, "power_w": null, "pstate": null, "gpu_util_pct": null, "memory": "N/A"});
        check(text, &want);
    }

    #[test]
    fn a_message_is_no_table() {
        for text in ["", "No devices were found", "|", "| | |\n|=|", "| 0 |"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
