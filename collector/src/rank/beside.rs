//! What stands beside the ranked figure where rows are of several models: how long their answers are, and how good.

use std::collections::BTreeMap;

use tokwatt_domain::metrics::dictionary::definition;

use super::{
    Columns, Metric, RankError, Selection,
    candidate::{Candidate, mean},
    catalogue::IndexedCell,
    index::Column,
};

/// Metric to its value in one row.
pub(super) type Beside = BTreeMap<String, f64>;

/// Adds to each candidate what is known of its answers: over its repetitions, then over its tasks, as means.
pub(super) fn beside<C: Columns>(
    selection: &Selection<'_>,
    candidates: &[&Candidate<'_>],
    columns: &C,
) -> Result<Vec<Beside>, C::Error>
where
    C::Error: From<RankError>,
{
    let mut beside = vec![Beside::new(); candidates.len()];
    for id in BESIDE {
        let definition = definition(id).map_err(RankError::from)?;
        let metric = Metric {
            definition,
            scope: None,
        };
        let values = of_cells(selection, candidates, &metric, columns)?;
        for (candidate, beside) in candidates.iter().zip(&mut beside) {
            let own = candidate.cells.iter();
            let own: Vec<f64> = own
                .filter_map(|cell| values.get(&cell.number).copied())
                .collect();
            let value = mean(&own, definition.is_share());
            beside.extend(value.map(|value| (id.to_owned(), value)));
        }
    }
    Ok(beside)
}

/// Number of a cell to the mean over its repetitions of the provenance asked for.
fn of_cells<C: Columns>(
    selection: &Selection<'_>,
    candidates: &[&Candidate<'_>],
    metric: &Metric,
    columns: &C,
) -> Result<BTreeMap<i64, f64>, C::Error>
where
    C::Error: From<RankError>,
{
    let cells = candidates.iter().flat_map(|candidate| &candidate.cells);
    let cells: BTreeMap<i64, &IndexedCell> = cells.map(|cell| (cell.number, *cell)).collect();
    let numbers: Vec<i64> = cells.keys().copied().collect();
    let cells: Vec<&IndexedCell> = cells.into_values().collect();
    let mut means = BTreeMap::new();
    let mut damage = None;
    columns.columns(&metric.to_string(), &numbers, &mut |position, bytes| {
        let cell = cells[position];
        match values(selection, cell, metric, bytes) {
            Ok(values) => {
                let mean = mean(&values, metric.definition.is_share());
                means.extend(mean.map(|mean| (cell.number, mean)));
            }
            Err(error) => damage = damage.take().or(Some(error)),
        }
    })?;
    damage.map_or(Ok(means), |error| Err(error.into()))
}

fn values(
    selection: &Selection<'_>,
    cell: &IndexedCell,
    metric: &Metric,
    bytes: &[u8],
) -> Result<Vec<f64>, RankError> {
    let column = Column::read(bytes, cell.runs.len())?;
    let entries = cell.runs.iter().zip(column.entries());
    let is_asked_for = |kind: u32| {
        let own = selection.catalogue.kind(kind).provenance(metric);
        own == selection.question.provenance
    };
    let values = entries.filter(|(run, _)| is_asked_for(run.kind));
    Ok(values.filter_map(|(_, entry)| Some(entry?.value)).collect())
}

/// In the order of the dictionary: how much is said, and how much of it is true.
const BESIDE: [&str; 12] = [
    "output_chars",
    "caption_true_facts",
    "counts_f1",
    "attributes_f1",
    "spatial_true",
    "scene_true_facts",
    "direct_exact",
    "number_right",
    "facts_named",
    "code_facts_named",
    "json_schema",
    "json_values",
];
