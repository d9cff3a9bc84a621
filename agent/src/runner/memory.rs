//! Memory in use around and inside a measured window, seen from the process tree, from the system and from the GPU.

use std::{collections::BTreeSet, fs};

use tokwatt_domain::{
    run::{MemoryScope, MemoryTrace},
    time::Stamp,
};

use crate::device::{HostRoot, gauges::GpuMemory};

/// What was in use before the model was loaded.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    root: HostRoot,
    system_bytes: Option<u64>,
    gpu: Option<GpuMemory>,
}

/// What is in use now, each side where it can be seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InUse {
    tree_bytes: Option<u64>,
    system_bytes: Option<u64>,
    gpu: Option<GpuMemory>,
}

impl Baseline {
    /// Looks at the system now; no engine of ours is running. `gpu` is what is in use there, by whomever.
    pub(super) fn take(root: &HostRoot, gpu: Option<GpuMemory>) -> Self {
        Self {
            root: root.clone(),
            system_bytes: system_bytes(root),
            gpu,
        }
    }

    /// Looks at the engine's processes and at the system. Blocks its thread: proportional set sizes of a large model take
    /// milliseconds to add up.
    pub(super) fn look(&self, engine: Option<u32>, gpu: Option<GpuMemory>) -> InUse {
        InUse {
            tree_bytes: engine.and_then(tree_bytes),
            system_bytes: system_bytes(&self.root),
            gpu,
        }
    }

    /// One trace for each side that was seen.
    pub(super) fn traces(&self, looks: &[(Stamp, InUse)]) -> Vec<MemoryTrace> {
        let tree = trace(MemoryScope::ProcessTree, Some(0), looks, |used| {
            used.tree_bytes
        });
        let system = trace(MemoryScope::System, self.system_bytes, looks, |used| {
            used.system_bytes
        });
        [tree, system, self.gpu_trace(looks)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Of our processes if they were seen at all, else of everybody: the two are not one series.
    fn gpu_trace(&self, looks: &[(Stamp, InUse)]) -> Option<MemoryTrace> {
        let before = self.gpu.and_then(GpuMemory::of_everybody);
        let of_ours = |used: &InUse| used.gpu?.of_our_processes();
        let of_everybody = |used: &InUse| used.gpu?.of_everybody();
        trace(MemoryScope::Gpu, Some(0), looks, of_ours)
            .or_else(|| trace(MemoryScope::Gpu, before, looks, of_everybody))
    }
}

/// A side's trace; nothing if it was never seen, or not before.
fn trace(
    scope: MemoryScope,
    baseline: Option<u64>,
    looks: &[(Stamp, InUse)],
    of: impl Fn(&InUse) -> Option<u64>,
) -> Option<MemoryTrace> {
    let seen = looks.iter().filter_map(|(at, used)| Some((*at, of(used)?)));
    let samples: Vec<(Stamp, u64)> = seen.collect();
    let baseline_bytes = baseline.filter(|_| !samples.is_empty())?;
    Some(MemoryTrace {
        scope,
        baseline_bytes,
        samples,
    })
}

/// A process and everything it started, as far as it lives.
pub(super) fn tree(process: u32) -> BTreeSet<u32> {
    let mut tree = BTreeSet::new();
    let mut rest = vec![process];
    while let Some(process) = rest.pop() {
        // A number may be given anew while the tree is walked.
        if tree.insert(process) {
            rest.extend(children_of(process));
        }
    }
    tree
}

/// MemAvailable: what there is for a model.
pub(super) fn available_bytes(root: &HostRoot) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("/proc/meminfo")).ok()?;
    Some(kib_of(&meminfo, "MemAvailable:")? * 1024)
}

/// MemTotal − MemAvailable.
fn system_bytes(root: &HostRoot) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("/proc/meminfo")).ok()?;
    let field = |name| kib_of(&meminfo, name).map(|kib| kib * 1024);
    Some(field("MemTotal:")?.saturating_sub(field("MemAvailable:")?))
}

/// Σ proportional set size of a process and everything it started.
fn tree_bytes(process: u32) -> Option<u64> {
    let own = set_bytes(process)?;
    let children = tree(process).into_iter().filter(|child| *child != process);
    Some(own + children.filter_map(set_bytes).sum::<u64>())
}

fn set_bytes(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    Some(kib_of(&rollup, "Pss:")? * 1024)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(engine: u32) -> Vec<MemoryTrace> {
        let baseline = Baseline::take(&HostRoot::system(), None);
        baseline.traces(&[(Stamp(1), baseline.look(Some(engine), None))])
    }

    /// What becomes of memory of the GPU, before the load and at two looks: baseline and samples.
    #[track_caller]
    fn check_gpu(
        before: Option<GpuMemory>,
        looks: [Option<GpuMemory>; 2],
        want: Option<(u64, &[u64])>,
    ) {
        let baseline = Baseline::take(&HostRoot::system(), before);
        let looks = looks.map(|gpu| (Stamp(1), baseline.look(None, gpu)));
        let traces = baseline.traces(&looks);
        let gpu = traces.iter().find(|trace| trace.scope == MemoryScope::Gpu);
        let got = gpu.map(|trace| {
            let samples: Vec<u64> = trace.samples.iter().map(|sample| sample.1).collect();
            (trace.baseline_bytes, samples)
        });
        assert_eq!(
            got,
            want.map(|(baseline, samples)| (baseline, samples.to_vec()))
        );
    }

    #[test]
    fn our_memory_on_a_gpu_begins_at_nothing_and_everybodys_at_what_was_there() {
        let (ours, all) = (GpuMemory::OurProcesses, GpuMemory::Everybody);
        check_gpu(
            Some(all(5)),
            [Some(ours(8)), Some(ours(9))],
            Some((0, &[8, 9])),
        );
        check_gpu(
            Some(all(5)),
            [Some(all(8)), Some(all(9))],
            Some((5, &[8, 9])),
        );
        check_gpu(None, [Some(ours(8)), None], Some((0, &[8])));
        check_gpu(None, [None, None], None);
    }

    #[test]
    fn our_memory_and_everybodys_are_never_one_series() {
        let (ours, all) = (GpuMemory::OurProcesses(8), GpuMemory::Everybody(70));
        check_gpu(Some(all), [Some(all), Some(ours)], Some((0, &[8])));
        check_gpu(None, [Some(all), None], None);
    }

    #[test]
    fn our_own_process_has_memory_and_one_look_sees_it() {
        let traces = traces(std::process::id());
        let scopes: Vec<MemoryScope> = traces.iter().map(|trace| trace.scope).collect();
        assert_eq!(scopes, [MemoryScope::ProcessTree, MemoryScope::System]);
        assert!(traces.iter().all(|trace| trace.samples[0].1 > 1_000_000));
    }

    #[test]
    fn a_process_that_is_gone_has_no_memory_instead_of_none() {
        let scopes: Vec<MemoryScope> = traces(u32::MAX).iter().map(|trace| trace.scope).collect();
        assert_eq!(scopes, [MemoryScope::System]);
    }

    #[test]
    fn a_tree_has_its_root_and_what_that_started() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let tree = tree(std::process::id());
        assert!(tree.contains(&std::process::id()) && tree.contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
