//! Every instrument read in its turn, one timeline: readings at a cadence of our own, handed out as windows.
//!
//! On a device each instrument has a thread, for a reading may block. A made-up instrument never blocks, and its time may be
//! a paused clock of tokio's: it is read by a task.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tokwatt_domain::{
    power::{PowerTrace, Sensor},
    time::Stamp,
};

use self::{cadence::Ticks, timeline::Timeline};
use super::{Pace, PowerSource, ReadError, Taken};
use crate::clock::Clock;

pub use self::{cadence::Cadence, timeline::Health};

/// When to read.
mod cadence;

/// What has been read.
mod timeline;

/// Reads all instruments from its start until dropped.
pub struct Sampler {
    shared: Arc<Shared>,
    hands: Hands,
}

/// Who reads.
enum Hands {
    Threads {
        /// Dropped to stop the threads.
        stops: Vec<Sender<()>>,
        threads: Vec<JoinHandle<()>>,
    },
    Tasks(#[expect(dead_code, reason = "dropped to stop the tasks")] DropGuard),
}

struct Shared {
    clock: Arc<dyn Clock>,
    timeline: Mutex<Timeline>,
    changed: watch::Sender<()>,
}

/// One instrument, and when it is read next.
struct Turn {
    number: usize,
    source: Box<dyn PowerSource>,
    ticks: Ticks,
    batch: Vec<Taken>,
}

impl Sampler {
    /// Starts one thread per instrument.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        sources: Vec<Box<dyn PowerSource>>,
        cadence: Cadence,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(&sources, clock));
        let (mut stops, mut threads) = (Vec::new(), Vec::new());
        for mut turn in turns(sources, cadence, &shared) {
            let (stop, stopped) = mpsc::channel();
            let shared = shared.clone();
            let thread = thread::Builder::new().name("power".to_owned());
            threads.push(thread.spawn(move || turn.take_all(&shared, &stopped))?);
            stops.push(stop);
        }
        let hands = Hands::Threads { stops, threads };
        Ok(Self { shared, hands })
    }

    /// Starts one task per instrument. For instruments that never block; the time is tokio's, also where it is paused.
    pub fn start_tasks(
        sources: Vec<Box<dyn PowerSource>>,
        cadence: Cadence,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
    ) -> Self {
        let shared = Arc::new(Shared::new(&sources, clock));
        let stop = CancellationToken::new();
        for turn in turns(sources, cadence, &shared) {
            let task = turn.take_all_in_task(shared.clone());
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(task).await });
        }
        let hands = Hands::Tasks(stop.drop_guard());
        Self { shared, hands }
    }

    /// What each sensor read from the last sample at or before `from` to the first at or after `to`.
    pub fn window(&self, from: Stamp, to: Stamp) -> Vec<PowerTrace> {
        let timeline = self.shared.timeline();
        timeline
            .series
            .iter()
            .map(|series| series.window(from, to))
            .collect()
    }

    /// Waits until every sensor has a sample at or after `to`, for `patience` at most, and says whether it has. Does not wait
    /// for an instrument that is lost.
    ///
    /// For the present time it waits for the sample that a window beginning now needs before it.
    pub async fn wait_until_bracketed(&self, to: Stamp, patience: Duration) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let bracketed = async {
            loop {
                let answer = self.shared.timeline().is_bracketed(to);
                // The sender is our own, so there is always one.
                if answer != Some(false) || changed.changed().await.is_err() {
                    return answer == Some(true);
                }
            }
        };
        tokio::time::timeout(patience, bracketed)
            .await
            .unwrap_or(false)
    }

    /// How each instrument is doing.
    pub fn health(&self) -> Vec<Health> {
        self.shared.timeline().health.clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let Hands::Threads { stops, threads } = &mut self.hands else {
            return;
        };
        stops.clear();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a power thread panicked");
            }
        }
    }
}

impl Shared {
    fn new(sources: &[Box<dyn PowerSource>], clock: Arc<dyn Clock>) -> Self {
        let sensors = sources.iter().map(|source| source.sensors().to_vec());
        let sensors: Vec<Vec<Sensor>> = sensors.collect();
        Self {
            timeline: Mutex::new(Timeline::new(&sensors)),
            changed: watch::Sender::new(()),
            clock,
        }
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().expect("no holder panics")
    }

    /// Logged when it is news only: a dead sensor at 100 Hz would drown the log.
    fn fail(&self, source: usize, error: &ReadError) {
        let is_news = self.timeline().fail(source, error);
        match error {
            ReadError::Fatal(_) => tracing::error!(%error, source, "power instrument lost"),
            ReadError::Transient(_) if is_news => {
                tracing::warn!(%error, source, "power reading failed");
            }
            ReadError::Transient(_) => {}
        }
    }
}

impl Turn {
    fn take_all(&mut self, shared: &Shared, stopped: &Receiver<()>) {
        while stopped.recv_timeout(self.wait(shared)) == Err(RecvTimeoutError::Timeout) {
            if self.take(shared).is_break() {
                return;
            }
        }
    }

    async fn take_all_in_task(mut self, shared: Arc<Shared>) {
        loop {
            tokio::time::sleep(self.wait(&shared)).await;
            if self.take(&shared).is_break() {
                return;
            }
        }
    }

    /// How long until its turn.
    fn wait(&self, shared: &Shared) -> Duration {
        let now = shared.clock.now();
        match self.source.pace() {
            Pace::Instrument => Duration::ZERO,
            Pace::Recorded(due) => due.since(now),
            Pace::Sampler => self.ticks.due().since(now),
        }
    }

    /// One reading; breaks when the instrument is lost.
    fn take(&mut self, shared: &Shared) -> ControlFlow<()> {
        let result = self.source.read(&*shared.clock, &mut self.batch);
        shared.timeline().remember(self.number, &mut self.batch);
        if let Err(error) = &result {
            shared.fail(self.number, error);
        }
        shared.changed.send_replace(());
        if matches!(result, Err(ReadError::Fatal(_))) {
            return ControlFlow::Break(());
        }
        if self.source.pace() == Pace::Sampler {
            let missed = self.ticks.advance(shared.clock.now());
            shared.timeline().miss(self.number, missed);
        }
        ControlFlow::Continue(())
    }
}

fn turns(
    sources: Vec<Box<dyn PowerSource>>,
    cadence: Cadence,
    shared: &Shared,
) -> impl Iterator<Item = Turn> {
    let now = shared.clock.now();
    let turn = move |(number, source)| Turn {
        number,
        source,
        ticks: Ticks::new(cadence, number, now),
        batch: Vec::new(),
    };
    sources.into_iter().enumerate().map(turn)
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
        units::Watts,
    };

    use super::*;
    use crate::clock::{SystemClock, VirtualClock};

    pub(super) fn sensor() -> Sensor {
        Sensor {
            source: "scripted".to_owned(),
            scope: Scope::Module,
            rails: vec![Rail {
                name: "VDD".to_owned(),
                quantum: Watts(0.0),
            }],
            reading: Reading::Power,
            refresh: None,
            averaging: Duration::ZERO,
            provenance: Provenance::Simulated,
            asked_interval: None,
            clock: None,
        }
    }

    /// Reads 1 µW more each time; at the `n`-th reading does as the script says.
    struct Scripted {
        sensors: [Sensor; 1],
        reading: i64,
        script: fn(i64) -> Result<(), ReadError>,
    }

    impl PowerSource for Scripted {
        fn sensors(&self) -> &[Sensor] {
            &self.sensors
        }

        fn pace(&self) -> Pace {
            Pace::Sampler
        }

        fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
            self.reading += 1;
            (self.script)(self.reading)?;
            let values = vec![self.reading];
            let sample = PowerSample {
                at: clock.now(),
                values,
            };
            into.push(Taken { sensor: 0, sample });
            Ok(())
        }
    }

    fn sampler(script: fn(i64) -> Result<(), ReadError>) -> (Sampler, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let source = Scripted {
            sensors: [sensor()],
            reading: 0,
            script,
        };
        let cadence = Cadence {
            period: Duration::from_millis(2),
            seed: 7,
        };
        let sampler = Sampler::start(vec![Box::new(source)], cadence, clock.clone()).unwrap();
        (sampler, clock)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn values(sampler: &Sampler, clock: &dyn Clock) -> Vec<i64> {
        let traces = sampler.window(Stamp(0), clock.now());
        traces[0].samples.iter().map(|s| s.values[0]).collect()
    }

    #[tokio::test]
    async fn a_window_has_a_sample_on_each_side() {
        let (sampler, clock) = sampler(|_| Ok(()));
        assert!(sampler.wait_until_bracketed(clock.now(), PATIENCE).await);
        let from = clock.now();
        let to = from.after(Duration::from_millis(50));
        assert!(sampler.wait_until_bracketed(to, PATIENCE).await);
        let samples = sampler.window(from, to).remove(0).samples;
        assert!(samples.first().unwrap().at <= from);
        assert!(samples.last().unwrap().at >= to);
        assert!(
            samples
                .windows(2)
                .all(|pair| pair[0].at < pair[1].at && pair[0].values < pair[1].values)
        );
    }

    #[tokio::test]
    async fn a_failed_reading_is_counted_and_the_next_one_taken() {
        let (sampler, clock) = sampler(|n| match n {
            2 => Err(ReadError::Transient("no bus".to_owned())),
            _ => Ok(()),
        });
        let later = clock.now().after(Duration::from_millis(20));
        assert!(sampler.wait_until_bracketed(later, PATIENCE).await);
        let health = &sampler.health()[0];
        assert_eq!((health.failed, health.is_lost), (1, false));
        assert_eq!(health.last_error.as_deref(), Some("no bus"));
        assert_eq!(values(&sampler, &*clock)[..2], [1, 3]);
    }

    #[tokio::test]
    async fn an_instrument_that_dies_leaves_what_it_read_and_its_last_words() {
        let (sampler, clock) = sampler(|n| match n {
            1..=3 => Ok(()),
            _ => Err(ReadError::Fatal("pulled out".to_owned())),
        });
        let later = clock.now().after(PATIENCE);
        assert!(!sampler.wait_until_bracketed(later, PATIENCE).await);
        assert!(clock.now() < later, "it did not wait for what never comes");
        let health = sampler.health().remove(0);
        assert_eq!((health.taken, health.is_lost), (3, true));
        assert_eq!(health.last_error.as_deref(), Some("pulled out"));
        assert_eq!(values(&sampler, &*clock), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_lost_instrument_does_not_take_the_others_from_a_window() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let source = |script| -> Box<dyn PowerSource> {
            Box::new(Scripted {
                sensors: [sensor()],
                reading: 0,
                script,
            })
        };
        let lost = source(|_| Err(ReadError::Fatal("pulled out".to_owned())));
        let cadence = Cadence {
            period: Duration::from_millis(2),
            seed: 7,
        };
        let sources = vec![lost, source(|_| Ok(()))];
        let sampler = Sampler::start(sources, cadence, clock.clone()).unwrap();
        let later = clock.now().after(Duration::from_millis(50));
        assert!(sampler.wait_until_bracketed(later, PATIENCE).await);
        assert!(sampler.window(later, later)[1].samples.last().unwrap().at >= later);
    }

    #[tokio::test]
    async fn patience_ends_without_a_bracket() {
        let (sampler, clock) = sampler(|_| Err(ReadError::Transient("never".to_owned())));
        let patience = Duration::from_millis(5);
        assert!(!sampler.wait_until_bracketed(clock.now(), patience).await);
        assert!(sampler.window(Stamp(0), clock.now())[0].samples.is_empty());
    }

    /// Hours of a paused clock pass at once, and every period of them has its reading.
    #[tokio::test(start_paused = true)]
    async fn tasks_read_by_the_clock_that_they_are_given() {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::start());
        let source = Scripted {
            sensors: [sensor()],
            reading: 0,
            script: |_| Ok(()),
        };
        let cadence = Cadence {
            period: Duration::from_secs(1),
            seed: 7,
        };
        let tasks = TaskTracker::new();
        let sampler = Sampler::start_tasks(vec![Box::new(source)], cadence, clock.clone(), &tasks);
        let hour = clock.now().after(Duration::from_hours(1));
        assert!(
            sampler
                .wait_until_bracketed(hour, 2 * Duration::from_hours(1))
                .await
        );
        let taken = sampler.window(Stamp(0), hour)[0].samples.len();
        // Steps are even within a third: 3,600 ± 12 in one standard deviation.
        assert!((3540..=3660).contains(&taken), "{taken}");
        drop(sampler);
        tasks.close();
        tasks.wait().await;
    }
}
