//! Instants on the monotonic clock, and the wall clock once per run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant: nanoseconds since the agent started, on the monotonic clock.
///
/// Differences of two stamps of one agent are exact; the wall-clock time of a run's start travels
/// once, in its header.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Stamp(pub u64);

/// A stretch of time; `from` is not after `to`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Window {
    /// Its start.
    pub from: Stamp,
    /// Its end.
    pub to: Stamp,
}

/// Microseconds since 1970-01-01 UTC, by a clock that may be wrong: for people, never for arithmetic.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl Stamp {
    /// So long after the agent's start.
    pub fn at(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant with `margin` before it, not before the start.
    #[must_use]
    pub fn before(self, margin: Duration) -> Self {
        Self(self.0.saturating_sub(Self::at(margin).0))
    }

    /// This instant with `margin` after it.
    #[must_use]
    pub fn after(self, margin: Duration) -> Self {
        Self(self.0.saturating_add(Self::at(margin).0))
    }
}

impl Window {
    /// Its length.
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }
}
