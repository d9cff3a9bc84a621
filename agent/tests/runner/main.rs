//! The runner over a scripted engine and a real spool: what is asked when, what is kept, and how a run ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conditions;
mod open_loop;
mod resume;
mod scripted;
mod shortage;
mod square_wave;

use std::{
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokwatt_agent::{
    backend::BackendError,
    clock::{Clock, SystemClock},
    device::{
        HostRoot,
        gauges::Gauges,
        jetson::PowerMode,
        nvpmodel::{Nvpmodel, table},
    },
    power::{
        Pace, PowerSource, ReadError, Taken,
        sampler::{Cadence, Sampler},
    },
    power_mode::{Switch, Target},
    runner::{Group, Outcome as Ended, Progress, QuietGate, Runner, RunnerError, RunnerSettings},
    spool::{Spool, SpoolError},
    workload::plan::{Item, Plan, PlannedCell},
};
use tokwatt_domain::{
    device::{DeviceKind, DeviceProfile},
    ids::{DeviceId, Digest, Seq},
    power::{PowerSample, Provenance, Rail, Reading, Scope, Sensor},
    run::{FailureClass, Outcome as Ending, RequestTrace, RunEnd, RunTrace},
    time::WallTime,
    units::Watts,
    workload::{Load, Sampling, Scoring},
};
use tokwatt_proto::Record;

use scripted::{Reply, Scripted, Seen, card, died};

/// What a bench came to, with the traces of the runs that ended in it.
struct Outcome {
    ended: Ended,
    traces: Vec<RunTrace>,
}

impl Deref for Outcome {
    type Target = Ended;

    fn deref(&self) -> &Ended {
        &self.ended
    }
}

impl DerefMut for Outcome {
    fn deref_mut(&mut self) -> &mut Ended {
        &mut self.ended
    }
}

/// A runner with everything around it.
struct Bench {
    folder: TempDir,
    runner: Runner,
    seen: Arc<Mutex<Seen>>,
}

impl Bench {
    fn new() -> Self {
        Self::with_spool(1 << 30)
    }

    fn with_spool(bytes_max: u64) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), bytes_max)
    }

    fn in_folder(folder: TempDir, bytes_max: u64) -> Self {
        let spool = Spool::open(folder.path(), WallTime(1), bytes_max).unwrap();
        let runner = Runner {
            device: DeviceProfile {
                id: DeviceId::parse("made-up").unwrap(),
                kind: DeviceKind::Generic,
                facts: [].into(),
                reasons: [].into(),
            },
            clock: Arc::new(SystemClock::start()),
            sampler: None,
            power_reasons: [].into(),
            host_root: HostRoot::system(),
            gauges: Gauges::default(),
            spool: Arc::new(spool),
            grown: Arc::default(),
            quiet: QuietGate::default(),
            settings: RunnerSettings {
                repeat: 1,
                loads: vec![Load::Closed(1)],
                limits: None,
                job: None,
                timeout: Duration::from_secs(60),
                max_tokens: None,
                sampling: Sampling::Greedy,
                is_streaming: true,
                idle: Duration::ZERO,
                is_quick: true,
                load_trials: 0,
                provenance: Provenance::Simulated,
            },
            stop: CancellationToken::new(),
            leave: CancellationToken::new(),
        };
        Self {
            folder,
            runner,
            seen: Arc::default(),
        }
    }

    fn group(
        &self,
        loads: fn(usize) -> Result<(), BackendError>,
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Group {
        Group {
            backend_name: "scripted".to_owned(),
            backend: Arc::new(Scripted {
                clock: self.runner.clock.clone(),
                script: Box::new(script),
                loads,
                seen: self.seen.clone(),
                is_up: Arc::default(),
            }),
            expected: card(),
            power_mode: None,
        }
    }

    async fn ask(
        &self,
        n_items: usize,
        script: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Outcome {
        let group = self.group(|_| Ok(()), script);
        self.run(n_items, &[group]).await
    }

    async fn run(&self, n_items: usize, groups: &[Group]) -> Outcome {
        self.run_watched(n_items, groups, |_| ()).await
    }

    async fn run_watched(
        &self,
        n_items: usize,
        groups: &[Group],
        mut watch: impl FnMut(&Progress) + Send,
    ) -> Outcome {
        let plan = plan(n_items);
        let mut traces = Vec::new();
        let mut keep = |step| {
            watch(&step);
            if let Progress::Finished(trace) = step {
                traces.push(*trace);
            }
        };
        let ended = self.runner.bench(&plan, groups, &mut keep).await;
        Outcome { ended, traces }
    }

    /// In which power modes the device was described.
    fn described(&self) -> Vec<String> {
        let described = records(&self.runner.spool).into_iter();
        let described = described.filter_map(|record| match record {
            Record::Device(device) => Some(device.facts["power_mode_id"].clone()),
            _ => None,
        });
        described.collect()
    }

    fn asked(&self, kind: char) -> Vec<String> {
        let mut asked = self.seen.lock().unwrap().asked.clone();
        asked.retain(|prompt| prompt.starts_with(kind));
        asked
    }
}

/// One task with questions `q0`, `q1`, … after the warm-up questions `w0` and `w1`.
fn plan(n_items: usize) -> Plan {
    let item = |name: String| Item {
        prompt: name.clone(),
        name,
        history: Vec::new(),
        picture: None,
        truth: None,
    };
    Plan {
        suite: "made-up".to_owned(),
        digest: Digest([0; 32]),
        concurrency: vec![1],
        cells: vec![PlannedCell {
            task: "caption_brief".to_owned(),
            image_px: None,
            max_tokens: 64,
            is_fixed_length: false,
            scoring: Scoring::Caption,
            requests_per_slot: None,
            items: (0..n_items).map(|n| item(format!("q{n}"))).collect(),
            warm_up: (0..2).map(|n| item(format!("w{n}"))).collect(),
        }],
    }
}

fn records(spool: &Spool) -> Vec<Record> {
    let spooled = spool.after(Seq(0), usize::MAX).unwrap();
    let decode = |spooled: &tokwatt_agent::spool::Spooled| Record::decode(&spooled.bytes).unwrap();
    spooled.iter().map(decode).collect()
}

fn count(spool: &Spool, is_counted: fn(&Record) -> bool) -> usize {
    records(spool)
        .iter()
        .filter(|record| is_counted(record))
        .count()
}

fn is_opened(record: &Record) -> bool {
    matches!(record, Record::RunOpened(_))
}

fn is_finished(record: &Record) -> bool {
    matches!(record, Record::RunFinished { .. })
}

fn is_segment(record: &Record) -> bool {
    matches!(record, Record::SegmentClosed { .. })
}

fn requests(trace: &RunTrace) -> impl Iterator<Item = &RequestTrace> {
    trace.segments.iter().flat_map(|segment| &segment.requests)
}

fn names(trace: &RunTrace) -> Vec<&str> {
    requests(trace)
        .map(|request| request.item.as_str())
        .collect()
}

fn classes(trace: &RunTrace) -> Vec<Option<FailureClass>> {
    requests(trace)
        .map(|request| match request.outcome {
            Ending::Failed { class, .. } => Some(class),
            Ending::Stop | Ending::Length => None,
        })
        .collect()
}

#[tokio::test]
async fn what_somebody_left_in_memory_is_taken_out_before_a_swap() {
    let bench = Bench::new();
    let groups = [(); 2].map(|()| bench.group(|_| Ok(()), |_| Reply::Answer));
    for group in &groups {
        group.backend.load().await.unwrap();
    }
    let swapped = bench.runner.swap(&plan(2), &groups, 1, &mut |_| ()).await;
    assert!(swapped.error.is_none(), "{:?}", swapped.error);
    let indices = swapped.models.map(|model| {
        model
            .requests
            .iter()
            .map(|request| request.index)
            .collect::<Vec<_>>()
    });
    assert_eq!(indices, [[0, 1], [0, 1]]);
    assert_eq!(bench.seen.lock().unwrap().n_loads, 4);
}

#[tokio::test]
async fn a_closed_loop_never_has_more_in_flight_than_its_concurrency() {
    for concurrency in [1, 3, 8] {
        let mut bench = Bench::new();
        bench.runner.settings.loads = vec![Load::Closed(concurrency)];
        bench.ask(40, |_| Reply::Answer).await;
        let seen = bench.seen.lock().unwrap();
        assert_eq!(seen.most_in_flight, concurrency as usize);
        assert_eq!(seen.in_flight, 0);
    }
}

#[tokio::test]
async fn clients_ask_in_the_order_of_the_plan() {
    let mut bench = Bench::new();
    bench.runner.settings.loads = vec![Load::Closed(4)];
    let outcome = bench.ask(40, |_| Reply::Answer).await;
    let planned: Vec<String> = (0..40).map(|n| format!("q{n}")).collect();
    assert_eq!(bench.asked('q'), planned);
    assert_eq!(names(&outcome.traces[0]), planned);
    assert!(requests(&outcome.traces[0]).is_sorted_by_key(|request| request.sent));
}

#[tokio::test]
async fn a_request_that_never_ends_is_a_timeout_and_the_run_goes_on() {
    let mut bench = Bench::new();
    bench.runner.settings.timeout = Duration::from_millis(200);
    let outcome = bench
        .ask(4, |prompt| match prompt {
            "q1" => Reply::Never,
            _ => Reply::Answer,
        })
        .await;
    let trace = &outcome.traces[0];
    let timeout = Some(FailureClass::Timeout);
    assert_eq!(classes(trace), [None, timeout, None, None]);
    assert_eq!(trace.end, RunEnd::Complete);
    let late = requests(trace).nth(1).unwrap();
    assert!(late.ended.since(late.sent) >= Duration::from_millis(200));
    assert!(trace.segments[0].window.length() >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_answer_that_is_complete_has_ended_although_its_connection_has_not() {
    let mut bench = Bench::new();
    bench.runner.settings.timeout = Duration::from_millis(200);
    let outcome = bench
        .ask(2, |prompt| match prompt {
            "q0" => Reply::Linger,
            _ => Reply::Answer,
        })
        .await;
    assert_eq!(classes(&outcome.traces[0]), [None, None]);
    let lingering = requests(&outcome.traces[0]).next().unwrap();
    assert!(lingering.ended.since(lingering.sent) < Duration::from_millis(200));
}

#[tokio::test]
async fn failures_keep_their_class_and_are_no_reason_to_stop() {
    const CLASSES: [FailureClass; 4] = [
        FailureClass::Http,
        FailureClass::Refused,
        FailureClass::OutOfMemory,
        FailureClass::Protocol,
    ];
    let bench = Bench::new();
    let outcome = bench
        .ask(4, |prompt| match prompt.strip_prefix('q') {
            Some(n) => Reply::Fail(CLASSES[n.parse::<usize>().unwrap()]),
            None => Reply::Answer,
        })
        .await;
    assert_eq!(classes(&outcome.traces[0]), CLASSES.map(Some));
    assert_eq!(outcome.traces[0].end, RunEnd::Complete);
    assert_eq!(outcome.reports[0].requests.succeeded, 0);
    assert_eq!(bench.seen.lock().unwrap().n_loads, 1);
}

#[tokio::test]
async fn a_stopped_bench_keeps_what_was_measured_and_asks_nothing_more() {
    let mut bench = Bench::new();
    bench.runner.settings.repeat = 2;
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(10, move |prompt| {
            if prompt == "q3" {
                stop.cancel();
            }
            Reply::Answer
        })
        .await;
    assert!(outcome.is_cancelled && outcome.error.is_none());
    assert_eq!(outcome.traces.len(), 1);
    assert_eq!(names(&outcome.traces[0]), ["q0", "q1", "q2", "q3"]);
    assert_eq!(classes(&outcome.traces[0]), [None; 4]);
    assert_eq!(bench.asked('q').len(), 4);
    let last = records(&bench.runner.spool).pop().unwrap();
    assert!(
        matches!(
            &last,
            Record::RunFinished {
                end: RunEnd::Cancelled,
                ..
            }
        ),
        "{last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_complete_when_a_person_stops_was_not_cancelled() {
    let bench = Bench::new();
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(10, move |prompt| match prompt {
            "q1" => {
                stop.cancel();
                Reply::Linger
            }
            _ => Reply::Answer,
        })
        .await;
    assert_eq!(classes(&outcome.traces[0]), [None, None]);
}

#[tokio::test]
async fn who_stops_does_not_wait_for_an_answer_that_never_comes() {
    let bench = Bench::new();
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(10, move |prompt| match prompt {
            "q1" => {
                stop.cancel();
                Reply::Never
            }
            _ => Reply::Answer,
        })
        .await;
    let cancelled = Some(FailureClass::Cancelled);
    assert_eq!(classes(&outcome.traces[0]), [None, cancelled]);
    assert_eq!(outcome.traces[0].end, RunEnd::Cancelled);
}

#[tokio::test]
async fn stopped_while_it_warms_up_it_asks_nothing_and_leaves_no_run() {
    let bench = Bench::new();
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(10, move |prompt| {
            if prompt == "w1" {
                stop.cancel();
            }
            Reply::Answer
        })
        .await;
    assert!(outcome.is_cancelled && outcome.traces.is_empty());
    assert_eq!(bench.asked('q'), [""; 0]);
    assert_eq!(count(&bench.runner.spool, is_opened), 0);
}

#[tokio::test]
async fn stopped_while_the_engine_is_silent_it_does_not_wait_for_its_first_token() {
    let bench = Bench::new();
    let stop = bench.runner.stop.clone();
    let outcome = bench
        .ask(1, move |_| {
            stop.cancel();
            Reply::Never
        })
        .await;
    assert!(outcome.is_cancelled && outcome.traces.is_empty());
}

#[tokio::test]
async fn an_engine_that_cannot_be_loaded_again_aborts_the_run_with_what_was_measured() {
    let bench = Bench::new();
    let only_once = |n| match n {
        1 => Ok(()),
        _ => Err(died("no more")),
    };
    let group = bench.group(only_once, |prompt| match prompt {
        "q2" => Reply::Die,
        _ => Reply::Answer,
    });
    let outcome = bench.run(10, &[group]).await;
    let trace = &outcome.traces[0];
    assert_eq!(trace.end, RunEnd::Aborted);
    let crashed = Some(FailureClass::Crashed);
    assert_eq!(classes(trace), [None, None, crashed]);
    let Ending::Failed { message, .. } = &requests(trace).nth(2).unwrap().outcome else {
        panic!("it answered");
    };
    assert_eq!(message, "these were its last words");
    assert_eq!(count(&bench.runner.spool, is_segment), 1);
    assert_eq!(count(&bench.runner.spool, is_finished), 1);
}

#[tokio::test]
async fn an_engine_that_died_is_loaded_and_warmed_up_again_for_the_rest() {
    let bench = Bench::new();
    let spool = bench.runner.spool.clone();
    let group = bench.group(
        |_| Ok(()),
        move |prompt| match prompt {
            "q2" => Reply::Die,
            "q3" => {
                assert_eq!(count(&spool, is_segment), 1, "kept before it was loaded");
                Reply::Answer
            }
            _ => Reply::Answer,
        },
    );
    let outcome = bench.run(5, &[group]).await;
    let trace = &outcome.traces[0];
    assert_eq!(trace.end, RunEnd::Complete);
    assert_eq!(names(trace), ["q0", "q1", "q2", "q3", "q4"]);
    let asked = bench.seen.lock().unwrap().asked.clone();
    // After the load and once more to see whether that is cached, so is w1; then the warm-up.
    let before = ["w0", "w0", "w1", "w1", "w1", "w0", "w1"];
    let order = ["q0", "q1", "q2", "w0", "w1", "q3", "q4"];
    assert_eq!(asked, [&before[..], &order].concat());
    assert!(trace.segments[0].window.to <= trace.segments[1].window.from);
}

#[tokio::test]
async fn an_engine_that_dies_while_it_warms_up_costs_no_measured_request() {
    let bench = Bench::new();
    let n_warm_ups = AtomicUsize::new(0);
    let group = bench.group(
        |_| Ok(()),
        move |prompt| match prompt {
            // Twice it was asked before.
            "w0" if n_warm_ups.fetch_add(1, Ordering::Relaxed) == 2 => Reply::Die,
            _ => Reply::Answer,
        },
    );
    let outcome = bench.run(5, &[group]).await;
    assert_eq!(classes(&outcome.traces[0]), [None; 5]);
    assert_eq!(outcome.traces[0].end, RunEnd::Complete);
}

#[tokio::test]
async fn an_engine_that_always_dies_while_it_warms_up_aborts_with_its_last_words() {
    let bench = Bench::new();
    let group = bench.group(
        |_| Ok(()),
        |prompt| match prompt {
            "w1" => Reply::Die,
            _ => Reply::Answer,
        },
    );
    let outcome = bench.run(5, &[group]).await;
    let trace = &outcome.traces[0];
    assert_eq!((trace.end, trace.segments.len()), (RunEnd::Aborted, 0));
    assert_eq!(trace.header.reasons["run"], "these were its last words");
    assert_eq!(bench.asked('q'), [""; 0]);
}

#[tokio::test]
async fn a_question_before_the_runs_may_fail_or_hang_and_its_figure_is_absent() {
    for reply in [Reply::Fail(FailureClass::Refused), Reply::Never] {
        let mut bench = Bench::new();
        bench.runner.settings.timeout = Duration::from_millis(50);
        let is_first = AtomicUsize::new(0);
        let outcome = bench
            .ask(2, move |_| match is_first.fetch_add(1, Ordering::Relaxed) {
                0 => reply,
                _ => Reply::Answer,
            })
            .await;
        assert_eq!(outcome.traces[0].header.load_time, None);
        assert_eq!(classes(&outcome.traces[0]), [None; 2]);
    }
}

#[tokio::test]
async fn a_segment_is_in_the_spool_before_the_next_one_begins() {
    let bench = Bench::new();
    let spool = bench.runner.spool.clone();
    let outcome = bench
        .ask(501, move |prompt| {
            let n_segments = match prompt {
                "q0" | "q499" => 0,
                "q500" => 1,
                _ => return Reply::Answer,
            };
            assert_eq!(count(&spool, is_opened), 1);
            assert_eq!(count(&spool, is_segment), n_segments);
            Reply::Answer
        })
        .await;
    let trace = &outcome.traces[0];
    let sizes: Vec<usize> = trace
        .segments
        .iter()
        .map(|segment| segment.requests.len())
        .collect();
    assert_eq!(sizes, [500, 1]);
    let (first, second) = (trace.segments[0].window, trace.segments[1].window);
    assert!(first.to <= second.from, "{first:?} {second:?}");
    let sum = (first.length() + second.length()).as_secs_f64();
    assert!((outcome.reports[0].window_s - sum).abs() < 1e-9);
    assert!(requests(trace).map(|request| request.index).eq(0..501));
}

#[tokio::test]
async fn warm_up_is_over_before_the_window_and_never_in_the_trace() {
    let mut bench = Bench::new();
    bench.runner.settings.loads = vec![Load::Closed(2)];
    let outcome = bench.ask(4, |_| Reply::Answer).await;
    let trace = &outcome.traces[0];
    assert!(names(trace).iter().all(|name| name.starts_with('q')));
    let before = ["w0", "w0", "w1", "w1", "w1"];
    assert_eq!(bench.asked('w'), [&before[..], &["w0", "w1"]].concat());
    let warm_up_ended = bench.seen.lock().unwrap().warm_up_ended;
    assert!(warm_up_ended <= trace.segments[0].window.from);
}

#[tokio::test]
async fn the_gate_is_closed_while_it_measures_and_open_while_it_warms_up() {
    let bench = Bench::new();
    let quiet = bench.runner.quiet.clone();
    bench
        .ask(3, move |prompt| {
            let may_pass = quiet.pass().now_or_never().is_some();
            assert_eq!(may_pass, prompt.starts_with('w'), "{prompt}");
            Reply::Answer
        })
        .await;
    assert!(bench.runner.quiet.pass().now_or_never().is_some());
}

#[tokio::test]
async fn a_full_spool_ends_the_bench_before_a_run_and_loses_nothing() {
    let mut bench = Bench::with_spool(300_000);
    bench.runner.settings.repeat = 1000;
    let outcome = bench.ask(3, |_| Reply::Answer).await;
    assert!(
        matches!(
            outcome.error,
            Some(RunnerError::Spool(SpoolError::Full { .. }))
        ),
        "{:?}",
        outcome.error
    );
    let spool = &bench.runner.spool;
    assert!(outcome.reports.len() > 1);
    assert_eq!(count(spool, is_finished), outcome.reports.len());
    assert_eq!(count(spool, is_opened), outcome.reports.len());
}

#[tokio::test]
async fn a_model_that_is_set_up_wrong_has_runs_that_say_so_and_the_others_are_asked() {
    let bench = Bench::new();
    let good = || bench.group(|_| Ok(()), |_| Reply::Answer);
    let wrong = |_| {
        Err(BackendError::Setup {
            message: "no such file".to_owned(),
        })
    };
    let bad = bench.group(wrong, |_| Reply::Answer);
    let outcome = bench.run(2, &[good(), bad, good()]).await;
    assert!(outcome.error.is_none() && !outcome.is_unfinished);
    let ends: Vec<RunEnd> = outcome.traces.iter().map(|trace| trace.end).collect();
    assert_eq!(ends, [RunEnd::Complete, RunEnd::Aborted, RunEnd::Complete]);
    let reasons = &outcome.reports[1].reasons;
    assert_eq!(reasons["run"], "no such file");
}

#[tokio::test]
async fn where_no_model_can_be_set_up_the_bench_says_why() {
    let bench = Bench::new();
    let wrong = |_| {
        Err(BackendError::Setup {
            message: "no such file".to_owned(),
        })
    };
    let bad = || bench.group(wrong, |_| Reply::Answer);
    let outcome = bench.run(2, &[bad(), bad()]).await;
    assert!(matches!(outcome.error, Some(RunnerError::Setup(_))));
    assert!(outcome.reports.iter().all(|report| report.ended_early()));
    assert!(!outcome.is_unfinished);
}

/// 5 W, whenever it is read.
struct Steady([Sensor; 1]);

impl PowerSource for Steady {
    fn sensors(&self) -> &[Sensor] {
        &self.0
    }

    fn pace(&self) -> Pace {
        Pace::Sampler
    }

    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError> {
        let at = clock.now();
        let values = vec![5_000_000];
        let sample = PowerSample { at, values };
        into.push(Taken { sensor: 0, sample });
        Ok(())
    }
}

fn steady(bench: &Bench) -> Arc<Sampler> {
    let sensor = Sensor {
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
    };
    let clock = bench.runner.clock.clone();
    let sampler = Sampler::start(vec![Box::new(Steady([sensor]))], Cadence::default(), clock);
    Arc::new(sampler.unwrap())
}

#[tokio::test]
async fn a_window_waits_for_a_power_sample_before_it_and_one_after_it() {
    let mut bench = Bench::new();
    bench.runner.sampler = Some(steady(&bench));
    let outcome = bench.ask(3, |_| Reply::Answer).await;
    let segment = &outcome.traces[0].segments[0];
    let samples = &segment.power[0].samples;
    let (first, last) = (samples.first().unwrap(), samples.last().unwrap());
    let warm_up_ended = bench.seen.lock().unwrap().warm_up_ended;
    assert!(
        first.at >= warm_up_ended,
        "an old sample stands before the window"
    );
    assert!(first.at <= segment.window.from && segment.window.to <= last.at);
}

/// A made-up Jetson in mode 2, which anybody can switch.
struct Jetson(TempDir);

impl Jetson {
    fn new() -> Self {
        let jetson = Self(tempfile::tempdir().unwrap());
        for folder in ["etc", "usr/sbin", "var/lib/nvpmodel"] {
            fs::create_dir_all(jetson.0.path().join(folder)).unwrap();
        }
        let modes = "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=15W_REBOOT >\n< POWER_MODEL ID=2 NAME=30W >\n";
        fs::write(jetson.0.path().join("etc/nvpmodel.conf"), modes).unwrap();
        let fake =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nvpmodel/nvpmodel");
        symlink(fake, jetson.program()).unwrap();
        jetson.switch(2);
        jetson
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("usr/sbin/nvpmodel")
    }

    fn switch(&self, id: u32) {
        let state = self.0.path().join("var/lib/nvpmodel/status");
        fs::write(state, format!("pmode:{id:04}\n")).unwrap();
    }

    fn root(&self) -> HostRoot {
        HostRoot::at(self.0.path())
    }

    fn modes(&self) -> Vec<PowerMode> {
        table(&self.root()).unwrap()
    }

    /// Puts the mode that is in force now back at the end.
    fn keeper(&self) -> Switch {
        let nvpmodel = Nvpmodel::at(self.program());
        let agent = Path::new(env!("CARGO_BIN_EXE_tokwatt-agent"));
        let original = nvpmodel.query().unwrap();
        Switch::start(agent, nvpmodel, original).unwrap()
    }

    /// A bench on it.
    fn bench(&self) -> Bench {
        let mut bench = Bench::new();
        let facts = &mut bench.runner.device.facts;
        facts.insert("power_mode_id".to_owned(), "2".to_owned());
        facts.insert("power_mode".to_owned(), "30W".to_owned());
        bench.runner.host_root = self.root();
        bench
    }
}

fn modes(outcome: &Outcome) -> Vec<Option<&str>> {
    let cells = outcome.traces.iter().map(|trace| &trace.header.cell);
    cells
        .map(|cell| cell.configuration.power_mode.as_deref())
        .collect()
}

#[tokio::test]
async fn somebody_who_switches_the_power_mode_meanwhile_is_noticed_and_the_runs_say_in_which_they_ran()
 {
    let jetson = Arc::new(Jetson::new());
    let mut bench = jetson.bench();
    bench.runner.settings.repeat = 3;
    let n_asked = AtomicUsize::new(0);
    let somebody = jetson.clone();
    let outcome = bench
        .ask(2, move |prompt| {
            if prompt == "q0" && n_asked.fetch_add(1, Ordering::Relaxed) == 1 {
                somebody.switch(0);
            }
            Reply::Answer
        })
        .await;
    assert_eq!(modes(&outcome), [Some("30W"), Some("30W"), Some("MAXN")]);
    let reason = |n: usize| outcome.traces[n].header.reasons.get("power_mode");
    assert_eq!((reason(0), reason(1)), (None, None));
    assert!(
        reason(2)
            .unwrap()
            .contains("MAXN (0) is in force, not 30W (2)")
    );
    let [second, third] = &outcome.warnings[..] else {
        panic!("{:?}", outcome.warnings);
    };
    assert!(second.contains(" #2: begun in power mode 30W (2), and MAXN (0)"));
    assert_eq!(third, reason(2).unwrap());
}

#[tokio::test]
async fn a_run_in_which_the_power_mode_changes_is_named_though_it_is_the_last_one() {
    let jetson = Arc::new(Jetson::new());
    let bench = jetson.bench();
    let somebody = jetson.clone();
    let outcome = bench
        .ask(1, move |prompt| {
            if prompt == "q0" {
                somebody.switch(0);
            }
            Reply::Answer
        })
        .await;
    assert_eq!(modes(&outcome), [Some("30W")]);
    check_two_modes(&outcome, "30W (2)");
}

#[tokio::test]
async fn a_mode_that_changes_in_the_last_run_of_its_group_is_told_too() {
    let jetson = Arc::new(Jetson::new());
    let bench = jetson.bench();
    let somebody = jetson.clone();
    let group = bench.group(
        |_| Ok(()),
        move |prompt| {
            if prompt == "q0" {
                somebody.switch(0);
            }
            Reply::Answer
        },
    );
    let group = Group {
        power_mode: Some(Target {
            mode: jetson.modes().remove(2),
            switch: Arc::new(jetson.keeper()),
        }),
        ..group
    };
    let outcome = bench.run(1, &[group]).await;
    check_two_modes(&outcome, "30W (2)");
    assert!(outcome.warnings[0].starts_with("30W "), "its mode is named");
}

/// One warning, which names the only run.
#[track_caller]
fn check_two_modes(outcome: &Outcome, begun_in: &str) {
    let [warning] = &outcome.warnings[..] else {
        panic!("{:?}", outcome.warnings);
    };
    let label = outcome.traces[0].header.cell.label();
    for words in [
        &format!("{label} #1: begun in power mode {begun_in}"),
        "MAXN (0) is in force at its end",
        "two modes",
    ] {
        assert!(warning.contains(words), "{warning}");
    }
}

#[tokio::test]
async fn the_last_word_on_a_device_whose_bench_failed_is_the_mode_that_is_back() {
    let jetson = Jetson::new();
    let bench = jetson.bench();
    let setup = |_| {
        Err(BackendError::Setup {
            message: "it cannot be set up".to_owned(),
        })
    };
    let group = Group {
        power_mode: Some(Target {
            mode: jetson.modes().remove(0),
            switch: Arc::new(jetson.keeper()),
        }),
        ..bench.group(setup, |_| Reply::Answer)
    };
    let groups = [group];
    let mut outcome = bench.run(1, &groups).await;
    assert!(matches!(outcome.error, Some(RunnerError::Setup(_))));
    assert_eq!(bench.described(), ["2", "0"]);
    fs::write(jetson.program().with_file_name("refuse"), "").unwrap();
    bench.runner.put_mode_back(&groups, &mut outcome).await;
    assert!(outcome.warnings[0].contains("ATTENTION"));
    assert_eq!(
        bench.described(),
        ["2", "0", "0"],
        "what is in force, not what should be"
    );
}

#[tokio::test]
async fn each_power_mode_has_its_own_runs_baselines_and_description() {
    let jetson = Jetson::new();
    let mut bench = jetson.bench();
    bench.runner.settings.idle = Duration::from_millis(1);
    bench.runner.sampler = Some(steady(&bench));
    let switch = Arc::new(jetson.keeper());
    let groups = jetson.modes().into_iter().map(|mode| Group {
        power_mode: Some(Target {
            mode,
            switch: switch.clone(),
        }),
        ..bench.group(|_| Ok(()), |_| Reply::Answer)
    });
    let groups: Vec<Group> = groups.collect();
    let mut outcome = bench.run(2, &groups).await;
    bench.runner.put_mode_back(&groups, &mut outcome).await;
    assert_eq!(
        modes(&outcome),
        [Some("MAXN"), Some("15W_REBOOT"), Some("30W")]
    );
    let [fast, refused, slow] = &outcome.traces[..] else {
        panic!("three modes, three runs");
    };
    assert_eq!((refused.end, refused.segments.len()), (RunEnd::Aborted, 0));
    let reason = &refused.header.reasons["run"];
    assert!(reason.contains("Reboot required"), "{reason}");
    assert_eq!((fast.end, slow.end), (RunEnd::Complete, RunEnd::Complete));
    assert_eq!((fast.header.idle.len(), slow.header.idle.len()), (2, 2));
    assert!(
        fast.segments[0].window.to < slow.header.idle[0].ended,
        "its own baselines"
    );
    assert_eq!(outcome.warnings, [""; 0]);
    assert_eq!(
        bench.described(),
        ["2", "0", "2", "2"],
        "as it was, in each mode, as it is again"
    );
}
