//! Charts made from boards, cells and traces. Pure.
//!
//! Each says below its title what is fixed, and never has figures of two power scopes.

mod boards;
mod cells;
mod naming;
mod traces;

pub use self::{
    boards::{Headed, bars, board, fixed, heat_map, names as row_names},
    cells::{
        by_concurrency, by_task, common as cells_in_common, names as cell_names, speed_and_quality,
    },
    traces::{Latencies, latencies, power},
};

use tokwatt_domain::{
    metrics::dictionary::{Better, Definition, definition},
    power::Scope,
};

use super::Axis;

/// The axis of a metric: `decode_tps`, `j_per_image@module`.
pub fn axis(metric: &str) -> Axis {
    let id = metric.split('@').next().unwrap_or_default();
    let (unit, better) = match definition(id) {
        Ok(Definition { unit, better, .. }) => (*unit, *better),
        Err(_) => ("", Better::Neither),
    };
    Axis {
        label: metric.to_owned(),
        unit: unit.to_owned(),
        better,
    }
}

/// What a power scope includes, for people.
pub fn scope_in_words(scope: Scope) -> &'static str {
    match scope {
        Scope::GpuBoard => "the discrete GPU's board, its memory and regulators included",
        Scope::GpuRail => "the GPU's rail alone",
        Scope::SocRails => "compute rails alone",
        Scope::Module => "the module: compute, memory and what it feeds",
        Scope::SystemIn => "the machine's DC input",
        Scope::SpbmSysTotal => {
            "what the spbm driver calls the system's total; nobody has verified it"
        }
        Scope::CpuPkg => "the processor's package",
        Scope::Wall => "the machine at the wall, its power supply included",
    }
}
