//! What energy costs: for a million output tokens, and for a thousand pictures.

use std::collections::BTreeMap;

use tokwatt_domain::{
    metrics::cost::{electricity, kilowatt_hours},
    power::Scope,
};

use super::{Amount, CostPlan, CostRow, EstimateError, amount, names};
use crate::rank::{CellFigure, RankedCell};

/// Every cell and scope that has energies, in the order of the cells.
///
/// # Errors
/// None has.
pub fn cost(plan: &CostPlan, cells: &[RankedCell]) -> Result<Vec<CostRow>, EstimateError> {
    let all: Vec<&RankedCell> = cells.iter().collect();
    let of_cell = |(cell, key): (&RankedCell, BTreeMap<String, String>)| {
        let scopes = cell.scopes().into_iter();
        let scopes = scopes.filter(|scope| plan.scope.is_none_or(|asked| asked == *scope));
        let rows = scopes.filter_map(|scope| row(plan, cell, &key, scope));
        rows.collect::<Vec<_>>()
    };
    let rows: Vec<CostRow> = cells.iter().zip(names(&all)).flat_map(of_cell).collect();
    if rows.is_empty() {
        let scope = plan.scope.map(|scope| format!(" at scope {scope}"));
        let wanted = format!("energy{}", scope.unwrap_or_default());
        return Err(EstimateError::Nothing(wanted));
    }
    Ok(rows)
}

fn row(
    plan: &CostPlan,
    cell: &RankedCell,
    key: &BTreeMap<String, String>,
    scope: Scope,
) -> Option<CostRow> {
    let tokens = cell.figure(&format!("j_per_output_token@{scope}"));
    let images = cell.figure(&format!("j_per_image@{scope}"));
    let either = tokens.or(images)?;
    let kwh = |figure: Option<&CellFigure>, n: f64| -> Option<Amount> {
        figure.map(|figure| amount(figure, kilowatt_hours(n)))
    };
    let price = |figure: Option<&CellFigure>, n: f64| -> Option<Amount> {
        let per_kwh = plan.price.as_ref()?.per_kwh;
        figure.map(|figure| amount(figure, electricity(n, per_kwh)))
    };
    Some(CostRow {
        key: key.clone(),
        scope,
        n_runs: u32::try_from(either.values.len()).unwrap_or(u32::MAX),
        kwh_per_million_tokens: kwh(tokens, MILLION),
        cost_per_million_tokens: price(tokens, MILLION),
        kwh_per_1000_images: kwh(images, THOUSAND),
        cost_per_1000_images: price(images, THOUSAND),
        flags: either.flags.iter().cloned().collect(),
        is_blocked: either.is_blocked,
    })
}

const MILLION: f64 = 1e6;
const THOUSAND: f64 = 1e3;
