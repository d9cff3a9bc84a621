//! Asks a running collector.

use std::{future::Future, time::Duration};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::de::DeserializeOwned;
use tokwatt_proto::v1::{self, query_client::QueryClient};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// Which collector is asked.
#[derive(Args, Debug)]
pub(super) struct Address {
    /// Address of the running collector
    #[arg(
        long = "collector",
        value_name = "URL",
        env = "TOKWATT_COLLECTOR",
        default_value = "http://127.0.0.1:7413"
    )]
    url: String,
}

/// An answer: its JSON, and what it says.
pub(super) struct Answer<T> {
    pub(super) json: String,
    pub(super) document: T,
}

impl Address {
    /// Connects, asks, and reads the answer.
    pub(super) fn ask<T, F>(
        &self,
        question: impl FnOnce(QueryClient<Channel>) -> F,
    ) -> anyhow::Result<Answer<T>>
    where
        T: DeserializeOwned,
        F: Future<Output = Result<tonic::Response<v1::Document>, Status>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let document = runtime.block_on(async {
            let client = self.connect().await?;
            let answer = question(client).await;
            answer.map_err(|status| self.explain(&status))
        })?;
        let json = String::from_utf8(document.into_inner().json)
            .context("the collector's answer is not text")?;
        let document = serde_json::from_str(&json)
            .context("cannot read the collector's answer: is it of another version?")?;
        Ok(Answer { json, document })
    }

    async fn connect(&self) -> anyhow::Result<QueryClient<Channel>> {
        let endpoint = Endpoint::from_shared(self.url.clone()).map_err(|_| {
            anyhow!(
                "`{}` is not the address of a collector: write http://HOST:PORT",
                self.url
            )
        })?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
        let channel = channel.map_err(|_| self.unreachable())?;
        Ok(QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    fn explain(&self, status: &Status) -> anyhow::Error {
        match status.code() {
            Code::InvalidArgument | Code::NotFound => anyhow!("{}", status.message()),
            Code::Unavailable => self.unreachable(),
            code => anyhow!(
                "the collector at {} could not answer ({code:?}): {}",
                self.url,
                status.message()
            ),
        }
    }

    fn unreachable(&self) -> anyhow::Error {
        anyhow!(
            "no collector answers at {}: start one with `tokwatt-collector serve`, or name another with --collector",
            self.url
        )
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
