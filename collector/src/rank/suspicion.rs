//! What makes a figure doubtful only beside others: flags that are stored with no run, and found when a board is made.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Catalogue, Key, Metric,
    candidate::{Candidate, describe},
    catalogue::{IndexedCell, Word},
    place::Placed,
};

/// An engine with a model.
type Engine = [Word; ENGINE.len()];

/// Adds the flags `duplicate` and `resized` to rows; returns which rows have the same figures.
pub(super) fn suspect(
    placed: &mut [Placed<'_>],
    catalogue: &Catalogue,
    metric: &Metric,
) -> Vec<String> {
    let resized = resized(placed, catalogue);
    for row in placed.iter_mut() {
        let mut cells = row.candidate.cells.iter();
        if cells.any(|cell| resized.contains(&cell.number)) {
            row.candidate.flags.insert("resized".to_owned());
        }
    }
    twins(placed, metric)
}

/// Rows whose repetitions all have the same values, bit for bit. Shares, counts and memory, which comes in whole pages, may well be the same.
fn twins(placed: &mut [Placed<'_>], metric: &Metric) -> Vec<String> {
    if metric.definition.is_share() || ["", "B"].contains(&metric.definition.unit) {
        return Vec::new();
    }
    let mut same: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
    for (position, row) in placed.iter().enumerate() {
        let values = row.candidate.values.iter();
        let bits = values
            .filter(|value| value.is_finite())
            .map(|value| value.to_bits());
        let bits: Vec<u64> = bits.collect();
        if !bits.is_empty() {
            same.entry(bits).or_default().push(position);
        }
    }
    let mut notes = BTreeSet::new();
    for positions in same.into_values().filter(|positions| positions.len() > 1) {
        let names = positions
            .iter()
            .map(|position| describe(&placed[*position].candidate.by));
        let names: BTreeSet<String> = names.collect();
        let names: Vec<String> = names.into_iter().collect();
        notes.insert(format!(
            "duplicate: {} have the same figures to the last digit, as if one had been copied",
            names.join(" and ")
        ));
        for position in positions {
            let flags = &mut placed[position].candidate.flags;
            flags.insert("duplicate".to_owned());
        }
    }
    notes.into_iter().collect()
}

/// Numbers of cells of which pictures of another size take as many prompt tokens. Other sizes need not stand on the board.
fn resized(placed: &[Placed<'_>], catalogue: &Catalogue) -> BTreeSet<i64> {
    let rows = placed.iter().map(|row| &row.candidate);
    let shown: BTreeSet<Engine> = rows.flat_map(engines).collect();
    let mut sizes: BTreeMap<(Engine, &str), BTreeMap<Word, Vec<i64>>> = BTreeMap::new();
    let none = catalogue.word("none");
    for cell in catalogue.cells() {
        let (engine, size) = (engine(cell), cell.key(Key::ImagePx));
        if cell.is_of_fixed_tokens || Some(size) == none || !shown.contains(&engine) {
            continue;
        }
        for (kind, _) in &cell.kinds {
            if let Some(tokens) = &catalogue.kind(*kind).image_tokens {
                let of_size = sizes.entry((engine, tokens.as_str())).or_default();
                of_size.entry(size).or_default().push(cell.number);
            }
        }
    }
    let several = sizes.into_values().filter(|sizes| sizes.len() > 1);
    several.flat_map(BTreeMap::into_values).flatten().collect()
}

fn engines<'c>(candidate: &'c Candidate<'_>) -> impl Iterator<Item = Engine> + 'c {
    candidate.cells.iter().map(|cell| engine(cell))
}

fn engine(cell: &IndexedCell) -> Engine {
    ENGINE.map(|key| cell.key(key))
}

const ENGINE: [Key; 4] = [Key::Backend, Key::Engine, Key::Model, Key::Precision];
