//! Where a collector is: until devices are enrolled, on this machine only.

use std::{fmt, net::IpAddr, str::FromStr};

use tonic::transport::Endpoint;

/// `http://HOST:PORT` on the loopback interface.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    endpoint: Endpoint,
}

/// Why a text is no [`Address`].
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAddress {
    /// No URL of the form.
    #[error("`{0}` is no collector address; it looks like http://127.0.0.1:7413")]
    Form(String),
    /// Elsewhere, in plain text.
    #[error(
        "`{0}` is not on this machine, and plain text never leaves it; run the collector here, or reach it through a tunnel to 127.0.0.1 (ssh -L)"
    )]
    NotLoopback(String),
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let form = || InvalidAddress::Form(text.to_owned());
        let authority = text.strip_prefix("http://").ok_or_else(form)?;
        let authority = authority.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(form)?;
        port.parse::<u16>().map_err(|_| form())?;
        if !is_loopback(host) {
            return Err(InvalidAddress::NotLoopback(text.to_owned()));
        }
        let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|_| form())?;
        Ok(Self {
            text: text.to_owned(),
            endpoint,
        })
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        address.endpoint
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

    #[track_caller]
    fn check(text: &str, want: Result<(), InvalidAddress>) {
        assert_eq!(text.parse::<Address>().map(|_| ()), want, "{text}");
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_plain_text() {
        check("http://127.0.0.1:7413", Ok(()));
        check("http://localhost:1/", Ok(()));
        check("http://[::1]:7413", Ok(()));
        for far in [
            "http://10.0.0.7:7413",
            "http://lab.example:7413",
            "http://127.evil.example:1",
        ] {
            check(far, Err(InvalidAddress::NotLoopback(far.to_owned())));
        }
        for bad in [
            "",
            "lab:7413",
            "https://127.0.0.1:1",
            "http://127.0.0.1",
            "http://127.0.0.1:x",
        ] {
            check(bad, Err(InvalidAddress::Form(bad.to_owned())));
        }
    }
}
