//! One thread per instrument, one timeline: readings at a cadence of our own, handed out as windows.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokwatt_domain::{
    power::PowerTrace,
    time::{Stamp, Window},
};

use self::{cadence::Ticks, timeline::Timeline};
use super::{Pace, PowerSource, ReadError};
use crate::clock::Clock;

pub use self::{cadence::Cadence, timeline::Health};

/// When to read.
mod cadence;

/// What has been read.
mod timeline;

/// Reads all instruments from `start` until dropped.
pub struct Sampler {
    shared: Arc<Shared>,
    /// Dropped to stop the threads.
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    timeline: Mutex<Timeline>,
    changed: Condvar,
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
        let sensors: Vec<_> = sources
            .iter()
            .map(|source| source.sensors().to_vec())
            .collect();
        let mut sampler = Self {
            shared: Arc::new(Shared {
                timeline: Mutex::new(Timeline::new(&sensors)),
                changed: Condvar::new(),
                clock,
            }),
            stops: Vec::new(),
            threads: Vec::new(),
        };
        for (number, source) in sources.into_iter().enumerate() {
            sampler.spawn(number, source, cadence)?;
        }
        Ok(sampler)
    }

    fn spawn(
        &mut self,
        number: usize,
        source: Box<dyn PowerSource>,
        cadence: Cadence,
    ) -> io::Result<()> {
        let (stop, stopped) = mpsc::channel();
        let shared = self.shared.clone();
        let ticks = Ticks::new(cadence, number, shared.clock.now());
        let thread = thread::Builder::new()
            .name("power".to_owned())
            .spawn(move || sample(number, source, ticks, &shared, &stopped))?;
        self.stops.push(stop);
        self.threads.push(thread);
        Ok(())
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
    /// for an instrument that is lost. Blocks its thread.
    ///
    /// For the present time it waits for the sample that a window beginning now needs before it.
    pub fn wait_until_bracketed(&self, to: Stamp, patience: Duration) -> bool {
        let deadline = self.shared.clock.now().after(patience);
        let mut timeline = self.shared.timeline();
        loop {
            let left = deadline.since(self.shared.clock.now());
            match timeline.is_bracketed(to) {
                Some(false) if !left.is_zero() => {}
                answer => return answer == Some(true),
            }
            let waited = self.shared.changed.wait_timeout(timeline, left);
            (timeline, _) = waited.expect("no holder panics");
        }
    }

    /// Watches for `length`: an idle baseline is the mean over what it returns. Begins when every sensor has a sample to begin
    /// with; waits `patience` at most for these, and again for the ones after the end. Blocks its thread.
    pub fn observe(&self, length: Duration, patience: Duration) -> (Window, Vec<PowerTrace>) {
        self.wait_until_bracketed(self.shared.clock.now(), patience);
        let from = self.shared.clock.now();
        let to = from.after(length);
        self.wait_until_bracketed(to, length + patience);
        (Window { from, to }, self.window(from, to))
    }

    /// How each instrument is doing.
    pub fn health(&self) -> Vec<Health> {
        self.shared.timeline().health.clone()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a power thread panicked");
            }
        }
    }
}

impl Shared {
    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().expect("no holder panics")
    }

    fn miss(&self, source: usize, ticks: u64) {
        self.timeline().miss(source, ticks);
    }

    /// Logged when it is news only: a dead sensor at 100 Hz would drown the log.
    fn fail(&self, source: usize, error: &ReadError) {
        let is_news = self.timeline().fail(source, error);
        self.changed.notify_all();
        match error {
            ReadError::Fatal(_) => tracing::error!(%error, source, "power instrument lost"),
            ReadError::Transient(_) if is_news => {
                tracing::warn!(%error, source, "power reading failed");
            }
            ReadError::Transient(_) => {}
        }
    }
}

fn sample(
    number: usize,
    mut source: Box<dyn PowerSource>,
    mut ticks: Ticks,
    shared: &Shared,
    stopped: &Receiver<()>,
) {
    let mut batch = Vec::new();
    while wait_for_turn(source.pace(), &ticks, shared, stopped) {
        let result = source.read(&*shared.clock, &mut batch);
        shared.timeline().remember(number, &mut batch);
        shared.changed.notify_all();
        if let Err(error) = &result {
            shared.fail(number, error);
        }
        if matches!(result, Err(ReadError::Fatal(_))) {
            return;
        }
        if source.pace() == Pace::Sampler {
            shared.miss(number, ticks.advance(shared.clock.now()));
        }
    }
}

/// Sleeps until the next tick if the source has no pace of its own; false when the sampler is being dropped.
fn wait_for_turn(pace: Pace, ticks: &Ticks, shared: &Shared, stopped: &Receiver<()>) -> bool {
    let wait = match pace {
        Pace::Instrument => Duration::ZERO,
        Pace::Sampler => ticks.due().since(shared.clock.now()),
    };
    stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use tokwatt_domain::{
        power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
        units::Watts,
    };

    use super::*;
    use crate::{clock::SystemClock, power::Taken};

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

    #[test]
    fn a_baseline_has_a_sample_on_each_side() {
        let (sampler, _clock) = sampler(|_| Ok(()));
        let (window, traces) = sampler.observe(Duration::from_millis(50), PATIENCE);
        let samples = &traces[0].samples;
        assert!(samples.first().unwrap().at <= window.from);
        assert!(samples.last().unwrap().at >= window.to);
        assert!(
            samples
                .windows(2)
                .all(|pair| pair[0].at < pair[1].at && pair[0].values < pair[1].values)
        );
    }

    #[test]
    fn a_failed_reading_is_counted_and_the_next_one_taken() {
        let (sampler, clock) = sampler(|n| match n {
            2 => Err(ReadError::Transient("no bus".to_owned())),
            _ => Ok(()),
        });
        assert!(
            sampler.wait_until_bracketed(clock.now().after(Duration::from_millis(20)), PATIENCE)
        );
        let health = &sampler.health()[0];
        assert_eq!((health.failed, health.is_lost), (1, false));
        assert_eq!(health.last_error.as_deref(), Some("no bus"));
        let traces = sampler.window(Stamp(0), clock.now());
        let values: Vec<i64> = traces[0]
            .samples
            .iter()
            .map(|sample| sample.values[0])
            .collect();
        assert_eq!(values[..2], [1, 3]);
    }

    #[test]
    fn an_instrument_that_dies_leaves_what_it_read_and_its_last_words() {
        let (sampler, clock) = sampler(|n| match n {
            1..=3 => Ok(()),
            _ => Err(ReadError::Fatal("pulled out".to_owned())),
        });
        assert!(!sampler.wait_until_bracketed(clock.now().after(PATIENCE), PATIENCE));
        let health = sampler.health().remove(0);
        assert_eq!((health.taken, health.is_lost), (3, true));
        assert_eq!(health.last_error.as_deref(), Some("pulled out"));
        assert_eq!(sampler.window(Stamp(0), clock.now())[0].samples.len(), 3);
    }

    #[test]
    fn patience_ends_without_a_bracket() {
        let (sampler, clock) = sampler(|_| Err(ReadError::Transient("never".to_owned())));
        assert!(!sampler.wait_until_bracketed(clock.now(), Duration::from_millis(5)));
        assert!(sampler.window(Stamp(0), clock.now())[0].samples.is_empty());
    }
}
