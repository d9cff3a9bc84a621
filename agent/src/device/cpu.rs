//! The processor: how many cores of which model, and the instructions that matter to inference.

use std::collections::{BTreeMap, BTreeSet};

use super::{HostRoot, Unlearnt};

/// Cores the kernel knows of, on or off.
pub(super) fn count(root: &HostRoot) -> Result<usize, Unlearnt> {
    const PRESENT: &str = "/sys/devices/system/cpu/present";
    let text = root.read(PRESENT)?;
    text.split(',')
        .map(range_length)
        .sum::<Option<usize>>()
        .ok_or(Unlearnt::Lacks {
            path: PRESENT.to_owned(),
            what: "list of cores",
        })
}

/// Names of the cores' models with how many there are of each, if there are several.
pub(super) fn model(root: &HostRoot) -> Result<String, Unlearnt> {
    let text = root.read(CPUINFO)?;
    let mut models: BTreeMap<String, usize> = BTreeMap::new();
    for model in text.split("\n\n").filter_map(core_model) {
        *models.entry(model).or_default() += 1;
    }
    let several = models.len() > 1;
    let names: Vec<String> = models
        .into_iter()
        .map(|(name, n)| {
            if several {
                format!("{n} × {name}")
            } else {
                name
            }
        })
        .collect();
    if names.is_empty() {
        return Err(lacks("processor model"));
    }
    Ok(names.join(" + "))
}

/// The model of each core by its number; those that are off are not there.
pub(super) fn models(root: &HostRoot) -> Result<BTreeMap<usize, String>, Unlearnt> {
    let text = root.read(CPUINFO)?;
    let cores = text.split("\n\n");
    let models = cores.filter_map(|core| {
        let number = field(core, "processor")?.parse().ok()?;
        Some((number, core_model(core)?))
    });
    Ok(models.collect())
}

/// `0-4,10-14` of sorted numbers.
pub(super) fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|one, next| one + 1 == *next);
    let words = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    });
    words.collect::<Vec<_>>().join(",")
}

/// Those of [`FEATURES`] that all cores have.
pub(super) fn features(root: &HostRoot) -> Result<String, Unlearnt> {
    let text = root.read(CPUINFO)?;
    let sets = text
        .split("\n\n")
        .filter_map(|core| field(core, "flags").or_else(|| field(core, "Features")))
        .map(|list| list.split_whitespace().collect::<BTreeSet<_>>());
    let common = sets.reduce(|one, other| &one & &other);
    let common = common.ok_or(lacks("processor features"))?;
    let known = FEATURES.into_iter().filter(|name| common.contains(name));
    Ok(known.collect::<Vec<_>>().join(" "))
}

/// `0-13` is 14, `5` is 1.
fn range_length(range: &str) -> Option<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

fn core_model(core: &str) -> Option<String> {
    if let Some(name) = field(core, "model name") {
        return Some(name.to_owned());
    }
    let implementer = field(core, "CPU implementer")?;
    let part = field(core, "CPU part")?;
    let known = ARM_CORES
        .iter()
        .find(|(maker, number, _)| (*maker, *number) == (implementer, part));
    Some(match known {
        Some((_, _, name)) => (*name).to_owned(),
        None => format!("implementer {implementer} part {part}"),
    })
}

fn field<'a>(core: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = core.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn lacks(what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: CPUINFO.to_owned(),
        what,
    }
}

const CPUINFO: &str = "/proc/cpuinfo";

/// Implementer, part and name of the cores of Jetson and GB10, as the kernel's table has them.
const ARM_CORES: [(&str, &str, &str); 9] = [
    ("0x41", "0xd03", "Cortex-A53"),
    ("0x41", "0xd07", "Cortex-A57"),
    ("0x41", "0xd42", "Cortex-A78AE"),
    ("0x41", "0xd83", "Neoverse-V3AE"),
    ("0x41", "0xd84", "Neoverse-V3"),
    ("0x41", "0xd85", "Cortex-X925"),
    ("0x41", "0xd87", "Cortex-A725"),
    ("0x4e", "0x003", "Denver 2"),
    ("0x4e", "0x004", "Carmel"),
];

/// Instructions that an inference engine picks its kernels by.
const FEATURES: [&str; 25] = [
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "bmi2",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "fphp",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host(cpuinfo: &str) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("proc")).unwrap();
        fs::write(folder.path().join("proc/cpuinfo"), cpuinfo).unwrap();
        let root = HostRoot::at(folder.path());
        (folder, root)
    }

    #[test]
    fn two_kinds_of_cores_are_counted_and_share_what_both_can() {
        let core = |part: &str, features: &str| {
            format!(
                "processor\t: 0\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
            )
        };
        let text = core("0xd87", "fp asimd i8mm")
            + &core("0xd87", "asimd i8mm")
            + &core("0xd85", "asimd sve");
        let (_folder, root) = host(&text);
        assert_eq!(model(&root).unwrap(), "2 × Cortex-A725 + 1 × Cortex-X925");
        assert_eq!(features(&root).unwrap(), "asimd");
    }

    #[test]
    fn an_unknown_core_is_named_by_its_number() {
        let (_folder, root) = host("CPU implementer : 0x99\nCPU part : 0x001\n");
        assert_eq!(model(&root).unwrap(), "implementer 0x99 part 0x001");
        assert!(features(&root).is_err());
    }

    #[test]
    fn neighbouring_cores_are_one_range() {
        for (cores, want) in [
            (&[0, 1, 2, 3, 4, 10, 11][..], "0-4,10-11"),
            (&[5], "5"),
            (&[1, 3, 5], "1,3,5"),
            (&[], ""),
        ] {
            assert_eq!(ranges(cores), want);
        }
    }

    #[test]
    fn a_list_of_ranges_is_counted() {
        for (text, want) in [
            ("0-13", Some(14)),
            ("5", Some(1)),
            ("3-1", None),
            ("x", None),
        ] {
            assert_eq!(range_length(text), want, "{text}");
        }
    }
}
