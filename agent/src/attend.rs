//! Waits at the collector for jobs, and has them done: one at a time, each until the collector has settled it.
//!
//! ```text
//! nothing --Assignment--> in hand --Ready, Go--> under way --Ended--> over --Settled--> nothing
//! ```
//!
//! The job and the connection know nothing of each other: a job goes on while the collector is away, and its end is said again and again until
//! it is settled. What is in hand stands in a file from before its first question on, so that kill -9 and a reboot interrupt it and no
//! more: it goes on as the same attempt.
//!
//! Nothing is said inside a measured window. Before each one the job asks for leave; it is given once the collector has been told how long
//! the silence will be at most, or at once where there is no connection.
//!
//! Time is tokio's, the connection comes from a function, and jobs are done by a [`JobRunner`]: a simulation has its own of all three.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    campaign::{JobProgress, JobRef, JobSpec, Offer},
    ids::DeviceId,
};
use tokwatt_proto::{control, v1};

use crate::{
    clock::Clock,
    runner::{Passage, QuietGate},
    uplink::{Backoff, chain},
};

/// The real runner: a bench in a process of its own.
pub mod child;

/// What such a bench tells.
pub mod event;

/// The job in hand, on disk.
pub mod hand;

/// What can be asked for here.
pub mod offer;

/// From a job to a bench's command line.
mod arguments;

/// The connection.
mod link;

/// Who does a job, and what is said between the two.
mod runner;

pub use link::{Connect, Unreachable};
pub use runner::{JobEvent, JobRunner, Running, Word, channels};

use hand::{Ended, InHand, JobEnd, JobFile};
use link::{Heard, Link, Open};

/// Attends at a collector.
pub struct Attend {
    /// Who this is.
    pub device: DeviceId,
    /// How the collector is reached.
    pub connect: Box<Connect>,
    /// What can be asked for: looked up at each connection.
    pub offer: Arc<dyn Fn() -> Offer + Send + Sync>,
    /// Who does it.
    pub runner: Box<dyn JobRunner>,
    /// Where the job in hand is kept.
    pub file: JobFile,
    /// Closed while something is being measured.
    pub quiet: QuietGate,
    /// What time it is, for people.
    pub clock: Arc<dyn Clock>,
    /// How long to wait before connecting again.
    pub backoff: Backoff,
}

/// A job in hand, and who does it.
struct Hand {
    job: InHand,
    /// Nobody, once it has ended.
    running: Option<Running>,
    progress: JobProgress,
    /// Whether its end is on disk.
    is_noted: bool,
    /// Why it was cancelled, if nobody asked for that: it ends so.
    failure: Option<String>,
    /// Nobody wants it any more: its end is not told.
    is_given_up: bool,
}

/// Everything there is while attending.
struct Desk {
    attend: Attend,
    link: Link,
    hand: Option<Hand>,
    /// To be begun when what is in hand has been let go of.
    next: Option<InHand>,
    to_say: ToSay,
    speech: Option<Speech>,
    /// Waits until a job that was just assigned can be kept.
    passage: Option<BoxFuture<'static, Passage>>,
    beat_every: Duration,
    beat_at: Instant,
    /// A window may last until then.
    silent_until: Option<Instant>,
}

/// What is to be said as soon as that may be. Of each the latest only.
#[derive(Default)]
struct ToSay {
    beat: bool,
    progress: bool,
    window: Option<Duration>,
    end: bool,
    /// Of jobs that this device does not have.
    strangers: Vec<(JobRef, Ended)>,
}

/// Words on their way.
struct Speech {
    /// Whether a job waits for them, to measure.
    opens_window: bool,
    words: BoxFuture<'static, ()>,
}

impl Attend {
    /// Runs until `stop`; a job under way then is interrupted, to be gone on with the next time.
    pub async fn run(self, stop: CancellationToken) {
        let mut desk = Desk::new(self);
        desk.take_up();
        while !stop.is_cancelled() {
            desk.turn(&stop).await;
        }
        desk.leave().await;
    }
}

impl Desk {
    fn new(attend: Attend) -> Self {
        Self {
            link: Link::new(attend.backoff.clone().up_to(TRY_WITHIN)),
            attend,
            hand: None,
            next: None,
            to_say: ToSay::default(),
            speech: None,
            passage: None,
            beat_every: BEAT_EVERY,
            beat_at: Instant::now() + BEAT_EVERY,
            silent_until: None,
        }
    }

    /// Goes on with what an agent that is gone had in hand.
    fn take_up(&mut self) {
        match self.attend.file.read() {
            Ok(Some(job)) => self.begin(job),
            Ok(None) => self.attend.runner.tidy(),
            Err(error) => {
                tracing::error!(%error, "the job in hand cannot be read and is given up; the collector assigns it again");
                self.attend.runner.tidy();
            }
        }
    }

    /// Waits for the next thing to happen, and does what it asks for.
    async fn turn(&mut self, stop: &CancellationToken) {
        self.speak();
        let in_hand = self.in_hand();
        // No beat rings inside a window. Of this device's own accord nothing does but the connection's keep-alive, every 30 s, without which
        // one that is dead would be noticed by nobody.
        let next_beat = self.silent_until.max(Some(self.beat_at));
        let next_beat = next_beat.unwrap_or(self.beat_at);
        let open = || open(&self.attend, in_hand);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            heard = self.link.next(open) => self.hear(heard),
            event = next_event(&mut self.hand) => self.follow(event),
            () = said(&mut self.speech) => self.has_said(),
            passage = granted(&mut self.passage) => {
                self.passage = None;
                self.keep();
                drop(passage);
            }
            () = sleep_until(next_beat) => self.beat(),
        }
    }

    fn begin(&mut self, job: InHand) {
        let running = match job.end {
            Some(_) => {
                self.attend.runner.tidy();
                None
            }
            None => Some(self.attend.runner.start(&job)),
        };
        tracing::info!(job = %job.job, campaign = %job.spec.campaign, "job in hand");
        self.to_say.end = job.end.is_some();
        self.hand = Some(Hand {
            job,
            running,
            is_noted: true,
            progress: JobProgress::default(),
            failure: None,
            is_given_up: false,
        });
    }

    /// A job that was just assigned: on disk as soon as nothing is measured, so that one that waits outlives a restart.
    fn accept(&mut self, job: InHand) {
        self.begin(job);
        let quiet = self.attend.quiet.clone();
        self.passage = Some(Box::pin(async move { quiet.pass().await }));
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Up => {
                self.to_say.progress = true;
                self.to_say.end = true;
            }
            Heard::Order(order) => self.obey(order),
            Heard::Down => {
                let speech = self.speech.take();
                let window = self.to_say.window.take();
                // Nobody is there to be told.
                if window.is_some() || speech.is_some_and(|speech| speech.opens_window) {
                    self.tell(Word::Go);
                }
            }
        }
    }

    fn obey(&mut self, order: v1::Order) {
        let obeyed = match order.kind {
            Some(v1::order::Kind::Welcome(welcome)) => {
                let lease = Duration::from_millis(welcome.lease_ms.into());
                self.beat_every = BEAT_EVERY.min((lease / 3).max(BEAT_LEAST));
                Ok(())
            }
            Some(v1::order::Kind::Assignment(assignment)) => self.assign(assignment),
            Some(v1::order::Kind::Cancel(cancel)) => {
                control::job_ref(cancel.job, "cancel.job").map(|job| self.cancel(job))
            }
            Some(v1::order::Kind::Settled(settled)) => {
                control::job_ref(settled.job, "settled.job").map(|job| self.settle(job))
            }
            // A newer collector's; this agent does without.
            None => Ok(()),
        };
        if let Err(error) = obeyed {
            tracing::warn!(
                error = chain(&error),
                "the collector said something that cannot be understood"
            );
        }
    }

    fn assign(&mut self, assignment: v1::Assignment) -> Result<(), tokwatt_proto::ContractError> {
        let job = control::job_ref(assignment.job, "assignment.job")?;
        let spec: JobSpec = match control::read(control::JOB, assignment.spec, "assignment.spec") {
            Ok(spec) => spec,
            Err(error) => {
                let end = Ended::without_runs(JobEnd::Refused, chain(&error));
                self.to_say.strangers.push((job, end));
                return Ok(());
            }
        };
        let is_known = self.hand.as_ref().is_some_and(|hand| hand.job.job == job);
        match &self.hand {
            Some(_) if is_known => {
                self.to_say.progress = true;
                self.to_say.end = true;
            }
            Some(_) => {
                self.next = Some(InHand::new(job, spec));
                self.give_up();
            }
            None => self.accept(InHand::new(job, spec)),
        }
        Ok(())
    }

    fn cancel(&mut self, job: JobRef) {
        match &self.hand {
            Some(hand) if hand.job.job == job => {
                self.to_say.end = true;
                self.tell(Word::Cancel);
            }
            _ => {
                let end = Ended::without_runs(JobEnd::Cancelled, "the device does not have it");
                self.to_say.strangers.push((job, end));
            }
        }
    }

    fn settle(&mut self, job: JobRef) {
        if self.hand.as_ref().is_some_and(|hand| hand.job.job == job) {
            self.give_up();
        }
    }

    /// The collector needs nothing more of what is in hand.
    fn give_up(&mut self) {
        let Some(hand) = &mut self.hand else { return };
        hand.is_given_up = true;
        match (&hand.running, &hand.job.end) {
            (Some(_), None) => self.tell(Word::Cancel),
            _ => self.forget(),
        }
    }

    fn forget(&mut self) {
        let hand = self.hand.take();
        self.silent_until = None;
        self.passage = None;
        if let Err(error) = self.attend.file.remove() {
            tracing::error!(%error, "a job that is settled stays in the data folder and will be told again");
        }
        if let Some(running) = hand.and_then(|hand| hand.running) {
            running.let_go();
        }
        if let Some(next) = self.next.take() {
            self.accept(next);
        }
    }

    fn follow(&mut self, event: Option<JobEvent>) {
        let Some(hand) = &mut self.hand else { return };
        // The window, if there was one, is over.
        self.silent_until = None;
        self.to_say.window = None;
        match event {
            Some(JobEvent::Ready(reached)) => {
                let job = &mut hand.job;
                if reached > job.reached {
                    job.reached = reached;
                    job.starts = 0;
                }
                job.starts += 1;
                if job.starts > STARTS_MOST {
                    return self.fail(format!(
                        "it was interrupted {STARTS_MOST} times and got no further"
                    ));
                }
                if self.keep() {
                    self.tell(Word::Go);
                }
            }
            Some(JobEvent::NotStarted) => {
                hand.job.starts = hand.job.starts.saturating_sub(1);
                self.keep();
            }
            Some(JobEvent::Begun) => {
                hand.job.has_begun = true;
                self.keep();
            }
            Some(JobEvent::Progress(progress)) => {
                hand.progress = progress;
                self.to_say.progress = true;
            }
            // Whoever is being connected to is told next, or is away.
            Some(JobEvent::Window(longest)) => match self.link.is_there_or_coming() {
                true => self.to_say.window = Some(longest),
                false => self.tell(Word::Go),
            },
            Some(JobEvent::Ended(end)) => self.end(end),
            None if hand.job.end.is_some() => hand.running = None,
            None => {
                hand.running = None;
                let why = "whoever did it is gone";
                self.end(Ended::without_runs(JobEnd::Failed, why));
            }
        }
    }

    /// It is not done any further; its end says why.
    fn fail(&mut self, why: String) {
        if let Some(hand) = &mut self.hand {
            hand.failure = Some(why);
            self.tell(Word::Cancel);
        }
    }

    /// The job is over: noted first, then told.
    fn end(&mut self, mut end: Ended) {
        let Some(hand) = &mut self.hand else { return };
        if let Some(why) = hand.failure.take() {
            (end.how, end.reason) = (JobEnd::Failed, why);
        }
        tracing::info!(job = %hand.job.job, how = ?end.how, reason = end.reason, n_runs = end.runs.len(), "job ended");
        hand.job.end = Some(end);
        hand.is_noted = false;
        match hand.is_given_up {
            true => self.forget(),
            false => {
                self.note_end();
                self.to_say.end = true;
            }
        }
    }

    /// Only when its end is on disk is nothing of it needed any more to go on; until then that is tried again.
    fn note_end(&mut self) {
        let Some(hand) = self.hand.as_mut().filter(|hand| !hand.is_noted) else {
            return;
        };
        match self.attend.file.write(&hand.job) {
            Ok(()) => {
                hand.is_noted = true;
                if let Some(running) = hand.running.take() {
                    running.let_go();
                }
            }
            Err(error) => {
                tracing::error!(%error, "the end of a job cannot be noted in the data folder, which is tried again");
            }
        }
    }

    /// Keeps the job in hand as it is now; one that cannot be kept is not done. It takes a few milliseconds of a thread that has nothing to
    /// stamp, while nothing is measured.
    fn keep(&mut self) -> bool {
        let Some(hand) = &self.hand else { return false };
        match self.attend.file.write(&hand.job) {
            Ok(()) => true,
            Err(error) => {
                self.fail(format!("cannot keep the job in the data folder: {error}"));
                false
            }
        }
    }

    fn tell(&self, word: Word) {
        let running = self.hand.as_ref().and_then(|hand| hand.running.as_ref());
        if let Some(running) = running {
            // Fails where it has ended, which it will tell.
            running.words.try_send(word).ok();
        }
    }

    fn beat(&mut self) {
        self.beat_at = Instant::now() + self.beat_every;
        self.silent_until = None;
        self.note_end();
        self.to_say.beat = true;
        self.to_say.end = true;
    }

    /// The job that the collector is to know of.
    fn in_hand(&self) -> Option<JobRef> {
        let hand = self.hand.as_ref();
        hand.filter(|hand| !hand.is_given_up)
            .map(|hand| hand.job.job)
    }

    /// Sends what there is to say, once nothing is being measured.
    fn speak(&mut self) {
        let Some(reports) = self.link.reports().filter(|_| self.speech.is_none()) else {
            return;
        };
        let opens_window = self.to_say.window.is_some();
        let words = self.words();
        if words.is_empty() {
            return;
        }
        let quiet = self.attend.quiet.clone();
        self.speech = Some(Speech {
            opens_window,
            words: Box::pin(async move {
                let _passage = quiet.pass().await;
                for word in words {
                    let report = v1::Report { kind: Some(word) };
                    if reports.send(report).await.is_err() {
                        // The connection is gone, which it says itself.
                        return;
                    }
                }
                sleep(ON_ITS_WAY).await;
            }),
        });
    }

    /// What there is to say now.
    fn words(&mut self) -> Vec<v1::report::Kind> {
        let to_say = std::mem::take(&mut self.to_say);
        let strangers = to_say.strangers.into_iter();
        let mut words: Vec<v1::report::Kind> = strangers
            .map(|(job, end)| v1::report::Kind::Ended(ended(job, &end)))
            .collect();
        let quiet_ms = to_say.window.map_or(0, milliseconds);
        match self.hand.as_ref().filter(|hand| !hand.is_given_up) {
            Some(Hand {
                job:
                    InHand {
                        job,
                        end: Some(end),
                        ..
                    },
                ..
            }) if to_say.end => words.push(v1::report::Kind::Ended(ended(*job, end))),
            Some(Hand {
                job: InHand { job, end: None, .. },
                progress,
                ..
            }) if to_say.progress || to_say.window.is_some() => {
                words.push(v1::report::Kind::Progress(v1::JobProgress {
                    job: Some((*job).into()),
                    progress: Some(control::write(control::PROGRESS, progress)),
                    quiet_ms,
                }));
            }
            _ if to_say.beat || to_say.window.is_some() => {
                words.push(v1::report::Kind::Beat(v1::Beat {
                    wall_us: self.attend.clock.wall().0,
                    quiet_ms,
                }));
            }
            _ => {}
        }
        if let Some(longest) = to_say.window {
            self.silent_until = Some(Instant::now() + longest);
        }
        words
    }

    fn has_said(&mut self) {
        let speech = self.speech.take();
        self.beat_at = Instant::now() + self.beat_every;
        if speech.is_some_and(|speech| speech.opens_window) {
            self.tell(Word::Go);
        }
    }

    /// Interrupts what is under way, and waits for that; what ended meanwhile is noted.
    async fn leave(mut self) {
        self.note_end();
        self.tell(Word::Interrupt);
        let rest = async {
            while let Some(running) = self.hand.as_mut().and_then(|hand| hand.running.as_mut()) {
                match running.events.recv().await {
                    Some(JobEvent::Ended(end)) => self.end(end),
                    Some(JobEvent::Begun) => self.follow(Some(JobEvent::Begun)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if timeout(LEAVE_WITHIN, rest).await.is_err() {
            tracing::warn!("the job in hand did not leave off in time");
        }
    }
}

/// A connection in the making, with what there is to say first.
fn open(
    attend: &Attend,
    in_hand: Option<JobRef>,
) -> BoxFuture<'static, Result<Open, link::LinkError>> {
    let (device, offer) = (attend.device.clone(), attend.offer.clone());
    let attendance = move || v1::Attendance {
        device: device.into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        offer: Some(control::write(control::OFFER, &offer())),
        in_hand: in_hand.map(v1::JobRef::from),
    };
    let channel = (attend.connect)();
    Box::pin(Open::new(channel, attend.quiet.clone(), attendance))
}

/// When nothing is measured; never if nothing waits for that.
async fn granted(passage: &mut Option<BoxFuture<'static, Passage>>) -> Passage {
    match passage {
        Some(passage) => passage.await,
        None => std::future::pending().await,
    }
}

/// What the job in hand tells next; never anything without one that is being done.
async fn next_event(hand: &mut Option<Hand>) -> Option<JobEvent> {
    match hand.as_mut().and_then(|hand| hand.running.as_mut()) {
        Some(running) => running.events.recv().await,
        None => std::future::pending().await,
    }
}

/// When what is on its way has gone out; never without such.
async fn said(speech: &mut Option<Speech>) {
    match speech {
        Some(speech) => speech.words.as_mut().await,
        None => std::future::pending().await,
    }
}

fn ended(job: JobRef, end: &Ended) -> v1::JobEnded {
    let how = match end.how {
        JobEnd::Done => v1::JobEnd::Done,
        JobEnd::Refused => v1::JobEnd::Refused,
        JobEnd::Failed => v1::JobEnd::Failed,
        JobEnd::Cancelled => v1::JobEnd::Cancelled,
    };
    v1::JobEnded {
        job: Some(job.into()),
        end: how.into(),
        reason: end.reason.clone(),
        runs: end.runs.iter().map(|run| run.0.to_vec()).collect(),
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The collector hears of us so often, or it takes us for gone after three of these.
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// A device that can be reached again has its job within 45 s: what a try that hangs may take, this, and some.
const TRY_WITHIN: Duration = Duration::from_secs(20);

/// However short a lease is.
const BEAT_LEAST: Duration = Duration::from_millis(100);

/// A job that was interrupted so often without getting any further does not get any further.
const STARTS_MOST: u32 = 5;

/// How long a word takes from us to the wire; nothing tells.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// How long a bench may take to leave off: a server that it started is asked to end first.
const LEAVE_WITHIN: Duration = Duration::from_secs(25);
