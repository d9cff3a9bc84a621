//! The questions over gRPC: the same documents as `--format json` prints.

use std::{error::Error, future::Future};

use serde::Serialize;
use tokwatt_proto::v1;
use tonic::{Request, Response, Status};

use super::{Query, QueryError};
use crate::{
    compare,
    estimate::Plan,
    peer::Peer,
    rank::{Condition, OverTasks, Question, RankError, parse_provenance},
    recommend::{RecommendError, UseCase},
};

#[tonic::async_trait]
impl v1::query_server::Query for Query {
    async fn rank(
        &self,
        request: Request<v1::RankRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        answer(async {
            let question = Question {
                over_tasks: OverTasks::parse(&request.aggregate)?,
                may_differ: request.across_tokenizers,
                ..Question::parse(
                    &request.metric,
                    &request.by,
                    &request.r#where,
                    &request.provenance,
                    request.strict,
                )?
            };
            if request.allow_mixed_scope {
                let boards = self.boards(&question).await?;
                return document(&boards.schema, &boards);
            }
            let board = self.board(&question).await?;
            document(&board.schema, &board)
        })
        .await
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        answer(async {
            let conditions = conditions(&request.r#where)?;
            let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
            let limit = if limit == 0 { LIMIT } else { limit };
            let runs = self.runs(&conditions, limit).await?;
            document(&runs.schema, &runs)
        })
        .await
    }

    async fn show_run(
        &self,
        request: Request<v1::ShowRunRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let name = request.into_inner().run;
        answer(async {
            let run = self.run(&name).await?;
            document(&run.schema, &run)
        })
        .await
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        answer(async {
            let devices = self.devices().await?;
            document(&devices.schema, &devices)
        })
        .await
    }

    async fn compare(
        &self,
        request: Request<v1::CompareRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        answer(async {
            let conditions = conditions(&request.r#where)?;
            if !request.over.is_empty() {
                let (over, metrics) = compare::parse_history(&request.over, &request.metrics)?;
                let provenance = parse_provenance(&request.provenance)?;
                let history = self
                    .history(over, &metrics, &conditions, provenance)
                    .await?;
                return document(&history.schema, &history);
            }
            let question = compare::Question::parse(
                &request.left,
                &request.right,
                &request.metrics,
                &request.provenance,
            )?;
            let comparison = self.compare(&question, &conditions).await?;
            document(&comparison.schema, &comparison)
        })
        .await
    }

    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        answer(async {
            let use_case = UseCase::parse(&request.use_case)
                .and_then(|case| {
                    case.with(
                        &request.r#where,
                        &request.scope,
                        &request.at_most,
                        &request.at_least,
                    )
                })
                .map_err(RecommendError::from)?;
            let provenance = parse_provenance(&request.provenance)?;
            let recommendation = self.recommend(&use_case, provenance).await?;
            document(&recommendation.schema, &recommendation)
        })
        .await
    }

    async fn estimate(
        &self,
        request: Request<v1::EstimateRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        Peer::of(&request)?.may_ask()?;
        let request = request.into_inner();
        answer(async {
            let plan = Plan::parse(&request.plan_json)?;
            let conditions = conditions(&request.r#where)?;
            let provenance = parse_provenance(&request.provenance)?;
            let estimate = self.estimate(&plan, &conditions, provenance).await?;
            document(&estimate.schema, &estimate)
        })
        .await
    }
}

fn conditions(texts: &[String]) -> Result<Vec<Condition>, RankError> {
    texts.iter().map(|text| Condition::parse(text)).collect()
}

async fn answer(
    question: impl Future<Output = Result<v1::Document, QueryError>>,
) -> Result<Response<v1::Document>, Status> {
    match question.await {
        Ok(document) => Ok(Response::new(document)),
        Err(error) => Err(status(&error)),
    }
}

fn document(schema: &str, content: &impl Serialize) -> Result<v1::Document, QueryError> {
    Ok(v1::Document {
        schema: schema.to_owned(),
        json: serde_json::to_vec(content)?,
    })
}

fn status(error: &QueryError) -> Status {
    let text = error.to_string();
    match error {
        QueryError::Rank(RankError::Index(_)) => {
            tracing::error!(%error, "a question could not be answered");
            Status::internal(text)
        }
        QueryError::Rank(_)
        | QueryError::Compare(_)
        | QueryError::Recommend(_)
        | QueryError::Estimate(_)
        | QueryError::NothingOfThat { .. }
        | QueryError::RunName(_)
        | QueryError::Ambiguous { .. } => Status::invalid_argument(text),
        QueryError::NoSuchRun(_) => Status::not_found(text),
        QueryError::Imported(_) => Status::failed_precondition(text),
        QueryError::Store(_)
        | QueryError::Document(_)
        | QueryError::Record(_)
        | QueryError::Unreadable { .. } => {
            tracing::error!(%error, source = ?error.source(), "a question could not be answered");
            Status::internal(text)
        }
    }
}

/// Runs in a list, if the asker does not say: a screen or two.
const LIMIT: usize = 100;
