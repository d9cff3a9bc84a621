//! The device's name: its kind and a keyed hash of its hardware, the same after a reinstall, with no serial number in it.

use std::collections::BTreeMap;

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

/// Names the device by the first of: serial number in the device tree, product UUID of the firmware, machine id.
pub(super) fn identify(kind: DeviceKind, root: &HostRoot) -> Identity {
    let mut reasons = BTreeMap::new();
    for (source, path) in KEYS {
        match key(root, path) {
            Ok(key) => {
                return Identity {
                    id: name(kind, &key),
                    source,
                    reasons,
                };
            }
            Err(reason) => {
                reasons.insert(source.to_owned(), reason.to_string());
            }
        }
    }
    Identity {
        id: name(kind, "nothing"),
        source: "nothing: this device cannot be told from others of its kind",
        reasons,
    }
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
    let hash = Sha256::new()
        .chain_update(APPLICATION)
        .chain_update(key)
        .finalize();
    let digits: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kind = kind.to_string().replace('_', "-");
    DeviceId::parse(&format!("{kind}-{digits}")).expect("kinds and digits are plain")
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

const APPLICATION: &str = "tokwatt device id 1:";

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
        let names = [&before, &after].map(|root| identify(DeviceKind::AgxOrin, root).id);
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
        let identity = identify(DeviceKind::Generic, &root);
        assert_eq!(identity.source, "machine_id");
        assert!(identity.reasons["product_uuid"].contains("placeholder"));
        assert!(is_placeholder("00000000-0000-0000-0000-000000000000"));
    }

    #[test]
    fn without_any_key_the_name_says_so() {
        let (_folder, root) = host(&[]);
        let identity = identify(DeviceKind::Generic, &root);
        assert!(identity.source.starts_with("nothing"));
        assert_eq!(identity.reasons.len(), 4);
    }
}
