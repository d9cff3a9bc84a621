//! Memory in use around and inside a measured window, seen from the process tree and from the system.
//!
//! A thread of its own reads once a second: proportional set sizes of a large model take milliseconds to add up, and
//! nothing here may run where answers are stamped.

use std::{
    fs,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokwatt_domain::run::{MemoryScope, MemoryTrace};

use crate::{clock::Clock, device::HostRoot};

/// What was in use before the model was loaded.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    root: HostRoot,
    system_bytes: Option<u64>,
}

/// Reads memory until it is stopped.
pub(super) struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<MemoryTrace>>,
}

impl Baseline {
    /// Looks at the system now; no engine of ours is running.
    pub(super) fn take(root: &HostRoot) -> Self {
        Self {
            root: root.clone(),
            system_bytes: system_bytes(root),
        }
    }

    /// Starts watching the tree of `process` and the system.
    pub(super) fn watch(&self, process: Option<u32>, clock: Arc<dyn Clock>) -> Watch {
        let (stop, stopped) = mpsc::channel();
        let baseline = self.clone();
        let thread = thread::spawn(move || baseline.read_until(&stopped, process, &*clock));
        Watch { stop, thread }
    }

    fn read_until(
        &self,
        stopped: &mpsc::Receiver<()>,
        process: Option<u32>,
        clock: &dyn Clock,
    ) -> Vec<MemoryTrace> {
        let mut tree = trace(MemoryScope::ProcessTree, process.map(|_| 0));
        let mut system = trace(MemoryScope::System, self.system_bytes);
        loop {
            let is_last = !matches!(
                stopped.recv_timeout(PERIOD),
                Err(mpsc::RecvTimeoutError::Timeout)
            );
            add(&mut tree, process.and_then(tree_bytes), clock);
            add(&mut system, system_bytes(&self.root), clock);
            if is_last {
                break;
            }
        }
        [tree, system]
            .into_iter()
            .flatten()
            .filter(|trace| !trace.samples.is_empty())
            .collect()
    }
}

impl Watch {
    /// Reads once more and ends.
    pub(super) fn stop(self) -> Vec<MemoryTrace> {
        // A thread that is gone has its result ready.
        let _gone = self.stop.send(());
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the thread that reads memory panicked");
            Vec::new()
        })
    }
}

fn trace(scope: MemoryScope, baseline: Option<u64>) -> Option<MemoryTrace> {
    baseline.map(|baseline_bytes| MemoryTrace {
        scope,
        baseline_bytes,
        samples: Vec::new(),
    })
}

fn add(trace: &mut Option<MemoryTrace>, bytes: Option<u64>, clock: &dyn Clock) {
    if let (Some(trace), Some(bytes)) = (trace, bytes) {
        trace.samples.push((clock.now(), bytes));
    }
}

/// MemTotal − MemAvailable.
fn system_bytes(root: &HostRoot) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("/proc/meminfo")).ok()?;
    let field = |name| kib_of(&meminfo, name).map(|kib| kib * 1024);
    Some(field("MemTotal:")?.saturating_sub(field("MemAvailable:")?))
}

/// Σ proportional set size of a process and everything it started.
fn tree_bytes(process: u32) -> Option<u64> {
    let own = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let children: u64 = children_of(process)
        .into_iter()
        .filter_map(tree_bytes)
        .sum();
    Some(kib_of(&own, "Pss:")? * 1024 + children)
}

fn children_of(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    threads
        .into_iter()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// `Name:   123 kB` of a file of /proc.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn our_own_process_has_memory_and_a_short_watch_still_sees_it() {
        let baseline = Baseline::take(&HostRoot::system());
        let watch = baseline.watch(Some(std::process::id()), Arc::new(SystemClock::start()));
        let traces = watch.stop();
        let scopes: Vec<MemoryScope> = traces.iter().map(|trace| trace.scope).collect();
        assert_eq!(scopes, [MemoryScope::ProcessTree, MemoryScope::System]);
        assert!(traces.iter().all(|trace| trace.samples[0].1 > 1_000_000));
    }

    #[test]
    fn a_process_that_is_gone_has_no_memory_instead_of_none() {
        let baseline = Baseline::take(&HostRoot::system());
        let watch = baseline.watch(Some(u32::MAX), Arc::new(SystemClock::start()));
        let scopes: Vec<MemoryScope> = watch.stop().iter().map(|trace| trace.scope).collect();
        assert_eq!(scopes, [MemoryScope::System]);
    }
}
