//! What boards and comparisons can be asked about: read from the catalogue, without a look at the figures themselves. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::power::Provenance;

use super::{
    Catalogue, Columns, Key,
    catalogue::IndexedCell,
    index::metrics,
    selection::{distinct, scopes_of, texts},
};

/// What there is of one provenance.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choices {
    /// How many cells.
    pub n_cells: usize,
    /// Metrics that boards rank by and of which there are figures, `id` or `id@scope`.
    pub metrics: BTreeSet<String>,
    values: BTreeMap<Key, BTreeSet<String>>,
}

impl Choices {
    /// Values of a key.
    pub fn values(&self, key: Key) -> &BTreeSet<String> {
        self.values.get(&key).unwrap_or(const { &BTreeSet::new() })
    }
}

/// The choices among the cells that have a run of the provenance.
///
/// # Errors
/// The index cannot be read.
pub fn choices<C: Columns>(
    catalogue: &Catalogue,
    columns: &C,
    provenance: Provenance,
) -> Result<Choices, C::Error> {
    let is_of = |cell: &&IndexedCell| {
        let mut kinds = cell.kinds.iter().map(|(number, _)| catalogue.kind(*number));
        kinds.any(|kind| kind.has(provenance))
    };
    let cells: Vec<&IndexedCell> = catalogue.cells().filter(is_of).collect();
    let values = Key::ALL.map(|key| {
        let words = distinct(cells.iter().map(|cell| cell.key(key)));
        (key, texts(catalogue, &words))
    });
    let mut choices = Choices {
        n_cells: cells.len(),
        metrics: BTreeSet::new(),
        values: values.into_iter().collect(),
    };
    if cells.is_empty() {
        return Ok(choices);
    }
    for metric in metrics(scopes_of(catalogue, &cells, provenance)) {
        let id = metric.to_string();
        if metric.definition.is_rankable && columns.has(&id)? {
            choices.metrics.insert(id);
        }
    }
    Ok(choices)
}
