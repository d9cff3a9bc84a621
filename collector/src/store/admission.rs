//! Admission: each record once, for ever, in order, whatever is in it.
//!
//! A record is known by (device, epoch, seq), and a run by its id. What cannot be used is kept and set aside with the reason: it
//! must not stand in the way of what follows it. A run that comes again under another epoch (a spool that was copied) is
//! recognised by its bytes and not stored twice, but counted: of every stream, what was delivered is stored, held or declared.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use tokwatt_domain::{
    campaign::JobRef,
    ids::{DeviceId, Epoch, RunId, Seq},
};

use super::{StoreError, accounts, database::execute};

/// Consecutive records of one device.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose.
    pub device: DeviceId,
    /// In which life of its spool.
    pub epoch: Epoch,
    /// In order.
    pub records: Vec<Received>,
}

/// A record as it was received, and what it is about.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its position.
    pub seq: Seq,
    /// Kept byte for byte.
    pub bytes: Bytes,
    /// What it is about.
    pub content: Content,
}

/// What the store must know of a record.
#[derive(Clone, Debug)]
pub enum Content {
    /// A device described itself.
    Device {
        /// DeviceProfile as JSON.
        profile: String,
    },
    /// A run begins.
    Opened(Opened),
    /// Some of a run's trace.
    Part {
        /// Which run.
        run: RunId,
    },
    /// All of a run was sent before this.
    Finished {
        /// Which.
        run: RunId,
    },
    /// It cannot be used, and why.
    Unusable(String),
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Which.
    pub run: RunId,
    /// By the agent's wall clock, in µs since 1970.
    pub started_us: i64,
    /// The lease that it was made for, if any.
    pub job: Option<JobRef>,
}

/// What became of a delivery.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Admitted {
    /// Everything up to here is committed.
    pub through: Seq,
    /// Records that were new.
    pub stored: u32,
    /// Records that their run has already, from another epoch.
    pub held: u32,
    /// Of those that were new, those set aside, with the reason.
    pub set_aside: Vec<(Seq, String)>,
    /// Runs that this delivery finished.
    pub finished: u32,
}

/// The run that a record belongs to, as far as it is known.
struct KnownRun {
    /// Whose it is, if not the sender's.
    other_device: Option<String>,
    is_open: bool,
    is_opened: bool,
}

/// A run whose first record came with this delivery, not stored yet: it is, once, with everything that the delivery has of it.
struct Begun<'a> {
    run: RunId,
    opened: Option<(Seq, &'a Opened)>,
    is_finished: bool,
}

/// Where a record goes.
enum Verdict {
    /// Counted with its run, of which it is the first one.
    Begin(RunId),
    /// Counted with its run, if it has one.
    Keep(Option<RunId>),
    /// The run has these bytes already, from another epoch.
    Held,
    /// Kept, not counted, and why.
    SetAside(Option<RunId>, String),
}

impl Content {
    fn run(&self) -> Option<RunId> {
        match self {
            Self::Opened(opened) => Some(opened.run),
            Self::Part { run } | Self::Finished { run } => Some(*run),
            Self::Device { .. } | Self::Unusable(_) => None,
        }
    }
}

/// Makes device and stream known; returns the stream's watermark.
pub(super) fn greet(
    connection: &Connection,
    device: &DeviceId,
    epoch: Epoch,
    agent_version: &str,
) -> Result<Seq, StoreError> {
    execute(
        connection,
        "INSERT INTO device (id, agent_version) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET agent_version = excluded.agent_version",
        params![device.as_str(), agent_version],
    )?;
    execute(
        connection,
        "INSERT INTO stream (device, epoch, through) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING",
        params![device.as_str(), integer(epoch.0)],
    )?;
    watermark(connection, device, epoch)
}

/// Stores what lies after the watermark and moves it.
pub(super) fn admit(connection: &Connection, delivery: &Delivery) -> Result<Admitted, StoreError> {
    let mut admitted = Admitted {
        through: watermark(connection, &delivery.device, delivery.epoch)?,
        ..Admitted::default()
    };
    let mut begun = None;
    for record in &delivery.records {
        if record.seq <= admitted.through {
            check_unaltered(connection, delivery, record)?;
            continue;
        }
        check_next(delivery, record.seq, admitted.through)?;
        store(connection, delivery, record, &mut begun, &mut admitted)?;
        admitted.through = record.seq;
    }
    store_begun(connection, delivery, begun)?;
    execute(
        connection,
        "UPDATE stream SET through = ?3, held = held + ?4 WHERE device = ?1 AND epoch = ?2",
        params![
            delivery.device.as_str(),
            integer(delivery.epoch.0),
            integer(admitted.through.0),
            admitted.held
        ],
    )?;
    Ok(admitted)
}

/// Takes a record in that nobody could read when it came, and that a later collector can: with its run, which is measured once more
/// if it has its end. What the run has from another epoch is held, as if it came now. What still does not fit stays set aside, with the
/// reason of now.
pub(super) fn readmit(connection: &Connection, delivery: &Delivery) -> Result<bool, StoreError> {
    let mut n_readmitted = 0;
    for record in &delivery.records {
        let problem = match &record.content {
            Content::Unusable(problem) => Some(problem.clone()),
            content => match content.run() {
                None => None,
                Some(run) => known_run(connection, delivery, run)?.and_then(|known| {
                    let known = KnownRun {
                        is_open: true,
                        ..known
                    };
                    problem_with(&known, content)
                }),
            },
        };
        let run = record.content.run();
        if let Some(run) = run
            && is_held(connection, delivery, run, &record.bytes)?
        {
            hold(connection, delivery, record.seq)?;
            continue;
        }
        execute(
            connection,
            "UPDATE record SET run = ?4, problem = ?5 WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
            params![
                delivery.device.as_str(),
                integer(delivery.epoch.0),
                integer(record.seq.0),
                run.map(|run| run.0),
                problem
            ],
        )?;
        if problem.is_none() {
            n_readmitted += 1;
            if let Some(run) = run {
                begin_run(connection, delivery, run)?;
            }
            apply(connection, delivery, record)?;
            execute(
                connection,
                "UPDATE run SET state = 'finished', problem = NULL, report = NULL, cell = NULL
                 WHERE id = ?1 AND state <> 'open' AND raw_samples = 'kept'",
                [run.map(|run| run.0)],
            )?;
        }
    }
    Ok(n_readmitted > 0)
}

/// Counts a stored record as one that its run has from another epoch.
fn hold(connection: &Connection, delivery: &Delivery, seq: Seq) -> Result<(), StoreError> {
    let (device, epoch) = (delivery.device.as_str(), integer(delivery.epoch.0));
    execute(
        connection,
        "DELETE FROM record WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
        params![device, epoch, integer(seq.0)],
    )?;
    execute(
        connection,
        "UPDATE stream SET held = held + changes() WHERE device = ?1 AND epoch = ?2",
        params![device, epoch],
    )?;
    Ok(())
}

fn watermark(connection: &Connection, device: &DeviceId, epoch: Epoch) -> Result<Seq, StoreError> {
    let through: i64 = connection
        .prepare_cached("SELECT through FROM stream WHERE device = ?1 AND epoch = ?2")?
        .query_row(params![device.as_str(), integer(epoch.0)], |row| row.get(0))?;
    Ok(Seq(u64::try_from(through).unwrap_or_default()))
}

fn check_next(delivery: &Delivery, got: Seq, through: Seq) -> Result<(), StoreError> {
    let expected = through.0 + 1;
    if got.0 == expected {
        return Ok(());
    }
    Err(StoreError::Gap {
        device: delivery.device.clone(),
        epoch: delivery.epoch.0,
        expected,
        got: got.0,
    })
}

/// A spool that was lost and begun anew under its old epoch would otherwise lose what it has in silence.
fn check_unaltered(
    connection: &Connection,
    delivery: &Delivery,
    record: &Received,
) -> Result<(), StoreError> {
    let is_altered = connection
        .prepare_cached(
            "SELECT received <> ?4, replaced FROM record WHERE device = ?1 AND epoch = ?2 AND seq = ?3",
        )?
        .query_row(
            params![
                delivery.device.as_str(),
                integer(delivery.epoch.0),
                integer(record.seq.0),
                &*record.bytes
            ],
            |row| {
                let replaced: Option<[u8; 32]> = row.get(1)?;
                match replaced {
                    Some(digest) => Ok(digest != accounts::digest(&record.bytes)),
                    None => row.get(0),
                }
            },
        )
        .optional()?;
    if is_altered != Some(true) {
        return Ok(());
    }
    Err(StoreError::Altered {
        device: delivery.device.clone(),
        epoch: delivery.epoch.0,
        seq: record.seq.0,
    })
}

fn store<'a>(
    connection: &Connection,
    delivery: &Delivery,
    record: &'a Received,
    begun: &mut Option<Begun<'a>>,
    admitted: &mut Admitted,
) -> Result<(), StoreError> {
    let (run, problem) = match judge(connection, delivery, record, begun.as_ref())? {
        Verdict::Held => {
            admitted.held += 1;
            return Ok(());
        }
        Verdict::Begin(run) => {
            store_begun(connection, delivery, begun.replace(Begun::new(run)))?;
            (Some(run), None)
        }
        Verdict::Keep(run) => (run, None),
        Verdict::SetAside(run, problem) => (run, Some(problem)),
    };
    execute(
        connection,
        "INSERT INTO record (device, epoch, seq, run, problem, received) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            delivery.device.as_str(),
            integer(delivery.epoch.0),
            integer(record.seq.0),
            run.map(|run| run.0),
            problem,
            &*record.bytes
        ],
    )?;
    admitted.stored += 1;
    if let Some(problem) = problem {
        admitted.set_aside.push((record.seq, problem));
        return Ok(());
    }
    if matches!(record.content, Content::Finished { .. }) {
        admitted.finished += 1;
    }
    match begun {
        Some(begun) if Some(begun.run) == run => begun.apply(record),
        _ => apply(connection, delivery, record)?,
    }
    Ok(())
}

fn judge(
    connection: &Connection,
    delivery: &Delivery,
    record: &Received,
    begun: Option<&Begun<'_>>,
) -> Result<Verdict, StoreError> {
    if let Content::Unusable(problem) = &record.content {
        return Ok(Verdict::SetAside(None, problem.clone()));
    }
    let Some(run) = record.content.run() else {
        return Ok(Verdict::Keep(None));
    };
    let known = match begun {
        Some(begun) if begun.run == run => begun.known(),
        _ => {
            let Some(known) = known_run(connection, delivery, run)? else {
                return Ok(Verdict::Begin(run));
            };
            if is_held(connection, delivery, run, &record.bytes)? {
                return Ok(Verdict::Held);
            }
            known
        }
    };
    Ok(match problem_with(&known, &record.content) {
        None => Verdict::Keep(Some(run)),
        Some(problem) => Verdict::SetAside(Some(run), problem),
    })
}

fn problem_with(known: &KnownRun, content: &Content) -> Option<String> {
    if let Some(other) = &known.other_device {
        return Some(format!("its run belongs to device `{other}`"));
    }
    if !known.is_open {
        return Some("its run is complete already".to_owned());
    }
    let is_second = known.is_opened && matches!(content, Content::Opened(_));
    is_second.then(|| "its run was opened before, with another header".to_owned())
}

fn known_run(
    connection: &Connection,
    delivery: &Delivery,
    run: RunId,
) -> Result<Option<KnownRun>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT nullif(device, ?2), state = 'open', opened_seq IS NOT NULL OR header IS NOT NULL FROM run WHERE id = ?1",
    )?;
    let known = statement.query_row(params![run.0, delivery.device.as_str()], |row| {
        Ok(KnownRun {
            other_device: row.get(0)?,
            is_open: row.get(1)?,
            is_opened: row.get(2)?,
        })
    });
    Ok(known.optional()?)
}

/// Whether the run has these bytes from another epoch. Within one epoch the sequence number tells.
fn is_held(
    connection: &Connection,
    delivery: &Delivery,
    run: RunId,
    bytes: &[u8],
) -> Result<bool, StoreError> {
    // Two ranges, so that the index leads past everything that the run has from this epoch.
    let mut statement = connection.prepare_cached(
        "SELECT length(received) = length(?4) AND received = ?4, replaced FROM record
         WHERE run = ?1 AND device = ?2 AND (epoch < ?3 OR epoch > ?3) AND problem IS NULL",
    )?;
    let mut rows = statement.query(params![
        run.0,
        delivery.device.as_str(),
        integer(delivery.epoch.0),
        bytes
    ])?;
    while let Some(row) = rows.next()? {
        let replaced: Option<[u8; 32]> = row.get(1)?;
        let is_same = match replaced {
            Some(digest) => digest == accounts::digest(bytes),
            None => row.get(0)?,
        };
        if is_same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn begin_run(connection: &Connection, delivery: &Delivery, run: RunId) -> Result<(), StoreError> {
    execute(
        connection,
        "INSERT INTO run (id, device, state) VALUES (?1, ?2, 'open') ON CONFLICT DO NOTHING",
        params![run.0, delivery.device.as_str()],
    )?;
    Ok(())
}

impl<'a> Begun<'a> {
    fn new(run: RunId) -> Self {
        Self {
            run,
            opened: None,
            is_finished: false,
        }
    }

    fn known(&self) -> KnownRun {
        KnownRun {
            other_device: None,
            is_open: !self.is_finished,
            is_opened: self.opened.is_some(),
        }
    }

    fn apply(&mut self, record: &'a Received) {
        match &record.content {
            Content::Opened(opened) => self.opened = Some((record.seq, opened)),
            Content::Finished { .. } => self.is_finished = true,
            Content::Device { .. } | Content::Part { .. } | Content::Unusable(_) => {}
        }
    }
}

fn store_begun(
    connection: &Connection,
    delivery: &Delivery,
    begun: Option<Begun<'_>>,
) -> Result<(), StoreError> {
    let Some(begun) = begun else {
        return Ok(());
    };
    let job = begun.opened.and_then(|(_, opened)| opened.job);
    execute(
        connection,
        "INSERT INTO run (id, device, state, opened_epoch, opened_seq, started_us, job, attempt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            begun.run.0,
            delivery.device.as_str(),
            if begun.is_finished {
                "finished"
            } else {
                "open"
            },
            begun.opened.map(|_| integer(delivery.epoch.0)),
            begun.opened.map(|(seq, _)| integer(seq.0)),
            begun.opened.map(|(_, opened)| opened.started_us),
            job.map(|job| job.job.0),
            job.map(|job| job.attempt)
        ],
    )?;
    Ok(())
}

/// What a record says of a run that is stored, or of the device.
fn apply(
    connection: &Connection,
    delivery: &Delivery,
    record: &Received,
) -> Result<(), StoreError> {
    match &record.content {
        Content::Device { profile } => execute(
            connection,
            "UPDATE device SET profile = ?2 WHERE id = ?1",
            params![delivery.device.as_str(), profile],
        )?,
        Content::Opened(opened) => execute(
            connection,
            "UPDATE run SET opened_epoch = ?2, opened_seq = ?3, started_us = ?4, job = ?5, attempt = ?6 WHERE id = ?1",
            params![
                opened.run.0,
                integer(delivery.epoch.0),
                integer(record.seq.0),
                opened.started_us,
                opened.job.map(|job| job.job.0),
                opened.job.map(|job| job.attempt)
            ],
        )?,
        Content::Finished { run } => execute(
            connection,
            "UPDATE run SET state = 'finished' WHERE id = ?1",
            [run.0],
        )?,
        Content::Part { .. } | Content::Unusable(_) => 0,
    };
    Ok(())
}

/// SQLite's integers are signed. Epochs and sequence numbers beyond 2^63 are refused at the door.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
