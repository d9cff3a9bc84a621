//! Requests to a driver of a browser: JSON over HTTP/1 on this machine, one after the other.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime};

/// Where the driver listens.
pub(super) struct Wire {
    runtime: Runtime,
    port: u16,
}

impl Wire {
    pub(super) fn to(port: u16) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { runtime, port })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, String::new())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body.to_string())
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, String::new())
    }

    fn ask(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let answer = self.runtime.block_on(self.answer(method, path, body));
        let answer = answer.with_context(|| format!("the driver does not answer {what}"))?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            bail!(
                "{what}: {error}: {}",
                value["message"].as_str().unwrap_or_default()
            );
        }
        Ok(value)
    }

    async fn answer(&self, method: Method, path: &str, body: String) -> anyhow::Result<Bytes> {
        let address = format!("127.0.0.1:{}", self.port);
        let stream = TcpStream::connect(&address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address)
            .body(Full::new(Bytes::from(body)))?;
        let asking = async {
            let answer = sender.send_request(request).await?;
            Ok::<_, hyper::Error>(answer.into_body().collect().await?.to_bytes())
        };
        tokio::pin!(connection, asking);
        tokio::select! {
            answer = &mut asking => Ok(answer?),
            ended = &mut connection => {
                ended?;
                // It closes after the answer that it has given.
                Ok(asking.await?)
            }
        }
    }
}
