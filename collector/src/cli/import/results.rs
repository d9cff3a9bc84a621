//! A result file of another tool: by the collector, or into its database where none is running.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use futures::stream;
use tokwatt_domain::metrics::Flag;
use tokwatt_proto::v1::{self, exchange_client::ExchangeClient};

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
    mut file: File,
    name: String,
    about: &About,
    address: &Address,
) -> anyhow::Result<Answer<Results>> {
    // Mistakes in what is said are found before anything is sent.
    let labels = Labels::parse(&about.labels())?;
    let tool = about.tool.as_deref().map(Tool::parse).transpose()?;
    if let Some((importer, data)) = at_rest(address)? {
        let mut own = nameless(data)?;
        io::copy(&mut file, &mut own)?;
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
    address.document(async |channel| {
        let parts = Parts {
            head: Some(head),
            file,
        };
        ExchangeClient::new(channel)
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .import_results(stream::iter(parts))
            .await
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

/// What is said about the file, and the file bit by bit.
struct Parts {
    head: Option<v1::ResultsFile>,
    file: File,
}

impl Iterator for Parts {
    type Item = v1::ResultsPart;

    fn next(&mut self) -> Option<v1::ResultsPart> {
        let mut content = Vec::new();
        let read = (&mut self.file).take(PART_BYTES).read_to_end(&mut content);
        if let Err(error) = read {
            tracing::error!(%error, "the file cannot be read on");
            return None;
        }
        let file = self.head.take();
        let is_any = file.is_some() || !content.is_empty();
        is_any.then_some(v1::ResultsPart { file, content })
    }
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
