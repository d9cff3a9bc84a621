//! `--simulate`: a machine that does not exist instead of this one.

use clap::Args;

use crate::simulate::{Simulated, Spec};

#[derive(Args)]
pub(super) struct SimulateArgs {
    /// A made-up machine instead of this one, in virtual time: orin, thor or gb10, with ?seed=N, &drop=SHARE (of power readings),
    /// &refresh=MS (of its monitors), &ambient=CELSIUS behind it; everything is marked simulated
    #[arg(long, value_name = "MACHINE")]
    simulate: Option<Spec>,
}

impl SimulateArgs {
    pub(super) fn is_asked(&self) -> bool {
        self.simulate.is_some()
    }

    /// Makes its files, if one is asked for.
    pub(super) fn make(&self) -> anyhow::Result<Option<Simulated>> {
        let make = |spec| {
            Simulated::make(spec)
                .map_err(|error| anyhow::anyhow!("--simulate: cannot write its files: {error}"))
        };
        self.simulate.as_ref().map(make).transpose()
    }
}

/// Its time passes at once where nobody has anything to do until later.
pub(super) fn virtual_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?)
}
