//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokwatt_domain::time::{Stamp, WallTime};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, since the agent started; monotonic.
    fn now(&self) -> Stamp;

    /// Now, by the wall clock: for people, never for arithmetic.
    fn wall(&self) -> WallTime;
}

/// The machine's own clocks.
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Starts at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        Stamp::at(self.origin.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn wall(&self) -> WallTime {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    }
}
