//! Documents for people and for spreadsheets: tables, CSV, Markdown. A document's JSON is the document itself.

mod campaign;
mod check;
mod compare;
mod contents;
mod csv;
mod date;
mod drawing;
mod estimate;
mod fixed;
mod flag;
mod folder;
mod lines;
mod markdown;
mod members;
mod number;
mod page;
mod published;
mod recommend;
mod service;
mod table;

use std::collections::BTreeSet;

use tokwatt_domain::{
    leaderboard::{Board, Boards, Row},
    metrics::Percentile,
    power::Provenance,
};

pub(crate) use self::{
    contents::Contents,
    date::minute,
    fixed::groups,
    flag::meaning,
    number::{Scale, percentile, short},
    page::Grid,
    table::{run_end, unit},
};

pub use self::{
    campaign::{campaign, campaigns, job},
    check::check,
    compare::{comparison, history},
    csv::csv,
    date::utc,
    drawing::{Busy, Drawing},
    estimate::estimate,
    folder::Material,
    markdown::markdown,
    members::{device, tokens},
    page::Page,
    published::{published, published_markdown},
    recommend::{recommendation, use_cases},
    service::Reports,
    table::{board, devices, run, runs},
};

/// Boards one after the other, each as `board` writes it, with what must be known of all of them above the first. In CSV, where there
/// is no line for words, the scope stands in every row.
pub fn boards(boards: &Boards, board: impl Fn(&Board) -> String) -> String {
    let warning = boards
        .warning
        .iter()
        .map(|warning| format!("! {warning}\n"));
    let texts: Vec<String> = warning.chain(boards.boards.iter().map(board)).collect();
    texts.join("\n")
}

/// In what the values of a board are shown.
pub(crate) fn scale(board: &Board) -> Scale<'_> {
    let values = board.rows.iter().filter_map(|row| match row.value {
        Percentile::Value(value) => Some(value),
        Percentile::Failed(_) => None,
    });
    Scale::of(&board.unit, values)
}

/// What a board is of: `decode_tps in tok/s, higher is better`.
pub(crate) fn title(board: &Board) -> String {
    let scope = board
        .scope
        .map(|scope| format!("@{scope}"))
        .unwrap_or_default();
    let unit = match scale(board).unit {
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

/// Keys that tell rows apart, and those that stand below the table, each in a line of its own.
pub(crate) fn keys(board: &Board) -> (Vec<&str>, Vec<&str>) {
    let rows = || board.rows.iter().flat_map(|row| &row.key);
    let keys: BTreeSet<&str> = rows().map(|(key, _)| key.as_str()).collect();
    let is_wide = |key: &&str| {
        let mut values = rows().filter(|(own, _)| own == key);
        values.any(|(_, value)| value.chars().count() > COLUMN_CHARS)
    };
    let (wide, narrow): (Vec<&str>, Vec<&str>) = keys.into_iter().partition(is_wide);
    // Something must tell the rows apart.
    if narrow.is_empty() {
        (wide, narrow)
    } else {
        (narrow, wide)
    }
}

/// Keys below the table: each with its values, of engine flags those that differ, and whose they are.
pub(crate) fn details(board: &Board) -> Vec<(&str, String)> {
    let (short, long) = keys(board);
    let detail = |key: &str| {
        let whose = deciding(board, &short, key);
        let mut values: Vec<String> = Vec::new();
        for row in board.rows.iter().filter(|row| row.key.contains_key(key)) {
            let value = match key {
                "engine_flags" => differing_flags(board, row),
                _ => cell(row, key),
            };
            let names: Vec<String> = whose.iter().map(|short| cell(row, short)).collect();
            let text = format!("{} {value}", names.join(" "));
            if !values.contains(&text) {
                values.push(text);
            }
        }
        values.join("; ")
    };
    long.into_iter().map(|key| (key, detail(key))).collect()
}

/// The one key on which another's value depends, such as a digest on the precision; else all of them.
fn deciding<'a>(board: &Board, short: &[&'a str], key: &str) -> Vec<&'a str> {
    let pairs = |short: &str| -> BTreeSet<(String, String)> {
        let pair = |row: &Row| (cell(row, short), cell(row, key));
        board.rows.iter().map(pair).collect()
    };
    let decides = |short: &&&str| {
        let pairs = pairs(short);
        let names: BTreeSet<&String> = pairs.iter().map(|(name, _)| name).collect();
        names.len() == pairs.len()
    };
    let one = short.iter().find(decides);
    one.map_or_else(|| short.to_vec(), |one| vec![*one])
}

fn differing_flags(board: &Board, row: &Row) -> String {
    let flags = |row: &'_ Row| row.key.get("engine_flags").cloned().unwrap_or_default();
    let others: Vec<String> = board.rows.iter().map(flags).collect();
    let own = flags(row);
    let is_shared = |flag: &(&str, &str)| {
        let mut others = others.iter();
        others.all(|other| fixed::engine_flags(other).contains(flag))
    };
    let differing = fixed::engine_flags(&own).into_iter();
    let words: Vec<String> = differing
        .filter(|flag| !is_shared(flag))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    words.join(", ")
}

/// A row's value of a key.
pub(crate) fn cell(row: &Row, key: &str) -> String {
    let value = row.key.get(key);
    value.map(|value| shortened(value)).unwrap_or_default()
}

/// `1`, `1 (1–2)`, or `–` for a row without one.
pub(crate) fn place(row: &Row) -> String {
    match (row.place, row.place_range) {
        (Some(place), Some((first, last))) if first != last => format!("{place} ({first}–{last})"),
        (Some(place), _) => place.to_string(),
        (None, _) => "–".to_owned(),
    }
}

/// A row's value and its interval.
pub(crate) fn value(row: &Row, scale: &Scale) -> [String; 2] {
    let value = number::percentile(row.value, scale);
    let interval = match row.ci95 {
        Some((low, high)) => format!("{} – {}", scale.show(low), scale.show(high)),
        None => "–".to_owned(),
    };
    [value, interval]
}

/// What stands beside the values on a board of several models: metric ids.
fn beside(board: &Board) -> BTreeSet<&str> {
    let keys = board.rows.iter().flat_map(|row| row.beside.keys());
    keys.map(String::as_str).collect()
}

/// A row's figure beside its value.
fn beside_of(row: &Row, id: &str) -> String {
    let value = row.beside.get(id);
    value.map_or_else(|| "–".to_owned(), |value| number::short(*value))
}

/// Flags as words, and what is a sentence.
pub(crate) fn flags(row: &Row) -> (Vec<&str>, Vec<&str>) {
    let flags = row.flags.iter().map(String::as_str);
    flags.partition(|flag| !flag.contains(' '))
}

/// Whether a column of flags would say nothing: they are the same in every row, and then in the notes.
pub(crate) fn has_flag_column(board: &Board) -> bool {
    let mut words = board.rows.iter().map(|row| flags(row).0);
    let first = words.next();
    words.any(|words| Some(words) != first)
}

/// What goes below a board: advice to its rows, what marks mean, then its notes.
pub(crate) fn notes(board: &Board) -> Vec<String> {
    let (short, _) = keys(board);
    let mut advice: Vec<String> = Vec::new();
    for row in &board.rows {
        let name = name(row, &short);
        let sentences = flags(row).1.into_iter();
        advice.extend(sentences.map(|sentence| format!("{name} {sentence}")));
    }
    let n_more = advice.len().saturating_sub(ADVICE_MAX);
    advice.truncate(ADVICE_MAX);
    let more = (n_more > 0).then(|| format!("{n_more} more such lines: --format json has them"));
    let is_open = |row: &Row| row.place_range.is_some_and(|(first, last)| first != last);
    let range = board.rows.iter().any(is_open).then(|| {
        "in brackets are the places that the intervals leave open: rows that share one cannot be told apart yet"
            .to_owned()
    });
    advice
        .into_iter()
        .chain(more)
        .chain(range)
        .chain(flag::notes(board))
        .chain(board.notes.iter().cloned())
        .collect()
}

/// `precision=f32, task=caption_brief`.
fn name(row: &Row, keys: &[&str]) -> String {
    let keys = keys.iter().filter(|key| row.key.contains_key(**key));
    let texts: Vec<String> = keys
        .map(|key| format!("{key}={}", cell(row, key)))
        .collect();
    texts.join(", ")
}

/// A digest by its first digits; everything else whole.
pub(crate) fn shortened(value: &str) -> String {
    let is_digest = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let most = if is_digest { DIGEST_DIGITS } else { usize::MAX };
    value.chars().take(most).collect()
}

/// Two of a million files share so many with a chance of 0.2 %.
const DIGEST_DIGITS: usize = 12;

/// Enough to see what to measure next.
const ADVICE_MAX: usize = 5;

/// What is longer makes a table too wide.
const COLUMN_CHARS: usize = 24;
