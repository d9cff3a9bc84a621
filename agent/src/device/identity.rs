//! The device's name: its kind and a keyed hash of its hardware, the same after a reinstall, with no serial number in it.
//!
//! Hardware comes first: the serial number in the device tree, then the firmware's UUID, and only then the machine id,
//! which a reinstall makes anew. But the UUID may be read by root only, and a name that depends on who looks is none. So
//! the first start keeps the name in `device.json` in the data folder, with a hash of every key that could be read:
//!
//! - Whoever reads one of these keys again gets the kept name, and keys that it can read more are added to it.
//! - A key of the hardware that differs is another machine, whatever else agrees: the folder or the disk was copied. It
//!   gets a name and an entry of its own, and the first one keeps its.
//! - Without the file, as after a reinstall, the best readable key names the device. Where the serial number stands in the
//!   device tree (every Jetson), everyone reads it. On others start the agent as root first, and the UUID names it for ever.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokwatt_domain::{device::DeviceKind, ids::DeviceId};

use super::{HostRoot, Unlearnt};

/// Who the device is and how that is known.
pub(super) struct Identity {
    pub(super) id: DeviceId,
    /// Where its key came from, never the key itself.
    pub(super) source: &'static str,
    /// Why better keys were not to be had.
    pub(super) reasons: BTreeMap<String, String>,
}

/// `device.json`: a machine and every other one that this folder was found on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Kept {
    machines: Vec<Machine>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Machine {
    id: DeviceId,
    /// Source to a hash of the key.
    keys: BTreeMap<String, String>,
}

/// Names the device: as it was named before, else by the first of [`KEYS`] that can be read.
pub(super) fn identify(kind: DeviceKind, root: &HostRoot, data: &Path) -> Identity {
    let (keys, mut reasons) = readable(root);
    let kept = read(data).unwrap_or_else(|error| {
        reasons.insert("id_kept".to_owned(), error.to_string());
        Kept::default()
    });
    if let Some(machine) = kept.machine(&hashed(&keys)) {
        return Identity {
            id: machine.id.clone(),
            source: "kept in the data folder",
            reasons,
        };
    }
    let (source, key) = keys.first().map_or(
        (
            "nothing: this device cannot be told from others of its kind",
            "nothing",
        ),
        |(source, key)| (*source, &**key),
    );
    // What stands behind the key that was taken is not missed.
    let tried = KEYS
        .iter()
        .map(|(name, _)| *name)
        .take_while(|name| *name != source);
    let tried: Vec<&str> = tried.chain(["id_kept"]).collect();
    reasons.retain(|name, _| tried.contains(&name.as_str()));
    Identity {
        id: name(kind, key),
        source,
        reasons,
    }
}

/// Keeps the name, and what has become readable of the keys.
pub(super) fn keep(kind: DeviceKind, root: &HostRoot, data: &Path) -> io::Result<()> {
    let (keys, _) = readable(root);
    let Some((_, first)) = keys.first() else {
        return Ok(());
    };
    let before = read(data)?;
    let mut after = before.clone();
    let hashes = hashed(&keys);
    match after.place(&hashes) {
        Some(place) => after.machines[place].keys.extend(hashes),
        None => after.machines.push(Machine {
            id: name(kind, first),
            keys: hashes,
        }),
    }
    if after == before {
        Ok(())
    } else {
        write(data, &after)
    }
}

/// Keeps another name for it, by which it is enrolled, whatever its keys would name it.
pub(super) fn rename(root: &HostRoot, data: &Path, name: &DeviceId) -> io::Result<()> {
    let hashes = hashed(&readable(root).0);
    let mut kept = read(data)?;
    match kept.place(&hashes) {
        Some(place) => {
            kept.machines[place].id = name.clone();
            kept.machines[place].keys.extend(hashes);
        }
        None => kept.machines.push(Machine {
            id: name.clone(),
            keys: hashes,
        }),
    }
    write(data, &kept)
}

impl Kept {
    fn machine(&self, keys: &BTreeMap<String, String>) -> Option<&Machine> {
        self.place(keys).map(|place| &self.machines[place])
    }

    fn place(&self, keys: &BTreeMap<String, String>) -> Option<usize> {
        self.machines.iter().position(|machine| machine.is(keys))
    }
}

impl Machine {
    /// One key agrees, and none of the hardware's differs; or neither has any.
    fn is(&self, keys: &BTreeMap<String, String>) -> bool {
        if self.keys.is_empty() && keys.is_empty() {
            return true;
        }
        let agrees = |source: &str| Some(self.keys.get(source)? == keys.get(source)?);
        let is_other = HARDWARE.iter().any(|source| agrees(source) == Some(false));
        !is_other && keys.keys().any(|source| agrees(source) == Some(true))
    }
}

/// Keys that can be read, best first, and why the others cannot.
fn readable(root: &HostRoot) -> (Vec<(&'static str, String)>, BTreeMap<String, String>) {
    let mut keys = Vec::new();
    let mut reasons = BTreeMap::new();
    for (source, path) in KEYS {
        match key(root, path) {
            Ok(key) => keys.push((source, key)),
            Err(reason) => drop(reasons.insert(source.to_owned(), reason.to_string())),
        }
    }
    (keys, reasons)
}

fn hashed(keys: &[(&'static str, String)]) -> BTreeMap<String, String> {
    let hashed = keys
        .iter()
        .map(|(source, key)| ((*source).to_owned(), hash(KEEPING, key, 8)));
    hashed.collect()
}

fn read(data: &Path) -> io::Result<Kept> {
    match fs::read(data.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::other(format!(
                "`{}` is damaged, delete it: {error}",
                data.join(FILE).display()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error),
    }
}

/// Whole or not at all: a half-written file would rename the device.
fn write(data: &Path, kept: &Kept) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let new = data.join(format!("{FILE}.new"));
    let mut file = fs::File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, kept)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(new, data.join(FILE))
}

fn key(root: &HostRoot, path: &'static str) -> Result<String, Unlearnt> {
    let key = root.read(path)?.to_lowercase();
    if is_placeholder(&key) {
        let path = path.to_owned();
        let what = "number of its own, only its maker's placeholder";
        return Err(Unlearnt::Lacks { path, what });
    }
    Ok(key)
}

/// `orin-1a2b3c4d`. Without the constant, a table of hashed serial numbers made for another purpose would name it.
fn name(kind: DeviceKind, key: &str) -> DeviceId {
    let digits = hash(APPLICATION, key, 4);
    let kind = kind.to_string().replace('_', "-");
    DeviceId::parse(&format!("{kind}-{digits}")).expect("kinds and digits are plain")
}

/// The first bytes of a hash, as digits.
fn hash(purpose: &str, key: &str, n_bytes: usize) -> String {
    let hash = Sha256::new()
        .chain_update(purpose)
        .chain_update(key)
        .finalize();
    let bytes = hash.iter().take(n_bytes);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Makers that could not be bothered: one digit over and over, words, or the sample value of the firmware's vendor.
fn is_placeholder(key: &str) -> bool {
    let mut digits = key.chars().filter(|c| !matches!(c, '-' | ' '));
    let first = digits.next();
    digits.all(|c| Some(c) == first)
        || PLACEHOLDERS
            .iter()
            .any(|placeholder| key.contains(placeholder))
}

/// Best first. A machine id is made anew by a reinstall: the last resort.
const KEYS: [(&str, &str); 4] = [
    ("device_tree_serial", "/proc/device-tree/serial-number"),
    ("product_uuid", "/sys/class/dmi/id/product_uuid"),
    ("machine_id", "/etc/machine-id"),
    ("dbus_machine_id", "/var/lib/dbus/machine-id"),
];

/// Those that another machine cannot have, and a reinstall does not change.
const HARDWARE: [&str; 2] = ["device_tree_serial", "product_uuid"];

const FILE: &str = "device.json";

const APPLICATION: &str = "tokwatt device id 1:";

/// Another one, so that the file does not tell what a name is made of.
const KEEPING: &str = "tokwatt kept key 1:";

const PLACEHOLDERS: [&str; 4] = [
    "03000200-0400-0500-0006-000700080009",
    "filled by o.e.m",
    "default string",
    "not specified",
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SERIAL: &str = "1420122012345";

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = HostRoot::at(folder.path());
        (folder, root)
    }

    #[test]
    fn a_reinstall_keeps_the_name() {
        let serial = ("proc/device-tree/serial-number", &*format!("{SERIAL}\0"));
        let (_one, before) = host(&[serial, ("etc/machine-id", "aaaabbbb")]);
        let (_two, after) = host(&[serial, ("etc/machine-id", "ccccdddd")]);
        let nowhere = Path::new("nowhere");
        let names = [&before, &after].map(|root| identify(DeviceKind::AgxOrin, root, nowhere).id);
        assert_eq!(names[0], names[1]);
        assert!(names[0].as_str().starts_with("agx-orin-"));
        assert!(!names[0].as_str().contains(SERIAL));
    }

    #[test]
    fn a_placeholder_names_nobody() {
        let uuid = (
            "sys/class/dmi/id/product_uuid",
            "03000200-0400-0500-0006-000700080009",
        );
        let (_folder, root) = host(&[uuid, ("etc/machine-id", "0123abcd")]);
        let identity = identify(DeviceKind::Generic, &root, Path::new("nowhere"));
        assert_eq!(identity.source, "machine_id");
        assert!(identity.reasons["product_uuid"].contains("placeholder"));
        assert!(is_placeholder("00000000-0000-0000-0000-000000000000"));
    }

    #[test]
    fn without_any_key_the_name_says_so() {
        let (_folder, root) = host(&[]);
        let identity = identify(DeviceKind::Generic, &root, Path::new("nowhere"));
        assert!(identity.source.starts_with("nothing"));
        assert_eq!(identity.reasons.len(), 4);
    }

    const UUID: (&str, &str) = (
        "sys/class/dmi/id/product_uuid",
        "0badcafe-0000-4000-8000-000000000003",
    );
    const MACHINE: (&str, &str) = ("etc/machine-id", "aaaabbbb");

    /// Starts the agent on machines one after the other, with one data folder; their names.
    fn start(machines: &[&[(&str, &str)]]) -> Vec<String> {
        let data = tempfile::tempdir().unwrap();
        let starts = machines.iter().map(|files| {
            let (_folder, root) = host(files);
            keep(DeviceKind::Gb10, &root, data.path()).unwrap();
            identify(DeviceKind::Gb10, &root, data.path())
                .id
                .to_string()
        });
        let names = starts.collect();
        let kept = fs::read_to_string(data.path().join(FILE)).unwrap();
        assert!(
            !kept.contains("aaaabbbb") && !kept.contains("0badcafe"),
            "{kept}"
        );
        names
    }

    #[test]
    fn root_and_user_call_it_the_same() {
        let names = start(&[&[UUID, MACHINE], &[MACHINE], &[UUID, MACHINE]]);
        assert!(names[0] == names[1] && names[1] == names[2], "{names:?}");
        let names = start(&[
            &[MACHINE],
            &[UUID, MACHINE],
            &[UUID, ("etc/machine-id", "ccccdddd")],
        ]);
        assert!(names[0] == names[1] && names[1] == names[2], "{names:?}");
    }

    #[test]
    fn a_copied_disk_is_another_machine_and_both_keep_their_names() {
        let other = (
            "sys/class/dmi/id/product_uuid",
            "0badcafe-0000-4000-8000-000000000004",
        );
        let names = start(&[
            &[UUID, MACHINE],
            &[other, MACHINE],
            &[UUID, MACHINE],
            &[other, MACHINE],
        ]);
        assert_ne!(names[0], names[1]);
        assert_eq!((&names[0], &names[1]), (&names[2], &names[3]));
    }

    #[test]
    fn the_name_that_it_is_enrolled_by_stays_and_is_not_a_copied_disks() {
        let other = (
            "sys/class/dmi/id/product_uuid",
            "0badcafe-0000-4000-8000-000000000004",
        );
        for (own, copy) in [
            (&[UUID, MACHINE][..], &[other, MACHINE][..]),
            (&[][..], &[MACHINE][..]),
        ] {
            let data = tempfile::tempdir().unwrap();
            let name = DeviceId::parse("lab-orin-1").unwrap();
            let (_own, own) = host(own);
            keep(DeviceKind::AgxOrin, &own, data.path()).unwrap();
            rename(&own, data.path(), &name).unwrap();
            keep(DeviceKind::AgxOrin, &own, data.path()).unwrap();
            let (_copy, copy) = host(copy);
            keep(DeviceKind::AgxOrin, &copy, data.path()).unwrap();
            let named = |root| identify(DeviceKind::AgxOrin, root, data.path()).id;
            assert_eq!(named(&own), name);
            assert_ne!(named(&copy), name);
        }
    }

    #[test]
    fn a_damaged_file_is_said_and_not_overwritten() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "{").unwrap();
        let (_folder, root) = host(&[MACHINE]);
        assert!(keep(DeviceKind::Generic, &root, data.path()).is_err());
        let identity = identify(DeviceKind::Generic, &root, data.path());
        assert_eq!(identity.source, "machine_id");
        assert!(identity.reasons["id_kept"].contains("delete it"));
    }
}
