//! The command that starts a server: one text from a person, taken apart once into a program and its arguments. No shell reads it.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use crate::backend::page_cache::is_weights;

/// A program and its arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerCommand {
    program: String,
    arguments: Vec<String>,
}

/// Why a text is no command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// Nothing to start.
    #[error("the server's command is empty: name a program and its arguments")]
    Empty,
    /// A quote without its partner, or a backslash at the end.
    #[error(
        "the server's command is not balanced: a `'` or `\"` is not closed, or it ends with a `\\`"
    )]
    Unbalanced,
    /// What only a shell would understand.
    #[error(
        "no shell reads the server's command, so that `{0}` in it would do nothing: put it into a script and name that"
    )]
    Shell(String),
    /// A variable before the program, by its name: its value may be a secret.
    #[error("no shell reads the server's command: write `env {0}=… …` to set a variable")]
    Variable(String),
}

impl FromStr for ServerCommand {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let words = shlex::split(text).ok_or(CommandError::Unbalanced)?;
        let mut words = words.into_iter();
        let program = words.next().ok_or(CommandError::Empty)?;
        if program.is_empty() {
            return Err(CommandError::Empty);
        }
        if let Some(name) = assigned(&program) {
            return Err(CommandError::Variable(name.to_owned()));
        }
        let arguments: Vec<String> = words.collect();
        match arguments.iter().find(|word| SHELL.contains(&word.as_str())) {
            Some(word) => Err(CommandError::Shell(word.clone())),
            None => Ok(Self { program, arguments }),
        }
    }
}

impl ServerCommand {
    /// The program's name without its folder and ending, for files of its own.
    pub fn name(&self) -> String {
        let name = Path::new(&self.program).file_stem();
        name.unwrap_or(OsStr::new("server"))
            .to_string_lossy()
            .into_owned()
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The port that `--port N` or `--port=N` names, where it does so once.
    pub fn port(&self) -> Option<u16> {
        let mut ports = self
            .values_of("--port")
            .filter_map(|port| port.parse().ok());
        ports.next().filter(|_| ports.next().is_none())
    }

    /// The address that `--host H` or `--host=H` has it listen at, where it does so once.
    pub fn host(&self) -> Option<&str> {
        let mut hosts = self.values_of("--host");
        hosts.next().filter(|_| hosts.next().is_none())
    }

    /// What the arguments name that exists and holds weights: files, and folders with such files. None where the model is found by a
    /// name, wherever its files lie then: what else is named is not all of it.
    pub fn weights(&self) -> Vec<PathBuf> {
        if self.names_a_model() {
            return Vec::new();
        }
        let values = self.arguments.iter().map(|word| {
            let value = word.split_once('=').filter(|_| word.starts_with('-'));
            PathBuf::from(value.map_or(word.as_str(), |(_, value)| value))
        });
        values.filter(|path| holds_weights(path)).collect()
    }

    /// The secret values in it.
    pub(super) fn secrets(&self) -> Vec<String> {
        Masked::of(&self.arguments).secrets
    }

    /// Whether it says what to download, or what to find in a cache of downloads.
    fn names_a_model(&self) -> bool {
        let is_downloaded = BY_NAME
            .iter()
            .any(|flag| self.values_of(flag).next().is_some());
        let mut by_path_or_name = BY_PATH_OR_NAME
            .iter()
            .flat_map(|flag| self.values_of(flag))
            .chain(self.served());
        is_downloaded || by_path_or_name.any(|model| !Path::new(model).exists())
    }

    /// `MODEL` of `vllm serve MODEL`.
    fn served(&self) -> Option<&str> {
        let words: Vec<&str> = [&self.program]
            .into_iter()
            .chain(&self.arguments)
            .map(String::as_str)
            .collect();
        words.windows(3).find_map(|words| match *words {
            [program, "serve", model] => {
                let is_vllm = Path::new(program).file_name() == Some(OsStr::new("vllm"));
                Some(model).filter(|model| is_vllm && !model.starts_with('-'))
            }
            _ => None,
        })
    }

    /// What to start.
    pub(super) fn to_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    fn values_of<'a>(&'a self, flag: &'a str) -> impl Iterator<Item = &'a str> {
        let next = self
            .arguments
            .iter()
            .skip(1)
            .map(String::as_str)
            .chain([""]);
        let pairs = self.arguments.iter().zip(next);
        pairs.filter_map(move |(word, next)| match word.strip_prefix(flag)? {
            "" => Some(next),
            rest => rest.strip_prefix('='),
        })
    }
}

/// As one would type it, with what looks like a secret left out.
impl fmt::Display for ServerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program))?;
        for word in Masked::of(&self.arguments).shown {
            write!(f, " {word}")?;
        }
        Ok(())
    }
}

/// Words of a command without its secrets, and the secrets.
#[derive(Default)]
struct Masked {
    /// Each quoted.
    shown: Vec<String>,
    secrets: Vec<String>,
}

impl Masked {
    fn of(words: &[String]) -> Self {
        let mut masked = Self::default();
        let mut is_after_flag = false;
        let mut is_secret = false;
        for word in words {
            // All values of a flag are secret, and the first one may look like a flag.
            is_secret = is_after_flag || (is_secret && !word.starts_with('-'));
            is_after_flag = false;
            if is_secret {
                masked.hide(word);
            } else if let Some((name, value)) = secret_value(word) {
                masked.shown.push(format!("{name}=…"));
                // A sentence, or a command after its variable.
                let first = value.split_whitespace().next();
                masked.secrets.extend(
                    [Some(value), first]
                        .into_iter()
                        .flatten()
                        .map(str::to_owned),
                );
            } else {
                masked.show(word);
                is_after_flag = word.starts_with('-') && names_a_secret(word);
            }
        }
        masked.secrets.retain(|secret| !secret.is_empty());
        masked.secrets.dedup();
        masked
    }

    fn hide(&mut self, word: &str) {
        self.shown.push("…".to_owned());
        self.secrets.push(word.to_owned());
    }

    /// A word with white space may be a command that another program reads.
    fn show(&mut self, word: &str) {
        let mut shown = quoted(word);
        if word.contains(char::is_whitespace) {
            let words = shlex::split(word)
                .unwrap_or_else(|| word.split_whitespace().map(str::to_owned).collect());
            let inner = Self::of(&words);
            if !inner.secrets.is_empty() {
                shown = quoted(&inner.shown.join(" "));
                self.secrets.extend(inner.secrets);
            }
        }
        self.shown.push(shown);
    }
}

/// Name and value of `--api-key=VALUE`, `--env=HF_TOKEN=VALUE`.
fn secret_value(word: &str) -> Option<(&str, &str)> {
    let mut ends = word.match_indices('=').map(|(at, _)| at);
    let end = ends.find(|end| names_a_secret(&word[..*end]))?;
    let (name, value) = (&word[..end], &word[end + 1..]);
    (!name.contains(char::is_whitespace)).then_some((name, value))
}

fn quoted(word: &str) -> String {
    // A zero byte cannot be quoted and cannot be typed either.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// `--api-key`, `HF_TOKEN`; not `--max-tokens`, `--api-key-file`.
fn names_a_secret(flag: &str) -> bool {
    let last = flag.rsplit(['-', '_', '=']).next().unwrap_or_default();
    SECRETS.contains(&last.to_ascii_lowercase().as_str())
}

/// `NAME` of `NAME=VALUE`.
fn assigned(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

fn holds_weights(path: &Path) -> bool {
    if path.is_dir() {
        let entries = path.read_dir().into_iter().flatten().flatten();
        return entries
            .map(|entry| entry.path())
            .any(|path| is_weights(&path));
    }
    is_weights(path) && path.is_file()
}

/// Words that mean something to a shell only.
const SHELL: [&str; 10] = ["|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1", "2>"];

/// Flags of llama.cpp's server for what it downloads, or has downloaded before.
const BY_NAME: [&str; 7] = [
    "-hf",
    "-hfr",
    "--hf-repo",
    "-mu",
    "--model-url",
    "-dr",
    "--docker-repo",
];

/// Flags of vLLM and SGLang for a folder or the name of a download.
const BY_PATH_OR_NAME: [&str; 2] = ["--model", "--model-path"];

/// How flags and variables end whose values are secret; `-hft` is llama.cpp's token for downloads.
const SECRETS: [&str; 7] = [
    "key", "apikey", "token", "hft", "secret", "password", "passwd",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> ServerCommand {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let error = text.parse::<ServerCommand>().unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_command_is_taken_apart_as_a_shell_would_and_nothing_is_expanded() {
        let command =
            command(r#"llama-server -m "my models/a.gguf" --alias 'x $HOME *' --port 8080"#);
        assert_eq!(command.program(), "llama-server");
        let want = [
            "-m",
            "my models/a.gguf",
            "--alias",
            "x $HOME *",
            "--port",
            "8080",
        ];
        assert_eq!(command.arguments, want);
    }

    #[test]
    fn what_is_no_command_is_refused_by_its_fault() {
        check_refused("", "is empty");
        check_refused("   ", "is empty");
        check_refused("'' serve", "is empty");
        check_refused("llama-server -m \"a.gguf", "is not balanced");
        check_refused("llama-server --alias it's", "not balanced");
        check_refused("llama-server \\", "not balanced");
        check_refused("llama-server -m a.gguf > log", "`>` in it would do nothing");
        check_refused("a && b", "`&&`");
        check_refused(
            "CUDA_VISIBLE_DEVICES=0 vllm serve x",
            "env CUDA_VISIBLE_DEVICES=…",
        );
    }

    #[test]
    fn the_port_is_read_where_it_stands_once() {
        assert_eq!(command("a --port 8080 -x").port(), Some(8080));
        assert_eq!(command("a --port=8081").port(), Some(8081));
        assert_eq!(command("a --port-range 1").port(), None);
        assert_eq!(command("a --port").port(), None);
        assert_eq!(command("a --port 99999").port(), None);
        assert_eq!(command("a --port 1 --port 2").port(), None);
    }

    #[test]
    fn the_host_is_read_where_it_stands_once() {
        assert_eq!(command("a --host 0.0.0.0 -x").host(), Some("0.0.0.0"));
        assert_eq!(command("a --host=::1").host(), Some("::1"));
        assert_eq!(command("a --port 1").host(), None);
        assert_eq!(command("a --host b --host c").host(), None);
    }

    #[test]
    fn a_secret_is_not_shown() {
        for (text, want, secrets) in [
            (
                "env HF_TOKEN=hf_1 vllm serve m --api-key sk-1 --max-tokens 64 --api-key=sk-2 --api-key-file k 'a b'",
                "env HF_TOKEN=… vllm serve m --api-key … --max-tokens 64 --api-key=… --api-key-file k 'a b'",
                &["hf_1", "sk-1", "sk-2"][..],
            ),
            (
                "llama-server -hf org/name -hft hf_1 --port 80",
                "llama-server -hf org/name -hft … --port 80",
                &["hf_1"],
            ),
            (
                "docker run --env=HF_TOKEN=hf_1== -e TOKEN=x -e API_KEY image",
                "docker run --env=HF_TOKEN=… -e TOKEN=… -e API_KEY image",
                &["hf_1==", "x"],
            ),
            (
                "vllm serve m --api-key k1 k2 --port 80",
                "vllm serve m --api-key … … --port 80",
                &["k1", "k2"],
            ),
            (
                "a --api-key -k --port 80",
                "a --api-key … --port 80",
                &["-k"],
            ),
            (
                "sh -c 'exec llama-server --api-key sk-1 --alias \"a b\"'",
                "sh -c \"exec llama-server --api-key … --alias 'a b'\"",
                &["sk-1"],
            ),
            (
                "sh -c 'HF_TOKEN=hf_1 vllm serve m' --password='two words'",
                "sh -c HF_TOKEN=… --password=…",
                &["hf_1 vllm serve m", "hf_1", "two words", "two"],
            ),
            (
                "sh -c \"exec serve it's --api-key=sk-1\"",
                "sh -c \"exec serve \\\"it's\\\" --api-key=…\"",
                &["sk-1"],
            ),
        ] {
            let command = command(text);
            assert_eq!(command.to_string(), want);
            assert_eq!(command.secrets(), secrets, "{text}");
        }
    }

    #[test]
    fn an_error_repeats_no_secret() {
        for text in ["HF_TOKEN=hf_1 vllm serve m", "vllm --api-key hf_1 'm"] {
            let error = text.parse::<ServerCommand>().unwrap_err().to_string();
            assert!(!error.contains("hf_1"), "{error}");
        }
    }

    #[test]
    fn a_model_that_is_found_by_its_name_may_lie_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gguf");
        std::fs::write(&file, "x").unwrap();
        let (file_name, folder_name) = (file.display(), folder.path().display());
        for by_name in [
            "llama-server -hf org/name",
            "llama-server -hfr org/name",
            "llama-server --hf-repo=org/name",
            "llama-server -mu x",
            "llama-server --model-url x",
            "llama-server -dr name",
            "llama-server --docker-repo name",
            "vllm serve org/name",
            "env A=b /opt/vllm serve org/name",
            "python -m vllm.entrypoints.openai.api_server --model org/name",
        ] {
            let command = command(&format!("{by_name} --mmproj {file_name}"));
            assert!(command.weights().is_empty(), "{by_name}");
        }
        let command = command(&format!("vllm serve {folder_name} --port 80"));
        assert_eq!(command.weights(), [folder.path()]);
    }

    #[test]
    fn weights_are_arguments_that_exist_and_are_such() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("hf")).unwrap();
        std::fs::create_dir_all(path("logs")).unwrap();
        for name in [
            "a.gguf",
            "b.gguf",
            "hf/model.safetensors",
            "serve.py",
            "logs/x.log",
        ] {
            std::fs::write(path(name), "x").unwrap();
        }
        let all = ["a.gguf", "hf", "serve.py", "logs", "c.gguf"].map(path);
        let all = all.map(|path| path.display().to_string()).join(" ");
        let text = format!("server {all} --mmproj={}", path("b.gguf").display());
        assert_eq!(
            command(&text).weights(),
            ["a.gguf", "hf", "b.gguf"].map(path)
        );
    }
}
