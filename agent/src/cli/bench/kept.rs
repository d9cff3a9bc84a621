//! What stays of each run when it has ended: its trace as a file, if a bundle is asked for, and what the end of the bench shows. The
//! trace itself does not: 200,000 requests of one run are enough for any memory.

use std::path::Path;

use tokwatt_domain::{
    metrics::projection::Stretch,
    run::{Resumption, RunTrace},
};

use super::{
    bundle,
    truth::{self, Energies},
};
use crate::simulate::Simulated;

/// Grows by a run at a time.
pub(super) struct Kept<'a> {
    bundle: Option<&'a Path>,
    simulated: Option<&'a Simulated>,
    /// For each run of a made-up machine what was truly drawn.
    pub(super) truth: Vec<Energies>,
    /// How the long runs went.
    pub(super) paces: Vec<Pace>,
    /// What could not be written.
    pub(super) error: Option<anyhow::Error>,
}

/// How a run of several segments went.
pub(super) struct Pace {
    /// Its cell.
    pub(super) label: String,
    /// Its segments, each with what comes before the next one.
    pub(super) stretches: Vec<Stretch>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(bundle: Option<&'a Path>, simulated: Option<&'a Simulated>) -> Self {
        Self {
            bundle,
            simulated,
            truth: Vec::new(),
            paces: Vec::new(),
            error: None,
        }
    }

    pub(super) fn keep(&mut self, trace: &RunTrace) {
        let truth = self
            .simulated
            .map(|made_up| truth::energies(made_up, trace));
        self.truth.extend(truth);
        self.paces.extend(Pace::of(trace));
        let written = self.bundle.map(|folder| bundle::write_trace(folder, trace));
        if let Some(Err(error)) = written {
            self.error.get_or_insert(error);
        }
    }
}

impl Pace {
    fn of(trace: &RunTrace) -> Option<Self> {
        let stretches: Vec<Stretch> = (0..trace.segments.len())
            .map(|index| stretch(trace, index))
            .collect();
        (stretches.len() >= SEGMENTS_LEAST).then(|| Self {
            label: trace.header.cell.label(),
            stretches,
        })
    }
}

/// A segment with what comes before the next one, but for an interruption.
fn stretch(trace: &RunTrace, index: usize) -> Stretch {
    let segment = &trace.segments[index];
    let is_resumed = |resumption: &Resumption| usize::try_from(resumption.segment) == Ok(index + 1);
    let next = trace.segments.get(index + 1);
    let next = next.filter(|_| !trace.resumptions.iter().any(is_resumed));
    let until = next.map_or(segment.window.to, |next| next.window.from);
    Stretch {
        requests: segment.requests.len() as u64,
        time: until.since(segment.window.from),
    }
}

/// Fewer say nothing about their spread.
const SEGMENTS_LEAST: usize = 3;
