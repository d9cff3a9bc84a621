//! A device: the real attendance over a simulated network, and jobs that are made up.
//!
//! A job does what a bench in a process of its own does, by the same rules: it asks for leave before each window, is silent inside, keeps
//! how far it has come where a crash does not reach it, and can be gone on with.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    attend::{
        Attend, JobEvent, JobRunner, Running, Word, channels,
        hand::{Ended, InHand, JobEnd, JobFile, Reached},
    },
    runner::QuietGate,
    uplink::{Backoff, patient},
};
use tokwatt_domain::{
    campaign::{JobProgress, Offer},
    ids::{DeviceId, RunId},
};
use tokwatt_harness::Random;
use tonic::transport::{Channel, Endpoint};

use crate::history::{Event, JobName, Lease, Log};

/// A machine, as it is between and during the lives of its agent.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    seed: u64,
    /// Where the agent keeps the job in hand.
    folder: PathBuf,
    log: Log,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The spool, as far as it matters here.
    bench: Option<Bench>,
    n_lives: u64,
    n_runs: u64,
    stop: CancellationToken,
    /// The job that was begun or gone on with last.
    latest: Option<Lease>,
    is_measuring: bool,
    /// Its bench has told its end, and what the agent tells then was not looked at yet.
    has_ended: bool,
}

/// What there is to go on with.
#[derive(Clone)]
struct Bench {
    lease: Lease,
    /// Segments that are over.
    n_done: usize,
    runs: Vec<RunId>,
}

impl Device {
    pub(crate) fn new(id: DeviceId, seed: u64, folder: PathBuf, log: Log) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            id,
            seed,
            folder,
            log,
            state: Arc::default(),
        }
    }

    /// A life of its agent.
    pub(crate) async fn live(self) -> turmoil::Result {
        let stop = CancellationToken::new();
        let life = {
            let mut state = self.state.lock().unwrap();
            state.n_lives += 1;
            state.stop = stop.clone();
            state.n_lives
        };
        let quiet = QuietGate::default();
        let mut chance = draw(self.seed, &format!("{} {life}", self.id));
        let attend = Attend {
            device: self.id.clone(),
            connect: Box::new(|| {
                Box::pin(async { Ok(channel(&patient(&Endpoint::from_static(COLLECTOR))).await?) })
            }),
            offer: Arc::new(|| {
                serde_json::from_str::<Offer>(r#"{"suites":["batch"]}"#).expect("it is an offer")
            }),
            runner: Box::new(MadeUp {
                device: self.clone(),
                quiet: quiet.clone(),
                tasks: TaskTracker::new(),
            }),
            file: self.file(),
            quiet,
            clock: Arc::new(self.log.clone()),
            backoff: Backoff::seeded(chance.number()),
        };
        attend.run(stop).await;
        Ok(())
    }

    /// Asks the agent to end in good order.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().stop.cancel();
    }

    /// Somebody puts a new disk into it.
    pub(crate) fn lose_disk(&self) {
        self.state.lock().unwrap().bench = None;
        self.file().remove().unwrap();
    }

    /// Whether no job is in hand.
    pub(crate) fn is_idle(&self) -> bool {
        self.file().read().unwrap().is_none()
    }

    pub(crate) fn has(&self, lease: &Lease) -> bool {
        self.state.lock().unwrap().latest.as_ref() == Some(lease)
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.state.lock().unwrap().is_measuring
    }

    /// What its agent tells from now on of the end of its job, once: a bench does not know whether it was cancelled because the job has
    /// failed. It is noted before it is told, and stands there until it is answered, in a later step.
    pub(crate) fn ended(&self) -> Option<Event> {
        let mut state = self.state.lock().unwrap();
        if !state.has_ended {
            return None;
        }
        let job = self.file().read().unwrap()?;
        let lease = self.lease(&job);
        let Ended { how, runs, .. } = job.end?;
        state.has_ended = false;
        Some(Event::Ended(lease, how, runs))
    }

    fn lease(&self, job: &InHand) -> Lease {
        Lease {
            job: JobName {
                campaign: job.spec.campaign.clone(),
                device: self.id.clone(),
            },
            attempt: job.job.attempt,
        }
    }

    fn file(&self) -> JobFile {
        JobFile::in_folder(&self.folder)
    }
}

/// A channel over the simulated network.
pub(crate) async fn channel(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(|_| async {
        let stream = turmoil::net::TcpStream::connect(("collector", PORT)).await?;
        io::Result::Ok(TokioIo::new(stream))
    });
    endpoint.connect_with_connector(connector).await
}

/// Does made-up jobs.
struct MadeUp {
    device: Device,
    quiet: QuietGate,
    tasks: TaskTracker,
}

impl JobRunner for MadeUp {
    fn start(&self, job: &InHand) -> Running {
        let (running, tell, words) = channels();
        let lease = self.device.lease(job);
        {
            let mut state = self.device.state.lock().unwrap();
            state.latest = Some(lease.clone());
            state.has_ended = false;
        }
        let work = Work {
            plan: Plan::of(self.device.seed, &lease),
            device: self.device.clone(),
            quiet: self.quiet.clone(),
            lease,
            has_begun: job.has_begun,
            tell,
            words,
        };
        self.tasks.spawn(work.go());
        running
    }

    fn tidy(&self) {
        self.device.state.lock().unwrap().bench = None;
    }
}

/// How a job would go if nothing came between.
struct Plan {
    loading: Duration,
    segments: Vec<Duration>,
    /// After so many of them.
    end: (usize, JobEnd),
}

impl Plan {
    fn of(seed: u64, lease: &Lease) -> Self {
        let mut chance = draw(seed, &lease.to_string());
        let n_segments = 1 + chance.index(4);
        let mut seconds = |from: u64, below: u64| {
            Duration::from_millis(1000 * from + chance.below(1000 * (below - from)))
        };
        let loading = seconds(0, 4);
        let segments = (0..n_segments).map(|_| seconds(1, 20)).collect();
        let end = match chance.below(20) {
            0..=2 => (chance.index(n_segments), JobEnd::Failed),
            3 => (0, JobEnd::Refused),
            _ => (n_segments, JobEnd::Done),
        };
        Self {
            loading,
            segments,
            end,
        }
    }
}

/// A job that is being done.
struct Work {
    device: Device,
    quiet: QuietGate,
    lease: Lease,
    plan: Plan,
    has_begun: bool,
    tell: mpsc::Sender<JobEvent>,
    words: mpsc::Receiver<Word>,
}

/// Why it does not go on.
enum Stop {
    Over(JobEnd),
    Left,
}

/// The device works while this lives.
struct Working<'a>(&'a Device, &'a Lease);

/// It measures while this lives.
struct Measuring(Device);

impl Work {
    async fn go(mut self) {
        let Err(Stop::Over(how)) = self.until_stop().await else {
            return;
        };
        let runs = self.bench().map_or_else(Vec::new, |bench| bench.runs);
        self.device.state.lock().unwrap().has_ended = true;
        let reason = format!("{how:?}");
        self.say(JobEvent::Ended(Ended { how, reason, runs })).await;
        if self.words.recv().await == Some(Word::Go) && self.bench().is_some() {
            self.device.state.lock().unwrap().bench = None;
        }
    }

    /// Never comes back without a reason.
    async fn until_stop(&mut self) -> Result<(), Stop> {
        let n_done = match self.bench() {
            Some(bench) => bench.n_done,
            None if self.has_begun => return Err(Stop::Over(JobEnd::Cancelled)),
            None => 0,
        };
        self.say(JobEvent::Ready(Reached {
            runs: n_done as u64,
            requests: 0,
        }))
        .await;
        self.wait_for_go().await?;
        let (device, lease) = (self.device.clone(), self.lease.clone());
        let _working = Working::begin(&device, &lease);
        self.unless_stopped(sleep(self.plan.loading)).await?;
        if self.bench().is_none() {
            self.device.state.lock().unwrap().bench = Some(Bench {
                lease: self.lease.clone(),
                n_done: 0,
                runs: Vec::new(),
            });
        }
        self.say(JobEvent::Begun).await;
        let (n_segments, end) = self.plan.end;
        for number in n_done..n_segments {
            self.measure(number).await?;
        }
        Err(Stop::Over(end))
    }

    async fn measure(&mut self, number: usize) -> Result<(), Stop> {
        let time = self.plan.segments[number];
        self.begin_run(number);
        let progress = JobProgress {
            run: u32::try_from(number).unwrap() + 1,
            ..JobProgress::default()
        };
        self.say(JobEvent::Progress(progress)).await;
        self.say(JobEvent::Window(2 * time)).await;
        self.wait_for_go().await?;
        let quiet = self.quiet.clone();
        let _quiet = self.unless_stopped(quiet.close(2 * time)).await?;
        let measuring = Measuring::begin(&self.device);
        self.unless_stopped(sleep(time)).await?;
        drop(measuring);
        self.change(|bench| bench.n_done = number + 1);
        Ok(())
    }

    /// One that was interrupted goes on as the same.
    fn begin_run(&self, number: usize) {
        let mut state = self.device.state.lock().unwrap();
        state.n_runs += 1;
        let n_runs = state.n_runs;
        let Some(bench) = state
            .bench
            .as_mut()
            .filter(|bench| bench.lease == self.lease)
        else {
            return;
        };
        if bench.runs.len() > number {
            return;
        }
        let mut chance = draw(n_runs, self.device.id.as_str());
        let run = RunId(chance.bytes(16).try_into().unwrap());
        bench.runs.push(run);
        self.device
            .log
            .add(Event::Measured(self.lease.clone(), run));
    }

    fn bench(&self) -> Option<Bench> {
        let state = self.device.state.lock().unwrap();
        let bench = state.bench.as_ref();
        bench.filter(|bench| bench.lease == self.lease).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Bench)) {
        let mut state = self.device.state.lock().unwrap();
        let bench = state.bench.as_mut();
        if let Some(bench) = bench.filter(|bench| bench.lease == self.lease) {
            change(bench);
        }
    }

    async fn wait_for_go(&mut self) -> Result<(), Stop> {
        match self.words.recv().await {
            Some(Word::Go) => Ok(()),
            word => Err(stop(word)),
        }
    }

    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                word = self.words.recv() => if word != Some(Word::Go) { return Err(stop(word)) },
                done = &mut work => return Ok(done),
            }
        }
    }

    async fn say(&self, event: JobEvent) {
        self.tell.send(event).await.ok();
    }
}

impl<'a> Working<'a> {
    fn begin(device: &'a Device, lease: &'a Lease) -> Self {
        device.log.add(Event::Began(lease.clone()));
        Self(device, lease)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.log.add(Event::LeftOff(self.1.clone()));
    }
}

impl Measuring {
    fn begin(device: &Device) -> Self {
        device.state.lock().unwrap().is_measuring = true;
        Self(device.clone())
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().is_measuring = false;
    }
}

fn stop(word: Option<Word>) -> Stop {
    match word {
        Some(Word::Cancel) => Stop::Over(JobEnd::Cancelled),
        _ => Stop::Left,
    }
}

/// Numbers that belong to a name under a seed, whatever else is drawn.
fn draw(seed: u64, name: &str) -> Random {
    let mix = |mixed: u64, byte| Random::new(mixed ^ u64::from(byte)).number();
    Random::new(name.bytes().fold(seed, mix))
}

pub(crate) const COLLECTOR: &str = "http://collector:7413";
pub(crate) const PORT: u16 = 7413;
