//! The collector's store under power cuts: what it admitted is there, once, whatever was under way.

use std::{any::Any, collections::BTreeMap, path::Path};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokwatt_collector::store::{
    CellRow, Content, Delivery, Measured, MeasuredRun, Opened, Received, Store,
};
use tokwatt_domain::{
    ids::{DeviceId, Epoch, RunId, Seq},
    time::WallTime,
};
use tokwatt_harness::Random;

use crate::{
    power_cut::{History, Step, Subject, scratch},
    recording::{Event, Recording},
    rows::Rows,
    vfs,
};

pub(crate) const STORE: Subject = Subject {
    file: "collector.sqlite",
    open,
};

fn open(folder: &Path) -> Result<Box<dyn Any>, String> {
    match Store::open(folder) {
        Ok(store) => Ok(Box::new(store)),
        Err(error) => Err(error.to_string()),
    }
}

/// A collector at work: devices in several epochs that deliver, one after the other and at once, what is new and what is not; runs that
/// are measured; restarts; somebody who empties the log from outside.
pub(crate) fn history(random: &mut Random, n_steps: usize, is_large: bool) -> History {
    vfs::install();
    let folder = scratch();
    let path = folder.path().join(STORE.file);
    let recording = Recording::start(folder.path(), []);
    let mut work = Work {
        store: Some(Store::open(folder.path()).unwrap()),
        folder: folder.path(),
        runtime: tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap(),
        random,
        scale: if is_large { LARGE } else { 1 },
        spools: BTreeMap::new(),
        finished: Vec::new(),
        n_runs: 0,
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut done = Done::alone("open".to_owned());
    loop {
        recording.note(Event::Acknowledged {
            n_steps: steps.len(),
        });
        steps.push(Step {
            what: done.what,
            is_shared: done.is_shared,
            after: Rows::read_sound(&path).unwrap(),
        });
        if steps.len() > n_steps {
            break;
        }
        done = work.step();
    }
    work.holds_everything_once(&path);
    let spools = std::mem::take(&mut work.spools);
    drop(work);
    let last = steps[steps.len() - 1].after.clone();
    History {
        events: recording.finish(),
        steps,
        go_on: Box::new(move |folder| deliver_again(folder, &spools, &last)),
    }
}

/// Agents that heard of no acknowledgement send everything again; the store comes to the same records as without the power cut.
fn deliver_again(folder: &Path, spools: &BTreeMap<Name, Life>, want: &Rows) -> Result<(), String> {
    let store = Store::open(folder).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for ((device, epoch), life) in spools {
        let delivery = Delivery {
            device: id(device),
            epoch: Epoch(*epoch),
            records: life.records.clone(),
        };
        let delivering = async {
            let hello = store.greet(id(device), Epoch(*epoch), "0.1.0".to_owned());
            hello.await?;
            store.admit(delivery).await
        };
        runtime
            .block_on(delivering)
            .map_err(|error| error.to_string())?;
    }
    let found = Rows::read_sound(&folder.join(STORE.file))?;
    for table in ["stream", "record"] {
        if found.table(table) != want.table(table) {
            return Err(format!("delivered again, the table {table} is another"));
        }
    }
    Ok(())
}

/// A step, for the history.
struct Done {
    what: String,
    is_shared: bool,
}

/// One life of a device's spool.
#[derive(Default)]
struct Life {
    /// All that it ever held; the first has number 1.
    records: Vec<Received>,
    /// The collector said so.
    through: usize,
    open: Option<RunId>,
}

type Name = (&'static str, u64);

struct Work<'a> {
    /// Closed for a moment while it is opened anew.
    store: Option<Store>,
    folder: &'a Path,
    runtime: Runtime,
    random: &'a mut Random,
    /// Makes records larger; then the log is left alone until it is long enough to be emptied by itself.
    scale: usize,
    spools: BTreeMap<Name, Life>,
    finished: Vec<(&'static str, RunId)>,
    n_runs: u64,
}

impl Done {
    fn alone(what: String) -> Self {
        let is_shared = false;
        Self { what, is_shared }
    }
}

impl Work<'_> {
    /// Does something that a collector does, and says what.
    fn step(&mut self) -> Done {
        match self.random.below(30) {
            0 if self.scale == 1 => self.reopen(),
            1 if self.scale == 1 => self.empty_log(),
            2..=4 => self.greet(),
            5..=7 => self.measure(),
            8 => self.replace_cells(),
            9..=14 => self.deliver_at_once(),
            _ => self.deliver(),
        }
    }

    fn greet(&mut self) -> Done {
        let name = self.any_name();
        let through = self.say_hello(name);
        Done::alone(format!("hello of {name:?} at {through}"))
    }

    fn say_hello(&mut self, (device, epoch): Name) -> usize {
        let greeting = self
            .store()
            .greet(id(device), Epoch(epoch), "0.1.0".to_owned());
        let through = self.runtime.block_on(greeting).unwrap();
        let life = self.spools.entry((device, epoch)).or_default();
        assert_eq!(through.0, life.through as u64);
        life.through
    }

    fn deliver(&mut self) -> Done {
        let Some(name) = self.known_name() else {
            return self.greet();
        };
        let delivery = self.delivery(name);
        let what = format!("{name:?} delivers {:?}", seqs(&delivery));
        let admitted = self.runtime.block_on(self.store().admit(delivery)).unwrap();
        self.acknowledged(name, admitted.through);
        Done::alone(what)
    }

    /// Several devices, so that they may be committed together.
    fn deliver_at_once(&mut self) -> Done {
        let mut names: Vec<Name> = self.spools.keys().copied().collect();
        names.dedup_by_key(|(device, _)| *device);
        let deliveries: Vec<Delivery> = names.iter().map(|name| self.delivery(*name)).collect();
        let store = self.store();
        let admissions = deliveries.into_iter().map(|delivery| store.admit(delivery));
        let admitted = self.runtime.block_on(futures::future::join_all(admissions));
        for (name, admitted) in names.iter().zip(admitted) {
            self.acknowledged(*name, admitted.unwrap().through);
        }
        let what = format!("{names:?} deliver at once");
        let is_shared = true;
        Done { what, is_shared }
    }

    /// What follows, after some of what was acknowledged before, as after a lost acknowledgement.
    fn delivery(&mut self, (device, epoch): Name) -> Delivery {
        let n_new = 1 + self.random.index(5);
        for _ in 0..n_new {
            let record = self.record((device, epoch));
            self.life((device, epoch)).records.push(record);
        }
        let back = match self.random.below(4) {
            0 => self.random.index(8),
            _ => 0,
        };
        let life = self.life((device, epoch));
        let first = life.through.saturating_sub(back);
        Delivery {
            device: id(device),
            epoch: Epoch(epoch),
            records: life.records[first..].to_vec(),
        }
    }

    fn acknowledged(&mut self, name: Name, through: Seq) {
        let life = self.life(name);
        assert_eq!(through.0, life.records.len() as u64);
        let new = &life.records[life.through..];
        let finished: Vec<RunId> = new
            .iter()
            .filter_map(|record| match &record.content {
                Content::Finished { run } => Some(*run),
                _ => None,
            })
            .collect();
        life.through = life.records.len();
        self.finished
            .extend(finished.into_iter().map(|run| (name.0, run)));
    }

    /// The next one of a spool: a run's opening, a part of it, its end, or what is none.
    fn record(&mut self, name: Name) -> Received {
        let length = match self.random.below(30) {
            0 => self.random.index(60_000),
            _ => self.random.index(3_000 * self.scale),
        };
        let bytes = self.random.bytes(16 + length);
        let what = self.random.below(12);
        let fresh = RunId(self.random.bytes(16).try_into().unwrap());
        let life = self.life(name);
        let seq = Seq(life.records.len() as u64 + 1);
        let content = match (life.open, what) {
            (_, 0) => Content::Unusable("it is no record".to_owned()),
            (None, 1) => Content::Device {
                profile: "{}".to_owned(),
            },
            (None, _) => {
                life.open = Some(fresh);
                Content::Opened(Opened {
                    run: fresh,
                    started_us: 1,
                    job: None,
                })
            }
            (Some(run), 1..=3) => {
                life.open = None;
                Content::Finished { run }
            }
            (Some(run), _) => Content::Part { run },
        };
        self.n_runs += 1;
        Received {
            seq,
            bytes: bytes.into(),
            content,
        }
    }

    fn measure(&mut self) -> Done {
        let Some((device, run)) = self.finished.pop() else {
            return self.deliver();
        };
        let is_readable = self.random.below(5) > 0;
        let report = MeasuredRun {
            run,
            report: format!("{{\"of\":\"{run}\"}}"),
            differs: Vec::new(),
        };
        let measured = Measured {
            runs: vec![report],
            at: WallTime(0),
            cell: self.cell(device),
        };
        let store = self.store();
        let putting = async {
            match is_readable {
                true => store.put_measured(measured).await,
                false => {
                    store
                        .put_unreadable(run, "its end is missing".to_owned())
                        .await
                }
            }
        };
        self.runtime.block_on(putting).unwrap();
        Done::alone(format!("run {run} is measured: {is_readable}"))
    }

    fn replace_cells(&mut self) -> Done {
        let mut devices: Vec<&'static str> =
            self.spools.keys().map(|(device, _)| *device).collect();
        devices.dedup();
        let cells: Vec<CellRow> = devices.iter().map(|device| self.cell(device)).collect();
        let replacing = self.store().replace_cells(cells);
        self.runtime.block_on(replacing).unwrap();
        Done::alone("all cells are made anew".to_owned())
    }

    fn cell(&mut self, device: &str) -> CellRow {
        let mut key = [0; 32];
        key[..device.len()].copy_from_slice(device.as_bytes());
        let rollup = self.random.below(u64::MAX);
        CellRow {
            key,
            device: device.to_owned(),
            name: "{}".to_owned(),
            rollup: format!("{{\"n\":{rollup}}}"),
            runs: rollup.to_le_bytes().to_vec(),
            figures: BTreeMap::from([(
                format!("metric_{}", rollup % 3),
                rollup.to_be_bytes().to_vec(),
            )]),
        }
    }

    fn reopen(&mut self) -> Done {
        self.store = None;
        self.store = Some(Store::open(self.folder).unwrap());
        Done::alone("close and open".to_owned())
    }

    /// As the log does by itself when it has grown long, and as a backup tool may ask for.
    fn empty_log(&mut self) -> Done {
        let connection = Connection::open(self.folder.join(STORE.file)).unwrap();
        let how = *self.random.pick(&["PASSIVE", "RESTART", "TRUNCATE"]);
        let pragma = format!("PRAGMA wal_checkpoint({how})");
        connection.query_row(&pragma, [], |_| Ok(())).unwrap();
        Done::alone(format!("checkpoint {how}"))
    }

    fn any_name(&mut self) -> Name {
        let device = *self.random.pick(&["lab-1", "lab-2", "lab-3"]);
        (device, 1 + self.random.below(2))
    }

    fn known_name(&mut self) -> Option<Name> {
        let names: Vec<Name> = self.spools.keys().copied().collect();
        (!names.is_empty()).then(|| *self.random.pick(&names))
    }

    fn life(&mut self, name: Name) -> &mut Life {
        self.spools.entry(name).or_default()
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open between steps")
    }

    /// Every record that was acknowledged is in the store, and no other, and none twice.
    fn holds_everything_once(&self, path: &Path) {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT received FROM record WHERE device = ?1 AND epoch = ?2 ORDER BY seq")
            .unwrap();
        for ((device, epoch), life) in &self.spools {
            let rows =
                statement.query_map((device, i64::try_from(*epoch).unwrap()), |row| row.get(0));
            let stored: Vec<Vec<u8>> = rows.unwrap().map(Result::unwrap).collect();
            let acknowledged = life.records[..life.through].iter();
            assert!(stored.iter().eq(acknowledged.map(|record| &record.bytes)));
        }
    }
}

fn id(device: &str) -> DeviceId {
    DeviceId::parse(device).unwrap()
}

fn seqs(delivery: &Delivery) -> std::ops::RangeInclusive<u64> {
    let records = &delivery.records;
    records[0].seq.0..=records[records.len() - 1].seq.0
}

/// Records of 120 kB: a history has more than the 4,000 pages after which the log is emptied.
const LARGE: usize = 80;
