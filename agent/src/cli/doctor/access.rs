//! What this user, this system and this container keep from the agent, and how to get at it: groups, rules, packages, mounts.

use std::path::Path;

use tokwatt_domain::device::DeviceKind;

use super::{Check, Patient};
use crate::device::{
    HostRoot, Unlearnt,
    nvpmodel::{find_program, list, table},
};

impl Patient<'_> {
    /// Only what has something to say; nothing is kept from the agent on a machine that does not exist.
    pub(super) fn access(&self) -> Vec<Check> {
        let machine = [
            self.power_mode(),
            self.clocks(),
            self.gpu_governor(),
            self.module(),
        ];
        let mut checks: Vec<Check> = machine.into_iter().flatten().collect();
        if self.simulated.is_none() {
            let system = [
                self.groups(),
                self.monitors(),
                self.counters(),
                self.tools(),
                self.container(),
            ];
            checks.extend(system.into_iter().flatten());
            checks.extend(self.unlearnt());
        }
        checks
    }

    fn power_mode(&self) -> Option<Check> {
        let name = "power mode";
        let fact = |fact: &str| self.device.facts.get(fact);
        let (Some(mode), Some(id)) = (fact("power_mode"), fact("power_mode_id")) else {
            return self.is_jetson().then(|| {
                let reason = ["power_mode_id", "power_mode"].map(|fact| self.reason(fact));
                let reason = reason.into_iter().find(|reason| !reason.is_empty());
                Check::unknown(
                    name,
                    reason.unwrap_or_default(),
                    Some(
                        "figures are compared by power mode: install nvidia-l4t-nvpmodel; in a container mount the host's \
                         /etc and /var/lib/nvpmodel, or all of it and --host-root",
                    ),
                )
            });
        };
        let modes = table(&self.root).unwrap_or_default();
        let found = match modes.len() {
            0 => format!("{mode} ({id})"),
            _ => format!("{mode} ({id}) of {}", list(&modes)),
        };
        Some(Check::hint(
            name,
            found,
            "a mode is a set of limits on clocks, the numbers are not in order of speed; only `sudo tokwatt-agent bench \
             --power-modes` switches, the service never does",
        ))
    }

    fn clocks(&self) -> Option<Check> {
        let state = self.device.facts.get("jetson_clocks")?;
        let found = format!("jetson_clocks: {state}");
        Some(match state.as_str() {
            "held" => Check::ok("clocks", found),
            _ => Check::hint(
                "clocks",
                found,
                "they follow the load: what users get, and it varies; for figures that repeat hold them with `sudo jetson_clocks`",
            ),
        })
    }

    fn gpu_governor(&self) -> Option<Check> {
        let governor = self.device.facts.get("gpu_governor")?;
        (governor == "powersave").then(|| {
            Check::mend(
                "gpu governor",
                "powersave holds the lowest clock".to_owned(),
                "write nvhost_podgov, or simple_ondemand, to the `governor` file of the GPU in /sys/class/devfreq",
            )
        })
    }

    /// The board's name is that of the developer kit it is built like.
    fn module(&self) -> Option<Check> {
        let board = self.device.facts.get("board_model")?;
        let module = self.device.facts.get("module_variant")?;
        let named = FAMILIES.into_iter().find(|family| board.contains(family))?;
        (!module.contains(named)).then(|| {
            Check::hint(
                "module",
                format!("the board is called `{board}` and carries a {module}"),
                "figures stand for the module; the board's name is that of its carrier",
            )
        })
    }

    /// The GPU of a Jetson belongs to two groups.
    fn groups(&self) -> Option<Check> {
        if !self.is_jetson() || self.is_root() {
            return None;
        }
        let name = "groups";
        let missing = match missing_groups(&self.root) {
            Ok(missing) => missing,
            Err(reason) => {
                return Some(Check::unknown(
                    name,
                    reason.to_string(),
                    Some(GROUPS_REMEDY),
                ));
            }
        };
        let found = format!(
            "not in {}: GPU, NVML and tegrastats may be refused",
            missing.join(" and ")
        );
        Some(match missing[..] {
            [] => Check::ok(name, "of those that may use the GPU".to_owned()),
            // Only from JetPack 6 on does the GPU belong to it, too.
            ["render"] => Check::hint(name, found, GROUPS_REMEDY),
            _ => Check::mend(name, found, GROUPS_REMEDY),
        })
    }

    /// Power monitors whose files are for root, as on some boards with JetPack 5.
    fn monitors(&self) -> Option<Check> {
        let file = denied(&self.root, "/sys/class/hwmon", "curr1_input")?;
        Some(Check::mend(
            "power monitors",
            format!("`{file}` may be read by root only"),
            "a rule in /etc/udev/rules.d/70-tokwatt.rules: SUBSYSTEM==\"hwmon\", ATTR{name}==\"ina3221\", RUN+=\"/bin/sh -c 'chmod a+r \
             /sys%p/in*_input /sys%p/curr*_input'\"; then `sudo udevadm trigger -s hwmon`, or --power tegrastats as root",
        ))
    }

    /// Energy counters of PCs, for root since they were found to tell what others compute.
    fn counters(&self) -> Option<Check> {
        let file = denied(&self.root, "/sys/class/powercap", "energy_uj")?;
        Some(Check::mend(
            "energy counters",
            format!("`{file}` may be read by root only"),
            "a rule in /etc/udev/rules.d/70-tokwatt.rules: SUBSYSTEM==\"powercap\", ACTION==\"add\", RUN+=\"/bin/sh -c 'chgrp tokwatt \
             /sys%p/energy_uj && chmod g+r /sys%p/energy_uj'\"; then `sudo udevadm trigger -s powercap -c add`, and this user in \
             the group tokwatt; or run as root",
        ))
    }

    /// NVIDIA's programs, which containers and minimal systems lack.
    fn tools(&self) -> Option<Check> {
        if !self.is_jetson() {
            return None;
        }
        let tegrastats = &self.settings.tegrastats.value;
        let has_tegrastats = match tegrastats.parent() {
            Some(folder) if folder != Path::new("") => tegrastats.is_file(),
            _ => find_program(&tegrastats.to_string_lossy()).is_some(),
        };
        let tools = [
            (
                "tegrastats",
                has_tegrastats,
                "nvidia-l4t-tools, or --tegrastats PATH",
            ),
            (
                "nvpmodel",
                find_program("nvpmodel").is_some(),
                "nvidia-l4t-nvpmodel",
            ),
        ];
        let missing = tools.into_iter().filter(|(_, is_there, _)| !is_there);
        let (names, packages): (Vec<_>, Vec<_>) = missing
            .map(|(name, _, package)| (name, format!("{name}: {package}")))
            .unzip();
        if names.is_empty() {
            return Some(Check::ok(
                "tools",
                "tegrastats and nvpmodel are there".to_owned(),
            ));
        }
        Some(Check::hint(
            "tools",
            format!("no {} in PATH", names.join(" and ")),
            &format!("the package that brings it, {}", packages.join("; ")),
        ))
    }

    fn container(&self) -> Option<Check> {
        let container = self.device.facts.get("container")?;
        if container == "none" || !self.root.is_system() {
            return None;
        }
        Some(Check::hint(
            "container",
            format!("the agent runs in a container ({container})"),
            "it sees the host's /sys and /proc; for release, power modes and names mount the host too: -v /:/host:ro and \
             --host-root /host; for the GPU --runtime nvidia",
        ))
    }

    /// Facts without which a figure is worth less, and how to get them.
    fn unlearnt(&self) -> Vec<Check> {
        let is_missing = |fact: &str| self.device.reasons.contains_key(fact);
        let mut checks = Vec::new();
        let mut ask = |fact: &'static str, remedy: &str| {
            if is_missing(fact) {
                checks.push(Check::unknown(fact, self.reason(fact), Some(remedy)));
            }
        };
        if self.is_jetson() {
            ask(
                "l4t_release",
                "in a container mount the host's /etc/nv_tegra_release, or all of it and --host-root",
            );
            ask(
                "jetpack_release",
                "a release that is newer than this agent: the output of `tokwatt-agent decode release < /etc/nv_tegra_release` helps us",
            );
            ask(
                "module_variant",
                "a module that this agent does not know: the fact `compatible` of `tokwatt-agent probe` helps us",
            );
            if self.reason("memory_clock_lock").contains("root only") {
                ask(
                    "memory_clock_lock",
                    "bench with sudo to have the memory's clock among the results",
                );
            }
        }
        let source = self
            .device
            .facts
            .get("id_source")
            .map_or("", String::as_str);
        if source == "machine_id" || source == "dbus_machine_id" || source.starts_with("nothing") {
            checks.push(Check::hint(
                "device id",
                format!("this device is named by {source}, which a reinstall changes"),
                "run one bench with sudo and the same --data: a number of the hardware names the device then, for ever",
            ));
        }
        checks
    }

    fn is_jetson(&self) -> bool {
        !matches!(self.device.kind, DeviceKind::Gb10 | DeviceKind::Generic)
    }

    fn is_root(&self) -> bool {
        self.device
            .facts
            .get("is_root")
            .is_some_and(|is_root| is_root == "true")
    }
}

/// Those of the GPU's groups that exist here and that this process is not in.
fn missing_groups(root: &HostRoot) -> Result<Vec<&'static str>, Unlearnt> {
    let groups = root.read("/etc/group")?;
    let number = |group: &str| {
        let mut fields = groups
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let fields = fields.find(|fields| fields.first() == Some(&group))?;
        fields.get(2).map(|number| (*number).to_owned())
    };
    let status = root.read("/proc/self/status")?;
    let own: Vec<&str> = status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("Groups:")
                .or_else(|| line.strip_prefix("Gid:"))
        })
        .flat_map(str::split_whitespace)
        .collect();
    let is_missing = |group: &&str| number(group).is_some_and(|number| !own.contains(&&*number));
    Ok(["video", "render"].into_iter().filter(is_missing).collect())
}

/// The first file of that name below a class that is there and may not be read.
fn denied(root: &HostRoot, class: &str, file: &str) -> Option<String> {
    let folders = root.list(class).into_iter();
    let mut files = folders.map(|folder| format!("{class}/{folder}/{file}"));
    files.find(|path| matches!(root.read(path), Err(Unlearnt::Denied(_))))
}

const GROUPS_REMEDY: &str =
    "sudo usermod -aG video,render USER, and log in again; for the service USER is tokwatt";

/// Words that boards and modules have in common if one is made for the other.
const FAMILIES: [&str; 7] = [
    "AGX Thor",
    "AGX Orin",
    "Orin NX",
    "Orin Nano",
    "Xavier NX",
    "AGX Xavier",
    "Nano",
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(own: &str, want: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for below in ["etc", "proc/self"] {
            fs::create_dir_all(folder.path().join(below)).unwrap();
        }
        let groups = "root:x:0:\nvideo:x:44:tokwatt\nrender:x:104:\nvideo2:x:7:\n";
        fs::write(folder.path().join("etc/group"), groups).unwrap();
        let status = format!("Name:\tagent\nGid:\t1000\t1000\t1000\t1000\nGroups:\t{own}\n");
        fs::write(folder.path().join("proc/self/status"), status).unwrap();
        assert_eq!(missing_groups(&HostRoot::at(folder.path())).unwrap(), want);
    }

    #[test]
    fn a_group_that_exists_and_that_we_are_not_in_is_missing() {
        check("4 44 104", &[]);
        check("44", &["render"]);
        check("4 1044", &["video", "render"]);
    }

    #[test]
    fn a_system_that_does_not_say_its_groups_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let reason = missing_groups(&HostRoot::at(folder.path())).unwrap_err();
        assert_eq!(reason.to_string(), "no file `/etc/group`");
    }
}
