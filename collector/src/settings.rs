//! What the collector may be told, resolved once: flags over file over defaults.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Everything that can be set; `configs/collector.toml` says what each means.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where agents and command line connect.
    pub listen: SocketAddr,
    /// Folder of the database.
    pub data: PathBuf,
    /// Deliveries of agents.
    pub ingest: IngestSettings,
}

/// Limits on deliveries.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Batches that an agent may send ahead of their acknowledgement, 1 to 64.
    pub credits: u8,
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
        "will not listen on {0}: deliveries are plain text for now, so only this machine may reach them; use 127.0.0.1:PORT or [::1]:PORT"
    )]
    NotLoopback(SocketAddr),
    /// Out of range.
    #[error("ingest.credits must be 1 to 64, got {0}")]
    Credits(u8),
}

impl Settings {
    /// Reads a settings file; what it does not name keeps its default.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not known.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let settings: Self = toml::from_str(&text).map_err(|error| SettingsError::Parse {
            path: path.to_owned(),
            problem: error.to_string().trim_end().to_owned(),
        })?;
        Ok(settings)
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// An address that others can reach, a number out of range.
    pub fn check(self) -> Result<Self, SettingsError> {
        if !self.listen.ip().is_loopback() {
            return Err(SettingsError::NotLoopback(self.listen));
        }
        if !(1..=CREDITS_MAX).contains(&self.ingest.credits) {
            return Err(SettingsError::Credits(self.ingest.credits));
        }
        Ok(self)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7413)),
            data: PathBuf::from("collector-data"),
            ingest: IngestSettings::default(),
        }
    }
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self { credits: 16 }
    }
}

/// The default settings as a file with comments.
pub const DEFAULT_FILE: &str = include_str!("../../configs/collector.toml");

/// So many batches of 1 MiB may wait in memory for each agent.
const CREDITS_MAX: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
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
            assert!(error.contains(address) && error.contains("127.0.0.1"), "{error}");
        }
    }

    #[test]
    fn credits_have_a_range() {
        for credits in [0, 65] {
            let error = parse(&format!("ingest.credits = {credits}")).unwrap_err();
            assert!(error.contains("1 to 64"), "{error}");
        }
    }
}
