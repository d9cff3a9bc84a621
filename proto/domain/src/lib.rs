//! The words that agent and collector share, and the arithmetic over them.
//!
//! Invariant: nothing here does I/O, reads a clock, spawns a task or knows the wire format.
//! The manifest keeps that true: it has no dependency that could.

#![warn(missing_docs)]

/// Names of things: device, run, digest, place in an outbox.
pub mod ids;

/// Names that look alike.
pub mod spelling;

/// Watts and joules; only the operations that mean something.
pub mod units;

/// Instants on the monotonic clock, and the wall clock once per run.
pub mod time;

/// What a device is, and what could not be learnt about it.
pub mod device;

/// What is asked of it: tasks, pictures with known truth, load.
pub mod workload;

/// What it drew while answering: scopes, sensors, readings.
pub mod power;

/// What of it is not kept, and why.
pub mod gap;

/// What happened: cell, raw trace, and the report made from it.
pub mod run;

/// From trace to report: latency, energy, efficiency, quality, spread.
pub mod metrics;

/// What the runs of a fleet come to: rows and places.
pub mod leaderboard;

/// A suite for a set of devices, and the jobs that it makes.
pub mod campaign;
