//! A board as CSV: one line a row, what all rows share repeated in each, so that a line stands alone.

use tokwatt_domain::{
    leaderboard::{Board, Row},
    metrics::Percentile,
};

/// The board with a header line; absent values are empty.
pub fn csv(board: &Board) -> String {
    let (short, long) = super::keys(board);
    let keys: Vec<&str> = short.into_iter().chain(long).collect();
    let head = FIRST.iter().copied().chain(keys.iter().copied());
    let beside = super::beside(board);
    let head = head
        .chain(LAST)
        .chain(beside.iter().copied())
        .chain(board.fixed.keys().map(String::as_str));
    let mut text = line(head.map(str::to_owned));
    for row in &board.rows {
        text.push_str(&line(fields(board, row, &keys)));
    }
    text
}

fn fields(board: &Board, row: &Row, keys: &[&str]) -> impl Iterator<Item = String> {
    let first = [
        board.metric.clone(),
        or_empty(board.scope),
        board.unit.clone(),
        board.provenance.to_string(),
        board.aggregate.clone(),
        or_empty(row.place),
        or_empty(row.place_range.map(|(first, _)| first)),
        or_empty(row.place_range.map(|(_, last)| last)),
    ];
    let keys: Vec<String> = keys.iter().map(|key| or_empty(row.key.get(*key))).collect();
    let last = [
        match row.value {
            Percentile::Value(value) => value.to_string(),
            Percentile::Failed(_) => "failed".to_owned(),
        },
        or_empty(row.ci95.map(|(low, _)| low)),
        or_empty(row.ci95.map(|(_, high)| high)),
        row.n_runs.to_string(),
        row.n_requests.to_string(),
        row.flags.join("; "),
    ];
    let beside = super::beside(board).into_iter();
    let beside: Vec<String> = beside.map(|id| or_empty(row.beside.get(id))).collect();
    let fixed: Vec<String> = board.fixed.values().cloned().collect();
    let row = first.into_iter().chain(keys).chain(last);
    row.chain(beside).chain(fixed)
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted: Vec<String> = fields.map(quoted).collect();
    quoted.join(",") + "\n"
}

/// As RFC 4180 has it.
fn quoted(field: String) -> String {
    let field = defused(&field);
    if field.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field
}

/// Text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP advises: names come from devices. Numbers
/// stay numbers, whatever their sign.
pub(super) fn defused(field: &str) -> String {
    let is_formula = field.starts_with(FORMULA) && field.parse::<f64>().is_err();
    if is_formula {
        return format!("'{field}");
    }
    field.to_owned()
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// What a formula begins with, also in its wide forms.
const FORMULA: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'];

const FIRST: [&str; 8] = [
    "metric",
    "scope",
    "unit",
    "provenance",
    "aggregate",
    "place",
    "place_first",
    "place_last",
];
const LAST: [&str; 6] = [
    "value",
    "ci95_low",
    "ci95_high",
    "n_runs",
    "n_requests",
    "flags",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_formula() {
        for formula in [
            "=cmd()|' /C calc'!A0",
            "+1+1",
            "-1+1",
            "@SUM(A1)",
            "\t=1",
            "＝1",
        ] {
            assert_eq!(defused(formula), format!("'{formula}"));
        }
        for text in ["orin-1", "-3.5", "+1e-3", "", "closed(1)"] {
            assert_eq!(defused(text), text);
        }
        assert_eq!(quoted("=cmd(\"a\")".to_owned()), "\"'=cmd(\"\"a\"\")\"");
    }
}
