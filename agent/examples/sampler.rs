//! What sampling alone costs: reads the instruments of `--power`'s list for a while and prints what it took of the processor and the memory.
//!
//! `sampler POWER HOST_ROOT TEGRASTATS INTERVAL_MS SECONDS GUARD`, GUARD being a built `tokwatt-agent`. tests/bench/sampler.py runs it.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{error::Error, fs, path::Path, sync::Arc, thread, time::Duration};

use serde_json::json;
use tokwatt_agent::{
    clock::{Clock, SystemClock},
    device::HostRoot,
    guard::Guard,
    power::{
        sampler::{Cadence, Sampler},
        select::{Surroundings, parse, select},
    },
};
use tokwatt_domain::device::DeviceKind;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [power, host_root, tegrastats, interval, seconds, guard] = arguments.as_slice() else {
        return Err("usage: sampler POWER HOST_ROOT TEGRASTATS INTERVAL_MS SECONDS GUARD".into());
    };
    let period = Duration::from_millis(interval.parse()?);
    let length = Duration::from_secs(seconds.parse()?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let selection = select(
        &parse(power)?,
        &Surroundings {
            root: &HostRoot::at(Path::new(host_root)),
            kind: DeviceKind::AgxOrin,
            interval: period,
            tegrastats: tegrastats.into(),
            guard: Guard::at(Path::new(guard)),
            clock: &*clock,
        },
    )?;
    if let Some(reason) = selection.why_none() {
        return Err(reason.into());
    }
    let cadence = Cadence {
        period,
        ..Cadence::default()
    };
    let (begin, cpu_before) = (clock.now(), cpu_seconds()?);
    let sampler = Sampler::start(selection.sources, cadence, clock.clone())?;
    thread::sleep(length);
    let cpu_s = cpu_seconds()? - cpu_before;
    let wall_s = clock.now().since(begin).as_secs_f64();
    let health = sampler.health();
    println!(
        "{}",
        json!({
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "rss_bytes": peak_rss_bytes()?,
            "samples": health.iter().map(|health| health.taken).sum::<u64>(),
            "failed": health.iter().map(|health| health.failed).sum::<u64>(),
            "last_error": health.iter().find_map(|health| health.last_error.clone()),
        })
    );
    Ok(())
}

/// User and system time of this process and its threads, to the nanosecond; what its children use is theirs.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let time = Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?);
    Ok(time.as_secs_f64())
}

fn peak_rss_bytes() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    Ok(1024 * kib.ok_or("no VmHWM")?.trim().parse::<u64>()?)
}
