//! Where a server is, checked when it is given.

use std::{fmt, str::FromStr};

use hyper::{
    Uri,
    http::uri::{InvalidUri, PathAndQuery},
};

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`, maybe with a path below which the server's own paths are.
///
/// A trailing `/v1`, which other clients want to be told, is the server's own path and is taken off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
    prefix: String,
}

/// Why a text is no [`BaseUrl`].
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no server's address: {reason}; it looks like http://127.0.0.1:8000")]
pub struct InvalidBaseUrl {
    text: String,
    reason: &'static str,
}

impl BaseUrl {
    /// Whether the server is spoken to under TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Name or number of the machine, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it listens there.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were given, for the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether both are the same server, spoken to in the same way: what is a secret of one is then known to the other.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.is_tls == other.is_tls
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// What stands in the request line for one of the server's own paths.
    ///
    /// # Errors
    /// The path has characters that no path has.
    pub fn target(&self, path: &str) -> Result<PathAndQuery, InvalidUri> {
        format!("{}{path}", self.prefix).parse()
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let invalid = |reason| InvalidBaseUrl {
            text: without_secrets(text).to_owned(),
            reason,
        };
        let uri: Uri = text.trim().parse().map_err(|_| invalid("it is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid(
                "a name or key does not belong there, but into --api-key-file",
            ));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(invalid("something stands behind its path"));
        }
        if authority.host().is_empty() {
            return Err(invalid("it has no host"));
        }
        let given = authority.as_str().strip_prefix(authority.host());
        let port = match given.and_then(|rest| rest.strip_prefix(':')) {
            None if is_tls => 443,
            None => 80,
            Some(port) => port
                .parse::<u16>()
                .map_err(|_| invalid("it has no such port"))?,
        };
        let prefix = uri.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        Ok(Self {
            is_tls,
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// What stands before an `@` may be somebody's password.
fn without_secrets(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str, host: &str, port: u16) {
        let url: BaseUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), want);
        assert_eq!((url.host(), url.port()), (host, port));
    }

    #[test]
    fn an_address_is_a_host_and_maybe_a_port_and_a_path() {
        check(
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000",
            "127.0.0.1",
            8000,
        );
        check(
            "https://lab.example/",
            "https://lab.example",
            "lab.example",
            443,
        );
        check("http://[::1]:8080/v1/", "http://[::1]:8080", "::1", 8080);
        check(
            "http://lab/engines/one/v1",
            "http://lab/engines/one",
            "lab",
            80,
        );
    }

    #[test]
    fn a_server_is_the_same_only_where_a_secret_stays_one() {
        let url = |text: &str| text.parse::<BaseUrl>().unwrap();
        let server = url("https://Lab.example/one");
        assert!(server.is_same_server(&url("https://lab.example:443/two")));
        for other in [
            "http://lab.example:443",
            "https://lab.example:8443",
            "https://lab2.example",
        ] {
            assert!(!server.is_same_server(&url(other)), "{other}");
        }
    }

    #[test]
    fn a_path_of_the_server_stands_below_that_of_the_address() {
        let url: BaseUrl = "http://lab/one/v1".parse().unwrap();
        assert_eq!(url.target("/v1/models").unwrap(), "/one/v1/models");
        let url: BaseUrl = "http://lab".parse().unwrap();
        assert_eq!(url.target("/health").unwrap(), "/health");
    }

    #[test]
    fn what_is_no_address_is_named_with_an_example_and_without_a_password() {
        for bad in [
            "",
            "lab:8000",
            "127.0.0.1:8000",
            "ftp://lab",
            "http://",
            "http://lab/?key=1",
            "http://lab/#a",
            "http://lab:99999",
            "http://[::1]:x",
            "http://somebody:secret@lab",
            "http://secret@la b",
        ] {
            let error = bad.parse::<BaseUrl>().unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:8000"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
