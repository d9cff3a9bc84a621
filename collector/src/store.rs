//! The collector's memory: every record as it was received, the runs that they make, and caches of cells and their figures.
//!
//! One thread writes, with one connection, in transactions that are on the disk before anybody is told; readers have read-only
//! connections of their own. The model is `migrations/sqlite/`: integers, bytes, text.

mod accounts;
mod admission;
mod campaigns;
mod checkpointer;
mod copy;
mod database;
mod identities;
mod imports;
mod index;
mod migrations;
mod reading;
mod results;
mod writer;

#[cfg(test)]
mod conformance;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rusqlite::{Connection, ErrorCode};
use tokwatt_domain::{
    campaign::{Campaign, Offer},
    ids::{DeviceId, Digest, Epoch, JobId, Name, RunId, Seq},
    time::WallTime,
};
use tokwatt_proto::identity::Subject;

use self::{
    database::{Database, is_disk_full},
    writer::Writer,
};
use crate::vitals::Vitals;

pub use self::{
    accounts::{Place, RawSamples, Replacement, StoredRecord, StreamAccount},
    admission::{Admitted, Content, Delivery, Opened, Received},
    campaigns::{CampaignRow, FleetRow, Job, JobsOf, Upkeep},
    copy::{Delivered, Holdings, copy, holdings_in, verify},
    database::database_in,
    identities::{
        CertificateRow, Labels, NewCertificate, NewToken, NotRedeemed, NotRenewed, Redemption,
        TokenRow,
    },
    imports::{ImportRow, ImportedRow, KeptImport, NewImport, NewImportedRun, Twice},
    index::{FigureIndex, IndexedRow},
    reading::{DeviceRow, Opening, ReportRow, RunRow, SetAside, State, StreamRow},
    results::{CellRow, Measured, MeasuredRun, StaleCell},
};

/// The database of one collector.
#[derive(Debug)]
pub struct Store {
    // Taken when the store closes, so that the thread sees the end of its queue.
    writer: Option<Writer>,
    thread: Option<JoinHandle<()>>,
    database: Database,
    idle_readers: Arc<Mutex<Vec<Connection>>>,
    // Held until the writing thread has ended; nothing where it is only looked at.
    _lock: Option<File>,
}

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing can be written there.
    #[error(
        "cannot write `{path}`: check its owner, and that the disk is not mounted read-only, or name another folder with --data"
    )]
    NotWritable {
        /// Folder or file.
        path: PathBuf,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is something else.
    #[error("`{path}` is not a database: move it away, or name another folder with --data")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of something else.
    #[error("`{path}` is not a tokwatt database: move it away, or name another folder with --data")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error(
        "`{path}` has schema {found}, this collector knows {known}: install a newer tokwatt-collector"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// Ours.
        known: usize,
    },
    /// The file was written by an earlier version.
    #[error(
        "`{path}` has schema {found}, this collector writes {known}: `check --rebuild` or a start of `serve` brings it up to date"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is nothing to look at.
    #[error("there is no database in `{folder}`: name the collector's folder with --data")]
    NoDatabase {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// `quick_check` found something.
    #[error(
        "`{path}` is damaged ({verdict}): restore a backup, or name another folder with --data"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found first.
        verdict: String,
    },
    /// Another process has the folder.
    #[error("another collector uses `{0}`: stop it, or name another folder with --data")]
    InUse(PathBuf),
    /// A SQLite with a known way to corrupt files.
    #[error(
        "SQLite {0} can corrupt a database that is written and read at once: build with 3.51.3 or later"
    )]
    OldSqlite(i32),
    /// A record does not follow the one before it.
    #[error("device `{device}`, epoch {epoch}: expected sequence number {expected}, got {got}")]
    Gap {
        /// Whose.
        device: DeviceId,
        /// In which life of its spool.
        epoch: u64,
        /// What would follow.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// A sequence number came again with other bytes.
    #[error(
        "device `{device}`, epoch {epoch}: sequence number {seq} was delivered before with other bytes: a new spool needs a new epoch"
    )]
    Altered {
        /// Whose.
        device: DeviceId,
        /// In which life of its spool.
        epoch: u64,
        /// Which record.
        seq: u64,
    },
    /// Nothing more fits.
    #[error("the collector's disk is full")]
    Full,
    /// A file that is to be kept cannot be read.
    #[error("the file that is to be kept cannot be read")]
    File(#[source] std::io::Error),
    /// The writing thread has ended, with the reason if there is one.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// Anything else that SQLite says.
    #[error("the database failed")]
    Sqlite(#[source] rusqlite::Error),
}

impl Store {
    /// Opens or creates the database in `folder`, and takes the folder for this process.
    ///
    /// # Errors
    /// The folder cannot be written or is in use, or what is there is not a database that this version can use.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_counted(folder, &Arc::new(Vitals::new(&database_in(folder))))
    }

    /// The same, and what is written is counted in `vitals`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_counted(folder: &Path, vitals: &Arc<Vitals>) -> Result<Self, StoreError> {
        let (database, lock, connection) = Database::open(folder)?;
        let (writer, thread) = Writer::start(&database, connection, Arc::clone(vitals))?;
        Ok(Self {
            writer: Some(writer),
            thread: Some(thread),
            database,
            idle_readers: Arc::default(),
            _lock: Some(lock),
        })
    }

    /// The same for simulations: everything is done on the caller's thread, so that what happens depends on nothing but the caller.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_inline(folder: &Path) -> Result<Self, StoreError> {
        let (database, lock, connection) = Database::open(folder)?;
        let vitals = Arc::new(Vitals::new(&database_in(folder)));
        Ok(Self {
            writer: Some(Writer::inline(connection, vitals)),
            thread: None,
            database,
            idle_readers: Arc::default(),
            _lock: Some(lock),
        })
    }

    /// Opens the database in `folder` to read it, whether a collector uses it or not.
    ///
    /// # Errors
    /// There is none, or not one that this version can read as it is.
    pub fn look_at(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            writer: None,
            thread: None,
            database: Database::look_at(folder)?,
            idle_readers: Arc::default(),
            _lock: None,
        })
    }

    /// Notes that a device said hello; returns the watermark that it continues from.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn greet(
        &self,
        device: DeviceId,
        epoch: Epoch,
        agent_version: String,
    ) -> Result<Seq, StoreError> {
        self.write(move |connection| admission::greet(connection, &device, epoch, &agent_version))
            .await
    }

    /// Commits consecutive records, each once, for ever, and returns the new watermark.
    ///
    /// # Errors
    /// [`StoreError::Gap`] and [`StoreError::Altered`] store nothing of the delivery; [`StoreError::Full`] likewise, try later.
    pub async fn admit(&self, delivery: Delivery) -> Result<Admitted, StoreError> {
        self.admit_in_turn(|| delivery).await
    }

    /// The same, with a delivery that is read when its turn has almost come: of all who wait for a disk that stands still there are only
    /// bytes then.
    ///
    /// # Errors
    /// As [`Store::admit`].
    pub async fn admit_in_turn(
        &self,
        read: impl FnOnce() -> Delivery,
    ) -> Result<Admitted, StoreError> {
        let writer = self.writer()?;
        let admit = || {
            let delivery = read();
            let bytes = delivery.records.iter().map(|record| record.bytes.len());
            (bytes.sum(), move |connection: &Connection| {
                admission::admit(connection, &delivery)
            })
        };
        writer.write_in_turn(admit).await
    }

    /// Keeps what finished runs came to. A run that is not waiting for it is left as it is.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_measured(&self, measured: Measured) -> Result<(), StoreError> {
        self.write(move |connection| results::put_measured(connection, &measured))
            .await
    }

    /// Keeps a result file of another tool, and its runs as finished ones; `false` if it is here already.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`], [`StoreError::File`]: nothing is kept.
    pub async fn put_import(
        &self,
        new: NewImport,
        mut file: File,
    ) -> Result<KeptImport, StoreError> {
        self.write(move |connection| imports::put_import(connection, &new, &mut file))
            .await
    }

    /// A file that was imported, with its runs in its order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn import(
        &self,
        sha256: Digest,
    ) -> Result<Option<(ImportRow, Vec<ImportedRow>)>, StoreError> {
        self.read(move |connection| imports::import(connection, sha256))
            .await
    }

    /// The file that a run is from, if it is from one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn imported(
        &self,
        run: RunId,
    ) -> Result<Option<(ImportRow, ImportedRow)>, StoreError> {
        self.read(move |connection| imports::imported(connection, run))
            .await
    }

    /// All files that were imported, by digest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn imports(&self) -> Result<Vec<ImportRow>, StoreError> {
        self.read(imports::imports).await
    }

    /// A piece of a file that was imported; `None` behind the last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn import_part(
        &self,
        sha256: Digest,
        place: i64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |connection| imports::import_part(connection, sha256, place))
            .await
    }

    /// Marks a finished run from which no report can be made.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_unreadable(&self, run: RunId, problem: String) -> Result<(), StoreError> {
        self.write(move |connection| results::put_unreadable(connection, run, &problem))
            .await
    }

    /// Replaces all cells: they are a cache over the reports.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn replace_cells(&self, cells: Vec<CellRow>) -> Result<(), StoreError> {
        self.write(move |connection| results::replace_cells(connection, &cells))
            .await
    }

    /// Replaces a cell that was stale, or removes it if none of its runs counts. It stays stale if more has changed since it was asked
    /// for.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn refresh_cell(
        &self,
        stale: StaleCell,
        cell: Option<CellRow>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| results::refresh_cell(connection, &stale, cell.as_ref()))
            .await
    }

    /// Notes what a device can be asked for.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_offer(
        &self,
        device: DeviceId,
        agent_version: String,
        offer: Offer,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            campaigns::put_offer(connection, &device, &agent_version, &offer)
        })
        .await
    }

    /// Keeps a token that was made.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_token(&self, token: NewToken) -> Result<(), StoreError> {
        self.write(move |connection| identities::put_token(connection, &token))
            .await
    }

    /// Takes a token back; `false` if there is none of that name.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn revoke_token(&self, id: String, now_us: i64) -> Result<bool, StoreError> {
        self.write(move |connection| identities::revoke_token(connection, &id, now_us))
            .await
    }

    /// Uses a token up for a certificate, once, and returns how many earlier certificates of the name that revoked; or says why not, and
    /// changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn redeem(
        &self,
        redemption: Redemption,
    ) -> Result<Result<usize, NotRedeemed>, StoreError> {
        self.write(move |connection| identities::redeem(connection, &redemption))
            .await
    }

    /// Notes a certificate that follows another one, or says why it must not.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn renew(
        &self,
        earlier: Vec<u8>,
        certificate: NewCertificate,
    ) -> Result<Result<(), NotRenewed>, StoreError> {
        self.write(move |connection| identities::renew(connection, &earlier, &certificate))
            .await
    }

    /// Notes that a certificate was seen on a connection.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_used(&self, serial: Vec<u8>, now_us: i64) -> Result<(), StoreError> {
        self.write(move |connection| identities::put_used(connection, &serial, now_us))
            .await
    }

    /// Revokes every certificate of a name, and tokens that are made out for it; returns how many certificates that were.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn revoke(
        &self,
        subject: Subject,
        why: String,
        now_us: i64,
    ) -> Result<usize, StoreError> {
        self.write(move |connection| identities::revoke(connection, &subject, &why, now_us))
            .await
    }

    /// Sets labels of a device and takes others away; `false` if there is no such device.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn label(
        &self,
        device: DeviceId,
        set: Labels,
        remove: Vec<String>,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| identities::label(connection, &device, &set, &remove))
            .await
    }

    /// Tokens, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.read(identities::tokens).await
    }

    /// A token by its public part.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn token(&self, id: String) -> Result<Option<TokenRow>, StoreError> {
        self.read(move |connection| identities::token(connection, &id))
            .await
    }

    /// Whether a name has ever had a certificate.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn has_certificate(&self, subject: Subject) -> Result<bool, StoreError> {
        self.read(move |connection| identities::has_certificate(connection, &subject))
            .await
    }

    /// Whether anybody was ever enrolled.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn has_certificates(&self) -> Result<bool, StoreError> {
        self.read(identities::has_certificates).await
    }

    /// What is known of certificates, in the order of their serial numbers given; `None` for one that was never issued.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn certificates(
        &self,
        serials: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<CertificateRow>>, StoreError> {
        self.read(move |connection| {
            serials
                .iter()
                .map(|serial| identities::certificate(connection, serial))
                .collect()
        })
        .await
    }

    /// Takes in what nobody could read when it came and can be read now; whether anything changed.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn readmit(&self, delivery: Delivery) -> Result<bool, StoreError> {
        self.write(move |connection| admission::readmit(connection, &delivery))
            .await
    }

    /// Lets all runs be measured again that can be.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn measure_again(&self) -> Result<(), StoreError> {
        self.write(results::measure_again).await
    }

    /// Runs that were measured before a date and still have raw samples, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn runs_to_thin(
        &self,
        now: WallTime,
        measured_before: WallTime,
    ) -> Result<Vec<RunId>, StoreError> {
        self.write(move |connection| accounts::runs_to_thin(connection, now.0, measured_before.0))
            .await
    }

    /// Puts gaps in the place of some of a run's records, and notes what that makes of its raw samples.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn replace(
        &self,
        run: RunId,
        replacements: Vec<Replacement>,
        then: RawSamples,
    ) -> Result<(), StoreError> {
        self.write(move |connection| accounts::replace(connection, run, &replacements, then))
            .await
    }

    /// What is wrong with the file itself, in SQLite's words; empty if nothing is.
    ///
    /// # Errors
    /// The database cannot be read at all.
    pub async fn damages(&self) -> Result<Vec<String>, StoreError> {
        self.read(accounts::damages).await
    }

    /// What became of the records of each stream.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stream_accounts(&self) -> Result<Vec<StreamAccount>, StoreError> {
        self.read(accounts::stream_accounts).await
    }

    /// All runs, by id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn run_ids(&self) -> Result<Vec<RunId>, StoreError> {
        self.read(accounts::run_ids).await
    }

    /// One run as it is stored, with its records that count: both of one moment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn run_with_records(
        &self,
        run: RunId,
    ) -> Result<Option<(RunRow, Vec<StoredRecord>)>, StoreError> {
        self.read(move |connection| {
            let moment = connection.unchecked_transaction()?;
            let row = reading::run_row_of(&moment, run)?;
            let records = accounts::stored_records_of(&moment, run)?;
            Ok(row.map(|row| (row, records)))
        })
        .await
    }

    /// Keeps a campaign and its jobs; false if its name is taken.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`].
    pub async fn put_campaign(
        &self,
        campaign: Campaign,
        created: WallTime,
        jobs: Vec<(JobId, DeviceId)>,
    ) -> Result<bool, StoreError> {
        self.write(move |connection| campaigns::put_campaign(connection, &campaign, created, &jobs))
            .await
    }

    /// Lets `decide` change jobs, and keeps what it changed, in one transaction. It runs on the thread that writes, so it is short and does
    /// nothing that could not be undone, and once more if it was.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Stopped`]: nothing has changed.
    pub async fn change_jobs<T: Send + 'static>(
        &self,
        which: JobsOf,
        decide: impl Fn(&mut [Job]) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(move |connection| campaigns::change(connection, &which, &decide))
            .await
    }

    /// Jobs as they are.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn jobs(&self, which: JobsOf) -> Result<Vec<Job>, StoreError> {
        self.read(move |connection| campaigns::jobs(connection, &which))
            .await
    }

    /// Campaigns, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn campaigns(&self) -> Result<Vec<CampaignRow>, StoreError> {
        self.read(campaigns::campaigns).await
    }

    /// A campaign, if there is one of that name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn campaign(&self, name: Name) -> Result<Option<CampaignRow>, StoreError> {
        self.read(move |connection| campaigns::campaign(connection, &name))
            .await
    }

    /// Every device that is known, by name, as a campaign's selector sees it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn fleet(&self) -> Result<Vec<FleetRow>, StoreError> {
        self.read(campaigns::fleet).await
    }

    /// What time may change by now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn upkeep(&self, now: WallTime) -> Result<Upkeep, StoreError> {
        self.read(move |connection| campaigns::upkeep(connection, now))
            .await
    }

    /// Cells of which other runs count than when they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stale_cells(&self) -> Result<Vec<StaleCell>, StoreError> {
        self.read(reading::stale_cells).await
    }

    /// Reports of all measured runs, the cells, and which of those are stale: all of one moment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports_and_cells(
        &self,
    ) -> Result<(Vec<ReportRow>, Vec<CellRow>, Vec<StaleCell>), StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            Ok((
                reading::reports(&moment)?,
                reading::cells(&moment)?,
                reading::stale_cells(&moment)?,
            ))
        })
        .await
    }

    /// The records of a run that count, with their places.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn stored_records_of(&self, run: RunId) -> Result<Vec<StoredRecord>, StoreError> {
        self.read(move |connection| accounts::stored_records_of(connection, run))
            .await
    }

    /// Some of the records that belong to no run and count, after a place; none when there are no more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn records_of_no_run(&self, after: Place) -> Result<Vec<StoredRecord>, StoreError> {
        self.read(move |connection| accounts::records_of_no_run(connection, &after))
            .await
    }

    /// Some of the records that nobody could read when they came, after a place; none when there are no more.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unread_records(&self, after: Place) -> Result<Vec<StoredRecord>, StoreError> {
        self.read(move |connection| accounts::unread_records(connection, &after))
            .await
    }

    /// Runs that are delivered and not measured: those of a device together, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unmeasured(&self) -> Result<Vec<RunId>, StoreError> {
        self.read(reading::unmeasured).await
    }

    /// The records of a run as received, in the order of delivery.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn records_of(&self, run: RunId) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(move |connection| reading::records_of(connection, run))
            .await
    }

    /// Goes through all runs, latest start first, of which no more than one is held at a time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn fold_runs<T: Send + 'static>(
        &self,
        start: T,
        next: impl FnMut(T, RunRow) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |connection| reading::fold_runs(connection, start, next))
            .await
    }

    /// Some runs, of one device or of all, latest start first: so many, after so many that are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn latest_runs(
        &self,
        device: Option<DeviceId>,
        left_out: usize,
        most: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        self.read(move |connection| {
            reading::latest_runs(connection, device.as_ref(), left_out, most)
        })
        .await
    }

    /// Runs whose id begins so, or if there are none, ends so; `part` is hexadecimal digits in lower case.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn runs_named(&self, part: String) -> Result<Vec<RunRow>, StoreError> {
        self.read(move |connection| reading::runs_named(connection, &part))
            .await
    }

    /// Devices by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        self.read(reading::devices).await
    }

    /// Records that could not be used, in the order of their names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.read(reading::set_aside).await
    }

    /// Reports of all measured runs that count, by run id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports(&self) -> Result<Vec<ReportRow>, StoreError> {
        self.read(reading::reports).await
    }

    /// Our reports of those of a cell's runs that count, by run id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn reports_of_cell(&self, key: [u8; 32]) -> Result<Vec<ReportRow>, StoreError> {
        self.read(move |connection| reading::reports_of_cell(connection, key))
            .await
    }

    /// Asks the index of figures as it is at one moment, on a thread that may take its time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn ask_index<T: Send + 'static>(
        &self,
        question: impl FnOnce(&FigureIndex<'_>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |connection| Ok(question(&FigureIndex::of(connection)?)))
            .await
    }

    /// The cache of cells, by key.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn cells(&self) -> Result<Vec<CellRow>, StoreError> {
        self.read(reading::cells).await
    }

    /// What the cell of a run comes to, as JSON; `None` before the run is measured.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn cell_of(&self, run: RunId) -> Result<Option<String>, StoreError> {
        self.read(move |connection| reading::cell_of(connection, run))
            .await
    }

    /// How many runs are in each state, in the order in which runs come to them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn runs_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(reading::runs_by_state).await
    }

    /// How many jobs are in each state.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn jobs_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(reading::jobs_by_state).await
    }

    /// Whether the database can be read, and the writing thread gets its turn.
    ///
    /// # Errors
    /// It cannot, or the thread has stopped.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.read(reading::schema).await?;
        self.write(|_| Ok(())).await
    }

    /// Resolves with the reason when the database failed in a way that only a restart can mend.
    pub async fn failed(&self) -> String {
        match &self.writer {
            Some(writer) => writer.failed().await,
            None => std::future::pending().await,
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        task: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer()?.write(task).await
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        let writer = self.writer.as_ref();
        writer.ok_or_else(|| StoreError::Stopped("closed".to_owned()))
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let idle = Arc::clone(&self.idle_readers);
        let ask = move || {
            let spare = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match spare {
                Some(connection) => connection,
                None => database.reader()?,
            };
            let answer = question(&connection)?;
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
            Ok(answer)
        };
        if self.writer.as_ref().is_some_and(Writer::is_inline) {
            tokio::task::yield_now().await;
            return ask();
        }
        let answer = tokio::task::spawn_blocking(ask);
        answer
            .await
            .map_err(|error| StoreError::Stopped(error.to_string()))?
    }
}

impl Drop for Store {
    /// Closes the file cleanly before another may open it. Readers first: whoever closes last folds in the log and removes it, and
    /// only the writer may. A log that is left tells the next start of a crash, and has it look through the whole file.
    fn drop(&mut self) {
        self.idle_readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.writer = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the writing thread of the store ended with a panic");
        }
    }
}

impl StoreError {
    /// Whether the same may succeed if it is tried again: it is not for what is there, or for how that was set.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::InUse(_) | Self::File(_) | Self::Full | Self::Stopped(_) | Self::Sqlite(_) => {
                true
            }
            Self::NotWritable { .. }
            | Self::NotADatabase { .. }
            | Self::NotOurs { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::NoDatabase { .. }
            | Self::Damaged { .. }
            | Self::OldSqlite(_)
            | Self::Gap { .. }
            | Self::Altered { .. } => false,
        }
    }

    /// What failed, if disk or file failed in a way that only opening it anew can mend.
    fn breakage(&self) -> Option<String> {
        let Self::Sqlite(error) = self else {
            return None;
        };
        let is_broken = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        is_broken.then(|| error.to_string())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match is_disk_full(&error) {
            true => Self::Full,
            false => Self::Sqlite(error),
        }
    }
}
