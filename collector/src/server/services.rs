//! Two gRPC services behind one address.
//!
//! tonic's own router would bring a web framework with it for the one look at the path that this is.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tokwatt_proto::v1::{ingest_server::IngestServer, query_server::QueryServer};
use tonic::{
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

use crate::{ingest::Ingest, query::Query};

/// Ingest, and beside it the questions.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) ingest: IngestServer<Ingest>,
    pub(super) query: QueryServer<Query>,
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1);
        if service == Some(QueryServer::<Query>::NAME) {
            self.query.call(request)
        } else {
            // What neither knows, this one answers with UNIMPLEMENTED.
            self.ingest.call(request)
        }
    }
}
