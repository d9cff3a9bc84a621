//! What was promised, and whether it was kept: every acknowledgement that left the collector, against its database.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::device::Device;

/// Filled by the relay.
#[derive(Default)]
pub(crate) struct Ledger {
    promises: Mutex<Promises>,
    changed: Condvar,
}

#[derive(Default)]
struct Promises {
    /// The highest sequence number that was acknowledged, by device.
    through: BTreeMap<String, u64>,
    /// Batches and acknowledgements that passed.
    n_events: u64,
    n_acknowledgements: u64,
    n_regressions: u64,
}

/// What is wrong; nothing should be.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Findings {
    /// Records that were acknowledged and are not there, or not byte for byte.
    pub(crate) lost: usize,
    /// Records that were never acknowledged and are not there.
    pub(crate) undelivered: usize,
    /// Records that are there more than once.
    pub(crate) duplicated: usize,
    /// Records that nobody was given to deliver.
    pub(crate) foreign: usize,
    /// Records that the collector could not use.
    pub(crate) set_aside: usize,
    /// Times that the collector had less than it had acknowledged before.
    pub(crate) regressions: u64,
}

impl Ledger {
    /// A batch passes.
    pub(crate) fn sent(&self) {
        self.promises().n_events += 1;
        self.changed.notify_all();
    }

    /// An acknowledgement left the collector; whether it arrives is another matter.
    pub(crate) fn acknowledged(&self, device: &str, through: u64, is_first_word: bool) {
        let mut promises = self.promises();
        promises.n_events += 1;
        promises.n_acknowledgements += 1;
        let before = promises.through.entry(device.to_owned()).or_default();
        let is_regression = is_first_word && through < *before;
        *before = through.max(*before);
        promises.n_regressions += u64::from(is_regression);
        drop(promises);
        self.changed.notify_all();
    }

    /// Waits until so many more things have passed.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, n_events: u64, within: Duration) {
        let promises = self.promises();
        let end = promises.n_events + n_events;
        let is_short = |promises: &mut Promises| promises.n_events < end;
        let waited = self
            .changed
            .wait_timeout_while(promises, within, is_short)
            .unwrap();
        assert!(!waited.1.timed_out(), "nothing moves any more");
    }

    /// Records that are acknowledged, and the acknowledgements that it took.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let promises = self.promises();
        (promises.through.values().sum(), promises.n_acknowledgements)
    }

    /// Compares with the database of a collector that has stopped.
    pub(crate) fn check<'a>(
        &self,
        devices: impl IntoIterator<Item = &'a Device>,
        database: &Path,
    ) -> Findings {
        let connection =
            Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut findings = Findings {
            duplicated: count(&connection, DUPLICATED),
            set_aside: count(&connection, SET_ASIDE),
            regressions: self.promises().n_regressions,
            ..Findings::default()
        };
        let mut known = BTreeSet::new();
        for device in devices {
            let stored = stored(&connection, device.id.as_str());
            let promised = self.promised(device.id.as_str());
            for (seq, bytes) in (1..).zip(&device.given) {
                let is_there = stored.get(&seq) == Some(bytes);
                findings.lost += usize::from(!is_there && seq <= promised);
                findings.undelivered += usize::from(!is_there && seq > promised);
            }
            let end = device.given.len() as u64;
            findings.foreign += stored.keys().filter(|seq| **seq > end).count();
            known.insert(device.id.as_str());
        }
        let strangers = devices_in(&connection);
        findings.foreign += strangers
            .iter()
            .filter(|device| !known.contains(device.as_str()))
            .count();
        findings
    }

    fn promised(&self, device: &str) -> u64 {
        let promises = self.promises();
        promises.through.get(device).copied().unwrap_or_default()
    }

    fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap()
    }
}

fn stored(connection: &Connection, device: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut statement = connection
        .prepare("SELECT seq, received FROM record WHERE device = ?1")
        .unwrap();
    let rows = statement.query_map([device], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn devices_in(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT DISTINCT device FROM record")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0));
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn count(connection: &Connection, question: &str) -> usize {
    let count: i64 = connection
        .query_row(question, [], |row| row.get(0))
        .unwrap();
    usize::try_from(count).unwrap()
}

/// Every record has its run's name or its device's in it, so no two are alike.
const DUPLICATED: &str =
    "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM record GROUP BY received)";
const SET_ASIDE: &str = "SELECT count(*) FROM record WHERE problem IS NOT NULL";
