//! Installed packages, as dpkg or apt list them in any language, and the facts that a bench script noted as `key=value`.

use serde_json::{Map, Value};

use super::reading::word;

/// Package name, with `_` for `-`, to its installed version; `null` if it is not installed.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut versions = Map::new();
    let mut package: Option<&str> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some((name, version)) = on_one_line(line) {
            put(&mut versions, name, version);
        } else if let Some(name) = heading(line) {
            package = Some(name);
        } else if let Some((name, version)) =
            package.and_then(|name| Some((name, after_label(line)?)))
        {
            // The first is what is installed; candidates and the table of versions follow.
            put(&mut versions, name, version);
            package = None;
        }
    }
    (!versions.is_empty()).then(|| versions.into())
}

/// Facts that a script noted, by their names; what the corpus has a shorter name for is called so.
pub(super) fn environment(text: &str) -> Option<Value> {
    let facts: Map<String, Value> = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| is_fact(name))
        .map(|(name, value)| {
            let renamed = RENAMED.iter().find(|(from, _)| *from == name);
            (renamed.map_or(name, |(_, to)| *to).to_owned(), word(value))
        })
        .collect();
    (!facts.is_empty()).then(|| facts.into())
}

/// `ii  NAME  VERSION  arm64  …`, `NAME VERSION`, `NAME=VERSION`.
fn on_one_line(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
    let first = words.next()?;
    let name = if STATES.contains(&first) {
        words.next()?
    } else {
        first
    };
    let version = words.next()?;
    let name = name.split(':').next()?;
    (!line.starts_with(' ')
        && is_package(name)
        && version.starts_with(|c: char| c.is_ascii_digit()))
    .then_some((name, version))
}

/// `NAME:` of apt, `Package: NAME` of dpkg.
fn heading(line: &str) -> Option<&str> {
    let name = line
        .strip_prefix("Package:")
        .map(str::trim)
        .or_else(|| line.strip_suffix(':'))?;
    is_package(name).then_some(name)
}

/// The label is translated, and so is its colon.
fn after_label(line: &str) -> Option<&str> {
    let (label, value) = line.split_once([':', '：'])?;
    let is_version = line.starts_with(' ') || label == "Version";
    is_version
        .then(|| value.trim())
        .filter(|value| !value.is_empty())
}

fn put(versions: &mut Map<String, Value>, name: &str, version: &str) {
    // `(none)` in any language and any brackets.
    let is_version = version.starts_with(|c: char| c.is_ascii_digit());
    let version = is_version.then_some(version);
    versions.insert(name.replace('-', "_"), version.into());
}

fn is_package(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'+')
        })
}

fn is_fact(name: &str) -> bool {
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_name
        && !["serial", "uuid", "token", "key", "secret", "password"]
            .iter()
            .any(|word| name.contains(word))
}

const STATES: [&str; 4] = ["ii", "hi", "rc", "un"];

const RENAMED: [(&str, &str); 2] = [("nvidia_l4t_core", "l4t_core"), ("power_mode", "mode")];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let want = json!({"nvidia_jetpack": "6.2.1+b38"});
        assert_eq!(parse(text), Some(want), "{text}");
    }

    #[test]
    fn every_tool_and_language_gives_the_same_version() {
        check(
            "nvidia-jetpack:\n  Installed: 6.2.1+b38\n  Candidate: 7.0\n  Version table:\n *** 6.2.1+b38 500",
        );
        check("nvidia-jetpack:\r\n  Installiert: 6.2.1+b38\r\n");
        check("nvidia-jetpack\t6.2.1+b38\n");
        check("ii  nvidia-jetpack:arm64  6.2.1+b38  arm64  NVIDIA Jetpack Meta Package");
        check("Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2.1+b38\n");
    }

    #[test]
    fn what_is_not_installed_has_no_version() {
        let got = parse("nvidia-jetpack:\n  Installed: (none)\n  Candidate: (none)\n");
        assert_eq!(got, Some(json!({"nvidia_jetpack": null})));
        assert_eq!(parse("command not found"), None);
    }
}
