//! Who is who in a fleet: names in certificates, what may be done with them, and TLS that goes by both.

use std::fmt;

use crate::v1;

/// What may be done with a certificate.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Delivers its own records and takes jobs for itself.
    Device,
    /// Asks.
    Viewer,
    /// Asks, and changes what everybody sees.
    Operator,
}

impl Role {
    /// As it is written on command lines and in certificates.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }

    /// Reads it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Device, Self::Viewer, Self::Operator]
            .into_iter()
            .find(|role| role.name() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
