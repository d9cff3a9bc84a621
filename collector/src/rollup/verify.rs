//! Where two reports of one run differ.

use serde_json::{Map, Value};
use tokwatt_domain::metrics::RunReport;

/// Paths of what differs, sorted; empty if the reports are the same to the last bit.
pub(super) fn differences(theirs: &RunReport, ours: &RunReport) -> Vec<String> {
    let [Ok(theirs), Ok(ours)] = [theirs, ours].map(serde_json::to_value) else {
        return vec!["(cannot be written as JSON)".to_owned()];
    };
    let mut paths = Vec::new();
    compare("", &theirs, &ours, &mut paths);
    paths.truncate(PATHS_MAX);
    paths
}

fn compare(path: &str, theirs: &Value, ours: &Value, paths: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => compare_objects(path, left, right, paths),
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (position, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}[{position}]"), left, right, paths);
            }
        }
        _ if theirs == ours => {}
        _ => paths.push(path.to_owned()),
    }
}

fn compare_objects(
    path: &str,
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    paths: &mut Vec<String>,
) {
    let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let inner = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        let of = |object: &Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
        compare(&inner, &of(left), &of(right), paths);
    }
}

/// Enough to see what went wrong; a report of another version differs everywhere.
const PATHS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(theirs: Value, ours: Value, want: &[&str]) {
        let mut paths = Vec::new();
        compare("", &theirs, &ours, &mut paths);
        assert_eq!(paths, want);
    }

    #[test]
    fn what_is_the_same_differs_nowhere() {
        check(
            json!({"a": [1, {"b": 0.1}]}),
            json!({"a": [1, {"b": 0.1}]}),
            &[],
        );
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        check(
            json!({"metrics": {"ttft": {"p50": 0.1}, "tpot": null}, "power": [{"energy_j": 1.0}]}),
            json!({"metrics": {"ttft": {"p50": 0.2}, "tpot": null}, "power": [{"energy_j": 1.5}]}),
            &["metrics.ttft.p50", "power[0].energy_j"],
        );
    }

    #[test]
    fn what_is_missing_differs_and_null_is_missing() {
        check(json!({"a": 1}), json!({"b": null}), &["a"]);
        check(json!([1]), json!([1, 2]), &[""]);
    }
}
