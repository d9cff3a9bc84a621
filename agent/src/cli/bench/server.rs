//! A server: where it is, and how to be let in.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};

use super::{BackendKind, BenchArgs, groups};
use crate::{
    backend::{
        http::{ApiKey, BaseUrl, Endpoint},
        ollama,
        server_metrics::{MetricsUrl, ServerMetrics},
    },
    clock::Clock,
    settings::{Origin, Settings},
};

/// What `--url`, `--api-key-file`, `--ca-file` and the configuration say.
///
/// A key of the configuration is for the server of the configuration: with another `--url` it stays at home.
///
/// # Errors
/// One of them is missing or cannot be used.
pub(in crate::cli) fn endpoint(
    backend: BackendKind,
    settings: &Settings,
) -> anyhow::Result<Endpoint> {
    let url = match (&settings.backend_url.value, backend) {
        (Some(url), _) => url,
        (None, BackendKind::Ollama) => ollama::URL_DEFAULT,
        (None, kind) => bail!(
            "--backend {}: which server? Name it with --url http://HOST:PORT, or as `backend.url` in agent.toml",
            kind.name()
        ),
    };
    let url: BaseUrl = url.parse().context("--url")?;
    let ca_file = settings.ca_file.value.clone();
    ensure!(
        url.is_tls() || ca_file.is_none() || settings.ca_file.origin == Origin::File,
        "--ca-file: {url} is spoken to without TLS; give it as https://…"
    );
    Ok(Endpoint {
        key: key(settings, settings.backend_url.origin == Origin::File)?,
        url,
        ca_file,
    })
}

/// What `--server-metrics` asks for: the page that it names, else that of the server of `--server` or `--url`. A key is shown to that server only.
///
/// # Errors
/// There is no such server, or it cannot be spoken to.
pub(super) fn metrics(
    args: &BenchArgs,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<ServerMetrics>> {
    let Some(given) = &args.server_metrics else {
        return Ok(None);
    };
    let answers = match args.backend {
        BackendKind::Embedded => None,
        BackendKind::Openai => Some(match groups::server(args, settings)? {
            Some(chosen) => started(chosen.url, settings)?,
            None => endpoint(args.backend, settings)?,
        }),
        // It has no such page; one of somebody else's may be named.
        BackendKind::Ollama => None,
    };
    let url = match (given.as_str(), &answers) {
        ("", Some(server)) => MetricsUrl::of(&server.url),
        ("", None) => bail!(
            "--server-metrics: with --backend {} there is no such page; name one as --server-metrics http://HOST:PORT/metrics",
            args.backend.name()
        ),
        (given, _) => given.parse().context("--server-metrics")?,
    };
    let is_same = |server: &Endpoint| server.url.is_same_server(&url.server);
    let endpoint = Endpoint {
        key: answers
            .as_ref()
            .filter(|server| is_same(server))
            .and_then(|server| server.key.clone()),
        ca_file: answers.and_then(|server| server.ca_file),
        url: url.server,
    };
    let runtime = tokio::runtime::Handle::current();
    let metrics = ServerMetrics::new(endpoint, url.path, clock.clone(), runtime);
    Ok(Some(metrics.context("--server-metrics")?))
}

/// A server that we start: the key and the authority of the configuration are for another one.
///
/// # Errors
/// Something that was given cannot be used.
pub(in crate::cli) fn started(url: BaseUrl, settings: &Settings) -> anyhow::Result<Endpoint> {
    let ca_file = &settings.ca_file;
    let is_given = ca_file.origin == Origin::Given;
    Ok(Endpoint {
        key: key(settings, false)?,
        url,
        ca_file: ca_file.value.clone().filter(|_| is_given),
    })
}

/// `has_its_own`: the configuration's key is this server's.
fn key(settings: &Settings, has_its_own: bool) -> anyhow::Result<Option<ApiKey>> {
    let file = &settings.api_key_file;
    let by_variable = || {
        let value = std::env::var(KEY_VARIABLE).ok();
        let value = value.filter(|value| !value.trim().is_empty());
        value.map(|value| ApiKey::from_variable(KEY_VARIABLE, &value))
    };
    let key = match (&file.value, file.origin) {
        (Some(path), Origin::Given) => Some(ApiKey::read(path).context("--api-key-file")?),
        (file, _) => match by_variable() {
            Some(key) => Some(key?),
            None if has_its_own => file
                .as_deref()
                .map(ApiKey::read)
                .transpose()
                .context("backend.api_key_file")?,
            None => None,
        },
    };
    Ok(key)
}

/// The environment is seen by this user alone; a flag would be seen by everybody.
const KEY_VARIABLE: &str = "TOKWATT_API_KEY";
