//! A board: what its rows share, its rows, and what to know before believing them.

use maud::{Markup, html};
use tokwatt_domain::{
    leaderboard::{Board, Row},
    power::Provenance,
};

use super::interval::Axis;
use crate::{
    report,
    web::{
        names::{name, plain},
        page::{device_link, mark, scrolling},
    },
};

pub(super) fn board(board: &Board) -> Markup {
    html! {
        (facts(report::groups(board)))
        @if !board.rows.is_empty() { (rows(board)) }
        (facts(report::details(board)))
        (notes(board))
    }
}

fn facts(groups: Vec<(&str, String)>) -> Markup {
    html! {
        @if !groups.is_empty() {
            dl.facts {
                @for (label, words) in groups { dt { (label) } dd { (plain(&words)) } }
            }
        }
    }
}

fn rows(board: &Board) -> Markup {
    let (keys, _) = report::keys(board);
    let scale = report::scale(board);
    let axis = Axis::of(board);
    let title = plain(&report::title(board));
    let is_measured = board.provenance == Provenance::Measured;
    scrolling(
        &title,
        html! {
            table.board {
                caption.unseen { (title) }
                thead { tr {
                    th scope="col" { "Place" }
                    @for (n, key) in keys.iter().enumerate() { th.key[n > 0] scope="col" { (key) } }
                    th.number scope="col" { "Value" @if !scale.unit.is_empty() { " (" (scale.unit) ")" } }
                    th.number scope="col" { "95 % interval" }
                    th scope="col" { @if let Some(axis) = axis { (axis.ends(&scale)) } @else { "Interval" } }
                    th.number scope="col" { "Runs" }
                    th.number scope="col" { "Requests" }
                    @if !is_measured { th scope="col" { "Provenance" } }
                    th scope="col" { "Flags" }
                } }
                tbody {
                    @for row in &board.rows { (one(board, row, &keys, &scale, axis)) }
                }
            }
        },
    )
}

fn one(
    board: &Board,
    row: &Row,
    keys: &[&str],
    scale: &report::Scale<'_>,
    axis: Option<Axis>,
) -> Markup {
    let [value, interval] = report::value(row, scale);
    let (words, _) = report::flags(row);
    html! {
        tr {
            td.place { (report::place(row)) }
            @for (n, key) in keys.iter().enumerate() {
                @if n == 0 {
                    th scope="row" { (cell(row, key)) (others(row, &keys[1..])) }
                } @else {
                    td.key { (cell(row, key)) }
                }
            }
            td.number { (value) }
            td.number { (interval) }
            td { @if let Some(axis) = axis { (axis.draw(row.value, row.ci95)) } @else { "–" } }
            td.number { (row.n_runs) }
            td.number { (row.n_requests) }
            @if board.provenance != Provenance::Measured { td { (mark(board.provenance)) } }
            td {
                @for word in &words { span.flag { (name(word)) } " " }
                @if words.is_empty() { "–" }
            }
        }
    }
}

/// Keys that have columns of their own where there is room for them.
fn others(row: &Row, keys: &[&str]) -> Markup {
    html! {
        span.keys {
            @for key in keys { span { (key) " " (name(&report::cell(row, key))) } }
        }
    }
}

fn cell(row: &Row, key: &str) -> Markup {
    let value = report::cell(row, key);
    match key {
        "device" => device_link(&value),
        _ => name(&value),
    }
}

fn notes(board: &Board) -> Markup {
    let notes = report::notes(board);
    html! {
        @if !notes.is_empty() {
            h2 { "Notes" }
            ul.notes {
                @for note in &notes { li { (plain(note)) } }
            }
        }
    }
}
