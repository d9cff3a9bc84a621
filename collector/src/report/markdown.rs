//! A board as Markdown, for notes and issues.

use tokwatt_domain::leaderboard::{Board, Row};

use super::{aggregate, flags, interval, keys, notes, number, place, shortened, title};

/// Heading, what is fixed, table, notes.
pub fn markdown(board: &Board) -> String {
    let (keys, long) = keys(board);
    let keys: Vec<&str> = keys.into_iter().chain(long).collect();
    let mut text = format!("### {}\n\n", escaped(&title(board)));
    let fixed = board
        .fixed
        .iter()
        .map(|(key, value)| format!("{key} `{}`", shortened(value)));
    let fixed: Vec<String> = fixed.chain(aggregate(board)).collect();
    if !fixed.is_empty() {
        text += &format!("{}\n\n", fixed.join(", "));
    }
    let head = ["place"]
        .into_iter()
        .chain(keys.iter().copied())
        .chain(LAST);
    let head: Vec<String> = head.map(str::to_owned).collect();
    text += &line(&head);
    text += &line(&vec!["---".to_owned(); head.len()]);
    for row in &board.rows {
        text += &line(&cells(board, row, &keys));
    }
    for note in notes(board) {
        text += &format!("\n- {}", escaped(&note));
    }
    text + "\n"
}

fn cells(board: &Board, row: &Row, keys: &[&str]) -> Vec<String> {
    let value_of = |key: &&str| {
        row.key
            .get(*key)
            .map(|value| shortened(value))
            .unwrap_or_default()
    };
    let (words, _) = flags(row);
    let mut cells = vec![place(row)];
    cells.extend(keys.iter().map(value_of));
    cells.extend([
        number::short(row.value),
        interval(row),
        row.n_runs.to_string(),
        board.provenance.to_string(),
        words.join(", "),
    ]);
    cells
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

const LAST: [&str; 5] = ["value", "95 % interval", "runs", "provenance", "flags"];
