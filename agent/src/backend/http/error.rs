//! What goes wrong between us and a server, and what that makes of a question.

use std::{error::Error, io, time::Duration};

use hyper::StatusCode;
use tokwatt_domain::run::FailureClass;

use super::BaseUrl;
use crate::backend::BackendError;

/// There is no answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens there.
    #[error("nobody answers at {url} (is the server running, and is that its address?)")]
    Refused {
        /// Where.
        url: BaseUrl,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// The machine is not to be reached.
    #[error("cannot connect to {url} (is that the server's address, and is there a way to it?)")]
    Unreachable {
        /// Where.
        url: BaseUrl,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// No TLS, or with somebody else.
    #[error(
        "{url} is not who it says it is, or does not speak TLS (if an authority of your own vouches for it, name its certificate with --ca-file FILE)"
    )]
    Insecure {
        /// Where.
        url: BaseUrl,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The connection ended before the answer did.
    #[error("{url} closed the connection before its answer was complete")]
    Closed {
        /// Where.
        url: BaseUrl,
        /// How it ended.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is spoken to in HTTP and answers in something else.
    #[error(
        "{url} answers in something else than HTTP/1.1 (is that the address of an inference server?)"
    )]
    Garbled {
        /// Where.
        url: BaseUrl,
        /// What is wrong with it.
        #[source]
        source: hyper::Error,
    },
    /// Somebody else should be asked: not followed, because a key is one server's, and a detour is no measurement.
    #[error(
        "{url} answers {status} and sends to `{location}`, which is not followed: give the server's own address"
    )]
    Redirect {
        /// Where.
        url: BaseUrl,
        /// With which status.
        status: StatusCode,
        /// Whereto.
        location: String,
    },
    /// Compressed, which was not asked for.
    #[error(
        "{url} answers in the encoding `{encoding}`, which was not asked for: ask the server without a proxy"
    )]
    Encoded {
        /// Where.
        url: BaseUrl,
        /// How.
        encoding: String,
    },
    /// No end of it.
    #[error("{url} answers with more than {bytes_max} bytes")]
    TooLong {
        /// Where.
        url: BaseUrl,
        /// What is believed to be enough.
        bytes_max: usize,
    },
    /// Not in time.
    #[error("{url} did not answer within {time_max:?}")]
    Late {
        /// Where.
        url: BaseUrl,
        /// What is believed to be enough.
        time_max: Duration,
    },
    /// A path that no request can have.
    #[error("cannot ask {url} for `{path}`")]
    Unsendable {
        /// Where.
        url: BaseUrl,
        /// For what.
        path: String,
        /// Why.
        #[source]
        source: hyper::http::Error,
    },
}

impl HttpError {
    pub(super) fn connecting(url: &BaseUrl, source: io::Error) -> Self {
        let url = url.clone();
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { url, source },
            _ => Self::Unreachable { url, source },
        }
    }

    /// A server that dies meanwhile is not one whose certificate is wrong.
    pub(super) fn securing(url: &BaseUrl, source: io::Error) -> Self {
        let url = url.clone();
        match source.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed {
                url,
                source: source.into(),
            },
            _ => Self::Insecure { url, source },
        }
    }

    pub(super) fn speaking(url: &BaseUrl, source: hyper::Error) -> Self {
        let url = url.clone();
        match is_about_form(&source) {
            true => Self::Garbled { url, source },
            false => Self::Closed {
                url,
                source: source.into(),
            },
        }
    }

    pub(super) fn closed_at_once(url: &BaseUrl) -> Self {
        Self::Closed {
            url: url.clone(),
            source: io::Error::from(io::ErrorKind::ConnectionReset).into(),
        }
    }

    /// It closed the connection on which it was asked, and takes no other: it died of the question.
    pub(super) fn after_death(self) -> Self {
        match self {
            Self::Refused { url, source } => Self::Closed {
                url,
                source: source.into(),
            },
            other => other,
        }
    }

    /// What it is counted as.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Refused { .. } | Self::Unreachable { .. } | Self::Insecure { .. } => {
                FailureClass::Refused
            }
            Self::Closed { .. } => FailureClass::Crashed,
            Self::Redirect { .. } => FailureClass::Http,
            Self::Late { .. } => FailureClass::Timeout,
            Self::Garbled { .. }
            | Self::Encoded { .. }
            | Self::TooLong { .. }
            | Self::Unsendable { .. } => FailureClass::Protocol,
        }
    }

    /// The error with everything behind it, in one line.
    pub fn words(&self) -> String {
        let causes = std::iter::successors(self.source(), |error| (*error).source());
        causes.fold(self.to_string(), |words, cause| format!("{words}: {cause}"))
    }
}

/// What became of a question: whoever is gone has to be waited for, and the rest is the question's own failure.
impl From<HttpError> for BackendError {
    fn from(error: HttpError) -> Self {
        let (class, message) = (error.class(), error.words());
        match error {
            HttpError::Refused { .. }
            | HttpError::Unreachable { .. }
            | HttpError::Insecure { .. }
            | HttpError::Closed { .. } => Self::Engine { class, message },
            _ => Self::Request { class, message },
        }
    }
}

/// Whether what came is no HTTP, rather than nothing any more.
fn is_about_form(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let kind = cause.map(io::Error::kind);
    error.is_parse()
        || error.is_parse_too_large()
        || error.is_parse_status()
        || matches!(
            kind,
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        )
}
