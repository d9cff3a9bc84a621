//! Finished runs to reports, computed anew from the trace, and runs of a kind to cells.
//!
//! This happens beside the deliveries, not in their way: an acknowledgement says that the bytes are safe, not that they are
//! measured. While deliveries wait, it computes a tenth of the time. What is to be done stands in the store (runs that are
//! finished and not measured), so that a crash in between is repaired by starting again. Likewise cells of which other runs count than
//! when they were made, since a job was settled.

mod cell;
mod verify;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use futures::future;
use tokio::{
    sync::{Notify, watch},
    task::JoinError,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tokwatt_domain::{
    ids::RunId,
    metrics::{RunReport, measure},
    run::RunTrace,
};
use tokwatt_proto::{ContractError, Record, assemble};
use tracing::Instrument;

use crate::{
    clock::{Clock, SystemClock},
    rank::RankedRun,
    store::{CellRow, Measured, MeasuredRun, ReportRow, Store, StoreError},
    vitals::Vitals,
};

/// Measures what is finished.
pub struct Rollup {
    store: Arc<Store>,
    finished: Arc<Notify>,
    progress: watch::Sender<u64>,
    vitals: Arc<Vitals>,
}

/// Why the roll-up could not.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// The store could not.
    #[error("cannot roll up")]
    Store(#[from] StoreError),
    /// A report that we wrote ourselves.
    #[error("cannot read a stored report")]
    Report(#[from] serde_json::Error),
}

impl Rollup {
    /// Looks for work whenever `finished` is notified.
    pub fn new(store: Arc<Store>, finished: Arc<Notify>, vitals: Arc<Vitals>) -> Self {
        Self {
            vitals,
            store,
            finished,
            progress: watch::Sender::new(0),
        }
    }

    /// Counts the runs that were settled and the cells that were made anew: changes with each.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Measures until `stopping`; begins with what an earlier life left.
    pub async fn run(self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let pause = match self.settle_all(&stopping).await {
                Ok(()) => {
                    self.vitals.rollup_caught_up();
                    Duration::MAX
                }
                Err(error) => {
                    tracing::error!(%error, source = ?error.source(), "runs wait to be measured");
                    RETRY
                }
            };
            tokio::select! {
                () = self.finished.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn settle_all(&self, stopping: &CancellationToken) -> Result<(), RollupError> {
        // First, since many runs may wait to be measured.
        self.refresh_stale().await?;
        for runs in self.store.unmeasured().await?.chunks(RUNS_AT_ONCE) {
            self.vitals.rollup_has_work();
            if stopping.is_cancelled() {
                break;
            }
            self.settle(runs, stopping).await?;
        }
        self.refresh_stale().await
    }

    async fn refresh_stale(&self) -> Result<(), RollupError> {
        for stale in self.store.stale_cells().await? {
            // Read after the cell was found stale: what changes from here on makes it stale again.
            let runs = parse(&self.store.reports_of_cell(stale.key).await?)?;
            let cell = (!runs.is_empty()).then(|| cell::roll_up(&runs));
            self.store.refresh_cell(stale, cell).await?;
            self.settled(1);
        }
        Ok(())
    }

    /// Runs of a cell go into it together: it is made anew from all of them each time.
    async fn settle(
        &self,
        runs: &[RunId],
        stopping: &CancellationToken,
    ) -> Result<(), RollupError> {
        let mut cells: BTreeMap<[u8; 32], Vec<(RunId, Judged)>> = BTreeMap::new();
        for run in runs {
            if stopping.is_cancelled() {
                break;
            }
            let began = Instant::now();
            let span = tracing::info_span!("measure", %run);
            if let Some(judged) = self.judged(*run).instrument(span).await? {
                let cell = cells.entry(cell::key(&judged.report)).or_default();
                cell.push((*run, judged));
            }
            self.give_way(began.elapsed(), stopping).await;
        }
        let mut measured = Vec::new();
        for (key, judged) in cells {
            let began = Instant::now();
            match self.rolled_up(key, judged).await {
                Ok(cell) => measured.push(cell),
                Err(error) => {
                    // It may fail the next time, too.
                    self.keep(measured).await?;
                    return Err(error);
                }
            }
            self.give_way(began.elapsed(), stopping).await;
            if measured.len() == CELLS_AT_ONCE {
                self.keep(std::mem::take(&mut measured)).await?;
            }
        }
        self.keep(measured).await
    }

    /// Rests after work, if devices wait for acknowledgements.
    async fn give_way(&self, worked: Duration, stopping: &CancellationToken) {
        if self.vitals.has_waiting_batches() {
            let rest = tokio::time::sleep(worked.saturating_mul(RESTS));
            // Who stops looks by itself.
            let _ended = stopping.run_until_cancelled(rest).await;
        }
    }

    /// `None` for a run that has nothing to be kept: no report can be made of it, which is noted, or the process is stopping.
    async fn judged(&self, run: RunId) -> Result<Option<Judged>, RollupError> {
        if let Some((_, imported)) = self.store.imported(run).await? {
            // What another tool measured is taken by its word.
            let report = serde_json::from_str(&imported.report)?;
            return Ok(Some(Judged {
                report,
                differs: Vec::new(),
            }));
        }
        let records = self.store.records_of(run).await?;
        let ended = tokio::task::spawn_blocking(move || judge(&records)).await;
        match verdict(ended) {
            Some(Ok(judged)) => Ok(Some(judged)),
            Some(Err(problem)) => {
                tracing::warn!(problem, "no report can be made from what was delivered");
                self.store.put_unreadable(run, problem).await?;
                self.settled(1);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn rolled_up(
        &self,
        key: [u8; 32],
        judged: Vec<(RunId, Judged)>,
    ) -> Result<Measured, RollupError> {
        let mut ranked = parse(&self.store.reports_of_cell(key).await?)?;
        let mut runs = Vec::new();
        for (run, Judged { report, differs }) in judged {
            if !differs.is_empty() {
                tracing::warn!(%run, ?differs, "the agent's report differs from ours");
            }
            let report_differs = !differs.is_empty();
            runs.push(MeasuredRun {
                run,
                report: serde_json::to_string(&report)?,
                differs,
            });
            ranked.push(RankedRun {
                report,
                report_differs,
            });
        }
        Ok(Measured {
            runs,
            cell: cell::roll_up(&ranked),
            at: SystemClock.wall(),
        })
    }

    /// All of them together: where a fleet delivers, a commit waits for its turn.
    async fn keep(&self, measured: Vec<Measured>) -> Result<(), RollupError> {
        let kept = measured.into_iter().map(|cell| async move {
            let n_runs = cell.runs.len();
            self.store.put_measured(cell).await?;
            tracing::info!(n_runs, "runs measured");
            self.settled(n_runs);
            Ok::<_, RollupError>(())
        });
        // To the last one, also where one fails: what is still to be written must not meet what is read next.
        future::join_all(kept).await.into_iter().collect()
    }

    fn settled(&self, n_runs: usize) {
        let n_runs = u64::try_from(n_runs).unwrap_or(u64::MAX);
        self.progress
            .send_modify(|settled| *settled = settled.saturating_add(n_runs));
    }
}

/// Measures all that waits for it, here and now.
///
/// # Errors
/// The store could not, or a stored report cannot be read.
pub async fn settle(store: &Arc<Store>, vitals: &Arc<Vitals>) -> Result<(), RollupError> {
    let rollup = Rollup::new(Arc::clone(store), Arc::default(), Arc::clone(vitals));
    rollup.settle_all(&CancellationToken::new()).await
}

/// What the records of a run come to: our report as it is stored.
///
/// # Errors
/// Why no report can be made from them.
pub fn report_of(records: Vec<Record>) -> Result<String, String> {
    let judged = judge_decoded(records)?;
    serde_json::to_string(&judged.report).map_err(|error| error.to_string())
}

/// Everything observed during a run, put together from its stored records.
///
/// # Errors
/// Why they make no run.
pub fn trace_of(records: &[Vec<u8>]) -> Result<RunTrace, String> {
    let assembled = assemble(decoded(records)?).map_err(|error| error.to_string())?;
    Ok(assembled.trace)
}

/// The cells that the reports come to.
///
/// # Errors
/// A stored report cannot be read.
pub fn cells_of(reports: Vec<ReportRow>) -> Result<Vec<CellRow>, RollupError> {
    Ok(cell::roll_up_all(parse(&reports)?))
}

/// Makes all cells anew from the reports: the same bytes as before, or the cache was wrong.
///
/// # Errors
/// The store could not, or a stored report cannot be read.
pub async fn rebuild(store: &Store) -> Result<Vec<CellRow>, RollupError> {
    let cells = cells_of(store.reports().await?)?;
    store.replace_cells(cells.clone()).await?;
    Ok(cells)
}

/// A run as we see it.
struct Judged {
    report: RunReport,
    differs: Vec<String>,
}

/// A panic is this run's for good, and must not stop the others. A task that was not run says that the process is stopping: `None`
/// leaves the run to the next start.
fn verdict<T>(ended: Result<Result<T, String>, JoinError>) -> Option<Result<T, String>> {
    match ended {
        Ok(judged) => Some(judged),
        Err(error) if error.is_panic() => Some(Err(format!("measuring it failed: {error}"))),
        Err(_) => None,
    }
}

fn judge(records: &[Vec<u8>]) -> Result<Judged, String> {
    judge_decoded(decoded(records)?)
}

fn decoded(records: &[Vec<u8>]) -> Result<Vec<Record>, String> {
    let decoded: Result<_, ContractError> =
        records.iter().map(|bytes| Record::decode(bytes)).collect();
    // What is wrong inside a document only its cause tells.
    decoded.map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

fn judge_decoded(records: Vec<Record>) -> Result<Judged, String> {
    let assembled = assemble(records).map_err(|error| error.to_string())?;
    let report = measure(&assembled.trace);
    Ok(Judged {
        differs: verify::differences(&assembled.report, &report),
        report,
    })
}

fn parse(rows: &[ReportRow]) -> Result<Vec<RankedRun>, serde_json::Error> {
    let run = |row: &ReportRow| {
        Ok(RankedRun {
            report: serde_json::from_str(&row.report)?,
            report_differs: row.differs,
        })
    };
    rows.iter().map(run).collect()
}

/// A collector that has thousands to catch up with would otherwise read thousands of reports anew for each of them; and it should be seen
/// to get on.
const RUNS_AT_ONCE: usize = 256;

/// A part of the places where work waits to be written, so that deliveries find some, too.
const CELLS_AT_ONCE: usize = 16;

/// How much longer a rest is than the work before it. A tenth of a core measures some hundred runs a second; it is behind only where a
/// fleet that was cut off delivers days at once.
const RESTS: u32 = 9;

/// Long enough for somebody to make room on the disk, short enough not to be waited for.
const RETRY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tempfile::TempDir;
    use tokio::task::JoinSet;
    use tokwatt_domain::{
        ids::{DeviceId, Epoch, Seq},
        time::WallTime,
    };

    use super::*;
    use crate::store::{Content, Delivery, Received, State, database_in};

    type Judgement = Result<(), String>;

    async fn broken() -> Judgement {
        panic!("a bug of ours")
    }

    #[tokio::test]
    async fn a_stop_in_between_leaves_the_run_to_the_next_start() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending::<Judgement>());
        tasks.abort_all();
        assert_eq!(verdict(tasks.join_next().await.unwrap()), None);
    }

    #[tokio::test]
    async fn a_run_that_cannot_be_measured_does_not_stop_the_others() {
        let mut tasks = JoinSet::new();
        tasks.spawn(broken());
        let verdict = verdict(tasks.join_next().await.unwrap()).unwrap();
        assert!(verdict.unwrap_err().contains("measuring it failed"));
    }

    /// A run of one record.
    fn run(number: u8) -> Received {
        Received {
            seq: Seq(number.into()),
            bytes: Bytes::new(),
            content: Content::Finished {
                run: RunId([number; 16]),
            },
        }
    }

    fn measured(number: u8) -> Measured {
        let run = MeasuredRun {
            run: RunId([number; 16]),
            report: "{}".to_owned(),
            differs: Vec::new(),
        };
        let cell = CellRow {
            key: [number; 32],
            device: "lab-1".to_owned(),
            ..CellRow::default()
        };
        Measured {
            runs: vec![run],
            cell,
            at: WallTime(0),
        }
    }

    fn n_commits(vitals: &Vitals) -> u64 {
        let figures = vitals.exposition(&[]).unwrap();
        let mut lines = figures.lines();
        let n = lines
            .find_map(|line| line.strip_prefix("tokwatt_commits_total{outcome=\"committed\"} "));
        n.unwrap().parse().unwrap()
    }

    /// A roll-up over a store that has so many finished runs of `lab-1`.
    async fn rollup_over(folder: &TempDir, n: u8) -> Rollup {
        let vitals = Arc::new(Vitals::new(&database_in(folder.path())));
        let store = Arc::new(Store::open_counted(folder.path(), &vitals).unwrap());
        let (device, epoch) = (DeviceId::parse("lab-1").unwrap(), Epoch(1));
        let hello = store.greet(device.clone(), epoch, "0.1.0".to_owned());
        hello.await.unwrap();
        let records = (1..=n).map(run).collect();
        let delivery = Delivery {
            device,
            epoch,
            records,
        };
        store.admit(delivery).await.unwrap();
        Rollup::new(store, Arc::default(), vitals)
    }

    async fn n_complete(rollup: &Rollup) -> usize {
        let runs = rollup.store.latest_runs(None, 0, usize::MAX).await.unwrap();
        let complete = runs.iter().filter(|run| run.state == State::Complete);
        complete.count()
    }

    #[tokio::test]
    async fn cells_are_kept_in_fewer_commits_than_there_are() {
        let folder = TempDir::new().unwrap();
        let n = u8::try_from(CELLS_AT_ONCE).unwrap();
        let rollup = rollup_over(&folder, n).await;
        let before = n_commits(&rollup.vitals);
        rollup.keep((1..=n).map(measured).collect()).await.unwrap();
        assert!(n_commits(&rollup.vitals) - before < u64::from(n) / 2);
        assert_eq!(n_complete(&rollup).await, CELLS_AT_ONCE);
    }

    #[tokio::test]
    async fn a_cell_that_cannot_be_kept_is_said_when_all_others_are() {
        let folder = TempDir::new().unwrap();
        let rollup = rollup_over(&folder, 8).await;
        let mut cells: Vec<Measured> = (1..=8).map(measured).collect();
        cells[0].cell.device = "nobody".to_owned();
        let progress = rollup.progress();
        rollup.keep(cells).await.unwrap_err();
        assert_eq!(*progress.borrow(), 7);
        assert_eq!(n_complete(&rollup).await, 7);
    }
}
