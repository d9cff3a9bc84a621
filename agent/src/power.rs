//! What the device draws: instruments, which of them to use here, and the sampler that reads them.

use tokwatt_domain::{
    power::{PowerSample, Sensor},
    time::Stamp,
};

use crate::clock::Clock;

/// Which instruments, and why these.
pub mod select;

/// Every instrument read in its turn, one timeline.
pub mod sampler;

/// Which rails make up which scope on which device.
pub mod rails;

/// NVIDIA's command line tool on Jetson.
pub mod tegrastats;

/// Power monitors of Jetson boards, by their drivers' files.
pub mod ina;

/// NVIDIA's library: discrete GPUs, GB10, Thor.
pub mod nvml;

/// GB10's own telemetry by a community driver.
pub mod spbm;

/// Energy counters of x86 processors.
pub mod rapl;

/// Files in which drivers tell numbers.
mod hwmon;

/// A meter's file, followed.
pub mod meter;

/// A recording instead of an instrument.
pub mod replay;

/// An instrument that reports what the device draws.
///
/// Blocking on purpose: the sampler gives each a thread of its own.
pub trait PowerSource: Send {
    /// What it can see; fixed for its lifetime.
    fn sensors(&self) -> &[Sensor];

    /// Who decides when it is read.
    fn pace(&self) -> Pace;

    /// For people: which of several figures is read, and why not a better one. Nothing where there is no choice.
    fn why(&self) -> Option<String> {
        None
    }

    /// Appends new samples, stamped when they were taken. It may append some and fail all the same.
    ///
    /// # Errors
    /// [`ReadError`] says what to do next; every error is counted as one failed reading.
    fn read(&mut self, clock: &dyn Clock, into: &mut Vec<Taken>) -> Result<(), ReadError>;
}

/// A sample and the sensor it is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// Place of the sensor in [`PowerSource::sensors`].
    pub sensor: usize,
    /// The sample.
    pub sample: PowerSample,
}

/// Who decides when an instrument is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// The sampler: it can be read at any time.
    Sampler,
    /// A recording or a made-up instrument with a pace of its own: it has its next word at this time, and none before.
    Recorded(Stamp),
    /// The instrument: [`PowerSource::read`] waits for its next word, and returns without one after a while.
    Instrument,
}

/// Why a reading failed, by what the sampler does next.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Try again at the next tick; the hole shows in the coverage.
    #[error("{0}")]
    Transient(String),
    /// The instrument is gone; the run goes on without it.
    #[error("{0}")]
    Fatal(String),
}

/// Why an instrument cannot be used on this device: names it, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Absent(pub String);
