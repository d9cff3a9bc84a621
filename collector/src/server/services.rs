//! Several gRPC services behind one address, and beside them the pages for whoever has a certificate.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::Router;
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use super::{
    connection::Caller,
    ending::{Direction, Ending},
};
use crate::peer::Peer;

/// Services by their names, and what is asked without one.
#[derive(Clone, Default)]
pub(super) struct Services {
    named: Vec<(&'static str, Boxed)>,
    pages: Option<Router>,
}

type Boxed = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

impl Services {
    /// And this one.
    pub(super) fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.named
            .push((S::NAME, BoxCloneSyncService::new(service)));
        self
    }

    /// And these pages, for whoever has a certificate and does not speak gRPC.
    pub(super) fn with_pages(self, pages: Router) -> Self {
        Self {
            pages: Some(pages),
            ..self
        }
    }

    fn of(&mut self, request: &http::Request<Body>, peer: &Peer) -> Option<Boxed> {
        let is_page = !is_grpc(request) && matches!(peer, Peer::Certified(_));
        if let Some(pages) = self.pages.as_ref().filter(|_| is_page) {
            let pages = ServiceBuilder::new()
                .map_request(|request: http::Request<Body>| request.map(axum::body::Body::new))
                .map_response(|answer: http::Response<axum::body::Body>| answer.map(Body::new))
                .service(pages.clone());
            return Some(BoxCloneSyncService::new(pages));
        }
        let asked = request.uri().path().split('/').nth(1).unwrap_or_default();
        let service = self.named.iter().find(|(name, _)| *name == asked);
        service.map(|(_, service)| service.clone())
    }
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // All are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Some(caller) = request.extensions_mut().remove::<Caller>() else {
            return refusal(Status::internal("nobody knows who called"));
        };
        if let Some(status) = caller.ending.as_ref().and_then(Ending::status) {
            return refusal(status.clone());
        }
        let Some(mut service) = self.of(&request, &caller.peer) else {
            return refusal(Status::unimplemented("no such service here"));
        };
        request.extensions_mut().insert(caller.peer);
        let Some(ending) = caller.ending else {
            return Box::pin(service.call(request));
        };
        let answer = service.call(request.map(|body| ending.until(Direction::In, body)));
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| ending.until(Direction::Out, body)))
        })
    }
}

fn is_grpc(request: &http::Request<Body>) -> bool {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|text| text.as_bytes().starts_with(b"application/grpc"))
}

fn refusal(status: Status) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async move { Ok(status.into_http()) })
}
