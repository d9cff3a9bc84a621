//! What must hold between two builds that only share bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// Runs that never took place, any and small.
mod made_up;

/// Records and runs.
mod record;

/// Batches, greetings.
mod delivery;

/// Documents for programs.
mod json_schema;

/// Bytes of versions that people have.
mod golden;
