//! The host's files: `/` on a device, a recorded tree in a test, and no more of them than is good for us.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FsWord, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2},
    io::Errno,
};
use tokwatt_domain::power::Provenance;

/// Where `/sys`, `/proc` and `/etc` are: `/` on a device, a fixture folder in a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostRoot(PathBuf);

/// Why a file told nothing, with what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum Unlearnt {
    /// This host has no such file.
    #[error("no file `{0}`")]
    Missing(String),
    /// It is there and may not be read.
    #[error("`{0}` may be read by root only")]
    Denied(String),
    /// It is there and empty.
    #[error("`{0}` is empty")]
    Empty(String),
    /// It is a folder, a pipe or a device.
    #[error("`{0}` is not a regular file")]
    NotAFile(String),
    /// Its content is not what such a file holds.
    #[error("`{path}` has no {what}")]
    Lacks {
        /// Which file.
        path: String,
        /// What was looked for in it.
        what: &'static str,
    },
    /// Reading failed.
    #[error("cannot read `{path}`: {message}")]
    Failed {
        /// Which file.
        path: String,
        /// The system's words.
        message: String,
    },
}

impl HostRoot {
    /// The machine itself.
    pub fn system() -> Self {
        Self::at(Path::new("/"))
    }

    /// A recorded tree.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether it is the machine itself, so that its libraries and commands may be asked too.
    pub fn is_system(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// What figures deserve that are read below it: replayed, unless a kernel is behind it. A whole `/` that is mounted
    /// somewhere, as in a container, is as live as the machine itself.
    pub fn provenance(&self) -> Provenance {
        let is_of_kernel = |(folder, magic)| self.file_system(folder).ok() == Some(magic);
        match self.is_system() || KERNEL.into_iter().all(is_of_kernel) {
            true => Provenance::Measured,
            false => Provenance::Replayed,
        }
    }

    /// A path below the root.
    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A small text file, without blanks and NULs at its ends; bytes that are no text become `�`.
    ///
    /// Never waits for a pipe and reads [`FILE_BYTES_MAX`] at most.
    ///
    /// # Errors
    /// Says of `path`, as it is named on the device, why there is no text.
    pub fn read(&self, path: &str) -> Result<String, Unlearnt> {
        let bytes = self.read_bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        match text.trim_matches(|c: char| c == '\0' || c.is_whitespace()) {
            "" => Err(Unlearnt::Empty(path.to_owned())),
            text => Ok(text.to_owned()),
        }
    }

    /// Names of a folder's entries, sorted; a folder that cannot be read has none.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.join(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .take(ENTRIES_MAX)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// A file opened for reading it again and again. Never waits for a pipe.
    ///
    /// # Errors
    /// Says of `path`, as it is named on the device, why it cannot be had.
    pub fn hold(&self, path: &str) -> Result<File, Unlearnt> {
        let failed = |error| Unlearnt::new(path, error);
        let file = self.open(path).map_err(failed)?;
        match file.metadata().map_err(failed)?.is_file() {
            true => Ok(file),
            false => Err(Unlearnt::NotAFile(path.to_owned())),
        }
    }

    /// Which kind of file system a folder is on; a link is none, for it may lead out of the tree.
    fn file_system(&self, folder: &str) -> Result<FsWord, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(self.join(folder), flags, Mode::empty())?;
        Ok(fstatfs(folder)?.f_type)
    }

    fn read_bytes(&self, path: &str) -> Result<Vec<u8>, Unlearnt> {
        let mut bytes = Vec::new();
        self.hold(path)?
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| Unlearnt::new(path, error))?;
        Ok(bytes)
    }

    /// In a recorded tree, and in a host's that is mounted somewhere, a link to `/etc/…` means the tree's own `/etc`.
    fn open(&self, path: &str) -> io::Result<File> {
        let without_waiting = OFlags::NONBLOCK | OFlags::CLOEXEC;
        if !self.is_system() {
            let tree = File::open(&self.0)?;
            let path = path.trim_start_matches('/');
            let flags = without_waiting | OFlags::RDONLY;
            match openat2(tree, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // Not before Linux 5.6, nor where a container's filter does not know it.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(opened?.into()),
            }
        }
        let flags = i32::try_from(without_waiting.bits()).expect("open flags fit an int");
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.join(path))
    }
}

impl Unlearnt {
    fn new(path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing(path),
            io::ErrorKind::PermissionDenied => Self::Denied(path),
            _ => Self::Failed {
                path,
                message: error.to_string(),
            },
        }
    }
}

/// The kernel's own folders, and the file systems that they are.
const KERNEL: [(&str, FsWord); 2] = [("/sys", SYSFS_MAGIC), ("/proc", PROC_SUPER_MAGIC)];

/// `sysfs`, by linux/magic.h.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// Most that is read of a file. The longest honest one is `/proc/cpuinfo` of a large server, about 1.5 kB a core.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most entries of a folder: more PCI functions than any device of the fleet has.
const ENTRIES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(root: &Path, path: &str, want: &str) {
        let got = match HostRoot::at(root).read(path) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn no_file_however_odd_stops_the_probe() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("model"), "Jetson\0").unwrap();
        fs::write(at("empty"), "\0\n").unwrap();
        fs::write(at("binary"), [0xff, b'x', 0xfe]).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        check(folder.path(), "/model", "Jetson");
        check(folder.path(), "/empty", "`/empty` is empty");
        check(folder.path(), "/binary", "\u{fffd}x\u{fffd}");
        check(folder.path(), "/folder", "`/folder` is not a regular file");
        check(folder.path(), "/pipe", "`/pipe` is not a regular file");
        check(folder.path(), "/none", "no file `/none`");
        check(folder.path(), "/model/below", "no file `/model/below`");
    }

    #[test]
    fn a_link_leads_to_the_trees_own_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/nvpmodel")).unwrap();
        fs::write(folder.path().join("etc/nvpmodel/orin.conf"), "modes").unwrap();
        let link = folder.path().join("etc/nvpmodel.conf");
        std::os::unix::fs::symlink("/etc/nvpmodel/orin.conf", link).unwrap();
        check(folder.path(), "/etc/nvpmodel.conf", "modes");
    }

    #[test]
    fn only_what_a_kernel_is_behind_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        let is_replayed = || root.provenance() == Provenance::Replayed;
        assert!(is_replayed());
        for name in ["sys", "proc"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        assert!(is_replayed());
        // Links to the kernel's folders beside recorded files.
        for name in ["sys", "proc"] {
            fs::remove_dir(root.join(name)).unwrap();
            std::os::unix::fs::symlink(Path::new("/").join(name), root.join(name)).unwrap();
        }
        assert!(is_replayed());
        assert_eq!(HostRoot::system().provenance(), Provenance::Measured);
        // As a container sees its host's `/`: under another name, with the kernel's own folders.
        let elsewhere = HostRoot::at(Path::new("/proc/self/root/"));
        assert!(!elsewhere.is_system());
        assert_eq!(elsewhere.provenance(), Provenance::Measured);
    }

    #[test]
    fn a_huge_file_is_read_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("huge")).unwrap();
        file.set_len(1 << 33).unwrap();
        let bytes = HostRoot::at(folder.path()).read_bytes("huge").unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), FILE_BYTES_MAX);
    }
}
