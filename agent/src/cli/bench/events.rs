//! A bench that runs for a job: tells its parent where it stands, asks for leave before each window, and leaves off when the parent is gone.

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, Once, PoisonError},
    thread,
    time::Duration,
};

use futures::FutureExt;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{campaign::JobProgress, metrics::RunReport};

use super::unfinished::Refused;
use crate::{
    attend::event::{BenchEnd, BenchEvent},
    backend::BackendError,
    runner::{Notice, Outcome, Progress, RunnerError},
    settings::SettingsError,
    spool::SpoolError,
    workload::{plan::PlanError, suite::SuiteError},
};

/// The line to the parent.
pub(super) struct Events {
    progress: Mutex<JobProgress>,
    leave: tokio::sync::Mutex<mpsc::Receiver<()>>,
    gone: CancellationToken,
    begun: Once,
}

impl Events {
    /// Listens to standard input from here on.
    pub(super) fn start(is_simulated: bool) -> io::Result<Arc<Self>> {
        let (given, leave) = mpsc::channel(1);
        let gone = CancellationToken::new();
        let end = gone.clone();
        // Left behind at the end: nothing else can be done with a thread that reads.
        thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || {
                listen(io::stdin(), &given);
                end.cancel();
            })?;
        let progress = JobProgress {
            is_simulated,
            ..JobProgress::default()
        };
        Ok(Arc::new(Self {
            progress: Mutex::new(progress),
            leave: tokio::sync::Mutex::new(leave),
            gone,
            begun: Once::new(),
        }))
    }

    /// Cancelled when the parent is gone.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// For the quiet gate: tells of a window, and waits for leave, but not for ever.
    pub(super) fn notice(self: &Arc<Self>) -> Arc<Notice> {
        let events = self.clone();
        Arc::new(move |longest| {
            let events = events.clone();
            async move { events.ask(longest).await }.boxed()
        })
    }

    async fn ask(&self, longest: Duration) {
        let mut leave = self.leave.lock().await;
        // Of a window that did not wait any longer.
        leave.try_recv().ok();
        self.tell(&BenchEvent::window(longest));
        if timeout(LEAVE_WITHIN, leave.recv()).await.is_err() {
            tracing::warn!(
                "no leave to measure from the agent that started this bench; it goes on"
            );
        }
    }

    /// Something is measured and kept, of this bench or of the one that it goes on with.
    pub(super) fn begun(&self) {
        self.begun.call_once(|| self.tell(&BenchEvent::Begun));
    }

    /// Where it stands, if that is another place than before.
    pub(super) fn show(&self, step: Progress) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match step {
            Progress::Stage(stage) => progress.stage = stage,
            Progress::Run {
                number,
                total,
                label,
            } => {
                (progress.run, progress.runs) = (count(number), count(total));
                progress.stage = label;
            }
            Progress::Requests { done, total, left } => {
                self.begun();
                (progress.done, progress.total) = (done, total);
                progress.left_s = left.map(|left| left.seconds);
            }
            Progress::Segment(went) => {
                (progress.output_tps, progress.power) = (went.output_tps, went.power);
            }
            Progress::Finished(_) => return,
        }
        self.tell(&BenchEvent::Progress(progress.clone()));
    }

    pub(super) fn tell(&self, event: &BenchEvent) {
        let line = serde_json::to_string(event).expect("plain fields, written to memory");
        let mut out = io::stdout().lock();
        // A parent that is gone is noticed by standard input.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            self.gone.cancel();
        }
    }

    /// The last word.
    pub(super) fn end(&self, how: BenchEnd, reason: String) {
        self.tell(&BenchEvent::Ended { how, reason });
    }
}

/// Each line is leave to measure; returns when there is nobody any more.
fn listen(mut input: impl Read, given: &mpsc::Sender<()>) {
    let mut bytes = [0; 16];
    loop {
        match input.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {
                given.try_send(()).ok();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// How a bench that ran ended, and why if it did not go well.
pub(super) fn verdict(outcome: &Outcome) -> (BenchEnd, String) {
    if let Some(error) = &outcome.error {
        let reason = crate::uplink::chain(error);
        return match error {
            // What could be loaded before may be loaded again.
            RunnerError::Setup(_) if outcome.is_unfinished => (BenchEnd::Unfinished, reason),
            error => (of_runner(error), reason),
        };
    }
    let is_aborted = |report: &RunReport| report.ended_early();
    match outcome {
        _ if outcome.is_unfinished => (BenchEnd::Unfinished, "it was told to leave off".to_owned()),
        _ if outcome.is_cancelled => (
            BenchEnd::Cancelled,
            "it was stopped at the device".to_owned(),
        ),
        _ if outcome.reports.iter().all(is_aborted) => (BenchEnd::Failed, first_reason(outcome)),
        _ => (BenchEnd::Done, String::new()),
    }
}

fn first_reason(outcome: &Outcome) -> String {
    let mut reasons = outcome.reports.iter();
    let reason = reasons.find_map(|report| report.reasons.get("run"));
    let reason = reason.map_or("the engine did not come back", |reason| reason);
    format!("no run came to its end: {reason}")
}

/// How a bench ended that could not run.
pub(super) fn class(error: &anyhow::Error) -> BenchEnd {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        if let Some(error) = cause.downcast_ref::<SpoolError>() {
            return Some(of_spool(error));
        }
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return Some(match refused {
                Refused::Interrupted(_) | Refused::OfAJob(_) => BenchEnd::Busy,
                Refused::AskedOtherwise(_) => BenchEnd::Failed,
            });
        }
        if let Some(error) = cause.downcast_ref::<RunnerError>() {
            return Some(of_runner(error));
        }
        let is_asked_wrong = cause.is::<SettingsError>()
            || cause.is::<SuiteError>()
            || cause.is::<PlanError>()
            || matches!(
                cause.downcast_ref::<BackendError>(),
                Some(BackendError::Setup { .. })
            );
        is_asked_wrong.then_some(BenchEnd::Refused)
    };
    error.chain().find_map(of).unwrap_or(BenchEnd::Failed)
}

fn of_runner(error: &RunnerError) -> BenchEnd {
    match error {
        RunnerError::Setup(BackendError::Setup { .. }) => BenchEnd::Refused,
        RunnerError::Shortened { .. } => BenchEnd::Full,
        RunnerError::Spool(error) => of_spool(error),
        _ => BenchEnd::Failed,
    }
}

fn of_spool(error: &SpoolError) -> BenchEnd {
    match error {
        SpoolError::Busy { .. } => BenchEnd::Busy,
        error if error.is_full() => BenchEnd::Full,
        _ => BenchEnd::Failed,
    }
}

/// The agent that started this has to say a word to a collector first, over a network that may be slow.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::suite::Suite;

    #[test]
    fn what_cannot_be_here_is_told_from_what_may_go_well_the_next_time() {
        let check = |error: anyhow::Error, want| assert_eq!(class(&error), want, "{error:#}");
        let folder = "/data".into();
        check(SpoolError::Busy { folder }.into(), BenchEnd::Busy);
        let (path, bytes_max) = ("/data/spool.db".into(), 7);
        let full = SpoolError::Full { path, bytes_max };
        check(RunnerError::Spool(full).into(), BenchEnd::Full);
        let message = "no such model".to_owned();
        let setup = BackendError::Setup { message };
        check(RunnerError::Setup(setup).into(), BenchEnd::Refused);
        let message = "nobody answers".to_owned();
        let absent = BackendError::Absent { message };
        check(RunnerError::Setup(absent).into(), BenchEnd::Failed);
        let own = Suite::find("no-such-suite", None).err().unwrap();
        check(
            anyhow::Error::from(own).context("--suite"),
            BenchEnd::Refused,
        );
        let interrupted = Refused::Interrupted("2 runs".to_owned());
        check(interrupted.into(), BenchEnd::Busy);
        let otherwise = Refused::AskedOtherwise(Vec::new());
        check(otherwise.into(), BenchEnd::Failed);
        check(anyhow::anyhow!("a clock").context("x"), BenchEnd::Failed);
    }

    #[test]
    fn what_can_go_on_another_time_is_not_over() {
        let setup = |message: &str| {
            let message = message.to_owned();
            RunnerError::Setup(BackendError::Setup { message })
        };
        let check = |error, is_unfinished, want| {
            let outcome = Outcome {
                error: Some(error),
                is_unfinished,
                ..Outcome::default()
            };
            assert_eq!(verdict(&outcome).0, want);
        };
        check(setup("not back yet"), true, BenchEnd::Unfinished);
        check(setup("no such file"), false, BenchEnd::Refused);
        let path = "/data/spool.db".into();
        let full = SpoolError::DiskFull { path };
        let shortened = RunnerError::Shortened {
            given_up: "all".to_owned(),
            because: Box::new(full),
        };
        check(shortened, true, BenchEnd::Full);
    }

    #[test]
    fn every_line_is_leave_and_the_end_of_the_input_is_the_end() {
        let (given, mut leave) = mpsc::channel(1);
        listen(&b"\n"[..], &given);
        assert!(leave.try_recv().is_ok());
        assert!(leave.try_recv().is_err());
    }
}
