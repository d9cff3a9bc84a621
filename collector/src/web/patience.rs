//! Until when a connection is kept: a few seconds for strangers, longer for each thing that somebody who was let in asks for.

use std::{future::Future, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Of one connection; among the extensions of its requests.
#[derive(Clone, Debug)]
pub(super) struct Patience(watch::Sender<Instant>);

impl Patience {
    /// So much to begin with, and what resolves once it is used up.
    pub(super) fn new(first: Duration) -> (Self, impl Future<Output = ()>) {
        let (sender, until) = watch::channel(Instant::now() + first);
        (Self(sender), over(until))
    }

    /// So much more from now on, at least.
    pub(super) fn extend(&self, by: Duration) {
        let until = Instant::now() + by;
        self.0.send_if_modified(|current| {
            let is_later = until > *current;
            *current = until.max(*current);
            is_later
        });
    }
}

async fn over(mut until: watch::Receiver<Instant>) {
    loop {
        let deadline = *until.borrow_and_update();
        tokio::select! {
            () = sleep_until(deadline) => return,
            changed = until.changed() => if changed.is_err() {
                // The connection has let go of it, and ends by itself.
                sleep_until(deadline).await;
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_and_never_shrinks() {
        let began = Instant::now();
        let (patience, over) = Patience::new(Duration::from_secs(10));
        patience.extend(Duration::from_secs(60));
        patience.extend(Duration::from_secs(1));
        over.await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }
}
