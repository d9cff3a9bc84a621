//! A document of the command line as a part of a page: the same words, in the same order.

use maud::{Markup, html};

use super::{names::plain, page::scrolling};
use crate::report::{Grid, Page};

/// All of it but its title.
pub(super) fn document(page: &Page) -> Markup {
    html! {
        @if !page.facts.is_empty() {
            dl.facts {
                @for (label, words) in &page.facts { dt { (plain(label)) } dd { (plain(words)) } }
            }
        }
        @for section in &page.sections {
            @if !section.heading.is_empty() { h2 { (plain(&section.heading)) } }
            @if !section.grid.rows.is_empty() { (table(&section.heading, &section.grid)) }
            (list(&section.below))
        }
        @if !page.notes.is_empty() {
            h2 { "Notes" }
            (list(&page.notes))
        }
    }
}

/// What it is called.
pub(super) fn title(page: &Page) -> String {
    plain(&page.title)
}

fn table(heading: &str, grid: &Grid) -> Markup {
    let heading = match heading {
        "" => "Answer".to_owned(),
        heading => plain(heading),
    };
    let is_number: Vec<bool> = grid.head.iter().map(|name| name.starts_with('#')).collect();
    scrolling(
        &heading,
        html! {
            table {
                caption.unseen { (heading) }
                thead { tr {
                    @for (name, is_number) in grid.head.iter().zip(&is_number) {
                        th.number[*is_number] scope="col" { (plain(name.trim_start_matches('#'))) }
                    }
                } }
                tbody {
                    @for row in &grid.rows {
                        tr {
                            @for (n, (text, is_number)) in row.iter().zip(&is_number).enumerate() {
                                @if n == 0 { th.number[*is_number] scope="row" { (plain(text)) } }
                                @else { td.number[*is_number] { (plain(text)) } }
                            }
                        }
                    }
                }
            }
        },
    )
}

fn list(lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            ul.notes { @for line in lines { li { (plain(line)) } } }
        }
    }
}
