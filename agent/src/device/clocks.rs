//! Clocks of processor, GPU and memory: who governs them, how high they may go, and whether they are held there.

use std::collections::{BTreeMap, BTreeSet};

use super::{HostRoot, Unlearnt, cpu};

/// Cores that have model and highest clock in common: `0-3 Cortex-A78AE 2201.6 MHz + 4-7 Cortex-A78AE 1984.0 MHz`. Where only
/// one of the two is to be had, by that one.
pub(super) fn cpu_clusters(root: &HostRoot) -> Result<String, Unlearnt> {
    let models = cpu::models(root).unwrap_or_default();
    let (clocks, reason) = match highest_clocks(root) {
        Ok(clocks) => (clocks, None),
        Err(reason) => (BTreeMap::new(), Some(reason)),
    };
    let cores: BTreeSet<usize> = models.keys().chain(clocks.keys()).copied().collect();
    let mut clusters: Vec<(String, Vec<usize>)> = Vec::new();
    for core in cores {
        let clock = clocks.get(&core).map(|khz| megahertz(*khz));
        let words: Vec<&str> = models
            .get(&core)
            .into_iter()
            .chain(&clock)
            .map(String::as_str)
            .collect();
        let words = words.join(" ");
        match clusters.iter_mut().find(|(like, _)| *like == words) {
            Some((_, cores)) => cores.push(core),
            None => clusters.push((words, vec![core])),
        }
    }
    if clusters.is_empty() {
        return Err(reason.unwrap_or(lacks(CPU_POLICIES, "cores")));
    }
    let words = clusters
        .iter()
        .map(|(like, cores)| format!("{} {like}", cpu::ranges(cores)));
    Ok(words.collect::<Vec<_>>().join(" + "))
}

/// What sets the cores' clocks; several if clusters differ.
pub(super) fn cpu_governor(root: &HostRoot) -> Result<String, Unlearnt> {
    let governors = policy_folders(root)?
        .into_iter()
        .map(|policy| root.read(&format!("{policy}/scaling_governor")));
    let mut governors = governors.collect::<Result<Vec<_>, _>>()?;
    governors.sort();
    governors.dedup();
    Ok(governors.join(" "))
}

/// The highest clock that any core may take now: a power mode lowers it.
pub(super) fn cpu_clock_max_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    let mut highest = 0;
    for policy in policy_folders(root)? {
        highest = highest.max(number(root, &format!("{policy}/scaling_max_freq"))?);
    }
    Ok(highest.saturating_mul(1000))
}

/// What sets the GPU's clock.
pub(super) fn gpu_governor(root: &HostRoot) -> Result<String, Unlearnt> {
    root.read(&format!("{}/governor", gpu(root)?))
}

/// The highest clock that the GPU may take now.
pub(super) fn gpu_clock_max_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    number(root, &format!("{}/max_freq", gpu(root)?))
}

/// The memory's clock as it was when the agent looked.
pub(super) fn memory_clock_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    number(root, &format!("{BANDWIDTH}/cur_freq")).or_else(|reason| in_debug(root, "rate", reason))
}

/// The highest clock that the memory may take now.
pub(super) fn memory_clock_max_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    number(root, &format!("{BANDWIDTH}/max_freq"))
        .or_else(|reason| in_debug(root, "max_rate", reason))
}

/// The power mode's limit on the memory's clock, 0 where it sets none.
pub(super) fn memory_clock_cap_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    let [new, old] = CAPS;
    number(root, new).or_else(|reason| number(root, old).map_err(|_| reason))
}

/// `held` if the memory's clock has no room, or was overridden: `FreqOverride=1` of `jetson_clocks --show`.
pub(super) fn memory_clock_lock(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    let is_held = match is_held(root, BANDWIDTH, ["min_freq", "max_freq"]) {
        Ok(is_held) => is_held,
        Err(reason) => in_debug(root, "mrq_rate_locked", reason)? != 0,
    };
    Ok(if is_held { "held" } else { "free" })
}

/// What `jetson_clocks` does: `held` if processor, GPU and, where that may be read, memory have no room between lowest and
/// highest clock, `free` if all have, else which of them are held.
pub(super) fn jetson_clocks(root: &HostRoot) -> Result<String, Unlearnt> {
    let mut is_cpu_held = true;
    for policy in policy_folders(root)? {
        is_cpu_held &= is_held(root, &policy, ["scaling_min_freq", "scaling_max_freq"])?;
    }
    let gpu = is_held(root, &gpu(root)?, ["min_freq", "max_freq"])?;
    let memory = memory_clock_lock(root).ok().map(|lock| lock == "held");
    let parts = [
        ("cpu", Some(is_cpu_held)),
        ("gpu", Some(gpu)),
        ("memory", memory),
    ];
    let known = parts
        .into_iter()
        .filter_map(|(part, is_held)| Some((part, is_held?)));
    let (held, free): (Vec<_>, Vec<_>) = known.partition(|(_, is_held)| *is_held);
    Ok(match (&held[..], &free[..]) {
        (_, []) => "held".to_owned(),
        ([], _) => "free".to_owned(),
        (held, _) => {
            let names: Vec<&str> = held.iter().map(|(part, _)| *part).collect();
            format!("held for {} only", names.join(" and "))
        }
    })
}

fn is_held(root: &HostRoot, folder: &str, [lowest, highest]: [&str; 2]) -> Result<bool, Unlearnt> {
    let lowest = number(root, &format!("{folder}/{lowest}"))?;
    Ok(lowest == number(root, &format!("{folder}/{highest}"))?)
}

/// Each core's highest clock in kHz, whatever the mode.
fn highest_clocks(root: &HostRoot) -> Result<BTreeMap<usize, u64>, Unlearnt> {
    let mut clocks = BTreeMap::new();
    for policy in policy_folders(root)? {
        let highest = number(root, &format!("{policy}/cpuinfo_max_freq"))?;
        let cores = root.read(&format!("{policy}/related_cpus"))?;
        let cores = cores
            .split_whitespace()
            .filter_map(|core| core.parse().ok());
        clocks.extend(cores.map(|core| (core, highest)));
    }
    Ok(clocks)
}

pub(super) fn policies(root: &HostRoot) -> Result<Vec<String>, Unlearnt> {
    let mut policies = root.list(CPU_POLICIES);
    policies.retain(|name| name.starts_with("policy"));
    if policies.is_empty() {
        return Err(Unlearnt::Missing(format!("{CPU_POLICIES}/policy*")));
    }
    Ok(policies)
}

fn policy_folders(root: &HostRoot) -> Result<Vec<String>, Unlearnt> {
    let policies = policies(root)?;
    let folders = policies
        .iter()
        .map(|policy| format!("{CPU_POLICIES}/{policy}"));
    Ok(folders.collect())
}

/// The GPU's folder: `17000000.ga10b`, `17000000.gpu`, `57000000.gpu`, on Thor `gpu-gpc-0`.
pub(super) fn gpu(root: &HostRoot) -> Result<String, Unlearnt> {
    let is_gpu = |name: &String| {
        name == "gpu-gpc-0"
            || [".gpu", ".ga10b", ".gv11b", ".gp10b"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    let found = root.list(DEVFREQ).into_iter().find(is_gpu);
    found
        .map(|name| format!("{DEVFREQ}/{name}"))
        .ok_or(Unlearnt::Missing(format!("{DEVFREQ}/*gpu*")))
}

/// What only root may read. Where the folder is not there either, the reason is that the file for everybody is missing.
fn in_debug(root: &HostRoot, file: &str, reason: Unlearnt) -> Result<u64, Unlearnt> {
    match number(root, &format!("{EMC}/{file}")) {
        Err(Unlearnt::Missing(_)) => Err(reason),
        found => found,
    }
}

fn number(root: &HostRoot, path: &str) -> Result<u64, Unlearnt> {
    root.read(path)?.parse().map_err(|_| lacks(path, "number"))
}

fn megahertz(khz: u64) -> String {
    format!("{}.{} MHz", khz / 1000, khz % 1000 / 100)
}

fn lacks(path: &str, what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: path.to_owned(),
        what,
    }
}

pub(super) const CPU_POLICIES: &str = "/sys/devices/system/cpu/cpufreq";
const DEVFREQ: &str = "/sys/class/devfreq";

/// Thor's memory.
const BANDWIDTH: &str = "/sys/class/devfreq/bwmgr";

/// Where nvpmodel writes the memory's limit, by age of the kernel.
const CAPS: [&str; 2] = [
    "/sys/kernel/nvpmodel_clk_cap/emc",
    "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap",
];

/// Xavier's and Orin's memory.
const EMC: &str = "/sys/kernel/debug/bpmp/debug/clk/emc";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = HostRoot::at(folder.path());
        (folder, root)
    }

    /// Lowest clocks of processor, GPU and, if there is one, memory; the highest is 9 for all.
    #[track_caller]
    fn check(cpu: &str, gpu: &str, memory: Option<&str>, want: &str) {
        let policy = format!("{CPU_POLICIES}/policy0");
        let mut files = vec![
            (format!("{policy}/scaling_min_freq"), cpu),
            (format!("{policy}/scaling_max_freq"), "9"),
            (format!("{DEVFREQ}/gpu-gpc-0/min_freq"), gpu),
            (format!("{DEVFREQ}/gpu-gpc-0/max_freq"), "9"),
        ];
        if let Some(lowest) = memory {
            files.push((format!("{BANDWIDTH}/min_freq"), lowest));
            files.push((format!("{BANDWIDTH}/max_freq"), "9"));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, *text)).collect();
        let (_folder, root) = host(&files);
        assert_eq!(jetson_clocks(&root).unwrap(), want);
    }

    #[test]
    fn clocks_are_held_where_lowest_is_highest() {
        check("9", "9", None, "held");
        check("9", "9", Some("9"), "held");
        check("9", "9", Some("1"), "held for cpu and gpu only");
        check("1", "9", None, "held for gpu only");
        check("1", "1", Some("1"), "free");
    }

    #[test]
    fn an_overridden_memory_clock_is_held_and_one_that_nobody_shows_is_unknown() {
        let path = |file: &str| format!("{EMC}/{file}");
        let (locked, rate) = (path("mrq_rate_locked"), path("rate"));
        let (_folder, root) = host(&[(&locked, "1"), (&rate, "3199000000")]);
        assert_eq!(memory_clock_lock(&root).unwrap(), "held");
        assert_eq!(memory_clock_hz(&root).unwrap(), 3_199_000_000);
        let (_folder, root) = host(&[]);
        let reason = memory_clock_lock(&root).unwrap_err().to_string();
        assert_eq!(reason, "no file `/sys/class/devfreq/bwmgr/min_freq`");
    }
}
