//! The agents: one connection each over mutual TLS, deliveries as agents make them, and what that costs the process they go to.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use rustls::{ClientConfig, pki_types::ServerName};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tokwatt_domain::{
    ids::{DeviceId, Epoch, RunId, Seq},
    time::WallTime,
};
use tokwatt_proto::{
    delivery::{self, CREDITS, Envelope, Hello},
    v1,
};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::{process::Usage, records};
use tokwatt_harness::SampleRun;

/// Who is connected to, and by whom.
pub(crate) struct Target {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) server: ServerName<'static>,
    /// Each with a certificate of its own, or all with one.
    pub(crate) agents: Vec<(DeviceId, Arc<ClientConfig>)>,
    pub(crate) sample: Arc<SampleRun>,
}

/// What one connection and one message cost the other side.
pub(crate) struct Cost {
    pub(crate) cpu_us: f64,
    pub(crate) agent_kb: f64,
    pub(crate) wire_bytes: f64,
    pub(crate) message_bytes: usize,
}

/// What came of delivering runs as fast as they are acknowledged.
pub(crate) struct Delivered {
    pub(crate) per_second: f64,
    /// Of the collector, for each run.
    pub(crate) cpu_us: f64,
    /// Of those who deliver, for each run.
    pub(crate) clients_cpu_us: f64,
    pub(crate) wire_bytes: f64,
    pub(crate) n_batches: usize,
    pub(crate) n_runs: f64,
}

/// All agents of a target, connected.
pub(crate) struct Fleet {
    agents: Vec<Agent>,
    pid: u32,
    agent_kb: f64,
    wire: Arc<AtomicU64>,
}

struct Agent {
    uploads: mpsc::Sender<v1::Upload>,
    acks: Streaming<v1::Ack>,
    device: DeviceId,
    /// A second connection of a device would go on where its first one was.
    epoch: u64,
    sample: Arc<SampleRun>,
    sent: u64,
    n_runs: u64,
}

impl Fleet {
    /// Connects all of them and sees what they weigh before they say anything.
    pub(crate) async fn connect(target: &Target, pid: u32) -> anyhow::Result<Self> {
        let wire = Arc::new(AtomicU64::new(0));
        // The first one brings what a process allocates once.
        let (first, rest) = target.agents.split_first().context("no agents")?;
        let mut agents = vec![Agent::connect(target, first, PACED, &wire).await?];
        let before = Usage::of(pid)?;
        let connecting = rest
            .iter()
            .map(|agent| Agent::connect(target, agent, PACED, &wire));
        let more: Vec<Agent> = stream::iter(connecting)
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await?;
        agents.extend(more);
        let after = Usage::of(pid)?;
        Ok(Self {
            agent_kb: after.resident_kb.saturating_sub(before.resident_kb) as f64
                / rest.len() as f64,
            agents,
            pid,
            wire,
        })
    }

    /// A message a second from each, spread over the second, none of which finishes a run.
    pub(crate) async fn pace(&mut self, time: Duration) -> anyhow::Result<Cost> {
        let n_agents = self.agents.len();
        let begin = tokio_now() + Duration::from_secs(1);
        let before = Usage::of(self.pid)?;
        let wire = self.wire.load(Ordering::Relaxed);
        let seconds = u32::try_from(time.as_secs())?;
        let mut tasks = JoinSet::new();
        for (place, mut agent) in self.agents.drain(..).enumerate() {
            let offset = Duration::from_secs(1).mul_f64(place as f64 / n_agents as f64);
            tasks.spawn(async move {
                let mut bytes = 0;
                for second in 0..seconds {
                    tokio::time::sleep_until(begin + offset + Duration::from_secs(1) * second)
                        .await;
                    bytes = agent.send(agent.part()).await?;
                    agent.acknowledged().await?;
                }
                anyhow::Ok((agent, bytes))
            });
        }
        let mut message_bytes = 0;
        while let Some(ended) = tasks.join_next().await {
            let (agent, bytes) = ended??;
            self.agents.push(agent);
            message_bytes = bytes;
        }
        let after = Usage::of(self.pid)?;
        let messages = f64::from(seconds) * n_agents as f64;
        Ok(Cost {
            cpu_us: (after.cpu - before.cpu).as_secs_f64() * 1e6 / messages,
            agent_kb: self.agent_kb,
            wire_bytes: (self.wire.load(Ordering::Relaxed) - wire) as f64 / messages,
            message_bytes,
        })
    }

    /// Some agents that were cut off, each of which delivers the runs that it has as agents do: some batches, and the next ones when those
    /// are acknowledged. They are made before the clock starts: who delivers shares the machine with the collector.
    pub(crate) async fn runs(target: &Target, pid: u32) -> anyhow::Result<Delivered> {
        let wire = Arc::new(AtomicU64::new(0));
        let askers = target.agents.iter().take(ASKERS);
        let connecting = askers.map(|agent| Agent::connect(target, agent, HURRIED, &wire));
        let agents: Vec<Agent> = stream::iter(connecting)
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await?;
        let mut making = JoinSet::new();
        for mut agent in agents {
            making.spawn_blocking(move || {
                let batches = agent.backlog();
                (agent, batches)
            });
        }
        let ready = making.join_all().await;
        wire.store(0, Ordering::Relaxed);
        let done = f64::from(RUNS_EACH) * ready.len() as f64;
        let before = [Usage::of(pid)?, Usage::of(std::process::id())?];
        let begun = now();
        let mut tasks = JoinSet::new();
        for (mut agent, batches) in ready {
            tasks.spawn(async move {
                let n_batches = batches.len();
                let mut rest = batches.into_iter().peekable();
                while rest.peek().is_some() {
                    for batch in rest.by_ref().take(CREDITS as usize) {
                        agent.upload(batch).await?;
                    }
                    agent.acknowledged().await?;
                }
                anyhow::Ok(n_batches)
            });
        }
        let mut n_batches = 0;
        while let Some(ended) = tasks.join_next().await {
            n_batches += ended??;
        }
        let per_second = done / begun.elapsed().as_secs_f64();
        let after = [Usage::of(pid)?, Usage::of(std::process::id())?];
        let [cpu_us, clients_cpu_us] =
            [0, 1].map(|side| (after[side].cpu - before[side].cpu).as_secs_f64() * 1e6 / done);
        Ok(Delivered {
            per_second,
            cpu_us,
            clients_cpu_us,
            wire_bytes: wire.load(Ordering::Relaxed) as f64 / done,
            n_batches,
            n_runs: done,
        })
    }
}

impl Agent {
    async fn connect(
        target: &Target,
        (device, config): &(DeviceId, Arc<ClientConfig>),
        epoch: u64,
        wire: &Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let channel = channel(target, config.clone(), wire.clone()).await?;
        let (uploads, queue) = mpsc::channel(8);
        let hello = Hello {
            device: device.clone(),
            epoch: Epoch(epoch),
            agent_version: "0".to_owned(),
        };
        let kind = Some(v1::upload::Kind::Hello(hello.into()));
        uploads.send(v1::Upload { kind }).await?;
        let mut client = v1::ingest_client::IngestClient::new(channel);
        let acks = client
            .deliver(ReceiverStream::new(queue))
            .await?
            .into_inner();
        let mut agent = Self {
            uploads,
            acks,
            device: device.clone(),
            epoch,
            sample: target.sample.clone(),
            sent: 0,
            n_runs: 0,
        };
        agent.acknowledged().await?;
        Ok(agent)
    }

    async fn send(&mut self, record: Vec<u8>) -> anyhow::Result<usize> {
        let bytes = record.len();
        let envelope = v1::Envelope {
            epoch: self.epoch,
            seq: self.sent + 1,
            record: record.into(),
        };
        let records = vec![envelope];
        self.upload(v1::Batch { records }).await?;
        Ok(bytes)
    }

    async fn upload(&mut self, batch: v1::Batch) -> anyhow::Result<()> {
        self.sent = batch.records.last().map_or(self.sent, |last| last.seq);
        let kind = Some(v1::upload::Kind::Batch(batch));
        Ok(self.uploads.send(v1::Upload { kind }).await?)
    }

    async fn acknowledged(&mut self) -> anyhow::Result<()> {
        loop {
            let ack = self.acks.message().await?.context("the stream ended")?;
            if ack.through >= self.sent {
                return Ok(());
            }
        }
    }

    /// A second of six rails at 100 Hz, of a run that does not end.
    fn part(&self) -> Vec<u8> {
        records::second(self.run(), self.sent)
    }

    /// What waits in its spool, in batches.
    fn backlog(&mut self) -> Vec<v1::Batch> {
        let epoch = Epoch(self.epoch);
        let runs = (0..RUNS_EACH).flat_map(|_| {
            self.n_runs += 1;
            self.sample.run(&self.device, self.run())
        });
        let envelopes = (1..).zip(runs).map(|(seq, record)| Envelope {
            epoch,
            seq: Seq(seq),
            record: record.into(),
        });
        delivery::batches(envelopes.collect::<Vec<_>>()).collect()
    }

    /// Named as agents name them: one each minute, and each device at another second of it.
    fn run(&self) -> RunId {
        let digest = Sha256::digest(format!("{} {}", self.device, self.n_runs));
        let random: [u8; 10] = std::array::from_fn(|place| digest[place]);
        let minutes = i64::try_from(self.n_runs).expect("a bench is over before");
        let now = minutes * 60_000_000 + i64::from(digest[10]) * 200_000;
        RunId::new(WallTime(BEGAN_US + now), random)
    }
}

async fn channel(
    target: &Target,
    config: Arc<ClientConfig>,
    wire: Arc<AtomicU64>,
) -> anyhow::Result<Channel> {
    let (address, server) = (target.address, target.server.clone());
    let connector = tower::service_fn(move |_| {
        let (tls, server, wire) = (
            TlsConnector::from(config.clone()),
            server.clone(),
            wire.clone(),
        );
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let counted = Counted { stream, wire };
            std::io::Result::Ok(hyper_util::rt::TokioIo::new(
                tls.connect(server, counted).await?,
            ))
        }
    });
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Bytes both ways, below TLS.
struct Counted {
    stream: TcpStream,
    wire: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.wire
            .fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            self.wire.fetch_add(*written as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// When messages begin, by the clock that sleeping goes by.
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark has a clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// When the first run began, by the wall clock.
const BEGAN_US: i64 = 1_790_000_000_000_000;

/// Lives of a made-up spool.
const PACED: u64 = 1;
const HURRIED: u64 = 2;

/// Agents that deliver runs at once.
pub(crate) const ASKERS: usize = 64;

/// Runs that each of them delivers: some seconds' worth, and some 300 MB.
pub(crate) const RUNS_EACH: u32 = 400;

/// Handshakes in progress.
const CONNECTING: usize = 16;
