//! What `sensors` prints: chips with their voltages, currents, temperatures and powers.

use serde_json::{Map, Value};

/// Labels and powers of INA3221 channels, temperatures, and the system's power where a chip is known to measure it.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut chips = text
        .lines()
        .map(str::trim)
        .fold(Vec::new(), |mut chips: Vec<Chip>, line| {
            match line.split_once(':') {
                None if !line.is_empty() => chips.push(Chip::named(line)),
                Some((label, reading)) => {
                    if chips.is_empty() {
                        chips.push(Chip::named(""));
                    }
                    if let Some(chip) = chips.last_mut() {
                        chip.readings.push((label.trim(), reading.trim()));
                    }
                }
                None => {}
            }
            chips
        });
    chips.retain(|chip| {
        chip.readings
            .iter()
            .any(|(_, reading)| quantity(reading).is_some())
    });
    if chips.is_empty() {
        return None;
    }
    let mut found = Map::new();
    let labels: Vec<Value> = chips
        .iter()
        .flat_map(Chip::labels)
        .map(Value::from)
        .collect();
    put(&mut found, "labels", labels.into());
    put(
        &mut found,
        "power_mw_approx",
        chips
            .iter()
            .flat_map(Chip::powers)
            .collect::<Map<_, _>>()
            .into(),
    );
    put(
        &mut found,
        "temps_c",
        chips
            .iter()
            .flat_map(Chip::temperatures)
            .collect::<Map<_, _>>()
            .into(),
    );
    let system = chips.iter().find_map(Chip::system_power_w);
    found.insert(
        "system_power_w".to_owned(),
        system.map_or(Value::Null, Value::from),
    );
    Some(found.into())
}

struct Chip<'a> {
    name: &'a str,
    readings: Vec<(&'a str, &'a str)>,
}

impl<'a> Chip<'a> {
    fn named(name: &'a str) -> Self {
        Self {
            name,
            readings: Vec::new(),
        }
    }

    /// Of the three channels: `in4` and later are shunt voltages, a thousand times too large, and their sum.
    fn channels(&self) -> impl Iterator<Item = (&'a str, f64)> {
        let is_ina = self.name.starts_with("ina3221");
        let voltages =
            self.readings
                .iter()
                .filter(move |_| is_ina)
                .filter_map(|(label, reading)| {
                    let (value, unit) = quantity(reading)?;
                    (unit == "V" || unit == "mV").then_some((*label, scaled(value, unit)))
                });
        voltages
            .filter(|(label, _)| numbered(label, "in").is_none() && !label.starts_with("sum of"))
            .take(3)
    }

    fn labels(&self) -> Vec<&'a str> {
        self.channels().map(|(label, _)| label).collect()
    }

    /// Volt times ampere of the same channel, in mW, rounded; an unconnected channel has none.
    fn powers(&self) -> Vec<(String, Value)> {
        let current = |channel: usize| {
            let (_, reading) = self
                .readings
                .iter()
                .find(|(label, _)| numbered(label, "curr") == Some(channel))?;
            quantity(reading).map(|(value, unit)| scaled(value, unit))
        };
        self.channels()
            .zip(1..)
            .filter(|((label, _), _)| *label != "NC")
            .filter_map(|((label, volts), channel)| {
                let milliwatts = (volts * current(channel)? * 1000.0).round();
                Some((
                    label.to_owned(),
                    serde_json::from_str(&format!("{milliwatts:.0}")).ok()?,
                ))
            })
            .collect()
    }

    fn temperatures(&self) -> Vec<(String, Value)> {
        let is_temperature = |unit: &str| unit == "C" || unit == "°C";
        let readings = self
            .readings
            .iter()
            .filter_map(|(label, reading)| Some((*label, quantity(reading)?)));
        readings
            .filter(|(_, (_, unit))| is_temperature(unit))
            .map(|(label, (value, _))| (label.to_owned(), value.into()))
            .collect()
    }

    /// Only of the module that is known to measure it: the other `power1` of a GB10 is its fan, at 5 mW.
    fn system_power_w(&self) -> Option<f64> {
        let (_, reading) = self
            .readings
            .iter()
            .find(|(label, _)| self.name.starts_with("spbm") && *label == "sys_total")?;
        quantity(reading).map(|(value, unit)| scaled(value, unit))
    }
}

fn put(found: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty =
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if !is_empty {
        found.insert(key.to_owned(), value);
    }
}

/// `curr2` is channel 2 of `curr`.
fn numbered(label: &str, kind: &str) -> Option<usize> {
    label.strip_prefix(kind)?.parse().ok()
}

/// `+40.4 C`, `480.00 mV`, `5.06 V  (max = …)`.
fn quantity(reading: &str) -> Option<(f64, &str)> {
    let mut words = reading.split_whitespace();
    let first = words.next()?.trim_start_matches('+');
    let end = first
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-')))
        .unwrap_or(first.len());
    let (figure, unit) = first.split_at(end);
    let unit = if unit.is_empty() { words.next()? } else { unit };
    Some((figure.parse().ok()?, unit))
}

fn scaled(value: f64, unit: &str) -> f64 {
    match unit.chars().next() {
        Some('m') => value / 1e3,
        Some('u' | 'µ') => value / 1e6,
        Some('k') => value * 1e3,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_chips_are_read_with_adapters_degrees_and_limits() {
        let text = "ina3221-i2c-1-40\r\nAdapter: c240000.i2c\r\nVDD_IN: 5.00 V\r\nin4: 6.16 V\r\ncurr1: -1.50 A (max = +5.05 A)\r\n\r\n\
                    nvme-pci-0100\r\nComposite: +41.9°C  (low = -0.1°C)\r\n";
        let want = json!({
            "labels": ["VDD_IN"], "power_mw_approx": {"VDD_IN": -7500}, "temps_c": {"Composite": 41.9}, "system_power_w": null,
        });
        assert_eq!(parse(text), Some(want));
    }

    #[test]
    fn the_fans_milliwatts_are_not_the_systems_power() {
        let fan = "acpi_fan-acpi-0\npower1: 5.00 mW";
        assert_eq!(parse(fan).unwrap()["system_power_w"], Value::Null);
        let module = "spbm-acpi-0\nsys_total: 25.50 W\ngpu: 5.00 W";
        assert_eq!(parse(module).unwrap()["system_power_w"], 25.5);
    }

    #[test]
    fn other_text_has_no_sensor() {
        for text in ["", "No sensors found!", "Adapter: x", "a: b\nc: 5"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
