//! What a GPU may be asked: one figure in one unit each, or the reason why there is none.

use std::fmt;

use nvml_wrapper::{
    Device,
    bitmasks::device::ThrottleReasons,
    enum_wrappers::device::{Clock, PerformanceState, TemperatureSensor},
    enums::device::SampleValue,
    error::NvmlError,
    structs::device::FieldId,
    sys_exports::field_id::{NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT},
};

/// What a question came to.
pub type Answer<T> = Result<T, Refusal>;

/// A question that a GPU may answer with a number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Feature {
    /// Energy since the driver was loaded, in µJ: nothing between two readings is missed.
    Energy,
    /// Power now, in µW.
    PowerInstant,
    /// Power over the last second, in µW.
    PowerAverage,
    /// The older call for power, in µW: from Ampere on a mean over the last second.
    PowerUsage,
    /// Power at which clocks are taken back, in µW.
    PowerLimit,
    /// Share of time in which a kernel ran, in thousandths.
    Utilisation,
    /// Clock of the streaming multiprocessors, in Hz.
    SmClock,
    /// Clock of its memory, in Hz.
    MemoryClock,
    /// Temperature of the die, in thousandths of °C.
    Temperature,
    /// Why clocks are held back: bits of nvml.h, those of [`LIMITS`] only.
    ThrottleReasons,
    /// 0 is the fastest.
    PerformanceState,
    /// Number of processes that compute on it; those that draw on it are not among them.
    ComputeProcesses,
    /// Memory of its own that is in use, in bytes.
    MemoryUsed,
    /// 1 where the GPU is split into several.
    MigMode,
    /// 1 where the driver stays loaded when nobody uses it.
    PersistenceMode,
}

/// A figure, and when the driver took it if it says so: µs of its own clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Figure {
    /// In the unit of its [`Feature`].
    pub value: i64,
    /// Differs from the one before if the figure is a new one.
    pub taken: Option<i64>,
}

/// Why a question has no answer, by what the asker does next.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// This GPU, driver or user does not have it.
    #[error("{0}")]
    Absent(String),
    /// The GPU or its driver is gone.
    #[error("{0}")]
    Lost(String),
    /// It went wrong this time.
    #[error("{0}")]
    Failed(String),
}

impl Feature {
    /// All of them, power first.
    pub const ALL: [Self; 15] = [
        Self::Energy,
        Self::PowerInstant,
        Self::PowerAverage,
        Self::PowerUsage,
        Self::PowerLimit,
        Self::Utilisation,
        Self::SmClock,
        Self::MemoryClock,
        Self::Temperature,
        Self::ThrottleReasons,
        Self::PerformanceState,
        Self::ComputeProcesses,
        Self::MemoryUsed,
        Self::MigMode,
        Self::PersistenceMode,
    ];

    /// Asks the library.
    ///
    /// The out-parameters of a refused call hold zeros, hence nothing is ever taken from one.
    pub(super) fn ask(self, gpu: &Device<'_>) -> Answer<Figure> {
        Ok(match self {
            Self::Energy => Figure::of(count(gpu.total_energy_consumption()?)?, 1000),
            Self::PowerInstant => field(gpu, NVML_FI_DEV_POWER_INSTANT)?,
            Self::PowerAverage => field(gpu, NVML_FI_DEV_POWER_AVERAGE)?,
            Self::PowerUsage => Figure::of(gpu.power_usage()?, 1000),
            Self::PowerLimit => Figure::of(gpu.enforced_power_limit()?, 1000),
            Self::Utilisation => Figure::of(gpu.utilization_rates()?.gpu, 10),
            Self::SmClock => Figure::of(gpu.clock_info(Clock::SM)?, 1_000_000),
            Self::MemoryClock => Figure::of(gpu.clock_info(Clock::Memory)?, 1_000_000),
            Self::Temperature => Figure::of(gpu.temperature(TemperatureSensor::Gpu)?, 1000),
            Self::ThrottleReasons => {
                Figure::of((gpu.current_throttle_reasons()? & LIMITS).bits(), 1)
            }
            Self::PerformanceState => Figure::of(state(gpu.performance_state()?)?, 1),
            Self::ComputeProcesses => Figure::of(gpu.running_compute_processes_count()?, 1),
            Self::MemoryUsed => Figure::of(gpu.memory_info()?.used, 1),
            Self::MigMode => Figure::of(gpu.mig_mode()?.current, 1),
            Self::PersistenceMode => Figure::of(gpu.is_in_persistent_mode()?, 1),
        })
    }

    /// Its name for people; a field is called as in NVIDIA's documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Energy => "energy counter",
            Self::PowerInstant => "POWER_INSTANT",
            Self::PowerAverage => "POWER_AVERAGE",
            Self::PowerUsage => "power usage",
            Self::PowerLimit => "power limit",
            Self::Utilisation => "utilisation",
            Self::SmClock => "SM clock",
            Self::MemoryClock => "memory clock",
            Self::Temperature => "temperature",
            Self::ThrottleReasons => "throttle reasons",
            Self::PerformanceState => "performance state",
            Self::ComputeProcesses => "compute processes",
            Self::MemoryUsed => "memory",
            Self::MigMode => "MIG mode",
            Self::PersistenceMode => "persistence mode",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Figure {
    /// What the library told, times what makes it our unit.
    fn of(told: impl Into<u64>, factor: u64) -> Self {
        let value = told.into().saturating_mul(factor);
        Self {
            value: i64::try_from(value).unwrap_or(i64::MAX),
            taken: None,
        }
    }
}

impl From<NvmlError> for Refusal {
    fn from(error: NvmlError) -> Self {
        let short = |words: &str| Self::Absent(words.to_owned());
        match error {
            NvmlError::NotSupported => short("not supported"),
            NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
                short("the driver's library lacks this call")
            }
            NvmlError::NoPermission => short("not permitted to this user"),
            NvmlError::NotFound => short("not found"),
            NvmlError::GpuLost | NvmlError::Uninitialized | NvmlError::DriverNotLoaded => {
                Self::Lost(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Some drivers answer for a counter that they do not keep.
fn count(millijoules: u64) -> Answer<u64> {
    match millijoules {
        0 => Err(Refusal::Absent("the counter stands at 0".to_owned())),
        running => Ok(running),
    }
}

/// A power of the GPU in mW, from the call that serves many fields: it succeeds whatever became of each, so a field counts
/// only with its own success, the driver's time and the type that power has.
fn field(gpu: &Device<'_>, field: u32) -> Answer<Figure> {
    let mut fields = gpu.field_values_for(&[FieldId(field)])?;
    let sample = fields.pop().ok_or(NvmlError::NoData)??;
    let milliwatts = match sample.value? {
        _ if sample.timestamp <= 0 => Err("not filled in"),
        SampleValue::U32(milliwatts) => Ok(u64::from(milliwatts)),
        SampleValue::U64(milliwatts) => Ok(milliwatts),
        SampleValue::F64(_) | SampleValue::I64(_) => Err("not a whole number"),
    };
    let milliwatts = milliwatts.map_err(|what| Refusal::Absent(what.to_owned()))?;
    Ok(Figure {
        taken: Some(sample.timestamp),
        ..Figure::of(milliwatts, 1000)
    })
}

fn state(state: PerformanceState) -> Answer<u32> {
    match state {
        PerformanceState::Unknown => Err(Refusal::Absent("unknown to the driver".to_owned())),
        state => Ok(state.as_c()),
    }
}

/// Reasons that mean that the GPU is not well: heat, or a brake on the board. Not among them: idleness, clocks that somebody set, and
/// the power limit, at which a card under load is at home; what it costs shows in the clock.
pub const LIMITS: ThrottleReasons = ThrottleReasons::HW_SLOWDOWN
    .union(ThrottleReasons::SW_THERMAL_SLOWDOWN)
    .union(ThrottleReasons::HW_THERMAL_SLOWDOWN)
    .union(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: NvmlError, want: fn(String) -> Refusal) {
        let words = error.to_string();
        let refusal = Refusal::from(error);
        assert_eq!(refusal, want(refusal.to_string()), "{words}");
    }

    #[test]
    fn what_is_refused_for_good_is_told_from_what_failed_and_what_is_gone() {
        check(NvmlError::NotSupported, Refusal::Absent);
        check(NvmlError::NotFound, Refusal::Absent);
        check(NvmlError::NoPermission, Refusal::Absent);
        let symbol = "undefined symbol: nvmlDeviceGetMigMode";
        check(
            NvmlError::FailedToLoadSymbol(symbol.to_owned()),
            Refusal::Absent,
        );
        check(NvmlError::GpuLost, Refusal::Lost);
        check(NvmlError::Uninitialized, Refusal::Lost);
        check(NvmlError::DriverNotLoaded, Refusal::Lost);
        check(NvmlError::Timeout, Refusal::Failed);
        check(NvmlError::Unknown, Refusal::Failed);
        check(NvmlError::UnexpectedVariant(28), Refusal::Failed);
    }

    #[test]
    fn idleness_set_clocks_and_the_power_limit_are_no_limits() {
        let none = ThrottleReasons::GPU_IDLE
            | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING
            | ThrottleReasons::SYNC_BOOST
            | ThrottleReasons::DISPLAY_CLOCK_SETTING
            | ThrottleReasons::SW_POWER_CAP;
        assert!((none & LIMITS).is_empty());
        assert_eq!(LIMITS.bits(), 0xe8);
    }

    #[test]
    fn a_figure_beyond_all_bounds_stays_one() {
        assert_eq!(Figure::of(u64::MAX, 1000).value, i64::MAX);
    }
}
