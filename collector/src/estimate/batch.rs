//! How long so many pictures take, what they draw, and what that costs.

use tokwatt_domain::{
    metrics::{
        cost::{electricity, kilowatt_hours},
        projection::{Prediction, project_repetitions},
    },
    power::Scope,
};

use super::{
    Amount, BatchEnergy, BatchPlan, BatchRow, EstimateError, Mark, Price, Projected, names,
};
use crate::rank::{CellFigure, RankedCell};

/// Every cell with pictures, in the order of the cells.
///
/// # Errors
/// No cell has any.
pub fn batch(plan: &BatchPlan, cells: &[RankedCell]) -> Result<Vec<BatchRow>, EstimateError> {
    let cells: Vec<&RankedCell> = cells.iter().filter(|cell| speed(cell).is_some()).collect();
    if cells.is_empty() {
        return Err(EstimateError::Nothing("images_per_s".to_owned()));
    }
    let rows = cells.iter().zip(names(&cells)).filter_map(|(cell, key)| {
        let speed = speed(cell)?;
        let each = pictures_each(cell);
        Some(BatchRow {
            key,
            n_runs: u32::try_from(speed.values.len()).unwrap_or(u32::MAX),
            pictures_each: each,
            projected: plan
                .pictures
                .iter()
                .filter_map(|pictures| projected(plan, cell, speed, each, *pictures))
                .collect(),
            flags: cell.flags.iter().cloned().collect(),
            is_blocked: speed.is_blocked,
        })
    });
    Ok(rows.collect())
}

fn speed(cell: &RankedCell) -> Option<&CellFigure> {
    cell.figure("images_per_s")
        .filter(|figure| figure.values.iter().all(|value| *value > 0.0))
}

/// Pictures that were answered in a repetition, on average.
fn pictures_each(cell: &RankedCell) -> f64 {
    let answered = f64::from(cell.n_requests.saturating_sub(cell.n_failed));
    answered / (cell.runs.len().max(1) as f64)
}

fn projected(
    plan: &BatchPlan,
    cell: &RankedCell,
    speed: &CellFigure,
    each: f64,
    pictures: u64,
) -> Option<Projected> {
    let wanted = pictures as f64;
    let seconds: Vec<f64> = speed.values.iter().map(|value| 1.0 / value).collect();
    let scopes = cell.scopes().into_iter();
    let scopes = scopes.filter(|scope| plan.scope.is_none_or(|asked| asked == *scope));
    Some(Projected {
        pictures,
        seconds: amount(project_repetitions(&seconds, each, wanted)?, 0.0),
        mark: match wanted <= each {
            true => Mark::Measured,
            false => Mark::Extrapolated,
        },
        times_measured: wanted / each.max(1.0),
        energy: scopes
            .filter_map(|scope| energy(cell, scope, each, wanted, plan.price.as_ref()))
            .collect(),
    })
}

fn energy(
    cell: &RankedCell,
    scope: Scope,
    each: f64,
    wanted: f64,
    price: Option<&Price>,
) -> Option<BatchEnergy> {
    let figure = cell.figure(&format!("j_per_image@{scope}"))?;
    let joules = project_repetitions(&figure.values, each, wanted)?;
    let joules = amount(joules, figure.relative_bound);
    Some(BatchEnergy {
        scope,
        kwh: joules.map(kilowatt_hours),
        cost: price.map(|price| joules.map(|joules| electricity(joules, price.per_kwh))),
        is_blocked: figure.is_blocked,
    })
}

/// A prediction whose interval is widened by a bound.
fn amount(prediction: Prediction, bound: f64) -> Amount {
    let interval = prediction.interval.filter(|_| bound < 1.0);
    Amount {
        value: prediction.value,
        ci95: interval
            .map(|interval| (interval.low * (1.0 - bound), interval.high / (1.0 - bound))),
    }
}

impl Amount {
    /// The same in another unit.
    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            value: change(self.value),
            ci95: self.ci95.map(|(low, high)| (change(low), change(high))),
        }
    }
}
