//! Stands between agents and collector, passes everything on, and writes down every acknowledgement.
//!
//! The agents know its address, which stays, while the collector dies and comes back elsewhere. It loses some acknowledgements on
//! purpose, and their connection with them: the agent cannot know whether its records were committed.

use std::sync::{Arc, Mutex};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::mpsc::{self, Receiver, Sender},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::TaskTracker;
use tokwatt_harness::Random;
use tokwatt_proto::{
    delivery::{CREDITS, MESSAGE_BYTES_MAX},
    v1::{
        self, Ack, Hello, Upload,
        ingest_client::IngestClient,
        ingest_server::{Ingest, IngestServer},
        upload::Kind,
    },
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::ledger::Ledger;

/// Between agents and collector.
pub(crate) struct Relay {
    pub(crate) url: String,
    target: Arc<Mutex<String>>,
    _runtime: Runtime,
}

/// How it treats acknowledgements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    /// Passes them on, but for one in so many, with which it cuts the connection.
    Loses { one_in: u64 },
    /// Makes them itself, before the collector has seen anything: what nobody may do.
    Invents,
}

struct Line {
    ledger: Arc<Ledger>,
    target: Arc<Mutex<String>>,
    manner: Manner,
    random: Arc<Mutex<Random>>,
    tasks: TaskTracker,
}

/// One agent's call, passed on.
struct Call {
    device: String,
    up: Sender<Upload>,
    down: Sender<Result<Ack, Status>>,
    ledger: Arc<Ledger>,
    manner: Manner,
    random: Arc<Mutex<Random>>,
}

impl Relay {
    pub(crate) fn start(ledger: &Arc<Ledger>, manner: Manner, random: Random) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = Arc::new(Mutex::new(String::new()));
        let line = Line {
            ledger: ledger.clone(),
            target: target.clone(),
            manner,
            random: Arc::new(Mutex::new(random)),
            tasks: TaskTracker::new(),
        };
        let service = IngestServer::new(line)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let serving =
            Server::builder().serve_with_incoming(service, TcpListenerStream::new(listener));
        runtime.spawn(serving);
        Self {
            url,
            target,
            _runtime: runtime,
        }
    }

    /// Where the collector is now.
    pub(crate) fn lead_to(&self, collector: &str) {
        collector.clone_into(&mut self.target.lock().unwrap());
    }
}

#[tonic::async_trait]
impl Ingest for Line {
    type DeliverStream = ReceiverStream<Result<Ack, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<Upload>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let mut uploads = request.into_inner();
        let first = uploads.message().await?.and_then(|upload| upload.kind);
        let Some(Kind::Hello(hello)) = first else {
            return Err(Status::failed_precondition("no hello"));
        };
        let (down, answers) = mpsc::channel(1);
        let (up, queue) = mpsc::channel(1);
        let acks = self.call(&hello, &up, queue).await?;
        let call = Call {
            device: hello.device,
            up,
            down,
            ledger: self.ledger.clone(),
            manner: self.manner,
            random: self.random.clone(),
        };
        // Until either end is gone: then the other one hears of it.
        self.tasks.spawn(async move {
            tokio::select! {
                () = call.pass_up(uploads) => {}
                () = call.pass_down(acks) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Line {
    async fn call(
        &self,
        hello: &Hello,
        up: &Sender<Upload>,
        queue: Receiver<Upload>,
    ) -> Result<Streaming<Ack>, Status> {
        let target = self.target.lock().unwrap().clone();
        let client = IngestClient::connect(target).await;
        let client = client.map_err(|_| Status::unavailable("the collector is away"))?;
        let kind = Some(Kind::Hello(hello.clone()));
        drop(up.send(Upload { kind }).await);
        let mut client = client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answer = client.deliver(ReceiverStream::new(queue)).await?;
        Ok(answer.into_inner())
    }
}

impl Call {
    async fn pass_up(&self, mut uploads: Streaming<Upload>) {
        let mut held_back = None;
        while let Ok(Some(upload)) = uploads.message().await {
            self.ledger.sent();
            let next = match self.manner {
                Manner::Loses { .. } => Some(upload),
                Manner::Invents => {
                    self.invent(&upload).await;
                    held_back.replace(upload)
                }
            };
            if let Some(upload) = next
                && self.up.send(upload).await.is_err()
            {
                return;
            }
        }
    }

    async fn pass_down(&self, mut acks: Streaming<Ack>) {
        let mut is_first_word = true;
        loop {
            let ack = match acks.message().await {
                Ok(Some(ack)) => ack,
                Ok(None) => return,
                Err(status) => return drop(self.down.send(Err(status)).await),
            };
            let through = ack.through;
            self.ledger
                .acknowledged(&self.device, through, is_first_word);
            if !is_first_word && !self.passes_on() {
                match self.manner {
                    Manner::Loses { .. } => return,
                    Manner::Invents => continue,
                }
            }
            is_first_word = false;
            if self.down.send(Ok(ack)).await.is_err() {
                return;
            }
        }
    }

    fn passes_on(&self) -> bool {
        match self.manner {
            Manner::Loses { one_in } => self.random.lock().unwrap().below(one_in) != 0,
            Manner::Invents => false,
        }
    }

    async fn invent(&self, upload: &Upload) {
        let Some(Kind::Batch(v1::Batch { records })) = &upload.kind else {
            return;
        };
        let last = records.last().unwrap();
        let ack = Ack {
            epoch: last.epoch,
            through: last.seq,
            credits: CREDITS,
        };
        self.ledger.acknowledged(&self.device, ack.through, false);
        drop(self.down.send(Ok(ack)).await);
    }
}
