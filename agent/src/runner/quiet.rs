//! Keeps the rest of the agent still inside a measured window.
//!
//! The runner closes the gate for the length of a segment; whoever uploads or writes passes through it first, so that neither
//! network nor disk is touched meanwhile.

use std::sync::Arc;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Open but for measured windows.
#[derive(Clone, Default)]
pub struct QuietGate(Arc<RwLock<()>>);

/// The gate is closed while this lives.
pub struct Quiet<'a>(#[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>);

/// A short piece of other work goes on while this lives; the next window waits for its end.
pub struct Passage<'a>(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

impl QuietGate {
    /// Waits for other work in hand to end, then keeps it out.
    pub async fn close(&self) -> Quiet<'_> {
        Quiet(self.0.write().await)
    }

    /// Waits until no window is being measured.
    pub async fn pass(&self) -> Passage<'_> {
        Passage(self.0.read().await)
    }
}
