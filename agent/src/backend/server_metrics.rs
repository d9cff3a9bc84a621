//! A server's own metrics as gauges: one page fetched at every look.
//!
//! Why only when asked for: a look is a request to the very server that is measured, about once a second, and some render their page in
//! the process that streams the tokens. What cannot be had is told once, costs nothing else, and stands among the run's reasons.

use std::{collections::BTreeSet, str::FromStr, sync::Arc, time::Duration};

use hyper::StatusCode;
use tokio::runtime::Handle;

use super::http::{BaseUrl, Client, Endpoint, InvalidBaseUrl, TrustError};
use crate::{
    clock::Clock,
    device::gauges::{Gauge, GaugeSource},
};

/// What a page says.
mod page;

use page::Page;

/// Where a server's metrics are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetricsUrl {
    /// Which server.
    pub server: BaseUrl,
    /// Which of its pages, from the first `/` on.
    pub path: String,
}

/// A server that tells of itself.
pub struct ServerMetrics {
    client: Client,
    path: String,
    /// A look blocks its thread, the network does not.
    runtime: Handle,
    /// Why the latest look saw nothing.
    silence: Option<String>,
    /// Whether it answered at all: one that is still to be started is no news.
    was_there: bool,
}

impl MetricsUrl {
    /// The page that most servers have.
    pub fn of(server: &BaseUrl) -> Self {
        Self {
            server: server.clone(),
            path: PATH.to_owned(),
        }
    }
}

impl FromStr for MetricsUrl {
    type Err = InvalidBaseUrl;

    /// `http://HOST:PORT`, with the page's path and query or without.
    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let text = text.trim();
        let host = text.find("://").map_or(0, |scheme| scheme + 3);
        let end = text[host..].find('/').map(|slash| host + slash);
        let (server, path) = text.split_at(end.unwrap_or(text.len()));
        let path = Some(path).filter(|path| path.len() > 1);
        Ok(Self {
            server: server.parse()?,
            path: path.unwrap_or(PATH).to_owned(),
        })
    }
}

impl ServerMetrics {
    /// Of the page `path` of a server. Connects to nobody yet; `runtime` is where its connections live.
    ///
    /// # Errors
    /// The server is to be spoken to under TLS, and there is no authority to believe.
    pub fn new(
        endpoint: Endpoint,
        path: String,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            client: Client::new(endpoint, clock)?,
            path,
            runtime,
            silence: None,
            was_there: false,
        })
    }

    async fn page(&mut self) -> Result<Page, String> {
        let asked = self.client.get(&self.path);
        let answer = asked.answer(PAGE_BYTES_MAX, LOOK_TIME).await;
        let answer = answer.map_err(|error| error.words())?;
        self.was_there = true;
        if !answer.head.status.is_success() {
            return Err(self.refusal(answer.head.status));
        }
        let page = page::read(&String::from_utf8_lossy(&answer.body));
        if page.n_damaged > 0 {
            tracing::debug!(
                lines = page.n_damaged,
                "a page of metrics has damaged lines"
            );
        }
        match page.values.is_empty() {
            true => Err(format!(
                "{} has none of the metrics of vLLM, llama.cpp, SGLang or TensorRT-LLM in {} lines; {TENSORRT}",
                self.address(),
                page.n_others + page.n_damaged
            )),
            false => Ok(page),
        }
    }

    fn refusal(&self, status: StatusCode) -> String {
        let what_to_do = match status {
            StatusCode::NOT_IMPLEMENTED => "start llama.cpp's server with --metrics",
            StatusCode::NOT_FOUND => {
                "start SGLang with --enable-metrics, vLLM without --disable-log-stats; TensorRT-LLM's page is /prometheus/metrics, told by \
                 --server-metrics URL"
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "a key is shown to the server of --url only"
            }
            _ => "its metrics are not to be had",
        };
        format!("{} answers {status}: {what_to_do}", self.address())
    }

    fn address(&self) -> String {
        format!("{}{}", self.client.endpoint().url, self.path)
    }

    /// A reason is told when it is new.
    fn fall_silent(&mut self, reason: String) {
        if self.was_there && self.silence.as_ref() != Some(&reason) {
            tracing::warn!(reason, "no metrics of the server");
        }
        self.silence = Some(reason);
    }
}

impl GaugeSource for ServerMetrics {
    fn look(&mut self, _ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        let runtime = self.runtime.clone();
        let page = match runtime.block_on(self.page()) {
            Ok(page) => page,
            Err(reason) => {
                self.fall_silent(reason);
                return Vec::new();
            }
        };
        self.silence = None;
        let name = page.server.unwrap_or("server");
        let gauge = |(kind, value)| Gauge {
            kind,
            name: name.to_owned(),
            value,
        };
        page.values.into_iter().map(gauge).collect()
    }

    fn silence(&self) -> Option<(&'static str, String)> {
        Some(("server", self.silence.clone()?))
    }
}

const PATH: &str = "/metrics";
const TENSORRT: &str = "TensorRT-LLM's are at /prometheus/metrics";

/// Less than the time between two looks: a server that needs longer is too busy to be asked.
const LOOK_TIME: Duration = Duration::from_millis(900);

/// A page of vLLM has some hundred kilobytes.
const PAGE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, server: &str, path: &str) {
        let url: MetricsUrl = text.parse().unwrap();
        assert_eq!(
            (url.server.to_string().as_str(), url.path.as_str()),
            (server, path)
        );
    }

    #[test]
    fn a_page_has_a_server_and_a_path() {
        check("http://127.0.0.1:8000", "http://127.0.0.1:8000", "/metrics");
        check("http://[::1]:8000/", "http://[::1]:8000", "/metrics");
        check(
            "https://gpu/prometheus/metrics",
            "https://gpu",
            "/prometheus/metrics",
        );
        check(
            "http://gpu:8080/metrics?model=a%2Fb",
            "http://gpu:8080",
            "/metrics?model=a%2Fb",
        );
        for text in [
            "",
            "/metrics",
            "gpu:8080/metrics",
            "http:///metrics",
            "ftp://gpu/metrics",
        ] {
            assert!(text.parse::<MetricsUrl>().is_err(), "{text}");
        }
    }
}
