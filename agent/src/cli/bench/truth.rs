//! What a made-up machine truly drew in the windows that were measured.

use std::collections::{BTreeMap, BTreeSet};

use tokwatt_domain::{power::Scope, run::RunTrace, units::Joules};

use crate::simulate::Simulated;

/// The true energy of each scope that was measured, in J.
pub(super) type Energies = BTreeMap<Scope, f64>;

/// Of one run.
pub(super) fn energies(simulated: &Simulated, trace: &RunTrace) -> Energies {
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
}
