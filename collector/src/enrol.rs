//! Who belongs to the site: its authority, tokens that are good once, certificates from their request to their end.
//!
//! A certificate lives for 30 days and is followed by the next one, of a new key, over the connection that it opened. Whether it is good
//! stands in the store, not in a list of revocations: it is looked up when a connection is accepted, and open connections are ended when
//! it changes.

mod admin;
mod documents;
mod enrolment;
mod identity;
mod renewal;
mod request;
mod standing;

use tonic::Status;

pub use self::{
    admin::Admin,
    documents::{Token, Tokens},
    enrolment::Enrolment,
    identity::{Identity, IdentityError, Issued},
    renewal::Renewal,
    standing::standing,
};
use crate::store::StoreError;

/// What a store's error means to whoever asked.
fn status(error: &StoreError) -> Status {
    match error {
        StoreError::Full => Status::resource_exhausted(format!("{error}, try again later")),
        _ => {
            tracing::error!(%error, "the store could not be asked about an identity");
            Status::unavailable(error.to_string())
        }
    }
}
