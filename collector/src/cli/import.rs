//! `import`: what comes as a file. Which kind it is, is told by what is in it.

mod results;
mod spool;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

use super::{FoundWrong, client::Address, output::Output, runs::Format};

/// A spool export (`tokwatt-agent spool export`) is admitted as if its device had delivered it, and answered with a receipt for the
/// device. A result file of another tool (vllm, aiperf, guidellm, llama-bench, sglang, genai-perf, inference-perf, mlperf, localscore,
/// ml-energy, optimum-benchmark, jetson-ai-lab) is kept as it is; what it says stands on boards of provenance `imported`, each value with
/// its definition, and what has none is kept as `foreign.TOOL.NAME` and never ranked. `published` stands for the figures of five studies that
/// are shipped, with the doubts noted: `check published` says which of their statements survive them.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// What `tokwatt-agent spool export` or another tool wrote; or `published` (./published is a file of that name)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Of a spool export: where the receipt goes, which the device takes for an acknowledgement [default: FILE.receipt]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    about: About,
    /// How the answer is printed; with several files and json, an object on each line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

/// What a result file does not say itself.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "About result files of other tools")]
struct About {
    /// Which tool wrote it, to be refused if another one did [default: told by what is in it]
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// On which device it was measured
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Which model was measured
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// In which precision its weights were
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// Which engine answered, with its version
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// In which power mode the device was
    #[arg(long, value_name = "NAME")]
    power_mode: Option<String>,
    /// What was asked: only runs of one tool and one workload are compared [default: told by the lengths and counts in it]
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
}

pub(super) fn import(arguments: &Import, output: &mut Output<'_>) -> anyhow::Result<()> {
    if arguments.receipt.is_some() && arguments.files.len() > 1 {
        bail!(
            "--receipt is for one file, and there are several: leave it out, and each receipt stands beside its export"
        );
    }
    let mut n_refused = 0;
    for path in &arguments.files {
        match import_one(arguments, path) {
            Ok(text) => output.print(&text)?,
            Err(error) if arguments.files.len() == 1 => return Err(error),
            Err(error) => {
                n_refused += 1;
                tracing::error!("{error:#}");
            }
        }
    }
    match n_refused {
        0 => Ok(()),
        _ => Err(FoundWrong.into()),
    }
}

/// What came of one file.
fn import_one(arguments: &Import, path: &Path) -> anyhow::Result<String> {
    let is_shipped = path == Path::new(PUBLISHED);
    if !is_shipped && is_export(path)? {
        let receipt = arguments.receipt.as_deref();
        let (answer, kept) = spool::import(path, receipt, &arguments.address)?;
        return Ok(match arguments.format {
            Format::Json => answer.json,
            Format::Table => spool::text(&answer.document, &kept),
        });
    }
    let (about, address) = (&arguments.about, &arguments.address);
    let answer = match is_shipped {
        true => results::import_published(about, address)?,
        false => results::import(path, about, address)?,
    };
    Ok(match arguments.format {
        Format::Json => answer.json,
        Format::Table => results::text(&answer.document),
    })
}

/// Whether it begins as a spool export does.
fn is_export(path: &Path) -> anyhow::Result<bool> {
    let named = || format!("cannot import `{}`", path.display());
    let mut beginning = Vec::new();
    let file = File::open(path).with_context(named)?;
    let looked = file.take(EXPORT.len() as u64).read_to_end(&mut beginning);
    looked.with_context(named)?;
    Ok(beginning == EXPORT)
}

impl About {
    fn labels(&self) -> Vec<String> {
        let labels = [
            ("device", &self.device),
            ("engine", &self.engine),
            ("model", &self.model),
            ("power_mode", &self.power_mode),
            ("precision", &self.precision),
            ("workload", &self.workload),
        ];
        let said =
            |(key, value): (&str, &Option<String>)| Some(format!("{key}={}", value.as_ref()?));
        labels.into_iter().filter_map(said).collect()
    }
}

/// What is shipped.
const PUBLISHED: &str = "published";

/// Up to the number of its version.
const EXPORT: &[u8] = b"tokwatt export ";
