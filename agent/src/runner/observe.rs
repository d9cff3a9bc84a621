//! One request: asks, and writes down what came back and when.

use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    run::{Chunk, FailureClass, Outcome, RequestTrace},
    time::Stamp,
};

use crate::{
    backend::{Arrival, Backend, BackendError, Event, Finish, Question},
    clock::Clock,
    workload::plan::Item,
};

/// A request that has ended, one way or another.
pub(super) struct Observed {
    /// What happened.
    pub(super) request: RequestTrace,
    /// Whether the engine has to be loaded again.
    pub(super) is_engine_lost: bool,
}

/// A question, when and how it is asked.
pub(super) struct Request<'a> {
    /// Who answers.
    pub(super) backend: &'a dyn Backend,
    /// What is asked.
    pub(super) question: Question,
    /// Where it comes from.
    pub(super) item: &'a Item,
    /// Position in the run.
    pub(super) index: u32,
    /// When it is due; at once, if that is not said.
    pub(super) scheduled: Option<Stamp>,
    /// Longest time it may take from then on.
    pub(super) timeout: Duration,
    /// Ends it early.
    pub(super) stop: &'a CancellationToken,
    /// What time it is.
    pub(super) clock: &'a dyn Clock,
}

/// Asks once. Never fails: a failure is a result.
pub(super) async fn observe(request: Request<'_>) -> Observed {
    let Request {
        item,
        index,
        scheduled,
        timeout,
        stop,
        clock,
        ..
    } = request;
    let asked = clock.now();
    let mut notes = Notes::new(asked, scheduled);
    let end = tokio::select! {
        biased;
        end = listen(request, &mut notes) => end,
        () = tokio::time::sleep(time_left(asked, scheduled, timeout)) => {
            notes.cut_off(FailureClass::Timeout, format!("no end within {timeout:?}"))
        }
        () = abandoned(stop) => {
            notes.cut_off(FailureClass::Cancelled, "stopped by a person".to_owned())
        }
    };
    let (outcome, is_engine_lost) = match end {
        Ok(()) => (notes.ending(), false),
        Err(error) => classed(error),
    };
    let request = notes.into_trace(item, index, outcome, clock.now());
    Observed {
        request,
        is_engine_lost,
    }
}

/// A request has its time from when it was due, whether it is asked before or after that.
fn time_left(asked: Stamp, scheduled: Option<Stamp>, timeout: Duration) -> Duration {
    scheduled.unwrap_or(asked).after(timeout).since(asked)
}

/// A person stopped it, and what was in flight has had its time to end.
async fn abandoned(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_GRACE).await;
}

async fn listen(request: Request<'_>, notes: &mut Notes) -> Result<(), BackendError> {
    let mut arrivals = request.backend.ask(request.question);
    if let Some(due) = request.scheduled {
        // The first arrival says that it is encoded; until the next one is asked for, no byte is on its way.
        let first = arrivals.next().await;
        request.clock.until(due).await;
        let now = request.clock.now();
        match first.transpose()? {
            Some(Arrival {
                event: Event::Sent, ..
            })
            | None => notes.sent = now,
            Some(other) => notes.add(other),
        }
    }
    while let Some(arrival) = arrivals.next().await {
        notes.add(arrival?);
    }
    Ok(())
}

/// What has come back so far.
struct Notes {
    scheduled: Option<Stamp>,
    sent: Stamp,
    chunks: Vec<Chunk>,
    answer: Vec<u8>,
    finish: Option<(Stamp, Finish)>,
}

impl Notes {
    fn new(asked: Stamp, scheduled: Option<Stamp>) -> Self {
        Self {
            scheduled,
            sent: asked,
            chunks: Vec::new(),
            answer: Vec::new(),
            finish: None,
        }
    }

    fn add(&mut self, arrival: Arrival) {
        match arrival.event {
            Event::Sent => self.sent = arrival.at,
            Event::Chunk {
                kind,
                bytes,
                tokens,
            } => {
                self.chunks.push(Chunk {
                    at: arrival.at,
                    kind,
                    tokens,
                });
                self.answer.extend(bytes);
            }
            Event::Done(finish) => self.finish = Some((arrival.at, finish)),
        }
    }

    /// Nobody listens any more; an answer that is complete has ended all the same, whatever its connection still waits for.
    fn cut_off(&self, class: FailureClass, message: String) -> Result<(), BackendError> {
        match self.finish {
            Some(_) => Ok(()),
            None => Err(BackendError::Request { class, message }),
        }
    }

    fn ending(&self) -> Outcome {
        match self.finish {
            Some((_, finish)) if finish.is_truncated => Outcome::Length,
            Some(_) => Outcome::Stop,
            None => failed(
                FailureClass::Protocol,
                "the answer ended without a finish reason".to_owned(),
            ),
        }
    }

    fn into_trace(self, item: &Item, index: u32, outcome: Outcome, now: Stamp) -> RequestTrace {
        let finish = self.finish.map(|(_, finish)| finish);
        RequestTrace {
            index,
            item: item.name.clone(),
            scheduled: self.scheduled,
            sent: self.sent,
            chunks: self.chunks,
            ended: self.finish.map_or(now, |(at, _)| at),
            outcome,
            tokens: finish.and_then(|finish| finish.tokens),
            image_encode: finish.and_then(|finish| finish.image_encode),
            engine_times: finish.and_then(|finish| finish.engine_times),
            answer: String::from_utf8_lossy(&self.answer).into_owned(),
            truth: item.truth(),
        }
    }
}

fn classed(error: BackendError) -> (Outcome, bool) {
    match error {
        BackendError::Request { class, message } => (failed(class, message), false),
        BackendError::Engine { class, message } => (failed(class, message), true),
        BackendError::Setup { message } | BackendError::Absent { message } => {
            (failed(FailureClass::Refused, message), true)
        }
    }
}

fn failed(class: FailureClass, message: String) -> Outcome {
    Outcome::Failed { class, message }
}

/// How long an answer in flight may go on after a person stopped the bench.
const STOP_GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_time_from_when_it_was_due() {
        let second = Duration::from_secs;
        let left = |due: Option<u64>| {
            let due = due.map(|due| Stamp::at(second(due)));
            time_left(Stamp::at(second(20)), due, second(5))
        };
        assert_eq!(left(None), second(5));
        assert_eq!(left(Some(21)), second(6));
        assert_eq!(left(Some(18)), second(3));
        assert_eq!(left(Some(10)), Duration::ZERO);
    }
}
