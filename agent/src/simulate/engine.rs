//! A made-up engine: as fast as its machine's memory and arithmetic allow (the roofline), and not a bit cleverer. It does not look at
//! pictures, so what it answers says nothing, and nothing is scored.
//!
//! One slot, first in, first out. A prompt takes `2 · parameters · tokens / compute`, a token one pass over the weights; real engines
//! get some two thirds of the data sheet's bandwidth, and so does this one.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokwatt_domain::{
    run::{ChunkKind, CountSource, EngineTimes, FailureClass, TokenCounts},
    time::Stamp,
};

use super::{MadeUp, machine::Machine, world::Activity};
use crate::{
    backend::{Arrival, Backend, BackendError, Event, Finish, ModelCard, Question},
    clock::Clock,
};

/// A model of so many parameters on a made-up machine.
pub struct Engine {
    made_up: Arc<MadeUp>,
    clock: Arc<dyn Clock>,
    model: Model,
    is_loaded: AtomicBool,
    /// Fair: who asks first is answered first. Holds the chance by which answers differ.
    slot: Arc<Mutex<ChaCha8Rng>>,
}

/// A model that does not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    name: String,
    precision: String,
    parameters: f64,
    bytes_per_parameter: f64,
}

/// No such model can be made up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoModel {
    /// The name does not say how large it is.
    #[error(
        "--model: `{0}` is no made-up model: with --simulate it is made-up-Nb, N billion parameters, such as made-up-2b or made-up-0.5b"
    )]
    Name(String),
    /// The precision's size is not known.
    #[error(
        "--precision: `{0}` is not known to the simulation, there are: f32, f16, bf16, q8_0, q4_k_m"
    )]
    Precision(String),
}

impl Model {
    /// Reads `made-up-2b` and `q8_0`.
    ///
    /// # Errors
    /// Says which of them is none.
    pub fn parse(name: &str, precision: &str) -> Result<Self, NoModel> {
        let billions = name
            .strip_prefix("made-up-")
            .and_then(|size| size.strip_suffix('b'));
        let billions = billions.and_then(|size| size.parse::<f64>().ok());
        let billions = billions.filter(|size| (0.001..=1000.0).contains(size));
        let bits = PRECISIONS.iter().find(|(known, _)| *known == precision);
        let (_, bits) = bits.ok_or_else(|| NoModel::Precision(precision.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            precision: precision.to_owned(),
            parameters: 1e9 * billions.ok_or_else(|| NoModel::Name(name.to_owned()))?,
            bytes_per_parameter: bits / 8.0,
        })
    }

    /// Who it is, as far as that can be said before it was loaded.
    pub fn card(&self) -> ModelCard {
        ModelCard {
            engine: concat!("simulated roofline, tokwatt ", env!("CARGO_PKG_VERSION")).to_owned(),
            engine_flags: BTreeMap::new(),
            model: self.name.clone(),
            precision: self.precision.clone(),
            facts: BTreeMap::new(),
            digest: None,
            mmproj_digest: None,
            mmproj_precision: None,
            load_time: None,
        }
    }

    fn bytes(&self) -> f64 {
        self.parameters * self.bytes_per_parameter
    }
}

impl Engine {
    pub(super) fn new(made_up: Arc<MadeUp>, clock: Arc<dyn Clock>, model: Model) -> Self {
        let chance = ChaCha8Rng::seed_from_u64(made_up.seed ^ ANSWERS);
        Self {
            made_up,
            clock,
            model,
            is_loaded: AtomicBool::new(false),
            slot: Arc::new(Mutex::new(chance)),
        }
    }

    fn machine(&self) -> &'static Machine {
        self.made_up.machine
    }

    fn card(&self, load_time: Option<Duration>) -> ModelCard {
        let machine = self.machine();
        let facts = [
            (
                "note",
                "simulated: made up by a formula, nothing was run".to_owned(),
            ),
            ("parameters", format!("{:.0}", self.model.parameters)),
            ("weights_bytes", format!("{:.0}", self.model.bytes())),
            (
                "memory_bandwidth_bytes_per_s",
                format!("{:.0}", machine.bandwidth),
            ),
            (
                "last_level_cache_bytes",
                machine.last_level_cache.to_string(),
            ),
        ];
        ModelCard {
            facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
            load_time,
            ..self.model.card()
        }
    }

    fn hold_model(&self, has_model: bool) {
        let now = self.clock.now();
        self.made_up.world().hold_model(has_model, now);
        self.is_loaded.store(has_model, Ordering::Relaxed);
    }
}

#[async_trait]
impl Backend for Engine {
    async fn load(&self) -> Result<ModelCard, BackendError> {
        if self.is_loaded.load(Ordering::Relaxed) {
            return Ok(self.card(None));
        }
        let (bytes, memory) = (self.model.bytes(), self.machine().memory as f64);
        if bytes > 0.9 * memory {
            return Err(BackendError::Engine {
                class: FailureClass::OutOfMemory,
                message: format!(
                    "simulated: {:.1} GB of weights do not fit into {:.1} GB",
                    bytes / 1e9,
                    memory / 1e9
                ),
            });
        }
        let time = Duration::from_secs_f64(bytes / self.machine().storage);
        tokio::time::sleep(time).await;
        self.hold_model(true);
        Ok(self.card(Some(time)))
    }

    async fn unload(&self) -> Result<(), BackendError> {
        self.hold_model(false);
        Ok(())
    }

    fn ask(&self, question: Question) -> BoxStream<'static, Result<Arrival, BackendError>> {
        let answer = Answer {
            made_up: self.made_up.clone(),
            clock: self.clock.clone(),
            model: self.model.clone(),
            question,
            slot: self.slot.clone(),
            stage: Stage::Asked,
            is_at_work: false,
        };
        stream::unfold(answer, Answer::next).boxed()
    }

    fn process(&self) -> Option<u32> {
        None
    }
}

/// An answer in the making; dropped before its end, the machine rests from then on.
struct Answer {
    made_up: Arc<MadeUp>,
    clock: Arc<dyn Clock>,
    model: Model,
    question: Question,
    slot: Arc<Mutex<ChaCha8Rng>>,
    stage: Stage,
    /// The machine works at it.
    is_at_work: bool,
}

enum Stage {
    Asked,
    Waiting,
    Writing(Writing),
    Over,
}

struct Writing {
    chance: OwnedMutexGuard<ChaCha8Rng>,
    started: Stamp,
    /// When the prompt was read.
    read: Stamp,
    encode: Option<Duration>,
    prompt_tokens: u32,
    /// In all, and written so far.
    tokens: u32,
    written: u32,
}

impl Answer {
    async fn next(mut self) -> Option<(Result<Arrival, BackendError>, Self)> {
        let event = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Asked => {
                self.stage = Stage::Waiting;
                Event::Sent
            }
            Stage::Waiting => {
                let writing = self.read_prompt().await;
                self.write(writing).await
            }
            Stage::Writing(writing) => self.write(writing).await,
            Stage::Over => return None,
        };
        let at = self.clock.now();
        Some((Ok(Arrival { at, event }), self))
    }

    async fn read_prompt(&mut self) -> Writing {
        let mut chance = self.slot.clone().lock_owned().await;
        self.is_at_work = true;
        let started = self.clock.now();
        let compute = self.made_up.machine.compute;
        let picture = self.question.picture.as_ref().map(|_| PICTURE_TOKENS);
        let mut encode = None;
        if picture.is_some() {
            let work = Duration::from_secs_f64(PICTURE_OPERATIONS / compute);
            encode = Some(self.work(Activity::Encode, work, &mut chance).await);
        }
        let said = self.question.history.iter().map(|turn| turn.text.len());
        let letters = said.sum::<usize>() + self.question.prompt.len();
        let words = u32::try_from(letters / 4).unwrap_or(u32::MAX);
        let prompt_tokens = words.saturating_add(picture.unwrap_or(0));
        let operations = 2.0 * self.model.parameters * f64::from(prompt_tokens);
        let work = Duration::from_secs_f64(operations / compute);
        self.work(Activity::Prefill, work, &mut chance).await;
        let shortest = SHORTEST_ANSWER.min(self.question.max_tokens);
        let longest = (5 * SHORTEST_ANSWER).min(self.question.max_tokens);
        // Drawn in any case: the answers after this one stay what they are.
        let drawn = shortest + chance.next_u32() % (longest - shortest + 1);
        let tokens = match self.question.is_fixed_length {
            true => self.question.max_tokens,
            false => drawn,
        };
        Writing {
            chance,
            started,
            read: self.clock.now(),
            encode,
            prompt_tokens,
            tokens,
            written: 0,
        }
    }

    /// One token more, or the end.
    async fn write(&mut self, mut writing: Writing) -> Event {
        if writing.written == writing.tokens {
            self.rest();
            return Event::Done(self.finish(&writing));
        }
        let pass = self.model.bytes() / (BANDWIDTH_SHARE * self.made_up.machine.bandwidth);
        let pass = Duration::from_secs_f64(pass);
        match writing.written {
            0 => self.work(Activity::Decode, pass, &mut writing.chance).await,
            _ => self.go_on(pass, &mut writing.chance).await,
        };
        let word = WORDS[writing.written as usize % WORDS.len()];
        writing.written += 1;
        self.stage = Stage::Writing(writing);
        Event::Chunk {
            kind: ChunkKind::Content,
            bytes: word.to_vec(),
            tokens: Some(1),
        }
    }

    /// Does something else than before for as long as it takes at the machine's present speed; how long that was.
    async fn work(&self, activity: Activity, work: Duration, chance: &mut ChaCha8Rng) -> Duration {
        let now = self.clock.now();
        self.made_up.world().begin(activity, now);
        self.go_on(work, chance).await
    }

    async fn go_on(&self, work: Duration, chance: &mut ChaCha8Rng) -> Duration {
        let now = self.clock.now();
        let speed = self.made_up.world().speed(now);
        // 3 % to and fro: no two passes take the same.
        let luck = 0.97 + 0.06 * f64::from(chance.next_u32()) / f64::from(u32::MAX);
        tokio::time::sleep(work.mul_f64(luck / speed)).await;
        self.clock.now().since(now)
    }

    fn rest(&mut self) {
        self.is_at_work = false;
        let now = self.clock.now();
        self.made_up.world().begin(Activity::Idle, now);
    }

    fn finish(&self, writing: &Writing) -> Finish {
        Finish {
            is_truncated: writing.tokens == self.question.max_tokens,
            tokens: Some(TokenCounts {
                prompt: writing.prompt_tokens,
                cached: Some(0),
                completion: writing.tokens,
                source: CountSource::Engine,
            }),
            image_encode: writing.encode,
            engine_times: Some(EngineTimes {
                prefill: writing.read.since(writing.started),
                decode: self.clock.now().since(writing.read),
            }),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_at_work {
            self.rest();
        }
    }
}

/// Name and bits a parameter, scales included.
const PRECISIONS: [(&str, f64); 5] = [
    ("f32", 32.0),
    ("f16", 16.0),
    ("bf16", 16.0),
    ("q8_0", 8.5),
    ("q4_k_m", 4.85),
];

/// What engines get of the data sheet's bandwidth.
const BANDWIDTH_SHARE: f64 = 0.66;

/// Of a picture of any size, and what an encoder of 400 million parameters does for it.
const PICTURE_TOKENS: u32 = 256;
const PICTURE_OPERATIONS: f64 = 2.0 * 0.4e9 * 1024.0;

/// Answers have so many tokens, up to five times as many.
const SHORTEST_ANSWER: u32 = 12;

/// Answers differ from the machine's own chance.
const ANSWERS: u64 = 0x616e_7377;

const WORDS: [&[u8]; 6] = [b" this", b" answer", b" was", b" made", b" up", b" here"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_size_is_in_its_name() {
        let model = Model::parse("made-up-0.5b", "q8_0").unwrap();
        assert!((model.bytes() - 0.53125e9).abs() < 1.0);
    }

    #[test]
    fn what_cannot_be_made_up_is_named_with_what_can() {
        for name in ["made-up-b", "made-up-0b", "made-up-nanb", "smolvlm2-2b"] {
            let message = Model::parse(name, "f16").unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains("made-up-2b"),
                "{message}"
            );
        }
        let message = Model::parse("made-up-2b", "int3").unwrap_err().to_string();
        assert!(
            message.contains("int3") && message.contains("q8_0"),
            "{message}"
        );
    }
}
