//! The agent's outbox under power cuts: what an append returned for is there, and no number is given out twice.

use std::{any::Any, path::Path};

use tokwatt_agent::spool::Spool;
use tokwatt_domain::{
    ids::{RunId, Seq},
    time::WallTime,
};
use tokwatt_harness::Random;

use crate::{
    power_cut::{History, Step, Subject, scratch},
    recording::{Event, Recording},
    rows::Rows,
    vfs,
};

pub(crate) const SPOOL: Subject = Subject {
    file: "spool.db",
    open,
};

fn open(folder: &Path) -> Result<Box<dyn Any>, String> {
    match reopened(folder, 2) {
        Ok(spool) => Ok(Box::new(spool)),
        Err(error) => Err(format!("{error}")),
    }
}

/// As an agent does that starts at another time: a spool that is there keeps its epoch.
fn reopened(folder: &Path, second: i64) -> Result<Spool, tokwatt_agent::spool::SpoolError> {
    Spool::open(folder, WallTime(EPOCH + second), 1 << 30)
}

/// An agent at work: benches with runs that are opened, filled and closed, acknowledgements, restarts.
pub(crate) fn history(random: &mut Random, n_steps: usize, is_large: bool) -> History {
    vfs::install();
    let folder = scratch();
    let recording = Recording::start(folder.path(), []);
    let mut work = Work {
        spool: Some(Spool::open(folder.path(), WallTime(EPOCH), 1 << 30).unwrap()),
        folder: folder.path(),
        random,
        scale: if is_large { LARGE } else { 1 },
        has_bench: false,
        has_run: false,
        n_runs: 0,
        last: 0,
    };
    let mut steps: Vec<Step> = Vec::new();
    let mut what = "open".to_owned();
    loop {
        recording.note(Event::Acknowledged {
            n_steps: steps.len(),
        });
        steps.push(Step {
            what,
            is_shared: false,
            after: Rows::read_sound(&folder.path().join("spool.db")).unwrap(),
        });
        if steps.len() > n_steps {
            break;
        }
        what = work.step();
    }
    drop(work);
    History {
        events: recording.finish(),
        steps,
        go_on: Box::new(append_more),
    }
}

/// The agent that comes back goes on with the next number.
fn append_more(folder: &Path) -> Result<(), String> {
    let spool = reopened(folder, 3).map_err(|error| error.to_string())?;
    let before = spool.status().map_err(|error| error.to_string())?.last;
    let record = b"more".to_vec();
    let after = spool.append(std::slice::from_ref(&record));
    let after = after.map_err(|error| error.to_string())?;
    let kept = spool.after(before, usize::MAX);
    let kept = kept.map_err(|error| error.to_string())?;
    match (after.0 == before.0 + 1, &kept[..]) {
        (true, [only]) if only.bytes == record => Ok(()),
        _ => Err(format!("{before:?} is followed by {after:?}: {kept:?}")),
    }
}

struct Work<'a> {
    /// Closed for a moment while it is opened anew.
    spool: Option<Spool>,
    folder: &'a Path,
    random: &'a mut Random,
    /// Makes records larger; then the log is left alone until it is long enough to be emptied by itself.
    scale: usize,
    has_bench: bool,
    has_run: bool,
    n_runs: u8,
    last: u64,
}

impl Work<'_> {
    /// Does something that an agent does, and says what.
    fn step(&mut self) -> String {
        match self.random.below(20) {
            0 if self.scale == 1 => self.reopen(),
            1..=5 => self.acknowledge(),
            6 if self.has_bench => self.end_bench(),
            6..=8 if !self.has_bench => self.begin_bench(),
            9..=12 if self.has_bench && !self.has_run => self.open_run(),
            9..=12 if self.has_run => self.close_run(),
            _ => self.append(),
        }
    }

    fn append(&mut self) -> String {
        let n_records = 1 + self.random.index(6);
        let records: Vec<Vec<u8>> = (0..n_records).map(|_| self.record()).collect();
        self.last = self.spool().append(&records).unwrap().0;
        format!("append {n_records} through {}", self.last)
    }

    fn acknowledge(&mut self) -> String {
        let through = self.random.below(self.last + 2);
        self.spool().acknowledge(Seq(through)).unwrap();
        format!("acknowledge {through}")
    }

    fn begin_bench(&mut self) -> String {
        self.spool().begin_bench("a bench").unwrap();
        (self.has_bench, self.has_run) = (true, false);
        "begin a bench".to_owned()
    }

    fn open_run(&mut self) -> String {
        self.n_runs += 1;
        let record = self.record();
        self.spool()
            .open_run(RunId([self.n_runs; 16]), record)
            .unwrap();
        self.last += 1;
        self.has_run = true;
        format!("open a run at {}", self.last)
    }

    fn close_run(&mut self) -> String {
        let record = self.record();
        self.spool().close_run(self.n_runs.into(), record).unwrap();
        self.last += 1;
        self.has_run = false;
        format!("close the run at {}", self.last)
    }

    fn end_bench(&mut self) -> String {
        self.spool().end_bench().unwrap();
        (self.has_bench, self.has_run) = (false, false);
        "end the bench".to_owned()
    }

    fn reopen(&mut self) -> String {
        self.spool = None;
        self.spool = Some(reopened(self.folder, 1).unwrap());
        assert_eq!(self.spool().epoch().0, u64::try_from(EPOCH).unwrap());
        assert_eq!(self.spool().status().unwrap().last, Seq(self.last));
        "close and open".to_owned()
    }

    /// Up to two pages, and now and then many.
    fn record(&mut self) -> Vec<u8> {
        let length = match self.random.below(30) {
            0 => self.random.index(60_000),
            _ => self.random.index(6_000 * self.scale),
        };
        self.random.bytes(length)
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().expect("it is open between steps")
    }
}

/// In the year 2026.
const EPOCH: i64 = 1_790_000_000_000_000;

/// Records of 60 kB: a history has several times the 1,000 pages after which the log is emptied.
const LARGE: usize = 20;
