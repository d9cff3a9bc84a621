//! The questions that command line, web and gRPC all ask, and their answers as documents.

mod answers;
mod documents;
mod follow;
mod service;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokwatt_domain::{
    ids::{DeviceId, RunId},
    leaderboard::{Board, Boards},
    metrics::RunReport,
    power::Provenance,
    run::RunTrace,
};
use tokwatt_proto::ContractError;

use self::follow::Followed;
use crate::{
    compare::CompareError,
    estimate::EstimateError,
    rank::{self, Catalogue, Choices, Condition, Question, RankError, RankedCell, RankedRun},
    recommend::RecommendError,
    rollup,
    store::{FigureIndex, RunRow, Store, StoreError},
};

pub use self::documents::{
    Certificate, Device, Devices, RunDetail, RunLine, RunSource, Runs, Stream,
};

/// Reads; never writes.
#[derive(Clone)]
pub struct Query {
    store: Arc<Store>,
    settled: watch::Receiver<u64>,
    followed: Followed,
    /// How long an answer waits for runs that are being measured; what is not done by then is said.
    patience: Duration,
}

/// What an answer was not made to wait for.
struct Waiting {
    /// Finished and not measured.
    n_runs: usize,
    /// Of which other runs count than when they were made.
    n_cells: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question cannot be answered as it is asked.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// These runs cannot be compared as it is asked.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Nothing can be recommended as it is asked.
    #[error(transparent)]
    Recommend(#[from] RecommendError),
    /// Nothing can be estimated as it is asked.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// No run of that provenance meets the conditions.
    #[error("no run that is {provenance} meets these conditions: {advice}")]
    NothingOfThat {
        /// What was asked for.
        provenance: Provenance,
        /// What to do.
        advice: String,
    },
    /// Not the name of a run.
    #[error("`{0}` names no run: give 6 to 32 hexadecimal digits, `runs list` shows them")]
    RunName(String),
    /// No run of that name.
    #[error("no run begins or ends with `{0}`: `runs list` shows those there are")]
    NoSuchRun(String),
    /// More than one run begins or ends so.
    #[error("{n} runs begin or end with `{part}`: give more digits")]
    Ambiguous {
        /// What was given.
        part: String,
        /// How many runs it fits.
        n: usize,
    },
    /// It is from another tool's file.
    #[error(
        "run {0} is from another tool's file, and has neither requests nor samples: `runs show` has what the file says"
    )]
    Imported(RunId),
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
    /// A record that could be read when it came.
    #[error("cannot read a stored record")]
    Record(#[from] ContractError),
}

impl QueryError {
    /// Whether it says that there are no single requests of a run, which may have a report all the same.
    pub fn is_without_trace(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRun(_) | Self::Imported(_) | Self::Unreadable { .. }
        )
    }

    /// Whether it is a failure of ours, and not of the question.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Store(_)
                | Self::Document(_)
                | Self::Unreadable { .. }
                | Self::Rank(RankError::Index(_))
        )
    }
}

impl Query {
    /// Asks `store`; `settled` changes whenever a finished run is measured.
    pub fn new(store: Arc<Store>, settled: watch::Receiver<u64>) -> Self {
        Self {
            store,
            settled,
            followed: Followed::default(),
            patience: PATIENCE,
        }
    }

    /// The same, answering at once by what is measured: for who looks again by themselves.
    #[must_use]
    pub fn impatient(&self) -> Self {
        Self {
            patience: Duration::ZERO,
            ..self.clone()
        }
    }

    /// Who is better.
    ///
    /// # Errors
    /// [`RankError`] if these runs cannot answer on one board.
    pub async fn board(&self, question: &Question) -> Result<Board, QueryError> {
        let question = question.clone();
        let ranked = self
            .ask(move |catalogue, index| rank::board(catalogue, index, &question))
            .await?;
        let (mut board, notes) = ranked;
        board.notes.extend(notes);
        Ok(board)
    }

    /// The same on a board for each power scope, where the question names none.
    ///
    /// # Errors
    /// As [`Query::board`].
    pub async fn boards(&self, question: &Question) -> Result<Boards, QueryError> {
        let question = question.clone();
        let ranked = self
            .ask(move |catalogue, index| rank::boards(catalogue, index, &question))
            .await?;
        let (mut boards, notes) = ranked;
        for board in &mut boards.boards {
            board.notes.extend(notes.iter().cloned());
        }
        Ok(boards)
    }

    /// Cells with all their figures of one provenance, and what is to be known of their age.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn cells(
        &self,
        conditions: &[Condition],
        provenance: Provenance,
    ) -> Result<(Vec<RankedCell>, Vec<String>), QueryError> {
        let conditions = conditions.to_vec();
        self.ask(move |catalogue, index| rank::cells_of(catalogue, index, &conditions, provenance))
            .await
    }

    /// What boards and comparisons of a provenance can be asked about.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn choices(&self, provenance: Provenance) -> Result<Choices, QueryError> {
        let choices = self.ask(move |catalogue, index| rank::choices(catalogue, index, provenance));
        Ok(choices.await?.0)
    }

    /// Measured runs that meet all conditions.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn measured(&self, conditions: &[Condition]) -> Result<Vec<RankedRun>, QueryError> {
        self.wait_until_measured().await?;
        let mut runs = Vec::new();
        for row in self.store.reports().await? {
            let report: RunReport = serde_json::from_str(&row.report)?;
            if conditions.iter().all(|condition| condition.holds(&report)) {
                runs.push(RankedRun {
                    report,
                    report_differs: row.differs,
                });
            }
        }
        Ok(runs)
    }

    /// Everything observed during a run.
    ///
    /// # Errors
    /// There is no such run, or its records make none.
    pub async fn trace(&self, run: RunId) -> Result<RunTrace, QueryError> {
        let records = self.store.records_of(run).await?;
        if records.is_empty() {
            if self.store.imported(run).await?.is_some() {
                return Err(QueryError::Imported(run));
            }
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
    /// The database, or a stored report that cannot be read.
    pub async fn runs(&self, conditions: &[Condition], limit: usize) -> Result<Runs, QueryError> {
        self.wait_until_measured().await?;
        let (lines, n_more) = match conditions {
            [] => self.latest_lines(limit).await?,
            conditions => self.lines_that_meet(conditions.to_vec(), limit).await?,
        };
        let set_aside = self.store.set_aside().await?;
        Ok(Runs::new(lines, n_more, &set_aside))
    }

    /// As many as are asked for, and how many more there are.
    async fn latest_lines(&self, limit: usize) -> Result<(Vec<RunLine>, usize), QueryError> {
        let rows = self.store.latest_runs(None, 0, limit).await?;
        let lines: Vec<RunLine> = rows.iter().map(RunLine::new).collect::<Result<_, _>>()?;
        let states = self.store.runs_by_state().await?;
        let n_all: i64 = states.iter().map(|(_, n)| n).sum();
        let n_all = usize::try_from(n_all).unwrap_or(0);
        let n_more = n_all.saturating_sub(lines.len());
        Ok((lines, n_more))
    }

    /// Every report has to be read for this, one after the other.
    async fn lines_that_meet(
        &self,
        conditions: Vec<Condition>,
        limit: usize,
    ) -> Result<(Vec<RunLine>, usize), QueryError> {
        let next = move |so_far: Result<(Vec<RunLine>, usize), QueryError>, row: RunRow| {
            let (mut lines, mut n_more) = so_far?;
            let line = RunLine::new(&row)?;
            match line.meets(&conditions) {
                true if lines.len() < limit => lines.push(line),
                true => n_more += 1,
                false => {}
            }
            Ok((lines, n_more))
        };
        self.store.fold_runs(Ok((Vec::new(), 0)), next).await?
    }

    /// Some runs, of one device or of all, latest start first, each with its report: so many, after so many that are left out. Nothing is
    /// waited for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn latest_runs(
        &self,
        device: Option<&DeviceId>,
        left_out: usize,
        most: usize,
    ) -> Result<Vec<RunDetail>, QueryError> {
        let rows = self.store.latest_runs(device.cloned(), left_out, most);
        let runs = rows.await?;
        let runs = runs.iter().map(|row| RunDetail::new(row, None, None));
        runs.collect()
    }

    /// Changes whenever a finished run is measured.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.clone()
    }

    /// One run: `name` is its id, or how that begins or ends.
    ///
    /// # Errors
    /// [`QueryError::RunName`], [`QueryError::NoSuchRun`], [`QueryError::Ambiguous`].
    pub async fn run(&self, name: &str) -> Result<RunDetail, QueryError> {
        self.wait_until_measured().await?;
        let row = self.run_named(name).await?;
        let cell = self.store.cell_of(row.run).await?;
        let imported = self.store.imported(row.run).await?;
        RunDetail::new(&row, cell.as_deref(), imported.as_ref())
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

    /// Asks the index of figures; with what is to be known of the answer's age.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Catalogue, &FigureIndex<'_>) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<(T, Vec<String>), QueryError> {
        let waiting = self.wait_until_measured().await?;
        let followed = self.followed.clone();
        let answer = self.store.ask_index(move |index| {
            let catalogue = followed.as_of(index)?;
            let answer = question(&catalogue, index)?;
            Ok::<_, QueryError>((answer, catalogue.is_empty()))
        });
        let (answer, is_empty) = answer.await??;
        Ok((answer, waiting.notes(is_empty)))
    }

    async fn run_named(&self, name: &str) -> Result<RunRow, QueryError> {
        let part = name.to_ascii_lowercase();
        let is_name =
            (6..=32).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name {
            return Err(QueryError::RunName(name.to_owned()));
        }
        let mut rows = self.store.runs_named(part.clone()).await?;
        if rows.len() > 1 {
            return Err(QueryError::Ambiguous {
                n: rows.len(),
                part,
            });
        }
        rows.pop().ok_or(QueryError::NoSuchRun(part))
    }

    /// Who asks after an acknowledgement sees what it acknowledged, if measuring keeps up. Returns what it was not waited for.
    async fn wait_until_measured(&self) -> Result<Waiting, StoreError> {
        let mut settled = self.settled.clone();
        let all = async {
            loop {
                settled.mark_unchanged();
                let waiting = self.waiting().await?;
                if waiting.is_none() || settled.changed().await.is_err() {
                    return Ok(waiting);
                }
            }
        };
        match tokio::time::timeout(self.patience, all).await {
            Ok(outcome) => outcome,
            Err(_) => self.waiting().await,
        }
    }

    async fn waiting(&self) -> Result<Waiting, StoreError> {
        Ok(Waiting {
            n_runs: self.store.unmeasured().await?.len(),
            n_cells: self.store.stale_cells().await?.len(),
        })
    }
}

impl Waiting {
    fn is_none(&self) -> bool {
        self.n_runs == 0 && self.n_cells == 0
    }

    fn notes(&self, is_empty: bool) -> Vec<String> {
        let notes = [
            (
                is_empty,
                "no run is measured yet: `tokwatt-agent bench --collector …` delivers some"
                    .to_owned(),
            ),
            (
                self.n_runs > 0,
                format!("{} finished and not measured yet: ask again", self.n_runs),
            ),
            (
                self.n_cells > 0,
                format!(
                    "configurations of which other runs count now, and which are not made anew yet: {}: ask again",
                    self.n_cells
                ),
            ),
        ];
        let applying = notes.into_iter().filter(|(applies, _)| *applies);
        applying.map(|(_, note)| note).collect()
    }
}

/// For who asks right after a delivery.
const PATIENCE: Duration = Duration::from_secs(5);
