//! `report`: what was measured as a folder of pages, pictures and tables.

use std::path::PathBuf;

use clap::Args;
use tokwatt_proto::v1::{self, reports_client::ReportsClient};

use super::{client::Address, folder::NewFolder, output::Output};

#[derive(Args, Debug)]
pub(super) struct Report {
    /// Folder to write: index.html, report.md, figures/, metrics.csv, summary.txt. One that is there is replaced if it is empty or an
    /// earlier report
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Which runs take part; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// How the figures came to be: measured, replayed, simulated, imported, estimated
    #[arg(long, default_value = "measured")]
    provenance: String,
    #[command(flatten)]
    address: Address,
}

pub(super) fn report(arguments: &Report, output: &mut Output<'_>) -> anyhow::Result<()> {
    let mut folder = NewFolder::new(&arguments.out)?;
    let request = v1::ReportRequest {
        r#where: arguments.conditions.clone(),
        provenance: arguments.provenance.clone(),
    };
    let written = arguments.address.call(async |channel| {
        let mut parts = ReportsClient::new(channel)
            .report(request)
            .await?
            .into_inner();
        while let Some(part) = parts.message().await? {
            if let Err(error) = folder.add(&part) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    });
    written??;
    let n_files = folder.finish()?;
    let page = arguments.out.join("index.html");
    Ok(output.print(&format!("{n_files} files written: open {}", page.display()))?)
}
