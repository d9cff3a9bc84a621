//! Ctrl-C and SIGTERM end the work in hand; a second one ends the agent at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A token that is cancelled by the first signal.
pub(super) fn on_signal(tasks: &TaskTracker) -> anyhow::Result<CancellationToken> {
    let (stop, _leave) = or_leave(tasks)?;
    Ok(stop)
}

/// A token that is cancelled by the first signal, and one that is cancelled before it, if that was SIGTERM: a person stops what is in
/// hand, a machine that is switched off only interrupts it.
pub(super) fn or_leave(
    tasks: &TaskTracker,
) -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let leave = CancellationToken::new();
    let (token, left) = (stop.clone(), leave.clone());
    tasks.spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => if is_first { left.cancel() },
                () = token.cancelled(), if is_first => return,
            }
            if !is_first {
                tracing::warn!("stopped at once by a second signal; what is in the spool stays");
                std::process::exit(2);
            }
            tracing::warn!("stopping: what was measured is kept; once more to stop at once");
            token.cancel();
        }
    });
    Ok((stop, leave))
}
