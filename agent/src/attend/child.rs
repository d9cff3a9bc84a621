//! Does a job as `tokwatt-agent bench` in a process of its own, as a person would.
//!
//! Nothing of a campaign but checked names and numbers reaches its command line; everything else is the device's own configuration.
//!
//! - Its standard input ends when its parent does, however that went; then it leaves off as at SIGTERM, and the next parent goes on with it.
//!   Why it does not go on alone: nobody would tell the collector how long the silence lasts, and at most one segment is asked again.
//! - It is a process group of its own: Ctrl-C in the terminal of the service is for the service to handle.
//! - It measures alone: who measures already is waited for, and an interrupted bench of a person, too. That is no failure.
//! - How far it has come stands in the spool, which also outlives it: what counts is read there, not what the child says.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Split},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::TaskTracker;
use tokwatt_domain::{
    campaign::{JobProgress, JobRef, Work},
    device::DeviceKind,
    ids::RunId,
};
use tokwatt_proto::Record;

use super::{
    JobEvent, JobRunner, Running, Word,
    arguments::arguments,
    channels,
    event::{BenchEnd, BenchEvent},
    hand::{Ended, InHand, JobEnd, Reached},
    offer::{check, offer},
};
use crate::{
    blocking::off_thread,
    runner::{Passage, QuietGate, RunnerError, abandon, asked_so_far},
    settings::Settings,
    spool::{BenchLock, Spool, SpoolError, Unfinished},
    uplink::chain,
};

/// Runs benches of this device.
#[derive(Clone)]
pub struct BenchRunner {
    /// The agent's program.
    pub program: PathBuf,
    /// Flags before `bench`: where the configuration and the data are.
    pub general: Vec<OsString>,
    /// What the names stand for.
    pub settings: Arc<Settings>,
    /// Which family of machines this is.
    pub kind: DeviceKind,
    /// What was measured.
    pub spool: Arc<Spool>,
    /// Closed while something is being measured.
    pub quiet: QuietGate,
    /// Whose tasks its work is.
    pub tasks: TaskTracker,
}

/// A job on its way through a bench.
struct Way {
    runner: BenchRunner,
    job: JobRef,
    work: Work,
    has_begun: bool,
    tell: mpsc::Sender<JobEvent>,
    words: mpsc::Receiver<Word>,
}

/// Why a job does not go on.
#[derive(Debug)]
enum Stop {
    /// It is over.
    Over(Ended),
    /// It is to be gone on with another time.
    Left,
}

/// What became of one bench.
enum Came {
    Over(JobEnd, String),
    /// It can be gone on with; why it did not get further, and after which pause.
    Unfinished(String, Duration),
    /// Somebody else comes first, or there is no room: that was no start.
    NotStarted(String),
}

/// A bench that is under way.
struct Bench {
    child: Child,
    /// What it hears and says, until it says no more.
    talk: Option<Talk>,
    ended: Option<(BenchEnd, String)>,
    /// What it was told to end by.
    told: Option<Word>,
    /// What is done next if it does not end, and when.
    insist: Option<(Insistence, Instant)>,
}

type Talk = (ChildStdin, Split<BufReader<ChildStdout>>);

/// With more and more force.
#[derive(Clone, Copy, Debug)]
enum Insistence {
    Again(Signal),
    Kill,
}

/// What the spool has of benches.
enum Found {
    Nothing,
    Ours {
        reached: Reached,
        has_measured: bool,
    },
    /// Of a job that is in nobody's hand.
    Stray,
    /// A person's.
    Somebodys,
}

/// The key in a bench's description under which the job stands that it is for.
pub const JOB_KEY: &str = "--job";

/// For which job a bench is, if it is for one.
pub fn job_of(bench: &Unfinished) -> Option<JobRef> {
    let description: BTreeMap<String, String> = serde_json::from_str(&bench.description).ok()?;
    description.get(JOB_KEY)?.parse().ok()
}

impl JobRunner for BenchRunner {
    fn start(&self, job: &InHand) -> Running {
        let (running, tell, words) = channels();
        let way = Way {
            runner: self.clone(),
            job: job.job,
            work: job.spec.work.clone(),
            has_begun: job.has_begun,
            tell,
            words,
        };
        self.tasks.spawn(way.go());
        running
    }

    fn tidy(&self) {
        let runner = self.clone();
        self.tasks
            .spawn(async move { runner.let_go(|_| true).await });
    }
}

impl BenchRunner {
    /// Ends the bench that the spool has, if it is one of these jobs' and nobody measures: the run in hand stays as cancelled.
    async fn let_go(&self, is_theirs: impl Fn(JobRef) -> bool + Send + 'static) {
        let _passage = self.quiet.pass().await;
        let folder = self.settings.data.value.clone();
        let done = self.on_spool(move |spool| {
            let _lock = match BenchLock::take(&folder) {
                Ok(lock) => lock,
                // Whoever measures has begun a bench, so that nothing is left of the one before it.
                Err(SpoolError::Busy { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let bench = spool.unfinished()?;
            match bench.as_ref().and_then(job_of).is_some_and(&is_theirs) {
                true => abandon(spool),
                false => Ok(()),
            }
        });
        if let Err(error) = done.await {
            tracing::warn!(
                error = chain(&error),
                "what a job left in the spool stays there"
            );
        }
    }

    async fn on_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> Result<T, RunnerError> + Send + 'static,
    ) -> Result<T, RunnerError> {
        let spool = self.spool.clone();
        off_thread(move || work(&spool)).await
    }
}

impl Way {
    async fn go(mut self) {
        match self.until_stop().await {
            Stop::Left => {}
            Stop::Over(ended) => {
                self.say(JobEvent::Ended(ended)).await;
                // Once the end is noted, nothing is needed to go on. Without the word it stays, for another time.
                if self.wait_for_go().await.is_ok() {
                    let job = self.job;
                    self.runner.let_go(move |its| its == job).await;
                }
            }
        }
    }

    async fn until_stop(&mut self) -> Stop {
        loop {
            match self.once().await {
                Ok(pause) => {
                    if let Err(stop) = self.pause(pause).await {
                        return stop;
                    }
                }
                Err(stop) => return stop,
            }
        }
    }

    /// One bench, and how long to wait before the next one.
    async fn once(&mut self) -> Result<Duration, Stop> {
        let passage = self.pass().await?;
        let offered = offer(&self.runner.settings, self.runner.kind);
        check(&offered, &self.work).map_err(refused)?;
        let arguments = arguments(self.job, &self.work).map_err(refused)?;
        drop(passage);
        let (lock, passage, reached) = self.wait_for_turn().await?;
        self.say(JobEvent::Ready(reached)).await;
        self.wait_for_go().await?;
        // The child takes the lock. Who comes first between the two has it, and is waited for.
        drop((lock, passage));
        let child = self.spawn(&arguments).map_err(|error| {
            let program = self.runner.program.display();
            failed(format!("cannot start `{program}`: {error}"))
        })?;
        let (came, told) = self.accompany(child).await;
        let (end, reason) = match (came, told) {
            (Came::Over(end, reason), _) => (end, reason),
            (_, Some(Word::Cancel)) => (JobEnd::Cancelled, String::new()),
            (_, Some(_)) => return Err(Stop::Left),
            (Came::NotStarted(reason), None) => {
                self.say(JobEvent::NotStarted).await;
                self.wait_aloud(&reason).await;
                return Ok(LOOK_AGAIN);
            }
            (Came::Unfinished(reason, pause), None) => {
                tracing::warn!(reason, "the bench of a job was interrupted and goes on");
                self.wait_aloud(&reason).await;
                return Ok(pause);
            }
        };
        let runs = self.runs().await.map_err(|error| failed(chain(&error)))?;
        Err(Stop::Over(Ended {
            how: end,
            reason,
            runs,
        }))
    }

    /// Waits until nobody else measures here, and nobody else's bench waits to be gone on with. How far this one has come by then.
    async fn wait_for_turn(&mut self) -> Result<(BenchLock, Passage, Reached), Stop> {
        let folder = self.runner.settings.data.value.clone();
        loop {
            let lock = match BenchLock::take(&folder) {
                Err(SpoolError::Busy { .. }) => {
                    self.wait_aloud("another bench is under way").await;
                    self.unless_stopped(BenchLock::wait(&folder)).await?
                }
                taken => taken,
            };
            let lock = lock.map_err(|error| failed(chain(&error)))?;
            let passage = self.pass().await?;
            match self.look().await.map_err(|error| failed(chain(&error)))? {
                Found::Ours {
                    reached,
                    has_measured,
                } => {
                    self.has_begun |= has_measured;
                    return Ok((lock, passage, reached));
                }
                Found::Nothing | Found::Stray if self.has_begun => {
                    return Err(Stop::Over(Ended::without_runs(
                        JobEnd::Cancelled,
                        "its bench was given up at the device",
                    )));
                }
                Found::Nothing => return Ok((lock, passage, Reached::default())),
                Found::Stray => {
                    drop((lock, passage));
                    let job = self.job;
                    self.runner.let_go(move |its| its != job).await;
                }
                Found::Somebodys => {
                    drop((lock, passage));
                    self.wait_aloud("a person's bench was interrupted here: it is gone on with by `bench --resume`, or given up by `--abandon`").await;
                    self.pause(LOOK_AGAIN).await?;
                }
            }
        }
    }

    async fn look(&self) -> Result<Found, RunnerError> {
        let job = self.job;
        let look = move |spool: &Spool| {
            let Some(bench) = spool.unfinished()? else {
                return Ok(Found::Nothing);
            };
            match job_of(&bench) {
                Some(its) if its == job => Ok(Found::Ours {
                    reached: Reached {
                        runs: bench.next,
                        requests: asked_so_far(spool)? as u64,
                    },
                    has_measured: bench.has_measured(),
                }),
                Some(_) => Ok(Found::Stray),
                None if bench.has_measured() => Ok(Found::Somebodys),
                None => Ok(Found::Nothing),
            }
        };
        self.runner.on_spool(look).await
    }

    fn spawn(&self, arguments: &[OsString]) -> io::Result<Child> {
        Command::new(&self.runner.program)
            .args(&self.runner.general)
            .args(arguments)
            // Words to the service manager are its parent's.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
    }

    /// Passes on what the bench tells and is told, until it is gone; with what it was told to end by.
    async fn accompany(&mut self, child: Child) -> (Came, Option<Word>) {
        let mut bench = Bench::new(child);
        let mut has_parent = true;
        let status = loop {
            tokio::select! {
                line = next_line(&mut bench.talk) => self.hear(&mut bench, line).await,
                word = self.words.recv(), if has_parent => {
                    has_parent = word.is_some();
                    bench.be_told(word.unwrap_or(Word::Interrupt)).await;
                }
                () = patience(bench.insist) => bench.insist(),
                status = bench.child.wait() => break status,
            }
        };
        // Its last words may still be on their way; what it started may keep the line open.
        let rest = async {
            while bench.talk.is_some() {
                let line = next_line(&mut bench.talk).await;
                self.hear(&mut bench, line).await;
            }
        };
        timeout(LAST_WORDS_WITHIN, rest).await.ok();
        (came(bench.ended, status), bench.told)
    }

    async fn hear(&mut self, bench: &mut Bench, line: io::Result<Option<Vec<u8>>>) {
        let line = match line {
            Ok(Some(line)) => line,
            // What reads and says nothing more is not spoken to either.
            Ok(None) => return bench.talk = None,
            Err(error) => {
                tracing::warn!(%error, "cannot hear what a bench says");
                return bench.talk = None;
            }
        };
        match serde_json::from_slice(&line) {
            Ok(BenchEvent::Ended { how, reason }) => bench.ended = Some((how, reason)),
            Ok(event) => self.pass_on(event).await,
            Err(error) => {
                let line = String::from_utf8_lossy(&line);
                tracing::warn!(%error, %line, "a bench said something that cannot be understood");
            }
        }
    }

    async fn pass_on(&mut self, event: BenchEvent) {
        let event = match event {
            BenchEvent::Begun => {
                self.has_begun = true;
                JobEvent::Begun
            }
            BenchEvent::Progress(progress) => JobEvent::Progress(progress),
            BenchEvent::Window { longest_ms } => {
                JobEvent::Window(Duration::from_millis(longest_ms))
            }
            BenchEvent::Ended { .. } => return,
        };
        self.say(event).await;
    }

    /// What it measured, by the spool.
    async fn runs(&self) -> Result<Vec<RunId>, RunnerError> {
        let job = self.job;
        let runs = move |spool: &Spool| {
            let bench = spool.unfinished()?;
            let Some(bench) = bench.filter(|bench| job_of(bench) == Some(job)) else {
                return Ok(Vec::new());
            };
            let mut runs = Vec::new();
            for record in spool.finished_runs()? {
                if let Record::RunFinished { run, .. } = Record::decode(&record)? {
                    runs.push(run);
                }
            }
            runs.extend(bench.open.map(|open| open.run));
            Ok(runs)
        };
        self.runner.on_spool(runs).await
    }

    async fn wait_aloud(&self, why: &str) {
        let progress = JobProgress {
            stage: format!("waiting: {why}"),
            ..JobProgress::default()
        };
        self.say(JobEvent::Progress(progress)).await;
    }

    /// Reading files and the spool is for when nothing is measured.
    async fn pass(&mut self) -> Result<Passage, Stop> {
        let quiet = self.runner.quiet.clone();
        self.unless_stopped(quiet.pass()).await
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Stop> {
        self.unless_stopped(sleep(pause)).await
    }

    async fn wait_for_go(&mut self) -> Result<(), Stop> {
        match self.words.recv().await {
            Some(Word::Go) => Ok(()),
            word => Err(self.stop(word).await),
        }
    }

    /// Waits for something that takes a while. A go is nobody's while nothing waits for it.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = std::pin::pin!(work);
        let word = loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                word = self.words.recv() => if word != Some(Word::Go) { break word },
            }
        };
        Err(self.stop(word).await)
    }

    /// Told to stop while no bench is under way.
    async fn stop(&self, word: Option<Word>) -> Stop {
        match word {
            Some(Word::Cancel) => match self.runs().await {
                Ok(runs) => Stop::Over(Ended {
                    how: JobEnd::Cancelled,
                    reason: String::new(),
                    runs,
                }),
                Err(error) => failed(chain(&error)),
            },
            _ => Stop::Left,
        }
    }

    /// Nobody may be there any more, which the next word says.
    async fn say(&self, event: JobEvent) {
        self.tell.send(event).await.ok();
    }
}

impl Bench {
    fn new(mut child: Child) -> Self {
        let talk = child.stdin.take().zip(child.stdout.take());
        Self {
            talk: talk.map(|(input, output)| (input, BufReader::new(output).split(b'\n'))),
            child,
            ended: None,
            told: None,
            insist: None,
        }
    }

    async fn be_told(&mut self, word: Word) {
        match (word, self.told) {
            (Word::Go, _) => {
                if let Some((input, _)) = &mut self.talk {
                    // It does not wait for ever, and may be gone.
                    input.write_all(b"\n").await.ok();
                }
            }
            (Word::Cancel, None) => self.end_by(Word::Cancel, Signal::INT, CANCEL_GRACE),
            (Word::Interrupt, None) => self.end_by(word, Signal::TERM, INTERRUPT_GRACE),
            // It ends by the same signal, only sooner.
            (Word::Interrupt, Some(Word::Cancel)) => {
                let soon = Instant::now() + INTERRUPT_GRACE;
                if let Some((_, at)) = &mut self.insist {
                    *at = soon.min(*at);
                }
            }
            (Word::Cancel | Word::Interrupt, Some(_)) => {}
        }
    }

    fn end_by(&mut self, word: Word, by: Signal, grace: Duration) {
        signal(&self.child, by);
        self.told = Some(word);
        self.insist = Some((Insistence::Again(by), Instant::now() + grace));
    }

    /// It was told to end and has not.
    fn insist(&mut self) {
        let Some((insistence, _)) = self.insist.take() else {
            return;
        };
        tracing::warn!(?insistence, "a bench does not end and is made to");
        match insistence {
            Insistence::Again(again) => {
                signal(&self.child, again);
                self.insist = Some((Insistence::Kill, Instant::now() + KILL_GRACE));
            }
            // It is the leader of a group of its own.
            Insistence::Kill => {
                if let Some(group) = pid(&self.child) {
                    kill_process_group(group, Signal::KILL).ok();
                }
            }
        }
    }
}

/// Until it is time to insist; for ever if it was not told to end.
async fn patience(insist: Option<(Insistence, Instant)>) {
    match insist {
        Some((_, at)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What it says next; never anything once it says no more. May be dropped and called again: nothing is lost.
async fn next_line(talk: &mut Option<Talk>) -> io::Result<Option<Vec<u8>>> {
    match talk {
        Some((_, lines)) => lines.next_segment().await,
        None => std::future::pending().await,
    }
}

fn came(ended: Option<(BenchEnd, String)>, status: io::Result<ExitStatus>) -> Came {
    let Some((how, reason)) = ended else {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        return Came::Unfinished(format!("the bench's process ended with {how}"), PAUSE);
    };
    match how {
        BenchEnd::Done => Came::Over(JobEnd::Done, reason),
        BenchEnd::Refused => Came::Over(JobEnd::Refused, reason),
        BenchEnd::Failed => Came::Over(JobEnd::Failed, reason),
        BenchEnd::Cancelled => Came::Over(JobEnd::Cancelled, reason),
        BenchEnd::Busy | BenchEnd::Full => Came::NotStarted(reason),
        BenchEnd::Unfinished => Came::Unfinished(reason, LOOK_AGAIN),
    }
}

/// One that is gone needs none.
fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        kill_process(pid, signal).ok();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))
}

fn refused(reason: String) -> Stop {
    Stop::Over(Ended::without_runs(JobEnd::Refused, reason))
}

fn failed(reason: String) -> Stop {
    Stop::Over(Ended::without_runs(JobEnd::Failed, reason))
}

/// Before a bench that was interrupted goes on: whatever killed it has time to pass.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a bench may take to keep what it measured, when it is cancelled: a server that it started is asked to end first.
const CANCEL_GRACE: Duration = Duration::from_secs(60);

/// The same when the agent ends, which does not wait as long.
const INTERRUPT_GRACE: Duration = Duration::from_secs(18);

/// At the second signal it ends at once, if it can.
const KILL_GRACE: Duration = Duration::from_secs(3);

/// What it said before it was gone is in the pipe.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// How often is looked whether what is waited for has come: a person's bench that is gone on with, room, a server that is back.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokwatt_domain::ids::JobId;

    use super::*;

    #[test]
    fn a_bench_that_says_nothing_of_its_end_is_gone_on_with() {
        use std::os::unix::process::ExitStatusExt;
        let killed = came(None, Ok(ExitStatus::from_raw(9)));
        assert!(matches!(killed, Came::Unfinished(reason, PAUSE) if reason.contains("signal: 9")));
        let said = Some((BenchEnd::Busy, "another".to_owned()));
        let busy = came(said, Ok(ExitStatus::from_raw(2 << 8)));
        assert!(matches!(busy, Came::NotStarted(reason) if reason == "another"));
        let away = Some((BenchEnd::Unfinished, "not back".to_owned()));
        let away = came(away, Ok(ExitStatus::from_raw(1 << 8)));
        assert!(matches!(away, Came::Unfinished(_, LOOK_AGAIN)));
    }

    #[tokio::test]
    async fn a_bench_that_does_not_end_when_it_is_cancelled_is_killed() {
        use std::os::unix::process::ExitStatusExt;
        let child = Command::new("sh")
            .args(["-c", "trap '' INT TERM; echo; while :; do sleep 1; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut bench = Bench::new(child.unwrap());
        next_line(&mut bench.talk).await.unwrap();
        bench.be_told(Word::Cancel).await;
        let (_, late) = bench.insist.unwrap();
        bench.be_told(Word::Interrupt).await;
        let (_, sooner) = bench.insist.unwrap();
        assert!(sooner < late);
        assert_eq!(bench.told, Some(Word::Cancel));
        bench.insist();
        assert_eq!(bench.child.try_wait().unwrap(), None);
        bench.insist();
        assert_eq!(bench.child.wait().await.unwrap().signal(), Some(9));
    }

    #[test]
    fn a_bench_says_for_which_job_it_is() {
        let job = JobRef {
            job: JobId([9; 16]),
            attempt: 4,
        };
        let bench = |description: String| Unfinished {
            description,
            next: 0,
            open: None,
        };
        let of_job = format!("{{\"{JOB_KEY}\":\"{job}\",\"--suite\":\"x\"}}");
        assert_eq!(job_of(&bench(of_job)), Some(job));
        assert_eq!(job_of(&bench("{\"--suite\":\"x\"}".to_owned())), None);
        assert_eq!(job_of(&bench(String::new())), None);
    }
}
