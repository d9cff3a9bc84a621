//! The gauges of a made-up machine: on every one the real reader of drivers' files, on GB10 what NVML would say besides.

use std::{collections::BTreeSet, sync::Arc};

use tokwatt_domain::{device::DeviceKind, run::GaugeKind};

use super::{MadeUp, host};
use crate::{
    clock::Clock,
    device::gauges::{Gauge, GaugeSource, HostGauges},
};

/// Lets the machine's files show the present before they are read.
pub(super) struct Shown {
    made_up: Arc<MadeUp>,
    clock: Arc<dyn Clock>,
    files: HostGauges,
}

impl Shown {
    pub(super) fn new(made_up: Arc<MadeUp>, clock: Arc<dyn Clock>) -> Self {
        Self {
            files: HostGauges::open(&made_up.root()),
            made_up,
            clock,
        }
    }

    /// NVML's bit for a limit by heat.
    fn by_library(&self) -> Vec<Gauge> {
        let (world, now) = (self.made_up.world(), self.clock.now());
        let gauge = |kind, name: &str, value| Gauge {
            kind,
            name: format!("gpu0 {name}"),
            value,
        };
        let limits = if world.is_throttled(now) {
            SW_THERMAL
        } else {
            0
        };
        vec![
            gauge(
                GaugeKind::Clock,
                "sm",
                host::gpu_clock(self.made_up.machine, &world, now),
            ),
            gauge(GaugeKind::Throttle, "throttle reasons", limits),
        ]
    }
}

impl GaugeSource for Shown {
    fn look(&mut self, ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        if let Err(error) = self.made_up.show(self.clock.now()) {
            tracing::warn!(%error, "the simulation's files stand still");
        }
        let mut gauges = self.files.look(ours);
        if self.made_up.machine.kind == DeviceKind::Gb10 {
            gauges.extend(self.by_library());
        }
        gauges
    }
}

/// `nvmlClocksThrottleReasonSwThermalSlowdown`.
const SW_THERMAL: i64 = 0x20;
