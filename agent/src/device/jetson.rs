//! Jetson: which module, which release, which power mode.

use serde::Serialize;

use super::{HostRoot, Unlearnt};

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

/// What `nvpmodel -q` prints, between warnings and errors.
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

    /// The JetPack of this release, where NVIDIA's table has it.
    pub fn jetpack(&self) -> Option<&'static str> {
        JETPACKS
            .iter()
            .find(|(l4t, _)| *l4t == self.l4t)
            .map(|(_, jetpack)| *jetpack)
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

/// The module's part number: the board's name is that of the developer kit.
pub(super) fn module(root: &HostRoot) -> Result<String, Unlearnt> {
    let names = compatible(root)?;
    let part = names.iter().find_map(|name| {
        let name = name.strip_prefix("nvidia,")?;
        let part = name.rsplit('+').next()?;
        MODULES
            .iter()
            .any(|module| part.starts_with(module))
            .then(|| part.to_owned())
    });
    part.ok_or(lacks(COMPATIBLE, "known module part number"))
}

/// The module's name in the shop, by its part number.
pub(super) fn module_variant(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    let part = module(root)?;
    let known = VARIANTS.iter().find(|(number, _)| part.starts_with(number));
    known
        .map(|(_, variant)| *variant)
        .ok_or(lacks(COMPATIBLE, "module whose variant is known"))
}

pub(super) fn l4t(root: &HostRoot) -> Result<String, Unlearnt> {
    release(root).map(|release| release.l4t)
}

pub(super) fn jetpack(root: &HostRoot) -> Result<&'static str, Unlearnt> {
    release(root)?
        .jetpack()
        .ok_or(lacks(RELEASE, "release with a known JetPack"))
}

pub(super) fn power_mode_id(root: &HostRoot) -> Result<u32, Unlearnt> {
    let text = root.read(MODE_STATE)?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("pmode:")?.parse().ok())
        .ok_or(lacks(MODE_STATE, "pmode"))
}

pub(super) fn power_mode_name(root: &HostRoot) -> Result<String, Unlearnt> {
    let id = power_mode_id(root)?;
    let text = root.read(MODE_TABLE)?;
    text.lines()
        .find_map(|line| mode_name(line, id))
        .ok_or(lacks(MODE_TABLE, "name for the mode in force"))
}

/// `< POWER_MODEL ID=0 NAME=MAXN >`.
fn mode_name(line: &str, id: u32) -> Option<String> {
    let model = line
        .trim()
        .strip_prefix('<')?
        .trim()
        .strip_prefix("POWER_MODEL")?;
    let field = |name: &str| {
        let mut words = model.split_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    (field("ID")?.parse() == Ok(id)).then(|| field("NAME").map(str::to_owned))?
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
const MODE_STATE: &str = "/var/lib/nvpmodel/status";
const MODE_TABLE: &str = "/etc/nvpmodel.conf";

/// Part numbers of modules; carriers have others.
const MODULES: [&str; 9] = [
    "p3834", "p3701", "p3767", "p3668", "p2888", "p3310", "p3489", "p3448", "p2180",
];

/// Part number to variant, as jetson-stats lists them; the T4000's number is not public.
const VARIANTS: [(&str, &str); 18] = [
    ("p3834-0008", "Jetson T5000 (AGX Thor developer kit)"),
    ("p3701-0000", "Jetson AGX Orin (developer kit)"),
    ("p3701-0002", "Jetson IGX Orin"),
    ("p3701-0004", "Jetson AGX Orin 32GB"),
    ("p3701-0005", "Jetson AGX Orin 64GB"),
    ("p3701-0008", "Jetson AGX Orin Industrial"),
    ("p3767-0000", "Jetson Orin NX 16GB"),
    ("p3767-0001", "Jetson Orin NX 8GB"),
    ("p3767-0003", "Jetson Orin Nano 8GB"),
    ("p3767-0004", "Jetson Orin Nano 4GB"),
    ("p3767-0005", "Jetson Orin Nano 8GB (developer kit)"),
    ("p3668", "Jetson Xavier NX"),
    ("p2888", "Jetson AGX Xavier"),
    ("p3489", "Jetson TX2i or 4GB"),
    ("p3310", "Jetson TX2"),
    ("p2180", "Jetson TX1"),
    ("p3448-0003", "Jetson Nano 2GB"),
    ("p3448", "Jetson Nano"),
];

/// Jetson Linux to JetPack, as NVIDIA and jetson-stats list them.
const JETPACKS: [(&str, &str); 22] = [
    ("39.2.0", "7.2"),
    ("39.0.0", "7.2 EA"),
    ("38.4.0", "7.1"),
    ("38.2.0", "7.0"),
    ("38.2.1", "7.0"),
    ("38.2.2", "7.0"),
    ("36.5.0", "6.2.2"),
    ("36.4.7", "6.2.1"),
    ("36.4.4", "6.2.1"),
    ("36.4.3", "6.2"),
    ("36.4.0", "6.1"),
    ("36.3.0", "6.0"),
    ("35.6.4", "5.1.6"),
    ("35.6.3", "5.1.5"),
    ("35.6.2", "5.1.5"),
    ("35.6.1", "5.1.5"),
    ("35.6.0", "5.1.4"),
    ("35.5.0", "5.1.3"),
    ("35.4.1", "5.1.2"),
    ("35.3.1", "5.1.1"),
    ("35.2.1", "5.1"),
    ("32.7.1", "4.6.1"),
];

#[cfg(test)]
mod tests {
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
    fn a_mode_is_found_by_number_not_by_place() {
        let line = "< POWER_MODEL ID=2 NAME=MODE_30W >";
        assert_eq!(mode_name(line, 2).as_deref(), Some("MODE_30W"));
        assert_eq!(mode_name(line, 0), None);
        assert_eq!(mode_name("< PM_CONFIG DEFAULT=2 >", 2), None);
    }

    #[test]
    fn a_release_has_its_jetpack_or_none() {
        let text = "# R36 (release), REVISION: 4.7, GCID: 1, BOARD: generic, EABI: aarch64";
        let release = Release::parse(text).unwrap();
        assert_eq!(
            (&*release.l4t, release.jetpack()),
            ("36.4.7", Some("6.2.1"))
        );
        let text = text.replace("4.7", "99.9");
        assert_eq!(Release::parse(&text).unwrap().jetpack(), None);
        assert_eq!(Release::parse("# Rxx (release)"), None);
    }
}
