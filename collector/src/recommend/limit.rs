//! What a candidate must keep, for every task.

use super::{
    LimitShown, Reason, ReasonKind,
    candidate::Candidate,
    measure::{Figures, Measure},
};
use crate::rank::{CellFigure, Key};

/// What a candidate must keep.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) measure: Measure,
    pub(super) bound: Bound,
}

/// From where on it is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Limit {
    /// Why it is broken: in the task in which it is broken most, and by how much.
    pub(super) fn broken(&self, candidate: &Candidate<'_>, figures: &Figures) -> Option<Reason> {
        let (task, figure) = self.closest(candidate, figures)?;
        if !self.bound.is_broken_by(figure.mean) {
            return None;
        }
        let id = self.measure.scoped_id(figures.scope);
        let unit = self.measure.unit();
        let text = match (figure.mean.is_infinite(), self.bound) {
            (true, _) => format!("`{id}` is a failed request in {task}"),
            (false, Bound::AtMost(most)) => format!(
                "`{id}` is {} in {task}: {} times the limit of {}",
                with_unit(figure.mean, unit),
                rounded(figure.mean / most),
                with_unit(most, unit)
            ),
            (false, Bound::AtLeast(least)) => format!(
                "`{id}` is {} in {task}: {} of the {} that are the least",
                with_unit(figure.mean, unit),
                rounded(figure.mean / least),
                with_unit(least, unit)
            ),
        };
        Some(Reason::new(ReasonKind::Limit, text).about(&id))
    }

    /// The limit with a candidate's value.
    pub(super) fn kept(&self, candidate: &Candidate<'_>, figures: &Figures) -> Option<LimitShown> {
        let (task, figure) = self.closest(candidate, figures)?;
        let end = figure.ci95.map(|(low, high)| match self.bound {
            Bound::AtMost(_) => high / (1.0 - figure.relative_bound),
            Bound::AtLeast(_) => low * (1.0 - figure.relative_bound),
        });
        Some(LimitShown {
            value: Some(figure.mean).filter(|mean| mean.is_finite()),
            task: Some(task),
            may_be_broken: end.is_some_and(|end| self.bound.is_broken_by(end)),
            ..self.shown(figures)
        })
    }

    pub(super) fn shown(&self, figures: &Figures) -> LimitShown {
        let (at_most, at_least) = match self.bound {
            Bound::AtMost(most) => (Some(most), None),
            Bound::AtLeast(least) => (None, Some(least)),
        };
        LimitShown {
            metric: self.measure.scoped_id(figures.scope),
            unit: self.measure.unit().to_owned(),
            at_most,
            at_least,
            value: None,
            task: None,
            may_be_broken: false,
        }
    }

    /// The task in which the figure is worst.
    fn closest<'a>(
        &self,
        candidate: &'a Candidate<'_>,
        figures: &Figures,
    ) -> Option<(String, &'a CellFigure)> {
        let of_tasks = candidate
            .cells()
            .filter_map(|cell| Some((cell.value(Key::Task), figures.of(cell, &self.measure)?)));
        let worst = |left: &(String, &CellFigure), right: &(String, &CellFigure)| {
            let by_value = left.1.mean.total_cmp(&right.1.mean);
            match self.bound {
                Bound::AtMost(_) => by_value,
                Bound::AtLeast(_) => by_value.reverse(),
            }
        };
        of_tasks.max_by(worst)
    }
}

impl Bound {
    fn is_broken_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value > most,
            Self::AtLeast(least) => value < least,
        }
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "share" => format!("{} %", rounded(100.0 * value)),
        "" => rounded(value),
        unit => format!("{} {unit}", rounded(value)),
    }
}

/// Three digits behind the point where they mean something.
fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 1,
        10.0.. => 2,
        0.1.. => 3,
        _ => 5,
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_with_their_unit_and_without_idle_digits() {
        let check = |value, unit, want| assert_eq!(with_unit(value, unit), want);
        check(1.0, "s", "1 s");
        check(1.1725, "s", "1.173 s");
        check(0.95, "share", "95 %");
        check(30.0, "W", "30 W");
        check(0.00123, "s", "0.00123 s");
    }
}
