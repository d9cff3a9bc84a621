//! The one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::{FutureExt, future::BoxFuture};
use tokwatt_domain::time::{Stamp, WallTime};

/// A timer that is exact.
mod alarm;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, since the agent started; monotonic.
    fn now(&self) -> Stamp;

    /// Now, by the wall clock: for people, never for arithmetic.
    fn wall(&self) -> WallTime;

    /// Waits until then, as exactly as this clock can. Within a runtime.
    fn until(&self, then: Stamp) -> BoxFuture<'static, ()> {
        tokio::time::sleep(then.since(self.now())).boxed()
    }
}

/// The machine's own clocks.
pub struct SystemClock {
    origin: Instant,
    /// What it showed then.
    from: Stamp,
}

impl SystemClock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self::start_after(Stamp(0))
    }

    /// Goes on from a stamp of an agent that is gone.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn start_after(last: Stamp) -> Self {
        Self {
            origin: Instant::now(),
            from: last,
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        self.from.after(self.origin.elapsed())
    }

    /// Tokio's timers have steps of a millisecond, too coarse for a schedule.
    fn until(&self, then: Stamp) -> BoxFuture<'static, ()> {
        let wait = then.since(self.now());
        async move {
            if let Err(error) = alarm::ring_after(wait).await {
                tracing::debug!(%error, "no timer of the kernel's, tokio's is used");
                tokio::time::sleep(wait).await;
            }
        }
        .boxed()
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
