//! An engine that does what a script says, and remembers what it was asked and when.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokwatt_agent::{
    backend::{Arrival, Backend, BackendError, Event, Finish, ModelCard, Question},
    clock::Clock,
};
use tokwatt_domain::{
    run::{ChunkKind, CountSource, FailureClass, TokenCounts},
    time::Stamp,
};

/// What happens to a question.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Answer,
    /// With so many tokens, after so long.
    Slowly(Duration, u32),
    Never,
    /// Complete, and then nothing, not even an end.
    Linger,
    /// Once so many are in flight, and from then on at once.
    Together(usize),
    Fail(FailureClass),
    Die,
}

type Script = dyn Fn(&str) -> Reply + Send + Sync;

/// The engine.
pub(crate) struct Scripted {
    pub(crate) clock: Arc<dyn Clock>,
    /// From the prompt to what happens to it.
    pub(crate) script: Box<Script>,
    /// Whether it can be loaded for the n-th time, from 1.
    pub(crate) loads: fn(usize) -> Result<(), BackendError>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) is_up: Arc<AtomicBool>,
}

/// What it saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Prompts, in order.
    pub(crate) asked: Vec<String>,
    /// How many of them were to be answered in pieces.
    pub(crate) n_streamed: usize,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    pub(crate) n_loads: usize,
    /// When the latest warm-up question was over.
    pub(crate) warm_up_ended: Stamp,
}

/// A question under way, until dropped.
struct Flight {
    seen: Arc<Mutex<Seen>>,
    clock: Arc<dyn Clock>,
    is_warm_up: bool,
}

impl Flight {
    fn start(engine: &Scripted, question: Question) -> Self {
        let prompt = question.prompt;
        let is_warm_up = prompt.starts_with('w');
        let mut seen = engine.seen.lock().unwrap();
        seen.asked.push(prompt);
        seen.n_streamed += usize::from(question.is_streaming);
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        Self {
            seen: engine.seen.clone(),
            clock: engine.clock.clone(),
            is_warm_up,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut seen = self.seen.lock().unwrap();
        seen.in_flight -= 1;
        if self.is_warm_up {
            seen.warm_up_ended = self.clock.now();
        }
    }
}

#[async_trait]
impl Backend for Scripted {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        if !self.is_up.load(Ordering::Relaxed) {
            let mut seen = self.seen.lock().unwrap();
            seen.n_loads += 1;
            (self.loads)(seen.n_loads)?;
            self.is_up.store(true, Ordering::Relaxed);
            let load_time = Some(Duration::ZERO);
            return Ok(ModelCard {
                load_time,
                ..card()
            });
        }
        Ok(card())
    }

    async fn unload(&self) -> Result<(), BackendError> {
        self.is_up.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>> {
        let clock = self.clock.clone();
        let arrival = move |event| {
            let at = clock.now();
            Ok(Arrival { at, event })
        };
        let reply = match self.is_up.load(Ordering::Relaxed) {
            true => (self.script)(&question.prompt),
            false => Reply::Die,
        };
        let flight = Flight::start(self, question);
        let (is_up, seen) = (self.is_up.clone(), self.seen.clone());
        let sent = arrival(Event::Sent);
        let rest = async move {
            // The others are asked meanwhile.
            tokio::task::yield_now().await;
            match reply {
                Reply::Answer | Reply::Linger => {
                    vec![arrival(chunk()), arrival(Event::Done(finish()))]
                }
                Reply::Slowly(time, completion) => {
                    tokio::time::sleep(time).await;
                    let counts = TokenCounts {
                        prompt: 1,
                        cached: None,
                        completion,
                        source: CountSource::Engine,
                    };
                    let mut finish = finish();
                    finish.tokens = Some(counts);
                    vec![arrival(chunk()), arrival(Event::Done(finish))]
                }
                Reply::Together(n) => {
                    while seen.lock().unwrap().most_in_flight < n {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    vec![arrival(chunk()), arrival(Event::Done(finish()))]
                }
                Reply::Never => std::future::pending().await,
                Reply::Fail(class) => vec![Err(BackendError::Request {
                    class,
                    message: "as the script says".to_owned(),
                })],
                Reply::Die => {
                    is_up.store(false, Ordering::Relaxed);
                    vec![Err(died("these were its last words"))]
                }
            }
        };
        let rest = stream::once(rest).flat_map(stream::iter);
        let rest = match reply {
            Reply::Linger => rest.chain(stream::pending()).boxed(),
            _ => rest.boxed(),
        };
        stream::iter([sent])
            .chain(rest)
            .map(move |arrival| {
                // Under way until nobody listens any more.
                let _ = &flight;
                arrival
            })
            .boxed()
    }

    fn process(&self) -> Option<u32> {
        None
    }
}

pub(crate) fn died(words: &str) -> BackendError {
    BackendError::Engine {
        class: FailureClass::Crashed,
        message: words.to_owned(),
    }
}

pub(crate) fn card() -> ModelCard {
    ModelCard {
        engine: "scripted".to_owned(),
        engine_flags: [].into(),
        model: "script".to_owned(),
        precision: "f32".to_owned(),
        facts: [].into(),
        digest: None,
        mmproj_digest: None,
        mmproj_precision: None,
        load_time: None,
    }
}

fn chunk() -> Event {
    Event::Chunk {
        kind: ChunkKind::Content,
        bytes: b"yes".to_vec(),
        tokens: Some(1),
    }
}

fn finish() -> Finish {
    Finish {
        is_truncated: false,
        tokens: None,
        image_encode: None,
        engine_times: None,
    }
}
