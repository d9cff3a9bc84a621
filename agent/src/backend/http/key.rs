//! The secret that a server wants to be shown: read once, shown to one origin, printed nowhere.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use hyper::header::HeaderValue;

/// An API key. What `Debug` and `Display` say of it is where it is from.
#[derive(Clone)]
pub struct ApiKey {
    header: HeaderValue,
    text: String,
    source: String,
}

/// A key is not to be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the API key file `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is there is no key.
    #[error("{origin} holds no API key: {reason}")]
    Invalid {
        /// Where it was looked for.
        origin: String,
        /// What is there instead.
        reason: &'static str,
    },
}

impl ApiKey {
    /// The first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else than a key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            let file = path.display();
            tracing::warn!(%file, "others on this machine may read the API key; chmod 600 the file");
        }
        Self::new(&text, format!("`{}`", path.display()))
    }

    /// What an environment variable holds.
    ///
    /// # Errors
    /// It holds something else than a key.
    pub fn from_variable(name: &str, value: &str) -> Result<Self, KeyError> {
        Self::new(value, format!("the environment variable {name}"))
    }

    fn new(text: &str, source: String) -> Result<Self, KeyError> {
        let text = text.trim();
        let invalid = |reason| KeyError::Invalid {
            origin: source.clone(),
            reason,
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                "a key is one word of letters, digits and signs on the only line",
            ));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| invalid("it has characters that no header may have"))?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            text: text.to_owned(),
            source,
        })
    }

    /// The `Authorization` header.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// A server's words without the key, which some servers repeat in their refusals; also where they were cut in the middle of it, which
    /// an ellipsis shows.
    pub fn redact(&self, text: &str) -> String {
        let whole = text.replace(&self.text, INSTEAD);
        let parts = whole.split_inclusive(ELLIPSIS);
        let parts = parts.map(|part| match part.strip_suffix(ELLIPSIS) {
            Some(cut) => self.redact_end(cut) + ELLIPSIS,
            None => part.to_owned(),
        });
        parts.collect()
    }

    /// Without as much of the key as stands at the end.
    fn redact_end(&self, text: &str) -> String {
        let lengths = (BEGINNING_MIN..self.text.len()).rev();
        let mut beginnings = lengths.map(|length| &self.text[..length]);
        match beginnings.find_map(|beginning| text.strip_suffix(beginning)) {
            Some(before) => format!("{before}{INSTEAD}"),
            None => text.to_owned(),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey(from {})", self.source)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API key from {}", self.source)
    }
}

/// What stands where the key stood.
const INSTEAD: &str = "(the API key)";

/// What is put where words are cut.
const ELLIPSIS: &str = "…";

/// So few characters are no secret, and other words end with them, too.
const BEGINNING_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = ApiKey::from_variable("TOKWATT_API_KEY", " sk-secret\n").unwrap();
        for shown in [
            format!("{key:?}"),
            format!("{key}"),
            format!("{:?}", key.header()),
        ] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        assert_eq!(key.header(), "Bearer sk-secret");
        let words = key.redact("Incorrect API key provided: sk-secret.");
        assert_eq!(words, "Incorrect API key provided: (the API key).");
    }

    #[test]
    fn a_key_is_not_printed_where_words_were_cut_in_the_middle_of_it_either() {
        let key = ApiKey::from_variable("TOKWATT_API_KEY", "sk-secret").unwrap();
        for (said, want) in [
            ("no quota for sk-s…", "no quota for (the API key)…"),
            ("sk-secre… (its log)", "(the API key)… (its log)"),
            (
                "sk-secret… sk-sec… sk-s",
                "(the API key)… (the API key)… sk-s",
            ),
            ("disk-… and so on…", "disk-… and so on…"),
        ] {
            assert_eq!(key.redact(said), want);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        for bad in ["", "\n", "two words", "two\nlines", "schlüssel"] {
            let error = ApiKey::from_variable("TOKWATT_API_KEY", bad).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("TOKWATT_API_KEY"), "{error}");
            assert!(bad.len() < 2 || !error.contains(bad), "{error}");
        }
        let error = ApiKey::read(Path::new("/nowhere/key")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/key"), "{error}");
    }

    #[test]
    fn a_key_file_may_end_with_a_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "sk-one\r\n").unwrap();
        assert_eq!(ApiKey::read(&path).unwrap().header(), "Bearer sk-one");
    }
}
