//! What the agent runs with: file, environment and flags meet here, once.
//!
//! A flag beats the environment, which beats the file, which beats the default. `configs/agent.toml` shows every key with
//! its default; a key that is not there is an error that names it.

use std::{
    collections::BTreeSet,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokwatt_domain::ids::Name;

/// Models that the file defines.
mod model;

pub use model::{ModelSource, NamedModel};

/// The settings in force, each with where it came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where spool, caches and unpacked models are.
    pub data: Setting<PathBuf>,
    /// Whom to deliver to; nobody if absent.
    pub collector: Setting<Option<String>>,
    /// Whether `run` does what the collector asks for, too.
    pub campaigns: Setting<bool>,
    /// Where suites of one's own are, each as NAME.toml.
    pub suites: Setting<Option<PathBuf>>,
    /// Most bytes that may wait in the spool.
    pub spool_bytes_max: Setting<u64>,
    /// The program that has the embedded engine; absent: this one.
    pub engine_worker: Setting<Option<PathBuf>>,
    /// The server that answers, for backends that are one.
    pub backend_url: Setting<Option<String>>,
    /// File with the key that it wants to be shown.
    pub api_key_file: Setting<Option<PathBuf>>,
    /// Certificates of the authority that vouches for it; absent: the system's.
    pub ca_file: Setting<Option<PathBuf>>,
    /// The tegrastats program.
    pub tegrastats: Setting<PathBuf>,
    /// Which power sources.
    pub power: Setting<String>,
    /// Time between two power samples.
    pub power_interval: Setting<Duration>,
    /// Where /sys, /proc and /etc are.
    pub host_root: Setting<PathBuf>,
    /// Servers that may be started by their names.
    pub servers: Setting<Vec<NamedServer>>,
    /// Models that may be asked for by their names.
    pub models: Setting<Vec<NamedModel>>,
}

/// A server that the file defines, as written; what its texts mean is found out when it is asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NamedServer {
    /// What it is asked for by, and what its log is called.
    pub name: Name,
    /// Program and arguments; no shell reads it.
    pub command: String,
    /// Where it will answer; absent: on this machine, at the port that `--port` of the command names.
    pub url: Option<String>,
    /// Which of its models to ask; absent: the one that it has.
    pub model: Option<String>,
    /// Files and folders that a load reads; empty: those that the command names.
    #[serde(default)]
    pub weights: Vec<PathBuf>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File,
    /// A flag or the environment.
    Given,
}

/// What a command line or the environment gave; absent fields leave the file's word.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--data` or `TOKWATT_DATA`.
    pub data: Option<PathBuf>,
    /// `--collector` or `TOKWATT_COLLECTOR`.
    pub collector: Option<String>,
    /// `--url`.
    pub backend_url: Option<String>,
    /// `--api-key-file`.
    pub api_key_file: Option<PathBuf>,
    /// `--ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--tegrastats`.
    pub tegrastats: Option<PathBuf>,
    /// `--power`.
    pub power: Option<String>,
    /// `--power-interval`.
    pub power_interval: Option<Duration>,
    /// `--host-root`.
    pub host_root: Option<PathBuf>,
}

/// A configuration file is not to be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML, or has a key or value that we do not know.
    #[error("the configuration `{}` is not valid; `tokwatt-agent config default` prints every key", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Instruments are not read that often, or that seldom.
    #[error(
        "power samples are taken every 10 ms to 10 s, not every {0:?}: change --power-interval or `power.interval_ms`"
    )]
    Interval(Duration),
    /// Each name stands for one.
    #[error("`{key}` is `{name}` twice: no two have the same name")]
    TwoOfAName {
        /// Of what.
        key: &'static str,
        /// Which.
        name: Name,
    },
    /// A name that is taken.
    #[error(
        "`model.name` is `{BUILT_IN_MODEL}`, which is the built-in model's; give it another one"
    )]
    BuiltIn,
    /// Nobody would ever find a suite.
    #[error("no folder `{}` to find suites in: change `suites`", .0.display())]
    Suites(PathBuf),
    /// A device is recognised by its files; without any, every device looks the same.
    #[error("no folder `{}` to read /sys, /proc and /etc from: change --host-root or `host_root`", .0.display())]
    HostRoot(PathBuf),
}

/// `agent.toml`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    host_root: Option<PathBuf>,
    suites: Option<PathBuf>,
    collector: CollectorSection,
    spool: SpoolSection,
    engine: EngineSection,
    backend: BackendSection,
    power: PowerSection,
    server: Option<Vec<NamedServer>>,
    model: Option<Vec<NamedModel>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CollectorSection {
    url: Option<String>,
    campaigns: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpoolSection {
    bytes_max: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EngineSection {
    worker: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BackendSection {
    url: Option<String>,
    api_key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PowerSection {
    sources: Option<String>,
    interval_ms: Option<u64>,
    tegrastats: Option<PathBuf>,
}

impl Settings {
    /// Puts file and command line together; without a file the defaults stand in for it.
    ///
    /// # Errors
    /// The file cannot be read, or says something that we do not understand; a value is out of its range.
    pub fn resolve(file: Option<&Path>, given: Given) -> Result<Self, SettingsError> {
        let file = file.map_or_else(|| Ok(File::default()), File::read)?;
        let interval = file.power.interval_ms.map(Duration::from_millis);
        Self {
            data: pick(given.data, non_empty(file.data), default_data()),
            collector: optional(given.collector, file.collector.url),
            campaigns: pick(None, file.collector.campaigns, true),
            suites: optional(None, file.suites),
            spool_bytes_max: pick(None, file.spool.bytes_max, 1 << 30),
            engine_worker: optional(None, file.engine.worker),
            backend_url: optional(given.backend_url, file.backend.url),
            api_key_file: optional(given.api_key_file, file.backend.api_key_file),
            ca_file: optional(given.ca_file, file.backend.ca_file),
            tegrastats: pick(given.tegrastats, file.power.tegrastats, "tegrastats".into()),
            power: pick(given.power, file.power.sources, "auto".to_owned()),
            power_interval: pick(given.power_interval, interval, Duration::from_millis(100)),
            host_root: pick(given.host_root, file.host_root, "/".into()),
            servers: pick(None, file.server, Vec::new()),
            models: pick(None, file.model, Vec::new()),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, SettingsError> {
        if !INTERVALS.contains(&self.power_interval.value) {
            return Err(SettingsError::Interval(self.power_interval.value));
        }
        if !self.host_root.value.is_dir() {
            return Err(SettingsError::HostRoot(self.host_root.value));
        }
        if let Some(folder) = self.suites.value.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(SettingsError::Suites(folder.clone()));
        }
        check_names("server.name", self.server_names())?;
        check_names("model.name", self.model_names())?;
        if self
            .model_names()
            .any(|name| name.as_str() == BUILT_IN_MODEL)
        {
            return Err(SettingsError::BuiltIn);
        }
        Ok(self)
    }

    fn server_names(&self) -> impl Iterator<Item = &Name> {
        self.servers.value.iter().map(|server| &server.name)
    }

    fn model_names(&self) -> impl Iterator<Item = &Name> {
        self.models.value.iter().map(|model| &model.name)
    }

    /// Every setting with its value and origin, in the order of the file.
    pub fn table(&self) -> Vec<(&'static str, String, Origin)> {
        let path = |setting: &Setting<PathBuf>| setting.value.display().to_string();
        let unset = || "(not set)".to_owned();
        let maybe = |setting: &Setting<Option<PathBuf>>| {
            let path = setting.value.as_ref();
            path.map_or_else(unset, |path| path.display().to_string())
        };
        vec![
            ("data", path(&self.data), self.data.origin),
            ("host_root", path(&self.host_root), self.host_root.origin),
            ("suites", maybe(&self.suites), self.suites.origin),
            (
                "collector.url",
                self.collector.value.clone().unwrap_or_else(unset),
                self.collector.origin,
            ),
            (
                "collector.campaigns",
                self.campaigns.value.to_string(),
                self.campaigns.origin,
            ),
            (
                "spool.bytes_max",
                self.spool_bytes_max.value.to_string(),
                self.spool_bytes_max.origin,
            ),
            (
                "engine.worker",
                maybe(&self.engine_worker),
                self.engine_worker.origin,
            ),
            (
                "backend.url",
                self.backend_url.value.clone().unwrap_or_else(unset),
                self.backend_url.origin,
            ),
            (
                "backend.api_key_file",
                maybe(&self.api_key_file),
                self.api_key_file.origin,
            ),
            ("backend.ca_file", maybe(&self.ca_file), self.ca_file.origin),
            ("power.sources", self.power.value.clone(), self.power.origin),
            (
                "power.interval_ms",
                self.power_interval.value.as_millis().to_string(),
                self.power_interval.origin,
            ),
            (
                "power.tegrastats",
                path(&self.tegrastats),
                self.tegrastats.origin,
            ),
            ("server", list(self.server_names()), self.servers.origin),
            ("model", list(self.model_names()), self.models.origin),
        ]
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| SettingsError::Invalid {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

fn check_names<'a>(
    key: &'static str,
    names: impl Iterator<Item = &'a Name>,
) -> Result<(), SettingsError> {
    let mut known = BTreeSet::new();
    let twice = names.into_iter().find(|name| !known.insert(*name));
    twice
        .cloned()
        .map_or(Ok(()), |name| Err(SettingsError::TwoOfAName { key, name }))
}

fn list<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<&str> = names.map(Name::as_str).collect();
    match &*names {
        [] => "(none)".to_owned(),
        names => names.join(", "),
    }
}

fn pick<T>(given: Option<T>, file: Option<T>, default: T) -> Setting<T> {
    match (given, file) {
        (Some(value), _) => Setting {
            value,
            origin: Origin::Given,
        },
        (None, Some(value)) => Setting {
            value,
            origin: Origin::File,
        },
        (None, None) => Setting {
            value: default,
            origin: Origin::Default,
        },
    }
}

/// In the file an empty text stands for "not set", so that every key can be shown.
fn optional<T: AsRef<std::ffi::OsStr>>(given: Option<T>, file: Option<T>) -> Setting<Option<T>> {
    let setting = pick(given.map(Some), non_empty(file).map(Some), None);
    Setting {
        value: setting.value,
        origin: setting.origin,
    }
}

fn non_empty<T: AsRef<std::ffi::OsStr>>(value: Option<T>) -> Option<T> {
    value.filter(|value| !value.as_ref().is_empty())
}

/// `/var/lib/tokwatt` for a service; for a person what the XDG base directories say.
fn default_data() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state
        .or_else(home)
        .map_or_else(|| "/var/lib/tokwatt".into(), |state| state.join("tokwatt"))
}

/// What the model is called that is inside the agent.
pub const BUILT_IN_MODEL: &str = "tiny-vlm";

/// Time between two power samples.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// `configs/agent.toml`: complete, commented, equal to the defaults.
pub const DEFAULT_FILE: &str = include_str!("../../configs/agent.toml");

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_shipped_file_says_what_would_be_without_it() {
        let (_folder, path) = file(DEFAULT_FILE);
        let with = Settings::resolve(Some(&path), Given::default()).unwrap();
        let without = Settings::resolve(None, Given::default()).unwrap();
        let values = |settings: &Settings| -> Vec<_> {
            let table = settings.table().into_iter();
            table.map(|(key, value, _)| (key, value)).collect()
        };
        assert_eq!(values(&with), values(&without));
    }

    #[test]
    fn a_server_is_read_as_written_and_has_a_name_of_its_own() {
        let entry = "[[server]]\nname = \"a\"\ncommand = \"llama-server --port 1\"\n";
        let (_folder, path) = file(entry);
        let settings = Settings::resolve(Some(&path), Given::default()).unwrap();
        let server = &settings.servers.value[0];
        assert_eq!(server.command, "llama-server --port 1");
        assert_eq!((&server.url, server.weights.len()), (&None, 0));
        let row = ("server", "a".to_owned(), Origin::File);
        assert!(settings.table().contains(&row));

        let twice = entry.repeat(2);
        let nameless = entry.replace("\"a\"", "\"../a\"");
        for (text, named) in [(twice, "`server.name` is `a`"), (nameless, "`../a`")] {
            check_refused(&text, named);
        }
    }

    #[test]
    fn a_model_has_a_name_of_its_own_and_not_the_built_in_ones() {
        let entry = "[[model]]\nname = \"a\"\nfile = \"/m\"\nmmproj = \"/p\"\n";
        let (_folder, path) = file(entry);
        let settings = Settings::resolve(Some(&path), Given::default()).unwrap();
        let row = ("model", "a".to_owned(), Origin::File);
        assert!(settings.table().contains(&row));
        check_refused(&entry.repeat(2), "`model.name` is `a`");
        let built_in = entry.replace("\"a\"", "\"tiny-vlm\"");
        check_refused(&built_in, "built-in");
        check_refused("suites = \"/nowhere/at/all\"\n", "change `suites`");
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let (_folder, path) = file(text);
        let error = Settings::resolve(Some(&path), Given::default()).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_flag_beats_the_file_and_an_unknown_key_is_named() {
        let (_folder, path) = file("[power]\nsources = \"nvml\"\ninterval_ms = 50\n");
        let given = Given {
            power: Some("none".to_owned()),
            ..Given::default()
        };
        let settings = Settings::resolve(Some(&path), given).unwrap();
        assert_eq!(settings.power.value, "none");
        assert_eq!(settings.power.origin, Origin::Given);
        assert_eq!(settings.power_interval.origin, Origin::File);

        let (_folder, path) = file("[power]\nsource = \"nvml\"\n");
        let error = Settings::resolve(Some(&path), Given::default()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("source"), "{cause}");
    }
}
