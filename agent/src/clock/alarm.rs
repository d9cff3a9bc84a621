//! A timer of the kernel's, late by tens of microseconds: tokio's own have steps of a millisecond.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Waits so long. Within a runtime that has I/O.
///
/// # Errors
/// There is no such timer, or no more file descriptors.
pub(super) async fn ring_after(wait: Duration) -> io::Result<()> {
    if wait.is_zero() {
        // The kernel takes this for no time at all, and would never ring.
        return Ok(());
    }
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    let timer = watched(timer)?;
    timer.readable().await?.retain_ready();
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "tokio cannot see who owns a descriptor; its safe way is deprecated"
)]
fn watched(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and always the same descriptor for as long as it lives, and nobody else has this one.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[tokio::test]
    async fn it_rings_after_the_time_and_not_before() {
        let clock = SystemClock::start();
        for wait in [0, 300, 1_500].map(Duration::from_micros) {
            let before = clock.now();
            ring_after(wait).await.unwrap();
            assert!(clock.now().since(before) >= wait);
        }
    }
}
