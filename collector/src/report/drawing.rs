//! How many reports are drawn at a time: each takes a processor for seconds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seats for reports that are being drawn, of all who ask.
#[derive(Clone, Debug)]
pub struct Drawing(Arc<Semaphore>);

/// All seats are taken.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("other reports are being drawn: ask again in a minute")]
pub struct Busy;

impl Drawing {
    /// A seat, for as long as it is held.
    ///
    /// # Errors
    /// There is none: so many reports are being drawn.
    pub(crate) fn take(&self) -> Result<OwnedSemaphorePermit, Busy> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| Busy)
    }
}

impl Default for Drawing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(REPORTS_MAX)))
    }
}

/// At a time.
const REPORTS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reports_are_drawn_at_a_time() {
        let drawing = Drawing::default();
        let seats = [drawing.take().unwrap(), drawing.clone().take().unwrap()];
        assert!(drawing.take().is_err());
        drop(seats);
        assert!(drawing.take().is_ok());
    }
}
