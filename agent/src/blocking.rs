//! Work that blocks its thread, on a thread for such work.

use std::{future, panic};

/// Does it there. Once the process ends no more is begun, and whoever waits for it is not answered.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(reason) => panic::resume_unwind(reason),
            Err(_cancelled) => future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use tokio::runtime::Builder;
    use tokio_util::context::TokioContext;

    use super::*;

    #[test]
    fn who_asks_when_the_process_ends_is_not_answered_and_does_not_panic() {
        let ended = Builder::new_current_thread().build().unwrap();
        let mut asking = pin!(TokioContext::new(off_thread(|| ()), ended.handle().clone()));
        ended.shutdown_background();
        assert_eq!(asking.as_mut().now_or_never(), None);
    }

    #[tokio::test]
    #[should_panic(expected = "of the work")]
    async fn a_panic_is_passed_on() {
        off_thread(|| panic!("of the work")).await;
    }
}
