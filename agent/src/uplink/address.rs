//! Where a collector is: on this machine in plain text, anywhere by mutual TLS.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use tokwatt_proto::identity::{Credentials, CredentialsError};
use tonic::transport::Endpoint;

/// A collector's address, and what one shows there.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    endpoint: Endpoint,
    way: Way,
}

/// Why a text is no [`Address`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidAddress {
    /// No URL of the form.
    #[error(
        "`{0}` is no collector address; it looks like https://HOST:7413, or http://127.0.0.1:7413 for one on this machine that has no identity"
    )]
    Form(String),
    /// Elsewhere, in plain text.
    #[error(
        "`{0}` is not on this machine, and plain text never leaves it: enrol this device (`tokwatt-agent enrol --help`), then deliver to https://…"
    )]
    NotLoopback(String),
    /// There is nothing to show there.
    #[error(
        "`{0}` wants a certificate, and this device has none: enrol first (`tokwatt-agent enrol --help`)"
    )]
    NotEnrolled(String),
    /// What there is cannot be shown.
    #[error("the identity of this device cannot be used")]
    Identity(#[source] CredentialsError),
}

/// How one is let in.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Way {
    /// On this machine, whoever comes.
    PlainText,
    /// By credentials.
    MutualTls {
        /// The folder that they are in.
        identity: PathBuf,
        /// Whom they are for.
        device: String,
    },
}

/// `SCHEME://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    /// What is spoken.
    pub is_tls: bool,
    /// Name or IP address; of version 6 in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// The one to deliver to: the one given, else that of the identity in the data folder, else none.
    ///
    /// # Errors
    /// It is none, or one that nothing in the data folder opens.
    pub fn in_force(given: Option<&str>, data: &Path) -> Result<Option<Self>, InvalidAddress> {
        let url = given.map(str::parse::<Url>).transpose()?;
        if let Some(url) = url.as_ref().filter(|url| !url.is_tls) {
            return Self::plain(url).map(Some);
        }
        let identity = identity_folder(data);
        let credentials = match (Credentials::load(&identity), &url) {
            (Ok(credentials), _) => credentials,
            (Err(CredentialsError::Absent(_)), None) => return Ok(None),
            (Err(CredentialsError::Absent(_)), Some(url)) => {
                return Err(InvalidAddress::NotEnrolled(url.to_string()));
            }
            (Err(error), _) => return Err(InvalidAddress::Identity(error)),
        };
        let url = url.map_or_else(|| credentials.collector().parse(), Ok)?;
        let device = credentials.facts().subject.name.clone();
        Self::new(&url, Way::MutualTls { identity, device }).map(Some)
    }

    /// One on this machine, in plain text.
    ///
    /// # Errors
    /// It is elsewhere.
    pub fn plain(url: &Url) -> Result<Self, InvalidAddress> {
        if url.is_tls {
            return Err(InvalidAddress::Form(url.to_string()));
        }
        if !is_loopback(&url.host) {
            return Err(InvalidAddress::NotLoopback(url.to_string()));
        }
        Self::new(url, Way::PlainText)
    }

    /// The device that one is let in as; absent where it does not matter.
    pub fn device(&self) -> Option<&str> {
        match &self.way {
            Way::PlainText => None,
            Way::MutualTls { device, .. } => Some(device),
        }
    }

    /// The identity that is shown there; absent where none is.
    pub fn identity(&self) -> Option<&Path> {
        match &self.way {
            Way::PlainText => None,
            Way::MutualTls { identity, .. } => Some(identity),
        }
    }

    fn new(url: &Url, way: Way) -> Result<Self, InvalidAddress> {
        let text = url.to_string();
        let endpoint = Endpoint::from_shared(text.clone());
        let endpoint = endpoint.map_err(|_| InvalidAddress::Form(text.clone()))?;
        Ok(Self {
            text,
            endpoint,
            way,
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Where an identity is kept, beside the spool whose records it vouches for.
pub fn identity_folder(data: &Path) -> PathBuf {
    data.join("identity")
}

impl FromStr for Url {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let form = || InvalidAddress::Form(text.to_owned());
        let (scheme, authority) = text.split_once("://").ok_or_else(form)?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(form()),
        };
        let authority = authority.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(form)?;
        let port = port.parse().map_err(|_| form())?;
        let is_bare = !host.contains(['/', '@', '?', '#']);
        let is_host = host.starts_with('[') == host.ends_with(']') && !host.is_empty();
        if !is_bare || !is_host || Endpoint::from_shared(text.to_owned()).is_err() {
            return Err(form());
        }
        let host = host.to_owned();
        Ok(Self { is_tls, host, port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without an identity.
    fn given(text: &str) -> Result<Option<Address>, InvalidAddress> {
        Address::in_force(Some(text), Path::new("nowhere"))
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_plain_text() {
        for near in [
            "http://127.0.0.1:7413",
            "http://localhost:1/",
            "http://[::1]:7413",
        ] {
            let address = given(near).unwrap().unwrap();
            assert_eq!((address.identity(), address.device()), (None, None));
            assert_eq!(address.to_string(), near.trim_end_matches('/'));
        }
        for far in [
            "http://10.0.0.7:7413",
            "http://lab.example:7413",
            "http://127.evil.example:1",
        ] {
            let refused = given(far);
            assert!(
                matches!(refused, Err(InvalidAddress::NotLoopback(_))),
                "{far}"
            );
        }
    }

    #[test]
    fn what_is_no_address_is_said_to_be_none() {
        for bad in [
            "",
            "lab:7413",
            "ftp://127.0.0.1:1",
            "http://127.0.0.1",
            "http://127.0.0.1:x",
            "http://:7413",
            "https://a@b:1",
            "https://lab:1/path:2",
            "https://[::1:2",
        ] {
            assert!(matches!(given(bad), Err(InvalidAddress::Form(_))), "{bad}");
        }
    }

    #[test]
    fn whoever_is_not_enrolled_is_told_to() {
        let refused = given("https://lab:7413").unwrap_err().to_string();
        assert!(refused.contains("enrol first"), "{refused}");
        let nobody = Address::in_force(None, Path::new("nowhere"));
        assert!(matches!(nobody, Ok(None)));
    }
}
