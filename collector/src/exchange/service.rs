//! Files over gRPC: what comes is kept aside, and looked at when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tokwatt_proto::v1;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Asked, BundleError, ExportError, Exporter, ForeignError, ImportError, Importer, Labels, Made,
    Question, ResultsError, ResultsImporter, Tool,
};
use crate::{peer::Peer, query::QueryError, store::StoreError};

/// The gRPC service Exchange.
pub struct Exchange {
    /// Admits; absent without an identity.
    pub importer: Option<Arc<Importer>>,
    /// Takes result files of other tools.
    pub results: ResultsImporter,
    /// Makes files to be handed on.
    pub exporter: Arc<Exporter>,
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
        let parts = request.into_inner().map(|part| part.map(|part| part.bytes));
        let too_long = "this is larger than any spool, and no export";
        let file = receive(&self.folder, parts, EXPORT_BYTES_MAX, too_long).await?;
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
        request: Request<Streaming<v1::ResultsPart>>,
    ) -> Result<Response<v1::Document>, Status> {
        let peer = Peer::of(&request)?;
        peer.may_operate()?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.unwrap_or_default();
        let asked = asked(first.file.unwrap_or_default(), peer.to_string())?;
        let rest = parts.map(|part| part.map(|part| part.content));
        let parts = stream::iter([Ok(first.content)]).chain(rest);
        let file = receive(&self.folder, parts, RESULTS_BYTES_MAX, TOO_LONG).await?;
        let results = self.results.import(file, asked).await.map_err(|error| {
            tracing::warn!(by = %peer, error = chain(&error), "results refused");
            results_status(&error)
        })?;
        let json = serde_json::to_vec(&results);
        let json = json.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::Document {
            schema: results.schema,
            json,
        }))
    }

    type ExportStream = BoxStream<'static, Result<v1::FilePart, Status>>;

    async fn export(
        &self,
        request: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        let question = Question::parse(
            &request.what,
            &request.format,
            &request.r#where,
            request.runs,
        );
        let question = question.map_err(|error| export_status(&error))?;
        if !question.is_bundle() {
            let made = self.exporter.table(&question).await;
            return Ok(Response::new(parts(
                made.map_err(|error| export_status(&error))?,
            )));
        }
        let runs = self.exporter.bundled(&question).await;
        let runs = runs.map_err(|error| export_status(&error))?;
        let exporter = self.exporter.clone();
        // One is made when the one before it is gone.
        let bundles = stream::iter(runs).then(move |run| {
            let exporter = exporter.clone();
            async move {
                match exporter.bundle(run).await {
                    Ok(made) => parts(made),
                    Err(error) => stream::iter([Err(export_status(&error))]).boxed(),
                }
            }
        });
        Ok(Response::new(bundles.flatten().boxed()))
    }
}

/// A file piece by piece; an empty one is a piece, too.
fn parts(made: Made) -> BoxStream<'static, Result<v1::FilePart, Status>> {
    let Made { name, file } = made;
    let pieces = stream::unfold((Some(file), true), move |(file, is_first)| {
        let name = name.clone();
        async move {
            let file = file?;
            let read = tokio::task::spawn_blocking(move || {
                let mut content = Vec::new();
                let read = (&file).take(PART_BYTES).read_to_end(&mut content);
                read.map(|_| (file, content))
            });
            let read = read.await.map_err(io::Error::other).flatten();
            match read {
                Ok((_, content)) if content.is_empty() && !is_first => None,
                Ok((file, content)) => {
                    let part = v1::FilePart {
                        path: name,
                        content,
                    };
                    Some((Ok(part), (Some(file), false)))
                }
                Err(error) => Some((Err(failed(&error)), (None, false))),
            }
        }
    });
    pieces.boxed()
}

/// All of it, in a file that has no name and is gone with its last reader.
async fn receive(
    folder: &Path,
    parts: impl Stream<Item = Result<Vec<u8>, Status>> + Send,
    bytes_max: u64,
    too_long: &str,
) -> Result<File, Status> {
    let mut parts = pin!(parts);
    let file = nameless(folder).map_err(|error| failed(&error))?;
    let (queue, mut queued) = mpsc::channel::<Vec<u8>>(PARTS_MAX);
    let writing = tokio::task::spawn_blocking(move || {
        let mut file = file;
        while let Some(bytes) = queued.blocking_recv() {
            file.write_all(&bytes)?;
        }
        Ok::<_, io::Error>(file)
    });
    let mut n_bytes = 0_u64;
    while let Some(bytes) = parts.next().await {
        let bytes = bytes?;
        n_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if n_bytes > bytes_max {
            return Err(Status::invalid_argument(too_long));
        }
        if queue.send(bytes).await.is_err() {
            // Writing has failed, and says why.
            break;
        }
    }
    drop(queue);
    let written = writing.await;
    let written = written.map_err(|error| Status::internal(error.to_string()))?;
    written.map_err(|error| failed(&error))
}

/// What was said about a file.
fn asked(file: v1::ResultsFile, by: String) -> Result<Asked, Status> {
    let refused = |error: ForeignError| Status::invalid_argument(error.to_string());
    let tool = Some(file.tool).filter(|tool| !tool.is_empty());
    Ok(Asked {
        tool: tool
            .map(|tool| Tool::parse(&tool))
            .transpose()
            .map_err(refused)?,
        labels: Labels::parse(&file.labels).map_err(refused)?,
        name: file.name,
        by,
    })
}

/// A file that is gone with its last reader.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
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
        _ => Status::unavailable(format!("the collector cannot keep the file: {error}")),
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

fn results_status(error: &ResultsError) -> Status {
    let message = chain(error);
    match error {
        ResultsError::Foreign(_) => Status::invalid_argument(message),
        ResultsError::Contradicts { .. } => Status::already_exists(message),
        ResultsError::Store(StoreError::Full) => Status::resource_exhausted(message),
        _ => Status::unavailable(message),
    }
}

fn export_status(error: &ExportError) -> Status {
    let message = chain(error);
    match error {
        ExportError::UnknownWhat { .. }
        | ExportError::UnknownForm { .. }
        | ExportError::Condition(_)
        | ExportError::Query(QueryError::RunName(_) | QueryError::Ambiguous { .. })
        | ExportError::Bundle(BundleError::TooLong) => Status::invalid_argument(message),
        ExportError::Nothing | ExportError::Query(QueryError::NoSuchRun(_)) => {
            Status::not_found(message)
        }
        ExportError::Query(QueryError::Imported(_)) => Status::failed_precondition(message),
        ExportError::File(error) => failed(error),
        _ => Status::unavailable(message),
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Parts that wait for the disk: 4 MiB.
const PARTS_MAX: usize = 4;

/// Four times what a spool may hold by default.
const EXPORT_BYTES_MAX: u64 = 4 << 30;

/// What the summaries of a sweep of hundreds of runs take, and what is read through in seconds.
pub(crate) const RESULTS_BYTES_MAX: u64 = 256 << 20;

pub(crate) const TOO_LONG: &str = "it is longer than 256 MiB, more than is taken: import the tool's summary, without what it keeps of each request (vLLM: without --save-detailed; AIPerf: profile_export_aiperf.json)";

/// Of what is handed on.
const PART_BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[tokio::test]
    async fn what_comes_is_kept_whole_or_refused_before_it_fills_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let parts = |n: usize| stream::iter(vec![Ok(b"0123456789".to_vec()); n]);
        let mut file = receive(folder.path(), parts(3), 30, "too long")
            .await
            .unwrap();
        assert_eq!(file.seek(SeekFrom::End(0)).unwrap(), 30);
        // Of a stream without end no more is taken than fits.
        let endless = stream::repeat_with(|| Ok(vec![0; 10]));
        let refused = receive(folder.path(), endless, 30, "too long")
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(refused.message(), "too long");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
