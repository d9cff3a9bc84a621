//! A made-up engine: as fast as its machine's memory and arithmetic allow (the roofline), and not a bit cleverer. It does not look at
//! pictures: what it answers says nothing, and nothing is scored, unless its model has a [`Sight`].
//!
//! First in, first out, and one at a time unless the model has more slots. A prompt takes `2 · parameters · tokens / compute`, a token
//! one pass over the weights; who shares a pass with others waits a little longer for it.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokwatt_domain::{
    run::{ChunkKind, CountSource, EngineTimes, FailureClass, TokenCounts},
    time::Stamp,
};

use super::{
    MadeUp,
    machine::Machine,
    model::{Model, Nature},
    sight::Sight,
    world::Activity,
};
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
    desk: Arc<Desk>,
    sight: Option<Arc<Sight>>,
}

/// Where requests are answered. Both queues are fair: who asks first is answered first.
struct Desk {
    slots: Arc<Semaphore>,
    /// Prompts are read one after the other.
    reader: Semaphore,
    state: Mutex<DeskState>,
}

struct DeskState {
    chance: ChaCha8Rng,
    mood: Mood,
    /// Whether the next answer is right.
    wits: ChaCha8Rng,
    n_reading: u32,
    n_writing: u32,
}

/// A model is faster at one time than at another, for reasons of its own.
struct Mood {
    chance: ChaCha8Rng,
    unsteadiness: f64,
    /// What everything takes, as a multiple of what it takes on average.
    slowness: f64,
    until: Stamp,
}

impl Engine {
    pub(super) fn new(
        made_up: Arc<MadeUp>,
        clock: Arc<dyn Clock>,
        model: Model,
        sight: Option<Arc<Sight>>,
    ) -> Self {
        Self {
            sight: sight.filter(|_| model.accuracy().is_some()),
            desk: Arc::new(Desk::new(&model, made_up.seed ^ ANSWERS)),
            made_up,
            clock,
            model,
            is_loaded: AtomicBool::new(false),
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
            (
                "parameters",
                format!("{:.0}", self.model.nature().parameters),
            ),
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
        let bytes = if has_model {
            self.model.memory_bytes()
        } else {
            0
        };
        if let Err(error) = self.made_up.host.use_memory(bytes) {
            tracing::warn!(%error, "the simulation's files stand still");
        }
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
            desk: self.desk.clone(),
            sight: self.sight.clone(),
            slot: None,
            stage: Stage::Asked,
            part: Part::None,
            due: Stamp(0),
        };
        stream::unfold(answer, Answer::next).boxed()
    }

    fn process(&self) -> Option<u32> {
        None
    }

    fn answers_mean_something(&self) -> bool {
        self.sight.is_some()
    }
}

/// An answer in the making; dropped before its end, the machine rests from then on.
struct Answer {
    made_up: Arc<MadeUp>,
    clock: Arc<dyn Clock>,
    model: Model,
    question: Question,
    desk: Arc<Desk>,
    sight: Option<Arc<Sight>>,
    slot: Option<OwnedSemaphorePermit>,
    stage: Stage,
    part: Part,
    /// When what is being done is done. Virtual time ticks in ms, and whoever waits wakes at the next tick; counted from there, every
    /// pass would take half a ms longer, and a small model would be a tenth slower than it is.
    due: Stamp,
}

/// What the machine does for an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    None,
    Reading,
    Writing,
}

enum Stage {
    Asked,
    Waiting,
    Writing(Writing),
    Over,
}

struct Writing {
    started: Stamp,
    /// When the prompt was read.
    read: Stamp,
    encode: Option<Duration>,
    prompt_tokens: u32,
    /// In all, and written so far.
    tokens: u32,
    written: u32,
    text: Vec<u8>,
}

impl Writing {
    /// All pieces are as long as each other, or a byte longer; a letter may be split over two.
    fn next_piece(&mut self) -> Vec<u8> {
        let end = |written: u32| self.text.len() * written as usize / self.tokens.max(1) as usize;
        let piece = self.text[end(self.written)..end(self.written + 1)].to_vec();
        self.written += 1;
        piece
    }
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
        // What was made is there before the tick at which somebody wakes up for it.
        let at = match event {
            Event::Sent => self.clock.now(),
            Event::Chunk { .. } | Event::Done(_) => self.due,
        };
        Some((Ok(Arrival { at, event }), self))
    }

    async fn read_prompt(&mut self) -> Writing {
        let desk = self.desk.clone();
        self.slot = desk.slots.clone().acquire_owned().await.ok();
        let turn = desk.reader.acquire().await;
        self.take_part(Part::Reading);
        let started = self.clock.now();
        self.due = started;
        let (machine, nature) = (self.made_up.machine, *self.model.nature());
        let picture = self.question.picture.as_deref();
        let picture = picture.map(|file| nature.picture.of(side_px(file)));
        let mut encode = None;
        if let Some(tokens) = picture {
            let operations = PICTURE_OPERATIONS * f64::from(tokens) / 256.0;
            let work = Duration::from_secs_f64(operations / machine.compute);
            encode = Some(self.work(Activity::Encode, work).await);
        }
        let prompt_tokens = words_of(&self.question).saturating_add(picture.unwrap_or(0));
        let operations = 2.0 * nature.parameters * f64::from(prompt_tokens);
        let work = Duration::from_secs_f64(operations / machine.compute);
        self.work(Activity::Prefill, work).await;
        let tokens = self.length();
        drop(turn);
        Writing {
            started,
            read: self.due,
            encode,
            prompt_tokens,
            tokens,
            written: 0,
            text: self.text(tokens),
        }
    }

    /// Of the answer: what it knows to say, and words for the rest, so that it has at least a letter for each token.
    fn text(&self, tokens: u32) -> Vec<u8> {
        let tokens = tokens as usize;
        let accuracy = self.model.accuracy().unwrap_or_default();
        let answer = self.sight.as_ref().and_then(|sight| {
            let is_right = chance(&mut self.desk.state().wits) < accuracy;
            sight.answer(&self.question, is_right)
        });
        let Some(answer) = answer else {
            let words = (0..tokens).map(|place| WORDS[place % WORDS.len()]);
            return words.collect::<Vec<_>>().concat();
        };
        let mut text = answer.into_bytes();
        if !text.ends_with(b".") {
            text.push(b'.');
        }
        while text.len() < LETTERS_OF_A_TOKEN * tokens {
            text.extend(b" Nobody looked.");
        }
        text
    }

    /// Of the answer in tokens.
    fn length(&self) -> u32 {
        let (shortest, longest) = lengths(self.model.nature(), self.question.max_tokens);
        // Drawn in any case: the answers after this one stay what they are.
        let drawn = shortest + self.desk.state().chance.next_u32() % (longest - shortest + 1);
        match self.question.is_fixed_length {
            true => self.question.max_tokens,
            false => drawn,
        }
    }

    /// One token more, or the end.
    async fn write(&mut self, mut writing: Writing) -> Event {
        if writing.written == writing.tokens {
            self.rest();
            return Event::Done(self.finish(&writing));
        }
        let pass = self.model.pass_s(self.made_up.machine.bandwidth);
        if writing.written == 0 {
            self.take_part(Part::Writing);
            self.begin(Activity::Decode);
        }
        let others = self.desk.state().n_writing.saturating_sub(1);
        let pass = pass * (1.0 + CROWDING * f64::from(others));
        self.go_on(Duration::from_secs_f64(pass)).await;
        let bytes = writing.next_piece();
        self.stage = Stage::Writing(writing);
        Event::Chunk {
            kind: ChunkKind::Content,
            bytes,
            tokens: Some(1),
        }
    }

    /// Does something else than before for as long as it takes at the machine's present speed; how long that was.
    async fn work(&mut self, activity: Activity, work: Duration) -> Duration {
        let begun = self.due;
        self.begin(activity);
        self.go_on(work).await;
        self.due.since(begun)
    }

    fn begin(&self, activity: Activity) {
        let appetite = self.model.nature().appetite;
        let now = self.clock.now();
        self.made_up.world().begin(activity, appetite, now);
    }

    async fn go_on(&mut self, work: Duration) {
        let now = self.clock.now();
        let speed = self.made_up.world().speed(now);
        let slowness = self.desk.state().slowness(now);
        self.due = self.due.after(work.mul_f64(slowness / speed));
        tokio::time::sleep(self.due.since(now)).await;
    }

    fn take_part(&mut self, part: Part) {
        let mut state = self.desk.state();
        *state.n_mut(self.part) -= u32::from(self.part != Part::None);
        *state.n_mut(part) += u32::from(part != Part::None);
        self.part = part;
    }

    /// Gives its slot to the next one; the machine rests where there is none.
    fn rest(&mut self) {
        self.take_part(Part::None);
        self.slot = None;
        if self.desk.is_deserted() {
            self.begin(Activity::Idle);
        }
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
                decode: self.due.since(writing.read),
            }),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.part != Part::None {
            self.rest();
        }
    }
}

impl Desk {
    fn new(model: &Model, seed: u64) -> Self {
        let nature = model.nature();
        let chance = |stream| {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            chance.set_stream(stream);
            chance
        };
        Self {
            slots: Arc::new(Semaphore::new(nature.slots as usize)),
            reader: Semaphore::new(1),
            state: Mutex::new(DeskState {
                chance: chance(model.stream()),
                mood: Mood {
                    chance: chance(MOODS + model.stream()),
                    unsteadiness: nature.unsteadiness,
                    slowness: 1.0,
                    until: Stamp(0),
                },
                wits: chance(WITS + model.stream()),
                n_reading: 0,
                n_writing: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_deserted(&self) -> bool {
        let state = self.state();
        state.n_reading + state.n_writing == 0
    }
}

impl DeskState {
    fn n_mut(&mut self, part: Part) -> &mut u32 {
        match part {
            Part::Writing => &mut self.n_writing,
            Part::Reading | Part::None => &mut self.n_reading,
        }
    }

    /// What something takes now, as a multiple of what it takes on average: 3 % to and fro, for no two passes take the same, and the
    /// model's mood.
    fn slowness(&mut self, now: Stamp) -> f64 {
        let luck = 0.97 + 0.06 * f64::from(self.chance.next_u32()) / f64::from(u32::MAX);
        luck * self.mood.at(now)
    }
}

impl Mood {
    fn at(&mut self, now: Stamp) -> f64 {
        while self.unsteadiness > 0.0 && self.until <= now {
            // Twelve of them have a variance of 1, and are as good as normal.
            let sum: f64 = (0..12).map(|_| chance(&mut self.chance)).sum();
            self.slowness = 1.0 + self.unsteadiness * (sum - 6.0);
            let lasts = MOOD.mul_f64(-libm::log(1.0 - chance(&mut self.chance)));
            self.until = self.until.after(lasts.max(Duration::from_nanos(1)));
        }
        self.slowness
    }
}

/// 0 to 1.
fn chance(source: &mut ChaCha8Rng) -> f64 {
    f64::from(source.next_u32()) / 4_294_967_296.0
}

/// Of a picture's file, where it says so.
fn side_px(file: &[u8]) -> Option<u32> {
    let size = imagesize::blob_size(file).ok()?;
    u32::try_from(size.width.max(size.height)).ok()
}

/// Tokens of a question's words.
fn words_of(question: &Question) -> u32 {
    let said = question.history.iter().map(|turn| turn.text.len());
    let letters = said.sum::<usize>() + question.prompt.len();
    u32::try_from(letters / 4).unwrap_or(u32::MAX)
}

/// Of the shortest and the longest answer, in tokens.
pub(super) fn lengths(nature: &Nature, max_tokens: u32) -> (u32, u32) {
    let shortest = nature.shortest_answer;
    (shortest.min(max_tokens), (5 * shortest).min(max_tokens))
}

/// What an encoder of 400 million parameters does for a picture of 256 tokens.
pub(super) const PICTURE_OPERATIONS: f64 = 2.0 * 0.4e9 * 1024.0;

/// A pass takes so much longer for each other request that it is shared with.
const CROWDING: f64 = 0.06;

/// Mean time of a mood: many of them in a run, so that runs differ, and by little.
const MOOD: Duration = Duration::from_secs(4);

/// Answers differ from the machine's own chance.
const ANSWERS: u64 = 0x616e_7377;

/// Moods differ from the answers' chance.
const MOODS: u64 = 1 << 32;

/// And wits from both.
const WITS: u64 = 2 << 32;

/// As many as tokens of English have.
const LETTERS_OF_A_TOKEN: usize = 4;

const WORDS: [&[u8]; 6] = [b" this", b" answer", b" was", b" made", b" up", b" here"];
