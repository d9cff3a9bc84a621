//! The uplink against a collector that does what a script says: credits, the quiet gate, and acknowledgements that cannot be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokwatt_agent::{
    runner::QuietGate,
    spool::Spool,
    uplink::{Address, LinkState, Uplink},
};
use tokwatt_domain::{
    ids::{DeviceId, Epoch, Seq},
    time::WallTime,
};
use tokwatt_proto::v1;
use tonic::{Request, Response, Status, Streaming, transport::Server};

const EPOCH: Epoch = Epoch(7);

const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// A run waits ten seconds at most.
const LONGER_THAN_PATIENCE: Duration = Duration::from_secs(11);

/// An idle uplink looks into the spool every second.
const LONGER_THAN_A_LOOK: Duration = Duration::from_millis(1500);

/// Hands each connection to the test: what comes in, and a way to answer.
struct Scripted(mpsc::Sender<Connection>);

struct Connection {
    uploads: Streaming<v1::Upload>,
    acks: mpsc::Sender<Result<v1::Ack, Status>>,
}

#[tonic::async_trait]
impl v1::ingest_server::Ingest for Scripted {
    type DeliverStream = ReceiverStream<Result<v1::Ack, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<v1::Upload>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let (acks, answers) = mpsc::channel(8);
        let uploads = request.into_inner();
        let connection = Connection { uploads, acks };
        self.0.send(connection).await.unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Connection {
    async fn acknowledge(&self, epoch: Epoch, through: u64, credits: u32) {
        let epoch = epoch.0;
        let ack = v1::Ack {
            epoch,
            through,
            credits,
        };
        self.acks.send(Ok(ack)).await.unwrap();
    }

    /// Numbers of the records of the next batch.
    async fn batch(&mut self) -> Vec<u64> {
        match self.uploads.message().await.unwrap().unwrap().kind {
            Some(v1::upload::Kind::Batch(batch)) => batch
                .records
                .into_iter()
                .map(|envelope| envelope.seq)
                .collect(),
            other => panic!("no batch but {other:?}"),
        }
    }
}

/// A spool, an uplink that runs, and the collector's side of it.
struct Line {
    _folder: TempDir,
    spool: Arc<Spool>,
    quiet: QuietGate,
    state: watch::Receiver<LinkState>,
    connections: mpsc::Receiver<Connection>,
}

impl Line {
    async fn start() -> Self {
        let tasks = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(8);
        let service = v1::ingest_server::IngestServer::new(Scripted(sender));
        let incoming = TcpListenerStream::new(listener);
        tasks.spawn(Server::builder().serve_with_incoming(service, incoming));
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), WallTime(7), 1 << 30).unwrap();
        let spool = Arc::new(spool);
        // The uplink's and the test's are two, as of two processes.
        let quiet = QuietGate::in_folder(folder.path()).unwrap();
        let (sender, state) = watch::channel(LinkState::Connecting);
        let uplink = Uplink {
            address: Address::in_force(Some(&address), folder.path())
                .unwrap()
                .unwrap(),
            device: DeviceId::parse("made-up").unwrap(),
            spool: spool.clone(),
            quiet: QuietGate::in_folder(folder.path()).unwrap(),
            grown: Arc::default(),
            hurry: Arc::default(),
            state: sender,
        };
        tasks.spawn(uplink.run(CancellationToken::new()));
        Self {
            _folder: folder,
            spool,
            quiet,
            state,
            connections,
        }
    }

    /// The next connection, whose hello has been read.
    async fn greet(&mut self) -> Connection {
        let mut connection = self.connections.recv().await.unwrap();
        let hello = connection.uploads.message().await.unwrap().unwrap();
        assert!(matches!(hello.kind, Some(v1::upload::Kind::Hello(_))));
        connection
    }

    fn waiting(&self) -> u64 {
        self.spool.status().unwrap().waiting_records
    }

    async fn delivered(&mut self, seq: u64) {
        let through = Seq(seq);
        let is_there = |state: &LinkState| *state == LinkState::Delivered { through };
        self.state.wait_for(is_there).await.unwrap();
    }

    async fn down(&mut self) -> String {
        let is_down = |state: &LinkState| matches!(state, LinkState::Down { .. });
        match &*self.state.wait_for(is_down).await.unwrap() {
            LinkState::Down { reason } => reason.clone(),
            state => panic!("{state:?}"),
        }
    }
}

/// So large that each needs a batch of its own.
fn large() -> Vec<u8> {
    vec![0; 1 << 20]
}

#[tokio::test]
async fn no_more_batches_are_under_way_than_there_are_credits() {
    let mut line = Line::start().await;
    line.spool
        .append(&[large(), large(), large(), large()])
        .unwrap();
    let mut connection = line.greet().await;
    connection.acknowledge(EPOCH, 0, 2).await;
    assert_eq!(connection.batch().await, [1]);
    assert_eq!(connection.batch().await, [2]);
    // An acknowledgement of the first does not open the way for more than it says: two under way were two too many.
    connection.acknowledge(EPOCH, 1, 1).await;
    line.delivered(1).await;
    connection.acknowledge(EPOCH, 2, 1).await;
    assert_eq!(connection.batch().await, [3]);
    connection.acknowledge(EPOCH, 3, 1).await;
    assert_eq!(connection.batch().await, [4]);
    assert_eq!(line.waiting(), 1);
    connection.acknowledge(EPOCH, 4, 1).await;
    line.delivered(4).await;
    assert_eq!(line.waiting(), 0);
}

#[tokio::test]
async fn the_gate_closes_only_when_nothing_is_under_way_and_then_nothing_is_sent() {
    let mut line = Line::start().await;
    line.spool.append(&[vec![1]]).unwrap();
    let mut connection = line.greet().await;
    connection.acknowledge(EPOCH, 0, 8).await;
    assert_eq!(connection.batch().await, [1]);
    let quiet = line.quiet.clone();
    let mut closing = Box::pin(quiet.close(LONGEST_WINDOW));
    let is_closed = closing.as_mut().now_or_never().is_some();
    assert!(!is_closed, "a batch is under way");
    connection.acknowledge(EPOCH, 1, 8).await;
    let closed = closing.await;
    assert_eq!(line.waiting(), 0);
    line.spool.append(&[vec![2]]).unwrap();
    let next = connection.batch();
    tokio::pin!(next);
    let sent = timeout(LONGER_THAN_A_LOOK, &mut next).await;
    assert!(sent.is_err(), "{sent:?}");
    drop(closed);
    assert_eq!(next.await, [2]);
}

#[tokio::test]
async fn a_collector_that_stands_still_is_waited_for_until_a_run_is_to_begin() {
    let mut line = Line::start().await;
    line.spool.append(&[vec![1]]).unwrap();
    let mut connection = line.greet().await;
    connection.acknowledge(EPOCH, 0, 8).await;
    assert_eq!(connection.batch().await, [1]);
    let cut_off = timeout(LONGER_THAN_PATIENCE, line.down()).await;
    assert!(cut_off.is_err(), "{cut_off:?}");
    let quiet = line.quiet.clone();
    let (_window, reason) = tokio::join!(quiet.close(LONGEST_WINDOW), line.down());
    assert!(reason.contains("a run is to begin"), "{reason}");
    assert_eq!(line.waiting(), 1);
}

#[tokio::test]
async fn what_another_process_spools_is_delivered_though_nobody_rings() {
    let mut line = Line::start().await;
    let mut connection = line.greet().await;
    connection.acknowledge(EPOCH, 0, 8).await;
    line.delivered(0).await;
    let folder = line.spool.path().parent().unwrap();
    let other = Spool::open(folder, WallTime(9), 1 << 30).unwrap();
    other.append(&[vec![1]]).unwrap();
    assert_eq!(connection.batch().await, [1]);
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_sent_deletes_nothing() {
    for (epoch, through) in [(EPOCH, 9), (Epoch(8), 1)] {
        let mut line = Line::start().await;
        line.spool.append(&[vec![1]]).unwrap();
        let connection = line.greet().await;
        connection.acknowledge(epoch, through, 8).await;
        let reason = line.down().await;
        assert!(reason.contains("has not given out"), "{reason}");
        assert_eq!(line.waiting(), 1);
    }
}

#[tokio::test]
async fn a_collector_restored_from_a_backup_gets_what_waits_in_a_new_life_and_its_loss_is_said() {
    let mut line = Line::start().await;
    line.spool.append(&[vec![1], vec![2], vec![3]]).unwrap();
    let mut connection = line.greet().await;
    connection.acknowledge(EPOCH, 0, 8).await;
    assert_eq!(connection.batch().await, [1, 2, 3]);
    connection.acknowledge(EPOCH, 3, 8).await;
    line.delivered(3).await;
    line.spool.append(&[vec![4], vec![5]]).unwrap();
    assert_eq!(connection.batch().await, [4, 5]);
    drop(connection);
    line.down().await;
    // From before the second and the third record.
    let connection = line.greet().await;
    connection.acknowledge(EPOCH, 1, 8).await;
    let is_said = |state: &LinkState| matches!(state, LinkState::Down { reason } if reason.contains("lost 2 records"));
    line.state.wait_for(is_said).await.unwrap();
    let mut connection = line.greet().await;
    let life = Epoch(EPOCH.0 + 1);
    assert_eq!(line.spool.epoch(), life);
    connection.acknowledge(life, 0, 8).await;
    assert_eq!(connection.batch().await, [1, 2]);
    connection.acknowledge(life, 2, 8).await;
    line.delivered(2).await;
    assert_eq!(line.waiting(), 0);
}
