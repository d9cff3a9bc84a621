//! Versions of installed packages, by dpkg's own list: the last resort, where the file that a package would have put is missing.

use std::io::{BufRead, BufReader, Read};

use super::{HostRoot, Unlearnt};

/// The version of an installed package.
pub(super) fn version(root: &HostRoot, package: &'static str) -> Result<String, Unlearnt> {
    let list = BufReader::new(root.hold(LIST)?.take(LIST_BYTES_MAX));
    let lacks = || Unlearnt::Lacks {
        path: LIST.to_owned(),
        what: package,
    };
    find(list, package).ok_or_else(lacks)
}

/// Paragraphs of `Key: value`, of a package that was removed too.
fn find(list: impl BufRead, package: &str) -> Option<String> {
    let (mut is_it, mut is_installed) = (false, false);
    for line in list.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match line.split_once(": ") {
            Some(("Package", name)) => (is_it, is_installed) = (name.trim() == package, false),
            Some(("Status", status)) => is_installed = status.trim().ends_with(" installed"),
            Some(("Version", version)) if is_it && is_installed => {
                return Some(version.trim().to_owned());
            }
            _ => {}
        }
    }
    None
}

const LIST: &str = "/var/lib/dpkg/status";

/// A desktop with everything has 10 MB.
const LIST_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_by_its_whole_name_and_only_if_it_is_installed() {
        let list = "Package: nvidia-jetpack-dev\nStatus: install ok installed\nVersion: 1\n\n\
                    Package: nvidia-l4t-core\nStatus: deinstall ok config-files\nVersion: 2\n\n\
                    Package: nvidia-jetpack\nStatus: install ok installed\nDescription: a\n Version: x\nVersion: 6.2.1+b38\n";
        let version = |package| find(list.as_bytes(), package);
        assert_eq!(version("nvidia-jetpack").as_deref(), Some("6.2.1+b38"));
        assert_eq!(version("nvidia-l4t-core"), None);
        assert_eq!(version("cuda"), None);
        assert_eq!(find(&b"\xff\xfe\n\0: \n"[..], "cuda"), None);
    }
}
