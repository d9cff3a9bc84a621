//! Which cells stand against each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::rank::{Key, RankedCell};

/// Cells that match.
pub(super) struct Paired<'a> {
    /// One cell of each side, in the order of the sides.
    pub(super) rows: Vec<Vec<&'a RankedCell>>,
    /// What has no counterpart, said in words.
    pub(super) left_out: Vec<String>,
}

/// Puts cells of all sides together that are alike in identity and device, but for the keys `apart`.
///
/// Where a side has several such cells, they are told apart by what they differ in, and matched with those of the other sides
/// that have the same there. Cells that some side has no counterpart for are left out.
pub(super) fn pair<'a>(sides: &[Vec<&'a RankedCell>], apart: &BTreeSet<Key>) -> Paired<'a> {
    let must_match = |key: &Key| (key.is_identity() || *key == Key::Device) && !apart.contains(key);
    let keys: Vec<Key> = Key::ALL
        .into_iter()
        .filter(must_match)
        .filter(|key| *key != Key::Limits)
        .collect();
    let mut groups: BTreeMap<Vec<String>, Vec<Vec<&'a RankedCell>>> = BTreeMap::new();
    for (number, cells) in sides.iter().enumerate() {
        for cell in cells {
            let group = groups
                .entry(values(cell, &keys))
                .or_insert_with(|| vec![Vec::new(); sides.len()]);
            group[number].push(cell);
        }
    }
    let mut paired = Paired {
        rows: Vec::new(),
        left_out: Vec::new(),
    };
    for group in groups.into_values() {
        match_within(group, &keys, &mut paired);
    }
    paired
}

fn match_within<'a>(group: Vec<Vec<&'a RankedCell>>, keys: &[Key], paired: &mut Paired<'a>) {
    let telling: Vec<Key> = Key::ALL
        .into_iter()
        .filter(|key| !keys.contains(key))
        .filter(|key| group.iter().any(|cells| differ(cells, *key)))
        .collect();
    let mut rows: BTreeMap<Vec<String>, Vec<Option<&'a RankedCell>>> = BTreeMap::new();
    for (number, cells) in group.iter().enumerate() {
        for cell in cells {
            let row = rows
                .entry(values(cell, &telling))
                .or_insert_with(|| vec![None; group.len()]);
            row[number] = Some(cell);
        }
    }
    for row in rows.into_values() {
        let present: Vec<&RankedCell> = row.iter().flatten().copied().collect();
        if present.len() == group.len() {
            paired.rows.push(present);
        } else if let Some(cell) = present.first() {
            paired.left_out.push(unmatched(cell, &telling));
        }
    }
}

fn unmatched(cell: &RankedCell, telling: &[Key]) -> String {
    let words: Vec<String> = telling
        .iter()
        .map(|key| format!("{} {}", key.as_str(), cell.value(*key)))
        .collect();
    let detail = match words.is_empty() {
        true => String::new(),
        false => format!(" with {}", words.join(", ")),
    };
    format!(
        "{} on {}{detail} is left out: it has no counterpart",
        cell.cell.label(),
        cell.device
    )
}

fn differ(cells: &[&RankedCell], key: Key) -> bool {
    let values: BTreeSet<String> = cells.iter().map(|cell| cell.value(key)).collect();
    values.len() > 1
}

fn values(cell: &RankedCell, keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| cell.value(*key)).collect()
}

/// Keys with one value, the same in all cells.
pub(super) fn common(cells: &[&RankedCell]) -> BTreeMap<Key, String> {
    let Some(first) = cells.first() else {
        return BTreeMap::new();
    };
    let single = |key: &Key| !differ(cells, *key);
    let keys = Key::ALL.into_iter().filter(single);
    keys.map(|key| (key, first.value(key))).collect()
}

/// Keys by their names.
pub(super) fn named(keys: BTreeMap<Key, String>) -> BTreeMap<String, String> {
    keys.into_iter()
        .map(|(key, value)| (key.as_str().to_owned(), value))
        .collect()
}
