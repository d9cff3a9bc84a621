//! Takes exports over gRPC: kept aside as they come, and looked at when they are whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::mpsc;
use tokwatt_proto::v1;
use tonic::{Request, Response, Status, Streaming};

use super::{ImportError, Importer};
use crate::{peer::Peer, store::StoreError};

/// The gRPC service Exchange.
pub struct Exchange {
    /// Admits; absent without an identity.
    pub importer: Option<Arc<Importer>>,
    /// Where an export is kept while it comes.
    pub folder: PathBuf,
}

#[tonic::async_trait]
impl v1::exchange_server::Exchange for Exchange {
    async fn import(
        &self,
        request: Request<Streaming<v1::ImportPart>>,
    ) -> Result<Response<v1::ImportReceipt>, Status> {
        let peer = Peer::of(&request)?;
        peer.may_operate()?;
        let importer = self.importer.as_ref().ok_or_else(|| {
            Status::failed_precondition(
                "this collector has no identity, so it knows nobody's signature: `tokwatt-collector init` makes one",
            )
        })?;
        let file = self.receive(request.into_inner()).await?;
        let imported = importer.import(file).await.map_err(|error| {
            tracing::warn!(by = %peer, error = chain(&error), "export refused");
            status(&error)
        })?;
        let json = serde_json::to_vec(&imported.document)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::ImportReceipt {
            document: Some(v1::Document {
                schema: imported.document.schema,
                json,
            }),
            receipt: imported.receipt,
        }))
    }

    async fn import_results(
        &self,
        request: Request<Streaming<v1::FilePart>>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_operate()?;
        Err(Status::unimplemented("not in this version"))
    }

    type ExportStream = futures::stream::BoxStream<'static, Result<v1::FilePart, Status>>;

    async fn export(
        &self,
        request: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        Peer::of(&request)?.may_ask()?;
        Err(Status::unimplemented("not in this version"))
    }
}

impl Exchange {
    /// All of it, in a file that has no name and is gone with its last reader.
    async fn receive(&self, mut parts: Streaming<v1::ImportPart>) -> Result<File, Status> {
        let file = nameless(&self.folder).map_err(|error| failed(&error))?;
        let (queue, mut queued) = mpsc::channel::<Vec<u8>>(PARTS_MAX);
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = file;
            while let Some(bytes) = queued.blocking_recv() {
                file.write_all(&bytes)?;
            }
            Ok::<_, io::Error>(file)
        });
        let mut n_bytes = 0_u64;
        while let Some(part) = parts.message().await? {
            n_bytes += u64::try_from(part.bytes.len()).unwrap_or(u64::MAX);
            if n_bytes > EXPORT_BYTES_MAX {
                return Err(Status::invalid_argument(
                    "this is larger than any spool, and no export",
                ));
            }
            if queue.send(part.bytes).await.is_err() {
                // Writing has failed, and says why.
                break;
            }
        }
        drop(queue);
        let written = writing.await;
        let written = written.map_err(|error| Status::internal(error.to_string()))?;
        written.map_err(|error| failed(&error))
    }
}

/// A file that is gone with its last reader.
pub(crate) fn nameless(folder: &std::path::Path) -> io::Result<File> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = folder.join(format!("import-{:016x}.part", u64::from_ne_bytes(random)));
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn failed(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Status::resource_exhausted("the collector's disk is full, try again later")
        }
        _ => Status::unavailable(format!("the collector cannot keep the export: {error}")),
    }
}

/// To be mended in the file, by an operator, or later.
fn status(error: &ImportError) -> Status {
    let message = chain(error);
    match error {
        ImportError::Export(tokwatt_proto::export::ExportError::Unsigned)
        | ImportError::Stranger(_)
        | ImportError::NoDevice(_)
        | ImportError::Standing(_) => Status::permission_denied(message),
        ImportError::Export(_)
        | ImportError::Epoch(_)
        | ImportError::Gap { .. }
        | ImportError::Store(StoreError::Gap { .. } | StoreError::Altered { .. }) => {
            Status::invalid_argument(message)
        }
        ImportError::Store(StoreError::Full) => Status::resource_exhausted(message),
        _ => Status::unavailable(message),
    }
}

/// An error with what caused it.
fn chain(error: &ImportError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Parts that wait for the disk: 4 MiB.
const PARTS_MAX: usize = 4;

/// Four times what a spool may hold by default.
const EXPORT_BYTES_MAX: u64 = 4 << 30;
