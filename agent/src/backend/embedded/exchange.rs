//! One question on its way through the worker: sent, waiting for the slot, listening, over.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::OwnedMutexGuard, time::timeout};
use tokwatt_domain::{
    run::{ChunkKind, CountSource, EngineTimes, FailureClass, TokenCounts},
    time::Stamp,
    workload::Sampling,
};

use super::{
    Engine, Slot,
    process::{self, Arrived, Death},
    protocol::{Ask, Cancel, Done, Failed, Order, Outcome, Reply, Seeded, Speaker, Token, Turn},
};
use crate::{
    backend::{Arrival, BackendError, Event, Finish, Question},
    clock::Clock,
    workload,
};

/// One question on its way.
///
/// Dropping it while the engine computes cancels the question, so that the engine does not heat an idle measurement.
pub(super) struct Exchange {
    slot: Arc<Slot>,
    request: u64,
    frame: Vec<u8>,
    sent: Stamp,
    step: Step,
    /// Tokens without a text since the last chunk: special ones.
    silent_tokens: u32,
}

enum Step {
    /// It cannot even be encoded.
    Unsendable(io::Error),
    /// Encoded and stamped.
    Asked,
    /// Others may be in the slot.
    Waiting,
    /// The slot is ours.
    Listening(OwnedMutexGuard<Option<Engine>>),
    /// Nothing comes any more.
    Over,
}

impl Exchange {
    /// Encodes the question, then stamps it as sent.
    pub(super) fn new(
        slot: Arc<Slot>,
        request: u64,
        question: Question,
        clock: &dyn Clock,
    ) -> Self {
        let (frame, step) = match process::frame(request, Order::Ask(order(question))) {
            Ok(frame) => (frame, Step::Asked),
            Err(error) => (Vec::new(), Step::Unsendable(error)),
        };
        Self {
            slot,
            request,
            frame,
            sent: clock.now(),
            step,
            silent_tokens: 0,
        }
    }

    /// The next arrival; nothing after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Arrival, BackendError>> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Over => return None,
            Step::Unsendable(error) => return Some(Err(refused(error.to_string()))),
            Step::Asked => {
                self.step = Step::Waiting;
                return Some(Ok(Arrival {
                    at: self.sent,
                    event: Event::Sent,
                }));
            }
            Step::Waiting => match self.begin().await {
                Ok(slot) => self.step = Step::Listening(slot),
                Err(error) => return Some(Err(error)),
            },
            listening @ Step::Listening(_) => self.step = listening,
        }
        Some(self.listen().await)
    }

    async fn begin(&mut self) -> Result<OwnedMutexGuard<Option<Engine>>, BackendError> {
        let mut slot = self.slot.engine.clone().lock_owned().await;
        let Some(engine) = slot.as_mut() else {
            return Err(lost(
                FailureClass::Crashed,
                "the engine is not loaded".to_owned(),
            ));
        };
        if let Err(error) = engine.let_go().await {
            self.slot.pid.store(0, Ordering::Relaxed);
            *slot = None;
            return Err(error);
        }
        engine
            .worker
            .send(std::mem::take(&mut self.frame))
            .map_err(|error| refused(format!("the engine takes no question: {error}")))?;
        Ok(slot)
    }

    async fn listen(&mut self) -> Result<Arrival, BackendError> {
        loop {
            let Step::Listening(slot) = &mut self.step else {
                return Err(lost(
                    FailureClass::Protocol,
                    "nobody is listened to".to_owned(),
                ));
            };
            let engine = slot
                .as_mut()
                .expect("it was there when the question was sent");
            match engine.worker.receive().await {
                Arrived::Ended(death) => return Err(self.lose(&death)),
                Arrived::Reply(at, reply) if reply.request == self.request => {
                    if let Some(event) = self.event(reply).transpose() {
                        return event.map(|event| Arrival { at, event });
                    }
                }
                // A late word on a question that was given up.
                Arrived::Reply(..) => {}
            }
        }
    }

    /// What a reply means to who asked; nothing for a token without a text.
    fn event(&mut self, reply: Reply) -> Result<Option<Event>, BackendError> {
        match reply.outcome {
            Some(Outcome::Token(token)) => Ok(self.chunk(token)),
            Some(Outcome::Done(done)) => {
                self.step = Step::Over;
                Ok(Some(Event::Done(finish(&done))))
            }
            Some(Outcome::Failed(failed)) => {
                self.step = Step::Over;
                Err(failure(failed))
            }
            Some(Outcome::Loaded(_)) | None => {
                self.step = Step::Over;
                let message = "the engine answers a question with something else".to_owned();
                Err(lost(FailureClass::Protocol, message))
            }
        }
    }

    fn chunk(&mut self, token: Token) -> Option<Event> {
        if token.bytes.is_empty() {
            self.silent_tokens += 1;
            return None;
        }
        Some(Event::Chunk {
            kind: ChunkKind::Content,
            bytes: token.bytes,
            tokens: Some(1 + std::mem::take(&mut self.silent_tokens)),
        })
    }

    fn lose(&mut self, death: &Death) -> BackendError {
        if let Step::Listening(mut slot) = std::mem::replace(&mut self.step, Step::Over) {
            self.slot.pid.store(0, Ordering::Relaxed);
            *slot = None;
        }
        lost(death.class, death.to_string())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Step::Listening(slot) = &mut self.step else {
            return;
        };
        let Some(engine) = slot.as_mut() else { return };
        engine.abandoned = Some(self.request);
        let cancel = process::frame(self.request, Order::Cancel(Cancel {}));
        if cancel.and_then(|frame| engine.worker.send(frame)).is_err() {
            engine.worker.kill();
        }
    }
}

impl Engine {
    /// Waits until a question that was given up is no longer computed.
    async fn let_go(&mut self) -> Result<(), BackendError> {
        let Some(request) = self.abandoned.take() else {
            return Ok(());
        };
        match timeout(LET_GO_TIME, self.ending(request)).await {
            Ok(None) => Ok(()),
            Ok(Some(death)) => Err(lost(death.class, death.to_string())),
            Err(_) => {
                self.worker.kill();
                let seconds = LET_GO_TIME.as_secs();
                let message = format!(
                    "the engine did not let go of a given-up question in {seconds} s and was killed"
                );
                Err(lost(FailureClass::Crashed, message))
            }
        }
    }

    async fn ending(&mut self, request: u64) -> Option<Death> {
        loop {
            match self.worker.receive().await {
                Arrived::Ended(death) => return Some(death),
                Arrived::Reply(_, reply) if reply.request == request => {
                    if !matches!(reply.outcome, Some(Outcome::Token(_))) {
                        return None;
                    }
                }
                Arrived::Reply(..) => {}
            }
        }
    }
}

fn order(question: Question) -> Ask {
    Ask {
        picture: question
            .picture
            .map(|picture| picture.to_vec())
            .unwrap_or_default(),
        prompt: question.prompt,
        max_tokens: question.max_tokens,
        seeded: match question.sampling {
            Sampling::Greedy => None,
            Sampling::Seeded { temperature, seed } => Some(Seeded { temperature, seed }),
        },
        has_stamps: false,
        history: question.history.into_iter().map(turn).collect(),
        is_fixed_length: question.is_fixed_length,
    }
}

fn turn(turn: workload::turn::Turn) -> Turn {
    let speaker = match turn.speaker {
        workload::turn::Speaker::System => Speaker::System,
        workload::turn::Speaker::User => Speaker::User,
        workload::turn::Speaker::Assistant => Speaker::Assistant,
    };
    Turn {
        speaker: speaker.into(),
        text: turn.text,
    }
}

fn finish(done: &Done) -> Finish {
    Finish {
        is_truncated: done.is_truncated,
        tokens: Some(TokenCounts {
            prompt: done.prompt_tokens,
            cached: Some(0),
            completion: done.completion_tokens,
            source: CountSource::Engine,
        }),
        image_encode: done.image_encode_us.map(Duration::from_micros),
        engine_times: Some(EngineTimes {
            prefill: Duration::from_micros(done.prefill_us),
            decode: Duration::from_micros(done.decode_us),
        }),
    }
}

fn failure(failed: Failed) -> BackendError {
    if failed.is_about_the_question {
        return refused(failed.message);
    }
    lost(FailureClass::Crashed, failed.message)
}

fn refused(message: String) -> BackendError {
    let class = FailureClass::Refused;
    BackendError::Request { class, message }
}

fn lost(class: FailureClass, message: String) -> BackendError {
    BackendError::Engine { class, message }
}

/// Longest time for the engine to come to the end of a token, or of reading a prompt.
const LET_GO_TIME: Duration = Duration::from_secs(10);
