//! Memory in use during a run, per scope: before the model was loaded, at most, on average, and what the model added.

use crate::{
    metrics::totals::number,
    run::{MemoryScope, MemoryTrace, RunTrace},
};

/// All in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Before the model was loaded.
    pub baseline: f64,
    /// Largest sample.
    pub peak: f64,
    /// Mean of the samples, which are evenly spaced.
    pub mean: f64,
    /// Peak − baseline; negative where something else went away meanwhile.
    pub delta: f64,
}

/// Memory of one scope over all segments; `None` if it was not sampled.
pub fn memory(trace: &RunTrace, scope: MemoryScope) -> Option<Memory> {
    let traces: Vec<&MemoryTrace> = trace
        .segments
        .iter()
        .flat_map(|segment| &segment.memory)
        .filter(|memory| memory.scope == scope)
        .collect();
    let baseline = number(traces.first()?.baseline_bytes);
    let samples = || {
        traces
            .iter()
            .flat_map(|memory| &memory.samples)
            .map(|(_, bytes)| *bytes)
    };
    let peak = number(samples().max()?);
    let sum: u128 = samples().map(u128::from).sum();
    Some(Memory {
        baseline,
        peak,
        mean: sum as f64 / number(samples().count() as u64),
        delta: peak - baseline,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;

    #[test]
    fn peak_and_mean_are_over_all_segments() {
        let mut trace = example::run(Vec::new());
        trace.segments.push(trace.segments[0].clone());
        for (segment, bytes) in trace.segments.iter_mut().zip([[100, 300], [500, 100]]) {
            segment.memory.push(MemoryTrace {
                scope: MemoryScope::System,
                baseline_bytes: 80,
                samples: vec![(example::stamp(0), bytes[0]), (example::stamp(1), bytes[1])],
            });
        }
        let want = Memory {
            baseline: 80.0,
            peak: 500.0,
            mean: 250.0,
            delta: 420.0,
        };
        assert_eq!(memory(&trace, MemoryScope::System), Some(want));
        assert_eq!(memory(&trace, MemoryScope::Gpu), None);
    }
}
