//! Documents for people and for spreadsheets: tables, CSV, Markdown. A document's JSON is the document itself.

mod csv;
mod date;
mod markdown;
mod number;
mod table;

use std::collections::BTreeSet;

use tokwatt_domain::{
    leaderboard::{Board, Row},
    power::Provenance,
};

pub use self::{
    csv::csv,
    markdown::markdown,
    table::{board, devices, run, runs},
};

/// What a board is of: `decode_tps in tok/s, higher is better`.
fn title(board: &Board) -> String {
    let scope = board
        .scope
        .map(|scope| format!("@{scope}"))
        .unwrap_or_default();
    let unit = match board.unit.as_str() {
        "" => String::new(),
        unit => format!(" in {unit}"),
    };
    let better = if board.lower_is_better {
        "lower"
    } else {
        "higher"
    };
    let provenance = match board.provenance {
        Provenance::Measured => String::new(),
        other => format!(" — {}, not measured", other.as_str().to_uppercase()),
    };
    format!(
        "{}{scope}{unit}, {better} is better{provenance}",
        board.metric
    )
}

/// How tasks were put together, unless there was nothing to put together.
fn aggregate(board: &Board) -> Option<String> {
    (board.aggregate != "one task").then(|| format!("over tasks: {}", board.aggregate))
}

/// Keys that tell rows apart, and those that are too long to stand in a table.
fn keys(board: &Board) -> (Vec<&str>, Vec<&str>) {
    let keys: BTreeSet<&str> = board
        .rows
        .iter()
        .flat_map(|row| row.key.keys().map(String::as_str))
        .collect();
    let is_long = |key: &&str| key.ends_with("_digest") || matches!(*key, "engine_flags" | "os");
    let (long, short): (Vec<&str>, Vec<&str>) = keys.into_iter().partition(is_long);
    // Something must tell the rows apart.
    if short.is_empty() {
        (long, short)
    } else {
        (short, long)
    }
}

/// `1`, `1 (1–2)`, or `–` for a row without one.
fn place(row: &Row) -> String {
    match (row.place, row.place_range) {
        (Some(place), Some((first, last))) if first != last => format!("{place} ({first}–{last})"),
        (Some(place), _) => place.to_string(),
        (None, _) => "–".to_owned(),
    }
}

fn interval(row: &Row) -> String {
    match row.ci95 {
        Some((low, high)) => format!("{} – {}", number::short(low), number::short(high)),
        None => "–".to_owned(),
    }
}

/// Flags as words, and what is a sentence.
fn flags(row: &Row) -> (Vec<&str>, Vec<&str>) {
    let flags = row.flags.iter().map(String::as_str);
    flags.partition(|flag| !flag.contains(' '))
}

/// What goes below a board: advice to its rows, then its notes.
fn notes(board: &Board) -> Vec<String> {
    let (short, _) = keys(board);
    let advice = board.rows.iter().flat_map(|row| {
        let name = name(row, &short);
        let (_, sentences) = flags(row);
        sentences
            .into_iter()
            .map(move |sentence| format!("{name}: {sentence}"))
    });
    advice.chain(board.notes.iter().cloned()).collect()
}

/// `precision=f32, task=caption_brief`.
fn name(row: &Row, keys: &[&str]) -> String {
    let values = keys
        .iter()
        .filter_map(|key| Some((key, row.key.get(*key)?)));
    let texts: Vec<String> = values
        .map(|(key, value)| format!("{key}={}", shortened(value)))
        .collect();
    texts.join(", ")
}

/// A digest by its first digits; other long texts by their beginning.
fn shortened(value: &str) -> String {
    let is_digest = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let most = if is_digest {
        DIGEST_DIGITS
    } else {
        VALUE_CHARS
    };
    if value.chars().count() <= most {
        return value.to_owned();
    }
    let start: String = value.chars().take(most).collect();
    format!("{start}…")
}

const DIGEST_DIGITS: usize = 12;
const VALUE_CHARS: usize = 60;
