//! `verify`: a run bundle, looked through without a collector.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::{FoundWrong, output::Output, runs::Format};
use crate::exchange::{self, Verify as Document};

/// Looks whether a run bundle is what it says: the hash of every file, and everything that is made from the records (or from another tool's
/// file) made again. Nothing is unpacked, and no collector is asked. Exit code 1: something does not agree.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// What `export --what bundle` wrote
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(super) fn verify(arguments: &Verify, output: &mut Output<'_>) -> anyhow::Result<()> {
    let path = &arguments.bundle;
    let document =
        exchange::verify(path).with_context(|| format!("cannot verify `{}`", path.display()))?;
    match arguments.format {
        Format::Json => output.print(&serde_json::to_string(&document)?)?,
        Format::Table => output.print(&text(&document))?,
    }
    match document.differences.is_empty() {
        true => Ok(()),
        false => Err(FoundWrong.into()),
    }
}

fn text(document: &Document) -> String {
    let mut text = format!("run {} of `{}`\n", document.run, document.device);
    let (records, others): (Vec<_>, Vec<_>) = document
        .files
        .iter()
        .partition(|file| file.path.starts_with("records/"));
    for file in others {
        let how = match file.is_made_again {
            true => ", made again: the same",
            false => "",
        };
        text.push_str(&format!("  {} {} bytes{how}\n", file.path, file.bytes));
    }
    let n_bytes: u64 = records.iter().map(|file| file.bytes).sum();
    if !records.is_empty() {
        text.push_str(&format!(
            "  records/ {} records, {n_bytes} bytes, as they were received\n",
            records.len()
        ));
    }
    for difference in &document.differences {
        text.push_str(&format!("differs: {difference}\n"));
    }
    text.push_str(match document.differences.is_empty() {
        true => "the bundle is what it says\n",
        false => "the bundle is not what it says\n",
    });
    text
}
