//! Room: of the database, of its write-ahead log, and what is left on their disk.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::gauge::ConstGauge,
};

use super::write;

/// The files of a database, and the disk that they are on.
#[derive(Clone, Debug)]
pub struct Disk {
    database: PathBuf,
    log: PathBuf,
}

impl Disk {
    pub(super) fn of(database: &Path) -> Self {
        Self {
            log: database.with_extension("sqlite-wal"),
            database: database.to_owned(),
        }
    }

    /// Bytes that this user may still write there.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let room = rustix::fs::statvfs(self.database.parent().unwrap_or(&self.database))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

/// What cannot be learnt is left out.
impl Collector for Disk {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let length = |path: &PathBuf| fs::metadata(path).map(|file| file.len());
        let figures = [
            (
                "tokwatt_database_bytes",
                "Size of the database",
                length(&self.database),
            ),
            (
                "tokwatt_wal_bytes",
                "Size of its write-ahead log",
                length(&self.log),
            ),
            (
                "tokwatt_disk_free_bytes",
                "Room that is left on their disk",
                self.free_bytes(),
            ),
        ];
        for (name, help, bytes) in figures {
            if let Ok(bytes) = bytes {
                write(&mut encoder, name, help, &ConstGauge::new(bytes))?;
            }
        }
        Ok(())
    }
}
