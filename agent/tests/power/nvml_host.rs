//! Hosts with a library of our own that answers like NVIDIA's on a card, a GB10, a Thor, an Orin.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tokwatt_agent::device::HostRoot;

/// A discrete GPU: everything.
pub(crate) const CARD: &[&str] = &[
    "-DNAME=\"NVIDIA RTX A2000\"",
    "-DENERGY=1000",
    "-DUSAGE=31000",
    "-DINSTANT=30500",
    "-DAVERAGE=31000",
    "-DLIMIT=70000",
    "-DUTILISATION=97",
    "-DSM_CLOCK=1200",
    "-DMEMORY_CLOCK=6001",
    "-DTEMPERATURE=61",
    "-DTHROTTLE=37",
    "-DSTATE=0",
    "-DPERSISTENCE=0",
    "-DMEMORY_USED=1500000000",
    "-DMEMORY_TOTAL=6000000000",
    "-DNO_PROCESSES",
    "-DCAPABILITY=8,6",
];

/// No memory of its own, and no clock for it; no limit.
pub(crate) const GB10: &[&str] = &[
    "-DNAME=\"NVIDIA GB10\"",
    "-DENERGY=1000",
    "-DUSAGE=3500",
    "-DINSTANT=3471",
    "-DUTILISATION=3",
    "-DSM_CLOCK=208",
    "-DTEMPERATURE=45",
    "-DTHROTTLE=1",
    "-DSTATE=8",
    "-DMIG=0",
    "-DPERSISTENCE=1",
    "-DNO_PROCESSES",
    "-DCAPABILITY=12,1",
];

/// Power by the older call only; neither clocks nor memory.
pub(crate) const THOR: &[&str] = &[
    "-DNAME=\"NVIDIA Thor\"",
    "-DUSAGE=1965",
    "-DUTILISATION=0",
    "-DTEMPERATURE=36",
    "-DMIG=0",
    "-DNO_PROCESSES",
    "-DCAPABILITY=11,0",
];

/// Its name, and not more.
pub(crate) const ORIN: &[&str] = &["-DNAME=\"Orin (nvgpu)\""];

/// Where Jetson has it.
pub(crate) const LIBRARY: &str = "usr/lib/aarch64-linux-gnu/nvidia/libnvidia-ml.so.1";

/// A host with such a library.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    pub(crate) root: HostRoot,
}

impl Host {
    /// What answers as `options` say; a later one of a name stands for the earlier.
    pub(crate) fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(LIBRARY);
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/nvml_stub.c");
        let file = |option: &str, name: &str| {
            format!("-D{option}=\"{}\"", folder.path().join(name).display())
        };
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&library, &source])
            .args([file("CALLS", "calls"), file("GONE", "gone")])
            .args(last_of_each(options))
            .output()
            .expect("`cc` is there: tests/run installs a compiler");
        let said = String::from_utf8_lossy(&compiler.stderr);
        assert!(compiler.status.success(), "{said}");
        let root = HostRoot::at(folder.path());
        Self { folder, root }
    }

    /// Takes GPU and driver away.
    pub(crate) fn lose(&self) {
        fs::write(self.folder.path().join("gone"), "").unwrap();
    }

    /// Calls so far, by what they ask for.
    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        let mut counted = BTreeMap::new();
        for call in calls.lines() {
            *counted.entry(call.to_owned()).or_default() += 1;
        }
        counted
    }

    /// Runs a process `number`, whose first thread is `owner`.
    pub(crate) fn process(&self, number: u32, owner: u32) {
        let process = self.folder.path().join(format!("proc/{number}"));
        fs::create_dir_all(&process).unwrap();
        let status = format!("Name:\tpython3\nTgid:\t{owner}\nPid:\t{number}\n");
        fs::write(process.join("status"), status).unwrap();
    }
}

/// With `more` in place of what it had of these.
pub(crate) fn with<'a>(options: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [options, more].concat()
}

/// Without what is called so.
pub(crate) fn without<'a>(options: &[&'a str], names: &[&str]) -> Vec<&'a str> {
    let is_kept = |option: &&&str| !names.contains(&name(option));
    options.iter().filter(is_kept).copied().collect()
}

fn last_of_each<'a>(options: &[&'a str]) -> Vec<&'a str> {
    BTreeMap::from_iter(options.iter().map(|option| (name(option), *option)))
        .into_values()
        .collect()
}

fn name(option: &str) -> &str {
    let name = option.trim_start_matches("-D");
    name.split_once('=').map_or(name, |(name, _)| name)
}
