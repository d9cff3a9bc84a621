//! A copy of a collector's data folder that can be served, made while the collector goes on.
//!
//! It is made in a folder beside its place, looked through, brought to the disk, and only then gets its name: a folder of that
//! name is a whole backup, whatever happened. To restore it is to serve it: `serve --data` on it, or on a copy of it.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::{self, Holdings, StoreError, database_in};

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Where it is.
    pub folder: PathBuf,
    /// Of all its files.
    pub n_bytes: u64,
    /// How long it took to copy and to look through.
    pub took: Duration,
    /// What is in it.
    pub holdings: Holdings,
    /// Whether the site's authority is in it.
    pub identity: Identity,
}

/// Whether the site's authority is in a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Identity {
    /// With its private key.
    Included,
    /// There is one, and it is to be kept elsewhere.
    LeftOut,
    /// There is none.
    None,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing to be copied.
    #[error("there is no database in `{0}`: name the collector's data folder with --data")]
    NoDatabase(PathBuf),
    /// It would have to be overwritten.
    #[error("`{0}` is there already and is left as it is: choose another name")]
    Exists(PathBuf),
    /// A name is missing.
    #[error("`{0}` cannot be the name of a folder to be made")]
    NoName(PathBuf),
    /// Another one has the same place.
    #[error("another backup to `{0}` is under way")]
    UnderWay(PathBuf),
    /// It would not fit.
    #[error(
        "a backup takes up to {needed} bytes, and {free} are free on the disk of `{folder}`: choose another disk"
    )]
    NoRoom {
        /// Size of what is to be copied.
        needed: u64,
        /// What is free.
        free: u64,
        /// On whose disk.
        folder: PathBuf,
    },
    /// There is no authority.
    #[error(
        "there is no identity in `{0}`: leave --with-identity out, or name the collector's data folder with --data"
    )]
    NoIdentity(PathBuf),
    /// The copy is not what was copied.
    #[error(
        "the copy has device `{device}`, epoch {epoch}, through {got} and not through {expected}: do not rely on it, and report this"
    )]
    Behind {
        /// Whose stream.
        device: String,
        /// Which life of it.
        epoch: i64,
        /// What the collector had acknowledged before.
        expected: i64,
        /// What the copy has; 0 if nothing.
        got: i64,
    },
    /// The database could not be copied or looked through.
    #[error("cannot back up the database")]
    Store(#[from] StoreError),
    /// A file or folder could not be used.
    #[error("cannot {attempted} `{path}`")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Copies the data folder `data` to the new folder `destination`.
///
/// # Errors
/// Nothing is at `destination` then that was not there before.
pub fn back_up(
    data: &Path,
    destination: &Path,
    with_identity: bool,
) -> Result<Backup, BackupError> {
    let began = Instant::now();
    let database = database_in(data);
    if !database.is_file() {
        return Err(BackupError::NoDatabase(data.to_owned()));
    }
    if destination.exists() {
        return Err(BackupError::Exists(destination.to_owned()));
    }
    let identity = identity_in(data, with_identity)?;
    let unfinished = Unfinished::make(destination)?;
    check_room(&[&database, &log_of(&database)], &unfinished.parent)?;

    let before = store::holdings_in(data)?;
    let copy = database_in(&unfinished.folder);
    store::copy(data, &copy)?;
    let holdings = store::verify(&copy)?;
    check_streams(&before, &holdings)?;
    let mut n_bytes = secure(&copy)?;
    if identity == Identity::Included {
        n_bytes += copy_identity(&data.join(IDENTITY), &unfinished.folder.join(IDENTITY))?;
    }
    unfinished.finish(destination)?;
    Ok(Backup {
        folder: destination.to_owned(),
        n_bytes,
        took: began.elapsed(),
        holdings,
        identity,
    })
}

/// Removes the oldest backups of `folder` but for `n_kept`, and returns them. Only what is named by [`name_at`] and has a
/// database is one.
///
/// # Errors
/// The folder cannot be read, or one of them not be removed.
pub fn prune(folder: &Path, n_kept: usize) -> Result<Vec<PathBuf>, BackupError> {
    let failed = in_file("read", folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(&failed)? {
        let path = entry.map_err(&failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_name) && database_in(&path).is_file() {
            found.push(path);
        }
    }
    // By name is by age.
    found.sort();
    found.truncate(found.len().saturating_sub(n_kept));
    for old in &found {
        fs::remove_dir_all(old).map_err(in_file("remove the old backup", old))?;
    }
    Ok(found)
}

/// The name of a backup among others, from a date as `2026-11-22 02:17:09`: `2026-11-22T02-17-09Z`.
pub fn name_at(utc: &str) -> String {
    utc.replace(' ', "T").replace(':', "-") + "Z"
}

fn is_name(name: &str) -> bool {
    let pattern = "0000-00-00T00-00-00Z";
    let fits = |(byte, like): (u8, u8)| match like {
        b'0' => byte.is_ascii_digit(),
        _ => byte == like,
    };
    name.len() == pattern.len() && name.bytes().zip(pattern.bytes()).all(fits)
}

/// A backup that is being made, and is removed unless it is finished.
struct Unfinished {
    /// Where the backup is to be.
    parent: PathBuf,
    folder: PathBuf,
    // Held, so that nobody takes it for left over.
    lock: File,
}

impl Unfinished {
    fn make(destination: &Path) -> Result<Self, BackupError> {
        let name = destination.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| BackupError::NoName(destination.to_owned()))?;
        let parent = match destination.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folder = parent.join(format!(".{name}.unfinished"));
        let mut private = DirBuilder::new();
        private
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(in_file("make the folder", &folder))?;
        let lock = File::open(&folder).map_err(in_file("open", &folder))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::UnderWay(destination.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(in_file("lock", &folder)(error)),
        }
        let unfinished = Self {
            parent,
            folder,
            lock,
        };
        unfinished.clear()?;
        Ok(unfinished)
    }

    /// What a power cut left of an earlier one.
    fn clear(&self) -> Result<(), BackupError> {
        let failed = in_file("clear", &self.folder);
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            }
            .map_err(in_file("remove", &path))?;
        }
        Ok(())
    }

    /// The names of the files, then the name of the folder. A rename never replaces a folder with something in it, nor a file.
    fn finish(self, destination: &Path) -> Result<(), BackupError> {
        self.lock
            .sync_all()
            .map_err(in_file("sync", &self.folder))?;
        fs::rename(&self.folder, destination)
            .map_err(in_file("rename the finished backup to", destination))?;
        sync(&self.parent)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.folder) {
            Ok(()) => {}
            // It has its name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, folder = %self.folder.display(), "an unfinished backup is left over");
            }
        }
    }
}

fn identity_in(data: &Path, is_wanted: bool) -> Result<Identity, BackupError> {
    match (data.join(IDENTITY).is_dir(), is_wanted) {
        (true, true) => Ok(Identity::Included),
        (true, false) => Ok(Identity::LeftOut),
        (false, false) => Ok(Identity::None),
        (false, true) => Err(BackupError::NoIdentity(data.to_owned())),
    }
}

fn check_room(files: &[&Path], folder: &Path) -> Result<(), BackupError> {
    let needed = files
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|file| file.len())
        .sum();
    let room = rustix::fs::statvfs(folder).map_err(io::Error::from);
    let room = room.map_err(in_file("look at the disk of", folder))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free < needed {
        return Err(BackupError::NoRoom {
            needed,
            free,
            folder: folder.to_owned(),
        });
    }
    Ok(())
}

/// Everything that was acknowledged before the copy began is in it.
fn check_streams(before: &Holdings, copy: &Holdings) -> Result<(), BackupError> {
    for stream in &before.streams {
        let same = |other: &&store::Delivered| {
            (&other.device, other.epoch) == (&stream.device, stream.epoch)
        };
        let got = copy.streams.iter().find(same);
        let got = got.map_or(0, |copied| copied.through);
        if got < stream.through {
            return Err(BackupError::Behind {
                device: stream.device.clone(),
                epoch: stream.epoch,
                expected: stream.through,
                got,
            });
        }
    }
    Ok(())
}

fn copy_identity(from: &Path, to: &Path) -> Result<u64, BackupError> {
    DirBuilder::new()
        .mode(0o700)
        .create(to)
        .map_err(in_file("make the folder", to))?;
    let failed = in_file("read", from);
    let mut n_bytes = 0;
    for entry in fs::read_dir(from).map_err(&failed)? {
        let path = entry.map_err(&failed)?.path();
        let copy = to.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &copy).map_err(in_file("copy", &path))?;
        n_bytes += secure(&copy)?;
    }
    sync(to)?;
    Ok(n_bytes)
}

/// For the owner only, and on the disk. Its size.
fn secure(path: &Path) -> Result<u64, BackupError> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(in_file("set the permissions of", path))?;
    sync(path)?;
    let file = fs::metadata(path).map_err(in_file("look at", path))?;
    Ok(file.len())
}

fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(in_file("sync", path))
}

fn log_of(database: &Path) -> PathBuf {
    database.with_extension("sqlite-wal")
}

fn in_file<'a>(
    attempted: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> BackupError + use<'a> {
    move |source| BackupError::File {
        attempted,
        path: path.to_owned(),
        source,
    }
}

/// The authority's folder in a data folder.
const IDENTITY: &str = "identity";

#[cfg(test)]
mod tests {
    use tokwatt_domain::time::WallTime;
    use tokwatt_proto::identity::Site;

    use super::*;
    use crate::{
        enrol::Identity as Authority,
        store::{Delivered, Store},
    };

    fn data(folder: &Path) -> PathBuf {
        let data = folder.join("data");
        drop(Store::open(&data).unwrap());
        data
    }

    #[track_caller]
    fn refuses(outcome: Result<Backup, BackupError>, words: &[&str]) {
        let text = outcome.unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        let taken = folder.path().join("taken");
        fs::write(&taken, "mine").unwrap();
        refuses(back_up(&data, &taken, false), &["taken", "left as it is"]);
        assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");

        let nowhere = folder.path().join("nowhere");
        let other = folder.path().join("other");
        refuses(back_up(&nowhere, &other, false), &["nowhere", "--data"]);
        refuses(
            back_up(&data, &other, true),
            &["no identity", "--with-identity"],
        );
        refuses(back_up(&data, Path::new("/"), false), &["/"]);
        fs::write(database_in(&data), "SQLite format 3\0 it is not").unwrap();
        refuses(back_up(&data, &other, false), &["cannot back up"]);
        assert_eq!(names(folder.path()), ["data", "taken"]);
    }

    #[test]
    fn what_a_power_cut_left_is_cleared_and_what_is_under_way_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        let copy = folder.path().join("copy");
        let left = folder.path().join(".copy.unfinished");
        fs::create_dir_all(left.join("identity")).unwrap();
        fs::write(database_in(&left), "half").unwrap();
        let other = File::open(&left).unwrap();
        other.lock().unwrap();
        refuses(back_up(&data, &copy, false), &["copy", "under way"]);
        assert!(database_in(&left).exists());
        drop(other);
        back_up(&data, &copy, false).unwrap();
        assert_eq!(names(folder.path()), ["copy", "data"]);
        assert_eq!(names(&copy), ["collector.sqlite"]);
    }

    #[test]
    fn the_authority_is_copied_when_asked_for_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        let addresses = vec!["localhost".to_owned()];
        let site = Site::parse("lab").unwrap();
        let own = Authority::create(&data.join(IDENTITY), site, addresses, WallTime(0)).unwrap();
        let [with, without] = ["with", "without"].map(|name| folder.path().join(name));
        let backup = back_up(&data, &without, false).unwrap();
        assert_eq!(backup.identity, Identity::LeftOut);
        assert_eq!(names(&without), ["collector.sqlite"]);
        let backup = back_up(&data, &with, true).unwrap();
        assert_eq!(backup.identity, Identity::Included);
        // Which is refused if others may read its key.
        let restored = Authority::open(&with.join(IDENTITY)).unwrap().unwrap();
        let key = |identity: &Authority| identity.authority().key_sha256();
        assert_eq!(key(&restored), key(&own));
        let key = with.join("identity/authority.key");
        for (path, mode) in [
            (&key, 0o600),
            (&with.join("identity"), 0o700),
            (&with.join("collector.sqlite"), 0o600),
            (&with, 0o700),
        ] {
            let found = fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
    }

    #[test]
    fn a_copy_that_is_behind_is_no_backup() {
        let stream = |through| Delivered {
            device: "lab-1".to_owned(),
            epoch: 7,
            through,
        };
        let holdings = |streams| Holdings {
            n_devices: 1,
            n_runs: 0,
            n_records: 0,
            streams,
        };
        let before = holdings(vec![stream(5)]);
        assert!(check_streams(&before, &holdings(vec![stream(6)])).is_ok());
        for streams in [vec![stream(4)], Vec::new()] {
            let error = check_streams(&before, &holdings(streams)).unwrap_err();
            assert!(error.to_string().contains("`lab-1`, epoch 7"), "{error}");
        }
    }

    #[test]
    fn the_oldest_go_and_what_is_no_backup_stays() {
        let folder = tempfile::tempdir().unwrap();
        let named = |utc: &str| folder.path().join(name_at(utc));
        let days = ["2026-11-20", "2026-11-21", "2026-11-22"];
        for day in days {
            let backup = named(&format!("{day} 02:17:09"));
            fs::create_dir(&backup).unwrap();
            fs::write(database_in(&backup), "").unwrap();
        }
        fs::create_dir(named("2020-01-01 00:00:00")).unwrap();
        fs::create_dir(folder.path().join("by-hand")).unwrap();
        let removed = prune(folder.path(), 2).unwrap();
        assert_eq!(removed, [named("2026-11-20 02:17:09")]);
        assert_eq!(
            names(folder.path()),
            [
                "2020-01-01T00-00-00Z",
                "2026-11-21T02-17-09Z",
                "2026-11-22T02-17-09Z",
                "by-hand"
            ]
        );
        assert_eq!(prune(folder.path(), 2).unwrap(), [] as [PathBuf; 0]);
    }
}
