//! A bench whose agent was killed, and one that was told to leave: every request once, one report, nothing made up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;
use tokwatt_agent::{
    backend::BackendError,
    clock::SystemClock,
    runner::{Group, RunnerError, abandon, last_stamp},
    spool::Spool,
};
use tokwatt_domain::{ids::Seq, metrics::measure, run::RunEnd, time::WallTime};
use tokwatt_proto::{Record, assemble};

use crate::{
    Bench, Outcome, count, is_finished, is_opened, plan, records, requests, scripted::Reply,
};

impl Bench {
    /// Asks until somebody asks this, and is gone then, as an agent that was killed.
    async fn killed_at(&self, n_items: usize, last: &'static str, time: usize) {
        self.killed_behind(None, n_items, last, time).await;
    }

    /// In the runs that come after those of another group.
    async fn killed_behind(
        &self,
        before: Option<Group>,
        n_items: usize,
        last: &'static str,
        time: usize,
    ) {
        let killed = Arc::new(Notify::new());
        let (killer, n_asked) = (killed.clone(), AtomicUsize::new(0));
        let group = self.group(
            |_| Ok(()),
            move |prompt| {
                let is_it = prompt == last;
                if is_it && n_asked.fetch_add(1, Ordering::Relaxed) + 1 == time {
                    killer.notify_one();
                    return Reply::Never;
                }
                Reply::Answer
            },
        );
        let plan = plan(n_items);
        let groups: Vec<Group> = before.into_iter().chain([group]).collect();
        let mut in_silence = |_| {};
        tokio::select! {
            biased;
            () = killed.notified() => {}
            _ = self.runner.bench(&plan, &groups, &mut in_silence) => panic!("it was to be killed"),
        }
    }

    /// What a new agent finds.
    fn again(mut self) -> Self {
        self.reopen();
        self.seen = Arc::default();
        let last = last_stamp(&self.runner.spool).unwrap().unwrap_or_default();
        self.runner.clock = Arc::new(SystemClock::start_after(last));
        self.runner.stop = Default::default();
        self.runner.leave = Default::default();
        self
    }

    fn reopen(&mut self) {
        let spool = Spool::open(self.folder.path(), WallTime(2), 1 << 30).unwrap();
        self.runner.spool = Arc::new(spool);
    }
}

/// As the collector puts it together, from everything that was ever sent.
#[track_caller]
fn check_every_request_once(outcome: &Outcome, sent: &[Record], n_items: u32) {
    let trace = outcome.traces.last().unwrap();
    assert!(requests(trace).map(|request| request.index).eq(0..n_items));
    let stamps: Vec<u64> = requests(trace).map(|request| request.sent.0).collect();
    assert!(stamps.is_sorted(), "the clock went back");
    let windows: Vec<_> = trace
        .segments
        .iter()
        .map(|segment| segment.window)
        .collect();
    assert!(windows.windows(2).all(|pair| pair[0].to < pair[1].from));
    let of_run = |record: &&Record| record.run() == Some(trace.header.run);
    let assembled = assemble(sent.iter().filter(of_run).cloned()).unwrap();
    assert_eq!(&assembled.trace, trace);
    assert_eq!(assembled.report, measure(trace));
}

#[tokio::test]
async fn a_run_goes_on_after_its_last_segment_and_is_one_run_with_one_report() {
    let bench = Bench::new();
    bench.killed_at(1200, "q700", 1).await;
    let bench = bench.again();
    assert_eq!(count(&bench.runner.spool, is_finished), 0);
    let outcome = bench.ask(1200, |_| Reply::Answer).await;
    assert!(outcome.error.is_none() && !outcome.is_unfinished);
    assert_eq!(outcome.reports.len(), 1);
    check_every_request_once(&outcome, &records(&bench.runner.spool), 1200);
    // What was in hand is asked again, what was kept is not.
    let asked = bench.asked('q');
    assert_eq!((asked[0].as_str(), asked.len()), ("q500", 700));
    let trace = &outcome.traces[0];
    assert_eq!((trace.end, trace.resumptions.len()), (RunEnd::Complete, 1));
    assert_eq!(trace.resumptions[0].segment, 1);
    assert_eq!(outcome.reports[0].requests.issued, 1200);
    let flag = outcome.reports[0]
        .flags
        .iter()
        .find(|flag| flag.id == "resumed");
    assert!(!flag.unwrap().blocking);
    assert_eq!(bench.runner.spool.unfinished().unwrap(), None);
}

#[tokio::test]
async fn what_was_delivered_meanwhile_is_neither_lost_nor_sent_again() {
    let bench = Bench::new();
    bench.killed_at(1200, "q700", 1).await;
    let mut sent = records(&bench.runner.spool);
    let last = bench.runner.spool.status().unwrap().last;
    bench.runner.spool.acknowledge(last).unwrap();
    let bench = bench.again();
    let outcome = bench.ask(1200, |_| Reply::Answer).await;
    sent.extend(records(&bench.runner.spool));
    check_every_request_once(&outcome, &sent, 1200);
    let left = bench.runner.spool.after(Seq(0), usize::MAX).unwrap();
    assert!(left[0].seq > last, "it would be sent again");
}

#[tokio::test]
async fn a_run_that_is_killed_again_and_again_goes_on_each_time() {
    let mut bench = Bench::new();
    for last in ["q3", "q499", "q500", "q1000"] {
        bench.killed_at(1100, last, 1).await;
        bench = bench.again();
    }
    let outcome = bench.ask(1100, |_| Reply::Answer).await;
    check_every_request_once(&outcome, &records(&bench.runner.spool), 1100);
    let segments: Vec<u32> = outcome.traces[0]
        .resumptions
        .iter()
        .map(|resumption| resumption.segment)
        .collect();
    assert_eq!(segments, [0, 0, 1, 2]);
    assert_eq!(count(&bench.runner.spool, is_opened), 1);
}

#[tokio::test]
async fn runs_that_were_finished_are_not_asked_again_and_stand_in_the_outcome() {
    let mut bench = Bench::new();
    bench.runner.settings.repeat = 3;
    bench.killed_at(10, "q4", 2).await;
    let settings = bench.runner.settings.clone();
    let mut bench = bench.again();
    bench.runner.settings = settings;
    let outcome = bench.ask(10, |_| Reply::Answer).await;
    let repetitions: Vec<u32> = outcome
        .reports
        .iter()
        .map(|report| report.repetition)
        .collect();
    assert_eq!(repetitions, [1, 2, 3]);
    assert_eq!(bench.asked('q').len(), 20);
    assert_eq!(count(&bench.runner.spool, is_finished), 3);
    assert_eq!(count(&bench.runner.spool, is_opened), 3);
    let ended = outcome.traces.len();
    assert_eq!(
        ended, 2,
        "the first run's trace was told by the agent that is gone"
    );
}

#[tokio::test]
async fn an_agent_that_is_told_to_leave_ends_no_run_and_keeps_no_half_of_a_segment() {
    let bench = Bench::new();
    let (stop, leave) = (bench.runner.stop.clone(), bench.runner.leave.clone());
    let outcome = bench
        .ask(800, move |prompt| {
            if prompt == "q600" {
                leave.cancel();
                stop.cancel();
            }
            Reply::Answer
        })
        .await;
    assert!(outcome.is_unfinished && outcome.reports.is_empty());
    assert_eq!(count(&bench.runner.spool, is_finished), 0);
    let bench = bench.again();
    let outcome = bench.ask(800, |_| Reply::Answer).await;
    check_every_request_once(&outcome, &records(&bench.runner.spool), 800);
    assert_eq!(bench.asked('q').len(), 300);
}

#[tokio::test]
async fn another_cell_does_not_go_on_with_it_and_what_changed_is_named() {
    let bench = Bench::new();
    bench.killed_at(600, "q550", 1).await;
    let mut bench = bench.again();
    bench.runner.settings.max_tokens = Some(7);
    let outcome = bench.ask(600, |_| Reply::Answer).await;
    let Some(error @ RunnerError::Changed { .. }) = &outcome.error else {
        panic!("{:?}", outcome.error);
    };
    let said = error.to_string();
    assert!(said.contains("`max_tokens` was 64 and is 7"), "{said}");
    assert!(outcome.is_unfinished, "it can still go on as it was");
    bench.runner.settings.max_tokens = None;
    let outcome = bench.ask(600, |_| Reply::Answer).await;
    check_every_request_once(&outcome, &records(&bench.runner.spool), 600);
}

#[tokio::test]
async fn a_bench_that_is_given_up_leaves_a_cancelled_run_with_what_was_kept() {
    let bench = Bench::new();
    bench.killed_at(600, "q550", 1).await;
    let bench = bench.again();
    abandon(&bench.runner.spool).unwrap();
    assert_eq!(bench.runner.spool.unfinished().unwrap(), None);
    let assembled = assemble(records(&bench.runner.spool)).unwrap();
    assert_eq!(assembled.trace.end, RunEnd::Cancelled);
    assert_eq!(assembled.report.requests.issued, 500);
    assert_eq!(assembled.report, measure(&assembled.trace));
    assert!(assembled.report.ended_early());

    let outcome = bench.ask(3, |_| Reply::Answer).await;
    assert_eq!(outcome.reports.len(), 1);
    assert_eq!(bench.asked('q').len(), 3);
}

/// Questions outside the runs come before the load is warmed up.
#[tokio::test]
async fn who_stops_a_bench_before_it_goes_on_ends_its_run_with_what_was_kept() {
    for n_asked in [1, 2, 4] {
        let bench = Bench::new();
        bench.killed_at(600, "q550", 1).await;
        let bench = bench.again();
        let (stop, count) = (bench.runner.stop.clone(), AtomicUsize::new(0));
        let outcome = bench
            .ask(600, move |_| {
                if count.fetch_add(1, Ordering::Relaxed) + 1 == n_asked {
                    stop.cancel();
                }
                Reply::Answer
            })
            .await;
        assert_eq!(outcome.traces[0].end, RunEnd::Cancelled);
        assert_eq!(requests(&outcome.traces[0]).count(), 500);
        assert!(!outcome.is_unfinished && outcome.reports.len() == 1);
        assert_eq!(bench.runner.spool.unfinished().unwrap(), None);
    }
}

#[tokio::test]
async fn a_bench_that_cannot_be_set_up_again_can_still_go_on_later() {
    let bench = Bench::new();
    bench.killed_at(600, "q550", 1).await;
    let bench = bench.again();
    let wrong = |_| {
        Err(BackendError::Setup {
            message: "no such file".to_owned(),
        })
    };
    let group = bench.group(wrong, |_| Reply::Answer);
    let outcome = bench.run(600, &[group]).await;
    assert!(matches!(outcome.error, Some(RunnerError::Setup(_))));
    assert!(outcome.is_unfinished);
    let outcome = bench.ask(600, |_| Reply::Answer).await;
    check_every_request_once(&outcome, &records(&bench.runner.spool), 600);
}

#[tokio::test]
async fn a_model_that_could_not_be_set_up_is_not_tried_again_when_the_bench_goes_on() {
    let bench = Bench::new();
    let wrong = |_| {
        Err(BackendError::Setup {
            message: "no such file".to_owned(),
        })
    };
    let never = |_| panic!("it is loaded again");
    let bad = bench.group(wrong, |_| Reply::Answer);
    bench.killed_behind(Some(bad), 600, "q550", 1).await;
    let bench = bench.again();
    let bad = bench.group(never, |_| Reply::Answer);
    let good = bench.group(|_| Ok(()), |_| Reply::Answer);
    let outcome = bench.run(600, &[bad, good]).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.reports.len(), 2);
    assert_eq!(requests(outcome.traces.last().unwrap()).count(), 600);
}

#[tokio::test]
async fn finished_runs_are_not_forgotten_when_the_engine_is_not_back_yet() {
    let mut bench = Bench::new();
    bench.runner.settings.repeat = 3;
    let settings = bench.runner.settings.clone();
    // In the warm-up of the second repetition (the cache probe asks it three times), with no run in hand.
    bench.killed_at(10, "w1", 5).await;
    let mut bench = bench.again();
    bench.runner.settings = settings;
    let away = |_| {
        Err(BackendError::Setup {
            message: "nobody listens yet".to_owned(),
        })
    };
    let group = bench.group(away, |_| Reply::Answer);
    assert!(bench.run(10, &[group]).await.is_unfinished);
    let outcome = bench.ask(10, |_| Reply::Answer).await;
    assert_eq!(outcome.reports.len(), 3);
    assert_eq!(bench.asked('q').len(), 20);
    assert_eq!(count(&bench.runner.spool, is_opened), 3);
}

#[tokio::test]
async fn stamps_go_on_after_the_last_one_that_was_kept() {
    let bench = Bench::new();
    bench.killed_at(600, "q550", 1).await;
    let last = last_stamp(&bench.runner.spool).unwrap().unwrap();
    let trace_end = {
        let bench = bench.again();
        assert!(bench.runner.clock.now() >= last);
        let outcome = bench.ask(600, |_| Reply::Answer).await;
        outcome.traces[0].segments[1].window.from
    };
    assert!(trace_end > last);
}
