//! A result file of another tool: by the collector, or into its database where none is running.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, anyhow, ensure};
use futures::{Stream, future, stream};
use tokio::sync::oneshot;
use tokwatt_domain::metrics::Flag;
use tokwatt_proto::v1::{self, exchange_client::ExchangeClient};
use tonic::Status;

use super::About;
use crate::{
    cli::client::{ANSWER_BYTES_MAX, Address, Answer},
    clock::SystemClock,
    exchange::{
        Asked, Labels, RESULTS_BYTES_MAX, Results, ResultsImporter, ResultsRun, TOO_LONG, Tool,
        Value, nameless,
    },
    published, report,
    store::{Store, StoreError, database_in},
};

/// Sends it, or keeps it here and now.
pub(super) fn import(
    path: &Path,
    about: &About,
    address: &Address,
) -> anyhow::Result<Answer<Results>> {
    let named = || format!("cannot import `{}`", path.display());
    let file = File::open(path).with_context(named)?;
    if file.metadata().with_context(named)?.len() > RESULTS_BYTES_MAX {
        return Err(anyhow!(TOO_LONG)).with_context(named);
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    import_file(file, name.to_string_lossy().into_owned(), about, address).with_context(named)
}

/// What studies published, which is shipped.
pub(super) fn import_published(
    about: &About,
    address: &Address,
) -> anyhow::Result<Answer<Results>> {
    let named = || "cannot import what is published";
    let mut file = nameless(&std::env::temp_dir()).with_context(named)?;
    file.write_all(published::ROWS.as_bytes())
        .with_context(named)?;
    file.rewind().with_context(named)?;
    import_file(file, "published.jsonl".to_owned(), about, address).with_context(named)
}

fn import_file(
    file: File,
    name: String,
    about: &About,
    address: &Address,
) -> anyhow::Result<Answer<Results>> {
    // Mistakes in what is said are found before anything is sent.
    let labels = Labels::parse(&about.labels())?;
    let tool = about.tool.as_deref().map(Tool::parse).transpose()?;
    if let Some((importer, data)) = at_rest(address)? {
        let own = copied(file, data)?;
        let by = "the command line, without a collector".to_owned();
        let asked = Asked {
            name,
            tool,
            labels,
            by,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let document = runtime.block_on(importer.import(own, asked))?;
        let json = serde_json::to_string(&document)?;
        return Ok(Answer { json, document });
    }
    let head = v1::ResultsFile {
        name,
        tool: about.tool.clone().unwrap_or_default(),
        labels: about.labels(),
    };
    let (broken, is_broken) = oneshot::channel();
    // Of what is longer, enough is sent to be refused.
    let parts = parts(head, file.take(RESULTS_BYTES_MAX + 1), broken);
    address.document(async |channel| {
        let mut client =
            ExchangeClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        tokio::select! {
            answer = client.import_results(parts) => answer,
            // Given up in the middle, so that what came is not taken for all.
            Ok(error) = is_broken => Err(Status::failed_precondition(format!("it cannot be read on: {error}"))),
        }
    })
}

/// What takes it where no collector is running and none is named.
fn at_rest(address: &Address) -> anyhow::Result<Option<(ResultsImporter, &Path)>> {
    let Some(data) = address.data_folder() else {
        return Ok(None);
    };
    if !database_in(data).exists() {
        return Ok(None);
    }
    let store = match Store::open(data) {
        Ok(store) => store,
        Err(StoreError::InUse(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let importer = ResultsImporter {
        store: Arc::new(store),
        clock: Arc::new(SystemClock),
        finished: Arc::default(),
    };
    Ok(Some((importer, data)))
}

/// Its content in a file of our own, unless it is longer than is taken: it may grow meanwhile.
fn copied(file: impl Read, folder: &Path) -> anyhow::Result<File> {
    let mut own = nameless(folder)?;
    let n_bytes = io::copy(&mut file.take(RESULTS_BYTES_MAX + 1), &mut own)?;
    ensure!(n_bytes <= RESULTS_BYTES_MAX, TOO_LONG);
    Ok(own)
}

/// What is said about the file, and the file bit by bit; without end if it cannot be read on, which is told.
fn parts(
    head: v1::ResultsFile,
    file: impl Read,
    broken: oneshot::Sender<io::Error>,
) -> impl Stream<Item = v1::ResultsPart> {
    let begin = (Some(head), file, broken);
    stream::unfold(begin, async |(head, mut file, broken)| {
        let mut content = Vec::new();
        let read = file.by_ref().take(PART_BYTES).read_to_end(&mut content);
        if let Err(error) = read {
            // Whoever waits for it is there as long as the stream is.
            broken.send(error).ok();
            return future::pending().await;
        }
        let is_any = head.is_some() || !content.is_empty();
        let part = v1::ResultsPart {
            file: head,
            content,
        };
        is_any.then_some((part, (None, file, broken)))
    })
}

/// Each run with its values, and where they come from.
pub(super) fn text(results: &Results) -> String {
    let mut text = format!(
        "file             {}, {} bytes\nsha256           {}\ntool             {}\nimported         {} by {}\n",
        results.file,
        results.bytes,
        results.sha256,
        results.tool,
        report::utc(results.imported),
        results.imported_by
    );
    for run in &results.runs {
        text.push_str(&of_run(run));
    }
    for note in &results.notes {
        text.push_str(&format!("note             {note}\n"));
    }
    text
}

fn of_run(run: &ResultsRun) -> String {
    let id = run.run.get(..12).unwrap_or(&run.run);
    let mut text = format!(
        "\nrun {id}  {}\n  {} · {} {} · {} · {} {}\n  {}, not measured by us\n",
        run.place,
        run.device,
        run.model,
        run.precision,
        run.engine,
        run.task,
        run.load,
        run.provenance
    );
    let (foreign, known): (Vec<&Value>, Vec<&Value>) = run
        .values
        .iter()
        .partition(|value| value.id.starts_with("foreign."));
    let width = known
        .iter()
        .map(|value| value.id.len())
        .max()
        .unwrap_or_default();
    for value in known {
        let remark = value
            .remark
            .as_ref()
            .map_or_else(String::new, |remark| format!(", {remark}"));
        text.push_str(&format!(
            "  {:width$}  {} {}  (`{}` in {}{remark})\n",
            value.id,
            report::short(value.value),
            value.unit,
            value.source,
            value.source_unit
        ));
    }
    if !foreign.is_empty() {
        let names: Vec<String> = foreign
            .iter()
            .map(|value| {
                format!(
                    "{} {} {}",
                    value.source,
                    report::short(value.value),
                    value.unit
                )
                .trim()
                .to_owned()
            })
            .collect();
        text.push_str(&format!(
            "  without a definition here, kept and never ranked: {}\n",
            names.join(", ")
        ));
    }
    for Flag { id, detail, .. } in &run.flags {
        text.push_str(&format!("  flag {id}: {detail}\n"));
    }
    text
}

const PART_BYTES: u64 = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt, StreamExt};

    use super::*;

    /// A disk with a bad block.
    struct Bad;

    impl Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad block"))
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_on_never_ends_as_if_it_were_whole() {
        let (broken, is_broken) = oneshot::channel();
        let file = io::repeat(b'x').take(PART_BYTES).chain(Bad);
        let mut parts = pin!(parts(v1::ResultsFile::default(), file, broken));
        let first = parts.next().now_or_never().flatten().unwrap();
        assert!(first.file.is_some());
        assert_eq!(first.content.len() as u64, PART_BYTES);
        assert!(parts.next().now_or_never().is_none());
        let error = is_broken.now_or_never().unwrap().unwrap();
        assert_eq!(error.to_string(), "bad block");
    }

    #[test]
    fn a_file_is_sent_with_what_is_said_of_it_and_ends() {
        for (n_bytes, want) in [(0, vec![0]), (PART_BYTES + 1, vec![PART_BYTES, 1])] {
            let (broken, is_broken) = oneshot::channel();
            let file = io::repeat(b'x').take(n_bytes);
            let parts = parts(v1::ResultsFile::default(), file, broken);
            let parts: Vec<v1::ResultsPart> = parts.collect().now_or_never().unwrap();
            let said: Vec<bool> = parts.iter().map(|part| part.file.is_some()).collect();
            assert!(said[0] && !said[1..].contains(&true));
            let sizes: Vec<u64> = parts.iter().map(|part| part.content.len() as u64).collect();
            assert_eq!(sizes, want);
            assert!(is_broken.now_or_never().unwrap().is_err());
        }
    }

    #[test]
    fn a_file_that_grows_without_end_is_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let error = copied(io::repeat(b' '), folder.path()).unwrap_err();
        assert_eq!(error.to_string(), TOO_LONG);
    }
}
