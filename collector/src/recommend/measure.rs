//! What a use case measures candidates by: a metric, or `quality`, which is each task's own score.

use tokwatt_domain::{
    metrics::{
        dictionary::Better,
        quality::HEADLINES,
        spread::{arithmetic_mean, geometric_mean},
    },
    power::Scope,
};

use super::candidate::Candidate;
use crate::rank::{CellFigure, Metric, RankError, RankedCell};

/// What candidates are measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure {
    /// A metric of the dictionary, whose power scope may be left open.
    Metric(Metric),
    /// Of each task the score that stands for it.
    Quality,
}

/// Reads figures, those over energy at one scope.
pub(crate) struct Figures {
    pub(super) scope: Option<Scope>,
}

/// A candidate's figure over all its tasks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OverTasks {
    /// One for each repetition that all tasks have.
    pub(super) values: Vec<f64>,
    /// The position of each of these repetitions.
    pub(super) positions: Vec<(u32, usize)>,
    /// Geometric mean of them, arithmetic for shares; infinite if one is.
    pub(super) mean: f64,
    /// The largest of the tasks'.
    pub(super) relative_bound: f64,
}

impl Measure {
    /// Reads `id`, `id@scope` or `quality`.
    ///
    /// # Errors
    /// No such metric or scope, or a scope where there is no energy.
    pub(crate) fn parse(text: &str) -> Result<Self, RankError> {
        match text {
            QUALITY => Ok(Self::Quality),
            _ => Metric::parse_any(text).map(Self::Metric),
        }
    }

    pub(crate) fn id(&self) -> String {
        match self {
            Self::Metric(metric) => metric.to_string(),
            Self::Quality => QUALITY.to_owned(),
        }
    }

    /// Its id with the scope that it is read at.
    pub(super) fn scoped_id(&self, scope: Option<Scope>) -> String {
        match self {
            Self::Metric(metric) => scoped(metric, scope).to_string(),
            Self::Quality => QUALITY.to_owned(),
        }
    }

    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Metric(metric) => metric.definition.unit,
            Self::Quality => "share",
        }
    }

    /// Absent where neither way is better.
    pub(super) fn is_lower_better(&self) -> Option<bool> {
        match self {
            Self::Quality => Some(false),
            Self::Metric(metric) => match metric.definition.better {
                Better::Lower => Some(true),
                Better::Higher => Some(false),
                Better::Neither => None,
            },
        }
    }

    pub(super) fn counts_tokens(&self) -> bool {
        matches!(self, Self::Metric(metric) if metric.counts_tokens())
    }

    /// Whether it needs a power scope that it does not name itself.
    pub(super) fn needs_scope(&self) -> bool {
        matches!(self, Self::Metric(metric) if metric.definition.needs_scope && metric.scope.is_none())
    }

    fn is_share(&self) -> bool {
        self.unit() == "share"
    }
}

impl Figures {
    /// A cell's figure.
    pub(super) fn of<'a>(&self, cell: &'a RankedCell, measure: &Measure) -> Option<&'a CellFigure> {
        match measure {
            Measure::Metric(metric) => cell.figure(&scoped(metric, self.scope).to_string()),
            Measure::Quality => HEADLINES.iter().find_map(|id| cell.figure(id)),
        }
    }

    /// Why a cell does not have it.
    pub(super) fn reason(&self, cell: &RankedCell, measure: &Measure) -> String {
        let id = measure.scoped_id(self.scope);
        let has: Vec<&str> = cell.scopes().iter().map(|scope| scope.as_str()).collect();
        match measure {
            Measure::Metric(metric) if metric.definition.needs_scope && !has.is_empty() => {
                let wanted = scoped(metric, self.scope).scope;
                match wanted.filter(|wanted| cell.scopes().contains(wanted)) {
                    Some(_) => with_reason(&id, cell.reason(&scoped(metric, self.scope))),
                    None => format!(
                        "no `{id}`: it has power for {} only, and scopes are never mixed",
                        has.join(", ")
                    ),
                }
            }
            Measure::Metric(metric) => with_reason(&id, cell.reason(&scoped(metric, self.scope))),
            Measure::Quality => with_reason(&id, cell.reasons.get(QUALITY).map(String::as_str)),
        }
    }

    /// A candidate's figure over all its tasks: of each repetition, matched by number, the mean over them. Absent if a task lacks it, or
    /// no repetition is of all.
    pub(super) fn over_tasks(
        &self,
        candidate: &Candidate<'_>,
        measure: &Measure,
    ) -> Option<OverTasks> {
        let figures: Option<Vec<&CellFigure>> = candidate
            .cells()
            .map(|cell| self.of(cell, measure))
            .collect();
        let figures = figures?;
        let positions = CellFigure::shared_positions(&figures);
        let repetition = |position: &(u32, usize)| {
            let values = figures.iter().map(|figure| figure.at(*position));
            let values: Vec<f64> = values.collect::<Option<_>>()?;
            mean(&values, measure.is_share())
        };
        let values: Vec<f64> = positions.iter().map(repetition).collect::<Option<_>>()?;
        let bounds = figures.iter().map(|figure| figure.relative_bound);
        Some(OverTasks {
            mean: mean(&values, measure.is_share())?,
            values,
            positions,
            relative_bound: bounds.fold(0.0, f64::max),
        })
    }
}

impl OverTasks {
    /// The value of the repetition at a position.
    pub(super) fn at(&self, position: (u32, usize)) -> Option<f64> {
        let mut positions = self.positions.iter().zip(&self.values);
        let found = positions.find(|(own, _)| **own == position);
        found.map(|(_, value)| *value)
    }
}

fn with_reason(id: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("no `{id}` ({reason})"),
        None => format!("no `{id}`"),
    }
}

fn scoped(metric: &Metric, scope: Option<Scope>) -> Metric {
    Metric {
        scope: match metric.definition.needs_scope {
            true => metric.scope.or(scope),
            false => None,
        },
        ..*metric
    }
}

/// One that is infinite makes the mean so; what is not above 0 has no geometric mean, and then the arithmetic one stands for it.
fn mean(values: &[f64], is_share: bool) -> Option<f64> {
    if values.contains(&f64::INFINITY) {
        return Some(f64::INFINITY);
    }
    match is_share {
        true => arithmetic_mean(values),
        false => geometric_mean(values).or_else(|| arithmetic_mean(values)),
    }
}

const QUALITY: &str = "quality";
