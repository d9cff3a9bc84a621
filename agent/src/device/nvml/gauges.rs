//! How the GPUs are doing now: load, clocks, heat, limits, who else computes on them, and the memory that is taken.
//!
//! Processes are told apart by number. The driver of a container may tell the host's numbers, which name nobody here or
//! somebody else: where a number is no process that we can see, neither who is foreign nor how much is ours is known.

use std::collections::BTreeSet;

use tokwatt_domain::run::GaugeKind;

use super::{Answer, Feature, Gpu, Library, Process, Refusal};
use crate::device::{
    HostRoot,
    gauges::{Gauge, GaugeSource, GpuMemory},
};

/// The library as a source of gauges, until a GPU or the driver is gone.
pub struct NvmlGauges(Option<Library>);

/// One GPU. What it does not tell, or did not this time, is absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GpuGauges {
    /// Its place in the library's order.
    pub index: u32,
    /// Share of time in which a kernel ran, in thousandths.
    pub utilisation_per_mille: Option<i64>,
    /// Of the streaming multiprocessors.
    pub sm_clock_hz: Option<i64>,
    /// Of its memory.
    pub memory_clock_hz: Option<i64>,
    /// Of the die, in thousandths of °C.
    pub temperature_millidegrees: Option<i64>,
    /// Bits of [`super::LIMITS`].
    pub throttle_reasons: Option<i64>,
    /// Processes that compute on it and are none of ours. A desktop draws and is not counted.
    pub foreign_processes: Option<i64>,
}

/// Who computes on a GPU, by whether it is ours; nothing where that cannot be said.
type Party = Option<Vec<(Process, bool)>>;

impl NvmlGauges {
    /// Those of this library.
    pub fn of(library: Library) -> Self {
        Self(Some(library))
    }

    /// Asks the library while it has its GPUs; that they are gone is said once.
    fn ask<T>(&mut self, question: impl FnOnce(&Library) -> Result<T, Refusal>) -> Option<T> {
        match question(self.0.as_ref()?) {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::warn!(%error, "NVML has lost its GPUs, their gauges end");
                self.0 = None;
                None
            }
        }
    }
}

impl GaugeSource for NvmlGauges {
    fn look(&mut self, ours: Option<&BTreeSet<u32>>) -> Vec<Gauge> {
        let gpus = self.ask(|library| library.gauges(ours));
        gpus.unwrap_or_default()
            .into_iter()
            .flat_map(GpuGauges::named)
            .collect()
    }

    fn gpu_memory(&mut self, ours: Option<&BTreeSet<u32>>) -> Option<GpuMemory> {
        self.ask(|library| library.memory(ours)).flatten()
    }
}

impl GpuGauges {
    fn named(self) -> impl Iterator<Item = Gauge> {
        let gpu = format!("gpu{}", self.index);
        let parts = [
            (GaugeKind::Utilisation, "", self.utilisation_per_mille),
            (GaugeKind::Clock, " sm", self.sm_clock_hz),
            (GaugeKind::Clock, " memory", self.memory_clock_hz),
            (
                GaugeKind::Temperature,
                " temperature",
                self.temperature_millidegrees,
            ),
            (
                GaugeKind::Throttle,
                " throttle reasons",
                self.throttle_reasons,
            ),
            (GaugeKind::ForeignGpuProcess, "", self.foreign_processes),
        ];
        parts.into_iter().filter_map(move |(kind, part, value)| {
            Some(Gauge {
                kind,
                name: format!("{gpu}{part}"),
                value: value?,
            })
        })
    }
}

impl Library {
    /// Reads all GPUs in one pass. `ours` are our processes, or nothing if it is not known which those are.
    ///
    /// # Errors
    /// A GPU or the driver is gone.
    pub fn gauges(&self, ours: Option<&BTreeSet<u32>>) -> Result<Vec<GpuGauges>, Refusal> {
        let gauges = self.gpus.iter().map(|gpu| self.gauges_of(gpu, ours));
        gauges.collect()
    }

    /// Memory of our processes on all GPUs; that of everybody where ours cannot be told. Nothing where our processes are known
    /// and none is on a GPU, or nobody tells.
    ///
    /// # Errors
    /// A GPU or the driver is gone.
    pub fn memory(&self, ours: Option<&BTreeSet<u32>>) -> Result<Option<GpuMemory>, Refusal> {
        let parties = self.gpus.iter().map(|gpu| self.party(gpu, ours));
        let parties: Vec<Party> = parties.collect::<Result<_, _>>()?;
        let parties: Option<Vec<Vec<(Process, bool)>>> = parties.into_iter().collect();
        let Some(parties) = parties else {
            return self.memory_of_everybody();
        };
        let ours = parties.iter().flatten().filter(|(_, is_ours)| *is_ours);
        let ours: Vec<Option<u64>> = ours.map(|(process, _)| process.memory_bytes).collect();
        if ours.is_empty() {
            return Ok(None);
        }
        match ours.into_iter().sum() {
            Some(bytes) => Ok(Some(GpuMemory::OurProcesses(bytes))),
            None => self.memory_of_everybody(),
        }
    }

    /// Of all GPUs that tell; nothing where none does, or one does not this time.
    fn memory_of_everybody(&self) -> Result<Option<GpuMemory>, Refusal> {
        let telling = self
            .gpus
            .iter()
            .filter(|gpu| gpu.tells(Feature::MemoryUsed));
        let used = telling.map(|gpu| self.gauge(gpu, Feature::MemoryUsed));
        let used: Vec<Option<i64>> = used.collect::<Result<_, _>>()?;
        let bytes = used.iter().map(|used| used.map(i64::unsigned_abs));
        Ok(bytes
            .sum::<Option<u64>>()
            .filter(|_| !used.is_empty())
            .map(GpuMemory::Everybody))
    }

    fn gauges_of(&self, gpu: &Gpu, ours: Option<&BTreeSet<u32>>) -> Result<GpuGauges, Refusal> {
        Ok(GpuGauges {
            index: gpu.index,
            utilisation_per_mille: self.gauge(gpu, Feature::Utilisation)?,
            sm_clock_hz: self.gauge(gpu, Feature::SmClock)?,
            memory_clock_hz: self.gauge(gpu, Feature::MemoryClock)?,
            temperature_millidegrees: self.gauge(gpu, Feature::Temperature)?,
            throttle_reasons: self.gauge(gpu, Feature::ThrottleReasons)?,
            foreign_processes: foreign(&self.party(gpu, ours)?),
        })
    }

    fn gauge(&self, gpu: &Gpu, feature: Feature) -> Result<Option<i64>, Refusal> {
        let told = unless_lost(self.read(gpu, feature))?;
        Ok(told.map(|figure| figure.value))
    }

    fn party(&self, gpu: &Gpu, ours: Option<&BTreeSet<u32>>) -> Result<Party, Refusal> {
        let Some(ours) = ours else {
            return Ok(None);
        };
        let Some(processes) = unless_lost(self.processes(gpu))? else {
            return Ok(None);
        };
        let told_apart = processes.into_iter().map(|process| {
            let owner = process_of(&self.root, process.number)?;
            Some((process, ours.contains(&owner)))
        });
        Ok(told_apart.collect())
    }
}

fn foreign(party: &Party) -> Option<i64> {
    let foreign = party.as_ref()?.iter().filter(|(_, is_ours)| !is_ours);
    i64::try_from(foreign.count()).ok()
}

/// The process that has `number`, which the driver may have from one of its threads; nothing if there is none.
fn process_of(root: &HostRoot, number: u32) -> Option<u32> {
    let status = root.read(&format!("/proc/{number}/status")).ok()?;
    let owner = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    owner.trim().parse().ok()
}

fn unless_lost<T>(answer: Answer<T>) -> Result<Option<T>, Refusal> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(lost @ Refusal::Lost(_)) => Err(lost),
        Err(Refusal::Absent(_) | Refusal::Failed(_)) => Ok(None),
    }
}
