//! The closed loop: so many requests in flight, the next one sent when one ends.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    run::{Identity, Outcome, RequestTrace},
    time::{Stamp, Window},
    workload::Load,
};

use super::observe::{Observed, observe};
use crate::{
    backend::{Backend, Question},
    clock::Clock,
    workload::plan::{Item, ItemPicture, PlannedCell},
};

/// Asks a cell's questions.
pub(super) struct Drive<'a> {
    /// Who answers.
    pub(super) backend: &'a dyn Backend,
    /// What is asked.
    pub(super) cell: &'a PlannedCell,
    /// Under which limits.
    pub(super) identity: &'a Identity,
    /// Longest time a request may take.
    pub(super) timeout: Duration,
    /// What time it is.
    pub(super) clock: &'a dyn Clock,
    /// Ends it early.
    pub(super) stop: &'a CancellationToken,
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

impl Drive<'_> {
    /// Asks the warm-up questions, which are never measured ones, and waits for their ends.
    ///
    /// # Errors
    /// The engine's last words, if it died.
    pub(super) async fn warm_up(&self) -> Result<(), String> {
        let mut in_flight = FuturesUnordered::new();
        let mut items = self.cell.warm_up.iter();
        let mut result = Ok(());
        loop {
            while in_flight.len() < self.concurrency() && self.may_go_on() && result.is_ok() {
                let Some(item) = items.next() else { break };
                let file = item.picture.as_ref().map(ItemPicture::file);
                in_flight.push(self.ask(item, file, 0));
            }
            match in_flight.next().await {
                Some(observed) if observed.is_engine_lost => {
                    result = result.and(Err(last_words(observed.request.outcome)));
                }
                Some(_) => {}
                None => return result,
            }
        }
    }

    /// Asks from item `first` on, of whose pictures and those after it these are the files, until the segment is full; then
    /// waits for what is in flight.
    pub(super) async fn segment(&self, first: usize, files: &[Option<Arc<[u8]>>]) -> Driven {
        let mut stretch = Stretch::new(self.clock.now());
        let mut questions = (first..).zip(&self.cell.items[first..]).zip(files);
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < self.concurrency() && self.may_send(&stretch) {
                let Some(((index, item), file)) = questions.next() else {
                    break;
                };
                in_flight.push(self.ask(item, file.clone(), index));
            }
            match in_flight.next().await {
                Some(observed) => stretch.add(observed),
                None => break,
            }
        }
        let end = self.end(&stretch);
        stretch.into_driven(end, self.clock.now())
    }

    async fn ask(&self, item: &Item, file: Option<Arc<[u8]>>, index: usize) -> Observed {
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
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        observe(
            self.backend,
            question,
            item,
            index,
            self.timeout,
            self.stop,
            self.clock,
        )
        .await
    }

    fn may_send(&self, stretch: &Stretch) -> bool {
        let lasted = self.clock.now().since(stretch.started);
        self.may_go_on() && !stretch.is_engine_lost && lasted < SEGMENT_LENGTH_MAX
    }

    fn may_go_on(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Who stops the bench wants no engine loaded again.
    fn end(&self, stretch: &Stretch) -> End {
        match (self.may_go_on(), stretch.is_engine_lost) {
            (false, _) => End::Stopped,
            (true, true) => End::EngineLost,
            (true, false) => End::Drained,
        }
    }

    fn concurrency(&self) -> usize {
        match self.identity.load {
            Load::Closed(concurrency) => concurrency as usize,
            Load::Open { .. } => unreachable!("the closed loop is given closed loads"),
        }
    }
}

/// A segment in the making.
struct Stretch {
    started: Stamp,
    requests: Vec<RequestTrace>,
    is_engine_lost: bool,
}

impl Stretch {
    fn new(started: Stamp) -> Self {
        Self {
            started,
            requests: Vec::new(),
            is_engine_lost: false,
        }
    }

    fn add(&mut self, observed: Observed) {
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

fn last_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { message, .. } => message,
        Outcome::Stop | Outcome::Length => "the engine is gone".to_owned(),
    }
}

/// Most requests of a segment: a killed agent loses at most this much work.
pub(super) const SEGMENT_REQUESTS_MAX: usize = 500;

/// No request of a segment is sent later than this after its first.
const SEGMENT_LENGTH_MAX: Duration = Duration::from_secs(60);
