//! Who says what when: a job that does what a test says, over a network in memory, in virtual time.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    attend::{
        Attend, JobEvent, JobRunner, Running, Unreachable, Word, channels,
        hand::{Ended, InHand, JobEnd, JobFile, Reached},
    },
    clock::VirtualClock,
    runner::QuietGate,
};
use tokwatt_domain::{
    campaign::{JobProgress, Offer},
    ids::{DeviceId, RunId},
};
use tokwatt_proto::v1;
use tonic::transport::{Endpoint, Server};

use super::{Connection, Said, Scripted, job};

/// A job in the hands of a test.
struct Played {
    tell: mpsc::Sender<JobEvent>,
    words: mpsc::Receiver<Word>,
}

/// Hands each job to the test.
struct Player(mpsc::UnboundedSender<Played>);

impl JobRunner for Player {
    fn start(&self, _job: &InHand) -> Running {
        let (running, tell, words) = channels();
        self.0.send(Played { tell, words }).unwrap();
        running
    }

    fn tidy(&self) {}
}

impl Played {
    async fn tell(&self, event: JobEvent) {
        self.tell.send(event).await.unwrap();
    }

    async fn word(&mut self) -> Word {
        self.words.recv().await.unwrap()
    }

    async fn ready(&mut self, runs: u64) -> Word {
        let requests = 0;
        self.tell(JobEvent::Ready(Reached { runs, requests })).await;
        self.word().await
    }
}

/// A device and a collector.
struct Stage {
    folder: TempDir,
    quiet: QuietGate,
    /// Cut while this is empty.
    wire: Wire,
    connections: mpsc::Receiver<Connection>,
    jobs: mpsc::UnboundedReceiver<Played>,
    _tasks: TaskTracker,
    stop: CancellationToken,
}

type Wire = Arc<Mutex<Option<mpsc::Sender<io::Result<DuplexStream>>>>>;

impl Stage {
    /// With a job in hand from before, if one is given.
    fn open(in_hand: Option<&InHand>, is_reachable: bool) -> Self {
        let tasks = TaskTracker::new();
        let (calls, incoming) = mpsc::channel(8);
        let (sender, connections) = mpsc::channel(8);
        let service = v1::control_server::ControlServer::new(Scripted(sender));
        let incoming = ReceiverStream::new(incoming);
        tasks.spawn(Server::builder().serve_with_incoming(service, incoming));
        let wire: Wire = Arc::new(Mutex::new(is_reachable.then_some(calls)));
        let folder = tempfile::tempdir().unwrap();
        let file = JobFile::in_folder(folder.path());
        if let Some(job) = in_hand {
            file.write(job).unwrap();
        }
        let quiet = QuietGate::default();
        let (player, jobs) = mpsc::unbounded_channel();
        let its_wire = wire.clone();
        let attend = Attend {
            device: DeviceId::parse("made-up").unwrap(),
            connect: Box::new(move || {
                let wire = its_wire.lock().unwrap().clone();
                Box::pin(async move {
                    let wire = wire.ok_or("the wire is cut")?;
                    let connector = tower::service_fn(move |_| {
                        let wire = wire.clone();
                        async move {
                            let (ours, theirs) = tokio::io::duplex(1 << 16);
                            let sent = wire.send(Ok(theirs)).await;
                            sent.map_err(io::Error::other)?;
                            io::Result::Ok(TokioIo::new(ours))
                        }
                    });
                    let endpoint = Endpoint::from_static("http://made-up");
                    let channel = endpoint.connect_with_connector(connector).await;
                    Ok::<_, Unreachable>(channel?)
                })
            }),
            offer: Arc::new(Offer::default),
            runner: Box::new(Player(player)),
            file,
            quiet: quiet.clone(),
            clock: Arc::new(VirtualClock::start()),
            backoff: tokwatt_agent::uplink::Backoff::new(),
        };
        let stop = CancellationToken::new();
        tasks.spawn(attend.run(stop.clone()));
        Self {
            folder,
            quiet,
            wire,
            connections,
            jobs,
            _tasks: tasks,
            stop,
        }
    }

    async fn greet(&mut self) -> Connection {
        let mut connection = self.connections.recv().await.unwrap();
        connection.reports.message().await.unwrap().unwrap();
        let lease_ms = 30_000;
        connection
            .order(v1::order::Kind::Welcome(v1::Welcome { lease_ms }))
            .await;
        connection
    }

    /// With a job that was just assigned.
    async fn begin(&mut self) -> (Connection, Played) {
        let connection = self.greet().await;
        connection.assign(job(1), json!({"suite": "batch"})).await;
        let played = self.jobs.recv().await.unwrap();
        (connection, played)
    }

    fn kept(&self) -> Option<InHand> {
        JobFile::in_folder(self.folder.path()).read().unwrap()
    }

    fn cut(&self) {
        *self.wire.lock().unwrap() = None;
    }

    /// Its attending ends; the server ends with the runtime.
    fn close(self) {
        self.stop.cancel();
    }
}

fn in_hand() -> InHand {
    in_hand_of("c")
}

fn in_hand_of(campaign: &str) -> InHand {
    let spec = json!({"campaign": campaign, "work": {"suite": "batch"}});
    InHand::new(job(1), serde_json::from_value(spec).unwrap())
}

const LONGEST: Duration = Duration::from_secs(120);

#[tokio::test(start_paused = true)]
async fn nothing_is_said_from_the_leave_to_measure_to_the_end_of_the_window() {
    let mut stage = Stage::open(None, true);
    let (mut connection, mut played) = stage.begin().await;
    assert_eq!(played.ready(0).await, Word::Go);
    assert_eq!(stage.kept().map(|kept| kept.job), Some(job(1)));
    played.tell(JobEvent::Begun).await;
    played.tell(JobEvent::Window(LONGEST)).await;
    let announced = loop {
        if let Said::Progress { quiet_ms, .. } = connection.hear().await
            && quiet_ms > 0
        {
            break quiet_ms;
        }
    };
    assert_eq!(announced, 120_000);
    assert_eq!(played.word().await, Word::Go);
    let window = stage.quiet.close(LONGEST).await;
    let said = timeout(LONGEST - Duration::from_secs(1), connection.hear()).await;
    assert!(said.is_err(), "{said:?}");
    drop(window);
    let progress = JobProgress {
        done: 500,
        ..JobProgress::default()
    };
    played.tell(JobEvent::Progress(progress)).await;
    let Said::Progress { progress, .. } = connection.hear().await else {
        panic!("no progress");
    };
    assert_eq!(progress.done, 500);
    // From here on it is heard of every ten seconds again.
    for _ in 0..3 {
        let before = Instant::now();
        let said = connection.hear().await;
        assert!(matches!(said, Said::Beat), "{said:?}");
        let waited = before.elapsed();
        assert!(waited <= Duration::from_millis(10_100), "{waited:?}");
    }
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn without_a_collector_leave_is_given_at_once_and_the_end_is_told_when_it_is_back() {
    let mut stage = Stage::open(Some(&in_hand()), false);
    let mut played = stage.jobs.recv().await.unwrap();
    assert_eq!(played.ready(0).await, Word::Go);
    played.tell(JobEvent::Begun).await;
    played.tell(JobEvent::Window(LONGEST)).await;
    assert_eq!(played.word().await, Word::Go);
    assert!(stage.kept().unwrap().has_begun);
    let end = Ended {
        how: JobEnd::Done,
        reason: String::new(),
        runs: vec![RunId([8; 16])],
    };
    played.tell(JobEvent::Ended(end.clone())).await;
    // Noted, so that nothing is needed to go on.
    assert_eq!(played.word().await, Word::Go);
    assert_eq!(stage.kept().unwrap().end, Some(end.clone()));
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_before_a_window_gives_leave() {
    let mut stage = Stage::open(None, true);
    let (connection, mut played) = stage.begin().await;
    assert_eq!(played.ready(0).await, Word::Go);
    // Somebody else measures, so that nothing can be said.
    let window = stage.quiet.close(LONGEST).await;
    played.tell(JobEvent::Window(LONGEST)).await;
    assert!(timeout(LONGEST, played.word()).await.is_err());
    stage.cut();
    drop(connection);
    assert_eq!(played.word().await, Word::Go);
    drop(window);
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gets_no_further_is_given_up_and_one_that_does_is_not() {
    let mut stage = Stage::open(None, true);
    let (mut connection, mut played) = stage.begin().await;
    for _ in 0..4 {
        assert_eq!(played.ready(0).await, Word::Go);
    }
    for _ in 0..5 {
        assert_eq!(played.ready(1).await, Word::Go);
    }
    assert_eq!(played.ready(1).await, Word::Cancel);
    let runs = vec![RunId([8; 16])];
    let end = Ended {
        how: JobEnd::Cancelled,
        reason: String::new(),
        runs: runs.clone(),
    };
    played.tell(JobEvent::Ended(end)).await;
    let (_, end, reason, told) = connection.end(&mut Vec::new()).await;
    assert_eq!((end, told), (v1::JobEnd::Failed, runs));
    assert!(reason.contains("5 times"), "{reason}");
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_again_until_it_is_settled() {
    let mut stage = Stage::open(None, true);
    let (mut connection, mut played) = stage.begin().await;
    assert_eq!(played.ready(0).await, Word::Go);
    let end = Ended::without_runs(JobEnd::Failed, "the engine did not come back");
    played.tell(JobEvent::Ended(end)).await;
    for _ in 0..3 {
        let (ended, end, ..) = connection.end(&mut Vec::new()).await;
        assert_eq!((ended, end), (job(1), v1::JobEnd::Failed));
    }
    connection.settle(job(1), false).await;
    assert!(matches!(connection.hear().await, Said::Beat));
    assert_eq!(stage.kept(), None);
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn an_order_of_a_newer_collector_changes_nothing() {
    let mut stage = Stage::open(None, true);
    let (mut connection, mut played) = stage.begin().await;
    let unknown = v1::Order { kind: None };
    connection.orders.send(Ok(unknown)).await.unwrap();
    let nonsense = v1::Settled {
        job: None,
        counts: true,
    };
    connection.order(v1::order::Kind::Settled(nonsense)).await;
    assert_eq!(played.ready(0).await, Word::Go);
    let progress = JobProgress::default();
    played.tell(JobEvent::Progress(progress.clone())).await;
    let Said::Progress { progress: told, .. } = connection.hear().await else {
        panic!("no progress");
    };
    assert_eq!(told, progress);
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn rounds_in_which_somebody_else_came_first_are_no_starts() {
    let mut stage = Stage::open(None, true);
    let (_connection, mut played) = stage.begin().await;
    for _ in 0..20 {
        assert_eq!(played.ready(0).await, Word::Go);
        played.tell(JobEvent::NotStarted).await;
    }
    assert_eq!(played.ready(0).await, Word::Go);
    assert_eq!(stage.kept().unwrap().starts, 1);
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_not_begun_outlives_a_restart() {
    let mut stage = Stage::open(None, true);
    let (_connection, mut played) = stage.begin().await;
    let said = timeout(Duration::from_secs(1), played.word()).await;
    assert!(said.is_err(), "{said:?}");
    assert_eq!(stage.kept(), Some(in_hand_of("of-a-test")));
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn what_an_end_needs_is_let_go_of_when_the_end_is_noted_and_no_sooner() {
    let mut stage = Stage::open(None, true);
    let (mut connection, mut played) = stage.begin().await;
    assert_eq!(played.ready(0).await, Word::Go);
    let in_the_way = stage.folder.path().join("job.json.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let end = Ended {
        how: JobEnd::Done,
        reason: String::new(),
        runs: vec![RunId([8; 16])],
    };
    played.tell(JobEvent::Ended(end.clone())).await;
    let (_, told, ..) = connection.end(&mut Vec::new()).await;
    assert_eq!(told, v1::JobEnd::Done);
    let word = timeout(Duration::from_secs(60), played.word()).await;
    assert!(word.is_err(), "{word:?}");
    assert_eq!(stage.kept().unwrap().end, None);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(played.word().await, Word::Go);
    assert_eq!(stage.kept().unwrap().end, Some(end));
    stage.close();
}

#[tokio::test(start_paused = true)]
async fn a_window_that_comes_while_the_connection_is_made_is_announced_over_it() {
    let mut stage = Stage::open(Some(&in_hand()), true);
    // So that the connection waits.
    let window = stage.quiet.close(LONGEST).now_or_never().unwrap();
    let mut played = stage.jobs.recv().await.unwrap();
    assert_eq!(played.ready(0).await, Word::Go);
    let moment = Duration::from_secs(1);
    assert!(timeout(moment, played.word()).await.is_err());
    played.tell(JobEvent::Window(LONGEST)).await;
    assert!(timeout(moment, played.word()).await.is_err());
    drop(window);
    let mut connection = stage.greet().await;
    let Said::Progress { quiet_ms, .. } = connection.hear().await else {
        panic!("no progress");
    };
    assert_eq!(quiet_ms, 120_000);
    assert_eq!(played.word().await, Word::Go);
    stage.close();
}
