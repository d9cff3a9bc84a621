//! The instruments of a bench: what `--power` asks for and this device has, started.

use std::{collections::BTreeMap, io, sync::Arc};

use tokio_util::task::TaskTracker;
use tokwatt_domain::device::DeviceProfile;

use crate::{
    backend::server_metrics::ServerMetrics,
    clock::Clock,
    device::{
        HostRoot,
        gauges::{GaugeSource, Gauges, HostGauges},
        nvml::{Library, NvmlGauges},
    },
    guard::Guard,
    power::{
        PowerSource,
        sampler::{Cadence, Sampler},
        select::{Selection, Surroundings, parse, select},
    },
    settings::Settings,
    simulate::Simulated,
};

/// What is there, and what is to be said about the rest.
pub(in crate::cli) struct Instruments {
    /// Reads them all; absent without one.
    pub(in crate::cli) sampler: Option<Arc<Sampler>>,
    /// Under which conditions the device works.
    pub(in crate::cli) gauges: Gauges,
    /// `power` to why there is none; `power.NAME` to why that instrument is not read.
    pub(in crate::cli) reasons: BTreeMap<String, String>,
    /// How the choice came about, for people.
    pub(in crate::cli) why: Vec<String>,
}

pub(in crate::cli) fn start(
    settings: &Settings,
    device: &DeviceProfile,
    root: &HostRoot,
    clock: &Arc<dyn Clock>,
    server: Option<ServerMetrics>,
) -> anyhow::Result<Instruments> {
    let selection = select(
        &parse(&settings.power.value)?,
        &Surroundings {
            root,
            kind: device.kind,
            interval: settings.power_interval.value,
            tegrastats: settings.tegrastats.value.clone(),
            guard: Guard::this_program(),
            clock: &**clock,
        },
    )?;
    let sampler = |sources| Sampler::start(sources, cadence(settings), clock.clone());
    Instruments::start(gauges(root, server), selection, sampler)
}

/// The host's files, NVIDIA's library where there is one, the server's own metrics where they were asked for; why there is no
/// library stands among the device's facts.
fn gauges(root: &HostRoot, server: Option<ServerMetrics>) -> Gauges {
    let mut sources: Vec<Box<dyn GaugeSource>> = vec![Box::new(HostGauges::open(root))];
    if let Ok(library) = Library::open(root) {
        sources.push(Box::new(NvmlGauges::of(library)));
    }
    if let Some(server) = server {
        sources.push(Box::new(server));
    }
    Gauges::of(sources)
}

/// Those of a made-up machine, read by tasks: its time is tokio's.
pub(in crate::cli) fn made_up(
    settings: &Settings,
    simulated: &Simulated,
    clock: &Arc<dyn Clock>,
    tasks: &TaskTracker,
) -> anyhow::Result<Instruments> {
    let choices = parse(&settings.power.value)?;
    let selection = simulated.instruments(&choices, settings.power_interval.value);
    let gauges = simulated.gauges(clock.clone());
    Instruments::start(gauges, selection, |sources| {
        let cadence = Cadence {
            seed: simulated.seed(),
            ..cadence(settings)
        };
        Ok(Sampler::start_tasks(sources, cadence, clock.clone(), tasks))
    })
}

impl Instruments {
    fn start(
        gauges: Gauges,
        selection: Selection,
        sampler: impl FnOnce(Vec<Box<dyn PowerSource>>) -> io::Result<Sampler>,
    ) -> anyhow::Result<Self> {
        let why_none = selection.why_none();
        let sampler = match why_none {
            Some(_) => None,
            None => Some(Arc::new(sampler(selection.sources)?)),
        };
        let of_each = selection.reasons.into_iter();
        let of_each = of_each.map(|(name, reason)| (format!("power.{name}"), reason));
        let of_all = why_none.map(|reason| ("power".to_owned(), reason));
        Ok(Self {
            sampler,
            gauges,
            reasons: of_all.map_or_else(|| of_each.collect(), |of_all| [of_all].into()),
            why: selection.why,
        })
    }
}

fn cadence(settings: &Settings) -> Cadence {
    Cadence {
        period: settings.power_interval.value,
        ..Cadence::default()
    }
}
