//! A figure as NVIDIA's tools print it: with or without its unit, or one of their words for not having it.

use serde_json::Value;

/// The figure, `null` if there is none.
pub(super) fn figure(text: &str) -> Value {
    number(text).unwrap_or(Value::Null)
}

/// The text, `null` if it says that there is none.
pub(super) fn word(text: &str) -> Value {
    if is_absent(text) {
        Value::Null
    } else {
        text.trim().into()
    }
}

/// The figure before a unit or nothing: `10W`, `11.17 W`, `0 %`, `39`. A whole number stays one.
pub(super) fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    let is_figure = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
    let end = text.find(|c| !is_figure(c)).unwrap_or(text.len());
    let (figure, unit) = text.split_at(end);
    if !UNITS.contains(&unit.trim()) {
        return None;
    }
    let whole = figure.parse::<i64>().ok().map(Value::from);
    whole.or_else(|| Some(figure.parse::<f64>().ok()?.into()))
}

/// Whether the tool says that it does not know: `[N/A]`, `Not Supported`, `[Unknown Error]`.
pub(super) fn is_absent(text: &str) -> bool {
    let text = text.trim().trim_matches(['[', ']']).to_lowercase();
    ABSENT.contains(&text.as_str())
}

const ABSENT: [&str; 10] = [
    "",
    "-",
    "n/a",
    "not supported",
    "not available",
    "not found",
    "unknown error",
    "insufficient permissions",
    "gpu is lost",
    "err!",
];

const UNITS: [&str; 14] = [
    "", "W", "mW", "mJ", "%", "C", "MiB", "MB", "KiB", "kB", "GiB", "MHz", "kHz", "Hz",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Value) {
        assert_eq!(figure(text), want, "{text}");
    }

    #[test]
    fn a_figure_is_read_with_and_without_its_unit() {
        check("10W", json!(10));
        check(" 11.17 W ", json!(11.17));
        check("-1C", json!(-1));
        check("39", json!(39));
    }

    #[test]
    fn what_is_no_figure_is_nothing_and_never_zero() {
        for text in [
            "[N/A]",
            "Not Supported",
            "",
            "-",
            "1.2.3",
            "12 parsecs",
            "W",
        ] {
            check(text, Value::Null);
        }
        assert!(is_absent("[Unknown Error]") && is_absent("ERR!") && !is_absent("P0"));
    }
}
