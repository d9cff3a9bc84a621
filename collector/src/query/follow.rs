//! Keeps the catalogue of cells in memory, and follows it up from the store's index before each answer.

use std::sync::{Arc, Mutex, PoisonError};

use super::QueryError;
use crate::{
    rank::{Catalogue, Columns},
    store::FigureIndex,
};

/// The catalogue as it was when somebody last asked.
#[derive(Clone, Default)]
pub(super) struct Followed {
    latest: Arc<Mutex<Latest>>,
}

#[derive(Default)]
struct Latest {
    catalogue: Arc<Catalogue>,
    /// Everything up to here is in it.
    revision: i64,
}

impl Followed {
    /// The catalogue as of the moment at which the index is read. What changed since the last time is read, and nothing else.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn as_of(&self, index: &FigureIndex<'_>) -> Result<Arc<Catalogue>, QueryError> {
        // The moment is that of the first read, and that comes after the lock: nobody finds the catalogue ahead of what they read.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = index.changed_after(latest.revision)?;
        if let Some(last) = changes.last().map(|change| change.revision) {
            // Who still reads the one before keeps it.
            let catalogue = Arc::make_mut(&mut latest.catalogue);
            for change in &changes {
                catalogue.put(change.number, change.name.as_deref(), &change.runs)?;
            }
            latest.revision = last;
        }
        Ok(Arc::clone(&latest.catalogue))
    }
}

impl Columns for FigureIndex<'_> {
    type Error = QueryError;

    fn columns(
        &self,
        metric: &str,
        cells: &[i64],
        take: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), QueryError> {
        Ok(self.figures(metric, cells, take)?)
    }

    fn names(&self, cells: &[i64]) -> Result<Vec<String>, QueryError> {
        Ok(Self::names(self, cells)?)
    }

    fn has(&self, metric: &str) -> Result<bool, QueryError> {
        Ok(Self::has(self, metric)?)
    }
}
