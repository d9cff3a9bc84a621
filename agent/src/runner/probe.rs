//! What is asked before the runs: the first token after a load, what a picture costs in tokens, whether the same question is computed
//! twice.
//!
//! All of it with warm-up pictures, because a server may remember them. If such a question fails, or takes longer than a request may,
//! its figure is absent and the bench goes on.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use tokwatt_domain::{
    run::{CacheProbe, TokenCounts},
    time::Stamp,
    workload::CachePolicy,
};

use super::Runner;
use crate::{
    backend::{Backend, BackendError, Event, Question},
    workload::plan::{Item, ItemPicture, Plan},
};

/// What came back of a short question.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probed {
    /// When it was sent.
    pub(super) sent: Option<Stamp>,
    /// When its first token came.
    pub(super) first: Option<Stamp>,
    /// What was counted.
    tokens: Option<TokenCounts>,
}

impl Runner {
    /// The first question of a group, which is also the first after its load; nothing without a warm-up or an answer.
    pub(super) async fn ask_first(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<Option<Probed>, BackendError> {
        match first_item(plan) {
            Some(item) => self.ask_aside(backend, self.short_question(item)).await,
            None => Ok(None),
        }
    }

    /// P(with picture) − P(same text, no picture) for each picture size, where the engine counts; and what the first question of the
    /// group shows when it is asked again.
    pub(super) async fn probe(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<(BTreeMap<Option<u32>, u32>, Option<CacheProbe>), BackendError> {
        let Some(item) = first_item(plan) else {
            return Ok((BTreeMap::new(), None));
        };
        let again = self.ask_aside(backend, self.short_question(item)).await?;
        let image_tokens = self.image_tokens(backend, plan).await?;
        Ok((image_tokens, self.cache(backend, plan, again).await))
    }

    /// Both halves are asked warm: what makes a question cold may stand in its prompt, another number of tokens each time.
    async fn image_tokens(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<BTreeMap<Option<u32>, u32>, BackendError> {
        let mut found = BTreeMap::new();
        // Each text once: of a prompt that is all in its cache an engine may count nothing.
        let mut texts: Vec<(&Item, Option<Probed>)> = Vec::new();
        for cell in &plan.cells {
            let Some(item) = cell.warm_up.first().filter(|item| item.picture.is_some()) else {
                continue;
            };
            if found.contains_key(&cell.image_px) {
                continue;
            }
            let with = Question {
                cache: CachePolicy::Warm,
                ..self.short_question(item)
            };
            let without = Question {
                picture: None,
                ..with.clone()
            };
            let with = self.ask_aside(backend, with).await?;
            let is_same =
                |other: &Item| other.prompt == item.prompt && other.history == item.history;
            let without = match texts.iter().find(|(other, _)| is_same(other)) {
                Some((_, asked)) => *asked,
                None => {
                    let asked = self.ask_aside(backend, without).await?;
                    texts.push((item, asked));
                    asked
                }
            };
            let tokens = |asked: Option<Probed>| asked.and_then(|asked| asked.tokens);
            if let (Some(with), Some(without)) = (tokens(with), tokens(without)) {
                found.insert(cell.image_px, with.prompt.saturating_sub(without.prompt));
            }
        }
        Ok(found)
    }

    /// An engine that counts what it cached has said it all. Of the others a question that is new, asked again and again, shows it by
    /// its times to first token, if its answers are streamed.
    async fn cache(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
        again: Option<Probed>,
    ) -> Option<CacheProbe> {
        let tokens = again?.tokens;
        let mut probe = CacheProbe {
            prompt_tokens: tokens.map(|tokens| tokens.prompt),
            cached_tokens: tokens.and_then(|tokens| tokens.cached),
            first_tokens: Vec::new(),
        };
        let new = plan.cells.first().and_then(|cell| cell.warm_up.get(1));
        let is_timed = probe.cached_tokens.is_none() && self.settings.is_streaming;
        if let Some(item) = new.filter(|_| is_timed) {
            let timed = self.first_tokens(backend, item).await;
            // An engine that dies of it is loaded again before the run, or dies of that, too.
            probe.first_tokens = timed.unwrap_or_default();
        }
        Some(probe)
    }

    async fn first_tokens(
        &self,
        backend: &dyn Backend,
        item: &Item,
    ) -> Result<Vec<(Duration, Duration)>, BackendError> {
        let mut pairs = Vec::new();
        let new = self.first_token_time(backend, item).await?;
        for _ in 0..TIMES_AGAIN {
            let again = self.first_token_time(backend, item).await?;
            pairs.extend(new.zip(again));
        }
        Ok(pairs)
    }

    async fn first_token_time(
        &self,
        backend: &dyn Backend,
        item: &Item,
    ) -> Result<Option<Duration>, BackendError> {
        let asked = self.ask_aside(backend, self.short_question(item)).await?;
        Ok(asked.and_then(|asked| Some(asked.first?.since(asked.sent?))))
    }

    fn short_question(&self, item: &Item) -> Question {
        let picture = item.picture.as_ref().map(ItemPicture::file);
        Question {
            history: item.history.clone(),
            is_streaming: self.settings.is_streaming,
            ..Question::new(item.prompt.clone(), picture, 1)
        }
    }

    async fn ask_aside(
        &self,
        backend: &dyn Backend,
        question: Question,
    ) -> Result<Option<Probed>, BackendError> {
        let answer = hear_out(backend, question);
        match tokio::time::timeout(self.settings.timeout, answer).await {
            Ok(Err(error @ BackendError::Request { .. })) => {
                tracing::warn!(%error, "a question before the runs failed");
                Ok(None)
            }
            Ok(answer) => answer.map(Some),
            Err(_) => {
                tracing::warn!(limit = ?self.settings.timeout, "a question before the runs did not end");
                Ok(None)
            }
        }
    }
}

async fn hear_out(backend: &dyn Backend, question: Question) -> Result<Probed, BackendError> {
    let mut arrivals = backend.ask(question);
    let mut probed = Probed::default();
    while let Some(arrival) = arrivals.next().await {
        let arrival = arrival?;
        match arrival.event {
            Event::Sent => probed.sent = Some(arrival.at),
            Event::Chunk { .. } => probed.first = probed.first.or(Some(arrival.at)),
            Event::Done(finish) => probed.tokens = finish.tokens,
        }
    }
    Ok(probed)
}

/// The warm-up question that comes first.
fn first_item(plan: &Plan) -> Option<&Item> {
    plan.cells.iter().find_map(|cell| cell.warm_up.first())
}

/// Once may be chance.
const TIMES_AGAIN: usize = 2;
