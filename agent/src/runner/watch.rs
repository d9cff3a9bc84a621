//! The conditions around and inside a measured window: memory and gauges, seen just before it, every second, and just after.
//!
//! A look takes milliseconds and may hang on a driver, hence it is taken on a thread of its own and waited for with patience:
//! nothing here may run where answers are stamped.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokwatt_domain::{
    run::{GaugeKind, GaugeTrace, MemoryTrace},
    time::Stamp,
};

use super::memory::{self, InUse};
use crate::{
    clock::Clock,
    device::gauges::{Gauge, Gauges},
};

/// What is looked at.
#[derive(Clone)]
pub(super) struct Watch {
    /// Memory before the model was loaded.
    pub(super) memory: memory::Baseline,
    /// The engine's process, if it is one of ours.
    pub(super) engine: Option<u32>,
    /// The device's gauges.
    pub(super) gauges: Gauges,
    /// What time it is.
    pub(super) clock: Arc<dyn Clock>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) memory: Vec<MemoryTrace>,
    pub(super) gauges: Vec<GaugeTrace>,
}

/// Everything at one time.
struct Look {
    at: Stamp,
    memory: InUse,
    gauges: Vec<Gauge>,
}

impl Watch {
    /// Does `work`, and watches meanwhile.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> (T, Watched) {
        let mut looks = Looks::default();
        looks.add(self.look().await);
        let mut work = pin!(work);
        let done = loop {
            // The work first: it is what is measured.
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = tokio::time::sleep(PERIOD), if !looks.is_blind => {}
            }
            let mut look = pin!(self.look());
            tokio::select! {
                biased;
                done = &mut work => {
                    looks.add(look.await);
                    break done;
                }
                seen = &mut look => looks.add(seen),
            }
        };
        if !looks.is_blind {
            looks.add(self.look().await);
        }
        (done, looks.into_watched(&self.memory))
    }

    async fn look(&self) -> Option<Look> {
        let watch = self.clone();
        patiently(move || watch.look_now()).await
    }

    fn look_now(&self) -> Look {
        let at = self.clock.now();
        let wall = wall_offset(&*self.clock);
        let ours = self.engine.map(ours);
        let mut gauges = self.gauges.look(ours.as_ref());
        gauges.push(wall);
        Look {
            at,
            memory: self
                .memory
                .look(self.engine, self.gauges.gpu_memory(ours.as_ref())),
            gauges,
        }
    }
}

/// What a look that blocks its thread sees; nothing if it takes so long that something hangs.
pub(super) async fn patiently<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(seen)) => Some(seen),
        Ok(Err(error)) => {
            tracing::error!(%error, "looking at the conditions panicked");
            None
        }
        Err(_) => {
            tracing::warn!(limit = ?PATIENCE, "a gauge hangs, the conditions are not watched");
            None
        }
    }
}

/// What has been seen so far.
#[derive(Default)]
struct Looks {
    memory: Vec<(Stamp, InUse)>,
    gauges: BTreeMap<(GaugeKind, String), Vec<(Stamp, i64)>>,
    /// A look hung or failed, and the next one would too.
    is_blind: bool,
}

impl Looks {
    fn add(&mut self, look: Option<Look>) {
        let Some(Look { at, memory, gauges }) = look else {
            self.is_blind = true;
            return;
        };
        self.memory.push((at, memory));
        for gauge in gauges {
            let samples = self.gauges.entry((gauge.kind, gauge.name)).or_default();
            samples.push((at, gauge.value));
        }
    }

    fn into_watched(self, memory: &memory::Baseline) -> Watched {
        let gauge = |((kind, name), samples)| GaugeTrace {
            kind,
            name,
            samples,
        };
        Watched {
            memory: memory.traces(&self.memory),
            gauges: self.gauges.into_iter().map(gauge).collect(),
        }
    }
}

/// The agent, the engine, and what they started.
fn ours(engine: u32) -> BTreeSet<u32> {
    let mut ours = memory::tree(std::process::id());
    ours.extend(memory::tree(engine));
    ours
}

fn wall_offset(clock: &dyn Clock) -> Gauge {
    // Nothing between the two: they are one reading.
    let (wall, now) = (clock.wall(), clock.now());
    let monotonic = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    Gauge {
        kind: GaugeKind::WallOffset,
        name: "wall".to_owned(),
        value: wall.0.saturating_sub(monotonic),
    }
}

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// A look takes milliseconds; a bus that is busy, a second.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        device::{HostRoot, gauges::GaugeSource},
    };

    /// Rings at every look.
    struct Bell(tokio::sync::watch::Sender<usize>);

    impl GaugeSource for Bell {
        fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
            self.0.send_modify(|n_looks| *n_looks += 1);
            Vec::new()
        }
    }

    #[tokio::test]
    async fn it_looks_before_the_work_again_and_again_meanwhile_and_after_it() {
        let (bell, mut rung) = tokio::sync::watch::channel(0);
        let watch = Watch {
            memory: memory::Baseline::take(&HostRoot::system(), None),
            engine: None,
            gauges: Gauges::of(vec![Box::new(Bell(bell))]),
            clock: Arc::new(SystemClock::start()),
        };
        let mut looks_before = 0;
        let work = async {
            looks_before = *rung.borrow();
            rung.wait_for(|n_looks| *n_looks >= 3).await.unwrap();
            watch.clock.now()
        };
        let (ended, watched) = watch.during(work).await;
        assert_eq!(looks_before, 1);
        let samples = &watched.memory[0].samples;
        assert!(samples.len() > 3, "{samples:?}");
        assert!(samples.is_sorted_by(|one, other| one.0 < other.0));
        assert!(samples.last().unwrap().0 >= ended);
        let wall = &watched.gauges[0];
        assert_eq!(wall.kind, GaugeKind::WallOffset);
        assert_eq!(wall.samples.len(), samples.len());
    }

    #[tokio::test]
    async fn a_look_that_fails_is_none() {
        assert_eq!(patiently(|| 1).await, Some(1));
        let panicking = patiently(|| -> i32 { panic!("no driver") });
        assert_eq!(panicking.await, None);
    }

    #[test]
    fn after_a_look_that_was_none_there_is_no_other_and_what_was_seen_stays() {
        let mut looks = Looks::default();
        let seen = |at| Look {
            at: Stamp(at),
            memory: InUse::default(),
            gauges: vec![Gauge {
                kind: GaugeKind::Clock,
                name: "gpu".to_owned(),
                value: 7,
            }],
        };
        looks.add(Some(seen(1)));
        assert!(!looks.is_blind);
        looks.add(None);
        assert!(looks.is_blind);
        let watched = looks.into_watched(&memory::Baseline::take(&HostRoot::system(), None));
        assert_eq!(watched.gauges[0].samples, [(Stamp(1), 7)]);
        assert!(watched.memory.is_empty());
    }
}
