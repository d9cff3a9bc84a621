//! Files in which a driver tells a number: opened once, read again and again.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use rustix::io::Errno;

use super::{HostRoot, Unlearnt};

/// A driver's file with one number, held open.
#[derive(Debug)]
pub struct Register {
    path: String,
    file: File,
}

/// Why a register tells no number now.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its driver is gone; it will tell nothing any more.
    #[error("{0}")]
    Gone(String),
    /// It may tell one the next time.
    #[error("{0}")]
    Silent(String),
}

impl Register {
    /// Opens the file.
    ///
    /// # Errors
    /// It is none, or may not be read.
    pub fn open(root: &HostRoot, path: String) -> Result<Self, Unlearnt> {
        let file = root.hold(&path)?;
        Ok(Self { path, file })
    }

    /// The number now. Signed: a current can flow backwards.
    ///
    /// # Errors
    /// It tells none; the message names the file.
    pub fn read(&self) -> Result<i64, RegisterError> {
        let mut bytes = [0; NUMBER_BYTES_MAX];
        let length = self.file.read_at(&mut bytes, 0);
        let length = length.map_err(|error| self.classify(&error))?;
        // A driver's file cannot be unlinked while it can be read; one of a made-up host can, and would never change again.
        if self.file.metadata().is_ok_and(|file| file.nlink() == 0) {
            return Err(RegisterError::Gone(format!("`{}` is gone", self.path)));
        }
        number(&bytes[..length])
            .ok_or_else(|| RegisterError::Silent(format!("`{}` holds no number", self.path)))
    }

    /// A chip that does not answer on its bus may answer the next time; a driver that is unbound will not.
    fn classify(&self, error: &io::Error) -> RegisterError {
        let message = format!("cannot read `{}`: {error}", self.path);
        match Errno::from_io_error(error) {
            Some(Errno::NODEV | Errno::NXIO | Errno::STALE) => RegisterError::Gone(message),
            _ => RegisterError::Silent(message),
        }
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    if bytes.len() == NUMBER_BYTES_MAX {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

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
        assert!(matches!(error, RegisterError::Silent(_)), "{error}");
        fs::remove_file(&path).unwrap();
        let error = register.read().unwrap_err();
        assert!(matches!(error, RegisterError::Gone(_)), "{error}");
        assert_eq!(error.to_string(), "`/in1_input` is gone");
    }

    #[test]
    fn an_unbound_driver_is_lost_and_a_busy_bus_is_not() {
        let file = tempfile::tempfile().unwrap();
        let path = "/x".to_owned();
        let register = Register { path, file };
        let classify = |errno: Errno| register.classify(&errno.into());
        assert!(matches!(classify(Errno::NODEV), RegisterError::Gone(_)));
        assert!(matches!(classify(Errno::IO), RegisterError::Silent(_)));
        assert!(matches!(classify(Errno::AGAIN), RegisterError::Silent(_)));
    }
}
