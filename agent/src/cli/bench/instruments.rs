//! The instruments of a bench: what `--power` asks for and this device has, started.

use std::{collections::BTreeMap, sync::Arc};

use tokwatt_domain::device::DeviceProfile;

use crate::{
    clock::Clock,
    device::HostRoot,
    guard::Guard,
    power::{
        sampler::{Cadence, Sampler},
        select::{Surroundings, parse, select},
    },
    settings::Settings,
};

/// What is there, and what is to be said about the rest.
pub(super) struct Instruments {
    /// Reads them all; absent without one.
    pub(super) sampler: Option<Arc<Sampler>>,
    /// `power` to why there is none.
    pub(super) reasons: BTreeMap<String, String>,
    /// How the choice came about, for people.
    pub(super) why: Vec<String>,
}

pub(super) fn start(
    settings: &Settings,
    device: &DeviceProfile,
    root: &HostRoot,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Instruments> {
    let period = settings.power_interval.value;
    let selection = select(
        &parse(&settings.power.value)?,
        &Surroundings {
            root,
            kind: device.kind,
            interval: period,
            tegrastats: settings.tegrastats.value.clone(),
            guard: Guard::this_program(),
            clock: &**clock,
        },
    )?;
    let why_none = selection.why_none();
    let cadence = Cadence {
        period,
        ..Cadence::default()
    };
    let sampler = match why_none {
        Some(_) => None,
        None => Some(Arc::new(Sampler::start(
            selection.sources,
            cadence,
            clock.clone(),
        )?)),
    };
    Ok(Instruments {
        sampler,
        reasons: why_none
            .map(|reason| ("power".to_owned(), reason))
            .into_iter()
            .collect(),
        why: selection.why,
    })
}
