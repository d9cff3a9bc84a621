//! The questions that command line, web and gRPC all ask, and their answers as documents.

mod documents;
mod service;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokwatt_domain::{ids::RunId, leaderboard::Board, power::Provenance, run::RunTrace};

use crate::{
    rank::{Condition, Question, RankError, RankedCell, RankedRun, cells, rank},
    rollup,
    store::{ReportRow, RunRow, Store, StoreError},
};

pub use self::documents::{Certificate, Device, Devices, RunDetail, RunLine, Runs, Stream};

/// Reads; never writes.
#[derive(Clone)]
pub struct Query {
    store: Arc<Store>,
    settled: watch::Receiver<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question cannot be answered as it is asked.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// Not the name of a run.
    #[error("`{0}` names no run: give 6 to 32 hexadecimal digits, `runs list` shows them")]
    RunName(String),
    /// No run of that name.
    #[error("no run begins with `{0}`: `runs list` shows those there are")]
    NoSuchRun(String),
    /// More than one run begins so.
    #[error("{n} runs begin with `{prefix}`: give more digits")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many runs it fits.
        n: usize,
    },
    /// Its records make no run.
    #[error("run {run} cannot be put together from what was delivered: {problem}")]
    Unreadable {
        /// Which.
        run: RunId,
        /// Why.
        problem: String,
    },
    /// The store could not.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    /// A document that we wrote ourselves.
    #[error("cannot read a stored document")]
    Document(#[from] serde_json::Error),
}

impl Query {
    /// Asks `store`; `settled` changes whenever a finished run is measured.
    pub fn new(store: Arc<Store>, settled: watch::Receiver<u64>) -> Self {
        Self { store, settled }
    }

    /// Who is better.
    ///
    /// # Errors
    /// [`RankError`] if these runs cannot answer on one board.
    pub async fn board(&self, question: &Question) -> Result<Board, QueryError> {
        let n_waiting = self.wait_until_measured().await?;
        let runs = self.measured_runs().await?;
        let mut board = rank(&runs, question)?;
        if runs.is_empty() {
            board.notes.push(
                "no run is measured yet: `tokwatt-agent bench --collector …` delivers some"
                    .to_owned(),
            );
        }
        if n_waiting > 0 {
            board.notes.push(format!(
                "{n_waiting} finished and not measured yet: ask again"
            ));
        }
        Ok(board)
    }

    /// Cells with all their figures of one provenance.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn cells(
        &self,
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<Vec<RankedCell>, QueryError> {
        self.wait_until_measured().await?;
        Ok(cells(&self.measured_runs().await?, conditions, provenance))
    }

    /// Everything observed during a run.
    ///
    /// # Errors
    /// There is no such run, or its records make none.
    pub async fn trace(&self, run: RunId) -> Result<RunTrace, QueryError> {
        let records = self.store.records_of(run).await?;
        if records.is_empty() {
            return Err(QueryError::NoSuchRun(run.to_string()));
        }
        let read = move || rollup::trace_of(&records);
        let trace = tokio::task::spawn_blocking(read).await;
        trace
            .map_err(|error| error.to_string())
            .flatten()
            .map_err(|problem| QueryError::Unreadable { run, problem })
    }

    /// Runs, latest start first.
    ///
    /// # Errors
    /// An unknown key in a condition.
    pub async fn runs(&self, conditions: &[Condition], limit: usize) -> Result<Runs, QueryError> {
        self.wait_until_measured().await?;
        let rows = self.store.runs().await?;
        let mut lines = Vec::new();
        for row in &rows {
            let line = RunLine::new(row)?;
            if line.meets(conditions) {
                lines.push(line);
            }
        }
        let n_more = lines.len().saturating_sub(limit);
        lines.truncate(limit);
        let set_aside = self.store.set_aside().await?;
        Ok(Runs::new(lines, n_more, &set_aside))
    }

    /// One run: `name` is its id or how that begins.
    ///
    /// # Errors
    /// [`QueryError::RunName`], [`QueryError::NoSuchRun`], [`QueryError::Ambiguous`].
    pub async fn run(&self, name: &str) -> Result<RunDetail, QueryError> {
        self.wait_until_measured().await?;
        let row = self.run_named(name).await?;
        let cell = self.store.cell_of(row.run).await?;
        Ok(RunDetail::new(&row, cell.as_deref())?)
    }

    /// Devices by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn devices(&self) -> Result<Devices, QueryError> {
        self.wait_until_measured().await?;
        let devices = self.store.devices().await?;
        let devices = devices.iter().map(Device::new).collect::<Result<_, _>>()?;
        Ok(Devices::new(devices))
    }

    async fn measured_runs(&self) -> Result<Vec<RankedRun>, QueryError> {
        let rows = self.store.reports().await?;
        let run = |row: &ReportRow| {
            Ok(RankedRun {
                report: serde_json::from_str(&row.report)?,
                report_differs: row.differs,
            })
        };
        rows.iter().map(run).collect()
    }

    async fn run_named(&self, name: &str) -> Result<RunRow, QueryError> {
        let prefix = name.to_ascii_lowercase();
        let is_name =
            (6..=32).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name {
            return Err(QueryError::RunName(name.to_owned()));
        }
        let mut rows = self.store.runs_named(prefix.clone()).await?;
        if rows.len() > 1 {
            return Err(QueryError::Ambiguous {
                n: rows.len(),
                prefix,
            });
        }
        rows.pop().ok_or(QueryError::NoSuchRun(prefix))
    }

    /// Who asks after an acknowledgement sees what it acknowledged, if measuring keeps up. Returns how many runs it was not
    /// waited for.
    async fn wait_until_measured(&self) -> Result<usize, StoreError> {
        let mut settled = self.settled.clone();
        let all = async {
            loop {
                settled.mark_unchanged();
                let n = self.store.unmeasured().await?.len();
                if n == 0 || settled.changed().await.is_err() {
                    return Ok(n);
                }
            }
        };
        match tokio::time::timeout(PATIENCE, all).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(self.store.unmeasured().await?.len()),
        }
    }
}

/// How long an answer waits for runs that are being measured; what is not done by then is said.
const PATIENCE: Duration = Duration::from_secs(5);
