//! One device of the fleet.
//!
//! Modules stand in the order of data flow. Who may use whom: `tests/tidy`.

/// The one place that reads clocks.
pub mod clock;

/// What is asked: suites, pictures with known truth, the plan made from them.
pub mod workload;

/// Who answers: the engines on this device.
pub mod backend;
