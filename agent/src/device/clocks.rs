//! Clocks of processor and GPU: who governs them, how high they may go, and whether they are held there.

use super::{HostRoot, Unlearnt};

/// Clusters of cores by their highest clock, `4 × 1984000 kHz + 4 × 2201600 kHz`.
pub(super) fn cpu_clusters(root: &HostRoot) -> Result<String, Unlearnt> {
    let mut clusters: Vec<(u64, usize)> = Vec::new();
    for policy in policies(root)? {
        let highest = number(root, &format!("{CPU_POLICIES}/{policy}/cpuinfo_max_freq"))?;
        let cores = root.read(&format!("{CPU_POLICIES}/{policy}/related_cpus"))?;
        let n = cores.split_whitespace().count();
        match clusters.iter_mut().find(|(clock, _)| *clock == highest) {
            Some((_, cores)) => *cores += n,
            None => clusters.push((highest, n)),
        }
    }
    clusters.sort_unstable();
    let words = clusters
        .iter()
        .map(|(clock, n)| format!("{n} × {clock} kHz"));
    Ok(words.collect::<Vec<_>>().join(" + "))
}

/// What sets the cores' clocks; several if clusters differ.
pub(super) fn cpu_governor(root: &HostRoot) -> Result<String, Unlearnt> {
    let governors = policies(root)?
        .into_iter()
        .map(|policy| root.read(&format!("{CPU_POLICIES}/{policy}/scaling_governor")));
    let mut governors = governors.collect::<Result<Vec<_>, _>>()?;
    governors.sort();
    governors.dedup();
    Ok(governors.join(" "))
}

/// What sets the GPU's clock.
pub(super) fn gpu_governor(root: &HostRoot) -> Result<String, Unlearnt> {
    root.read(&format!("{}/governor", gpu(root)?))
}

/// The highest clock that the GPU may take now.
pub(super) fn gpu_clock_max_hz(root: &HostRoot) -> Result<u64, Unlearnt> {
    number(root, &format!("{}/max_freq", gpu(root)?))
}

/// `held` if processor and GPU have no room between lowest and highest clock, which is what `jetson_clocks` does.
pub(super) fn jetson_clocks(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    let gpu = gpu(root)?;
    let mut is_held =
        number(root, &format!("{gpu}/min_freq"))? == number(root, &format!("{gpu}/max_freq"))?;
    for policy in policies(root)? {
        let policy = format!("{CPU_POLICIES}/{policy}");
        let lowest = number(root, &format!("{policy}/scaling_min_freq"))?;
        is_held &= lowest == number(root, &format!("{policy}/scaling_max_freq"))?;
    }
    Ok(if is_held { "held" } else { "free" })
}

pub(super) fn policies(root: &HostRoot) -> Result<Vec<String>, Unlearnt> {
    let mut policies = root.list(CPU_POLICIES);
    policies.retain(|name| name.starts_with("policy"));
    if policies.is_empty() {
        return Err(Unlearnt::Missing(format!("{CPU_POLICIES}/policy*")));
    }
    Ok(policies)
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

fn number(root: &HostRoot, path: &str) -> Result<u64, Unlearnt> {
    root.read(path)?.parse().map_err(|_| Unlearnt::Lacks {
        path: path.to_owned(),
        what: "number",
    })
}

pub(super) const CPU_POLICIES: &str = "/sys/devices/system/cpu/cpufreq";
const DEVFREQ: &str = "/sys/class/devfreq";
