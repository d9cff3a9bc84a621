//! One device of the fleet.
//!
//! Modules stand in the order of data flow. Who may use whom: `tests/tidy`.

/// The one place that reads clocks.
pub mod clock;

/// What this device is, and what could not be learnt.
pub mod device;

/// Who answers: the engines on this device.
pub mod backend;

/// What the device draws.
pub mod power;

/// Ends a child when the agent is gone.
pub mod guard;

/// What a device's tools print, as JSON.
pub mod decode;
