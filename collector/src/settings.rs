//! What the collector may be told, resolved once: flags over file over defaults.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Everything that can be set; `configs/collector.toml` says what each means.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where agents and command line connect.
    pub listen: SocketAddr,
    /// Where one enrols, if the collector has an identity.
    pub enrol_listen: SocketAddr,
    /// Where health, readiness and figures can be asked for.
    pub http: Http,
    /// Folder of the database.
    pub data: PathBuf,
    /// What is not kept for ever.
    pub retention: Retention,
}

/// What is not kept for ever.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days after which the raw power samples of a measured run give way to declared gaps; 0: never.
    pub raw_samples_days: u32,
}

/// Whether the collector answers over HTTP, and where. It does not unless it is told to: a port that nobody asked for is one more
/// that anything on the machine may connect to, and one more that a second collector finds taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum Http {
    /// It does not.
    #[default]
    Off,
    /// At an address of this machine.
    At(SocketAddr),
}

/// Neither an address nor `off`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither ADDRESS:PORT nor off")]
pub struct InvalidHttp(String);

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--enrol-listen`.
    pub enrol_listen: Option<SocketAddr>,
    /// `--http`.
    pub http: Option<Http>,
    /// `--data`.
    pub data: Option<PathBuf>,
}

/// Settings in force, and where each came from. Displays as a settings file.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// In force.
    pub settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
}

#[derive(Clone, Debug)]
enum Origin {
    Flag,
    File(PathBuf),
    Default,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such file, or not for us.
    #[error("cannot read the settings file `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of another kind.
    #[error("settings file `{path}`: {problem}")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// Who listens for everybody must know who is there.
    #[error(
        "will not listen on {listen}: there is no identity in `{}`, and without one the collector speaks plain text, which only this machine may reach; restore it if there was one, else make one with `tokwatt-collector init`, or use 127.0.0.1:PORT or [::1]:PORT",
        identity.display()
    )]
    NotLoopback {
        /// Where it should.
        listen: SocketAddr,
        /// Where an identity would be.
        identity: PathBuf,
    },
    /// Figures are for whoever asks.
    #[error(
        "will not answer over HTTP on {0}: anybody who reaches it may ask, so only this machine may; use 127.0.0.1:PORT, [::1]:PORT or off"
    )]
    HttpNotLoopback(SocketAddr),
}

impl Settings {
    /// Flags over file over defaults. Whether they can be in force here, [`check`](Self::check) tells.
    ///
    /// # Errors
    /// The file cannot be read or says something that is not known.
    pub fn resolve(file: Option<&Path>, flags: &Overrides) -> Result<Resolved, SettingsError> {
        let (mut settings, named) = match file {
            None => (Self::default(), toml::Table::new()),
            Some(path) => read(path)?,
        };
        let origin = |key: &'static str, is_flag: bool| match file {
            _ if is_flag => Origin::Flag,
            Some(path) if is_named(&named, key) => Origin::File(path.to_owned()),
            _ => Origin::Default,
        };
        let origins = BTreeMap::from([
            ("listen", origin("listen", flags.listen.is_some())),
            (
                "enrol_listen",
                origin("enrol_listen", flags.enrol_listen.is_some()),
            ),
            ("http", origin("http", flags.http.is_some())),
            ("data", origin("data", flags.data.is_some())),
            (
                "retention.raw_samples_days",
                origin("retention.raw_samples_days", false),
            ),
        ]);
        settings.listen = flags.listen.unwrap_or(settings.listen);
        settings.enrol_listen = flags.enrol_listen.unwrap_or(settings.enrol_listen);
        settings.http = flags.http.unwrap_or(settings.http);
        settings.data = flags.data.clone().unwrap_or(settings.data);
        Ok(Resolved { settings, origins })
    }

    /// Whether they can be in force here: others may reach a collector that knows who they are.
    ///
    /// # Errors
    /// There is no identity, and an address that others can reach.
    pub fn check(&self) -> Result<(), SettingsError> {
        if let Http::At(addr) = self.http
            && !addr.ip().is_loopback()
        {
            return Err(SettingsError::HttpNotLoopback(addr));
        }
        let identity = self.identity();
        let looked = identity.symlink_metadata();
        let is_absent = looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if self.listen.ip().is_loopback() || !is_absent {
            return Ok(());
        }
        let listen = self.listen;
        Err(SettingsError::NotLoopback { listen, identity })
    }

    /// Folder of the collector's identity, if it has one.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// The Unix socket for whoever is on this machine.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.data)
    }
}

impl Resolved {
    /// The keys of a table but for tables in it; `prefix` is its name.
    fn write_keys(
        &self,
        f: &mut fmt::Formatter<'_>,
        prefix: &str,
        table: &toml::Table,
    ) -> fmt::Result {
        for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
            let name = format!("{prefix}{key}");
            let origin = self.origins.get(name.as_str()).unwrap_or(&Origin::Default);
            writeln!(f, "{key} = {}  # {origin}", written(value))?;
        }
        Ok(())
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = toml::Table::try_from(&self.settings).map_err(|_| fmt::Error)?;
        self.write_keys(f, "", &table)?;
        for (name, value) in &table {
            if let Some(table) = value.as_table() {
                writeln!(f, "\n[{name}]")?;
                self.write_keys(f, &format!("{name}."), table)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl FromStr for Http {
    type Err = InvalidHttp;

    fn from_str(text: &str) -> Result<Self, InvalidHttp> {
        match text {
            "off" => Ok(Self::Off),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| InvalidHttp(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Http {
    type Error = InvalidHttp;

    fn try_from(text: String) -> Result<Self, InvalidHttp> {
        text.parse()
    }
}

impl From<Http> for String {
    fn from(http: Http) -> Self {
        match http {
            Http::Off => "off".to_owned(),
            Http::At(addr) => addr.to_string(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7413)),
            enrol_listen: SocketAddr::from(([127, 0, 0, 1], 7414)),
            http: Http::Off,
            data: PathBuf::from("collector-data"),
            retention: Retention::default(),
        }
    }
}

/// Whether a file has the key; a point leads into a table.
fn is_named(file: &toml::Table, key: &str) -> bool {
    match key.split_once('.') {
        None => file.contains_key(key),
        Some((table, key)) => file
            .get(table)
            .and_then(toml::Value::as_table)
            .is_some_and(|table| is_named(table, key)),
    }
}

/// As it stands in a file; of the kinds that settings have.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(is_so) => is_so.to_string(),
        other => format!("{other:?}"),
    }
}

fn read(path: &Path) -> Result<(Settings, toml::Table), SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parse = |error: toml::de::Error| SettingsError::Parse {
        path: path.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    };
    let settings = toml::from_str(&text).map_err(parse)?;
    Ok((settings, toml::from_str(&text).map_err(parse)?))
}

/// The Unix socket of a collector with that data folder.
pub fn socket_in(data: &Path) -> PathBuf {
    data.join("collector.sock")
}

/// The default settings as a file with comments.
pub const DEFAULT_FILE: &str = include_str!("../../configs/collector.toml");

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn the_shipped_file_is_complete_and_equal_to_the_defaults() {
        let shipped: toml::Table = toml::from_str(DEFAULT_FILE).unwrap();
        let defaults = toml::Table::try_from(Settings::default()).unwrap();
        assert_eq!(shipped, defaults);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse("lissten = '127.0.0.1:1'").unwrap_err();
        assert!(error.contains("lissten"), "{error}");
    }

    #[test]
    fn only_this_machine_may_reach_plain_text() {
        assert!(parse("listen = '[::1]:7413'").is_ok());
        for address in ["0.0.0.0:7413", "192.168.1.2:7413", "[::]:7413"] {
            let error = parse(&format!("listen = '{address}'")).unwrap_err();
            assert!(
                error.contains(address)
                    && error.contains("127.0.0.1")
                    && error.contains("tokwatt-collector init"),
                "{error}"
            );
        }
    }
    #[test]
    fn http_is_off_or_on_an_address_of_this_machine() {
        assert!(parse("http = 'off'").is_ok());
        assert!(parse("http = '127.0.0.1:7480'").is_ok());
        for (text, words) in [
            ("0.0.0.0:7480", "127.0.0.1:PORT"),
            ("on", "`on` is neither ADDRESS:PORT nor off"),
            ("7480", "`7480`"),
        ] {
            let error = parse(&format!("http = '{text}'")).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn others_may_reach_a_collector_that_knows_who_they_are() {
        let folder = tempfile::TempDir::new().unwrap();
        let data = folder.path().to_str().unwrap();
        let text = format!("listen = '0.0.0.0:7413'\ndata = '{data}'");
        assert!(parse(&text).is_err());
        fs::create_dir(folder.path().join("identity")).unwrap();
        assert!(parse(&text).is_ok());
    }
}
