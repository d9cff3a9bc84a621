//! `runs list` and `runs show`.

use clap::{Args, Subcommand, ValueEnum};
use tokwatt_proto::v1;

use super::{client::Address, output::Output};
use crate::{query, report};

#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// Runs, the latest first
    List(List),
    /// One run with its figures, flags, and why some are absent
    Show(Show),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Only measured runs of which this holds; more than once: all must hold
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// Most rows
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// Id of the run, or its first or last 6 or more digits; `runs list` shows the last 8
    #[arg(value_name = "ID")]
    run: String,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    address: Address,
}

/// How a document is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

pub(super) fn runs(arguments: &Runs, output: &mut Output<'_>) -> anyhow::Result<()> {
    match arguments {
        Runs::List(arguments) => list(arguments, output),
        Runs::Show(arguments) => show(arguments, output),
    }
}

fn list(arguments: &List, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::ListRunsRequest {
        r#where: arguments.conditions.clone(),
        limit: arguments.limit,
    };
    let answer = arguments
        .address
        .ask::<query::Runs, _>(async |mut client| client.list_runs(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::runs(&answer.document),
    };
    Ok(output.print(&text)?)
}

fn show(arguments: &Show, output: &mut Output<'_>) -> anyhow::Result<()> {
    let request = v1::ShowRunRequest {
        run: arguments.run.clone(),
    };
    let answer = arguments
        .address
        .ask::<query::RunDetail, _>(async |mut client| client.show_run(request).await)?;
    let text = match arguments.format {
        Format::Json => answer.json,
        Format::Table => report::run(&answer.document),
    };
    Ok(output.print(&text)?)
}
