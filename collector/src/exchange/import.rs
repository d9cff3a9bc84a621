//! Admits a spool export: read once to see whether it is whole and whose it is, and again to commit its records.

use std::{
    fs::File,
    io::{self, BufReader, Seek},
    sync::Arc,
};

use tokio::sync::Notify;
use tokwatt_domain::{ids::Seq, time::WallTime};
use tokwatt_proto::{
    delivery::{BATCH_BYTES_MAX, Envelope},
    export::{ExportError, ExportHeader, ExportReader, Receipt, Seal},
    identity::{CertificateFacts, KeyError, NotVouchedFor, Role},
};

use super::{Import, SetAside};
use crate::{
    clock::Clock,
    enrol::{Identity, standing},
    ingest::{Intake, is_beyond},
    peer::Certified,
    store::{Admitted, Store, StoreError},
    vitals::Vitals,
};

/// Takes exports of the devices of a site.
pub struct Importer {
    /// Where records go.
    pub store: Arc<Store>,
    /// Whose devices, and who signs receipts.
    pub identity: Arc<Identity>,
    /// By which certificates are judged.
    pub clock: Arc<dyn Clock>,
    /// Told when a run is finished.
    pub finished: Arc<Notify>,
    /// Counts.
    pub vitals: Arc<Vitals>,
}

/// What became of an export.
#[derive(Clone, Debug)]
pub struct Imported {
    /// For whoever asked.
    pub document: Import,
    /// To be carried back to the device.
    pub receipt: Vec<u8>,
}

/// An export is not taken. Nothing of it is stored, unless it was the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is none, cut off, altered or unsigned.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The file failed.
    #[error("the file cannot be read again")]
    File(#[source] io::Error),
    /// Not a device of this site.
    #[error("the export is not of a device of this site")]
    Stranger(#[source] NotVouchedFor),
    /// A person's certificate.
    #[error("the export is signed by {0}: devices export, nobody else")]
    NoDevice(String),
    /// Revoked, never issued here, or expired too long ago.
    #[error("{0}")]
    Standing(String),
    /// No spool counts that far.
    #[error("the export is of epoch {0}, which no spool has")]
    Epoch(u64),
    /// Something before it is missing.
    #[error(
        "the export of device `{device}` begins after record {after}, and only records up to {through} are here: import the earlier export first, or export again"
    )]
    Gap {
        /// Whose.
        device: String,
        /// Where it begins.
        after: u64,
        /// What there is.
        through: u64,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receipt could not be signed.
    #[error("everything is committed, but the receipt cannot be signed; import it again")]
    Receipt(#[source] KeyError),
    /// A thread was lost.
    #[error("reading was interrupted")]
    Interrupted,
}

/// An export that is whole and of one of ours.
struct Checked {
    header: ExportHeader,
    seal: Seal,
}

impl Importer {
    /// Commits its records as a delivery's, and gives a receipt for all that is committed then.
    ///
    /// # Errors
    /// It cannot be taken; the message says why.
    pub async fn import(&self, file: File) -> Result<Imported, ImportError> {
        let (file, facts, checked) = off_thread(move || look_through(file)).await?;
        self.check_owner(&facts, &checked.header).await?;
        let (totals, through) = self.commit(file, &checked.header).await?;
        let Checked { header, seal } = checked;
        let receipt = Receipt {
            device: header.device.clone(),
            epoch: header.epoch,
            through,
            export_sha256: seal.sha256,
            imported: self.clock.wall(),
        };
        let receipt = receipt
            .sign(self.identity.key())
            .map_err(ImportError::Receipt)?;
        tracing::info!(device = %header.device, epoch = header.epoch.0, through = through.0, stored = totals.stored, "export imported");
        let set_aside = totals.set_aside.into_iter();
        Ok(Imported {
            document: Import {
                schema: Import::SCHEMA.to_owned(),
                device: header.device.into(),
                epoch: header.epoch.0,
                records: seal.through.0 - header.after.0,
                stored: totals.stored.into(),
                set_aside: set_aside
                    .map(|(seq, problem)| SetAside {
                        seq: seq.0,
                        problem,
                    })
                    .collect(),
                finished_runs: totals.finished.into(),
                through: through.0,
            },
            receipt,
        })
    }

    /// A device of the site, whose certificate is good or may still be renewed.
    async fn check_owner(
        &self,
        facts: &CertificateFacts,
        header: &ExportHeader,
    ) -> Result<(), ImportError> {
        let now = self.clock.wall();
        // Whether it expired too long ago is told from its standing.
        let then = now.min(WallTime(facts.not_after.0 - 1));
        let vouched = self.identity.authority().vouches_for(&header.chain, then);
        let facts = vouched.map_err(ImportError::Stranger)?;
        if facts.subject.role != Role::Device {
            return Err(ImportError::NoDevice(facts.subject.to_string()));
        }
        let rows = self.store.certificates(vec![facts.serial.clone()]).await?;
        let certified = Certified {
            role: facts.subject.role,
            name: facts.subject.name,
            serial: facts.serial,
            not_after: facts.not_after,
        };
        let row = rows.first().and_then(Option::as_ref);
        standing(certified, row, now).map_err(ImportError::Standing)?;
        Ok(())
    }

    async fn commit(
        &self,
        file: File,
        header: &ExportHeader,
    ) -> Result<(Admitted, Seq), ImportError> {
        let (device, epoch) = (header.device.clone(), header.epoch);
        if is_beyond(epoch) {
            return Err(ImportError::Epoch(epoch.0));
        }
        let version = header.agent_version.clone();
        let mut through = self.store.greet(device.clone(), epoch, version).await?;
        if header.after > through {
            return Err(ImportError::Gap {
                device: device.into(),
                after: header.after.0,
                through: through.0,
            });
        }
        let intake = Intake {
            device,
            epoch,
            store: Arc::clone(&self.store),
            finished: Arc::clone(&self.finished),
            vitals: Arc::clone(&self.vitals),
        };
        let mut totals = Admitted::default();
        let mut reader = off_thread(move || Ok(ExportReader::open(BufReader::new(file))?)).await?;
        loop {
            let (back, batch) = off_thread(move || next_batch(reader)).await?;
            reader = back;
            if batch.is_empty() {
                return Ok((totals, through));
            }
            let admitted = intake.admit(batch).await?;
            through = through.max(admitted.through);
            totals.stored += admitted.stored;
            totals.finished += admitted.finished;
            totals.set_aside.extend(admitted.set_aside);
        }
    }
}

/// Reads all of it, and gives the file back at its beginning.
fn look_through(mut file: File) -> Result<(File, CertificateFacts, Checked), ImportError> {
    file.rewind().map_err(ImportError::File)?;
    let mut reader = ExportReader::open(BufReader::new(&file))?;
    let checked = Checked {
        seal: reader.seal()?,
        header: reader.header().clone(),
    };
    let facts = reader.facts().clone();
    drop(reader);
    file.rewind().map_err(ImportError::File)?;
    Ok((file, facts, checked))
}

type Reader = ExportReader<BufReader<File>>;

/// About as much as an agent sends at a time; nothing at the end.
fn next_batch(mut reader: Reader) -> Result<(Reader, Vec<Envelope>), ImportError> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES_MAX {
        let Some(envelope) = reader.next()? else {
            break;
        };
        bytes += envelope.record.len();
        batch.push(envelope);
    }
    Ok((reader, batch))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ImportError::Interrupted)?
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use rcgen::{PublicKeyData, SubjectPublicKeyInfo};
    use tempfile::TempDir;
    use tokwatt_domain::{
        device::{DeviceKind, DeviceProfile},
        ids::{DeviceId, Epoch},
    };
    use tokwatt_proto::{
        Record,
        export::ExportWriter,
        identity::{Credentials, PrivateKey, Site, Subject},
    };

    use super::*;
    use crate::store::{NewToken, Redemption, database_in};

    const DAY_US: i64 = 24 * 3600 * 1_000_000;

    /// Some time in 2026.
    const NOW: WallTime = WallTime(1_780_000_000_000_000);

    struct At(WallTime);

    impl Clock for At {
        fn wall(&self) -> WallTime {
            self.0
        }
    }

    /// A collector without its doors.
    struct Lab {
        _folder: TempDir,
        importer: Importer,
    }

    impl Lab {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let vitals = Arc::new(Vitals::new(&database_in(folder.path())));
            let site = Site::parse("lab").unwrap();
            let at = folder.path().join("identity");
            let importer = Importer {
                store: Arc::new(Store::open_counted(folder.path(), &vitals).unwrap()),
                identity: Arc::new(Identity::create(&at, site, Vec::new(), NOW).unwrap()),
                clock: Arc::new(At(NOW)),
                finished: Arc::default(),
                vitals,
            };
            Self {
                _folder: folder,
                importer,
            }
        }

        fn set_days(&mut self, days: i64) {
            self.importer.clock = Arc::new(At(WallTime(NOW.0 + days * DAY_US)));
        }

        /// With a certificate that the store knows of.
        async fn enrol(&self, role: Role, name: &str) -> Credentials {
            let (credentials, certificate) = self.issue(role, name);
            let token = NewToken {
                id: name.to_owned(),
                secret_sha256: [1; 32],
                role,
                name: None,
                may_replace: true,
                created_us: NOW.0,
                created_by: "a test".to_owned(),
                expires_us: NOW.0 + 1,
            };
            self.importer.store.put_token(token).await.unwrap();
            let redemption = Redemption {
                token: name.to_owned(),
                secret_sha256: [1; 32],
                certificate,
                version: String::new(),
            };
            let redeemed = self.importer.store.redeem(redemption).await.unwrap();
            redeemed.unwrap();
            credentials
        }

        fn issue(&self, role: Role, name: &str) -> (Credentials, crate::store::NewCertificate) {
            let key = PrivateKey::generate().unwrap();
            let public = key.as_signer().subject_public_key_info();
            let public = SubjectPublicKeyInfo::from_der(&public).unwrap();
            let subject = Subject::new(role, name).unwrap();
            let issued = self.importer.identity.issue(subject, &public, NOW).unwrap();
            let credentials = Credentials::new(key, issued.chain, "", NOW).unwrap();
            (credentials, issued.certificate)
        }

        async fn import(&self, bytes: &[u8]) -> Result<Imported, String> {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let imported = self.importer.import(file).await;
            imported.map_err(|error| {
                let source = std::error::Error::source(&error);
                source.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
            })
        }
    }

    /// Records `after + 1` to `last` of an epoch; the even ones are no records.
    fn export(credentials: &Credentials, after: u64, last: u64) -> Vec<u8> {
        let name = &credentials.facts().subject.name;
        let header = ExportHeader {
            device: DeviceId::parse(name).unwrap(),
            epoch: Epoch(7),
            after: Seq(after),
            agent_version: "0.1.0".to_owned(),
            exported: NOW,
            chain: credentials.chain().to_vec(),
        };
        let profile = DeviceProfile {
            id: header.device.clone(),
            kind: DeviceKind::AgxOrin,
            facts: BTreeMap::new(),
            reasons: BTreeMap::new(),
        };
        let mut writer = ExportWriter::begin(Vec::new(), &header).unwrap();
        for seq in after + 1..=last {
            let record = match seq % 2 {
                0 => vec![0xff; 8],
                _ => Record::Device(profile.clone()).encode(),
            };
            writer.append(Seq(seq), record).unwrap();
        }
        writer.finish(credentials).unwrap().0
    }

    #[tokio::test]
    async fn an_export_is_admitted_once_for_ever_and_each_time_there_is_a_receipt() {
        let lab = Lab::new();
        let orin = lab.enrol(Role::Device, "orin-1").await;
        let read = |imported: &Imported| {
            Receipt::read(&imported.receipt, &orin.authority().unwrap()).unwrap()
        };
        let first = lab.import(&export(&orin, 0, 3)).await.unwrap();
        assert_eq!((first.document.records, first.document.stored), (3, 3));
        let aside: Vec<u64> = first
            .document
            .set_aside
            .iter()
            .map(|aside| aside.seq)
            .collect();
        assert_eq!(aside, [2], "what cannot be read is kept, and said");
        let receipt = read(&first);
        assert_eq!(
            (receipt.device.as_str(), receipt.epoch),
            ("orin-1", Epoch(7))
        );
        assert_eq!(receipt.through, Seq(3));
        // The same again, and one that goes further.
        let again = lab.import(&export(&orin, 0, 3)).await.unwrap();
        assert_eq!((again.document.stored, read(&again).through), (0, Seq(3)));
        let further = lab.import(&export(&orin, 1, 5)).await.unwrap();
        assert_eq!(
            (further.document.stored, read(&further).through),
            (2, Seq(5))
        );
        // An old one is acknowledged as far as there is anything.
        let old = lab.import(&export(&orin, 0, 2)).await.unwrap();
        assert_eq!(read(&old).through, Seq(5));
    }

    #[tokio::test]
    async fn what_follows_on_something_that_is_missing_is_refused() {
        let lab = Lab::new();
        let orin = lab.enrol(Role::Device, "orin-1").await;
        let refused = lab.import(&export(&orin, 4, 6)).await.unwrap_err();
        assert!(
            refused.contains("after record 4") && refused.contains("earlier export first"),
            "{refused}"
        );
        lab.import(&export(&orin, 0, 4)).await.unwrap();
        lab.import(&export(&orin, 4, 6)).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_is_no_device_of_the_site_is_refused_with_the_reason() {
        let lab = Lab::new();
        let elsewhere = Lab::new().enrol(Role::Device, "orin-1").await;
        let person = lab.enrol(Role::Operator, "orin-1").await;
        // Issued, and then the database was restored from a backup.
        let (unknown, _) = lab.issue(Role::Device, "orin-2");
        let revoked = lab.enrol(Role::Device, "orin-3").await;
        let subject = revoked.facts().subject.clone();
        let why = "stolen".to_owned();
        lab.importer
            .store
            .revoke(subject, why, NOW.0)
            .await
            .unwrap();
        for (credentials, want) in [
            (&elsewhere, "not of a device of this site"),
            (&person, "operator `orin-1`"),
            (&unknown, "not in this collector's database"),
            (&revoked, "stolen"),
        ] {
            let refused = lab.import(&export(credentials, 0, 1)).await.unwrap_err();
            assert!(refused.contains(want), "{refused}");
        }
        assert_eq!(lab.importer.store.set_aside().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_certificate_that_expired_since_is_good_for_as_long_as_for_a_renewal() {
        let mut lab = Lab::new();
        let orin = lab.enrol(Role::Device, "orin-1").await;
        lab.set_days(30 + 89);
        lab.import(&export(&orin, 0, 1)).await.unwrap();
        lab.set_days(30 + 91);
        let refused = lab.import(&export(&orin, 0, 2)).await.unwrap_err();
        assert!(refused.contains("more than 90 days ago"), "{refused}");
    }

    #[tokio::test]
    async fn a_file_that_was_altered_or_cut_off_stores_nothing() {
        let lab = Lab::new();
        let orin = lab.enrol(Role::Device, "orin-1").await;
        let whole = export(&orin, 0, 3);
        let mut altered = whole.clone();
        let middle = altered.len() - 150;
        altered[middle] ^= 1;
        for bad in [&altered[..], &whole[..whole.len() - 1], b"hello", b""] {
            lab.import(bad).await.unwrap_err();
        }
        assert_eq!(lab.import(&whole).await.unwrap().document.stored, 3);
    }
}
