//! The firmware's names for a machine, in any layout people quote them in; serial numbers and UUIDs are never taken.

use serde_json::{Map, Value};

use crate::device::dgx;

/// Values of `/sys/class/dmi/id` by the names of their files.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut names = Map::new();
    let mut asked: Option<&str> = None;
    let mut is_hidden = false;
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(command) = line.strip_prefix("$ ") {
            asked = command.split_whitespace().find_map(file);
            is_hidden = is_secret(command);
        } else if let Some(heading) = line
            .strip_suffix(':')
            .or(line.ends_with(" Information").then_some(line))
        {
            section = heading;
        } else if is_secret(line) {
            asked = None;
        } else if let Some((key, value)) = pair(line, section) {
            put(&mut names, key, value);
        } else if let Some(key) = asked.take() {
            put(&mut names, key, line);
        } else if !is_hidden && !line.contains(['=', ':']) {
            // Bare lines: the maker stands before the machine.
            let key = ["sys_vendor", "product_name"]
                .into_iter()
                .find(|key| !names.contains_key(*key));
            put(&mut names, key.unwrap_or_default(), line);
        }
    }
    if let Some(version) = dgx::Release::parse(text).and_then(|release| release.fastos) {
        names.insert("fastos".to_owned(), version.into());
    }
    (!names.is_empty()).then(|| names.into())
}

/// The firmware's version where it stands in a sentence: `Node A Dell FCM1253: 5.36_4.0.0`.
pub(super) fn bios(text: &str) -> Option<Value> {
    let is_version = |word: &&str| {
        word.split_once('_').is_some_and(|(scheme, rest)| {
            scheme.contains('.')
                && scheme.bytes().all(|b| b.is_ascii_digit() || b == b'.')
                && !rest.is_empty()
        })
    };
    let mut words =
        text.split(|c: char| c.is_whitespace() || matches!(c, ';' | ',' | '(' | ')' | '"'));
    let version = words.find(is_version)?;
    let mut names = Map::new();
    names.insert("dell_bios".to_owned(), version.into());
    Some(names.into())
}

/// Also where it stands without a colon: a bare line must not be one.
fn is_secret(line: &str) -> bool {
    let line = line.to_lowercase();
    ["serial", "uuid", "asset"]
        .iter()
        .any(|word| line.contains(word))
}

fn put(names: &mut Map<String, Value>, key: &str, value: &str) {
    let value = value.trim_matches('"');
    if !key.is_empty() && !value.is_empty() && !names.contains_key(key) {
        names.insert(key.to_owned(), value.into());
    }
}

/// `product_name VALUE`, `product_name: VALUE`, `/sys/…/product_name -> VALUE`, `Product Name: VALUE`.
fn pair<'a>(line: &'a str, section: &str) -> Option<(&'static str, &'a str)> {
    if let Some((label, value)) = line.split_once(':') {
        let key = labelled(label.trim(), section).or_else(|| file(label.trim()));
        return key.map(|key| (key, value.trim()));
    }
    let (first, rest) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
    let value = rest.trim().trim_start_matches(['-', '>', '=']).trim();
    file(first).map(|key| (key, value))
}

/// The file that a path ends in.
fn file(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next()?;
    FILES.into_iter().find(|file| *file == name)
}

/// What dmidecode and inventory tools call it; `Version` means something else in every section.
fn labelled(label: &str, section: &str) -> Option<&'static str> {
    let is_firmware = section.contains("BIOS");
    let is_board = section.contains("Board");
    Some(match label {
        "Manufacturer" if !is_board => "sys_vendor",
        "Product Name" if is_board => "board_name",
        "Product Name" => "product_name",
        "Family" => "product_family",
        "SKU Number" => "product_sku",
        "Vendor" if is_firmware => "bios_vendor",
        "Version" if is_firmware => "bios_version",
        "Release Date" if is_firmware => "bios_date",
        "Version" if !is_board => "product_version",
        _ => return None,
    })
}

const FILES: [&str; 11] = [
    "sys_vendor",
    "product_name",
    "product_family",
    "product_version",
    "product_sku",
    "board_name",
    "board_vendor",
    "board_version",
    "bios_vendor",
    "bios_version",
    "bios_date",
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
    fn every_layout_gives_the_same_names() {
        let want = json!({"sys_vendor": "LENOVO", "product_name": "30KL0004FC"});
        check("sys_vendor LENOVO\nproduct_name 30KL0004FC", want.clone());
        check(
            "sys_vendor: LENOVO\r\nproduct_name: 30KL0004FC\r\n",
            want.clone(),
        );
        check(
            "/sys/class/dmi/id/sys_vendor -> LENOVO\n/sys/class/dmi/id/product_name=30KL0004FC",
            want.clone(),
        );
        check(
            "$ cat /sys/class/dmi/id/product_name\n30KL0004FC\n$ cat /sys/class/dmi/id/sys_vendor\nLENOVO",
            want.clone(),
        );
        check(
            "System Information\n\tManufacturer: LENOVO\n\tProduct Name: 30KL0004FC",
            want,
        );
    }

    #[test]
    fn serial_numbers_and_uuids_stay_where_they_are() {
        let text = "sys_vendor HP\nproduct_serial MADEUP1\nproduct_uuid 0badcafe\nSerial Number: MADEUP2\nUUID: 0badcafe\nAsset Tag: MADEUP3\n$ cat product_serial\nMADEUP4";
        let told = parse(text).unwrap().to_string();
        assert!(!told.contains("MADEUP") && !told.contains("cafe"), "{told}");
    }
}
