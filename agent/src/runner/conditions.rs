//! What is measured around the runs of a group: idle power, loading, what a picture costs in tokens.

use std::collections::BTreeMap;

use futures::StreamExt;
use tokwatt_domain::{
    run::{IdleBaseline, IdleState, LoadKind, LoadTime},
    time::Stamp,
    workload::Sampling,
};

use super::{Group, Loaded, Progress, Runner, Tally, memory};
use crate::{
    backend::{Backend, BackendError, Event, Question},
    workload::{Item, Plan},
};

impl Runner {
    /// Loads the group's model, with idle power measured before and after.
    pub(super) async fn prepare(
        &self,
        plan: &Plan,
        group: &Group,
        tally: &Tally<'_>,
    ) -> Result<Loaded, BackendError> {
        let memory = memory::Baseline::take(&self.host_root);
        let mut idle = self.idle(IdleState::Unloaded, tally).await;
        tally.tell(Progress::Stage(format!(
            "loading {} {}",
            group.expected.model, group.expected.precision
        )));
        let called = self.clock.now();
        let card = group.backend.load().await?;
        let first_item = plan.cells.iter().find_map(|cell| cell.items.first());
        let load_time = match first_item {
            Some(item) => first_token(&*group.backend, item).await?.map(|at| LoadTime {
                duration: at.since(called),
                // Whether the pages were cached is not looked at yet, so the weaker word.
                kind: LoadKind::Warm,
            }),
            None => None,
        };
        idle.extend(self.idle(IdleState::Loaded, tally).await);
        let image_tokens = image_tokens(&*group.backend, plan).await?;
        Ok(Loaded {
            card,
            idle,
            load_time,
            memory,
            image_tokens,
        })
    }

    /// Watches idle power, if there is an instrument; cut short when a person stops the bench.
    async fn idle(&self, state: IdleState, tally: &Tally<'_>) -> Vec<IdleBaseline> {
        let Some(sampler) = &self.sampler else {
            return Vec::new();
        };
        tally.tell(Progress::Stage(format!(
            "watching idle power for {} s",
            self.settings.idle.as_secs()
        )));
        let from = self.clock.now();
        tokio::select! {
            () = tokio::time::sleep(self.settings.idle) => sampler.idle_since(from, state),
            () = self.stop.cancelled() => Vec::new(),
        }
    }
}

/// When the first generated token of a short answer came.
async fn first_token(
    backend: &dyn Backend,
    item: &Item,
) -> Result<Option<Stamp>, BackendError> {
    let mut arrivals = backend.ask(short_question(item, true));
    let mut first = None;
    while let Some(arrival) = arrivals.next().await {
        let arrival = arrival?;
        if matches!(arrival.event, Event::Chunk { .. }) {
            first = first.or(Some(arrival.at));
        }
    }
    Ok(first)
}

/// P(with picture) − P(same text, no picture) for each picture size, where the engine counts.
async fn image_tokens(
    backend: &dyn Backend,
    plan: &Plan,
) -> Result<BTreeMap<Option<u32>, u32>, BackendError> {
    let mut found = BTreeMap::new();
    for cell in &plan.cells {
        let Some(item) = cell.items.first().filter(|item| item.picture.is_some()) else {
            continue;
        };
        if found.contains_key(&cell.image_px) {
            continue;
        }
        let with = prompt_tokens(backend, short_question(item, true)).await?;
        let without = prompt_tokens(backend, short_question(item, false)).await?;
        if let (Some(with), Some(without)) = (with, without) {
            found.insert(cell.image_px, with.saturating_sub(without));
        }
    }
    Ok(found)
}

async fn prompt_tokens(
    backend: &dyn Backend,
    question: Question,
) -> Result<Option<u32>, BackendError> {
    let mut arrivals = backend.ask(question);
    let mut counted = None;
    while let Some(arrival) = arrivals.next().await {
        if let Event::Done(finish) = arrival?.event {
            counted = finish.tokens.map(|tokens| tokens.prompt);
        }
    }
    Ok(counted)
}

fn short_question(item: &Item, with_picture: bool) -> Question {
    Question {
        prompt: item.prompt.clone(),
        picture: item.picture.clone().filter(|_| with_picture),
        max_tokens: 1,
        sampling: Sampling::Greedy,
    }
}
