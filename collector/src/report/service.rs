//! Reports over gRPC: all files of a folder, one after the other.

use std::error::Error;

use futures::{StreamExt, stream};
use tokwatt_proto::v1;
use tonic::{Request, Response, Status};

use super::folder::Material;
use crate::{
    peer::Peer,
    query::{Query, QueryError},
    rank::{Condition, RankError, parse_provenance},
};

/// The gRPC service Reports.
pub struct Reports {
    /// Who is asked.
    pub query: Query,
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
        let material = self
            .gather(&request)
            .await
            .map_err(|error| status(&error))?;
        // Drawing takes seconds of a processor.
        let files = tokio::task::spawn_blocking(move || material.files()).await;
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
