//! What a made-up machine truly drew in the windows that were measured.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{power::Scope, run::RunTrace, units::Joules};

use crate::simulate::Simulated;

/// For each run the true energy of each scope that was measured, in J.
pub(super) type Energies = BTreeMap<Scope, f64>;

pub(super) fn energies(simulated: &Simulated, traces: &[RunTrace]) -> Vec<Energies> {
    let of_run = |trace: &RunTrace| {
        let powers = trace.segments.iter().flat_map(|segment| &segment.power);
        // Several sensors may see one scope.
        let scopes: BTreeSet<Scope> = powers.map(|power| power.sensor.scope).collect();
        let windows = || trace.segments.iter().map(|segment| segment.window);
        let of_scope = |scope: Scope| {
            let energies = windows().map(|window| simulated.energy(scope, window));
            let joules: Option<f64> = energies.map(|energy| energy.map(|Joules(j)| j)).sum();
            Some((scope, joules?))
        };
        scopes.into_iter().filter_map(of_scope).collect()
    };
    traces.iter().map(of_run).collect()
}
