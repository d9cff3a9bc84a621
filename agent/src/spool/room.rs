//! Room: how much the limit and the disk leave, and what is kept back so that the end of a run fits when nothing else does.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rusqlite::{ErrorCode, ffi};

use super::{Spool, SpoolError};

/// What there is room for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Room {
    /// On disk, whether it waits or not.
    pub kept_bytes: u64,
    /// At most so much may be.
    pub bytes_max: u64,
    /// What the disk has left; null where nobody can tell.
    pub disk_bytes: Option<u64>,
    /// Whether another run may begin.
    pub is_enough: bool,
}

/// What room an append may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    /// Anything leaves what the end of a run takes.
    Record,
    /// The end of a run takes what was kept back for it.
    End,
}

/// A file beside the spool that is given up when the disk is full, so that what is small and must be written fits.
pub(super) struct Ballast(PathBuf);

impl Spool {
    /// Refuses when what a run adds might not fit any more: asked before it, so that nothing measured is thrown away.
    ///
    /// # Errors
    /// Less than a sixteenth of the limit is left, or too little of the disk, or the file cannot be read.
    pub fn check_room(&self) -> Result<(), SpoolError> {
        let kept = self.kept_bytes()?;
        self.check_limit(kept.saturating_add(self.bytes_max / RESERVE))?;
        self.ballast.take();
        if self
            .disk_bytes()
            .is_some_and(|left| left < self.disk_bytes_min())
        {
            return Err(self.disk_full());
        }
        Ok(())
    }

    /// What there is room for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn room(&self) -> Result<Room, SpoolError> {
        let is_enough = match self.check_room() {
            Ok(()) => true,
            Err(error) if error.is_full() => false,
            Err(error) => return Err(error),
        };
        Ok(Room {
            kept_bytes: self.kept_bytes()?,
            bytes_max: self.bytes_max,
            disk_bytes: self.disk_bytes(),
            is_enough,
        })
    }

    /// So many bytes may be on disk after an append.
    pub(super) fn limit(&self, claim: Claim) -> u64 {
        match claim {
            Claim::Record => self.bytes_max - (self.bytes_max / END_RESERVE).min(END_BYTES_MAX),
            Claim::End => self.bytes_max,
        }
    }

    pub(super) fn disk_full(&self) -> SpoolError {
        SpoolError::DiskFull {
            path: self.path.clone(),
        }
    }

    fn disk_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn disk_bytes_min(&self) -> u64 {
        (self.bytes_max / RESERVE).min(DISK_BYTES_MAX)
    }
}

impl Ballast {
    /// Of the spool in `folder`.
    pub(super) fn of(folder: &Path) -> Self {
        Self(folder.join("spool.reserve"))
    }

    /// Takes the room, if it is not taken in full and there is some.
    pub(super) fn take(&self) {
        let is_taken = fs::metadata(&self.0).is_ok_and(|file| file.len() == BALLAST_BYTES);
        if !is_taken && self.fill().is_err() {
            self.give_up();
        }
    }

    /// Room that is only promised is none: the disk is asked whether it has it.
    fn fill(&self) -> io::Result<()> {
        let mut file = File::create(&self.0)?;
        io::copy(&mut io::repeat(1).take(BALLAST_BYTES), &mut file)?;
        file.sync_all()
    }

    /// Gives it up; whether there was any.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

impl SpoolError {
    /// Whether it is for want of room, by the limit or on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::DiskFull { .. })
    }
}

/// Whether SQLite could not for want of room on the disk. Its shared memory is a file, too, and has an error of its own.
pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
    let shared_memory = ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_error().map(|error| error.extended_code) == Some(shared_memory)
}

/// Which part of the limit is kept for the run in hand: 64 MiB of the default, some ten times what a run of 500 requests takes.
const RESERVE: u64 = 16;

/// Which part of the limit, and how much at most, is kept for the end of the run in hand: its report is some 10 KiB.
const END_RESERVE: u64 = 64;
const END_BYTES_MAX: u64 = 1 << 20;

/// Never more of the disk than this is asked for before a run: what a large segment takes twice, in the log and in the file.
const DISK_BYTES_MAX: u64 = 32 << 20;

/// Some hundred pages of SQLite's log.
const BALLAST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_that_was_cut_short_is_made_whole() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = folder.path().join("spool.reserve");
        fs::write(&reserve, b"little").unwrap();
        let ballast = Ballast::of(folder.path());
        ballast.take();
        assert_eq!(fs::metadata(&reserve).unwrap().len(), BALLAST_BYTES);
        assert!(ballast.give_up());
        assert!(!ballast.give_up());
    }
}
