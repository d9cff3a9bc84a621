//! A document as a title, what all of it has in common, tables under headings, and notes: as text for a terminal, or as Markdown.

use comfy_table::Cell;

use super::{
    lines::{dashed, wrapped},
    table::{right, table},
};

/// A document for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub(crate) title: String,
    /// Label and words.
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) sections: Vec<Section>,
    pub(crate) notes: Vec<String>,
}

/// A table under its heading, and what is said below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) grid: Grid,
    pub(crate) below: Vec<String>,
}

/// Rows of words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grid {
    /// Names of the columns; those that begin with `#` hold numbers, which stand at the right.
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Page {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = wrapped(&self.title, 2) + "\n";
        let width = self.facts.iter().map(|(label, _)| label.len()).max();
        let width = width.unwrap_or(0) + 2;
        for (label, words) in &self.facts {
            text += &(wrapped(&format!("{label:width$}{words}"), width) + "\n");
        }
        for section in &self.sections {
            if !section.heading.is_empty() {
                text += &format!("\n{}\n", wrapped(&section.heading, 2));
            }
            if !section.grid.rows.is_empty() {
                text += &format!("\n{}\n", section.grid.text());
            }
            text += &dashed(&section.below);
        }
        text + &dashed(&self.notes)
    }

    /// For notes and issues.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n", escaped(&self.title));
        text += &listed(
            self.facts
                .iter()
                .map(|(label, words)| format!("{label}: {words}")),
        );
        for section in &self.sections {
            if !section.heading.is_empty() {
                text += &format!("\n#### {}\n", escaped(&section.heading));
            }
            if !section.grid.rows.is_empty() {
                text += &format!("\n{}", section.grid.markdown());
            }
            text += &listed(section.below.iter().cloned());
        }
        text + &listed(self.notes.iter().cloned())
    }
}

impl Grid {
    pub(super) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let names: Vec<&str> = self.head.iter().map(|name| plain(name)).collect();
        let mut table = table(&names);
        for row in &self.rows {
            let cell = |(name, text): (&String, &String)| match name.starts_with('#') {
                true => right(text),
                false => Cell::new(text),
            };
            table.add_row(self.head.iter().zip(row).map(cell).collect::<Vec<_>>());
        }
        table.trim_fmt()
    }

    fn markdown(&self) -> String {
        let names: Vec<String> = self
            .head
            .iter()
            .map(|name| plain(name).to_owned())
            .collect();
        let sides = self.head.iter().map(|name| match name.starts_with('#') {
            true => "---:".to_owned(),
            false => "---".to_owned(),
        });
        let mut text = line(&names) + &format!("| {} |\n", sides.collect::<Vec<_>>().join(" | "));
        for row in &self.rows {
            text += &line(row);
        }
        text
    }
}

fn plain(name: &str) -> &str {
    name.strip_prefix('#').unwrap_or(name)
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    let lines: String = texts
        .map(|text| format!("- {}\n", escaped(&text)))
        .collect();
    match lines.is_empty() {
        true => lines,
        false => format!("\n{lines}"),
    }
}

/// Names come from devices and files: what would be markup in Markdown is text.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if "|<>`*[]\\".contains(letter) && letter != '`' {
            escaped.push('\\');
        }
        escaped.push(if letter == '\n' { ' ' } else { letter });
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut grid = Grid::new(&["device", "#value"]);
        grid.rows.push(vec!["a|b".to_owned(), "1.0".to_owned()]);
        Page {
            title: "what <b>is</b> better".to_owned(),
            facts: vec![("asked".to_owned(), "caption_brief".to_owned())],
            sections: vec![Section {
                heading: "all".to_owned(),
                grid,
                below: vec!["below".to_owned()],
            }],
            notes: vec!["note".to_owned()],
        }
    }

    #[test]
    fn names_are_never_markup() {
        let text = page().markdown();
        assert!(text.contains("a\\|b"), "{text}");
        assert!(text.contains("\\<b\\>is\\</b\\>"), "{text}");
        assert!(text.contains("| --- | ---: |"), "{text}");
    }

    #[test]
    fn everything_stands_on_the_page_in_its_order() {
        let text = page().text();
        let places: Vec<usize> = [
            "what",
            "asked  caption_brief",
            "all",
            "a|b",
            "- below",
            "- note",
        ]
        .iter()
        .map(|words| text.find(words).unwrap())
        .collect();
        assert!(places.is_sorted(), "{text}");
    }
}
