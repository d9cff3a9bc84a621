//! Why a connection must end, once it must; its calls say it.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body, codegen::http::HeaderMap};

/// Shared by a connection, its calls, and whoever may end it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    // Set before `told`, and cheap to look at.
    status: OnceLock<Status>,
    told: CancellationToken,
    displaced: CancellationToken,
}

/// A body that ends when its connection must.
pub(super) struct Until {
    body: Body,
    direction: Direction,
    ending: Ending,
    told: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

/// Which way a body goes.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// What the other end sends: the service hears the status.
    In,
    /// What it is sent: it hears the status.
    Out,
}

impl Ending {
    /// The first reason is the one that is told.
    pub(super) fn end(&self, status: Status) {
        drop(self.0.status.set(status));
        self.0.told.cancel();
    }

    /// At once, unheard: the place is somebody else's already.
    pub(super) fn displace(&self, status: Status) {
        self.end(status);
        self.0.displaced.cancel();
    }

    /// Why it must, once it must.
    pub(super) fn status(&self) -> Option<&Status> {
        self.0.status.get()
    }

    /// Resolves once it must.
    pub(super) async fn told(&self) {
        self.0.told.cancelled().await;
    }

    /// Resolves once there is no time for words.
    pub(super) async fn displaced(&self) {
        self.0.displaced.cancelled().await;
    }

    /// A body that this ends.
    pub(super) fn until(&self, direction: Direction, body: Body) -> Body {
        Body::new(Until {
            body,
            direction,
            ending: self.clone(),
            told: Box::pin(self.0.told.clone().cancelled_owned()),
            is_over: false,
        })
    }
}

impl Until {
    fn last_words(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        self.is_over = true;
        let status = self.ending.status()?;
        Some(match self.direction {
            Direction::In => Err(status.clone()),
            Direction::Out => {
                let mut trailers = HeaderMap::new();
                status
                    .add_header(&mut trailers)
                    .map(|()| Frame::trailers(trailers))
            }
        })
    }
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.ending.status().is_none() {
            let frame = Pin::new(&mut self.body).poll_frame(context);
            if frame.is_ready() || self.told.as_mut().poll(context).is_pending() {
                return frame;
            }
        }
        Poll::Ready(self.last_words())
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
