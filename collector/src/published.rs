//! What five studies published, as data: their figures with the doubts noted, and what they say about them, in our words.
//!
//! It is shown as published, never ranked with what was measured, and asked by `check published` whether it survives its own figures.

mod row;
mod statement;

use std::sync::LazyLock;

use serde::Deserialize;

pub use self::{
    row::{Kind, Row},
    statement::{Answer, Figure, Memory, Rule, Statement},
};

/// A study.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// What its rows and statements are known by.
    pub id: String,
    /// What it is about.
    pub title: String,
}

/// All there is.
#[derive(Debug)]
pub struct Published {
    /// In the order of their publication here.
    pub studies: Vec<Study>,
    /// What they say.
    pub statements: Vec<Statement>,
    /// Their figures.
    pub rows: Vec<Row>,
}

/// What stands in statements.toml.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statements {
    study: Vec<Study>,
    statement: Vec<Statement>,
}

impl Published {
    /// What is shipped.
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// A row of a study.
    pub fn row(&self, study: &str, name: &str) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.study() == study && row.name() == name)
    }
}

/// The rows as they are shipped, a JSON object a line.
pub const ROWS: &str = include_str!("published/rows.jsonl");

static SHIPPED: LazyLock<Published> = LazyLock::new(|| {
    let statements: Statements = toml::from_str(include_str!("published/statements.toml"))
        .expect("a test has read what is shipped");
    let rows = ROWS.lines().map(serde_json::from_str);
    let rows = rows.collect::<Result<_, _>>();
    Published {
        studies: statements.study,
        statements: statements.statement,
        rows: rows.expect("a test has read what is shipped"),
    }
});

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_shipped_can_be_read_and_no_row_stands_twice() {
        let published = Published::shipped();
        let names: BTreeSet<&str> = published.rows.iter().map(|row| row.row.as_str()).collect();
        assert_eq!((published.rows.len(), names.len()), (115, 115));
        for row in &published.rows {
            let study = |study: &Study| study.id == row.study();
            assert!(published.studies.iter().any(study), "{}", row.row);
        }
    }

    #[test]
    fn every_study_says_something() {
        let published = Published::shipped();
        for study in &published.studies {
            let of_it = |statement: &Statement| statement.study == study.id;
            assert!(published.statements.iter().any(of_it), "{}", study.id);
        }
    }
}
