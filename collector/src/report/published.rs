//! What became of the studies' statements, for people.

use comfy_table::{Cell, ContentArrangement};

use super::table::table;
use crate::check::{Judged, PublishedCheck, Verdict};

/// A table for each study, as wide as a terminal.
pub fn published(check: &PublishedCheck) -> String {
    let mut text = format!("{}\n", summary(check));
    for judged in by_study(check) {
        let Some(first) = judged.first() else {
            continue;
        };
        let mut table = table(&HEAD);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(COLUMNS);
        for judged in judged {
            table.add_row(cells(judged).map(Cell::new));
        }
        text += &format!("\n{}: {}\n{}\n", first.study, first.title, table.trim_fmt());
    }
    text
}

/// The same as Markdown.
pub fn published_markdown(check: &PublishedCheck) -> String {
    let mut text = format!(
        "### Statements of published studies\n\n{}\n",
        summary(check)
    );
    for judged in by_study(check) {
        let Some(first) = judged.first() else {
            continue;
        };
        text += &format!("\n#### {}: {}\n\n", first.study, first.title);
        text += &line(&HEAD.map(str::to_owned));
        text += &line(&["---"; 5].map(str::to_owned));
        for judged in judged {
            text += &line(&cells(judged));
        }
    }
    text
}

fn summary(check: &PublishedCheck) -> String {
    let n = |verdict| {
        let statements = check.statements.iter();
        statements
            .filter(|judged| judged.verdict == verdict)
            .count()
    };
    format!(
        "{} statements by their own figures, as published: {} hold, {} do not, {} cannot be decided",
        check.statements.len(),
        n(Verdict::Holds),
        n(Verdict::DoesNotHold),
        n(Verdict::CannotBeDecided)
    )
}

fn by_study(check: &PublishedCheck) -> impl Iterator<Item = &[Judged]> {
    let is_same = |left: &Judged, right: &Judged| left.study == right.study;
    check.statements.chunk_by(is_same)
}

fn cells(judged: &Judged) -> [String; 5] {
    [
        judged.statement.clone(),
        judged.figures.join("; "),
        judged.follows.clone(),
        judged.verdict.to_string(),
        judged.why.clone(),
    ]
}

fn line(cells: &[String; 5]) -> String {
    let escaped = cells.each_ref().map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", escaped.join(" | "))
}

const HEAD: [&str; 5] = ["statement", "figures", "what follows", "verdict", "why"];

const COLUMNS: u16 = 110;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::check_published, published::Published};

    #[test]
    fn every_statement_stands_in_both_with_its_verdict() {
        let check = check_published(Published::shipped());
        let (text, markdown) = (published(&check), published_markdown(&check));
        for judged in &check.statements {
            assert!(markdown.contains(&judged.statement), "{}", judged.statement);
            assert!(text.contains(&judged.study));
        }
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= usize::from(COLUMNS)));
        let rows = markdown.lines().filter(|line| line.starts_with("| "));
        let n_studies = Published::shipped().studies.len();
        assert_eq!(rows.count(), check.statements.len() + 2 * n_studies);
    }
}
