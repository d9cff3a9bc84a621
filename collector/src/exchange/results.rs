//! Takes a result file of another tool: its bytes as they are, and what could be read from them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokwatt_domain::{
    ids::Digest,
    metrics::RunReport,
    run::{Cell, RunHeader},
    time::WallTime,
};

use super::{
    Results, ResultsRun,
    foreign::{self, Contents, ForeignError, ForeignRun, Labels, Source, Tool, Value},
};
use crate::{
    clock::Clock,
    report::utc,
    store::{ImportRow, ImportedRow, NewImport, NewImportedRun, Store, StoreError, Twice},
};

/// Takes files of other tools.
pub struct ResultsImporter {
    /// Where they go.
    pub store: Arc<Store>,
    /// Says when.
    pub clock: Arc<dyn Clock>,
    /// Told when there are runs to be measured.
    pub finished: Arc<Notify>,
}

/// What whoever imports a file says of it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What it is called.
    pub name: String,
    /// Which tool wrote it, if they know.
    pub tool: Option<Tool>,
    /// What it does not say itself.
    pub labels: Labels,
    /// Who they are.
    pub by: String,
}

/// A file is not taken, and nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// Nothing that can be read.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The file failed.
    #[error("it cannot be read again")]
    File(#[source] io::Error),
    /// The same bytes, said to be something else.
    #[error(
        "the same file was imported on {when} with {then}, and a file is kept once, as it was: leave the labels out to see what is there"
    )]
    Contradicts {
        /// When it was imported.
        when: String,
        /// What was said then.
        then: String,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What we wrote ourselves.
    #[error("cannot read a stored document")]
    Document(#[from] serde_json::Error),
    /// A thread was lost.
    #[error("reading was interrupted")]
    Interrupted,
}

impl ResultsImporter {
    /// Keeps a file, or says what is there of it already.
    ///
    /// # Errors
    /// It cannot be taken; the message says why and what to do.
    pub async fn import(&self, file: File, asked: Asked) -> Result<Results, ResultsError> {
        let (file, sha256, n_bytes) = off_thread(move || digest(file)).await?;
        if let Some((import, runs)) = self.store.import(sha256).await? {
            return known(&import, &runs, &asked);
        }
        let imported = self.clock.wall();
        let for_reading = asked.clone();
        let (file, contents) =
            off_thread(move || read(file, &for_reading, sha256, imported)).await?;
        let import = ImportRow {
            sha256,
            name: asked.name,
            tool: contents.tool.as_str().to_owned(),
            labels: serde_json::to_string(&asked.labels)?,
            imported,
            by: asked.by,
            n_bytes,
        };
        let row = |run| row(contents.tool, imported, run);
        let runs: Vec<NewImportedRun> = contents.runs.iter().map(row).collect::<Result<_, _>>()?;
        let new = NewImport {
            import: import.clone(),
            runs,
        };
        let kept = self.store.put_import(new, file).await?;
        let is_new = kept.is_new;
        self.finished.notify_one();
        tracing::info!(tool = %contents.tool, n_runs = contents.runs.len(), %sha256, is_new, "results imported");
        let mut notes = contents.notes;
        notes.extend(here_already(&contents.runs, &kept.twice));
        let is_kept =
            |run: &ForeignRun| !kept.twice.iter().any(|twice| twice.run == run.report.run);
        let runs = contents.runs.into_iter().filter(is_kept);
        let runs = runs.map(ResultsRun::new).collect();
        Ok(Results::new(&import, is_new, asked.labels, runs, notes))
    }
}

/// Which runs of a file are those of an earlier one: it has grown, or was written anew.
fn here_already(runs: &[ForeignRun], twice: &[Twice]) -> Vec<String> {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Twice { run, first, name } in twice {
        let place = runs.iter().find(|one| one.report.run == *run);
        let place = place.map_or("", |one| one.place.as_str());
        let first = first.to_string();
        let first = first.get(..12).unwrap_or(&first);
        let of = by_file.entry(name).or_default();
        of.push(format!("{place} is run {first}"));
    }
    let note = |(name, mut said): (&str, Vec<String>)| {
        let n = said.len();
        said.truncate(NAMED_MAX);
        let more = match n.saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let said = said.join(", ");
        format!(
            "{n} of its runs are here already, from `{name}`, and are not counted again: {said}{more}"
        )
    };
    by_file.into_iter().map(note).collect()
}

/// What an earlier import came to.
fn known(import: &ImportRow, runs: &[ImportedRow], asked: &Asked) -> Result<Results, ResultsError> {
    let labels: Labels = serde_json::from_str(&import.labels)?;
    let is_other = asked.labels != Labels::default() && asked.labels != labels;
    let is_other_tool = asked.tool.is_some_and(|tool| tool.as_str() != import.tool);
    if is_other || is_other_tool {
        return Err(ResultsError::Contradicts {
            when: utc(import.imported.0),
            then: said(&import.tool, &labels),
        });
    }
    let runs = runs
        .iter()
        .map(ResultsRun::of_row)
        .collect::<Result<_, _>>()?;
    let note = format!(
        "imported before, on {}: nothing is new",
        utc(import.imported.0)
    );
    Ok(Results::new(import, false, labels, runs, vec![note]))
}

fn said(tool: &str, labels: &Labels) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match labels.is_empty() {
        true => format!("no labels (tool {tool})"),
        false => format!("{} (tool {tool})", labels.join(" ")),
    }
}

/// In pieces, whatever its size.
fn digest(mut file: File) -> Result<(File, Digest, u64), ResultsError> {
    file.rewind().map_err(ResultsError::File)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut n_bytes = 0;
    loop {
        let n = file.read(&mut piece).map_err(ResultsError::File)?;
        if n == 0 {
            return Ok((file, Digest(hash.finalize().into()), n_bytes));
        }
        hash.update(&piece[..n]);
        n_bytes += u64::try_from(n).unwrap_or(u64::MAX);
    }
}

fn read(
    mut file: File,
    asked: &Asked,
    sha256: Digest,
    imported: WallTime,
) -> Result<(File, Contents), ResultsError> {
    file.rewind().map_err(ResultsError::File)?;
    let source = Source {
        name: &asked.name,
        sha256,
        labels: &asked.labels,
        imported,
    };
    let contents = foreign::read(BufReader::new(&file), asked.tool, &source)?;
    Ok((file, contents))
}

fn row(
    tool: Tool,
    imported: WallTime,
    run: &ForeignRun,
) -> Result<NewImportedRun, serde_json::Error> {
    Ok(NewImportedRun {
        content: content(tool, imported, run)?,
        device: run.report.device.clone(),
        started: run.report.started,
        header: serde_json::to_string(&run.header)?,
        row: ImportedRow {
            run: run.report.run,
            place: run.place.clone(),
            version: run.version.clone(),
            figures: serde_json::to_string(&run.values)?,
            report: serde_json::to_string(&run.report)?,
        },
    })
}

/// What two files say of the same run, wherever it stands in them: also when, if they say it.
fn content(tool: Tool, imported: WallTime, run: &ForeignRun) -> Result<Digest, serde_json::Error> {
    let RunHeader {
        device,
        cell,
        started,
        ..
    } = &run.header;
    let started = Some(started.0).filter(|started| *started != imported.0);
    let values = run.values.iter();
    let values: Vec<(&str, f64)> = values
        .map(|value| (value.id.as_str(), value.value))
        .collect();
    let content = serde_json::to_vec(&(tool.as_str(), device, cell, started, values))?;
    Ok(Digest(Sha256::digest(content).into()))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ResultsError> + Send + 'static,
) -> Result<T, ResultsError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ResultsError::Interrupted)?
}

impl ResultsRun {
    fn new(run: ForeignRun) -> Self {
        Self::of(run.place, run.version, run.report, run.values)
    }

    fn of_row(row: &ImportedRow) -> Result<Self, serde_json::Error> {
        let report = serde_json::from_str(&row.report)?;
        let values = serde_json::from_str(&row.figures)?;
        Ok(Self::of(
            row.place.clone(),
            row.version.clone(),
            report,
            values,
        ))
    }

    fn of(place: String, version: Option<String>, report: RunReport, values: Vec<Value>) -> Self {
        let Cell {
            identity,
            configuration,
        } = report.cell;
        Self {
            run: report.run.to_string(),
            place,
            version,
            device: report.device.to_string(),
            model: identity.model,
            precision: identity.precision,
            engine: configuration.engine,
            task: identity.task,
            load: identity.load.to_string(),
            provenance: report.provenance.requests.to_string(),
            values,
            flags: report.flags,
            reasons: report.reasons,
        }
    }
}

/// Runs that a note names.
const NAMED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Noon;

    impl Clock for Noon {
        fn wall(&self) -> WallTime {
            WallTime(1_780_000_000_000_000)
        }
    }

    #[tokio::test]
    async fn a_file_that_has_grown_counts_its_earlier_runs_once() {
        let folder = tempfile::tempdir().unwrap();
        let importer = ResultsImporter {
            store: Arc::new(Store::open(folder.path()).unwrap()),
            clock: Arc::new(Noon),
            finished: Arc::default(),
        };
        let import = async |text: &str, device: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let asked = Asked {
                name: "results.jsonl".to_owned(),
                labels: Labels::parse(&[format!("device={device}")]).unwrap(),
                ..Asked::default()
            };
            let results = importer.import(file, asked).await.unwrap();
            (results.runs.len(), results.notes.join("\n"))
        };
        let line = |date: &str| {
            format!(
                r#"{{"date":"{date}","model_id":"m","num_prompts":8,"completed":8,"output_throughput":40.0,"total_output_tokens":80}}"#
            )
        };
        let (first, second) = (line("20260102-030405"), line("20260102-040405"));
        assert_eq!(import(&first, "lab-1").await.0, 1);
        // Appended to, and written with other spaces.
        let (n_runs, notes) = import(&format!("{first}\n{second}"), "lab-1").await;
        assert_eq!(n_runs, 1);
        assert!(notes.contains("1 of its runs"), "{notes}");
        assert!(notes.contains("line 1 is run"), "{notes}");
        let spaced = second.replace(',', ", ");
        assert_eq!(import(&spaced, "lab-1").await.0, 0);
        // Elsewhere it is another run.
        assert_eq!(import(&format!(" {first}"), "lab-2").await.0, 1);
    }
}
