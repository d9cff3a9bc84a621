//! How much memory one file may take, whatever its form: its documents, what is read from them, and the reports made of that.

use std::cell::Cell;

use super::{ForeignError, reading::Reading};

/// What is left for a file.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

/// There is not enough left.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "it has more members than are read: import the tool's summary, without what it keeps of each request"
)]
pub(super) struct Exhausted;

/// What is read from a file, while there is room for it.
pub(super) struct Readings<'a> {
    budget: &'a Budget,
    list: Vec<Reading>,
}

impl Budget {
    /// Takes so many bytes of it.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Exhausted> {
        let left = self.0.get().checked_sub(bytes).ok_or(Exhausted)?;
        self.0.set(left);
        Ok(())
    }

    /// Gives back what `work` takes, which keeps nothing of it.
    pub(super) fn lend<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let before = self.0.get();
        let done = work(self);
        self.0.set(before);
        done
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MEMORY_BYTES_MAX))
    }
}

impl<'a> Readings<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            list: Vec::new(),
        }
    }

    /// One more.
    ///
    /// # Errors
    /// The file has more than is read.
    pub(super) fn push(&mut self, reading: Reading) -> Result<(), ForeignError> {
        self.budget.charge(reading.n_bytes())?;
        self.list.push(reading);
        Ok(())
    }

    pub(super) fn into_list(self) -> Vec<Reading> {
        self.list
    }
}

/// Of one file. Ten times what the summaries of a sweep take.
const MEMORY_BYTES_MAX: usize = 256 << 20;
