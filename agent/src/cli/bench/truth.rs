//! What a made-up machine truly drew in the windows that were measured.

use std::collections::BTreeMap;

use tokwatt_domain::{power::Scope, run::RunTrace, units::Joules};

use crate::simulate::Simulated;

/// For each run the true energy of each scope that was measured, in J.
pub(super) type Energies = BTreeMap<Scope, f64>;

pub(super) fn energies(simulated: &Simulated, traces: &[RunTrace]) -> Vec<Energies> {
    let of_run = |trace: &RunTrace| {
        let mut energies = Energies::new();
        for segment in &trace.segments {
            for power in &segment.power {
                let scope = power.sensor.scope;
                if let Some(Joules(joules)) = simulated.energy(scope, segment.window) {
                    *energies.entry(scope).or_default() += joules;
                }
            }
        }
        energies
    };
    traces.iter().map(of_run).collect()
}
