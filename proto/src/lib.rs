//! The wire between agent and collector: bindings to the schema, and the way from them to the words of the domain.
//!
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

/// The schema `tokwatt.v1` in Rust. Agent and collector see it only where a stream is served.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "made by tokwatt-codegen; documented in proto/schema"
)]
pub mod v1 {
    include!("generated/tokwatt.v1.rs");
}

/// What an agent has to tell: records and their bytes.
pub mod record;

/// Records put together to a run again.
pub mod assemble;

/// How much there was of everything, is stored, and is declared missing.
pub mod account;

/// How records travel: hello, batches, acknowledgements, limits.
pub mod delivery;

/// How agent and collector talk of jobs.
pub mod control;
/// Records in a file, where no network is.
pub mod export;

/// Who is who: names in certificates, roles, TLS.
pub mod identity;

/// The documents that programs read: their JSON Schemas.
pub mod documents;

/// What is wrong with something that came over the wire.
pub mod error;

pub use account::{Account, accounts};
pub use assemble::{Assembled, UnderWay, assemble, assemble_under_way};
pub use error::ContractError;
pub use record::{Outline, Record, RunOpening};

/// Version of the records that this build writes and reads. A change that an older reader would misunderstand raises it; a new
/// optional field does not.
pub const SCHEMA: u32 = 1;
