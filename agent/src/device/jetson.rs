//! Jetson: which module, which release, and how a power mode is written.

use std::fmt;

use serde::Serialize;

use super::{HostRoot, Unlearnt, memory, packages};

/// What `/etc/nv_tegra_release` says in its line of release, the first.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Release {
    /// Jetson Linux: `36.4.7`.
    pub l4t: String,
    /// NVIDIA's build number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcid: Option<String>,
    /// `t186ref` up to R35, `generic` from R36: says nothing of the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
}

/// A power mode, as `nvpmodel -q` prints it between warnings and errors.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PowerMode {
    /// Name, e.g. `MAXN`: a set of clock limits, not of watts.
    pub mode: String,
    /// Number; the order of numbers is no order of speed.
    pub id: u32,
}

impl Release {
    /// Reads the release file's text.
    pub fn parse(text: &str) -> Option<Self> {
        text.lines().find_map(Self::parse_line)
    }

    fn parse_line(line: &str) -> Option<Self> {
        let line = line.trim().trim_start_matches(['#', ' ']);
        let (major, _) = line.strip_prefix('R')?.split_once([' ', ','])?;
        let field = |name: &str| {
            let fields = line.split(',').filter_map(|part| part.split_once(':'));
            let mut values = fields.filter(|(key, _)| key.trim() == name);
            values.next().map(|(_, value)| value.trim().to_owned())
        };
        major.parse::<u32>().ok()?;
        Some(Self {
            l4t: format!("{major}.{}", field("REVISION")?),
            gcid: field("GCID"),
            board: field("BOARD"),
        })
    }
}

impl PowerMode {
    /// Reads the command's output: errors may stand before, after and between its two lines.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let mode = lines.find_map(|line| line.strip_prefix("NV Power Mode:"))?;
        if mode.trim().is_empty() {
            return None;
        }
        let id = lines.find_map(|line| line.parse().ok())?;
        Some(Self {
            mode: mode.trim().to_owned(),
            id,
        })
    }
}

/// `MODE_30W (2)`: both are needed, names differ between boards and numbers between releases.
impl fmt::Display for PowerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.mode, self.id)
    }
}

/// The SoC's name in the device tree's list, also where its separators were lost: `tegra234`, and not the class `tegra23x`.
pub fn soc_of(compatible: &str) -> Option<String> {
    compatible.match_indices("tegra").find_map(|(start, name)| {
        let number = compatible.get(start + name.len()..)?.get(..3)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| format!("{name}{number}"))
    })
}

pub(super) fn compatible(root: &HostRoot) -> Result<Vec<String>, Unlearnt> {
    let text = root.read(COMPATIBLE)?;
    Ok(text.split('\0').map(str::to_owned).collect())
}

pub(super) fn soc(root: &HostRoot) -> Result<String, Unlearnt> {
    soc_of(&root.read(COMPATIBLE)?).ok_or(lacks(COMPATIBLE, "tegra SoC"))
}

/// The module's part number: the board's name is that of the developer kit. Where the list of names has none, as up to
/// JetPack 4, the device tree's source has it in its own: `tegra194-p2888-0001-p2822-0000.dts`.
pub(super) fn module(root: &HostRoot) -> Result<String, Unlearnt> {
    let names = compatible(root)?;
    let source = root.read("/proc/device-tree/nvidia,dtsfilename");
    let names = names.into_iter().chain(source);
    let part = names.filter_map(|name| part_number(&name)).next();
    part.ok_or(lacks(COMPATIBLE, "known module part number"))
}

/// `p3701-0005` of `nvidia,p3737-0000+p3701-0005`.
fn part_number(text: &str) -> Option<String> {
    MODULES.iter().find_map(|module| {
        let (start, _) = text.match_indices(module).next()?;
        let sku = text.get(start + module.len()..)?.strip_prefix('-')?;
        let digits = sku.bytes().take_while(u8::is_ascii_digit).count();
        Some(format!("{module}-{}", &sku[..digits]))
    })
}

/// The module's name in the shop: by its part number, if its memory agrees; without a known one by SoC and memory.
///
/// Why the memory is asked: the board's name is the developer kit's, and a device tree that was copied from another module
/// names that one's part number.
pub(super) fn module_variant(root: &HostRoot) -> Result<String, String> {
    let memory = memory_gb(root);
    let module = module(root);
    let known = module.as_ref().ok().and_then(|part| {
        let mut variants = VARIANTS.iter();
        variants.find(|(number, _, _)| part.starts_with(number))
    });
    let Some((number, variant, gb)) = known else {
        let by_memory = memory.ok().and_then(|gb| by_memory(&soc(root).ok()?, gb));
        let variant = by_memory.map(|variant| format!("{variant}, by its memory"));
        return variant.ok_or_else(|| match module {
            Ok(part) => format!("no variant of `{part}` is known"),
            Err(reason) => reason.to_string(),
        });
    };
    match memory {
        Ok(found) if *gb != 0 && found != *gb => Err(format!(
            "part number {number} is a {variant}, but the memory is that of a module with {found} GB"
        )),
        _ => Ok((*variant).to_owned()),
    }
}

fn by_memory(soc: &str, gb: u64) -> Option<&'static str> {
    let mut known = BY_MEMORY.iter();
    known
        .find(|(of, size, _)| (*of, *size) == (soc, gb))
        .map(|(_, _, variant)| *variant)
}

/// What the module was sold with: the firmware keeps some of it, so the next power of two.
fn memory_gb(root: &HostRoot) -> Result<u64, Unlearnt> {
    let bytes = memory::total_bytes(root)?;
    Ok(bytes.div_ceil(1 << 30).next_power_of_two())
}

/// By the release file; a system that was installed without it has the package.
pub(super) fn l4t(root: &HostRoot) -> Result<String, Unlearnt> {
    let reason = match release(root) {
        Ok(release) => return Ok(release.l4t),
        Err(reason) => reason,
    };
    installed(root, "nvidia-l4t-core", '-').ok_or(reason)
}

/// By the release, else by the package, which is often not installed.
pub(super) fn jetpack(root: &HostRoot) -> Result<String, Unlearnt> {
    match jetpack_of(&l4t(root)?) {
        Some(jetpack) => Ok(jetpack.to_owned()),
        None => installed(root, "nvidia-jetpack", '+')
            .ok_or(lacks(RELEASE, "release with a known JetPack")),
    }
}

/// The JetPack of a release, where NVIDIA's table has it.
fn jetpack_of(l4t: &str) -> Option<&'static str> {
    let mut known = JETPACKS.iter();
    known
        .find(|(number, _)| *number == l4t)
        .map(|(_, jetpack)| *jetpack)
}

/// `36.4.7` of `36.4.7-20250918154033`. Only a Jetson's packages are looked through: they are many.
fn installed(root: &HostRoot, package: &'static str, end: char) -> Option<String> {
    soc(root).ok()?;
    let version = packages::version(root, package).ok()?;
    Some(version.split(end).next()?.to_owned())
}

fn release(root: &HostRoot) -> Result<Release, Unlearnt> {
    Release::parse(&root.read(RELEASE)?).ok_or(lacks(RELEASE, "release line"))
}

fn lacks(path: &str, what: &'static str) -> Unlearnt {
    Unlearnt::Lacks {
        path: path.to_owned(),
        what,
    }
}

pub(super) const MODEL: &str = "/proc/device-tree/model";
const COMPATIBLE: &str = "/proc/device-tree/compatible";
const RELEASE: &str = "/etc/nv_tegra_release";

/// Part numbers of modules; carriers have others.
const MODULES: [&str; 10] = [
    "p3834", "p3701", "p3767", "p3668", "p2888", "p3636", "p3310", "p3489", "p3448", "p2180",
];

/// Part number, variant, and its memory in GB, as jetson-stats lists them; 0 where one number stands for several sizes.
const VARIANTS: [(&str, &str, u64); 30] = [
    ("p3834-0008", "Jetson T5000 (AGX Thor developer kit)", 128),
    ("p3701-0000", "Jetson AGX Orin (developer kit)", 0),
    ("p3701-0002", "Jetson IGX Orin", 64),
    ("p3701-0004", "Jetson AGX Orin 32GB", 32),
    ("p3701-0005", "Jetson AGX Orin 64GB", 64),
    ("p3701-0008", "Jetson AGX Orin Industrial", 64),
    ("p3767-0000", "Jetson Orin NX 16GB", 16),
    ("p3767-0001", "Jetson Orin NX 8GB", 8),
    ("p3767-0003", "Jetson Orin Nano 8GB", 8),
    ("p3767-0004", "Jetson Orin Nano 4GB", 4),
    ("p3767-0005", "Jetson Orin Nano 8GB (developer kit)", 8),
    ("p3668-0000", "Jetson Xavier NX (developer kit)", 8),
    ("p3668-0001", "Jetson Xavier NX 8GB", 8),
    ("p3668-0003", "Jetson Xavier NX 16GB", 16),
    ("p3668", "Jetson Xavier NX", 0),
    ("p2888-0001", "Jetson AGX Xavier 16GB", 16),
    ("p2888-0003", "Jetson AGX Xavier 32GB", 32),
    ("p2888-0004", "Jetson AGX Xavier 32GB", 32),
    ("p2888-0005", "Jetson AGX Xavier 64GB", 64),
    ("p2888-0006", "Jetson AGX Xavier 8GB", 8),
    ("p2888-0008", "Jetson AGX Xavier Industrial", 32),
    ("p2888", "Jetson AGX Xavier", 0),
    ("p3636", "Jetson TX2 NX", 4),
    ("p3489-0888", "Jetson TX2 4GB", 4),
    ("p3489", "Jetson TX2i", 8),
    ("p3310", "Jetson TX2", 8),
    ("p2180", "Jetson TX1", 4),
    ("p3448-0003", "Jetson Nano 2GB", 2),
    ("p3448-0002", "Jetson Nano (module)", 4),
    ("p3448", "Jetson Nano", 4),
];

/// SoC and memory in GB that only one variant has; the T4000's part number is not public.
const BY_MEMORY: [(&str, u64, &str); 7] = [
    ("tegra264", 128, "Jetson T5000"),
    ("tegra264", 64, "Jetson T4000"),
    ("tegra234", 64, "Jetson AGX Orin 64GB"),
    ("tegra234", 32, "Jetson AGX Orin 32GB"),
    ("tegra234", 16, "Jetson Orin NX 16GB"),
    ("tegra234", 4, "Jetson Orin Nano 4GB"),
    ("tegra194", 64, "Jetson AGX Xavier 64GB"),
];

/// Jetson Linux to JetPack, as NVIDIA and jetson-stats list them.
const JETPACKS: [(&str, &str); 53] = [
    ("39.2.0", "7.2"),
    ("39.0.0", "7.2 EA"),
    ("38.4.0", "7.1"),
    ("38.2.2", "7.0"),
    ("38.2.1", "7.0"),
    ("38.2.0", "7.0"),
    ("38.1.0", "7.0 EA"),
    ("36.5.0", "6.2.2"),
    ("36.4.7", "6.2.1"),
    ("36.4.4", "6.2.1"),
    ("36.4.3", "6.2"),
    ("36.4.2", "6.1 (rev. 1)"),
    ("36.4.0", "6.1"),
    ("36.3.0", "6.0"),
    ("36.2.0", "6.0 DP"),
    ("36.0.0", "6.0 EA"),
    ("35.6.4", "5.1.6"),
    ("35.6.3", "5.1.5"),
    ("35.6.2", "5.1.5"),
    ("35.6.1", "5.1.5"),
    ("35.6.0", "5.1.4"),
    ("35.5.0", "5.1.3"),
    ("35.4.1", "5.1.2"),
    ("35.3.1", "5.1.1"),
    ("35.3.0", "5.1.1 PRE"),
    ("35.2.1", "5.1"),
    ("35.1.0", "5.0.2"),
    ("34.1.1", "5.0.1 DP"),
    ("34.1.0", "5.0 DP"),
    ("34.0.1", "5.0 PRE-DP"),
    ("32.7.6", "4.6.6"),
    ("32.7.5", "4.6.5"),
    ("32.7.4", "4.6.4"),
    ("32.7.3", "4.6.3"),
    ("32.7.2", "4.6.2"),
    ("32.7.1", "4.6.1"),
    ("32.6.1", "4.6"),
    ("32.5.2", "4.5.1"),
    ("32.5.1", "4.5.1"),
    ("32.5.0", "4.5"),
    ("32.5", "4.5"),
    ("32.4.4", "4.4.1"),
    ("32.4.3", "4.4"),
    ("32.4.2", "4.4 DP"),
    ("32.3.1", "4.3"),
    ("32.2.3", "4.2.3"),
    ("32.2.1", "4.2.2"),
    ("32.2.0", "4.2.1"),
    ("32.2", "4.2.1"),
    ("32.1.0", "4.2"),
    ("32.1", "4.2"),
    ("31.1.0", "4.1.1"),
    ("31.1", "4.1.1"),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_error_between_name_and_number_is_stepped_over() {
        let text = "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN_SUPER\nNVPM ERROR: Error opening cpu6\n0\n";
        let want = PowerMode {
            mode: "MAXN_SUPER".to_owned(),
            id: 0,
        };
        assert_eq!(PowerMode::parse(text), Some(want));
        assert_eq!(PowerMode::parse("NV Power Mode: 15W\n"), None);
    }

    #[test]
    fn a_release_has_its_jetpack_or_none() {
        let text = "# R36 (release), REVISION: 4.7, GCID: 1, BOARD: generic, EABI: aarch64";
        let release = Release::parse(text).unwrap();
        assert_eq!(
            (&*release.l4t, jetpack_of(&release.l4t)),
            ("36.4.7", Some("6.2.1"))
        );
        let text = text.replace("4.7", "99.9");
        assert_eq!(jetpack_of(&Release::parse(&text).unwrap().l4t), None);
        assert_eq!(Release::parse("# Rxx (release)"), None);
    }

    #[test]
    fn every_jetpack_from_4_to_7_is_known() {
        for (l4t, want) in [
            ("32.1.0", "4.2"),
            ("32.7.6", "4.6.6"),
            ("34.1.1", "5.0.1 DP"),
            ("35.6.4", "5.1.6"),
            ("36.5.0", "6.2.2"),
            ("39.2.0", "7.2"),
        ] {
            assert_eq!(jetpack_of(l4t), Some(want), "{l4t}");
        }
    }

    /// A device tree with these names, and so much memory.
    fn host(compatible: &str, memory_kb: u64) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("proc/device-tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("compatible"), compatible.replace(' ', "\0")).unwrap();
        let memory = format!("MemTotal: {memory_kb} kB\n");
        fs::write(folder.path().join("proc/meminfo"), memory).unwrap();
        let root = HostRoot::at(folder.path());
        (folder, root)
    }

    #[track_caller]
    fn check_variant(compatible: &str, memory_kb: u64, want: Result<&str, &str>) {
        let (_folder, root) = host(compatible, memory_kb);
        let variant = module_variant(&root);
        match want {
            Ok(want) => assert_eq!(variant.as_deref(), Ok(want)),
            Err(words) => assert!(variant.clone().unwrap_err().contains(words), "{variant:?}"),
        }
    }

    #[test]
    fn a_part_number_counts_where_the_memory_agrees() {
        let nano = "nvidia,p3768-0000+p3767-0003 nvidia,p3767-0003 nvidia,tegra234";
        check_variant(nano, 7_802_880, Ok("Jetson Orin Nano 8GB"));
        let nx = nano.replace("0003", "0000");
        check_variant(&nx, 15_990_000, Ok("Jetson Orin NX 16GB"));
        check_variant(&nx, 7_802_880, Err("a module with 8 GB"));
    }

    #[test]
    fn a_module_without_a_public_part_number_is_told_by_soc_and_memory_or_not_at_all() {
        let t4000 = "nvidia,p4071-0000+p3834-9999 nvidia,p3834-9999 nvidia,tegra264";
        check_variant(t4000, 64_000_000, Ok("Jetson T4000, by its memory"));
        check_variant(
            "custom,carrier nvidia,tegra234",
            15_990_000,
            Ok("Jetson Orin NX 16GB, by its memory"),
        );
        check_variant(
            "custom,carrier nvidia,tegra234",
            7_802_880,
            Err("part number"),
        );
        check_variant(
            "raspberrypi,5-model-b brcm,bcm2712",
            7_802_880,
            Err("part number"),
        );
    }

    #[test]
    fn the_module_is_found_behind_its_carrier_and_in_the_source_of_the_device_tree() {
        for (text, want) in [
            ("nvidia,p3737-0000+p3701-0005", Some("p3701-0005")),
            (
                "/dvs/kernel-dts/tegra194-p2888-0001-p2822-0000.dts",
                Some("p2888-0001"),
            ),
            ("nvidia,p2972-0000", None),
            ("p3701", None),
        ] {
            assert_eq!(part_number(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn packages_stand_in_for_a_release_file_that_is_missing() {
        let (folder, root) = host("nvidia,p3767-0003 nvidia,tegra234", 7_802_880);
        assert!(l4t(&root).unwrap_err().to_string().contains(RELEASE));
        let status = folder.path().join("var/lib/dpkg");
        fs::create_dir_all(&status).unwrap();
        let text = "Package: nvidia-l4t-core\nStatus: install ok installed\nVersion: 99.1.2-20300101000000\n\n\
                    Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 9.1+b7\n";
        fs::write(status.join("status"), text).unwrap();
        assert_eq!(l4t(&root).unwrap(), "99.1.2");
        assert_eq!(jetpack(&root).unwrap(), "9.1");
    }
}
