//! What is wrong with something that came over the wire, down to the field.

use std::fmt;

use tokwatt_domain::ids::RunId;

use crate::{SCHEMA, record::RECORD_BYTES_MAX};

/// Bytes that keep the contract's form but not its meaning, or not even its form.
///
/// None of these goes away by sending the same bytes again.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The other side writes records of another schema.
    #[error("records are of schema {theirs}, this build reads {SCHEMA}: update the older side")]
    Schema {
        /// What it writes.
        theirs: u32,
    },
    /// More bytes than any record has.
    #[error("record has {bytes} bytes, at most {RECORD_BYTES_MAX} are read")]
    TooLarge {
        /// How many there were.
        bytes: usize,
    },
    /// No protobuf message, or one of other fields. The source names the field.
    #[error("cannot read `{field}` as a protobuf message")]
    Message {
        /// Path of the message within the record.
        field: String,
        /// What prost says.
        #[source]
        source: prost::DecodeError,
    },
    /// No JSON document of the form expected. The source names the key.
    #[error("cannot read `{field}` as `{schema}`")]
    Document {
        /// Path of the document within the record.
        field: String,
        /// Which schema it should follow.
        schema: &'static str,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// A record of a kind that a later version writes.
    #[error(
        "the record is of kind {number}, which this build does not know: update it to the version that wrote the record"
    )]
    UnknownKind {
        /// Number of its field in `Record`.
        number: u32,
    },
    /// A field with a value that it cannot have.
    #[error("`{field}` {problem}")]
    Field {
        /// Path of the field within the record.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The records are no complete run, or of more than one.
    #[error("run {run}: {problem}")]
    Run {
        /// Which run was to be put together.
        run: RunId,
        /// What is missing or too much.
        problem: String,
    },
    /// There is no record of any run.
    #[error("no records of a run")]
    NoRun,
}

impl ContractError {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The same error, seen from outside: `outer.` before the field's path.
    #[must_use]
    pub(crate) fn within(mut self, outer: impl fmt::Display) -> Self {
        if let Self::Field { field, .. }
        | Self::Message { field, .. }
        | Self::Document { field, .. } = &mut self
        {
            *field = format!("{outer}.{field}");
        }
        self
    }
}
