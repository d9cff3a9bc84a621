//! Names of sites and of those who belong to one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::v1;

/// A lab and everything that its authority vouches for: 1 to 63 of `[a-z0-9.-]`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site(String);

/// Whom a certificate is for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subject {
    /// What may be done with it.
    pub role: Role,
    /// 1 to 63 of `[a-z0-9-]`; of a device its id.
    pub name: String,
}

/// What may be done with a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Delivers its own records and takes jobs for itself.
    Device,
    /// Asks.
    Viewer,
    /// Asks, and changes what everybody sees.
    Operator,
}

/// Why something is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    /// Not a [`Site`].
    #[error("the name of a site is 1 to 63 of [a-z0-9.-], got `{0}`")]
    Site(String),
    /// Not a name that a [`Subject`] can have.
    #[error("a name in a certificate is 1 to 63 of [a-z0-9-], got `{0}`")]
    Subject(String),
    /// Not a [`Role`].
    #[error("a role is device, viewer or operator, got `{0}`")]
    Role(String),
    /// Not `spiffe://SITE/ROLE/NAME`.
    #[error("`{0}` is not of the form spiffe://SITE/ROLE/NAME")]
    Uri(String),
}

impl Site {
    /// Checks the form.
    ///
    /// # Errors
    /// Anything but 1 to 63 of `[a-z0-9.-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if is_plain(text, &['-', '.']) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Site(text.to_owned()))
        }
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// Checks the form of the name.
    ///
    /// # Errors
    /// Anything but 1 to 63 of `[a-z0-9-]`.
    pub fn new(role: Role, name: &str) -> Result<Self, InvalidName> {
        if !is_plain(name, &['-']) {
            return Err(InvalidName::Subject(name.to_owned()));
        }
        let name = name.to_owned();
        Ok(Self { role, name })
    }

    /// As it stands in a certificate.
    #[must_use]
    pub fn uri(&self, site: &Site) -> String {
        format!("{SCHEME}{site}/{}/{}", self.role, self.name)
    }

    /// Reads what [`uri`](Self::uri) wrote.
    ///
    /// # Errors
    /// Any other text.
    pub fn read_uri(uri: &str) -> Result<(Site, Self), InvalidName> {
        let parts: Option<Vec<&str>> = uri
            .strip_prefix(SCHEME)
            .map(|rest| rest.split('/').collect());
        let Some([site, role, name]) = parts.as_deref() else {
            return Err(InvalidName::Uri(uri.to_owned()));
        };
        let role = Role::parse(role).ok_or_else(|| InvalidName::Role((*role).to_owned()))?;
        Ok((Site::parse(site)?, Self::new(role, name)?))
    }
}

impl Role {
    /// As it is written on command lines and in certificates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }

    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Device, Self::Viewer, Self::Operator]
            .into_iter()
            .find(|role| role.name() == text)
    }
}

impl TryFrom<String> for Site {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<Site> for String {
    fn from(site: Site) -> Self {
        site.0
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Device => Self::Device,
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
        }
    }
}

impl TryFrom<v1::Role> for Role {
    type Error = InvalidName;

    fn try_from(role: v1::Role) -> Result<Self, InvalidName> {
        match role {
            v1::Role::Device => Ok(Self::Device),
            v1::Role::Viewer => Ok(Self::Viewer),
            v1::Role::Operator => Ok(Self::Operator),
            v1::Role::Unspecified => Err(InvalidName::Role(String::new())),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For people: ``device `orin-1` ``.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.role, self.name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn is_plain(text: &str, others: &[char]) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || others.contains(&c);
    !text.is_empty() && text.len() <= 63 && text.chars().all(is_allowed)
}

const SCHEME: &str = "spiffe://";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_survives_the_round_trip() {
        let site = Site::parse("lab-2.example").unwrap();
        for role in [Role::Device, Role::Viewer, Role::Operator] {
            let subject = Subject::new(role, "orin-1").unwrap();
            let uri = subject.uri(&site);
            assert_eq!(
                Subject::read_uri(&uri),
                Ok((site.clone(), subject)),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_uri_of_another_form_names_nobody() {
        for bad in [
            "",
            "spiffe://lab/device",
            "spiffe://lab/device/a/b",
            "spiffe://lab/root/a",
            "spiffe://lab/device/",
            "spiffe:///device/a",
            "spiffe://lab/device/A",
            "spiffe://lab/device/a%2fb",
            "https://lab/device/a",
        ] {
            assert!(Subject::read_uri(bad).is_err(), "{bad}");
        }
    }
}
