//! Reports over gRPC: all files of a folder, one after the other.

use std::error::Error;

use futures::{StreamExt, stream};
use tokwatt_proto::v1;
use tonic::{Request, Response, Status};

use super::{drawing::Drawing, folder::Material};
use crate::{
    peer::Peer,
    query::{Query, QueryError},
    rank::{Condition, RankError, parse_provenance},
};

/// The gRPC service Reports.
pub struct Reports {
    /// Who is asked.
    pub query: Query,
    /// How many are drawn at a time.
    pub drawing: Drawing,
}

#[tonic::async_trait]
impl v1::reports_server::Reports for Reports {
    type ReportStream = stream::BoxStream<'static, Result<v1::FilePart, Status>>;

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        let seat = self.drawing.take();
        let seat = seat.map_err(|busy| Status::resource_exhausted(busy.to_string()))?;
        let material = self
            .gather(&request)
            .await
            .map_err(|error| status(&error))?;
        // Drawing takes seconds of a processor.
        let files = tokio::task::spawn_blocking(move || {
            // Drawing goes on if nobody waits for it any more.
            let _seat = seat;
            material.files()
        });
        let files = files.await;
        let files = files.map_err(|error| Status::internal(error.to_string()))?;
        let files = files.map_err(|error| Status::internal(error.to_string()))?;
        let parts =
            stream::iter(files).flat_map(|(path, content)| stream::iter(parts(path, &content)));
        Ok(Response::new(parts.map(Ok).boxed()))
    }
}

impl Reports {
    async fn gather(&self, request: &v1::ReportRequest) -> Result<Material, QueryError> {
        let conditions = request.r#where.iter().map(|text| Condition::parse(text));
        let conditions = conditions.collect::<Result<Vec<_>, RankError>>()?;
        let provenance = parse_provenance(&request.provenance)?;
        Material::gather(&self.query, conditions, provenance).await
    }
}

/// A file in pieces that fit into messages; one that is empty is one empty piece.
fn parts(path: String, content: &[u8]) -> Vec<v1::FilePart> {
    let part = |content: &[u8]| v1::FilePart {
        path: path.clone(),
        content: content.to_vec(),
    };
    if content.is_empty() {
        return vec![part(content)];
    }
    content.chunks(PART_BYTES).map(part).collect()
}

fn status(error: &QueryError) -> Status {
    match error {
        QueryError::Rank(error) => Status::invalid_argument(error.to_string()),
        error => {
            tracing::error!(%error, source = ?error.source(), "a report could not be made");
            Status::internal(error.to_string())
        }
    }
}

const PART_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;
    use tokwatt_proto::v1::reports_server::Reports as _;
    use tonic::Code;

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn whoever_asks_while_others_are_drawn_is_told_to_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let (_settling, settled) = watch::channel(0);
        let reports = Reports {
            query: Query::new(store, settled),
            drawing: Drawing::default(),
        };
        let ask = || {
            let mut request = Request::new(v1::ReportRequest::default());
            request.extensions_mut().insert(Peer::Local { uid: 0 });
            reports.report(request)
        };
        let seats: Vec<_> = std::iter::from_fn(|| reports.drawing.take().ok()).collect();
        let refused = ask().await.err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("ask again"), "{refused}");
        drop(seats);
        let _report = ask().await.unwrap();
        // Whoever takes their time to read one keeps nobody from drawing.
        assert!(ask().await.is_ok());
        assert!(ask().await.is_ok());
    }
}
