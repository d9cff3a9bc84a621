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
        "the server's command `{0}` is not balanced: a `'` or `\"` is not closed, or it ends with a `\\`"
    )]
    Unbalanced(String),
    /// What only a shell would understand.
    #[error(
        "no shell reads the server's command, so that `{0}` in it would do nothing: put it into a script and name that"
    )]
    Shell(String),
    /// A variable before the program.
    #[error("no shell reads the server's command: write `env {0} …` to set a variable")]
    Variable(String),
}

impl FromStr for ServerCommand {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let words = shlex::split(text).ok_or_else(|| CommandError::Unbalanced(text.to_owned()))?;
        let mut words = words.into_iter();
        let program = words.next().ok_or(CommandError::Empty)?;
        if program.is_empty() {
            return Err(CommandError::Empty);
        }
        if is_assignment(&program) {
            return Err(CommandError::Variable(program));
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

    /// What the arguments name that exists and holds weights: files, and folders with such files.
    pub fn weights(&self) -> Vec<PathBuf> {
        let values = self.arguments.iter().map(|word| {
            let value = word.split_once('=').filter(|_| word.starts_with('-'));
            PathBuf::from(value.map_or(word.as_str(), |(_, value)| value))
        });
        values.filter(|path| holds_weights(path)).collect()
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
        let mut is_secret = false;
        for word in &self.arguments {
            let (flag, value) = match word.split_once('=') {
                Some((flag, _)) => (flag, true),
                None => (word.as_str(), false),
            };
            match (is_secret, names_a_secret(flag), value) {
                (true, ..) => f.write_str(" …")?,
                (_, true, true) => write!(f, " {flag}=…")?,
                _ => write!(f, " {}", quoted(word))?,
            }
            is_secret = !is_secret && !value && names_a_secret(flag);
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    // A zero byte cannot be quoted and cannot be typed either.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// `--api-key`, `HF_TOKEN`; not `--max-tokens`, `--api-key-file`.
fn names_a_secret(flag: &str) -> bool {
    let last = flag.rsplit(['-', '_']).next().unwrap_or_default();
    flag.len() > last.len() && SECRETS.contains(&last.to_ascii_lowercase().as_str())
}

/// `NAME=VALUE`.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
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

/// How flags and variables end whose values are secret.
const SECRETS: [&str; 5] = ["key", "token", "secret", "password", "passwd"];

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
        check_refused(
            "llama-server -m \"a.gguf",
            "`llama-server -m \"a.gguf` is not balanced",
        );
        check_refused("llama-server --alias it's", "not balanced");
        check_refused("llama-server \\", "not balanced");
        check_refused("llama-server -m a.gguf > log", "`>` in it would do nothing");
        check_refused("a && b", "`&&`");
        check_refused(
            "CUDA_VISIBLE_DEVICES=0 vllm serve x",
            "env CUDA_VISIBLE_DEVICES=0",
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
    fn a_secret_is_not_shown() {
        let text = "env HF_TOKEN=hf_1 vllm serve m --api-key sk-1 --max-tokens 64 --api-key=sk-2 --api-key-file k 'a b'";
        let shown = command(text).to_string();
        let want = "env HF_TOKEN=… vllm serve m --api-key … --max-tokens 64 --api-key=… --api-key-file k 'a b'";
        assert_eq!(shown, want);
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
