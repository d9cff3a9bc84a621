//! Probe and power through the same code path as on a device: recorded trees, real lines, real child processes.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests; the lint sees only functions marked as such"
)]

/// Waits for a condition.
mod eventually;

/// Every line of the corpus.
mod corpus;

/// Forms that the corpus lacks and the devices have.
mod variants;

/// Real texts and files, damaged.
mod damaged;

/// Recorded host roots.
mod probe;

/// What ends with the agent.
mod guard;

/// Power modes and their keeper.
mod power_mode;

/// A child that prints like `tegrastats`.
mod tegrastats;

/// Which instruments a device gets.
mod select;

/// Drivers' files.
mod hwmon;

/// Temperatures, limits, clocks.
mod gauges;

/// Trees that went wrong.
mod hostile;

/// Hosts whose NVIDIA library is one of ours.
mod nvml_host;

/// Power by NVIDIA's library.
mod nvml;

/// How NVIDIA's library says that GPUs are doing.
mod nvml_gauges;

/// What a probe learns from NVIDIA's library.
mod nvml_facts;

/// External meters.
mod meter;
