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

/// Time of a made-up device: tokio's, which passes at once where it is paused, from the wall clock's present time on.
///
/// Its steps are tokio's, one millisecond.
pub struct VirtualClock {
    origin: tokio::time::Instant,
    started: WallTime,
}

impl VirtualClock {
    /// Starts at zero. Within a runtime, whose time it tells.
    pub fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            started: SystemClock::start().wall(),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Stamp {
        Stamp::at(self.origin.elapsed())
    }

    fn wall(&self) -> WallTime {
        let elapsed = i64::try_from(self.origin.elapsed().as_micros()).unwrap_or(i64::MAX);
        WallTime(self.started.0.saturating_add(elapsed))
    }
}

/// Nanoseconds on the machine's monotonic clock, the same for all its processes: for comparing two of them.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since_boot = u128::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u128::try_from(now.tv_nsec).unwrap_or_default();
    u64::try_from(since_boot).unwrap_or(u64::MAX)
}
