//! `--server`: which server to start, from a command or from a name of `agent.toml`.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::{
    backend::{
        http::BaseUrl,
        managed::{STOP_WITHIN_DEFAULT, ServerCommand, ServerSettings},
    },
    guard::Guard,
    settings::{NamedServer, Settings},
};

/// A server to be started, and how to ask it.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// How to run it.
    pub(super) server: ServerSettings,
    /// Where it will answer.
    pub(super) url: BaseUrl,
    /// Which of its models to ask; absent: the one that it has.
    pub(super) model: Option<String>,
}

/// Takes `text` for a name of `agent.toml` if it is one, else for a command. `url` is the command line's and beats the file's.
///
/// # Errors
/// It is neither, or nobody says where the server will answer.
pub(super) fn choose(
    text: &str,
    url: Option<&str>,
    ready_within: Duration,
    settings: &Settings,
) -> anyhow::Result<Chosen> {
    let named = named(text, &settings.servers.value)?;
    let command = named.map_or(text, |named| &named.command);
    let command: ServerCommand = match named {
        Some(named) => command
            .parse()
            .with_context(|| format!("the server `{}` of agent.toml", named.name))?,
        None => command.parse()?,
    };
    let url = match (
        url,
        named.and_then(|named| named.url.as_deref()),
        command.port(),
    ) {
        (Some(url), ..) | (None, Some(url), _) => url.to_owned(),
        (None, None, Some(port)) => format!("http://{}:{port}", host(&command)),
        (None, None, None) => bail!(
            "the command `{command}` has no `--port N` that says where it will answer: name it with --url, or with `url` in agent.toml"
        ),
    };
    let url: BaseUrl = url.parse()?;
    Ok(Chosen {
        server: ServerSettings {
            name: named.map_or_else(|| command.name(), |named| named.name.to_string()),
            address: address(&url),
            weights: named.map_or_else(Vec::new, |named| named.weights.clone()),
            data: settings.data.value.clone(),
            ready_within,
            stop_within: STOP_WITHIN_DEFAULT,
            guard: Guard::this_program(),
            command,
        },
        url,
        model: named.and_then(|named| named.model.clone()),
    })
}

/// A word on its own is a name: a program on its own is given with its folder.
fn named<'a>(text: &str, servers: &'a [NamedServer]) -> anyhow::Result<Option<&'a NamedServer>> {
    let server = servers.iter().find(|server| server.name.as_str() == text);
    let is_word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '/');
    if server.is_some() || !is_word {
        return Ok(server);
    }
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let known = match &*names {
        [] => "it defines none".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    bail!(
        "no server is called `{text}` in agent.toml ({known}); a program without arguments is given with its folder: `./{text}`"
    )
}

/// Where to reach it on this machine: at the one address that it listens at, if it says one.
fn host(command: &ServerCommand) -> String {
    match command.host() {
        None | Some("" | "0.0.0.0" | "::" | "localhost") => "127.0.0.1".to_owned(),
        Some(host) if host.contains(':') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    }
}

/// Host and port, to connect to.
fn address(url: &BaseUrl) -> String {
    let (host, port) = (url.host(), url.port());
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Given;

    fn settings() -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let text = r#"
            data = "/data"
            [[server]]
            name = "gemma"
            command = "llama-server -m /m/a.gguf --port 8081"
            model = "gemma-3-4b-it"
            weights = ["/m/a.gguf"]
            [[server]]
            name = "broken"
            command = "llama-server 'a"
            [[server]]
            name = "far"
            command = "docker start vllm"
            url = "http://[::1]:8000/v1"
        "#;
        std::fs::write(&path, text).unwrap();
        Settings::resolve(Some(&path), Given::default()).unwrap()
    }

    fn chosen(text: &str, url: Option<&str>) -> anyhow::Result<Chosen> {
        choose(text, url, Duration::from_secs(1), &settings())
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let error = format!("{:#}", chosen(text, None).unwrap_err());
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_name_stands_for_what_the_file_says() {
        let gemma = chosen("gemma", None).unwrap();
        assert_eq!(gemma.url.to_string(), "http://127.0.0.1:8081");
        assert_eq!(gemma.model.as_deref(), Some("gemma-3-4b-it"));
        assert_eq!(gemma.server.name, "gemma");
        assert_eq!(gemma.server.weights.len(), 1);
        let log = gemma.server.log().display().to_string();
        assert_eq!(log, "/data/logs/gemma.log");
        assert_eq!(chosen("far", None).unwrap().server.address, "[::1]:8000");
    }

    #[test]
    fn a_command_says_where_it_answers_or_a_flag_does() {
        let command = "llama-server -m /m/b.gguf --port 9000";
        let by_port = chosen(command, None).unwrap();
        assert_eq!(by_port.server.address, "127.0.0.1:9000");
        assert_eq!(by_port.server.name, "llama-server");
        for (host, want) in [
            ("--host 192.168.1.5", "192.168.1.5:9000"),
            ("--host=fd00::5", "[fd00::5]:9000"),
            ("--host 0.0.0.0", "127.0.0.1:9000"),
            ("--host ::", "127.0.0.1:9000"),
            ("--host localhost", "127.0.0.1:9000"),
            ("--host ''", "127.0.0.1:9000"),
        ] {
            let by_host = chosen(&format!("{command} {host}"), None).unwrap();
            assert_eq!(by_host.server.address, want);
        }
        let by_flag = chosen(command, Some("https://localhost/v1")).unwrap();
        assert_eq!(by_flag.server.address, "localhost:443");
        check_refused("vllm serve m", "has no `--port N`");
        check_refused("./serve", "name it with --url");
    }

    #[test]
    fn what_is_neither_is_refused_with_what_there_is() {
        check_refused("gema", "there are: gemma, broken, far");
        check_refused("gema", "`./gema`");
        check_refused("broken", "the server `broken` of agent.toml");
        check_refused("broken", "not balanced");
        check_refused("", "is empty");
        assert!(chosen("a --port 1", Some("localhost:1")).is_err());
        assert!(chosen("a --port 1", Some("http:///v1")).is_err());
    }
}
