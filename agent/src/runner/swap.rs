//! Two models that take turns in memory: A, B, A, B, with what each switch costs and what each model's requests do.

use std::{collections::BTreeMap, time::Duration};

use tokwatt_domain::{
    metrics::energy::{Energy, energy},
    power::{PowerTrace, Scope},
    run::{IdleBaseline, IdleState, LoadKind, LoadTime, MemoryScope, MemoryTrace, RequestTrace},
    time::Window,
};

use super::{
    Group, Progress, Runner, Tally,
    load::PageCache,
    memory::{self, available_bytes},
    observe::{Request, observe},
    watch::{Watch, patiently},
};
use crate::{
    backend::{BackendError, ModelCard, Question},
    workload::plan::{Item, ItemPicture, Plan, PlannedCell},
};

/// What came of it; as far as it went, if something failed.
#[derive(Default)]
pub struct Swapped {
    /// What was seen of A and of B.
    pub models: [SwappedModel; 2],
    /// In order.
    pub switches: Vec<Switch>,
    /// Idle power before anything was loaded.
    pub idle_unloaded: Vec<IdleBaseline>,
    /// MemAvailable before anything was loaded.
    pub available_bytes: Option<u64>,
    /// Whether a person stopped it.
    pub is_cancelled: bool,
    /// Why it could not go on, if it could not.
    pub error: Option<BackendError>,
}

/// One of the two.
#[derive(Default)]
pub struct SwappedModel {
    /// What answers; absent if it was never loaded.
    pub card: Option<ModelCard>,
    /// What was asked in all of its turns; the index counts the questions of a turn.
    pub requests: Vec<RequestTrace>,
    /// What was drawn from the first send to the last end of each of its turns.
    pub drawn: Vec<Drawn>,
    /// Idle power with it in memory.
    pub idle_loaded: Vec<IdleBaseline>,
    /// Most memory in use while it was loaded and asked.
    pub memory_peak: BTreeMap<MemoryScope, u64>,
    /// Memory in use before anything was loaded.
    pub memory_baseline: BTreeMap<MemoryScope, u64>,
}

/// From one model, or none, to the other.
pub struct Switch {
    /// Which turn of the model, from 1.
    pub round: u32,
    /// Which model had to go, 0 or 1; absent for the first.
    pub from: Option<usize>,
    /// Which model came, 0 or 1.
    pub to: usize,
    /// Taking the one out.
    pub unload: Duration,
    /// Bringing the other one in, until its first generated token.
    pub load: LoadTime,
    /// Why the load was not cold, where there is more to say than that it was warm.
    pub why_warm: Option<String>,
    /// What was drawn while the one was taken out.
    pub unload_drawn: Vec<Drawn>,
    /// What was drawn while the other was brought in.
    pub load_drawn: Vec<Drawn>,
    /// Most memory in use meanwhile.
    pub memory_peak: BTreeMap<MemoryScope, u64>,
}

/// What one sensor read in one window.
#[derive(Clone)]
pub struct Drawn {
    /// When.
    pub window: Window,
    /// With the samples around it.
    pub power: PowerTrace,
}

impl Drawn {
    /// Energy of each sensor, by source and scope, over all of its windows.
    pub fn energies<'a>(
        drawn: impl IntoIterator<Item = &'a Self>,
    ) -> BTreeMap<(String, Scope), Energy> {
        let mut sensors: BTreeMap<(String, Scope), Vec<&Self>> = BTreeMap::new();
        for drawn in drawn {
            let sensor = &drawn.power.sensor;
            let key = (sensor.source.clone(), sensor.scope);
            sensors.entry(key).or_default().push(drawn);
        }
        let over = |drawn: &[&Self]| {
            let stretches = drawn
                .iter()
                .map(|drawn| (drawn.window, &*drawn.power.samples));
            energy(&drawn[0].power.sensor, &stretches.collect::<Vec<_>>())
        };
        let each = sensors.into_iter();
        each.map(|(sensor, drawn)| (sensor, over(&drawn))).collect()
    }
}

impl Runner {
    /// Loads and asks the models in turn, `rounds` times each. Nothing of it is a run, and nothing is kept in the spool.
    pub async fn swap(
        &self,
        plan: &Plan,
        models: &[Group; 2],
        rounds: u32,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Swapped {
        let items: Vec<&Item> = plan.cells.iter().flat_map(|cell| &cell.items).collect();
        let n_requests = items.len() as u64 * 2 * u64::from(rounds);
        let mut tally = Tally::new(n_requests, &*self.clock, progress);
        let mut swapped = Swapped::default();
        let result = tokio::select! {
            result = self.take_turns(plan, models, rounds, &mut tally, &mut swapped) => result,
            () = self.stop.cancelled() => Ok(()),
        };
        swapped.is_cancelled = self.stop.is_cancelled();
        swapped.error = result.err();
        for group in models {
            if let Err(error) = group.backend.unload().await {
                tracing::warn!(%error, "a model was not unloaded");
            }
        }
        swapped
    }

    async fn take_turns(
        &self,
        plan: &Plan,
        models: &[Group; 2],
        rounds: u32,
        tally: &mut Tally<'_>,
        swapped: &mut Swapped,
    ) -> Result<(), BackendError> {
        // What somebody else left in memory would be in the baselines, and in the first switch.
        for group in models {
            group.backend.unload().await?;
        }
        let gauges = self.gauges.clone();
        let gpu = patiently(move || gauges.gpu_memory(None)).await.flatten();
        let baseline = memory::Baseline::take(&self.host_root, gpu);
        swapped.available_bytes = available_bytes(&self.host_root);
        let unloaded = IdleState::Unloaded;
        swapped.idle_unloaded = self.idle(unloaded, &mut BTreeMap::new(), tally).await;
        let turns = (1..=rounds).flat_map(|round| [(round, 0), (round, 1)]);
        for (round, to) in turns {
            let from = (swapped.switches.last()).map(|switch| switch.to);
            let group = &models[to];
            tally.tell(Progress::Stage(format!(
                "round {round}: to {}",
                group.name()
            )));
            let leaving = from.map(|from| &models[from]);
            let (card, switch) = self.switch(plan, leaving, group, &baseline).await?;
            let model = &mut swapped.models[to];
            raise(&mut model.memory_peak, &switch.memory_peak);
            swapped.switches.push(Switch {
                round,
                from,
                to,
                ..switch
            });
            model.card = Some(card);
            self.ask_all(plan, group, &baseline, model, tally).await;
            let last = model.requests.last();
            // One that fails may have taken the model with it.
            if round == 1 && last.is_some_and(|last| last.outcome.is_success()) {
                let loaded = IdleState::Loaded;
                model.idle_loaded = self.idle(loaded, &mut BTreeMap::new(), tally).await;
            }
        }
        Ok(())
    }

    /// The first load of a plan is from disk if that can be had; the later ones find what the machine left in its page cache, as a
    /// swap in earnest does.
    async fn switch(
        &self,
        plan: &Plan,
        leaving: Option<&Group>,
        coming: &Group,
        baseline: &memory::Baseline,
    ) -> Result<(ModelCard, Switch), BackendError> {
        let cache = match leaving {
            None => PageCache::Dropped,
            Some(_) => PageCache::AsItIs,
        };
        let quiet = self.quiet.close(self.longest()).await;
        let (switched, watched) = self
            .watch(baseline, None)
            .during(async {
                self.bracket().await;
                let from = self.clock.now();
                if let Some(group) = leaving {
                    group.backend.unload().await?;
                }
                let unloading = Window {
                    from,
                    to: self.clock.now(),
                };
                let load = self.load(&*coming.backend, plan, cache).await?;
                Ok::<_, BackendError>((unloading, load))
            })
            .await;
        let (unloading, load) = switched?;
        let why_warm = load.why_warm();
        let Some(time) = load.time else {
            return Err(BackendError::Setup {
                message: format!(
                    "`{}` was in memory before it was loaded, or did not answer its first question: a switch to it cannot be timed",
                    coming.expected.model
                ),
            });
        };
        let unload_drawn = self.drawn(&[unloading]).await;
        let load_drawn = self.drawn(&load.windows).await;
        drop(quiet);
        let kind = match leaving {
            None => time.kind,
            Some(_) => LoadKind::Swap,
        };
        let switch = Switch {
            round: 0,
            from: None,
            to: 0,
            unload: unloading.length(),
            load: LoadTime { kind, ..time },
            why_warm,
            unload_drawn,
            load_drawn,
            memory_peak: peaks(&watched.memory),
        };
        Ok((load.card, switch))
    }

    /// One question after the other, as in a closed loop of one.
    async fn ask_all(
        &self,
        plan: &Plan,
        group: &Group,
        baseline: &memory::Baseline,
        model: &mut SwappedModel,
        tally: &mut Tally<'_>,
    ) {
        let questions: Vec<(&Item, Question)> = plan
            .cells
            .iter()
            .flat_map(|cell| {
                cell.items
                    .iter()
                    .map(|item| (item, self.question(cell, item)))
            })
            .collect();
        let quiet = self.quiet.close(self.longest()).await;
        let watch = self.watch(baseline, group.backend.process());
        let (requests, watched) = watch
            .during(async {
                self.bracket().await;
                let mut requests = Vec::new();
                for (index, (item, question)) in (0..).zip(questions) {
                    requests.push(self.ask_one(group, index, item, question).await);
                    tally.add(1);
                }
                requests
            })
            .await;
        if let (Some(first), Some(last)) = (requests.first(), requests.last()) {
            let (from, to) = (first.sent, last.ended);
            model.drawn.extend(self.drawn(&[Window { from, to }]).await);
        }
        drop(quiet);
        model.requests.extend(requests);
        raise(&mut model.memory_peak, &peaks(&watched.memory));
        let before = watched.memory.iter();
        model.memory_baseline = before
            .map(|trace| (trace.scope, trace.baseline_bytes))
            .collect();
    }

    fn question(&self, cell: &PlannedCell, item: &Item) -> Question {
        let picture = item.picture.as_ref().map(ItemPicture::file);
        let max_tokens = self.settings.max_tokens.unwrap_or(cell.max_tokens);
        Question {
            history: item.history.clone(),
            is_fixed_length: cell.is_fixed_length,
            ..Question::new(item.prompt.clone(), picture, max_tokens)
        }
    }

    /// `index` is the question's in its turn.
    async fn ask_one(
        &self,
        group: &Group,
        index: u32,
        item: &Item,
        question: Question,
    ) -> RequestTrace {
        let observed = observe(Request {
            backend: &*group.backend,
            question,
            item,
            index,
            scheduled: None,
            timeout: self.settings.timeout,
            stop: &self.stop,
            clock: &*self.clock,
        });
        observed.await.request
    }

    fn watch(&self, baseline: &memory::Baseline, engine: Option<u32>) -> Watch {
        Watch {
            memory: baseline.clone(),
            engine,
            gauges: self.gauges.clone(),
            clock: self.clock.clone(),
        }
    }

    /// What every sensor read in these windows.
    async fn drawn(&self, windows: &[Window]) -> Vec<Drawn> {
        let mut drawn = Vec::new();
        for &window in windows {
            let traces = self.power(window).await.into_iter();
            drawn.extend(traces.map(|power| Drawn { window, power }));
        }
        drawn
    }
}

fn peaks(traces: &[MemoryTrace]) -> BTreeMap<MemoryScope, u64> {
    let peak = |trace: &MemoryTrace| trace.samples.iter().map(|sample| sample.1).max();
    let each = traces.iter();
    each.filter_map(|trace| Some((trace.scope, peak(trace)?)))
        .collect()
}

fn raise(highest: &mut BTreeMap<MemoryScope, u64>, seen: &BTreeMap<MemoryScope, u64>) {
    for (scope, bytes) in seen {
        let highest = highest.entry(*scope).or_default();
        *highest = (*highest).max(*bytes);
    }
}
