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

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let asked = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.iter_mut().find(|(name, _)| *name == asked) {
            Some((_, service)) => Box::pin(service.call(request)),
            None => {
                let unknown = Status::unimplemented("no such service here");
                Box::pin(async move { Ok(unknown.into_http()) })
            }
        }
    }
}
