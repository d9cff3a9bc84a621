//! What goes wrong, and when: drawn from the seed, apart for each device and for the collector.

use std::time::Duration;

use tokwatt_harness::Random;

/// What is wrong with a device or its link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DeviceFault {
    /// Nothing gets through; connections that are open do not notice.
    Cut,
    /// Nothing gets through to the collector.
    CutThere,
    /// Nothing gets through from the collector.
    CutBack,
    /// Everything waits, and comes in the end.
    Hold,
    /// Everything takes up to seconds.
    Slow,
    /// kill -9; its connections are closed by its kernel.
    Kill,
    /// Nothing is closed.
    PowerCut,
    /// It comes back with an empty disk.
    DiskLost,
    /// A restart in good order.
    Stop,
}

impl DeviceFault {
    /// Whether its agent has to be started again.
    pub(crate) fn is_end_of_life(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::PowerCut | Self::DiskLost | Self::Stop
        )
    }
}

/// What is wrong with the collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CollectorFault {
    /// As of a device.
    Kill,
    /// As of a device.
    PowerCut,
    /// As of a device.
    Stop,
}

/// A fault and when it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell<F> {
    pub(crate) fault: F,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// One after the other, of these, all over by then.
pub(crate) fn spells<F: Copy>(
    chance: &mut Random,
    faults: &[F],
    calm: Duration,
    end: Duration,
) -> Vec<Spell<F>> {
    let mut spells = Vec::new();
    let mut from = chance_of(chance, calm);
    while from < end {
        let until = (from + length(chance)).min(end);
        spells.push(Spell {
            fault: *chance.pick(faults),
            from,
            until,
        });
        from = until + chance_of(chance, calm);
    }
    spells
}

fn chance_of(chance: &mut Random, most: Duration) -> Duration {
    most.mul_f64(chance.below(1001) as f64 / 1000.0)
}

/// From a quarter of a second to two minutes, each order of magnitude as likely as the others.
fn length(chance: &mut Random) -> Duration {
    Duration::from_millis(250 << chance.below(10)) + Duration::from_millis(chance.below(30_000) / 8)
}

pub(crate) const DEVICE_FAULTS: [DeviceFault; 12] = [
    DeviceFault::Cut,
    DeviceFault::Cut,
    DeviceFault::CutThere,
    DeviceFault::CutBack,
    DeviceFault::Hold,
    DeviceFault::Slow,
    DeviceFault::Kill,
    DeviceFault::Kill,
    DeviceFault::PowerCut,
    DeviceFault::PowerCut,
    DeviceFault::DiskLost,
    DeviceFault::Stop,
];

pub(crate) const COLLECTOR_FAULTS: [CollectorFault; 3] = [
    CollectorFault::Kill,
    CollectorFault::PowerCut,
    CollectorFault::Stop,
];
