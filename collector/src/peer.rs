//! Who is at the other end of a connection, and what they may do.

use std::{fmt, net::SocketAddr};

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
    /// A device whose certificate has expired, not too long ago: it may renew it, and nothing else.
    Expired(Certified),
    /// Somebody without a certificate, where one enrols.
    Stranger {
        /// Where they are.
        from: SocketAddr,
    },
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
            Self::Anyone | Self::Local { .. } => Ok(()),
            Self::Certified(own) if own.role != Role::Device => Ok(()),
            _ => Err(Status::permission_denied(format!(
                "{self} may not ask: a viewer or an operator may (`tokwatt-collector enrol`)"
            ))),
        }
    }

    /// May change what everybody sees.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn may_operate(&self) -> Result<(), Status> {
        match self {
            Self::Anyone | Self::Local { .. } => Ok(()),
            Self::Certified(own) if own.role == Role::Operator => Ok(()),
            _ => Err(Status::permission_denied(format!(
                "{self} may not do that: an operator may, or whoever is on the server"
            ))),
        }
    }

    /// May have the next certificate.
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub fn may_renew(&self) -> Result<&Certified, Status> {
        match self {
            Self::Certified(own) => Ok(own),
            Self::Expired(own) if own.role == Role::Device => Ok(own),
            _ => Err(Status::permission_denied(format!(
                "{self} has no certificate that may be renewed"
            ))),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => write!(f, "somebody on this machine"),
            Self::Local { uid } => write!(f, "user {uid} of this machine"),
            Self::Certified(own) => write!(f, "{} `{}`", own.role, own.name),
            Self::Expired(own) => write!(
                f,
                "{} `{}`, whose certificate has expired and must be renewed first,",
                own.role, own.name
            ),
            Self::Stranger { from } => write!(f, "a stranger at {from}"),
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

    #[test]
    fn a_device_that_has_expired_renews_and_nobody_expired_does_anything_else() {
        for role in [Role::Device, Role::Viewer, Role::Operator] {
            let Peer::Certified(own) = certified(role) else {
                unreachable!("it was made so")
            };
            let expired = Peer::Expired(own);
            let device = DeviceId::parse("orin-1").unwrap();
            assert!(expired.may_ask().is_err() && expired.may_operate().is_err());
            assert!(expired.speaks_for(&device).is_err());
            assert_eq!(expired.may_renew().is_ok(), role == Role::Device);
        }
    }

    #[test]
    fn a_stranger_does_nothing() {
        let from = SocketAddr::from(([192, 0, 2, 1], 4242));
        let stranger = Peer::Stranger { from };
        let device = DeviceId::parse("orin-1").unwrap();
        assert!(stranger.may_ask().is_err() && stranger.may_operate().is_err());
        assert!(stranger.speaks_for(&device).is_err() && stranger.may_renew().is_err());
    }
}
