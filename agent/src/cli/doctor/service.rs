//! Whether the installed service may read what this device has: its unit, with what was added to it, is held against the
//! nodes of the GPU and the files of power sensors that exist here.
//!
//! `doctor` is run by a person, who is root or in other groups and in no sandbox: that it finds a sensor does not say that the
//! service does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
};

use rustix::fs::major;

use super::Check;
use crate::device::HostRoot;

/// What of a unit decides about sensors.
#[derive(Debug, Default)]
struct Unit {
    /// The last value of each key; every value, in order, of those that are lists.
    values: BTreeMap<String, Vec<String>>,
}

/// A file that a measurement needs.
#[derive(Debug)]
struct Needed {
    path: String,
    /// A device's driver, by every name that the kernel has for its number; nothing for an ordinary file.
    drivers: Option<Vec<String>>,
    owner: u32,
    group: u32,
    mode: u32,
}

/// Whom the unit runs as.
struct Account {
    name: String,
    user: Option<u32>,
    groups: Vec<u32>,
}

/// Something that the service cannot read.
struct Hidden {
    what: String,
    remedy: Remedy,
}

/// In the order in which they are said.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Remedy {
    /// Of the unit, below `[Service]`.
    Line(String),
    /// That the service's user joins.
    Group { name: String, user: String },
    /// No group is to be joined for it.
    Rule,
}

pub(super) fn check(root: &HostRoot) -> Check {
    let Some(unit) = Unit::installed(root) else {
        return Check::ok("service", format!("no `{UNIT}` is installed"));
    };
    let needed = needed(root);
    let account = Account::of(&unit, root);
    let hidden: Vec<Hidden> = unit
        .hides_proc()
        .into_iter()
        .chain(needed.iter().filter_map(|file| {
            let by_unit = unit.hides(file);
            by_unit.or_else(|| account.as_ref()?.lacks(file, &group_name(root, file.group)))
        }))
        .collect();
    if hidden.is_empty() {
        let found = match needed.len() {
            0 => format!(
                "`{UNIT}` is installed, and no device or counter here could be hidden from it"
            ),
            number => {
                format!("`{UNIT}` may open all {number} devices and counters that sensors need")
            }
        };
        return Check::ok("service", found);
    }
    let (what, remedies): (Vec<String>, BTreeSet<Remedy>) = hidden
        .into_iter()
        .map(|hidden| (hidden.what, hidden.remedy))
        .unzip();
    Check::mend("service", what.join("; "), &advice(&remedies))
}

fn advice(remedies: &BTreeSet<Remedy>) -> String {
    let lines = remedies.iter().filter_map(|remedy| match remedy {
        Remedy::Line(line) => Some(line.as_str()),
        _ => None,
    });
    let lines: Vec<&str> = lines.collect();
    let mut steps = Vec::new();
    if !lines.is_empty() {
        steps.push(format!(
            "systemctl edit {UNIT}, below [Service]: {}",
            lines.join(", ")
        ));
    }
    steps.extend(remedies.iter().filter_map(|remedy| match remedy {
        Remedy::Line(_) => None,
        Remedy::Group { name, user } => Some(format!("usermod -aG {name} {user}")),
        Remedy::Rule => Some(RULE.to_owned()),
    }));
    steps.push(format!("systemctl restart {UNIT}"));
    steps.join("; ")
}

impl Unit {
    /// The file in force with its drop-ins, as systemd looks for them.
    fn installed(root: &HostRoot) -> Option<Self> {
        let mut files = FOLDERS.iter().map(|folder| format!("{folder}/{UNIT}"));
        let text = files.find_map(|path| root.read(&path).ok())?;
        // By name, and the same name in an earlier folder stands for all.
        let mut added = BTreeMap::new();
        for folder in FOLDERS
            .iter()
            .rev()
            .map(|folder| format!("{folder}/{UNIT}.d"))
        {
            let names = root.list(&folder).into_iter();
            added.extend(names.map(|name| (name.clone(), format!("{folder}/{name}"))));
        }
        let added = added.values().filter_map(|path| root.read(path).ok());
        Some(Self::parse(std::iter::once(text).chain(added)))
    }

    fn parse(files: impl IntoIterator<Item = String>) -> Self {
        let mut unit = Self::default();
        for file in files {
            for (key, value) in file.lines().filter_map(|line| line.trim().split_once('=')) {
                let values = unit.values.entry(key.to_owned()).or_default();
                // An empty value takes back what was said before.
                match value.trim() {
                    "" => values.clear(),
                    value if LISTS.contains(&key) => values.push(value.to_owned()),
                    value => *values = vec![value.to_owned()],
                }
            }
        }
        unit
    }

    fn hides_proc(&self) -> Option<Hidden> {
        (self.value("ProcSubset") == Some("pid")).then(|| Hidden {
            what: "ProcSubset=pid hides `/proc/meminfo` and `/proc/cpuinfo`".to_owned(),
            remedy: Remedy::Line("ProcSubset=all".to_owned()),
        })
    }

    fn hides(&self, file: &Needed) -> Option<Hidden> {
        let path = &file.path;
        if self
            .list("InaccessiblePaths")
            .any(|above| is_below(path, above))
        {
            return Some(Hidden {
                what: format!("InaccessiblePaths hides `{path}`"),
                remedy: Remedy::Line("InaccessiblePaths=".to_owned()),
            });
        }
        let drivers = file.drivers.as_ref()?;
        if self.is_on("PrivateDevices") {
            return Some(Hidden {
                what: format!("PrivateDevices hides `{path}`"),
                remedy: Remedy::Line("PrivateDevices=no".to_owned()),
            });
        }
        (self.has_device_list() && !self.allows(path, drivers)).then(|| Hidden {
            what: format!("`{path}` is not in DeviceAllow"),
            remedy: Remedy::Line(format!("DeviceAllow={path} rw")),
        })
    }

    /// Whether devices that are not listed are closed. ProtectClock lists one, which closes the others.
    fn has_device_list(&self) -> bool {
        match self.value("DevicePolicy") {
            Some("closed" | "strict") => true,
            _ => self.values("DeviceAllow").next().is_some() || self.is_on("ProtectClock"),
        }
    }

    fn allows(&self, path: &str, drivers: &[String]) -> bool {
        self.values("DeviceAllow").any(|rule| {
            let (whom, how) = rule
                .split_once(char::is_whitespace)
                .unwrap_or((rule, "rwm"));
            let is_meant = match whom.strip_prefix("char-") {
                Some(pattern) => drivers
                    .iter()
                    .any(|driver| matches(pattern.as_bytes(), driver.as_bytes())),
                None => whom == path,
            };
            is_meant && how.contains('r') && how.contains('w')
        })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values(key).last()
    }

    fn is_on(&self, key: &str) -> bool {
        matches!(self.value(key), Some("yes" | "true" | "on" | "1"))
    }

    fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.values
            .get(key)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The words of all values.
    fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        self.values(key).flat_map(str::split_whitespace)
    }
}

impl Account {
    /// `None`: root, who may read everything.
    fn of(unit: &Unit, root: &HostRoot) -> Option<Self> {
        let name = unit
            .value("User")
            .filter(|user| !["root", "0"].contains(user))?;
        let users = entries(root, "/etc/passwd");
        let groups = entries(root, "/etc/group");
        let user = users.iter().find(|fields| fields[0] == name);
        let number = |fields: &[String], at: usize| fields.get(at)?.parse::<u32>().ok();
        let named: Vec<&str> = unit
            .values("Group")
            .chain(unit.list("SupplementaryGroups"))
            .collect();
        let is_member = |fields: &Vec<String>| {
            let mut members = fields.get(3).map_or("", String::as_str).split(',');
            named.contains(&fields[0].as_str()) || members.any(|member| member == name)
        };
        let mut ids: Vec<u32> = groups
            .iter()
            .filter(|fields| is_member(fields))
            .filter_map(|fields| number(fields, 2))
            .collect();
        ids.extend(user.and_then(|fields| number(fields, 3)));
        Some(Self {
            name: name.to_owned(),
            user: user.and_then(|fields| number(fields, 2)),
            groups: ids,
        })
    }

    fn lacks(&self, file: &Needed, group: &str) -> Option<Hidden> {
        let wanted = if file.drivers.is_some() { 0o6 } else { 0o4 };
        let shift = match () {
            () if self.user == Some(file.owner) => 6,
            () if self.groups.contains(&file.group) => 3,
            () => 0,
        };
        if (file.mode >> shift) & wanted == wanted {
            return None;
        }
        let would_do = shift == 0 && (file.mode >> 3) & wanted == wanted && file.group != 0;
        let Self { name, .. } = self;
        let path = &file.path;
        Some(Hidden {
            what: format!(
                "`{name}` may not open `{path}` (group {group}, mode {:03o})",
                file.mode & 0o777
            ),
            remedy: if would_do {
                Remedy::Group {
                    name: group.to_owned(),
                    user: name.clone(),
                }
            } else {
                Remedy::Rule
            },
        })
    }
}

/// What there is on this device of what sensors and GPU need.
fn needed(root: &HostRoot) -> Vec<Needed> {
    let drivers = root.read("/proc/devices").unwrap_or_default();
    let nodes = NODES.iter().flat_map(|(folder, pattern)| {
        let names = root.list(folder).into_iter();
        names
            .filter(|name| matches(pattern.as_bytes(), name.as_bytes()))
            .map(move |name| format!("{folder}/{name}"))
    });
    let nodes = nodes.filter_map(|path| {
        let about = fs::metadata(root.join(&path)).ok()?;
        let is_device = about.file_type().is_char_device();
        is_device.then(|| Needed::new(path, Some(names_of(major(about.rdev()), &drivers)), &about))
    });
    let packages = root
        .list(POWERCAP)
        .into_iter()
        .filter(|domain| is_package(domain));
    let counters = packages.filter_map(|domain| {
        let path = format!("{POWERCAP}/{domain}/energy_uj");
        let about = fs::metadata(root.join(&path)).ok()?;
        Some(Needed::new(path, None, &about))
    });
    nodes.chain(counters).collect()
}

impl Needed {
    fn new(path: String, drivers: Option<Vec<String>>, about: &Metadata) -> Self {
        Self {
            path,
            drivers,
            owner: about.uid(),
            group: about.gid(),
            mode: about.mode(),
        }
    }
}

/// Every name that `/proc/devices` has for a character device's number.
fn names_of(number: u32, devices: &str) -> Vec<String> {
    devices
        .lines()
        .skip_while(|line| !line.starts_with("Character"))
        .take_while(|line| !line.starts_with("Block"))
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(found, _)| found.parse() == Ok(number))
        .map(|(_, name)| name.trim().to_owned())
        .collect()
}

/// `intel-rapl:0`, not its part `intel-rapl:0:0`.
fn is_package(domain: &str) -> bool {
    let number = domain.strip_prefix("intel-rapl:");
    number.is_some_and(|number| !number.contains(':'))
}

fn group_name(root: &HostRoot, number: u32) -> String {
    let groups = entries(root, "/etc/group");
    let group = groups
        .iter()
        .find(|fields| fields.get(2).is_some_and(|id| *id == number.to_string()));
    group.map_or_else(|| number.to_string(), |fields| fields[0].clone())
}

/// Lines of fields between colons.
fn entries(root: &HostRoot, path: &str) -> Vec<Vec<String>> {
    let text = root.read(path).unwrap_or_default();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect();
    text.lines().map(fields).collect()
}

/// A prefix of `-` or `+` says what to do if the path is not there.
fn is_below(path: &str, above: &str) -> bool {
    let above = above.trim_start_matches(['-', '+']).trim_end_matches('/');
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `*` stands for any text, `?` for one character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        ([b'?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        ([wanted, rest @ ..], [found, name @ ..]) => wanted == found && matches(rest, name),
        ([], []) => true,
        _ => false,
    }
}

const UNIT: &str = "tokwatt-agent.service";

/// Where units are, the first that has one wins.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Keys of which every value counts.
const LISTS: [&str; 3] = ["DeviceAllow", "InaccessiblePaths", "SupplementaryGroups"];

/// Nodes that NVML and the engine open: drivers for cards and Thor, then Orin's and Xavier's.
const NODES: [(&str, &str); 5] = [
    ("/dev", "nvidia*"),
    ("/dev", "nvmap"),
    ("/dev", "nvhost-*gpu"),
    ("/dev/nvgpu/igpu0", "*"),
    ("/dev/dri", "renderD*"),
];

const POWERCAP: &str = "/sys/class/powercap";

const RULE: &str = "let a udev rule give it to a group of the service's (the package has one for RAPL: udevadm trigger \
                    --action=change --subsystem-match=powercap)";

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../configs/systemd/tokwatt-agent.service");

    fn unit(added: &str) -> Unit {
        Unit::parse([SHIPPED.to_owned(), added.to_owned()])
    }

    fn node(path: &str, driver: &str) -> Needed {
        Needed {
            path: path.to_owned(),
            drivers: Some(vec![driver.to_owned()]),
            owner: 0,
            group: 44,
            mode: 0o660,
        }
    }

    #[track_caller]
    fn check_node(added: &str, path: &str, driver: &str, want: Option<&str>) {
        let hidden = unit(added).hides(&node(path, driver));
        assert_eq!(hidden.map(|hidden| hidden.what).as_deref(), want);
    }

    #[test]
    fn the_shipped_unit_hides_no_device_of_the_fleet() {
        for (path, driver) in [
            ("/dev/nvidiactl", "nvidia-frontend"),
            ("/dev/nvidia0", "nvidia"),
            ("/dev/nvidia7", "nvidia"),
            ("/dev/nvidia-uvm", "nvidia-uvm"),
            ("/dev/nvmap", "misc"),
            ("/dev/nvhost-ctrl-gpu", "nvhost"),
            ("/dev/nvgpu/igpu0/ctrl", "nvgpu-igpu0"),
            ("/dev/dri/renderD128", "drm"),
        ] {
            check_node("", path, driver, None);
        }
        assert!(unit("").hides_proc().is_none());
    }

    #[test]
    fn what_an_administrator_added_is_held_against_what_exists() {
        check_node(
            "",
            "/dev/nvsciipc",
            "misc",
            Some("`/dev/nvsciipc` is not in DeviceAllow"),
        );
        check_node(
            "DeviceAllow=/dev/nvsciipc rw",
            "/dev/nvsciipc",
            "misc",
            None,
        );
        check_node(
            "DeviceAllow=/dev/nvsciipc r",
            "/dev/nvsciipc",
            "misc",
            Some("`/dev/nvsciipc` is not in DeviceAllow"),
        );
        // An empty value takes back the list, and ProtectClock still makes one of its own.
        check_node(
            "DeviceAllow=\nDevicePolicy=auto",
            "/dev/nvmap",
            "misc",
            Some("`/dev/nvmap` is not in DeviceAllow"),
        );
        check_node(
            "DeviceAllow=\nDevicePolicy=auto\nProtectClock=no",
            "/dev/nvmap",
            "misc",
            None,
        );
        check_node(
            "PrivateDevices=yes",
            "/dev/nvmap",
            "misc",
            Some("PrivateDevices hides `/dev/nvmap`"),
        );
        check_node(
            "InaccessiblePaths=-/dev/dri /x",
            "/dev/dri/renderD128",
            "drm",
            Some("InaccessiblePaths hides `/dev/dri/renderD128`"),
        );
        check_node(
            "InaccessiblePaths=/dev/dr",
            "/dev/dri/renderD128",
            "drm",
            None,
        );
        assert!(unit("ProcSubset=pid").hides_proc().is_some());
    }

    #[test]
    fn permission_is_the_services_and_not_the_doctors() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(
            folder.path().join("etc/passwd"),
            "tokwatt:x:101:102::/:/bin/false\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("etc/group"),
            "video:x:44:a,tokwatt\nrender:x:45:a\ntokwatt:x:102:\n",
        )
        .unwrap();
        let root = HostRoot::at(folder.path());
        let check = |added: &str, group: u32, mode: u32, want: Option<Remedy>| {
            let file = Needed {
                group,
                mode,
                ..node("/dev/n", "n")
            };
            let account = Account::of(&unit(added), &root).unwrap();
            let hidden = account.lacks(&file, &group_name(&root, group));
            let remedy = hidden.map(|hidden| hidden.remedy);
            assert_eq!(remedy, want, "{added} {group} {mode:o}");
        };
        let render = Remedy::Group {
            name: "render".to_owned(),
            user: "tokwatt".to_owned(),
        };
        check("", 44, 0o660, None);
        check("", 102, 0o660, None);
        check("", 0, 0o666, None);
        check("", 45, 0o660, Some(render));
        check("SupplementaryGroups=render", 45, 0o660, None);
        // Nobody should be put into the group of root.
        check("", 0, 0o660, Some(Remedy::Rule));
        check("", 44, 0o640, Some(Remedy::Rule));
        assert!(Account::of(&unit("User=root"), &root).is_none());
    }

    #[test]
    fn drop_ins_count_and_an_earlier_folder_stands_for_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "usr/lib/systemd/system/tokwatt-agent.service",
                "[Service]\nUser=tokwatt\n",
            ),
            (
                "usr/lib/systemd/system/tokwatt-agent.service.d/a.conf",
                "[Service]\nPrivateDevices=yes\n",
            ),
            (
                "etc/systemd/system/tokwatt-agent.service.d/a.conf",
                "[Service]\nProcSubset=pid\n",
            ),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = super::check(&HostRoot::at(folder.path()));
        assert!(found.found.contains("ProcSubset=pid"), "{}", found.found);
        let unit = Unit::installed(&HostRoot::at(folder.path())).unwrap();
        assert!(unit.value("User") == Some("tokwatt") && !unit.is_on("PrivateDevices"));
    }

    #[test]
    fn lines_for_the_unit_are_one_edit() {
        let remedies = BTreeSet::from([
            Remedy::Rule,
            Remedy::Line("PrivateDevices=no".to_owned()),
            Remedy::Line("DeviceAllow=/dev/nvmap rw".to_owned()),
        ]);
        let advice = advice(&remedies);
        let edit = "below [Service]: DeviceAllow=/dev/nvmap rw, PrivateDevices=no; ";
        assert!(
            advice.contains(edit) && advice.ends_with("restart tokwatt-agent.service"),
            "{advice}"
        );
        assert_eq!(advice.matches("systemctl").count(), 2);
    }

    #[test]
    fn a_driver_has_every_name_of_its_number() {
        let devices =
            "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n\nBlock devices:\n195 loop\n";
        assert_eq!(names_of(195, devices), ["nvidia", "nvidiactl"]);
    }
}
