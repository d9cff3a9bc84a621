//! Asks questions under a load and collects what came back: what closed and open loop have in common.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    run::{Identity, Outcome, RequestTrace},
    time::{Stamp, Window},
    workload::Load,
};

use super::observe::{Observed, Request, observe};
use crate::{
    backend::{Backend, Question},
    clock::Clock,
    workload::{
        arrivals::Schedule,
        plan::{Item, ItemPicture, PlannedCell},
    },
};

/// Asks a cell's questions.
pub(super) struct Drive<'a> {
    /// Who answers.
    pub(super) backend: &'a dyn Backend,
    /// What is asked.
    pub(super) cell: &'a PlannedCell,
    /// Under which load and limits.
    pub(super) identity: &'a Identity,
    /// Which repetition of the cell.
    pub(super) repetition: u32,
    /// Longest time a request may take.
    pub(super) timeout: Duration,
    /// What time it is.
    pub(super) clock: &'a dyn Clock,
    /// Ends it early.
    pub(super) stop: &'a CancellationToken,
}

/// Questions to ask in one go, with the files of their pictures.
pub(super) struct Questions<'a> {
    /// In order; those beyond the files are for another time.
    pub(super) items: &'a [Item],
    /// One for each of the first ones; nothing where there is no picture.
    pub(super) files: &'a [Option<Arc<[u8]>>],
    /// Position of the first one in the run.
    pub(super) first: usize,
    /// None is sent later than this after the first one.
    pub(super) longest: Duration,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Asked<'a> {
    pub(super) item: &'a Item,
    pub(super) file: Option<Arc<[u8]>>,
    pub(super) index: usize,
}

/// A drained stretch of requests.
pub(super) struct Driven {
    /// First send to the end of the last one; without a request, an instant.
    pub(super) window: Window,
    /// In order of sending.
    pub(super) requests: Vec<RequestTrace>,
    /// Why it ended.
    pub(super) end: End,
}

/// Why a stretch of requests ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The segment is full, or the cell has no more questions.
    Drained,
    /// A person stopped it.
    Stopped,
    /// The engine died.
    EngineLost,
}

/// A segment in the making.
#[derive(Default)]
pub(super) struct Stretch {
    pub(super) requests: Vec<RequestTrace>,
    pub(super) is_engine_lost: bool,
}

impl Drive<'_> {
    /// Asks the warm-up questions under the cell's load, which are never measured ones, and waits for their ends.
    ///
    /// # Errors
    /// The engine's last words, if it died.
    pub(super) async fn warm_up(&self) -> Result<(), String> {
        let items = &self.cell.warm_up;
        let file = |item: &Item| item.picture.as_ref().map(ItemPicture::file);
        let files: Vec<Option<Arc<[u8]>>> = items.iter().map(file).collect();
        let questions = Questions {
            items,
            files: &files,
            first: 0,
            longest: Duration::MAX,
        };
        let stretch = self.ask_all(&questions).await;
        match stretch.is_engine_lost {
            true => Err(last_words(stretch)),
            false => Ok(()),
        }
    }

    /// Asks until the segment is full, then waits for what is in flight.
    pub(super) async fn segment(&self, questions: &Questions<'_>) -> Driven {
        let stretch = self.ask_all(questions).await;
        let end = self.end(&stretch);
        stretch.into_driven(end, self.clock.now())
    }

    async fn ask_all(&self, questions: &Questions<'_>) -> Stretch {
        match self.identity.load {
            Load::Closed(concurrency) => self.closed_loop(questions, concurrency).await,
            Load::Open {
                per_1000_s,
                arrivals,
            } => {
                let schedule = Schedule {
                    per_1000_s,
                    arrivals,
                    digest: self.identity.suite_digest,
                    repetition: self.repetition,
                };
                self.open_loop(questions, &schedule).await
            }
        }
    }

    /// Asks at the scheduled time, or at once.
    pub(super) async fn ask(&self, asked: Asked<'_>, scheduled: Option<Stamp>) -> Observed {
        let Asked { item, file, index } = asked;
        let question = Question {
            history: item.history.clone(),
            prompt: item.prompt.clone(),
            picture: file,
            max_tokens: self.identity.max_tokens,
            is_fixed_length: self.cell.is_fixed_length,
            sampling: self.identity.sampling,
            cache: self.identity.cache_policy,
            is_streaming: self.identity.is_streaming,
        };
        observe(Request {
            backend: self.backend,
            question,
            item,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            scheduled,
            timeout: self.timeout,
            stop: self.stop,
            clock: self.clock,
        })
        .await
    }

    pub(super) fn may_go_on(&self, stretch: &Stretch) -> bool {
        !self.stop.is_cancelled() && !stretch.is_engine_lost
    }

    /// Who stops the bench wants no engine loaded again.
    fn end(&self, stretch: &Stretch) -> End {
        match (self.stop.is_cancelled(), stretch.is_engine_lost) {
            (true, _) => End::Stopped,
            (false, true) => End::EngineLost,
            (false, false) => End::Drained,
        }
    }
}

impl<'a> Questions<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Asked<'a>> + use<'a> {
        let files = self.files.iter().cloned();
        (self.first..)
            .zip(self.items)
            .zip(files)
            .map(|((index, item), file)| Asked { item, file, index })
    }
}

impl Stretch {
    pub(super) fn add(&mut self, observed: Observed) {
        self.requests.push(observed.request);
        self.is_engine_lost |= observed.is_engine_lost;
    }

    fn into_driven(mut self, end: End, now: Stamp) -> Driven {
        self.requests.sort_by_key(|request| request.index);
        let first = self.requests.iter().map(|request| request.sent).min();
        let last = self.requests.iter().map(|request| request.ended).max();
        Driven {
            window: Window {
                from: first.unwrap_or(now),
                to: last.unwrap_or(now),
            },
            requests: self.requests,
            end,
        }
    }
}

/// Of the request that the engine died of: it was the first to end so.
fn last_words(stretch: Stretch) -> String {
    let messages = stretch
        .requests
        .into_iter()
        .filter_map(|request| match request.outcome {
            Outcome::Failed { message, .. } => Some(message),
            Outcome::Stop | Outcome::Length => None,
        });
    messages
        .into_iter()
        .next()
        .unwrap_or_else(|| "the engine is gone".to_owned())
}

/// Most requests of a segment: a killed agent loses at most this much work.
pub(super) const SEGMENT_REQUESTS_MAX: usize = 500;

/// No request of a closed loop's segment is sent later than this after its first.
pub(super) const SEGMENT_LENGTH_MAX: Duration = Duration::from_secs(60);
