//! What agent and collector have in common as services: what they tell their manager, and how they log.

#![warn(missing_docs)]

/// Ready, alive, stopping: words to systemd.
mod manager;

/// Logs on stderr, for people or for programs.
mod logs;

pub use logs::{LogFormat, Logs};
pub use manager::ServiceManager;
