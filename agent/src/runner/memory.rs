//! Memory in use around and inside a measured window, seen from the process tree and from the system.

use std::{collections::BTreeSet, fs};

use tokwatt_domain::{
    run::{MemoryScope, MemoryTrace},
    time::Stamp,
};

use crate::device::HostRoot;

/// What was in use before the model was loaded.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    root: HostRoot,
    system_bytes: Option<u64>,
}

/// What is in use now, each side where it can be seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InUse {
    tree_bytes: Option<u64>,
    system_bytes: Option<u64>,
}

impl Baseline {
    /// Looks at the system now; no engine of ours is running.
    pub(super) fn take(root: &HostRoot) -> Self {
        Self {
            root: root.clone(),
            system_bytes: system_bytes(root),
        }
    }

    /// Looks at the engine's processes and at the system. Blocks its thread: proportional set sizes of a large model take
    /// milliseconds to add up.
    pub(super) fn look(&self, engine: Option<u32>) -> InUse {
        InUse {
            tree_bytes: engine.and_then(tree_bytes),
            system_bytes: system_bytes(&self.root),
        }
    }

    /// One trace for each side that was seen.
    pub(super) fn traces(&self, looks: &[(Stamp, InUse)]) -> Vec<MemoryTrace> {
        let seen = |of: fn(&InUse) -> Option<u64>| {
            let samples = looks.iter().filter_map(|(at, used)| Some((*at, of(used)?)));
            samples.collect::<Vec<_>>()
        };
        let tree = seen(|used| used.tree_bytes);
        let system = seen(|used| used.system_bytes);
        [
            trace(MemoryScope::ProcessTree, Some(0), tree),
            trace(MemoryScope::System, self.system_bytes, system),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn trace(
    scope: MemoryScope,
    baseline: Option<u64>,
    samples: Vec<(Stamp, u64)>,
) -> Option<MemoryTrace> {
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
        let baseline = Baseline::take(&HostRoot::system());
        baseline.traces(&[(Stamp(1), baseline.look(Some(engine)))])
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
