//! The figures of a study as a rule asks for them, and which were asked for.

use std::fmt;

use super::range::Range;
use crate::published::{Figure, Kind, Published, Row};

/// A figure that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    name: String,
    value: String,
    pub(super) is_estimated: bool,
}

/// Those of one study.
pub(super) struct Figures<'a> {
    published: &'a Published,
    study: &'a str,
    used: Vec<Known>,
}

/// No row of that name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Missing(pub(super) String);

impl<'a> Figures<'a> {
    pub(super) fn of(published: &'a Published, study: &'a str) -> Self {
        Self {
            published,
            study,
            used: Vec::new(),
        }
    }

    /// What the figure may have been before it was rounded.
    pub(super) fn range(&mut self, figure: &Figure) -> Result<Range, Missing> {
        match figure {
            Figure::Row(_) => {
                let row = self.row(figure)?;
                Ok(Range::printed(row.value(), &row.printed()))
            }
            Figure::Printed { value, text } => {
                self.used.push(Known {
                    name: String::new(),
                    value: text.clone(),
                    is_estimated: false,
                });
                Ok(Range::printed(*value, text))
            }
        }
    }

    pub(super) fn ranges(&mut self, figures: &[Figure]) -> Result<Vec<Range>, Missing> {
        figures.iter().map(|figure| self.range(figure)).collect()
    }

    /// One over another.
    pub(super) fn ratio(&mut self, [of, to]: &[Figure; 2]) -> Result<Range, Missing> {
        Ok(self.range(of)?.over(self.range(to)?))
    }

    /// From the one to the other.
    pub(super) fn span(&mut self, [from, to]: &[Figure; 2]) -> Result<Range, Missing> {
        Ok(self.range(from)?.hull(self.range(to)?))
    }

    /// A number that is not a rounded one.
    pub(super) fn exact(&mut self, value: f64) -> Range {
        self.used.push(Known {
            name: String::new(),
            value: value.to_string(),
            is_estimated: false,
        });
        Range::exactly(value)
    }

    /// The whole row; a number that stands for itself is none.
    pub(super) fn row(&mut self, figure: &Figure) -> Result<Row, Missing> {
        let name = match figure {
            Figure::Row(name) => name,
            Figure::Printed { text, .. } => return Err(Missing(text.clone())),
        };
        let row = self.published.row(self.study, name);
        let row = row.ok_or_else(|| Missing(name.clone()))?;
        self.used.push(Known {
            name: name.clone(),
            value: format!("{} {}", row.printed(), row.unit),
            is_estimated: row.kind == Kind::Estimated,
        });
        Ok(row.clone())
    }

    pub(super) fn used(&self) -> impl Iterator<Item = &Known> {
        self.used.iter()
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.is_empty() {
            true => f.write_str(&self.value),
            false => write!(f, "{} {}", self.name, self.value.trim_end_matches(" 1")),
        }
    }
}
