//! What this process takes of its machine, under the names that Prometheus' own libraries use.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::time::{ClockId, clock_gettime};

use super::write;

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// What cannot be learnt is left out.
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        write(
            &mut encoder,
            "process_cpu_seconds",
            "Processor time used",
            &ConstCounter::new(cpu_seconds()),
        )?;
        if let Some(bytes) = resident_bytes() {
            write(
                &mut encoder,
                "process_resident_memory_bytes",
                "Memory in use",
                &ConstGauge::new(bytes),
            )?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let n_files = u64::try_from(files.count()).unwrap_or(u64::MAX);
            write(
                &mut encoder,
                "process_open_fds",
                "Files and connections that are open",
                &ConstGauge::new(n_files),
            )?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of processor time are far below 2^53"
    )]
    let seconds = used.tv_sec as f64;
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds are below 10^9")]
    let nanoseconds = used.tv_nsec as f64;
    seconds + nanoseconds / 1e9
}

/// Pages in memory are the second number.
fn resident_bytes() -> Option<u64> {
    let numbers = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = numbers.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_some_time_and_some_memory() {
        assert!(cpu_seconds() > 0.0);
        assert!(resident_bytes().unwrap() > 1_000_000);
    }
}
