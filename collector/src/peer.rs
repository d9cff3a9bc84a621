//! Who is at the other end of a connection, and what they may do.

use std::fmt;

use tokwatt_domain::{ids::DeviceId, time::WallTime};
use tonic::{Request, Status};

/// The other end of a connection, known when it was accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// Somebody on this machine, over plain text: a collector without an identity. Trusted, because only this machine is listened to.
    Anyone,
    /// Whoever may open the Unix socket.
    Local {
        /// User, by the kernel's word.
        uid: u32,
    },
    /// Whose certificate the site's authority signed.
    Certified(Certified),
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certified {
    /// What it is for.
    pub role: Role,
    /// Of a device its id, else the name that a token was made out for.
    pub name: String,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// When it ends.
    pub not_after: WallTime,
}

pub use tokwatt_proto::identity::Role;

impl Peer {
    /// Of a call.
    ///
    /// # Errors
    /// The connection was accepted by something that does not know: a bug, answered with INTERNAL.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let peer = request.extensions().get::<Self>().cloned();
        peer.ok_or_else(|| Status::internal("nobody knows who called"))
    }

    /// May deliver and work as that device.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn speaks_for(&self, device: &DeviceId) -> Result<(), Status> {
        match self {
            Self::Anyone => Ok(()),
            Self::Certified(own) if own.role == Role::Device && own.name == device.as_str() => {
                Ok(())
            }
            _ => Err(Status::permission_denied(format!(
                "{self} may not speak for device `{device}`"
            ))),
        }
    }

    /// May ask.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn may_ask(&self) -> Result<(), Status> {
        match self {
            Self::Certified(own) if own.role == Role::Device => {
                Err(Status::permission_denied(format!(
                    "{self} may not ask: a viewer or an operator may (`tokwatt-collector enrol`)"
                )))
            }
            _ => Ok(()),
        }
    }

    /// May change what everybody sees.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn may_operate(&self) -> Result<(), Status> {
        match self {
            Self::Certified(own) if own.role != Role::Operator => Err(Status::permission_denied(
                format!("{self} may not do that: an operator may, or whoever is on the server"),
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => write!(f, "somebody on this machine"),
            Self::Local { uid } => write!(f, "user {uid} of this machine"),
            Self::Certified(own) => write!(f, "{} `{}`", own.role, own.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(role: Role) -> Peer {
        Peer::Certified(Certified {
            role,
            name: "orin-1".to_owned(),
            serial: vec![1],
            not_after: WallTime(0),
        })
    }

    #[test]
    fn a_device_speaks_for_itself_and_for_nobody_else() {
        let device = certified(Role::Device);
        let own = DeviceId::parse("orin-1").unwrap();
        let other = DeviceId::parse("orin-2").unwrap();
        assert!(device.speaks_for(&own).is_ok());
        for (peer, named) in [
            (&device, &other),
            (&certified(Role::Operator), &own),
            (&Peer::Local { uid: 0 }, &own),
        ] {
            assert!(peer.speaks_for(named).is_err(), "{peer}");
        }
    }

    #[test]
    fn a_viewer_asks_and_an_operator_changes() {
        let [device, viewer, operator] =
            [Role::Device, Role::Viewer, Role::Operator].map(certified);
        assert!(device.may_ask().is_err() && device.may_operate().is_err());
        assert!(viewer.may_ask().is_ok() && viewer.may_operate().is_err());
        assert!(operator.may_ask().is_ok() && operator.may_operate().is_ok());
        assert!(Peer::Local { uid: 1 }.may_operate().is_ok());
    }
}
