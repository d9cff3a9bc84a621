//! A board as Markdown, for notes and issues.

use tokwatt_domain::leaderboard::{Board, Row};

use super::{
    beside, beside_of, cell, details, fixed, flags, has_flag_column, keys, notes, number::Scale,
    place, scale, title, value,
};

/// Heading, what is fixed, table, what is too long for it, notes.
pub fn markdown(board: &Board) -> String {
    let (keys, _) = keys(board);
    let mut text = format!("### {}\n\n", escaped(&title(board)));
    for (group, words) in fixed::groups(board) {
        text += &format!("- {group}: {}\n", escaped(&words));
    }
    let head = ["place"].into_iter().chain(keys.iter().copied());
    let head: Vec<String> = head
        .chain(["value", "95 % interval", "runs", "provenance"])
        .chain(beside(board))
        .chain(has_flag_column(board).then_some("flags"))
        .map(str::to_owned)
        .collect();
    text += &format!("\n{}", line(&head));
    text += &line(&vec!["---".to_owned(); head.len()]);
    for row in &board.rows {
        text += &line(&cells(board, row, &keys, &scale(board)));
    }
    for (key, words) in details(board) {
        text += &format!("\n- {key}: {}", escaped(&words));
    }
    for note in notes(board) {
        text += &format!("\n- {}", escaped(&note));
    }
    text + "\n"
}

fn cells(board: &Board, row: &Row, keys: &[&str], scale: &Scale<'_>) -> Vec<String> {
    let (words, _) = flags(row);
    let mut cells = vec![place(row)];
    cells.extend(keys.iter().map(|key| cell(row, key)));
    cells.extend(value(row, scale));
    cells.extend([row.n_runs.to_string(), board.provenance.to_string()]);
    cells.extend(beside(board).into_iter().map(|id| beside_of(row, id)));
    cells.extend(has_flag_column(board).then(|| words.join(", ")));
    cells
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
