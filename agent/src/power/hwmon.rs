//! Files in which a driver tells a number: opened once, read again at every tick; and where the drivers' folders are.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::Duration,
};

use rustix::io::Errno;

use super::{Absent, ReadError};
use crate::device::{HostRoot, Unlearnt};

/// A driver's file with one number, held open.
#[derive(Debug)]
pub(super) struct Register {
    path: String,
    file: File,
}

/// How often a chip has something new, by its driver's own word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Conversion {
    /// Time for all channels of the chip together.
    pub(super) interval: Option<Duration>,
    /// Whether a reading is the mean of several conversions, taken over that time.
    pub(super) is_mean: bool,
}

impl Register {
    /// Opens the file and reads it once, so that what is refused is known at the start.
    pub(super) fn open(root: &HostRoot, path: String) -> Result<Self, Absent> {
        let file = root.hold(&path).map_err(explain)?;
        let register = Self { path, file };
        match register.read() {
            Ok(_) => Ok(register),
            Err(error) => Err(Absent(error.to_string())),
        }
    }

    /// The number now. Signed: a current can flow backwards.
    pub(super) fn read(&self) -> Result<i64, ReadError> {
        let mut bytes = [0; NUMBER_BYTES_MAX];
        let length = self.file.read_at(&mut bytes, 0);
        let length = length.map_err(|error| self.classify(&error))?;
        // A driver's file cannot be unlinked while it can be read; one of a made-up host can, and would never change again.
        if self.file.metadata().is_ok_and(|file| file.nlink() == 0) {
            return Err(ReadError::Fatal(format!("`{}` is gone", self.path)));
        }
        number(&bytes[..length])
            .ok_or_else(|| ReadError::Transient(format!("`{}` holds no number", self.path)))
    }

    /// A chip that does not answer on its bus may answer the next time; a driver that is unbound will not.
    fn classify(&self, error: &io::Error) -> ReadError {
        let message = format!("cannot read `{}`: {error}", self.path);
        match Errno::from_io_error(error) {
            Some(Errno::NODEV | Errno::NXIO | Errno::STALE) => ReadError::Fatal(message),
            _ => ReadError::Transient(message),
        }
    }
}

impl Conversion {
    /// What the driver of `folder` says about its chip; absent where it says nothing.
    pub(super) fn of(root: &HostRoot, folder: &str) -> Self {
        let number = |name| root.read(&format!("{folder}/{name}")).ok()?.parse().ok();
        let interval = number("update_interval").filter(|&milliseconds: &u64| milliseconds > 0);
        Self {
            interval: interval.map(Duration::from_millis),
            is_mean: number("samples").is_some_and(|samples| samples > 1),
        }
    }

    /// Of two chips that are read as one: as slow as the slower, unknown if one of them is.
    pub(super) fn slower(self, other: Self) -> Self {
        let both = self.interval.zip(other.interval);
        Self {
            interval: both.map(|(one, other)| one.max(other)),
            is_mean: self.is_mean || other.is_mean,
        }
    }

    /// Length of the mean that a reading is.
    pub(super) fn averaging(self) -> Duration {
        let interval = self.interval.filter(|_| self.is_mean);
        interval.unwrap_or_default()
    }
}

/// Folders of the hwmon drivers that call themselves by one of `names`: their numbers change from boot to boot.
pub(super) fn folders(root: &HostRoot, names: &[&str]) -> Vec<String> {
    let is_named = |folder: &String| {
        let name = root.read(&format!("{folder}/name"));
        name.is_ok_and(|name| names.contains(&&*name))
    };
    let entries = root.list(HWMON);
    let folders = entries.iter().map(|entry| format!("{HWMON}/{entry}"));
    folders.filter(is_named).collect()
}

/// What became of a tick. One chip that is gone leaves the others to be read; when all are, the instrument is.
pub(super) fn outcome(readings: Vec<Result<i64, ReadError>>) -> Result<(), ReadError> {
    let is_gone = |reading| matches!(reading, &Err(ReadError::Fatal(_)));
    let are_all_gone = readings.iter().all(is_gone);
    match readings.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some(ReadError::Fatal(message)) if !are_all_gone => Err(ReadError::Transient(message)),
        Some(error) => Err(error),
    }
}

fn explain(error: Unlearnt) -> Absent {
    match error {
        Unlearnt::Denied(path) => Absent(format!(
            "`{path}` may be read by root only: run as root, or give the agent's group the right with `chgrp` and `chmod g+r` \
             on it at every start (a udev or tmpfiles rule)"
        )),
        error => Absent(error.to_string()),
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    if bytes.len() == NUMBER_BYTES_MAX {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

pub(super) const HWMON: &str = "/sys/class/hwmon";

/// More than the longest number and its end of line.
const NUMBER_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], want: Option<i64>) {
        assert_eq!(number(bytes), want, "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_number_is_a_number_and_nothing_else_is() {
        check(b"20\n", Some(20));
        check(b"-392\n", Some(-392));
        check(b"", None);
        check(b"\n", None);
        check(b"12 34\n", None);
        check(b"1.5\n", None);
        check(b"\xff\x00", None);
        check(&[b'1'; NUMBER_BYTES_MAX], None);
        check(b"99999999999999999999\n", None);
    }

    #[test]
    fn a_held_file_shows_what_is_written_later_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in1_input");
        fs::write(&path, "1\n").unwrap();
        let root = HostRoot::at(folder.path());
        let register = Register::open(&root, "/in1_input".to_owned()).unwrap();
        fs::write(&path, "-27\n").unwrap();
        assert_eq!(register.read().unwrap(), -27);
        fs::write(&path, "").unwrap();
        let error = register.read().unwrap_err();
        assert!(matches!(error, ReadError::Transient(_)), "{error}");
        fs::remove_file(&path).unwrap();
        let error = register.read().unwrap_err();
        assert!(matches!(error, ReadError::Fatal(_)), "{error}");
        assert_eq!(error.to_string(), "`/in1_input` is gone");
    }

    #[test]
    fn an_unbound_driver_is_lost_and_a_busy_bus_is_not() {
        let file = tempfile::tempfile().unwrap();
        let path = "/x".to_owned();
        let register = Register { path, file };
        let classify = |errno: Errno| register.classify(&errno.into());
        assert!(matches!(classify(Errno::NODEV), ReadError::Fatal(_)));
        assert!(matches!(classify(Errno::IO), ReadError::Transient(_)));
        assert!(matches!(classify(Errno::AGAIN), ReadError::Transient(_)));
    }

    #[test]
    fn one_chip_lost_is_a_hole_and_all_lost_is_the_end() {
        let gone = || Err(ReadError::Fatal("gone".to_owned()));
        let busy = || Err(ReadError::Transient("busy".to_owned()));
        assert!(outcome(vec![Ok(1), Ok(2)]).is_ok());
        for readings in [vec![Ok(1), gone()], vec![gone(), busy()], vec![busy()]] {
            let error = outcome(readings).unwrap_err();
            assert!(matches!(error, ReadError::Transient(_)), "{error}");
        }
        let error = outcome(vec![gone(), gone()]).unwrap_err();
        assert!(matches!(error, ReadError::Fatal(_)), "{error}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let message = explain(Unlearnt::Denied("/sys/x".to_owned())).to_string();
        assert!(
            message.starts_with("`/sys/x` may be read by root only: run as root"),
            "{message}"
        );
    }

    #[test]
    fn two_chips_are_as_slow_as_the_slower_and_a_silent_one_makes_it_unknown() {
        let known = |milliseconds, is_mean| Conversion {
            interval: Some(Duration::from_millis(milliseconds)),
            is_mean,
        };
        let both = known(2, false).slower(known(9, true));
        assert_eq!(both, known(9, true));
        assert_eq!(both.averaging(), Duration::from_millis(9));
        assert_eq!(known(9, false).averaging(), Duration::ZERO);
        let unknown = known(2, true).slower(Conversion::default());
        assert_eq!(unknown.interval, None);
        assert_eq!(unknown.averaging(), Duration::ZERO);
    }
}
