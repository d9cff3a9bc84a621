//! Loading a model, and how long that takes: from the call to the first generated token, with a look at the page cache before it.

use tokwatt_domain::{
    run::{LoadKind, LoadTime},
    time::Window,
};

use super::{Group, Progress, Runner, Tally};
use crate::{
    backend::{Backend, BackendError, ModelCard, page_cache::Cached},
    blocking::off_thread,
    workload::plan::Plan,
};

/// What is done to the page cache before a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PageCache {
    /// Nothing but a look.
    AsItIs,
    /// The weights are dropped from it.
    Dropped,
}

/// A model that was loaded.
pub(super) struct Load {
    pub(super) card: ModelCard,
    /// Absent where it was in memory before, or did not answer.
    pub(super) time: Option<LoadTime>,
    /// What `time` is made of: until the engine was ready, and from its first question to its first token. Digests are computed
    /// between the two.
    pub(super) windows: Vec<Window>,
    /// What was found in the page cache before it.
    cached: Cached,
}

impl Runner {
    /// Loads a model and has it answer the plan's first question, which is never a measured one, with one token.
    pub(super) async fn load(
        &self,
        backend: &dyn Backend,
        plan: &Plan,
        cache: PageCache,
    ) -> Result<Load, BackendError> {
        let cached = cached(backend, cache).await;
        let called = self.clock.now();
        let card = backend.load().await?;
        let first = self.ask_first(backend, plan).await?;
        let first = first.and_then(|asked| {
            Some(Window {
                from: asked.sent?,
                to: asked.first?,
            })
        });
        let until_ready = card.load_time.map(|load_time| Window {
            from: called,
            to: called.after(load_time),
        });
        let windows = match (until_ready, first) {
            (Some(whole), _) if backend.answers_when_loaded() => vec![whole],
            (Some(until_ready), Some(first)) => vec![until_ready, first],
            // A model that does not answer is not loaded.
            _ => Vec::new(),
        };
        let time = (!windows.is_empty()).then(|| LoadTime {
            duration: windows.iter().map(|window| window.length()).sum(),
            kind: LoadKind::of_cached(cached.resident),
            resident: cached.resident,
        });
        Ok(Load {
            card,
            time,
            windows,
            cached,
        })
    }

    /// Loads from disk and from memory in turn, as often as the settings say, and why a load from disk was none.
    pub(super) async fn load_trials(
        &self,
        plan: &Plan,
        group: &Group,
        tally: &mut Tally<'_>,
    ) -> Result<(Vec<LoadTime>, Option<String>), BackendError> {
        let backend = &*group.backend;
        let (mut times, mut why_warm) = (Vec::new(), None);
        let n_trials = self.settings.load_trials;
        for number in 1..=n_trials {
            for cache in [PageCache::Dropped, PageCache::AsItIs] {
                let how = match cache {
                    PageCache::Dropped => "cold",
                    PageCache::AsItIs => "warm",
                };
                tally.tell(Progress::Stage(format!(
                    "loading {} {how}, {number} of {n_trials}",
                    group.name()
                )));
                let load = self.load(backend, plan, cache).await?;
                times.extend(load.time);
                if cache == PageCache::Dropped {
                    why_warm = why_warm.or_else(|| load.why_warm());
                }
                backend.unload().await?;
            }
        }
        Ok((times, why_warm))
    }
}

impl Load {
    /// Why the load was not cold, where there is more to say than that it was warm.
    pub(super) fn why_warm(&self) -> Option<String> {
        let kind = self.time?.kind;
        let reason = self.cached.reason.as_ref()?;
        (kind != LoadKind::Cold).then(|| format!("the load was `{}`: {reason}", kind.as_str()))
    }
}

/// Looking takes milliseconds, dropping may wait for a disk.
async fn cached(backend: &dyn Backend, cache: PageCache) -> Cached {
    let weights = backend.weights();
    if weights.is_empty() {
        return Cached::look(&[]);
    }
    let look = move || match cache {
        PageCache::AsItIs => Cached::look(&weights),
        PageCache::Dropped => Cached::drop(&weights),
    };
    off_thread(look).await
}
