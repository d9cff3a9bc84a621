//! One device of the fleet.
//!
//! Modules stand in the order of data flow. Who may use whom: `tests/tidy`.

/// The one place that reads clocks.
pub mod clock;

/// Who answers: the engines on this device.
pub mod backend;
