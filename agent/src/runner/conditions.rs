//! What is measured around the runs of a group: loading, and idle power.

use std::{collections::BTreeMap, time::Duration};

use tokwatt_domain::{
    metrics::energy::energy,
    power::{PowerTrace, Provenance},
    run::{IdleBaseline, IdleState},
    time::Window,
    units::Watts,
};

use super::{
    AROUND_A_WINDOW, Group, Loaded, Progress, Runner, Tally, load::PageCache, memory,
    watch::patiently,
};
use crate::{backend::BackendError, workload::plan::Plan};

impl Runner {
    /// Loads the group's model, with idle power measured before and after.
    pub(super) async fn prepare(
        &self,
        plan: &Plan,
        group: &Group,
        tally: &mut Tally<'_>,
    ) -> Result<Loaded, BackendError> {
        // What somebody else left in memory would be in the baselines.
        group.backend.unload().await?;
        let gauges = self.gauges.clone();
        let gpu = patiently(move || gauges.gpu_memory(None)).await.flatten();
        let memory = memory::Baseline::take(&self.host_root, gpu);
        let mut settled = BTreeMap::new();
        let mut idle = self.idle(IdleState::Unloaded, &mut settled, tally).await;
        let (load_trials, mut why_warm) = self.load_trials(plan, group, tally).await?;
        tally.tell(Progress::Stage(format!("loading {}", group.name())));
        let load = self.load(&*group.backend, plan, PageCache::AsItIs).await?;
        why_warm = why_warm.or_else(|| load.why_warm());
        idle.extend(self.idle(IdleState::Loaded, &mut settled, tally).await);
        let (image_tokens, cache_probe) = self.probe(&*group.backend, plan).await?;
        let is_measured = self.settings.provenance != Provenance::Simulated;
        let why_warm = why_warm.filter(|_| is_measured);
        Ok(Loaded {
            card: load.card,
            idle,
            load_trials,
            load_time: load.time,
            memory,
            image_tokens,
            cache_probe,
            reasons: settled
                .into_iter()
                .chain(why_warm.map(|why| ("load_time.cold".to_owned(), why)))
                .collect(),
        })
    }

    /// Watches idle power, if there is an instrument, once it is flat, with the rest of the agent as still as in a run.
    pub(super) async fn idle(
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
        let _quiet = self.quiet.close(length + AROUND_A_WINDOW).await;
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

/// How long a window waits for the sample before it, and for the one after it: several of the slowest instrument's periods.
const BRACKET_PATIENCE: Duration = Duration::from_secs(3);
