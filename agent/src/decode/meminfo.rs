//! `/proc/meminfo`, every figure by its name: unified memory is seen here and not by NVML.

use serde_json::{Map, Value};

/// `MemTotal: 127535084 kB` is `mem_total_kb`.
pub(super) fn parse(text: &str) -> Option<Value> {
    let figures: Map<String, Value> = text.lines().filter_map(figure).collect();
    (!figures.is_empty()).then(|| figures.into())
}

fn figure(line: &str) -> Option<(String, Value)> {
    let (name, rest) = line.split_once(':')?;
    let mut words = rest.split_whitespace();
    let value: u64 = words.next()?.parse().ok()?;
    let unit = match words.next() {
        Some("kB") => "_kb",
        None => "",
        Some(_) => return None,
    };
    Some((snake_case(name.trim())? + unit, value.into()))
}

/// `Active(anon)` is `active_anon`; `None` for what is no field's name.
fn snake_case(name: &str) -> Option<String> {
    let mut key = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        match c {
            '(' | '_' => key.push('_'),
            ')' => {}
            c if c.is_ascii_alphanumeric() => {
                if c.is_ascii_uppercase() && was_lower {
                    key.push('_');
                }
                key.push(c.to_ascii_lowercase());
            }
            _ => return None,
        }
        was_lower = c.is_ascii_lowercase();
    }
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_kept_by_name_and_what_is_none_is_left_out() {
        let text = "MemTotal:  10 kB\r\nActive(anon): 2 kB\nHugePages_Total: 0\nDirectMap2M: 4 kB\nMemFree: many\n";
        let want = json!({"mem_total_kb": 10, "active_anon_kb": 2, "huge_pages_total": 0, "direct_map2m_kb": 4});
        assert_eq!(parse(text), Some(want));
        assert_eq!(parse("command not found"), None);
    }
}
