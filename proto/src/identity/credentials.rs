//! An identity in a folder: a private key, the certificates that vouch for it, and where they are good.
//!
//! # Format
//!
//! ```text
//! identity/               0700
//!   identity.json         0600  site, role, name, collector, and which of the following counts
//!   SERIAL.pem            0600  the private key, then the chain: own certificate first, authority last
//!   last-time-seen        0600  decimal µs since 1970
//!   renewal.lock          0600  locked by whoever is about to replace the identity
//! ```
//!
//! Every file is written under another name, synced and renamed; `identity.json` comes last and is what counts, so that after any
//! interruption there is the earlier identity or the new one, with its own key, never half of each.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokwatt_domain::time::WallTime;

use super::{
    authority::Authority,
    certificate::{CertificateFacts, UnreadableCertificate},
    key::{KeyError, PrivateKey},
    names::{Role, Site},
};

/// An identity: who one is, and what proves it.
#[derive(Debug)]
pub struct Credentials {
    key: PrivateKey,
    /// Own certificate first, authority last.
    chain: Vec<CertificateDer<'static>>,
    facts: CertificateFacts,
    collector: String,
    last_time_seen: WallTime,
}

/// A folder for an identity while its owner gets one: nobody else stores one there meanwhile. Let go when dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// There is no identity to be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is none.
    #[error("there is no identity in `{}`: enrol first", .0.display())]
    Absent(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {attempted} `{}`{}", path.display(), whose(source))]
    File {
        /// What was tried.
        attempted: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Others may read a secret.
    #[error(
        "`{}` holds a private key, and others than its owner can read it (mode {mode:04o}): if nobody had access, `chmod {} {}`, else enrol again",
        path.display(), if *.is_folder { "700" } else { "600" }, path.display()
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whether it is a folder.
        is_folder: bool,
    },
    /// A file is not what was written there.
    #[error("`{}` is damaged ({problem}): enrol again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        problem: String,
    },
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate is none of ours.
    #[error(transparent)]
    Certificate(#[from] UnreadableCertificate),
    /// There is no certificate beside that of the authority.
    #[error("the chain has no certificate and authority")]
    ShortChain,
    /// The certificate is of another key.
    #[error("the certificate is of another key than the one made here")]
    OtherKey,
    /// TLS does not take them.
    #[error("TLS cannot use the certificate with its key")]
    Pair(#[source] rustls::Error),
}

/// `identity.json`.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    site: Site,
    role: Role,
    name: String,
    collector: String,
    /// Name of the file with key and chain.
    credentials: String,
}

impl Credentials {
    /// Puts together what an enrolment or renewal gave. `collector` is the address at which they are good.
    ///
    /// # Errors
    /// The certificate is not of this key, or names nobody.
    pub fn new(
        key: PrivateKey,
        chain: Vec<Vec<u8>>,
        collector: &str,
        seen: WallTime,
    ) -> Result<Self, CredentialsError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self::of(key, chain, collector.to_owned(), seen)
    }

    /// Reads them.
    ///
    /// # Errors
    /// There are none, they are damaged, or others could read them.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let before = Kept::read(folder)?;
        match Self::load_kept(folder, &before) {
            // Replaced between the two looks by somebody who renewed them.
            Err(CredentialsError::File { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Self::load_kept(folder, &Kept::read(folder)?)
            }
            outcome => outcome,
        }
    }

    /// Keeps the next ones in a folder, instead of those that are there. On return they have reached the disk.
    ///
    /// # Errors
    /// The folder cannot be written; what was there before counts on.
    pub fn store(&self, folder: &Path) -> Result<(), CredentialsError> {
        make_folder(folder)?;
        note_time(folder, self.last_time_seen)?;
        self.keep(folder)
    }

    /// Keeps those of an enrolment: what the collector of earlier ones said about the time counts no more.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn store_anew(&self, folder: &Path) -> Result<(), CredentialsError> {
        make_folder(folder)?;
        put_time(folder, self.last_time_seen)?;
        self.keep(folder)
    }

    fn keep(&self, folder: &Path) -> Result<(), CredentialsError> {
        let earlier = Kept::read(folder).ok();
        let kept = self.to_kept();
        replace(folder, &kept.credentials, self.to_pem().as_bytes())?;
        let mut json = serde_json::to_vec_pretty(&kept).expect("it has no maps");
        json.push(b'\n');
        replace(folder, IDENTITY, &json)?;
        match earlier {
            Some(earlier) if earlier.credentials != kept.credentials => earlier.remove(folder),
            _ => Ok(()),
        }
    }

    /// Notes that it is at least that late: somebody who must know said so. Also on disk, so that it holds after a loss of power.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn saw(&mut self, folder: &Path, time: WallTime) -> Result<(), CredentialsError> {
        if time <= self.last_time_seen {
            return Ok(());
        }
        self.last_time_seen = time;
        note_time(folder, time)
    }

    /// Who one is, and until when.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Own certificate first, authority last.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Who vouches for one, and whom one goes by.
    ///
    /// # Errors
    /// Its certificate cannot be read.
    pub fn authority(&self) -> Result<Authority, CredentialsError> {
        let last = self.chain.last().ok_or(CredentialsError::ShortChain)?;
        Ok(Authority::read(last)?)
    }

    /// Where they are good: address of the collector.
    #[must_use]
    pub fn collector(&self) -> &str {
        &self.collector
    }

    /// The latest time that somebody who must know has told: at least the start of the own certificate.
    #[must_use]
    pub fn last_time_seen(&self) -> WallTime {
        self.last_time_seen
    }

    fn of(
        key: PrivateKey,
        chain: Vec<CertificateDer<'static>>,
        collector: String,
        seen: WallTime,
    ) -> Result<Self, CredentialsError> {
        let [own, .., _] = &chain[..] else {
            return Err(CredentialsError::ShortChain);
        };
        let facts = CertificateFacts::read(own)?;
        if facts.key_sha256 != key.public_sha256() {
            return Err(CredentialsError::OtherKey);
        }
        Ok(Self {
            last_time_seen: seen.max(facts.not_before),
            key,
            chain,
            facts,
            collector,
        })
    }

    fn load_kept(folder: &Path, kept: &Kept) -> Result<Self, CredentialsError> {
        let path = folder.join(&kept.credentials);
        let pem = read_secret(&path)?;
        let damaged = |problem: String| CredentialsError::Damaged {
            path: path.clone(),
            problem,
        };
        let key = PrivateKey::from_pem(&pem).map_err(|error| damaged(error.to_string()))?;
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(error.to_string()))?;
        let seen = time_noted(folder);
        Self::of(key, chain, kept.collector.clone(), seen)
            .map_err(|error| damaged(error.to_string()))
    }

    fn to_kept(&self) -> Kept {
        Kept {
            site: self.facts.site.clone(),
            role: self.facts.subject.role,
            name: self.facts.subject.name.clone(),
            collector: self.collector.clone(),
            credentials: format!("{}.pem", hex(&self.facts.serial)),
        }
    }

    fn to_pem(&self) -> String {
        let certificates = self.chain.iter().map(|der| certificate_pem(der));
        self.key.to_pem() + &certificates.collect::<String>()
    }
}

impl FolderLock {
    /// Makes the folder if need be; `None` if somebody else is at it.
    ///
    /// # Errors
    /// The folder cannot be written, or others can look into it.
    pub fn try_take(folder: &Path) -> Result<Option<Self>, CredentialsError> {
        make_folder(folder)?;
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options
            .open(&path)
            .map_err(|source| failed("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
        }
    }

    /// Writes what a new identity takes, and takes it away again: for before a token is spent on one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn try_room(&self, folder: &Path) -> Result<(), CredentialsError> {
        replace(folder, TRIAL, &[0; IDENTITY_BYTES])?;
        let path = folder.join(TRIAL);
        fs::remove_file(&path).map_err(|source| failed("remove", &path, source))
    }
}

impl Kept {
    /// The file that only these went by.
    fn remove(&self, folder: &Path) -> Result<(), CredentialsError> {
        let path = folder.join(&self.credentials);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let path = folder.join(IDENTITY);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CredentialsError::Absent(folder.to_owned()));
            }
            // Somebody else's is not none.
            looked => looked.map_err(|source| failed("read", &path, source))?,
        };
        refuse_exposed(folder, true)?;
        let kept: Self = serde_json::from_str(&read_secret(&path)?).map_err(|error| {
            CredentialsError::Damaged {
                path: path.clone(),
                problem: error.to_string(),
            }
        })?;
        Ok(kept)
    }
}

/// A certificate as text, for files that people look into.
#[must_use]
pub fn certificate_pem(der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// Whole or not at all, for the owner's eyes only, and on the disk when this returns.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), CredentialsError> {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let write = || {
        // One that an interruption left may have other permissions.
        if new.exists() {
            fs::remove_file(&new)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| failed("write", &path, source))
}

fn read_secret(path: &Path) -> Result<String, CredentialsError> {
    refuse_exposed(path, false)?;
    fs::read_to_string(path).map_err(|source| failed("read", path, source))
}

fn refuse_exposed(path: &Path, is_folder: bool) -> Result<(), CredentialsError> {
    let metadata = fs::metadata(path).map_err(|source| failed("read", path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.to_owned();
    Err(CredentialsError::Exposed {
        path,
        mode,
        is_folder,
    })
}

fn make_folder(folder: &Path) -> Result<(), CredentialsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| failed("make the folder", folder, source))?;
    refuse_exposed(folder, true)
}

fn note_time(folder: &Path, time: WallTime) -> Result<(), CredentialsError> {
    if time <= time_noted(folder) {
        return Ok(());
    }
    put_time(folder, time)
}

fn put_time(folder: &Path, time: WallTime) -> Result<(), CredentialsError> {
    replace(folder, LAST_TIME_SEEN, format!("{}\n", time.0).as_bytes())
}

/// As good as none if it cannot be read: then the certificate's own dates are all there is.
fn time_noted(folder: &Path) -> WallTime {
    let text = fs::read_to_string(folder.join(LAST_TIME_SEEN)).unwrap_or_default();
    WallTime(text.trim().parse().unwrap_or_default())
}

fn failed(attempted: &'static str, path: &Path, source: io::Error) -> CredentialsError {
    let path = path.to_owned();
    CredentialsError::File {
        attempted,
        path,
        source,
    }
}

/// What to do where a folder is somebody else's.
fn whose(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (an identity belongs to the user who enrolled it: run this as that user)"
        }
        _ => "",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const IDENTITY: &str = "identity.json";
const LAST_TIME_SEEN: &str = "last-time-seen";
const LOCK: &str = "renewal.lock";
const TRIAL: &str = "trial";

/// More than key, chain and dates take.
const IDENTITY_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::made_up::{DAY, MadeUpAuthority, NOW};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A folder that has an identity, and its name.
    fn enrolled(authority: &MadeUpAuthority) -> (tempfile::TempDir, PathBuf) {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("identity");
        authority.device("orin-1", 30).store(&folder).unwrap();
        (data, folder)
    }

    fn key_file(folder: &Path) -> PathBuf {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut keys = entries.filter(|path| path.extension().is_some_and(|found| found == "pem"));
        let key = keys.next().unwrap();
        assert_eq!(keys.next(), None, "an earlier key is left");
        key
    }

    #[test]
    fn an_identity_survives_its_folder_and_nobody_else_may_read_it() {
        let authority = MadeUpAuthority::new();
        let (_data, folder) = enrolled(&authority);
        let before = authority.device("orin-2", 30);
        before.store(&folder).unwrap();
        let after = Credentials::load(&folder).unwrap();
        assert_eq!(after.facts(), before.facts());
        assert_eq!(after.chain(), before.chain());
        assert_eq!(after.key().to_der(), before.key().to_der());
        assert_eq!(after.collector(), "https://127.0.0.1:1");
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&key_file(&folder)), 0o600);
        assert_eq!(mode(&folder.join(IDENTITY)), 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        let (_data, folder) = enrolled(&MadeUpAuthority::new());
        let key = key_file(&folder);
        for (path, open, shut) in [(&key, 0o644, 0o600), (&folder, 0o750, 0o700)] {
            set_mode(path, open);
            let refused = Credentials::load(&folder).unwrap_err().to_string();
            let remedy = format!("chmod {shut:o} {}", path.display());
            assert!(refused.contains(&remedy), "{refused}");
            set_mode(path, shut);
            Credentials::load(&folder).unwrap();
        }
    }

    #[test]
    fn an_enrolment_forgets_what_time_it_was_and_a_renewal_does_not() {
        let authority = MadeUpAuthority::new();
        let (_data, folder) = enrolled(&authority);
        let mut before = Credentials::load(&folder).unwrap();
        before.saw(&folder, WallTime(NOW.0 + 1000 * DAY)).unwrap();
        let next = authority.device("orin-1", 60);
        next.store(&folder).unwrap();
        let renewed = Credentials::load(&folder).unwrap();
        assert_eq!(renewed.last_time_seen(), before.last_time_seen());
        next.store_anew(&folder).unwrap();
        let anew = Credentials::load(&folder).unwrap();
        assert_eq!(anew.last_time_seen(), next.last_time_seen());
    }

    #[test]
    fn what_else_is_in_the_folder_stays_there() {
        let authority = MadeUpAuthority::new();
        let (_data, folder) = enrolled(&authority);
        let (other, before) = (folder.join("my-own.pem"), key_file(&folder));
        fs::write(&other, "of somebody").unwrap();
        authority.device("orin-1", 60).store(&folder).unwrap();
        assert!(other.exists() && !before.exists());
    }

    #[test]
    fn one_at_a_time_replaces_an_identity() {
        let (_data, folder) = enrolled(&MadeUpAuthority::new());
        let lock = FolderLock::try_take(&folder).unwrap().unwrap();
        assert!(FolderLock::try_take(&folder).unwrap().is_none());
        lock.try_room(&folder).unwrap();
        drop(lock);
        assert!(FolderLock::try_take(&folder).unwrap().is_some());
        assert!(!folder.join(TRIAL).exists());
    }

    #[test]
    fn debug_output_shows_no_key() {
        let credentials = MadeUpAuthority::new().device("orin-1", 30);
        let shown = format!("{credentials:?}");
        let pem = credentials.key().to_pem();
        let secret = pem.lines().nth(1).unwrap();
        assert!(shown.contains("key: PrivateKey { .. }"), "{shown}");
        assert!(!shown.contains(secret));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let authority = MadeUpAuthority::new();
        let [own, other] = [(); 2].map(|()| PrivateKey::generate().unwrap());
        let chain = authority.chain(&other, "orin-1", 30);
        let refused = Credentials::new(own, chain, "", WallTime(0));
        assert!(matches!(refused, Err(CredentialsError::OtherKey)));
    }

    /// Stops a renewal after each of its steps, and once more in the middle of each file.
    #[test]
    fn a_torn_write_leaves_the_earlier_identity() {
        let authority = MadeUpAuthority::new();
        let (_data, folder) = enrolled(&authority);
        let before = Credentials::load(&folder).unwrap();
        let next = authority.device("orin-1", 60);
        let kept = next.to_kept();
        let pem = next.to_pem();
        let json = serde_json::to_vec_pretty(&kept).unwrap();
        let still_before = || {
            let found = Credentials::load(&folder).unwrap();
            assert_eq!(found.facts(), before.facts());
            assert_eq!(found.key().to_der(), before.key().to_der());
        };
        for half in [0, pem.len() / 2, pem.len()] {
            fs::write(
                folder.join(format!("{}.new", kept.credentials)),
                &pem[..half],
            )
            .unwrap();
            still_before();
        }
        replace(&folder, &kept.credentials, pem.as_bytes()).unwrap();
        still_before();
        for half in [0, json.len() / 2, json.len()] {
            fs::write(folder.join(format!("{IDENTITY}.new")), &json[..half]).unwrap();
            still_before();
        }
        next.store(&folder).unwrap();
        assert_eq!(Credentials::load(&folder).unwrap().facts(), next.facts());
        key_file(&folder);
    }

    #[test]
    fn what_is_damaged_is_named() {
        let (_data, folder) = enrolled(&MadeUpAuthority::new());
        for path in [key_file(&folder), folder.join(IDENTITY)] {
            fs::write(&path, "{").unwrap();
            let refused = Credentials::load(&folder).unwrap_err().to_string();
            let name = path.display().to_string();
            assert!(
                refused.contains(&name) && refused.contains("enrol again"),
                "{refused}"
            );
        }
        let nowhere = Credentials::load(&folder.join("nowhere"));
        assert!(matches!(nowhere, Err(CredentialsError::Absent(_))));
        // What cannot be looked at is not taken for none.
        let no_folder = Credentials::load(&folder.join(IDENTITY));
        assert!(matches!(no_folder, Err(CredentialsError::File { .. })));
    }

    #[test]
    fn the_last_time_seen_only_grows_and_outlives_the_process() {
        let (_data, folder) = enrolled(&MadeUpAuthority::new());
        let mut credentials = Credentials::load(&folder).unwrap();
        assert_eq!(credentials.last_time_seen(), credentials.facts().not_before);
        for (told, want) in [(NOW.0, NOW.0), (NOW.0 - DAY, NOW.0), (NOW.0 + 1, NOW.0 + 1)] {
            credentials.saw(&folder, WallTime(told)).unwrap();
            assert_eq!(credentials.last_time_seen(), WallTime(want));
            let again = Credentials::load(&folder).unwrap();
            assert_eq!(again.last_time_seen(), WallTime(want));
        }
    }
}
