//! One device of the fleet.
//!
#![doc = include_str!("../README.md")]

/// The one place that reads clocks.
pub mod clock;

/// Work that blocks its thread, on a thread for such work.
mod blocking;

/// What it runs with: flags, environment, file.
pub mod settings;

/// What this device is, and what could not be learnt.
pub mod device;

/// What to ask: suites, scenes with known truth, own pictures.
pub mod workload;

/// Who answers: the engines on this device.
pub mod backend;

/// What it draws: instruments and the sampler.
pub mod power;

/// A machine that does not exist, with what it truly draws.
pub mod simulate;

/// Other power modes for a bench, and the original one again.
pub mod power_mode;

/// One run after the other: load, idle, warm up, ask, observe, measure, spool.
pub mod runner;

/// The durable outbox.
pub mod spool;

/// The connection to the collector.
pub mod uplink;

/// How this device becomes one of a site, and stays one.
pub mod enrol;

/// Jobs for campaigns: waits for them, and has them done.
pub mod attend;

/// Ends a child when the agent is gone.
pub mod guard;

/// What a device's tools print, as JSON.
pub mod decode;

/// The command line, one file a subcommand.
pub mod cli;
