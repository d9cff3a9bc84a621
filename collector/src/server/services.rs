//! Several gRPC services behind one address.
//!
//! tonic's own router would bring a web framework with it for the one look at the path that this is.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};
use tower::util::BoxCloneSyncService;

use super::{
    connection::Caller,
    ending::{Direction, Ending},
};

/// Services by their names.
#[derive(Clone, Default)]
pub(super) struct Services(Vec<(&'static str, Boxed)>);

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
        self.0.push((S::NAME, BoxCloneSyncService::new(service)));
        self
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
        let asked = request.uri().path().split('/').nth(1).unwrap_or_default();
        let service = self.0.iter_mut().find(|(name, _)| *name == asked);
        let Some((_, service)) = service else {
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

fn refusal(status: Status) -> BoxFuture<http::Response<Body>, Infallible> {
    Box::pin(async move { Ok(status.into_http()) })
}
