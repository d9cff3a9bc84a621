//! The wall clock, for dates that people see and certificates that expire; never for how long something took.

use std::time::{SystemTime, UNIX_EPOCH};

use tokwatt_domain::time::WallTime;

/// Tells the date.
pub trait Clock: Send + Sync {
    /// Now.
    fn wall(&self) -> WallTime;
}

/// The machine's.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn wall(&self) -> WallTime {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
    }
}
