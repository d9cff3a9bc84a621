//! `engine-worker`: the embedded engine's process; started by the agent, not by people.

use super::Exit;

#[cfg(feature = "embedded")]
pub(super) fn engine_worker() -> anyhow::Result<Exit> {
    crate::backend::embedded::worker::serve_inherited()?;
    Ok(Exit::Done)
}

#[cfg(not(feature = "embedded"))]
pub(super) fn engine_worker() -> anyhow::Result<Exit> {
    anyhow::bail!(
        "this agent was built without the embedded engine; set `engine.worker` to one that has it, or build with `--features embedded`"
    )
}
