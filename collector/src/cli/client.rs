//! Reaches a running collector: over plain text or a Unix socket on the same machine, over mutual TLS from elsewhere.

use std::{
    error::Error,
    future::Future,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokwatt_domain::time::WallTime;
use tokwatt_proto::{
    identity::{Credentials, CredentialsError, FolderLock, PrivateKey, Trouble, tls},
    v1::{self, query_client::QueryClient, renew_client::RenewClient},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    clock::{Clock, SystemClock},
    settings::socket_in,
};

/// Which collector is asked.
#[derive(Args, Debug)]
pub(super) struct Address {
    /// Address of the running collector: http://HOST:PORT, https://HOST:PORT or unix:PATH [default: the socket in --data if there is one,
    /// else where this person is enrolled, else http://127.0.0.1:7413]
    #[arg(long = "collector", value_name = "URL", env = "TOKWATT_COLLECTOR")]
    url: Option<String>,
    /// Data folder of a collector on this machine, for its socket
    #[arg(long, value_name = "DIR", default_value = "collector-data")]
    data: PathBuf,
    #[command(flatten)]
    identity: IdentityFolder,
}

/// Where a person's certificate is.
#[derive(Args, Debug)]
pub(super) struct IdentityFolder {
    /// Folder of this person's key and certificate, for https:// [default: tokwatt in XDG_CONFIG_HOME or ~/.config]
    #[arg(long = "identity", value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// An answer: its JSON, and what it says.
pub(super) struct Answer<T> {
    pub(super) json: String,
    pub(super) document: T,
}

/// One of both sides does not take the other for what it is: nothing that passes by itself.
#[derive(Debug, thiserror::Error)]
#[error("cannot talk to {place}: {trouble}")]
pub(super) struct Refusal {
    place: String,
    trouble: Trouble,
}

/// An address, understood.
enum Place {
    Plain(String),
    Secure(String),
    Socket(PathBuf),
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
        let document = self.call(async |channel| {
            let client = QueryClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
            question(client).await
        })?;
        Answer::read(document.into_inner())
    }

    /// Asks any service for a document.
    pub(super) fn document<T: DeserializeOwned>(
        &self,
        question: impl AsyncFnOnce(Channel) -> Result<tonic::Response<v1::Document>, Status>,
    ) -> anyhow::Result<Answer<T>> {
        Answer::read(self.call(question)?.into_inner())
    }

    /// Connects and calls: any service, as often and as long as `call` likes.
    pub(super) fn call<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<T, Status>,
    ) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let place = self.place()?;
            let channel = self.connect(&place).await?;
            call(channel)
                .await
                .map_err(|status| explain(&place, &status))
        })
    }

    /// The data folder of a collector on this machine; absent where a collector is named by its address.
    pub(super) fn data_folder(&self) -> Option<&Path> {
        self.url.is_none().then_some(&*self.data)
    }

    fn place(&self) -> anyhow::Result<Place> {
        if let Some(url) = &self.url {
            return Place::parse(url);
        }
        let socket = socket_in(&self.data);
        if socket.exists() {
            return Ok(Place::Socket(socket));
        }
        let Ok(folder) = self.identity.folder() else {
            return Ok(Place::Plain(DEFAULT.to_owned()));
        };
        match Credentials::load(&folder) {
            Ok(credentials) => Place::parse(credentials.collector()),
            // Whoever is not enrolled has a collector of their own here, if any.
            Err(CredentialsError::Absent(_)) => Ok(Place::Plain(DEFAULT.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    async fn connect(&self, place: &Place) -> anyhow::Result<Channel> {
        match place {
            Place::Plain(url) => {
                let channel = endpoint(url)?.connect().await;
                channel.map_err(|error| unreachable(place, &error))
            }
            Place::Socket(path) => {
                let path = path.clone();
                let connect = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                // The endpoint is only asked for its time limit.
                let channel = endpoint(DEFAULT)?.connect_with_connector(connect).await;
                channel.map_err(|error| unreachable(place, &error))
            }
            Place::Secure(url) => {
                let folder = self.identity.folder()?;
                let credentials = Credentials::load(&folder)
                    .with_context(|| format!("{url} is for those who are enrolled: `tokwatt-collector enrol` with a token that an operator makes"))?;
                let channel = secure(place, url, &credentials).await?;
                if !is_due(&credentials) {
                    return Ok(channel);
                }
                let Some(_lock) = FolderLock::try_take(&folder)? else {
                    // Another command renews it; the present one is good until its end.
                    return Ok(channel);
                };
                let present = Credentials::load(&folder)?;
                if present.facts().serial != credentials.facts().serial {
                    // Another command has renewed it meanwhile.
                    return secure(place, url, &present).await;
                }
                match renewed(&channel, &credentials).await {
                    Ok(None) => Ok(channel),
                    Ok(Some(credentials)) => {
                        credentials.store(&folder)?;
                        secure(place, url, &credentials).await
                    }
                    Err(status) => Err(explain(place, &status)),
                }
            }
        }
    }
}

impl IdentityFolder {
    pub(super) fn folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
        let config = config.context("neither XDG_CONFIG_HOME nor HOME is set: say where the certificate is with --identity DIR")?;
        Ok(config.join("tokwatt"))
    }
}

impl<T: DeserializeOwned> Answer<T> {
    pub(super) fn read(document: v1::Document) -> anyhow::Result<Self> {
        let json =
            String::from_utf8(document.json).context("the collector's answer is not text")?;
        let document = serde_json::from_str(&json)
            .context("cannot read the collector's answer: is it of another version?")?;
        Ok(Self { json, document })
    }
}

impl Place {
    fn parse(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let endpoint = endpoint(url)?;
        if url.starts_with("https://") {
            return Ok(Self::Secure(url.to_owned()));
        }
        if url.starts_with("http://") {
            let host = endpoint.uri().host().unwrap_or_default();
            if !is_loopback(host) {
                bail!(
                    "`{url}` is not on this machine, and plain text never leaves it: enrol (`tokwatt-collector enrol --help`), then use https://{host}:7413"
                );
            }
            return Ok(Self::Plain(url.to_owned()));
        }
        bail!("{}", no_address(url))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(url) | Self::Secure(url) => f.write_str(url),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// With its time limit.
pub(super) fn endpoint(url: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| anyhow!(no_address(url)))?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
}

/// Why nobody could be reached, in the words of TLS if it was TLS.
pub(super) fn no_tls(url: &str, error: &tonic::transport::Error) -> anyhow::Error {
    match Trouble::among(error) {
        Some(trouble) => anyhow!("cannot talk to {url}: {trouble}"),
        None => anyhow!(
            "nobody answers at {url} ({}): check the address, and that the collector is running",
            root(error)
        ),
    }
}

async fn secure(place: &Place, url: &str, credentials: &Credentials) -> anyhow::Result<Channel> {
    let config = tls::client(credentials, SystemClock.wall())?;
    let channel = tls::channel(&endpoint(url)?, config).await;
    channel.map_err(|error| match Trouble::among(&error) {
        Some(trouble) => refusal(place, trouble),
        None => unreachable(place, &error),
    })
}

/// Whether it is in its last third.
fn is_due(credentials: &Credentials) -> bool {
    let facts = credentials.facts();
    let life_us = facts.not_after.0.saturating_sub(facts.not_before.0);
    let due = WallTime(facts.not_before.0.saturating_add(life_us / 3 * 2));
    SystemClock.wall().max(credentials.last_time_seen()) >= due
}

/// The next certificate, with a new key; none if it cannot be had now and the one in use is good.
async fn renewed(
    channel: &Channel,
    credentials: &Credentials,
) -> Result<Option<Credentials>, Status> {
    let now = SystemClock.wall().max(credentials.last_time_seen());
    let new = async {
        let key = PrivateKey::generate().map_err(|error| Status::internal(error.to_string()))?;
        let certificate_request = key
            .certificate_request()
            .map_err(|error| Status::internal(error.to_string()))?;
        let request = v1::RenewRequest {
            certificate_request,
        };
        let issued = RenewClient::new(channel.clone()).renew(request).await?;
        let issued = issued.into_inner();
        let seen = WallTime(issued.now_us);
        Credentials::new(key, issued.chain, credentials.collector(), seen)
            .map_err(|error| Status::internal(error.to_string()))
    };
    match new.await {
        Ok(credentials) => Ok(Some(credentials)),
        Err(status) if now < credentials.facts().not_after => {
            tracing::warn!(
                why = status.message(),
                "the certificate is not renewed, and ends soon"
            );
            Ok(None)
        }
        Err(status) => Err(status),
    }
}

fn explain(place: &Place, status: &Status) -> anyhow::Error {
    if let Some(cause) = status.source() {
        return match Trouble::among(status) {
            Some(trouble) => refusal(place, trouble),
            None if status.code() == Code::Unavailable => unreachable(place, cause),
            None => anyhow!("the connection to {place} broke: {}", root(cause)),
        };
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition => anyhow!("{}", status.message()),
        code => anyhow!(
            "the collector at {place} could not answer ({code:?}): {}",
            status.message()
        ),
    }
}

fn refusal(place: &Place, trouble: Trouble) -> anyhow::Error {
    let place = place.to_string();
    Refusal { place, trouble }.into()
}

fn unreachable(place: &Place, error: &(dyn Error + 'static)) -> anyhow::Error {
    anyhow!(
        "no collector answers at {place} ({}): start one with `tokwatt-collector serve`, or name another with --collector",
        root(error)
    )
}

fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.last().unwrap_or(error)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn no_address(url: &str) -> String {
    format!(
        "`{url}` is not the address of a collector: write http://HOST:PORT, https://HOST:PORT or unix:PATH"
    )
}

const DEFAULT: &str = "http://127.0.0.1:7413";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A list of everything.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_never_leaves_this_machine() {
        for near in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(matches!(Place::parse(near), Ok(Place::Plain(_))), "{near}");
        }
        for far in ["http://192.0.2.1:7413", "http://server.lab:7413"] {
            let error = Place::parse(far).err().unwrap().to_string();
            assert!(error.contains(far) && error.contains("https://"), "{error}");
        }
    }

    #[test]
    fn an_identity_that_cannot_be_used_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("identity");
        let address = Address {
            url: None,
            data: folder.path().to_owned(),
            identity: IdentityFolder {
                folder: Some(identity.clone()),
            },
        };
        assert!(matches!(address.place(), Ok(Place::Plain(_))));
        std::fs::create_dir(&identity).unwrap();
        std::fs::write(identity.join("identity.json"), "{").unwrap();
        assert!(address.place().is_err());
    }
}
