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
