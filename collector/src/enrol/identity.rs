//! The collector's own identity: the site's authority, and what it issues.
//!
//! # Format
//!
//! ```text
//! identity/           0700
//!   site.json         0600  name of the site, names and addresses of the server
//!   authority.pem     0600  the authority's certificate
//!   authority.key     0600  its private key
//! ```
//!
//! The folder is written under another name, synced and renamed: it is there as a whole, or not at all. The server's own certificate and its
//! key are made when they are needed, and are on no disk.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    pki_types::{CertificateDer, DnsName, pem::PemObject},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokwatt_domain::time::WallTime;
use tokwatt_proto::identity::{
    Authority, KeyError, PrivateKey, Site, Subject, UnreadableCertificate,
    tls::{SERVER_NAME, provider},
};

use crate::store::NewCertificate;

/// The authority of a site, with its key.
#[derive(Debug)]
pub struct Identity {
    site: Site,
    /// Names and addresses of the server; at least one.
    addresses: Vec<String>,
    key: PrivateKey,
    authority: Authority,
}

/// A certificate as it is handed out, and as it is stored.
#[derive(Debug)]
pub struct Issued {
    /// In DER: the subject's own, then the authority's.
    pub chain: Vec<Vec<u8>>,
    /// For the store.
    pub certificate: NewCertificate,
}

/// There is no identity to be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A second one would disown everybody who has a certificate of the first.
    #[error(
        "`{}` is there already: this collector has an identity, and every enrolled device goes by it. To begin anew, with all of them to be enrolled again, move the folder away first",
        .0.display()
    )]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {attempted} `{}`", path.display())]
    File {
        /// What was tried.
        attempted: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others may read the authority's key.
    #[error(
        "others than its owner can read `{}` (mode {mode:04o}), and whoever has it can admit devices: if nobody had access, `chmod 600 {}`, else move the identity away and begin anew with `init`",
        path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is not what was written there.
    #[error("`{}` is damaged ({problem}): restore it from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        problem: String,
    },
    /// Neither a name nor an address.
    #[error(
        "`{0}` is neither the name nor the IP address of a machine; --address takes the ones by which devices reach this server, without a port"
    )]
    Address(String),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Our own certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] UnreadableCertificate),
    /// It cannot be made.
    #[error("cannot make a certificate")]
    Issue(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("TLS cannot use the server's certificate")]
    Server(#[from] rustls::Error),
}

/// `site.json`.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    site: Site,
    addresses: Vec<String>,
}

impl Identity {
    /// Makes one in a folder that is not there yet. On return it has reached the disk.
    ///
    /// # Errors
    /// The folder is there, or cannot be written; an address is none.
    pub fn create(
        folder: &Path,
        site: Site,
        addresses: Vec<String>,
        now: WallTime,
    ) -> Result<Self, IdentityError> {
        if is_there(folder)? {
            return Err(IdentityError::Exists(folder.to_owned()));
        }
        addresses
            .iter()
            .try_for_each(|address| name(address).map(drop))?;
        let key = PrivateKey::generate()?;
        let certificate = authority(&site, now)?.self_signed(key.as_signer())?;
        let identity = Self {
            site,
            addresses,
            key,
            authority: Authority::read(certificate.der())?,
        };
        identity.write(folder, &certificate.pem())?;
        Ok(identity)
    }

    /// Reads the one in a folder; `None` if there is no such folder.
    ///
    /// # Errors
    /// It is damaged, or others can read its key.
    pub fn open(folder: &Path) -> Result<Option<Self>, IdentityError> {
        if !is_there(folder)? {
            return Ok(None);
        }
        let damaged = |file: &str, problem: String| IdentityError::Damaged {
            path: folder.join(file),
            problem,
        };
        let kept: Kept = serde_json::from_str(&read(folder, SITE)?)
            .map_err(|error| damaged(SITE, error.to_string()))?;
        let key = PrivateKey::from_pem(&read(folder, KEY)?)
            .map_err(|error| damaged(KEY, error.to_string()))?;
        let der = CertificateDer::from_pem_slice(read(folder, CERTIFICATE)?.as_bytes())
            .map_err(|error| damaged(CERTIFICATE, error.to_string()))?;
        let authority = Authority::read(&der)?;
        if authority.key_sha256() != key.public_sha256() {
            return Err(damaged(KEY, "it is not the certificate's".to_owned()));
        }
        Ok(Some(Self {
            site: kept.site,
            addresses: kept.addresses,
            key,
            authority,
        }))
    }

    /// Name of the site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Names and addresses by which the server is reached; at least one.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The authority's key, for what it signs beside certificates.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The authority without its key.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A certificate for a subject and a public key that proved to be its own.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn issue(
        &self,
        subject: Subject,
        public_key: &SubjectPublicKeyInfo,
        now: WallTime,
    ) -> Result<Issued, IdentityError> {
        let mut leaf = leaf(&format!("{} {}", subject.role, subject.name), now)?;
        let uri = subject.uri(&self.site);
        leaf.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = leaf.serial_number.as_ref().map(SerialNumber::to_bytes);
        let signed = leaf.signed_by(public_key, &self.issuer()?)?;
        Ok(Issued {
            chain: vec![signed.der().to_vec(), self.authority.der().to_vec()],
            certificate: NewCertificate {
                serial: serial.unwrap_or_default(),
                subject,
                key_sha256: Sha256::digest(public_key.subject_public_key_info()).into(),
                issued_us: now.0,
                not_after_us: later(now, LIFE).0,
            },
        })
    }

    /// A certificate and key for the server itself, both new. It is known by one name at whatever address; those of the server
    /// are for other programs than ours.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn server(&self, now: WallTime) -> Result<CertifiedKey, IdentityError> {
        let key = PrivateKey::generate()?;
        let mut leaf = leaf(&format!("collector of {}", self.site), now)?;
        leaf.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        for address in &self.addresses {
            leaf.subject_alt_names.push(name(address)?);
        }
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = leaf.signed_by(key.as_signer(), &self.issuer()?)?;
        let chain = vec![signed.der().clone(), self.authority.der().clone()];
        Ok(CertifiedKey::from_der(chain, key.to_der(), &provider())?)
    }

    fn issuer(&self) -> Result<Issuer<'static, &rcgen::KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(self.authority.der(), self.key.as_signer())
    }

    fn write(&self, folder: &Path, certificate: &str) -> Result<(), IdentityError> {
        let new = folder.with_extension("new");
        let failed = |attempted, path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::File {
                attempted,
                path,
                source,
            }
        };
        if new.exists() {
            // What an interruption left: nobody has gone by it.
            fs::remove_dir_all(&new).map_err(failed("remove", &new))?;
        }
        let home = folder.parent().unwrap_or(folder);
        fs::create_dir_all(home).map_err(failed("make the folder", home))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&new)
            .map_err(failed("make the folder", &new))?;
        let kept = Kept {
            site: self.site.clone(),
            addresses: self.addresses.clone(),
        };
        let kept = serde_json::to_string_pretty(&kept).expect("it has no maps") + "\n";
        write(&new, SITE, &kept)?;
        write(&new, CERTIFICATE, certificate)?;
        write(&new, KEY, &self.key.to_pem())?;
        // The names of the files, then the name of the folder.
        sync(&new).map_err(failed("sync", &new))?;
        fs::rename(&new, folder).map_err(failed("rename a folder to", folder))?;
        sync(home).map_err(failed("sync", home))
    }
}

/// Also if it leads nowhere: an identity that cannot be looked at is not taken for none.
fn is_there(folder: &Path) -> Result<bool, IdentityError> {
    match fs::symlink_metadata(folder) {
        // Below a file there is nothing.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(IdentityError::File {
            attempted: "look at",
            path: folder.to_owned(),
            source,
        }),
        Ok(_) => Ok(true),
    }
}

fn authority(site: &Site, now: WallTime) -> Result<CertificateParams, IdentityError> {
    let mut authority = leaf(&format!("tokwatt authority of {site}"), now)?;
    set_dates(&mut authority, now, AUTHORITY_LIFE);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(authority)
}

fn leaf(common_name: &str, now: WallTime) -> Result<CertificateParams, IdentityError> {
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = DistinguishedName::new();
    leaf.distinguished_name
        .push(DnType::CommonName, common_name);
    leaf.serial_number = Some(SerialNumber::from_slice(&serial()?));
    set_dates(&mut leaf, now, LIFE);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    Ok(leaf)
}

/// 126 random bits that DER and we write the same way: positive, and with no zeros in front.
fn serial() -> Result<[u8; 16], KeyError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| KeyError::Random)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn name(address: &str) -> Result<SanType, IdentityError> {
    let wrong = || IdentityError::Address(address.to_owned());
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    DnsName::try_from(address).map_err(|_| wrong())?;
    Ok(SanType::DnsName(address.try_into().map_err(|_| wrong())?))
}

fn set_dates(certificate: &mut CertificateParams, now: WallTime, life: Duration) {
    let since_1970 = Duration::from_micros(u64::try_from(now.0).unwrap_or_default());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    certificate.not_before = epoch + since_1970.saturating_sub(EARLY);
    certificate.not_after = epoch + since_1970 + life;
}

/// So much later.
pub(super) fn later(time: WallTime, by: Duration) -> WallTime {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    WallTime(time.0.saturating_add(micros))
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), IdentityError> {
    let path = folder.join(file);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| IdentityError::File {
        attempted: "write",
        path: path.clone(),
        source,
    })
}

fn read(folder: &Path, file: &str) -> Result<String, IdentityError> {
    let path = folder.join(file);
    let read = || {
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        Ok((mode, fs::read_to_string(&path)?))
    };
    match read() {
        Ok((mode, _)) if mode & 0o077 != 0 => Err(IdentityError::Exposed { path, mode }),
        Ok((_, text)) => Ok(text),
        Err(source) => Err(IdentityError::File {
            attempted: "read",
            path,
            source,
        }),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Of a certificate; the agent renews at two thirds.
pub(super) const LIFE: Duration = Duration::from_hours(30 * 24);

/// A certificate begins before it is issued, for clocks that are behind.
const EARLY: Duration = Duration::from_hours(1);

/// Longer than anybody keeps a collector: the authority cannot be followed by another one.
const AUTHORITY_LIFE: Duration = Duration::from_hours(20 * 365 * 24);

const SITE: &str = "site.json";
const CERTIFICATE: &str = "authority.pem";
const KEY: &str = "authority.key";
