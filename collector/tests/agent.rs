//! What an agent would send, and a collector to send it to.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokwatt_collector::{
    server::{Collector, ServeError},
    settings::Settings,
    store::{Store, StoreError},
};
use tokwatt_domain::{
    device::{DeviceKind, DeviceProfile},
    ids::{DeviceId, Digest, Epoch, RunId},
    metrics::measure,
    power::{PowerSample, PowerTrace, Provenance, Rail, Reading, Scope, Sensor},
    run::{
        Cell, Chunk, ChunkKind, Configuration, CountSource, Identity, Outcome, RequestTrace,
        RunEnd, RunHeader, RunTrace, Segment, TokenCounts,
    },
    time::{Stamp, WallTime, Window},
    units::Watts,
    workload::{CachePolicy, Load, Sampling},
};
use tokwatt_proto::{
    Record,
    delivery::Hello,
    v1::{self, ingest_client::IngestClient, query_client::QueryClient},
};
use tonic::{Status, Streaming, transport::Channel};

/// A collector in this process, on a runtime of its own, so that it can be dropped like a process.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    runtime: Runtime,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), ServeError>>,
}

/// One connection of an agent.
pub(crate) struct Agent {
    uploads: mpsc::Sender<v1::Upload>,
    acks: Streaming<v1::Ack>,
    epoch: u64,
}

impl Running {
    pub(crate) fn start(data: &Path) -> Self {
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: data.to_owned(),
            ..Settings::default()
        };
        let runtime = Runtime::new().unwrap();
        let collector = when_free(|| match runtime.block_on(Collector::bind(&settings)) {
            Err(ServeError::Store(StoreError::InUse(_))) => None,
            bound => Some(bound.unwrap()),
        });
        let stop = CancellationToken::new();
        Self {
            addr: collector.addr,
            ended: runtime
                .handle()
                .spawn(collector.run(stop.clone().cancelled_owned())),
            runtime,
            stop,
        }
    }

    /// Ends it as it ends at SIGTERM.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.runtime.block_on(self.ended).unwrap().unwrap();
        self.runtime.shutdown_timeout(PATIENCE);
    }

    /// Drops it with everything that is under way.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

impl Agent {
    /// Says hello and waits for the watermark.
    pub(crate) async fn connect(
        addr: SocketAddr,
        device: &str,
        epoch: u64,
    ) -> Result<(Self, v1::Ack), Status> {
        let hello = Hello {
            device: DeviceId::parse(device).unwrap(),
            epoch: Epoch(epoch),
            agent_version: "0.1.0".to_owned(),
        };
        Self::say(addr, hello.into()).await
    }

    pub(crate) async fn say(addr: SocketAddr, hello: v1::Hello) -> Result<(Self, v1::Ack), Status> {
        let client = IngestClient::connect(format!("http://{addr}"))
            .await
            .unwrap();
        Self::over(client, hello).await
    }

    pub(crate) async fn over(
        mut client: IngestClient<Channel>,
        hello: v1::Hello,
    ) -> Result<(Self, v1::Ack), Status> {
        let epoch = hello.epoch;
        let (uploads, queue) = mpsc::channel(64);
        uploads
            .send(v1::Upload {
                kind: Some(v1::upload::Kind::Hello(hello)),
            })
            .await
            .unwrap();
        let acks = client
            .deliver(ReceiverStream::new(queue))
            .await?
            .into_inner();
        let mut agent = Self {
            uploads,
            acks,
            epoch,
        };
        let ack = agent.ack().await?;
        Ok((agent, ack))
    }

    /// Sends one batch that starts at `first`.
    pub(crate) async fn send(&self, first: u64, records: &[Vec<u8>]) {
        let envelopes = records
            .iter()
            .zip(first..)
            .map(|(record, seq)| v1::Envelope {
                epoch: self.epoch,
                seq,
                record: record.clone().into(),
            });
        let batch = v1::Batch {
            records: envelopes.collect(),
        };
        let upload = v1::Upload {
            kind: Some(v1::upload::Kind::Batch(batch)),
        };
        self.uploads.send(upload).await.unwrap();
    }

    pub(crate) async fn ack(&mut self) -> Result<v1::Ack, Status> {
        let ack = self.acks.message().await?;
        ack.ok_or_else(|| Status::aborted("the collector closed the stream"))
    }

    /// Waits until everything up to `through` is acknowledged.
    pub(crate) async fn ack_through(&mut self, through: u64) {
        while self.ack().await.unwrap().through < through {}
    }
}

/// Runs a test's tasks on a runtime apart from the collector's.
pub(crate) fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(task)
}

/// The store that a collector left there.
pub(crate) fn store_in(folder: &Path) -> Store {
    when_free(|| match Store::open(folder) {
        Err(StoreError::InUse(_)) => None,
        opened => Some(opened.unwrap()),
    })
}

/// A process that another test starts just then has the folder's lock, too, until it has become its program.
fn when_free<T>(mut open: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(opened) = open() {
            return opened;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("the folder is never free");
}

/// Delivers records as a new connection does, from the watermark on.
pub(crate) async fn deliver(addr: SocketAddr, device: &str, epoch: u64, spool: &[Vec<u8>]) {
    let (mut agent, ack) = Agent::connect(addr, device, epoch).await.unwrap();
    let held = usize::try_from(ack.through).unwrap();
    if held < spool.len() {
        agent.send(ack.through + 1, &spool[held..]).await;
        agent.ack_through(u64::try_from(spool.len()).unwrap()).await;
    }
}

pub(crate) async fn questions(addr: SocketAddr) -> QueryClient<Channel> {
    QueryClient::connect(format!("http://{addr}"))
        .await
        .unwrap()
}

/// `runs list` as JSON.
pub(crate) async fn runs(addr: SocketAddr) -> serde_json::Value {
    let request = v1::ListRunsRequest::default();
    let answer = questions(addr).await.list_runs(request).await.unwrap();
    serde_json::from_slice(&answer.into_inner().json).unwrap()
}

/// The spool of a device that measured `n` repetitions.
pub(crate) fn spool(device: &str, first_run: u8, n: u8, token_ms: u64) -> Vec<Vec<u8>> {
    let profile = DeviceProfile {
        id: DeviceId::parse(device).unwrap(),
        kind: DeviceKind::Generic,
        facts: BTreeMap::new(),
        reasons: BTreeMap::new(),
    };
    let mut spool = vec![Record::Device(profile).encode()];
    for number in 0..n {
        let trace = trace(
            device,
            RunId([first_run + number; 16]),
            u32::from(number) + 1,
            token_ms,
        );
        spool.extend(records(&trace).iter().map(Record::encode));
    }
    spool
}

pub(crate) fn records(trace: &RunTrace) -> Vec<Record> {
    let run = trace.header.run;
    let mut records = vec![Record::RunOpened(Box::new(trace.header.clone()))];
    for (index, segment) in (0..).zip(&trace.segments) {
        records.extend(Record::segment(run, index, segment));
    }
    records.push(Record::RunFinished {
        run,
        n_segments: u32::try_from(trace.segments.len()).unwrap(),
        n_resumptions: 0,
        end: trace.end,
        report: Box::new(measure(trace)),
    });
    records
}

/// Twenty requests of ten tokens, one each `token_ms` give or take a little that depends on the repetition.
pub(crate) fn trace(device: &str, run: RunId, repetition: u32, token_ms: u64) -> RunTrace {
    let token_ns = token_ms * 1_000_000 + 1000 * u64::from(repetition);
    let length_ns = 12 * token_ns;
    let requests = (0..20).map(|index| request(index, u64::from(index) * length_ns, token_ns));
    let segment = Segment {
        window: Window {
            from: Stamp(0),
            to: Stamp(20 * length_ns),
        },
        requests: requests.collect(),
        power: Vec::new(),
        memory: Vec::new(),
        gauges: Vec::new(),
        gaps: Vec::new(),
    };
    RunTrace {
        header: header(device, run, repetition),
        segments: vec![segment],
        resumptions: Vec::new(),
        end: RunEnd::Complete,
    }
}

/// The same with a sensor of two rails, read 100 times a second from before the window to after it.
pub(crate) fn trace_with_power(
    device: &str,
    run: RunId,
    repetition: u32,
    token_ms: u64,
) -> RunTrace {
    let mut trace = trace(device, run, repetition, token_ms);
    let window = trace.segments[0].window;
    let lead = Duration::from_secs(1);
    let sample = |n: u64| PowerSample {
        at: Stamp(n * 10_000_000),
        values: vec![
            9_000_000 + i64::try_from(n % 7).unwrap() * 40_000,
            4_000_000,
        ],
    };
    for request in &mut trace.segments[0].requests {
        request.sent = request.sent.after(lead);
        request.ended = request.ended.after(lead);
        for chunk in &mut request.chunks {
            chunk.at = chunk.at.after(lead);
        }
    }
    trace.segments[0].window = Window {
        from: window.from.after(lead),
        to: window.to.after(lead),
    };
    let n_samples = window.to.after(lead + lead).0 / 10_000_000;
    let rail = |name: &str| Rail {
        name: name.to_owned(),
        quantum: Watts(0.04),
    };
    trace.segments[0].power = vec![PowerTrace {
        sensor: Sensor {
            source: "ina".to_owned(),
            scope: Scope::Module,
            rails: vec![rail("VDD_GPU_SOC"), rail("VDD_CPU_CV")],
            reading: Reading::Power,
            refresh: None,
            averaging: Duration::ZERO,
            provenance: Provenance::Measured,
            asked_interval: None,
            clock: None,
        },
        samples: (0..n_samples).map(sample).collect(),
    }];
    trace.header.reasons.clear();
    trace
}

fn request(index: u32, sent_ns: u64, token_ns: u64) -> RequestTrace {
    let chunk = |nth: u64| Chunk {
        at: Stamp(sent_ns + (nth + 2) * token_ns),
        kind: ChunkKind::Content,
        tokens: Some(1),
    };
    RequestTrace {
        index,
        item: format!("scene-{index}"),
        scheduled: None,
        sent: Stamp(sent_ns),
        chunks: (0..10).map(chunk).collect(),
        ended: Stamp(sent_ns + 11 * token_ns),
        outcome: Outcome::Stop,
        tokens: Some(TokenCounts {
            prompt: 100,
            cached: Some(0),
            completion: 10,
            source: CountSource::Engine,
        }),
        image_encode: None,
        engine_times: None,
        answer: "a small red ball on a beach".to_owned(),
        truth: None,
    }
}

fn header(device: &str, run: RunId, repetition: u32) -> RunHeader {
    RunHeader {
        run,
        device: DeviceId::parse(device).unwrap(),
        cell: Cell {
            identity: Identity {
                suite: "edge-vision".to_owned(),
                suite_digest: Digest([1; 32]),
                task: "caption_brief".to_owned(),
                image_px: Some(96),
                model: "tiny".to_owned(),
                precision: "f32".to_owned(),
                max_tokens: 64,
                sampling: Sampling::Greedy,
                load: Load::Closed(1),
                cache_policy: CachePolicy::Cold,
                is_streaming: true,
            },
            configuration: Configuration {
                backend: "embedded".to_owned(),
                engine: "llama.cpp 1".to_owned(),
                engine_flags: BTreeMap::from([("threads".to_owned(), "2".to_owned())]),
                model_digest: Some(Digest([2; 32])),
                mmproj_digest: None,
                mmproj_precision: None,
                model_facts: BTreeMap::new(),
                power_mode: None,
                os: "linux".to_owned(),
            },
        },
        repetition,
        started: WallTime(1_790_000_000_000_000 + i64::from(repetition)),
        scoring: None,
        has_pictures: true,
        requests_provenance: Provenance::Measured,
        is_quick: false,
        idle: Vec::new(),
        load_time: None,
        load_trials: Vec::new(),
        image_tokens: None,
        cache_probe: None,
        limits: None,
        job: None,
        reasons: BTreeMap::from([("power".to_owned(), "no sensor".to_owned())]),
    }
}

/// Between two looks at a folder.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOKS_MAX: u32 = 2_000;

const PATIENCE: Duration = Duration::from_secs(20);
