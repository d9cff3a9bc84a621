//! `probe`: what this device is, and what could not be learnt and why.

use std::{collections::BTreeMap, io::Write};

use clap::Args;
use tokwatt_domain::device::DeviceProfile;

use super::{Exit, Format, General, simulate::SimulateArgs};
use crate::{
    device::{HostRoot, probe as look},
    settings::Given,
};

#[derive(Args)]
pub(super) struct ProbeArgs {
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    simulate: SimulateArgs,
}

pub(super) fn probe(general: General, args: &ProbeArgs) -> anyhow::Result<Exit> {
    let settings = general.settings(Given::default())?;
    let root = HostRoot::at(&settings.host_root.value);
    let profile = match args.simulate.make()? {
        Some(simulated) => simulated.profile(),
        None => look(&root, &settings.data.value),
    };
    let mut out = std::io::stdout().lock();
    if args.format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &profile)?;
        writeln!(out)?;
    } else {
        write_table(&mut out, &profile)?;
    }
    Ok(Exit::Done)
}

fn write_table(out: &mut impl Write, profile: &DeviceProfile) -> anyhow::Result<()> {
    writeln!(out, "{:<24} {}", "device", profile.id)?;
    writeln!(out, "{:<24} {}", "kind", profile.kind)?;
    let mut rest = profile.facts.clone();
    for (title, names) in GROUPS {
        let named = names.iter().filter_map(|name| rest.remove_entry(*name));
        write_group(out, title, &named.collect::<Vec<_>>())?;
    }
    write_group(out, "other", &Vec::from_iter(rest))?;
    write_group(out, "not learnt", &in_order(&profile.reasons))
}

fn write_group(
    out: &mut impl Write,
    title: &str,
    lines: &[(String, String)],
) -> anyhow::Result<()> {
    if !lines.is_empty() {
        writeln!(out, "\n{title}")?;
    }
    for (name, value) in lines {
        let mut name = name.as_str();
        for line in wrapped(value) {
            writeln!(out, "  {name:<22} {line}")?;
            name = "";
        }
    }
    Ok(())
}

/// A value in lines that fit beside the names; a word that is too long has a line of its own.
fn wrapped(value: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in value.split(' ') {
        let line = lines.last_mut().expect("there is one from the start");
        let columns = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if columns <= VALUE_COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Reasons in the order in which the facts would stand.
fn in_order(reasons: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut rest = reasons.clone();
    let names = GROUPS.iter().flat_map(|(_, names)| *names);
    let mut ordered: Vec<_> = names.filter_map(|name| rest.remove_entry(*name)).collect();
    ordered.extend(rest);
    ordered
}

/// 100 columns less the names.
const VALUE_COLUMNS: usize = 75;

/// What people look for together; a fact that is in none is shown under `other`.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "board",
        &[
            "board_model",
            "board_vendor",
            "product_family",
            "mainboard",
            "firmware_version",
            "soc",
            "module",
            "module_variant",
            "compatible",
            "id_source",
        ],
    ),
    (
        "software",
        &[
            "os_name",
            "kernel",
            "kernel_preemption",
            "jetpack_release",
            "l4t_release",
            "dgx_release",
            "gpu_driver",
            "nvml_version",
            "cuda_driver_version",
            "cuda_version",
            "container",
            "is_root",
        ],
    ),
    (
        "processor",
        &[
            "cpu_model",
            "cpu_count",
            "cpu_online",
            "cpu_clusters",
            "cpu_clock_max_hz",
            "cpu_governor",
            "cpu_features",
        ],
    ),
    (
        "gpu",
        &[
            "gpu_name",
            "gpu_pci",
            "gpu_compute_capability",
            "gpu_memory_total_bytes",
            "mig_mode",
            "gpu_clock_max_hz",
            "gpu_governor",
        ],
    ),
    (
        "memory and storage",
        &[
            "memory_total_bytes",
            "memory_kind",
            "memory_clock_hz",
            "memory_clock_max_hz",
            "memory_clock_cap_hz",
            "memory_clock_lock",
            "memory_swap_bytes",
            "memory_swap_kind",
            "storage",
            "storage_kind",
            "storage_model",
            "storage_size_bytes",
        ],
    ),
    (
        "power",
        &[
            "power_mode_id",
            "power_mode",
            "jetson_clocks",
            "fan",
            "fan_rpm",
            "fan_profile",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_continued_below_itself() {
        let mut out = Vec::new();
        let value = "word ".repeat(40) + &"x".repeat(90);
        write_group(&mut out, "title", &[("fact".to_owned(), value.clone())]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert!(
            lines[0].starts_with("  fact                   word"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("                         word"),
            "{text}"
        );
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line.len() <= 100),
            "{text}"
        );
        let words = lines.join(" ").replacen("fact", "", 1);
        assert!(
            words.split_whitespace().eq(value.split_whitespace()),
            "{text}"
        );
    }
}
