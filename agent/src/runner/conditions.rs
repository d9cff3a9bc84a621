//! What is measured around the runs of a group: idle power, loading, what a picture costs in tokens.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use tokwatt_domain::{
    metrics::energy::energy,
    power::PowerTrace,
    run::{IdleBaseline, IdleState, LoadKind, LoadTime},
    time::{Stamp, Window},
    units::Watts,
};

use super::{Group, Loaded, Progress, Runner, Tally, memory, watch::patiently};
use crate::{
    backend::{Backend, BackendError, Event, Question},
    workload::plan::{Item, ItemPicture, Plan},
};

impl Runner {
    /// Loads the group's model, with idle power measured before and after.
    pub(super) async fn prepare(
        &self,
        plan: &Plan,
        group: &Group,
        tally: &mut Tally<'_>,
    ) -> Result<Loaded, BackendError> {
        let gauges = self.gauges.clone();
        let gpu = patiently(move || gauges.gpu_memory(None)).await.flatten();
        let memory = memory::Baseline::take(&self.host_root, gpu);
        let mut settled = BTreeMap::new();
        let mut idle = self.idle(IdleState::Unloaded, &mut settled, tally).await;
        tally.tell(Progress::Stage(format!(
            "loading {} {}",
            group.expected.model, group.expected.precision
        )));
        let called = self.clock.now();
        let card = group.backend.load().await?;
        let first = match plan.cells.iter().find_map(|cell| cell.warm_up.first()) {
            Some(item) => self.aside(first_token(&*group.backend, item)).await?,
            None => None,
        };
        idle.extend(self.idle(IdleState::Loaded, &mut settled, tally).await);
        let image_tokens = self.image_tokens(&*group.backend, plan).await?;
        Ok(Loaded {
            card,
            idle,
            load_time: first.map(|at| LoadTime {
                duration: at.since(called),
                // Whether the pages were cached is not looked at yet, so the weaker word.
                kind: LoadKind::Warm,
            }),
            memory,
            image_tokens,
            cache_probe: None,
            settled,
        })
    }

    /// Watches idle power, if there is an instrument, once it is flat, with the rest of the agent as still as in a run.
    async fn idle(
        &self,
        state: IdleState,
        settled: &mut BTreeMap<String, String>,
        tally: &mut Tally<'_>,
    ) -> Vec<IdleBaseline> {
        if self.sampler.is_none() {
            return Vec::new();
        }
        let key = match state {
            IdleState::Unloaded => "settle.idle_unloaded",
            IdleState::Loaded => "settle.idle_loaded",
        };
        settled.extend(self.settle(tally).await.map(|what| (key.to_owned(), what)));
        let length = self.settings.idle;
        tally.tell(Progress::Stage(format!(
            "watching idle power for {} s",
            length.as_secs()
        )));
        let _quiet = self.quiet.close().await;
        self.bracket().await;
        let from = self.clock.now();
        tokio::time::sleep(length).await;
        let window = Window {
            from,
            to: self.clock.now(),
        };
        let traces = self.power(window).await;
        traces
            .iter()
            .filter_map(|trace| baseline(trace, window, state))
            .collect()
    }

    /// P(with picture) − P(same text, no picture) for each picture size, where the engine counts. Asked of a warm-up picture,
    /// because a server may remember it.
    async fn image_tokens(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<BTreeMap<Option<u32>, u32>, BackendError> {
        let mut found = BTreeMap::new();
        for cell in &plan.cells {
            let Some(item) = cell.warm_up.first().filter(|item| item.picture.is_some()) else {
                continue;
            };
            if found.contains_key(&cell.image_px) {
                continue;
            }
            let with = prompt_tokens(backend, short_question(item, true));
            let without = prompt_tokens(backend, short_question(item, false));
            if let (Some(with), Some(without)) =
                (self.aside(with).await?, self.aside(without).await?)
            {
                found.insert(cell.image_px, with.saturating_sub(without));
            }
        }
        Ok(found)
    }

    /// A question outside the runs: if it fails, or takes longer than a request may, its figure is absent and the bench goes on.
    async fn aside<T>(
        &self,
        answer: impl Future<Output = Result<Option<T>, BackendError>>,
    ) -> Result<Option<T>, BackendError> {
        match tokio::time::timeout(self.settings.timeout, answer).await {
            Ok(Err(error @ BackendError::Request { .. })) => {
                tracing::warn!(%error, "a question before the runs failed");
                Ok(None)
            }
            Ok(answer) => answer,
            Err(_) => {
                tracing::warn!(limit = ?self.settings.timeout, "a question before the runs did not end");
                Ok(None)
            }
        }
    }

    /// Waits for the sample that a window beginning now needs before it.
    pub(super) async fn bracket(&self) {
        if let Some(sampler) = &self.sampler {
            let now = self.clock.now();
            sampler.wait_until_bracketed(now, BRACKET_PATIENCE).await;
        }
    }

    /// What every sensor read over `window`, with the samples around it.
    pub(super) async fn power(&self, window: Window) -> Vec<PowerTrace> {
        let Some(sampler) = &self.sampler else {
            return Vec::new();
        };
        sampler
            .wait_until_bracketed(window.to, BRACKET_PATIENCE)
            .await;
        sampler.window(window.from, window.to)
    }
}

fn baseline(trace: &PowerTrace, window: Window, state: IdleState) -> Option<IdleBaseline> {
    let energy = energy(&trace.sensor, &[(window, &trace.samples)]);
    let seconds = window.length().as_secs_f64();
    Some(IdleBaseline {
        source: trace.sensor.source.clone(),
        scope: trace.sensor.scope,
        state,
        power: Watts(energy.joules?.0 / seconds),
        bound: Some(Watts(energy.bound.total().0 / seconds)),
        length: window.length(),
        ended: window.to,
    })
}

/// When the first generated token of a short answer came.
async fn first_token(backend: &dyn Backend, item: &Item) -> Result<Option<Stamp>, BackendError> {
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
    let picture = item.picture.as_ref().filter(|_| with_picture);
    let picture = picture.map(ItemPicture::file);
    Question {
        history: item.history.clone(),
        ..Question::new(item.prompt.clone(), picture, 1)
    }
}

/// How long a window waits for the sample before it, and for the one after it: several of the slowest instrument's periods.
const BRACKET_PATIENCE: Duration = Duration::from_secs(3);
