//! Attending at a collector that does what a script says: with real benches of the built-in model in processes of their own, and with a job that
//! does what a test says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod silence;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    attend::{
        Attend, JobEvent, JobRunner, Running, Word,
        child::BenchRunner,
        hand::{Ended, InHand, JobEnd, JobFile},
        offer::offer,
    },
    clock::SystemClock,
    runner::QuietGate,
    settings::{Given, Settings},
    spool::{BenchLock, Spool},
    uplink::{self, Address},
};
use tokwatt_domain::{
    campaign::{JobProgress, JobRef, JobSpec, Offer},
    device::DeviceKind,
    ids::{DeviceId, JobId, RunId, Seq},
    run::RunHeader,
    time::WallTime,
};
use tokwatt_proto::{Record, control, v1};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Hands each connection to the test.
struct Scripted(mpsc::Sender<Connection>);

struct Connection {
    reports: Streaming<v1::Report>,
    orders: mpsc::Sender<Result<v1::Order, Status>>,
}

#[tonic::async_trait]
impl v1::control_server::Control for Scripted {
    type AttendStream = ReceiverStream<Result<v1::Order, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<v1::Report>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (orders, answers) = mpsc::channel(8);
        let reports = request.into_inner();
        self.0.send(Connection { reports, orders }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// What a test may hear.
#[derive(Debug)]
enum Said {
    Beat,
    Progress {
        progress: JobProgress,
        quiet_ms: u32,
    },
    Ended(JobRef, v1::JobEnd, String, Vec<RunId>),
}

impl Connection {
    async fn order(&self, kind: v1::order::Kind) {
        let order = v1::Order { kind: Some(kind) };
        self.orders.send(Ok(order)).await.unwrap();
    }

    async fn assign(&self, job: JobRef, work: serde_json::Value) {
        let spec = json!({"campaign": "of-a-test", "work": work});
        let spec: JobSpec = serde_json::from_value(spec).unwrap();
        let spec = Some(control::write(control::JOB, &spec));
        let job = Some(job.into());
        self.order(v1::order::Kind::Assignment(v1::Assignment { job, spec }))
            .await;
    }

    async fn settle(&self, job: JobRef, counts: bool) {
        let job = Some(job.into());
        self.order(v1::order::Kind::Settled(v1::Settled { job, counts }))
            .await;
    }

    async fn cancel(&self, job: JobRef) {
        let job = Some(job.into());
        self.order(v1::order::Kind::Cancel(v1::CancelJob { job }))
            .await;
    }

    async fn hear(&mut self) -> Said {
        let report = self.reports.message().await.unwrap().unwrap();
        match report.kind.unwrap() {
            v1::report::Kind::Beat(_) => Said::Beat,
            v1::report::Kind::Progress(said) => Said::Progress {
                progress: control::read(control::PROGRESS, said.progress, "progress").unwrap(),
                quiet_ms: said.quiet_ms,
            },
            v1::report::Kind::Ended(said) => {
                let runs = said.runs.iter();
                let runs = runs.map(|run| RunId(run.as_slice().try_into().unwrap()));
                let how = said.end();
                Said::Ended(
                    control::job_ref(said.job.clone(), "job").unwrap(),
                    how,
                    said.reason.clone(),
                    runs.collect(),
                )
            }
            v1::report::Kind::Attendance(attendance) => panic!("{attendance:?}"),
        }
    }

    /// The end of a job; what was told of it before goes to `seen`.
    async fn end(
        &mut self,
        seen: &mut Vec<(JobProgress, u32)>,
    ) -> (JobRef, v1::JobEnd, String, Vec<RunId>) {
        loop {
            match self.hear().await {
                Said::Beat => {}
                Said::Progress {
                    progress, quiet_ms, ..
                } => seen.push((progress, quiet_ms)),
                Said::Ended(job, end, reason, runs) => return (job, end, reason, runs),
            }
        }
    }

    async fn progress_until(&mut self, is_so: impl Fn(&JobProgress) -> bool) -> JobProgress {
        loop {
            match self.hear().await {
                Said::Progress { progress, .. } if is_so(&progress) => return progress,
                Said::Ended(_, end, reason, _) => panic!("{end:?}: {reason}"),
                Said::Progress { .. } | Said::Beat => {}
            }
        }
    }
}

/// A collector, and a device's folder.
struct Lab {
    folder: TempDir,
    address: Address,
    connections: mpsc::Receiver<Connection>,
    _tasks: TaskTracker,
}

/// A device that attends.
struct Device {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Lab {
    async fn open() -> Self {
        let tasks = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(8);
        let service = v1::control_server::ControlServer::new(Scripted(sender));
        let incoming = TcpListenerStream::new(listener);
        tasks.spawn(Server::builder().serve_with_incoming(service, incoming));
        let folder = tempfile::tempdir().unwrap();
        let config = "[power]\nsources = \"none\"\n";
        fs::write(folder.path().join("agent.toml"), config).unwrap();
        Self {
            folder,
            address: Address::plain(&address.parse().unwrap()).unwrap(),
            connections,
            _tasks: tasks,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn settings(&self) -> Settings {
        let given = Given {
            data: Some(self.data()),
            ..Given::default()
        };
        let file = self.folder.path().join("agent.toml");
        Settings::resolve(Some(&file), given).unwrap()
    }

    fn spool(&self) -> Spool {
        Spool::open(&self.data(), WallTime(7), 1 << 30).unwrap()
    }

    fn runner(&self, tasks: &TaskTracker) -> BenchRunner {
        let config = self.folder.path().join("agent.toml");
        BenchRunner {
            program: env!("CARGO_BIN_EXE_tokwatt-agent").into(),
            general: vec![
                "--config".into(),
                config.into(),
                "--data".into(),
                self.data().into(),
            ],
            settings: Arc::new(self.settings()),
            kind: DeviceKind::Generic,
            spool: Arc::new(self.spool()),
            quiet: QuietGate::in_folder(&self.data()).unwrap(),
            tasks: tasks.clone(),
        }
    }

    /// A life of the device.
    fn device(&self) -> Device {
        let tasks = TaskTracker::new();
        let (settings, address) = (self.settings(), self.address.clone());
        let attend = Attend {
            device: DeviceId::parse("made-up").unwrap(),
            connect: Box::new(move || {
                let address = address.clone();
                Box::pin(async move { Ok(uplink::connect(&address).await?) })
            }),
            offer: Arc::new(move || offer(&settings, DeviceKind::Generic)),
            runner: Box::new(self.runner(&tasks)),
            file: JobFile::in_folder(&self.data()),
            quiet: QuietGate::in_folder(&self.data()).unwrap(),
            clock: Arc::new(SystemClock::start()),
            backoff: uplink::Backoff::new(),
        };
        let stop = CancellationToken::new();
        let task = tasks.spawn(attend.run(stop.clone()));
        Device { stop, task }
    }

    /// The next connection, its offer, and the job that the device has in hand.
    async fn greet(&mut self) -> (Connection, Offer, Option<JobRef>) {
        let mut connection = self.connections.recv().await.unwrap();
        let first = connection.reports.message().await.unwrap().unwrap();
        let Some(v1::report::Kind::Attendance(attendance)) = first.kind else {
            panic!("no attendance but {first:?}");
        };
        let offer = control::read(control::OFFER, attendance.offer, "offer").unwrap();
        let in_hand = attendance.in_hand;
        let in_hand = in_hand.map(|job| control::job_ref(Some(job), "in_hand").unwrap());
        let lease_ms = 30_000;
        connection
            .order(v1::order::Kind::Welcome(v1::Welcome { lease_ms }))
            .await;
        (connection, offer, in_hand)
    }

    /// Headers of all runs in the spool.
    fn headers(&self) -> Vec<RunHeader> {
        let records = self.spool().kept_from(Seq(0), usize::MAX).unwrap();
        let headers =
            records
                .iter()
                .filter_map(|spooled| match Record::decode(&spooled.bytes).unwrap() {
                    Record::RunOpened(header) => Some(*header),
                    _ => None,
                });
        headers.collect()
    }
}

impl Device {
    /// As at SIGTERM.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn job(attempt: u32) -> JobRef {
    JobRef {
        job: JobId([5; 16]),
        attempt,
    }
}

/// Ten questions in five runs.
fn short() -> serde_json::Value {
    json!({"suite": "edge-vision", "repetitions": 1, "limit": 2, "precisions": ["q8_0"], "quick": true})
}

/// Many more than any test waits for.
fn long() -> serde_json::Value {
    json!({"suite": "edge-vision", "repetitions": 1000, "limit": 4, "precisions": ["q8_0"], "quick": true})
}

fn of(lease: JobRef) -> impl Fn(&RunHeader) -> bool {
    move |header| header.job == Some(lease)
}

#[tokio::test]
async fn a_job_is_a_bench_whose_runs_carry_its_lease_and_its_end_is_told_until_it_is_settled() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, offer, in_hand) = lab.greet().await;
    assert_eq!(in_hand, None);
    let names: Vec<&str> = offer.suites.iter().map(|name| name.as_str()).collect();
    assert!(names.contains(&"edge-vision"), "{names:?}");
    connection.assign(job(1), short()).await;
    let mut seen = Vec::new();
    let (ended, end, reason, runs) = connection.end(&mut seen).await;
    assert_eq!((ended, end), (job(1), v1::JobEnd::Done), "{reason}");
    let headers = lab.headers();
    let spooled: Vec<RunId> = headers.iter().map(|header| header.run).collect();
    assert_eq!((spooled.len(), &spooled), (5, &runs));
    assert!(headers.iter().all(of(job(1))));

    let announced: Vec<u32> = seen.iter().map(|(_, quiet_ms)| *quiet_ms).collect();
    // A segment, a request and what is around them.
    assert!(announced.contains(&135_000), "{announced:?}");
    let (last, _) = seen.last().unwrap();
    assert_eq!((last.run, last.runs), (5, 5));
    assert!(last.output_tps.is_some_and(|speed| speed > 0.0), "{last:?}");
    assert!(seen.iter().any(|(now, _)| now.total == 10), "{seen:?}");

    // Not settled: told again over the next connection.
    drop(connection);
    let (mut connection, _, in_hand) = lab.greet().await;
    assert_eq!(in_hand, Some(job(1)));
    let (_, end, _, again) = connection.end(&mut seen).await;
    assert_eq!((end, again), (v1::JobEnd::Done, runs));
    connection.settle(job(1), true).await;
    drop(connection);
    // What is settled is forgotten, here and in the spool.
    let (_connection, _, in_hand) = lab.greet().await;
    assert_eq!(in_hand, None);
    assert_eq!(lab.spool().unfinished().unwrap(), None);
    device.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_ends_with_what_was_measured() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), long()).await;
    connection.progress_until(|now| now.done >= 8).await;
    connection.cancel(job(1)).await;
    let (ended, end, _, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((ended, end), (job(1), v1::JobEnd::Cancelled));
    let spooled: Vec<RunId> = lab.headers().iter().map(|header| header.run).collect();
    assert!(runs.len() >= 2, "{}", runs.len());
    assert_eq!(spooled, runs);
    connection.settle(job(1), false).await;
    drop(connection);
    let (connection, _, in_hand) = lab.greet().await;
    assert_eq!(in_hand, None);
    // A job that it never had, or has no more, has no runs here.
    connection.cancel(job(9)).await;
    let mut connection = connection;
    let (ended, end, reason, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((ended, end), (job(9), v1::JobEnd::Cancelled));
    assert_eq!((&*reason, runs.len()), ("the device does not have it", 0));
    device.stop().await;
}

#[tokio::test]
async fn what_is_not_offered_is_refused_with_the_name_that_was_meant() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    for (attempt, work, want) in [
        (
            1,
            json!({"suite": "egde-vision"}),
            "did you mean `edge-vision`?",
        ),
        (
            2,
            json!({"suite": "edge-vision", "models": ["tiny-vln"]}),
            "did you mean `tiny-vlm`?",
        ),
        (
            3,
            json!({"suite": "edge-vision", "servers": ["vllm"]}),
            "no server `vllm`",
        ),
        (
            4,
            json!({"suite": "edge-vision", "precisions": ["q8"]}),
            "did you mean `q8_0`?",
        ),
        (
            5,
            json!({"suite": "edge-vision", "repetitions": 0}),
            "`repetitions` is 0",
        ),
    ] {
        connection.assign(job(attempt), work).await;
        let (ended, end, reason, runs) = connection.end(&mut Vec::new()).await;
        assert_eq!((ended, end), (job(attempt), v1::JobEnd::Refused));
        assert!(reason.contains(want), "{reason}");
        assert_eq!(runs, []);
        connection.settle(job(attempt), true).await;
    }
    assert_eq!(lab.headers(), []);
    device.stop().await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_read_is_refused() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    let spec = json!({"campaign": "c", "work": {"suite": "edge-vision", "command": "rm -rf /"}});
    let spec = Some(v1::Document {
        schema: control::JOB.to_owned(),
        json: spec.to_string().into_bytes(),
    });
    let order = v1::Assignment {
        job: Some(job(1).into()),
        spec,
    };
    connection.order(v1::order::Kind::Assignment(order)).await;
    let (ended, end, reason, _) = connection.end(&mut Vec::new()).await;
    assert_eq!((ended, end), (job(1), v1::JobEnd::Refused));
    assert!(reason.contains("command"), "{reason}");
    device.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_attempt() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(3), short()).await;
    connection.progress_until(|now| now.done >= 2).await;
    device.stop().await;
    let before = lab.headers();
    assert!(lab.spool().unfinished().unwrap().is_some());

    let device = lab.device();
    let (mut connection, _, in_hand) = lab.greet().await;
    assert_eq!(in_hand, Some(job(3)));
    let (ended, end, reason, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((ended, end), (job(3), v1::JobEnd::Done), "{reason}");
    let headers = lab.headers();
    let spooled: Vec<RunId> = headers.iter().map(|header| header.run).collect();
    // None was begun anew.
    assert_eq!((runs.len(), &spooled), (5, &runs));
    assert!(headers.starts_with(&before));
    assert!(headers.iter().all(of(job(3))));
    device.stop().await;
}

#[tokio::test]
async fn a_settled_attempt_is_forgotten_and_no_more_is_said_of_it() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), long()).await;
    connection.progress_until(|now| now.done >= 2).await;
    connection.settle(job(1), false).await;
    connection.assign(job(2), short()).await;
    let (ended, end, reason) = loop {
        match connection.hear().await {
            Said::Ended(job, end, reason, _) => break (job, end, reason),
            // What was on its way.
            Said::Progress { .. } | Said::Beat => {}
        }
    };
    assert_eq!((ended, end), (job(2), v1::JobEnd::Done), "{reason}");
    let headers = lab.headers();
    assert_eq!(
        headers.iter().filter(|header| of(job(2))(header)).count(),
        5
    );
    device.stop().await;
}

#[tokio::test]
async fn a_newer_attempt_takes_the_place_of_the_one_in_hand() {
    let mut lab = Lab::open().await;
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), long()).await;
    connection.progress_until(|now| now.done >= 2).await;
    connection.assign(job(2), short()).await;
    let (ended, end, reason, _) = connection.end(&mut Vec::new()).await;
    assert_eq!((ended, end), (job(2), v1::JobEnd::Done), "{reason}");
    device.stop().await;
}

#[tokio::test]
async fn a_job_waits_for_a_bench_that_is_under_way() {
    let mut lab = Lab::open().await;
    fs::create_dir_all(lab.data()).unwrap();
    let lock = BenchLock::take(&lab.data()).unwrap();
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), short()).await;
    let waiting = |now: &JobProgress| now.stage == "waiting: another bench is under way";
    connection.progress_until(waiting).await;
    assert_eq!(lab.headers(), []);
    drop(lock);
    let (_, end, reason, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((end, runs.len()), (v1::JobEnd::Done, 5), "{reason}");
    device.stop().await;
}

#[tokio::test]
async fn a_job_that_waits_can_be_cancelled() {
    let mut lab = Lab::open().await;
    fs::create_dir_all(lab.data()).unwrap();
    let _lock = BenchLock::take(&lab.data()).unwrap();
    let device = lab.device();
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), short()).await;
    connection
        .progress_until(|now| now.stage.starts_with("waiting"))
        .await;
    connection.cancel(job(1)).await;
    let (_, end, _, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((end, runs.len()), (v1::JobEnd::Cancelled, 0));
    device.stop().await;
}

/// Gives every leave that is asked for; the end, unanswered.
async fn follow(running: &mut Running) -> Ended {
    loop {
        match running.events.recv().await.unwrap() {
            JobEvent::Ready(_) | JobEvent::Window(_) => {
                running.words.send(Word::Go).await.unwrap();
            }
            JobEvent::Ended(ended) => return ended,
            JobEvent::Begun | JobEvent::NotStarted | JobEvent::Progress(_) => {}
        }
    }
}

#[tokio::test]
async fn an_end_that_was_not_noted_is_found_again_and_nothing_is_asked_twice() {
    let lab = Lab::open().await;
    let tasks = TaskTracker::new();
    let runner = lab.runner(&tasks);
    let spec = json!({"campaign": "c", "work": short()});
    let mut in_hand = InHand::new(job(1), serde_json::from_value(spec).unwrap());
    let mut running = runner.start(&in_hand);
    let first = follow(&mut running).await;
    assert_eq!((first.how, first.runs.len()), (JobEnd::Done, 5));
    // Killed before it noted that.
    drop(running);
    tasks.close();
    tasks.wait().await;
    let before = lab.headers();
    tasks.reopen();
    in_hand.has_begun = true;
    let mut running = runner.start(&in_hand);
    assert_eq!(follow(&mut running).await, first);
    assert_eq!(lab.headers(), before);
    // Noted: nothing is left to go on with.
    running.words.send(Word::Go).await.unwrap();
    assert_eq!(running.events.recv().await, None);
    assert_eq!(lab.spool().unfinished().unwrap(), None);
    // Whoever looks for it now finds that a person gave it up.
    let mut running = runner.start(&in_hand);
    let gone = follow(&mut running).await;
    assert_eq!((gone.how, gone.runs.len()), (JobEnd::Cancelled, 0));
}

#[tokio::test]
async fn what_a_bench_says_that_is_no_event_is_passed_over() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::open().await;
    let tasks = TaskTracker::new();
    let program = lab.folder.path().join("bench");
    let script = "#!/bin/sh\nprintf '\\377\\nwords\\n{\"ended\":{\"how\":\"failed\",\"reason\":\"x\"}}\\n'\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let runner = BenchRunner {
        program,
        ..lab.runner(&tasks)
    };
    let spec = json!({"campaign": "c", "work": short()});
    let in_hand = InHand::new(job(1), serde_json::from_value(spec).unwrap());
    let ended = follow(&mut runner.start(&in_hand)).await;
    assert_eq!((ended.how, &*ended.reason), (JobEnd::Failed, "x"));
}

/// The service itself.
struct Service(Child);

impl Service {
    fn start(lab: &Lab) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_tokwatt-agent"))
            .arg("--config")
            .arg(lab.folder.path().join("agent.toml"))
            .arg("--data")
            .arg(lab.data())
            .args(["run", "--collector", &lab.address.to_string()])
            .env_remove("TOKWATT_COLLECTOR")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Service {
    /// kill -9.
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_service_that_is_killed_takes_its_bench_with_it_and_the_next_one_goes_on() {
    let mut lab = Lab::open().await;
    let service = Service::start(&lab);
    let (mut connection, ..) = lab.greet().await;
    connection.assign(job(1), short()).await;
    connection.progress_until(|now| now.done >= 2).await;
    drop(service);
    assert!(Path::new(&lab.data()).join("job.json").is_file());

    let _service = Service::start(&lab);
    let (mut connection, _, in_hand) = lab.greet().await;
    assert_eq!(in_hand, Some(job(1)));
    let (_, end, reason, runs) = connection.end(&mut Vec::new()).await;
    assert_eq!((end, runs.len()), (v1::JobEnd::Done, 5), "{reason}");
    assert!(lab.headers().iter().all(of(job(1))));
}
