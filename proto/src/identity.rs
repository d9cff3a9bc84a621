//! Who is who in a fleet: names in certificates, what may be done with them, and TLS that goes by both.
//!
//! A site has one authority. Its certificates name a subject by a URI, `spiffe://SITE/ROLE/NAME`, and by nothing else; where a machine is
//! says nothing about who it is, so the collector is known by one name everywhere, [`tls::SERVER_NAME`].

pub use authority::{Authority, NotVouchedFor};
pub use certificate::{CertificateFacts, UnreadableCertificate, WrongSignature};
pub use credentials::{Credentials, CredentialsError, FolderLock, certificate_pem};
pub use key::{KeyError, PrivateKey};
pub use names::{InvalidName, Role, Site, Subject};
pub use token::{InvalidToken, Token, TypedToken};
pub use trouble::Trouble;

mod authority;
mod certificate;
mod credentials;
mod key;
#[cfg(test)]
pub(crate) mod made_up;
mod names;
pub mod tls;
mod token;
mod trouble;
