//! What is handed on: tables of cells, runs, requests and power, and whole runs as bundles that anybody can verify.

mod bundle;
mod parquet;
mod rows;
mod sink;
mod table;
mod verify;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Seek, Write},
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::mpsc;
use tokwatt_domain::{ids::RunId, power::Provenance, run::RunTrace, spelling};

use self::{
    rows::Table,
    sink::{Sink, SinkError},
    table::{Column, Row},
};
use super::nameless;
use crate::{
    query::{Query, QueryError},
    rank::{Condition, RankError, RankedRun},
    store::{Store, StoreError},
};

pub use self::{
    bundle::BundleError,
    sink::TableForm,
    verify::{Verified, Verify, VerifyError, verify},
};

/// Makes the files.
pub struct Exporter {
    /// What is asked.
    pub query: Query,
    /// Where records are.
    pub store: Arc<Store>,
    /// Where a file is made.
    pub folder: PathBuf,
}

/// What is to be handed on.
#[derive(Clone, Debug)]
pub struct Question {
    what: What,
    form: TableForm,
    conditions: Vec<Condition>,
    runs: Vec<String>,
}

/// Which table, or whole runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// Configurations, with every figure and its interval.
    Cells,
    /// Runs, with every figure.
    Runs,
    /// Every request.
    Requests,
    /// Every reading of power.
    Power,
    /// Everything of a run, as a file that can be verified.
    Bundle,
}

/// A file that was made.
#[derive(Debug)]
pub struct Made {
    /// What it is called.
    pub name: String,
    /// At its beginning, and gone with its last reader.
    pub file: File,
}

/// There is nothing to hand on.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No such table.
    #[error("unknown export `{name}`, {advice}")]
    UnknownWhat {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// No such form.
    #[error("unknown form `{name}`, {advice}")]
    UnknownForm {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// A condition that is none.
    #[error(transparent)]
    Condition(#[from] RankError),
    /// Nothing meets the conditions.
    #[error("no measured run meets that: `runs list` shows those there are")]
    Nothing,
    /// A run that has no trace.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It cannot be bundled.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The store could not.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    /// The file could not be made.
    #[error("cannot make the file")]
    File(#[from] io::Error),
    /// A thread was lost.
    #[error("writing was interrupted")]
    Interrupted,
}

impl Question {
    /// Reads a question; an empty form is `csv`.
    ///
    /// # Errors
    /// An unknown name, with the nearest one.
    pub fn parse(
        what: &str,
        form: &str,
        conditions: &[String],
        runs: Vec<String>,
    ) -> Result<Self, ExportError> {
        let conditions = conditions.iter().map(|text| Condition::parse(text));
        Ok(Self {
            what: What::parse(what)?,
            form: parse_form(form)?,
            conditions: conditions.collect::<Result<_, _>>()?,
            runs,
        })
    }
}

impl Question {
    /// Whether whole runs are asked for, and no table.
    pub fn is_bundle(&self) -> bool {
        self.what == What::Bundle
    }
}

impl What {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cells,
        Self::Runs,
        Self::Requests,
        Self::Power,
        Self::Bundle,
    ];

    /// Reads its name.
    ///
    /// # Errors
    /// There is none of that name; the error suggests a similar one.
    pub fn parse(name: &str) -> Result<Self, ExportError> {
        let found = Self::ALL.into_iter().find(|what| what.as_str() == name);
        found.ok_or_else(|| ExportError::UnknownWhat {
            name: name.to_owned(),
            advice: spelling::advice(name, &Self::ALL.map(Self::as_str)),
        })
    }

    /// The name that command line and files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Runs => "runs",
            Self::Requests => "requests",
            Self::Power => "power",
            Self::Bundle => "bundle",
        }
    }
}

/// Reads a form's name.
fn parse_form(name: &str) -> Result<TableForm, ExportError> {
    if name.is_empty() {
        return Ok(TableForm::Csv);
    }
    let found = TableForm::ALL
        .into_iter()
        .find(|form| form.as_str() == name);
    found.ok_or_else(|| ExportError::UnknownForm {
        name: name.to_owned(),
        advice: spelling::advice(name, &TableForm::ALL.map(TableForm::as_str)),
    })
}

impl Exporter {
    /// Makes a table, whole.
    ///
    /// # Errors
    /// Nothing meets the conditions, or it cannot be read or written.
    pub async fn table(&self, question: &Question) -> Result<Made, ExportError> {
        let runs = self.runs(question).await?;
        let name = format!("{}.{}", question.what.as_str(), question.form.as_str());
        let file = match question.what {
            What::Cells => {
                let table = self.cells(question, &runs).await?;
                self.write(question, table.columns, one(table.rows)).await?
            }
            What::Runs | What::Bundle => {
                let Table { columns, rows } = rows::runs(&runs);
                self.write(question, columns, one(rows)).await?
            }
            What::Requests => {
                self.traces(question, rows::request_columns(), &runs, rows::requests)
                    .await?
            }
            What::Power => {
                self.traces(question, rows::power_columns(), &runs, rows::power)
                    .await?
            }
        };
        Ok(Made { name, file })
    }

    /// The runs that a bundle each is made of.
    ///
    /// # Errors
    /// Nothing meets the conditions.
    pub async fn bundled(&self, question: &Question) -> Result<Vec<RunId>, ExportError> {
        let runs = self.runs(question).await?;
        Ok(runs.iter().map(|run| run.report.run).collect())
    }

    /// A bundle.
    ///
    /// # Errors
    /// Its records cannot be read, or come to no report.
    pub async fn bundle(&self, run: RunId) -> Result<Made, ExportError> {
        let source = self.store.imported(run).await?;
        let contents = match source {
            Some((import, row)) => {
                let mut bytes = Vec::new();
                for place in 0.. {
                    let Some(part) = self.store.import_part(import.sha256, place).await? else {
                        break;
                    };
                    bytes.extend(part);
                }
                off_thread(move || Ok(bundle::of_import(&import, &row, bytes)?)).await?
            }
            None => {
                let records = self.store.records_of(run).await?;
                off_thread(move || Ok(bundle::of_records(records)?)).await?
            }
        };
        let folder = self.folder.clone();
        off_thread(move || {
            let mut file = nameless(&folder)?;
            contents.write(&mut file)?;
            file.rewind()?;
            Ok(Made {
                name: contents.name(),
                file,
            })
        })
        .await
    }

    /// Measured runs that meet the conditions and are named, by their id.
    async fn runs(&self, question: &Question) -> Result<Vec<RankedRun>, ExportError> {
        let mut runs = self.query.measured(&question.conditions).await?;
        if !question.runs.is_empty() {
            let mut named = Vec::new();
            for name in &question.runs {
                named.push(self.query.run(name).await?.line.run);
            }
            runs.retain(|run| named.contains(&run.report.run.to_string()));
        }
        runs.sort_by_key(|run| run.report.run);
        match runs.is_empty() {
            true => Err(ExportError::Nothing),
            false => Ok(runs),
        }
    }

    async fn cells(&self, question: &Question, runs: &[RankedRun]) -> Result<Table, ExportError> {
        let reports: BTreeMap<_, _> = runs
            .iter()
            .map(|run| (run.report.run, &run.report))
            .collect();
        let mut cells = Vec::new();
        for provenance in PROVENANCES {
            let (mut of, _) = self.query.cells(&question.conditions, provenance).await?;
            of.retain(|cell| cell.runs.iter().any(|run| reports.contains_key(run)));
            cells.push((provenance, of));
        }
        Ok(rows::cells(&cells, &reports))
    }

    /// Rows of one run after the other, so that only one is held.
    async fn traces(
        &self,
        question: &Question,
        columns: Vec<Column>,
        runs: &[RankedRun],
        rows: fn(&RunTrace) -> Vec<Row>,
    ) -> Result<File, ExportError> {
        let (sender, receiver) = mpsc::channel(RUNS_WAITING);
        let reading = async move {
            for run in runs {
                // What another tool measured has neither; named, it is said that it has none.
                let is_stated = run.report.provenance.requests >= Provenance::Imported;
                if is_stated && question.runs.is_empty() {
                    continue;
                }
                let trace = self.query.trace(run.report.run).await?;
                if sender.send(rows(&trace)).await.is_err() {
                    // Writing has failed, and says why.
                    break;
                }
            }
            Ok::<_, ExportError>(())
        };
        let (read, written) = tokio::join!(reading, self.write(question, columns, receiver));
        read?;
        written
    }

    async fn write(
        &self,
        question: &Question,
        columns: Vec<Column>,
        mut rows: mpsc::Receiver<Vec<Row>>,
    ) -> Result<File, ExportError> {
        let (what, form, folder) = (question.what, question.form, self.folder.clone());
        off_thread(move || {
            let out = BufWriter::new(nameless(&folder)?);
            let mut sink = Sink::new(form, what.as_str(), &columns, out)?;
            while let Some(rows) = rows.blocking_recv() {
                for row in rows {
                    sink.row(row)?;
                }
            }
            let mut out = sink.finish()?;
            out.flush()?;
            let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        })
        .await
    }
}

/// Rows that are there already.
fn one(rows: Vec<Row>) -> mpsc::Receiver<Vec<Row>> {
    let (sender, receiver) = mpsc::channel(1);
    // There is room for one.
    drop(sender.try_send(rows));
    receiver
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ExportError::Interrupted)?
}

impl From<SinkError> for ExportError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Io(error) => Self::File(error),
            SinkError::Parquet(error) => Self::File(io::Error::other(error)),
        }
    }
}

/// From the strongest to the weakest.
const PROVENANCES: [Provenance; 5] = [
    Provenance::Measured,
    Provenance::Replayed,
    Provenance::Simulated,
    Provenance::Imported,
    Provenance::Estimated,
];

/// Runs that wait to be written.
const RUNS_WAITING: usize = 2;
