//! What `jetson_clocks --show` prints: clocks of processor, GPU and memory, and whether they are held at their highest.

use serde_json::{Map, Value, json};

use super::reading::figure;

/// Every line by its own words; one that is not known is kept under `unknown`.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut clocks = Map::new();
    let mut cores = Map::new();
    let mut unknown = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((name, core)) = core(line) {
            cores.insert(name, core);
        } else if read(&mut clocks, line).is_none() {
            unknown.push(line);
        }
    }
    if clocks.is_empty() && cores.is_empty() {
        return None;
    }
    if !cores.is_empty() {
        clocks.insert("cores".to_owned(), cores.into());
    }
    if let Some(is_locked) = is_locked(&clocks) {
        clocks.insert("is_locked".to_owned(), is_locked.into());
    }
    if !unknown.is_empty() {
        clocks.insert("unknown".to_owned(), unknown.into());
    }
    Some(clocks.into())
}

fn read(clocks: &mut Map<String, Value>, line: &str) -> Option<()> {
    let mut put = |key: &str, value: Value| drop(clocks.insert(key.to_owned(), value));
    if let Some(rest) = line.strip_prefix("SOC family:") {
        let (soc, machine) = rest.split_once("Machine:").unwrap_or((rest, ""));
        put("soc", soc.trim().into());
        if !machine.trim().is_empty() {
            put("machine", machine.trim().into());
        }
    } else if let Some(rest) = line.strip_prefix("Online CPUs:") {
        let (online, offline) = rest.split_once("Offline CPUs:").unwrap_or((rest, ""));
        put("online", online.trim().trim_end_matches(',').into());
        if !offline.trim().is_empty() {
            put("offline", offline.trim().into());
        }
    } else if let Some(rest) = line.strip_prefix("GPU ") {
        frequencies("gpu", rest, put)?;
    } else if let Some(rest) = line.strip_prefix("EMC ") {
        frequencies("emc", rest, put)?;
    } else if let Some(rest) = line.strip_prefix("FAN ").or(line.strip_prefix("Fan:")) {
        put("fan", rest.trim().into());
    } else if let Some(mode) = line.strip_prefix("NV Power Mode:") {
        put("mode", mode.trim().into());
    } else if let Some(units) = line.strip_prefix("Active GPU TPCs:") {
        put("gpu_tpcs", figure(units));
    } else {
        return None;
    }
    Some(())
}

fn frequencies(of: &str, line: &str, mut put: impl FnMut(&str, Value)) -> Option<()> {
    let current = field(line, "CurrentFreq")?;
    put(&format!("{of}_cur_hz"), figure(current));
    for (name, key) in [
        ("MinFreq", "min_hz"),
        ("MaxFreq", "max_hz"),
        ("FreqOverride", "override"),
    ] {
        if let Some(value) = field(line, name) {
            put(&format!("{of}_{key}"), figure(value));
        }
    }
    Some(())
}

/// `cpu0: Online=1 Governor=schedutil MinFreq=729600 MaxFreq=2201600 CurrentFreq=1113600 IdleStates: …`, in kHz.
fn core(line: &str) -> Option<(String, Value)> {
    let (name, rest) = line.split_once(':')?;
    let number = name.strip_prefix("cpu")?;
    number.parse::<u32>().ok()?;
    let clock = |name| field(rest, name).map_or(Value::Null, figure);
    let core = json!({
        "governor": field(rest, "Governor"),
        "min_khz": clock("MinFreq"), "max_khz": clock("MaxFreq"), "cur_khz": clock("CurrentFreq"),
    });
    Some((name.to_owned(), core))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Held: no room between lowest and highest, and the memory's clock is set by hand. Not known without both lines.
fn is_locked(clocks: &Map<String, Value>) -> Option<bool> {
    let gpu = clocks.get("gpu_min_hz")? == clocks.get("gpu_max_hz")?;
    Some(gpu && clocks.get("emc_override")? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_locked_only_if_gpu_and_memory_say_so() {
        let locked = "GPU MinFreq=5 MaxFreq=5 CurrentFreq=5\nEMC MinFreq=1 MaxFreq=9 CurrentFreq=9 FreqOverride=1";
        assert_eq!(parse(locked).unwrap()["is_locked"], true);
        let free = locked.replace("FreqOverride=1", "FreqOverride=0");
        assert_eq!(parse(&free).unwrap()["is_locked"], false);
        assert_eq!(
            parse("GPU MinFreq=5 MaxFreq=5 CurrentFreq=5")
                .unwrap()
                .get("is_locked"),
            None
        );
    }

    #[test]
    fn a_core_keeps_its_number_and_a_new_line_its_words() {
        let got =
            parse("cpu10: Governor=schedutil MinFreq=1 MaxFreq=2 CurrentFreq=2\nNEW Online=1\n")
                .unwrap();
        assert_eq!(got["cores"]["cpu10"]["max_khz"], 2);
        assert_eq!(got["unknown"], json!(["NEW Online=1"]));
    }
}
