//! Ctrl-C and SIGTERM end the work in hand; a second one ends the agent at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A token that is cancelled by the first signal.
pub(super) fn on_signal(tasks: &TaskTracker) -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = stop.clone();
    tasks.spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
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
    Ok(stop)
}
